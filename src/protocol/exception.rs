//! Exceptions: what a request raised ([`Exception`]), on its way out; as it came in it is a [`RemoteError`].
//!
//! # Wire format
//!
//! The body of an exception message is plain brine, not boxed (`rpyc/core/vinegar.py`, `dump`):
//!
//! ```text
//! ((module, class), args, ((name, value), ...), traceback text)      or the int 1, which is StopIteration
//! ```
//!
//! A Python client turns `builtins.X` into the class it knows, without calling its constructor: it sets `args` and then every
//! attribute. So an `OSError` needs its `errno` as an attribute as well as in `args`.

mod remote;

use std::{fmt, io};

use bytes::BytesMut;

use crate::brine::{self, BrineError, Str, Value};

pub use remote::RemoteError;

/// An exception to be raised at the peer, where an `except ValueError:` catches a [`value_error`](Self::value_error).
///
/// `Display` prints it as the last line of a Python traceback: `ValueError: bad luck`.
#[derive(Debug, Clone, PartialEq)]
pub struct Exception {
    module: Str,
    class: Str,
    args: Vec<Value>,
    attrs: Vec<(Str, Value)>,
    /// Boxed, since most have none and every result is as large as this.
    traceback: Option<Box<Str>>,
}

/// Module of the classes that every Python has.
const BUILTINS: &str = "builtins";

/// `_remote_version` draws a warning into the exception's text when a 6.x client finds another major version in it
/// (`rpyc/core/vinegar.py`, `load`).
const VERSION_ATTR: &str = "_remote_version";
const VERSION_DENIED: &str = "<version denied>";

impl Exception {
    /// An exception of any class. A Python peer knows those of `builtins`; others it only makes when configured to, else it raises
    /// a stand-in of the same name.
    pub fn new(module: impl Into<Str>, class: impl Into<Str>, args: Vec<Value>) -> Self {
        Self {
            module: module.into(),
            class: class.into(),
            args,
            attrs: Vec::new(),
            traceback: None,
        }
    }

    /// An exception of a class from `builtins`.
    #[must_use]
    pub fn builtin(class: &'static str, args: Vec<Value>) -> Self {
        Self::new(Str::from_static(BUILTINS), Str::from_static(class), args)
    }

    fn with_text(class: &'static str, text: impl Into<Str>) -> Self {
        Self::builtin(class, vec![Value::Str(text.into())])
    }

    /// `ValueError(text)`: the right type, an impossible value.
    pub fn value_error(text: impl Into<Str>) -> Self {
        Self::with_text("ValueError", text)
    }

    /// `TypeError(text)`: the wrong type or number of arguments.
    pub fn type_error(text: impl Into<Str>) -> Self {
        Self::with_text("TypeError", text)
    }

    /// `KeyError(key)`. Python shows the key as source: `KeyError: 'name'`.
    pub fn key_error(key: Value) -> Self {
        Self::builtin("KeyError", vec![key])
    }

    /// `AttributeError(text)`. What `hasattr` and `getattr` with a default rely on: raise nothing else for a missing attribute.
    pub fn attribute_error(text: impl Into<Str>) -> Self {
        Self::with_text("AttributeError", text)
    }

    /// `IndexError(text)`. Python's old iteration protocol ends a loop with it.
    pub fn index_error(text: impl Into<Str>) -> Self {
        Self::with_text("IndexError", text)
    }

    /// `RuntimeError(text)`: what fits nowhere else.
    pub fn runtime_error(text: impl Into<Str>) -> Self {
        Self::with_text("RuntimeError", text)
    }

    /// `NotImplementedError(text)`.
    pub fn not_implemented_error(text: impl Into<Str>) -> Self {
        Self::with_text("NotImplementedError", text)
    }

    /// `TimeoutError(text)`.
    pub fn timeout_error(text: impl Into<Str>) -> Self {
        Self::with_text("TimeoutError", text)
    }

    /// `MemoryError(text)`: a limit was reached.
    pub fn memory_error(text: impl Into<Str>) -> Self {
        Self::with_text("MemoryError", text)
    }

    /// `StopIteration()`: the iterator has no more items. It travels as the bare int 1.
    #[must_use]
    pub fn stop_iteration() -> Self {
        Self::builtin("StopIteration", Vec::new())
    }

