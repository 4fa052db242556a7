//! Classic RPyC: a Python process whose modules, builtins and namespace are at hand.
//!
//! The server is Python's `rpyc_classic.py`, or any server with a `SlaveService` or `ClassicService`. Whoever connects to it can do all
//! that its process can: read and write files, run programs. RPyC checks nobody; so serve it on loopback, a unix socket or a child's
//! pipes, or behind TLS with client certificates, and to nobody whom you would not give a shell.
//!
//! | Python | Rust |
//! |---|---|
//! | `rpyc.classic.connect(host)` | [`classic::connect(host, DEFAULT_PORT)`](connect) |
//! | `rpyc.Connection(ClassicService, channel)` | [`Connection::new(channel, ClassicService)`](Connection::new) |
//! | `conn.modules.os.listdir("/tmp")` | `conn.module("os").await?.call("listdir", ("/tmp",)).await?` |
//! | `conn.modules["xml.dom"]` | [`conn.module("xml.dom")`](Connection::module) |
//! | `"xml.dom" in conn.modules` | [`conn.has_module("xml.dom")`](Connection::has_module) |
//! | `conn.builtins.open(path)` | `conn.builtins().await?.call("open", (path,))` |
//! | `conn.execute(text)`, `conn.eval(text)` | [`conn.execute(text)`](Connection::execute), [`conn.eval(text)`](Connection::eval) |
//! | `conn.namespace["x"] = 1` | `conn.namespace().await?.set_item("x", 1)` |
//! | `rpyc.classic.obtain(ref)` | [`remote.fetch()`](Remote::fetch), without pickle |
//! | `rpyc.classic.upload(conn, here, there)` | [`classic::upload(&conn, here, there, progress)`](upload), [`download`] |
//!
//! What comes back is a copy or a reference, as the wanted type says: see [`Remote`].
//!
//! ```no_run
//! # async fn example() -> Result<(), rpyc::Error> {
//! use std::collections::HashMap;
//! use rpyc::classic::{self, Remote};
//!
//! let conn = classic::connect("localhost", classic::DEFAULT_PORT).await?;
//! conn.execute("import collections\ncounts = collections.Counter('abracadabra')").await?;
//! let counts: HashMap<String, u32> = conn.eval("counts").await?;
//! assert_eq!(counts["a"], 5);
//! let counter: Remote = conn.namespace().await?.item("counts").await?;
//! let top: Vec<(String, u32)> = counter.call("most_common", (1,)).await?;
//! # drop(top);
//! # Ok(())
//! # }
//! ```
//!
//! # What the Rust end is to the peer
//!
//! [`ClassicService`] has the names that a Python end looks for while it connects, for `rpyc_classic.py -m stdio` asks for them before
//! it serves. Behind them is no Python: nothing can be imported, evaluated or executed here.
//!
//! # What it does not do
//!
//! No pickle (`obtain`, `deliver`), which runs code of the other end, and no `teleport`, which sends CPython's bytecode.

mod helper;
mod local;
mod remote;
mod transfer;

use std::sync::Arc;

use rpyc_actors::{Chain, Endpoint, TcpConfig};

pub use remote::{Copied, Remote};
pub use transfer::{Progress, TransferError, download, upload};

use crate::{
    brine::Value,
    connection::Connection,
    error::Error,
    netref::Netref,
    object::{FromObject, Object},
    protocol::Exception,
    service::Service,
};
use helper::Job;

/// The port of `rpyc_classic.py` (`rpyc/utils/classic.py`, `DEFAULT_SERVER_PORT`).
pub const DEFAULT_PORT: u16 = 18812;

/// What the Rust end of a classic connection is to its peer: the names of Python's `ClassicService`, with no Python behind them.
///
/// `getmodule` raises `ImportError`, `eval` and `execute` raise `NotImplementedError`, `namespace` is empty. A Python program that calls
/// `rpyc.classic.connect` is served as far as that: it connects, and whatever it wants to run is refused in words.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClassicService;

/// The modules that Python's end fetches while it connects (`rpyc/core/service.py`, `ModuleNamespace.__init__`).
const FETCHED_AT_ONCE: [&str; 2] = ["builtins", "importlib.util"];

