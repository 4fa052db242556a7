//! The function at the peer that walks attributes, calls, and copies the result, all in one trip.

use crate::{
    connection::{Deadline, Exported, Link},
    error::Error,
    object::FromObject,
    protocol::{Ask, IdPack, PackTuple},
};

/// An expression that gives the function. It leaves nothing behind in the namespace that `execute` and `eval` share.
const INSTALL: &str = concat!(
    "(lambda scope: (exec(r'''",
    include_str!("helper.py"),
    "''', scope), scope['run'])[1])({'__name__': 'rpyc_helper'})"
);

/// What to do at the peer with an object of its own.
pub(super) struct Job<'a, A, K> {
    pub(super) object: &'a IdPack,
    /// Attributes to walk, with dots between them; none if empty.
    pub(super) path: &'a str,
    /// What to call it with, if at all.
    pub(super) args: Option<A>,
    pub(super) kwargs: K,
}

impl<A: PackTuple<Exported>, K: PackTuple<Exported>> Job<'_, A, K> {
    /// Does it in one trip; the first job of a connection takes two more, for the root and for the helper.
    pub(super) async fn run<R: FromObject>(
        self,
        link: &std::sync::Arc<Link>,
        deadline: Deadline,
    ) -> Result<R, Error> {
        let helper = helper(link, deadline).await?;
        let job = (R::BY_VALUE, self.object, self.path, self.args, self.kwargs);
        let answer = link.ask(Ask::call(helper, job, ()), deadline).await?;
        Ok(R::from_object(answer)?)
    }
}

async fn helper(link: &Link, deadline: Deadline) -> Result<&IdPack, Error> {
    if let Some(helper) = link.known().helper.get() {
        return Ok(helper);
    }
    let root = link.root(deadline).await?;
    let install = || link.ask_item(Ask::call_attr(root, "eval", (INSTALL,), ()), deadline);
    link.once(&link.known().helper, deadline, install).await
}

/// No arguments at all: an attribute is wanted, not a call.
pub(super) const NOT_CALLED: Option<()> = None;

#[cfg(test)]
mod tests {
    use super::INSTALL;

    /// It stands between such quotes in [`INSTALL`].
    #[test]
    fn the_helper_fits_its_quotes() {
        assert_eq!(INSTALL.matches("'''").count(), 2);
        assert!(!include_str!("helper.py").contains('\\'));
    }
}
