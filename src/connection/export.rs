//! What the peer may refer to on this end.

use std::sync::Arc;

use crate::{
    protocol::{Export, Item, Pack, Packer, Refusal},
    service::{Function, Service},
};

/// An object of ours that travels as a reference.
///
/// The names are built-in ones, so that a Python peer need not ask what methods there are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Exported {
    /// The service at the root.
    Root(Arc<Service>),
    /// A function of the service, or one that was passed as an argument or a result.
    Function(Function),
}

impl Export for Exported {
    fn identity(&self) -> usize {
        match self {
            Self::Root(service) => Arc::as_ptr(service).addr(),
            Self::Function(function) => function.identity(),
        }
    }

    fn class_name(&self) -> &str {
        match self {
            Self::Root(_) => "builtins.object",
            Self::Function(_) => "builtins.function",
        }
    }

    fn class_id(&self) -> i64 {
        match self {
            Self::Root(_) => 1,
            Self::Function(_) => 2,
        }
    }
}

impl PartialEq for Exported {
    fn eq(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }
}

/// An item as the protocol sees it.
pub(crate) type LocalItem = Item<Exported>;

impl Pack<Exported> for Function {
    fn is_plain(&self) -> bool {
        false
    }

    fn put_plain(&self, _: &mut bytes::BytesMut) -> Result<(), crate::brine::BrineError> {
        unreachable!("a function is not plain, so nobody asks for its value")
    }

    fn put_box(&self, packer: &mut Packer<'_, Exported>) -> Result<(), Refusal> {
        packer.ours(&Exported::Function(self.clone()))
    }
}
