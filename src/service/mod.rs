//! [`Service`]: what this end offers to the peer.
//!
//! A service exposes what it names and nothing else: there is no attribute graph to walk, no pickle, no setattr.

mod function;

use std::{collections::BTreeMap, sync::Arc};

pub use function::{
    Arguments, AsyncFunction, Binding, Call, Fallible, Function, Outcome, Plain, Referred,
    SyncFunction,
};

pub(crate) use function::Running;

use crate::{
    brine::{Str, Value},
    connection::Connection,
    protocol::Exception,
};

/// RPyC's prefix of exposed names; a client may write it or leave it out (`core/protocol.py`, `exposed_prefix`).
const EXPOSED_PREFIX: &str = "exposed_";

type OnConnect = Arc<dyn Fn(&Connection) -> Result<(), Exception> + Send + Sync>;
type OnDisconnect = Arc<dyn Fn(&Connection) + Send + Sync>;

/// The functions and constants that a peer can use.
///
/// ```
/// use rpyc::Service;
///
/// let service = Service::new("Calculator")
///     .function("add", |a: i64, b: i64| a + b)
///     .function("divide", |a: f64, b: f64| {
///         if b == 0.0 { Err(rpyc::Exception::value_error("division by zero")) } else { Ok(a / b) }
///     })
///     .constant("version", "1.0");
/// assert_eq!(service.name(), "CALCULATOR");
/// ```
#[derive(Clone)]
pub struct Service {
    name: Str,
    aliases: Vec<Str>,
    functions: BTreeMap<Str, Function>,
    constants: BTreeMap<Str, Value>,
    on_connect: Option<OnConnect>,
    on_disconnect: Option<OnDisconnect>,
    in_order: bool,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("name", &self.name)
            .field("names", &self.names())
            .finish_non_exhaustive()
    }
}

/// A member of a service.
pub(crate) enum Member {
    Function(Function),
    Constant(Value),
}

impl Service {
    /// A service of this name, which is written in capitals and without a trailing `Service`, as RPyC does
    /// (`core/service.py`, `get_service_aliases`).
    pub fn new(name: &str) -> Self {
        let name = name.to_uppercase();
        let name: Str = name.strip_suffix("SERVICE").unwrap_or(&name).into();
        Self {
            name,
            aliases: Vec::new(),
            functions: BTreeMap::new(),
            constants: BTreeMap::new(),
            on_connect: None,
            on_disconnect: None,
            in_order: true,
        }
    }

    /// Exposes a function that answers at once and must not block, for example `|a: i64, b: i64| a + b`.
    ///
    /// It may return a value, or a `Result` whose error becomes an exception at the peer.
    #[must_use]
    pub fn function<M>(self, name: &str, function: impl SyncFunction<M>) -> Self {
        self.expose(Function::new(name, function))
    }

    /// As [`function`](Self::function), with names for the parameters, so that the peer can give them as keywords.
    /// A parameter of type `Option` may be left out.
    #[must_use]
    pub fn function_named<M>(
        self,
        name: &str,
        parameters: &[&'static str],
        function: impl SyncFunction<M>,
    ) -> Self {
        self.expose(Function::named(name, parameters, function))
    }

    /// Exposes a function that gives a future, which is run on the connection's arbiter.
    #[must_use]
    pub fn async_function<M>(self, name: &str, function: impl AsyncFunction<M>) -> Self {
        self.expose(Function::new_async(name, function))
    }

    /// As [`async_function`](Self::async_function), with names for the parameters.
    #[must_use]
    pub fn async_function_named<M>(
        self,
        name: &str,
        parameters: &[&'static str],
        function: impl AsyncFunction<M>,
    ) -> Self {
        self.expose(Function::named_async(name, parameters, function))
    }

    /// Exposes a function that blocks; each call runs on a thread for blocking work.
    #[must_use]
    pub fn blocking_function<M, F>(self, name: &str, function: F) -> Self
    where
        F: SyncFunction<M>,
        F::Arguments: Send,
    {
        self.expose(Function::new_blocking(name, function))
    }

    /// Exposes a function under its own name.
    #[must_use]
    pub fn expose(mut self, function: Function) -> Self {
        self.functions.insert(function.name().clone(), function);
        self
    }

    /// Exposes a constant attribute.
    #[must_use]
    pub fn constant(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.constants.insert(name.into(), value.into());
        self
    }

    /// Adds a name under which a registry finds the service.
    #[must_use]
    pub fn alias(mut self, alias: &str) -> Self {
        self.aliases.push(alias.to_uppercase().into());
        self
    }

    /// Runs for each connection before its first request is served; an error ends the connection.
    #[must_use]
    pub fn on_connect(
        mut self,
        hook: impl Fn(&Connection) -> Result<(), Exception> + Send + Sync + 'static,
    ) -> Self {
        self.on_connect = Some(Arc::new(hook));
        self
    }

    /// Runs for each connection after it ended.
    #[must_use]
    pub fn on_disconnect(mut self, hook: impl Fn(&Connection) + Send + Sync + 'static) -> Self {
        self.on_disconnect = Some(Arc::new(hook));
        self
    }

    /// Serves requests of one connection side by side instead of one after the other; answers may then come in any order.
    #[must_use]
    pub fn concurrent(mut self) -> Self {
        self.in_order = false;
        self
    }

    /// The name, in capitals.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All names under which a registry finds the service.
    pub fn aliases(&self) -> Vec<Str> {
        std::iter::once(&self.name)
            .chain(&self.aliases)
            .cloned()
            .collect()
    }

    pub(crate) fn serves_in_order(&self) -> bool {
        self.in_order
    }

    pub(crate) fn connected(&self, connection: &Connection) -> Result<(), Exception> {
        self.on_connect
            .as_ref()
            .map_or(Ok(()), |hook| hook(connection))
    }

    pub(crate) fn disconnected(&self, connection: &Connection) {
        if let Some(hook) = &self.on_disconnect {
            hook(connection);
        }
    }

    /// The member of this name, with or without RPyC's prefix.
    pub(crate) fn member(&self, name: &str) -> Option<Member> {
        let plain = name.strip_prefix(EXPOSED_PREFIX).unwrap_or(name);
        if let Some(function) = self.functions.get(plain) {
            return Some(Member::Function(function.clone()));
        }
        if let Some(constant) = self.constants.get(plain) {
            return Some(Member::Constant(constant.clone()));
        }
        match plain {
            "get_service_name" => {
                let name = self.name.clone();
                Some(Member::Function(Function::new(
                    "get_service_name",
                    move || name.clone(),
                )))
            }
            "get_service_aliases" => {
                let aliases = self.aliases();
                Some(Member::Function(Function::new(
                    "get_service_aliases",
                    move || aliases.clone(),
                )))
            }
            _ => None,
        }
    }

    /// The names of all members, sorted.
    pub(crate) fn names(&self) -> Vec<Str> {
        let own = ["get_service_aliases", "get_service_name"].map(Str::from_static);
        let mut names: Vec<Str> = self
            .functions
            .keys()
            .chain(self.constants.keys())
            .cloned()
            .chain(own)
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// A service that offers nothing: what a client is to its server.
///
/// ```
/// assert_eq!(rpyc::VoidService.name(), "VOID");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct VoidService;

impl VoidService {
    /// Its name, `VOID`.
    pub fn name(self) -> &'static str {
        "VOID"
    }
}

impl From<VoidService> for Service {
    fn from(_: VoidService) -> Self {
        Self::new("Void")
    }
}

impl From<VoidService> for Arc<Service> {
    fn from(void: VoidService) -> Self {
        Self::new(void.into())
    }
}
