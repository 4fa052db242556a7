//! What ties a session's proofs to the link they are made on.

use crate::{
    codec::resume::{Binding, ResumeConfig},
    error::StreamError,
    stream::StreamHandle,
};

/// What a link over `stream` offers; none when a layer of encryption will say.
pub(super) fn binding_of(stream: &StreamHandle, is_sealed: bool) -> Option<Binding> {
    if is_sealed {
        return None;
    }
    let info = stream.info();
    #[cfg(feature = "__tls")]
    if let Some(exported) = info.tls.as_ref().and_then(|tls| tls.binding) {
        return Some(Binding::tls(exported));
    }
    Some(match info.peer_user {
        Some(user) => Binding::unix(user),
        None => Binding::plain(),
    })
}

/// Refuses a link that anybody on the way can read, unless that is wanted.
pub(super) fn check(binding: Option<&Binding>, config: &ResumeConfig) -> Result<(), StreamError> {
    match binding {
        Some(binding) if !binding.is_secure() && !config.is_insecure_allowed => {
            Err(StreamError::misuse(
                "whoever can read a link can take over its sessions: \
                 resume over encryption, TLS or a unix socket, or allow it with insecure_resume",
            ))
        }
        _ => Ok(()),
    }
}