    /// `OSError(errno, strerror, filename)`, of the subclass Python has for this errno (Linux numbers): 2 makes a
    /// `FileNotFoundError`.
    pub fn os_error(errno: i32, strerror: impl Into<Str>, filename: Option<Str>) -> Self {
        let class = match errno {
            1 | 13 => "PermissionError",
            2 => "FileNotFoundError",
            3 => "ProcessLookupError",
            4 => "InterruptedError",
            10 => "ChildProcessError",
            11 | 114 | 115 => "BlockingIOError",
            17 => "FileExistsError",
            20 => "NotADirectoryError",
            21 => "IsADirectoryError",
            32 | 108 => "BrokenPipeError",
            103 => "ConnectionAbortedError",
            104 => "ConnectionResetError",
            110 => "TimeoutError",
            111 => "ConnectionRefusedError",
            _ => "OSError",
        };
        let errno = Value::Int(i64::from(errno));
        let strerror = Value::Str(strerror.into());
        let mut made = Self::builtin(class, vec![errno.clone(), strerror.clone()])
            .attr(Str::from_static("errno"), errno)
            .attr(Str::from_static("strerror"), strerror);
        if let Some(filename) = filename {
            made = made.attr(Str::from_static("filename"), Value::Str(filename));
        }
        made
    }

    /// Adds an attribute, which a Python client finds on the exception object.
    #[must_use]
    pub fn attr(mut self, name: impl Into<Str>, value: Value) -> Self {
        self.attrs.push((name.into(), value));
        self
    }

    /// Replaces the traceback, which a Python client prints below the exception. Without one the exception's own line is sent.
    #[must_use]
    pub fn with_traceback(mut self, text: impl Into<Str>) -> Self {
        self.traceback = Some(Box::new(text.into()));
        self
    }

    /// The module of the class: `builtins`.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The name of the class, without its module: `ValueError`.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.class
    }

    /// Whether the class is this one from `builtins`; subclasses do not count.
    #[must_use]
    pub fn is_builtin(&self, class: &str) -> bool {
        self.class == *class && self.module == *BUILTINS
    }

    /// What the exception was made with.
    #[must_use]
    pub fn args(&self) -> &[Value] {
        &self.args
    }

    /// The public attributes.
    #[must_use]
    pub fn attrs(&self) -> &[(Str, Value)] {
        &self.attrs
    }

    /// One attribute by its name.
    #[must_use]
    pub fn find_attr(&self, name: &str) -> Option<&Value> {
        let (_, value) = self.attrs.iter().find(|(known, _)| known == name)?;
        Some(value)
    }

    /// The traceback, if there is one.
    #[must_use]
    pub fn traceback(&self) -> Option<&str> {
        self.traceback.as_deref().map(Str::as_str)
    }

    /// Appends the body of an exception message.
    pub(super) fn encode(&self, out: &mut BytesMut) -> Result<(), BrineError> {
        if self.is_builtin("StopIteration") {
            brine::put_int(out, STOP_ITERATION);
            return Ok(());
        }
        brine::put_tuple_header(out, 4)?;
        brine::put_tuple_header(out, 2)?;
        brine::put_str(out, &self.module)?;
        // A Python client cannot build a group from what travels: it raises a TypeError inside its own reader and the call is
        // never answered.
        let is_group = self.is_builtin("ExceptionGroup") || self.is_builtin("BaseExceptionGroup");
        brine::put_str(out, if is_group { "Exception" } else { &self.class })?;

        brine::put_tuple_header(out, self.args.len())?;
        for arg in &self.args {
            brine::encode(arg, out)?;
        }

        let attrs = || {
            self.attrs
                .iter()
                .filter(|(name, value)| may_send(name, value))
        };
        brine::put_tuple_header(out, attrs().count())?;
        for (name, value) in attrs() {
            brine::put_tuple_header(out, 2)?;
            brine::put_str(out, name)?;
            brine::encode(value, out)?;
        }
        match &self.traceback {
            Some(text) => brine::put_str(out, text),
            None => brine::put_str(out, &format!("{self}\n")),
        }
    }

    /// What to send instead when [`encode`](Self::encode) refused: a text of bounded size.
    pub(super) fn without_details(&self, refusal: &BrineError) -> Self {
        let shown: String = self.class.chars().take(100).collect();
        Self::runtime_error(format!("{shown}, whose details cannot be sent: {refusal}"))
    }
}

/// The body that stands for `StopIteration` (`rpyc/core/consts.py`, `EXC_STOP_ITERATION`).
const STOP_ITERATION: i64 = 1;

fn may_send(name: &Str, value: &Value) -> bool {
    *name != *VERSION_ATTR
        || value.as_str().is_some_and(|version| {
            version == VERSION_DENIED || version.split('.').next() == Some("6")
        })
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.module.is_empty() && self.module != *BUILTINS {
            write!(f, "{}.", self.module)?;
        }
        f.write_str(&self.class)?;
        if let (Some(errno @ Value::Int(_)), Some(Value::Str(strerror))) =
            (self.find_attr("errno"), self.find_attr("strerror"))
        {
            write!(f, ": [Errno {errno}] {strerror}")?;
            return match self.find_attr("filename") {
                Some(filename) if !filename.is_none() => write!(f, ": {filename}"),
                _ => Ok(()),
            };
        }
        match &self.args[..] {
            [] => Ok(()),
            [Value::Str(text)] if self.class != *"KeyError" => {
                if text.is_empty() {
                    return Ok(());
                }
                write!(f, ": {text}")
            }
            [one] => write!(f, ": {one}"),
            [first, rest @ ..] => {
                write!(f, ": ({first}")?;
                for arg in rest {
                    write!(f, ", {arg}")?;
                }
                f.write_str(")")
            }
        }
    }
}