impl From<ClassicService> for Service {
    fn from(_: ClassicService) -> Self {
        let no_python = |_: String| {
            let what = "this end of the connection is a Rust program, which runs no Python";
            Err::<(), _>(Exception::not_implemented_error(what))
        };
        Self::new("Classic")
            .function("getmodule", |name: Value| {
                let name = match name {
                    Value::Tuple(parts) => {
                        let parts: Vec<_> = parts.iter().filter_map(Value::as_str).collect();
                        parts.join(".")
                    }
                    other => other.as_str().unwrap_or_default().to_owned(),
                };
                if FETCHED_AT_ONCE.contains(&&*name) {
                    return Ok(());
                }
                let what = format!("no module named '{name}': this end is a Rust program");
                Err(Exception::builtin("ImportError", vec![what.into()]))
            })
            .function("eval", no_python)
            .function("execute", no_python)
            .constant("namespace", Value::Tuple(Vec::new()))
    }
}

impl From<ClassicService> for Arc<Service> {
    fn from(classic: ClassicService) -> Self {
        Self::new(classic.into())
    }
}

/// Connects to a classic server over TCP; its usual port is [`DEFAULT_PORT`].
///
/// # Errors
///
/// `Stream`, when the connection cannot be made. What kind of server it is shows with the first call.
///
/// # Cancellation
///
/// The attempt is given up.
pub async fn connect(host: &str, port: u16) -> Result<Connection, Error> {
    over(Chain::new(Endpoint::tcp(host, port, TcpConfig::default()))).await
}

/// Connects to a classic server at an endpoint such as `unix:/run/python.sock` or `exec:rpyc_classic.py -q -m stdio`.
///
/// # Errors
///
/// `Stream`, when the text is no endpoint or the connection cannot be made.
///
/// # Cancellation
///
/// The attempt is given up.
pub async fn connect_endpoint(endpoint: &str) -> Result<Connection, Error> {
    over(Chain::to(endpoint)?).await
}

async fn over(chain: Chain) -> Result<Connection, Error> {
    Ok(Connection::new(chain.connect().await?, ClassicService))
}

/// Of a classic server. Any other raises `AttributeError`.
impl Connection {
    /// Evaluates an expression in the connection's namespace.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call): `SyntaxError`, `NameError` and whatever the expression raises are exceptions of the peer.
    ///
    /// # Cancellation
    ///
    /// The peer may still evaluate it.
    pub async fn eval<R: FromObject>(&self, expression: &str) -> Result<R, Error> {
        if !R::BY_VALUE {
            return self.call("eval", (expression,)).await;
        }
        let deadline = self.deadline();
        let root = self.link().root(deadline).await?;
        let job = Job {
            object: root,
            path: "eval",
            args: Some((expression,)),
            kwargs: (),
        };
        job.run(self.link(), deadline).await
    }

    /// Executes statements in the connection's namespace, with what Python does with the text of a file.
    ///
    /// What they print goes to the server's own output.
    ///
    /// # Errors
    ///
    /// As [`eval`](Self::eval).
    ///
    /// # Cancellation
    ///
    /// The peer may still execute them.
    pub async fn execute(&self, statements: &str) -> Result<(), Error> {
        self.call("execute", (statements,)).await
    }

    /// Imports a module at the peer: `module("os")`, `module("xml.dom")`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call); a module that is not there is a `ModuleNotFoundError` of the peer.
    ///
    /// # Cancellation
    ///
    /// The peer may still import it.
    pub async fn module(&self, name: &str) -> Result<Remote, Error> {
        let module: Netref = self.call("getmodule", (name,)).await?;
        Ok(Remote::from(module.with_timeout(self.timeout())))
    }

    /// Whether the peer has a module of this name. Its parents are imported.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn has_module(&self, name: &str) -> Result<bool, Error> {
        let util = self.module("importlib.util").await?;
        match util
            .netref()
            .call_method::<Object>("find_spec", (name,))
            .await
        {
            Ok(spec) => Ok(!matches!(spec, Object::Value(Value::None))),
            // A parent that is not there.
            Err(Error::Remote(error)) if error.is_builtin("ModuleNotFoundError") => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The peer's `builtins`.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn builtins(&self) -> Result<Remote, Error> {
        self.module("builtins").await
    }

    /// The dict in which [`execute`](Self::execute) and [`eval`](Self::eval) find and leave their names.
    ///
    /// # Errors
    ///
    /// As [`call`](Self::call).
    ///
    /// # Cancellation
    ///
    /// Nothing is lost.
    pub async fn namespace(&self) -> Result<Remote, Error> {
        let namespace: Netref = self.getattr("namespace").await?;
        Ok(Remote::from(namespace.with_timeout(self.timeout())))
    }
}
