//! The twenty request handlers: their numbers on the wire, their names and how many arguments they take.

/// What a request asks for.
///
/// The numbers are those of RPyC's `rpyc/core/consts.py` (`HANDLE_PING` … `HANDLE_INSTANCECHECK`) and are the same in 4.1, 5.x and 6.x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[non_exhaustive]
pub enum Handler {
    /// Answers its argument.
    Ping = 1,
    /// Ends the connection; the only request without an answer.
    Close = 2,
    /// Answers a reference to the root object.
    GetRoot = 3,
    /// Reads an attribute.
    GetAttr = 4,
    /// Deletes an attribute.
    DelAttr = 5,
    /// Sets an attribute.
    SetAttr = 6,
    /// Calls an object.
    Call = 7,
    /// Reads an attribute and calls it, in one trip.
    CallAttr = 8,
    /// `repr(object)`.
    Repr = 9,
    /// `str(object)`.
    Str = 10,
    /// Calls a comparison of the object's class.
    Cmp = 11,
    /// `hash(object)`.
    Hash = 12,
    /// `dir(object)`.
    Dir = 13,
    /// `pickle.dumps(object)`.
    Pickle = 14,
    /// Gives references back.
    Del = 15,
    /// Answers the names and docstrings of an object's methods.
    Inspect = 16,
    /// Fetches the next items of an iterable.
    BuffIter = 17,
    /// Slicing as Python 2 did it.
    OldSlicing = 18,
    /// Leaves a `with` block.
    CtxExit = 19,
    /// `isinstance(other, class)`.
    InstanceCheck = 20,
}

impl Handler {
    /// Every handler, in the order of their numbers, which start at 1.
    pub const ALL: [Self; 20] = [
        Self::Ping,
        Self::Close,
        Self::GetRoot,
        Self::GetAttr,
        Self::DelAttr,
        Self::SetAttr,
        Self::Call,
        Self::CallAttr,
        Self::Repr,
        Self::Str,
        Self::Cmp,
        Self::Hash,
        Self::Dir,
        Self::Pickle,
        Self::Del,
        Self::Inspect,
        Self::BuffIter,
        Self::OldSlicing,
        Self::CtxExit,
        Self::InstanceCheck,
    ];

    /// The handler with this number, if there is one.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(index).copied()
    }

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The name as RPyC spells it, without `HANDLE_`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Close => "CLOSE",
            Self::GetRoot => "GETROOT",
            Self::GetAttr => "GETATTR",
            Self::DelAttr => "DELATTR",
            Self::SetAttr => "SETATTR",
            Self::Call => "CALL",
            Self::CallAttr => "CALLATTR",
            Self::Repr => "REPR",
            Self::Str => "STR",
            Self::Cmp => "CMP",
            Self::Hash => "HASH",
            Self::Dir => "DIR",
            Self::Pickle => "PICKLE",
            Self::Del => "DEL",
            Self::Inspect => "INSPECT",
            Self::BuffIter => "BUFFITER",
            Self::OldSlicing => "OLDSLICING",
            Self::CtxExit => "CTXEXIT",
            Self::InstanceCheck => "INSTANCECHECK",
        }
    }

    /// The least and the most arguments this handler takes (`rpyc/core/protocol.py`, the signatures of `_handle_*`).
    #[must_use]
    pub const fn arity(self) -> (usize, usize) {
        match self {
            Self::Close | Self::GetRoot => (0, 0),
            Self::Ping | Self::Repr | Self::Str | Self::Hash | Self::Dir | Self::Inspect => (1, 1),
            Self::Del => (1, 2),
            Self::GetAttr
            | Self::DelAttr
            | Self::Pickle
            | Self::BuffIter
            | Self::CtxExit
            | Self::InstanceCheck => (2, 2),
            Self::Call | Self::Cmp => (2, 3),
            Self::SetAttr => (3, 3),
            Self::CallAttr => (3, 4),
            Self::OldSlicing => (6, 6),
        }
    }
}

impl std::fmt::Display for Handler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_handlers_name_each_other() {
        for handler in Handler::ALL {
            assert_eq!(
                Handler::from_number(i64::from(handler.number())),
                Some(handler)
            );
            assert!(handler.arity().0 <= handler.arity().1);
        }
        for stranger in [0, 21, -1, i64::MIN, i64::MAX] {
            assert_eq!(Handler::from_number(stranger), None);
        }
        assert_eq!(Handler::CtxExit.number(), 19);
    }
}