impl std::error::Error for Exception {}

impl From<&io::Error> for Exception {
    /// The `OSError` for the error's number; an error without a number keeps its text.
    fn from(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => {
                // The standard library appends the number, which Python puts in front.
                let text = error.to_string();
                let strerror = text.split(" (os error ").next().unwrap_or(&text);
                Self::os_error(errno, strerror, None)
            }
            None => Self::with_text("OSError", error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::brine::{Limits, decode};

    fn wire(exception: &Exception) -> Value {
        let mut out = BytesMut::new();
        exception.encode(&mut out).unwrap();
        decode(&out.freeze(), &Limits::DEFAULT).unwrap()
    }

    #[test]
    fn text_is_what_python_prints() {
        for (exception, text) in [
            (Exception::value_error("bad luck"), "ValueError: bad luck"),
            (Exception::value_error(""), "ValueError"),
            (Exception::stop_iteration(), "StopIteration"),
            (Exception::key_error("name".into()), "KeyError: 'name'"),
            (Exception::key_error((1, "x").into()), "KeyError: (1, 'x')"),
            (
                Exception::builtin("ValueError", vec!["bad".into(), 1.into()]),
                "ValueError: ('bad', 1)",
            ),
            (
                Exception::new("calc", "Overflow", vec![5.into()]),
                "calc.Overflow: 5",
            ),
            (
                Exception::os_error(2, "nope", Some("/x".into())),
                "FileNotFoundError: [Errno 2] nope: '/x'",
            ),
            (
                Exception::os_error(999, "odd", None),
                "OSError: [Errno 999] odd",
            ),
        ] {
            assert_eq!(exception.to_string(), text);
        }
    }

    #[test]
    fn what_is_sent_comes_back() {
        let sent = Exception::os_error(13, "denied", Some("/etc/shadow".into()))
            .attr("code", Value::Int(3))
            .with_traceback("Traceback\n");
        let received = RemoteError::decode(wire(&sent)).unwrap();
        assert_eq!(received.exception(), &sent);
        assert!(received.is_builtin("PermissionError"));
        assert_eq!(received.find_attr("errno"), Some(&Value::Int(13)));
        let stop = RemoteError::decode(wire(&Exception::stop_iteration())).unwrap();
        assert_eq!(stop.into_exception(), Exception::stop_iteration());
    }

    #[test]
    fn without_a_traceback_the_text_is_sent() {
        let received = RemoteError::decode(wire(&Exception::value_error("bad"))).unwrap();
        assert_eq!(received.traceback(), Some("ValueError: bad\n"));
    }

    #[test]
    fn groups_are_never_sent_as_groups() {
        for class in ["ExceptionGroup", "BaseExceptionGroup"] {
            let group = Exception::builtin(class, vec!["two".into()]);
            let received = RemoteError::decode(wire(&group)).unwrap();
            assert!(received.is_builtin("Exception"), "{class}");
        }
    }

    #[test]
    fn versions_that_draw_a_warning_are_left_out() {
        for (version, sent) in [
            ("6.0.2", true),
            ("6", true),
            ("<version denied>", true),
            ("5.3.1", false),
            ("60.1", false),
        ] {
            let exception = Exception::value_error("x").attr(VERSION_ATTR, version.into());
            let received = RemoteError::decode(wire(&exception)).unwrap();
            assert_eq!(
                received.find_attr(VERSION_ATTR).is_some(),
                sent,
                "{version}"
            );
        }
    }

    #[test]
    fn other_bodies_are_refused_or_read_as_old_strings() {
        for body in [
            Value::Int(2),
            Value::from((1, 2, 3)),
            Value::from((("a", "b"), 1, 2, 3)),
            Value::from((("a", 1), (1,), (("a", 1),), "t")),
            Value::from((("a", "b"), (1,), (("a",),), "t")),
            Value::Bytes(Bytes::new()),
        ] {
            assert!(RemoteError::decode(body.clone()).is_err(), "{body}");
        }
        let old = RemoteError::decode("spam".into()).unwrap();
        assert_eq!(old.to_string(), "spam");
    }

    #[test]
    fn io_errors_keep_their_number() {
        let missing = io::Error::from_raw_os_error(2);
        let exception = Exception::from(&missing);
        assert_eq!(exception.class(), "FileNotFoundError");
        assert_eq!(
            exception.to_string(),
            "FileNotFoundError: [Errno 2] No such file or directory"
        );
        let other = Exception::from(&io::Error::other("odd"));
        assert_eq!(other.to_string(), "OSError: odd");
    }
}
