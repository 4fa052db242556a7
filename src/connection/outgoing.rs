//! [`Outgoing`]: an answer on its way to the peer.

use std::sync::Arc;

use bytes::BytesMut;

use super::{Exported, Link};
use crate::{
    brine::BrineError,
    object::Object,
    protocol::{Pack, Packer, Refusal},
};

/// An object on its way out.
pub(super) struct Outgoing<'a> {
    pub(super) link: &'a Arc<Link>,
    pub(super) object: &'a Object,
}

impl Pack<Exported> for Outgoing<'_> {
    fn is_plain(&self) -> bool {
        matches!(self.object, Object::Value(_))
    }

    fn put_plain(&self, out: &mut BytesMut) -> Result<(), BrineError> {
        match self.object {
            Object::Value(value) => Pack::<Exported>::put_plain(value, out),
            _ => unreachable!("only a plain object is asked for its value"),
        }
    }

    fn put_box(&self, packer: &mut Packer<'_, Exported>) -> Result<(), Refusal> {
        match self.object {
            Object::Value(value) => value.put_box(packer),
            Object::Tuple(items) => {
                let items: Vec<_> = items
                    .iter()
                    .map(|object| Outgoing {
                        link: self.link,
                        object,
                    })
                    .collect();
                packer.tuple(&items)
            }
            Object::Netref(netref) => netref.put_box(packer),
            Object::Function(function) => function.put_box(packer),
            Object::Root => packer.ours(&Exported::Root(self.link.service.clone())),
        }
    }
}
