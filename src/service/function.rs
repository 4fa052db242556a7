//! [`Function`]: something that can be called from the other end.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    brine::{Str, Value},
    connection::{Connection, Handling, Link},
    object::{FromObject, Object},
    protocol::Exception,
};

/// A call as it came in.
#[derive(Debug)]
#[non_exhaustive]
pub struct Call {
    /// The name of the function.
    pub name: Str,
    /// The positional arguments.
    pub args: Vec<Object>,
    /// The keyword arguments in the order in which they were given.
    pub kwargs: Vec<(Str, Object)>,
    /// The connection it came over.
    pub connection: Connection,
}

/// What a function gave, or will give.
pub(crate) enum Running {
    Done(Result<Object, Exception>),
    Later(Pin<Box<dyn Future<Output = Result<Object, Exception>>>>),
}

/// A call before anything is made for it that most functions do not look at.
struct Arrived<'a> {
    function: &'a Function,
    args: Vec<Object>,
    kwargs: Vec<(Str, Object)>,
    link: &'a Arc<Link>,
}

type Run = dyn Fn(Arrived<'_>) -> Running + Send + Sync;

/// Something that the peer can call: a function of a service, or one that is passed as an argument or a result.
#[derive(Clone)]
pub struct Function(Arc<Inner>);

struct Inner {
    name: Str,
    run: Box<Run>,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Function").field(&self.0.name).finish()
    }
}

impl Function {
    /// A function that runs where it is called and must not block: `|a: i64, b: i64| a + b`.
    pub fn new<M, F: SyncFunction<M>>(name: impl Into<Str>, function: F) -> Self {
        Self::named(name, &[], function)
    }

    /// As [`new`](Self::new), with names for the parameters, so that they can be given as keywords.
    pub fn named<M, F: SyncFunction<M>>(
        name: impl Into<Str>,
        parameters: &[&'static str],
        function: F,
    ) -> Self {
        let parameters = Parameters(parameters.into());
        Self::raw(name, move |arrived| {
            Running::Done(
                parameters
                    .bind::<F::Arguments>(arrived)
                    .and_then(|arguments| function.call(arguments)),
            )
        })
    }

    /// A function that may wait; calls of one connection are served in order all the same.
    pub fn new_async<M, F: AsyncFunction<M>>(name: impl Into<Str>, function: F) -> Self {
        Self::named_async(name, &[], function)
    }

    /// As [`new_async`](Self::new_async), with names for the parameters.
    pub fn named_async<M, F: AsyncFunction<M>>(
        name: impl Into<Str>,
        parameters: &[&'static str],
        function: F,
    ) -> Self {
        let parameters = Parameters(parameters.into());
        Self::raw(name, move |arrived| {
            match parameters.bind::<F::Arguments>(arrived) {
                Ok(arguments) => Running::Later(Box::pin(function.call(arguments))),
                Err(exception) => Running::Done(Err(exception)),
            }
        })
    }

    /// A function that blocks, run on a thread of its own.
    pub fn new_blocking<M, F>(name: impl Into<Str>, function: F) -> Self
    where
        F: SyncFunction<M>,
        F::Arguments: Send,
    {
        let parameters = Parameters([].into());
        let function = Arc::new(function);
        Self::raw(name, move |arrived| {
            let connection = Connection::of(arrived.link.hold());
            match parameters.bind::<F::Arguments>(arrived) {
                Ok(arguments) => {
                    let function = function.clone();
                    let work = tokio::task::spawn_blocking(move || {
                        // Its calls of the peer let later requests pass, as those of a future do.
                        let _handling = Handling::enter_elsewhere(&connection);
                        function.call(arguments)
                    });
                    Running::Later(Box::pin(async move {
                        work.await
                            .unwrap_or_else(|error| match error.try_into_panic() {
                                // It ends the connection, as those of other functions do.
                                Ok(panic) => std::panic::resume_unwind(panic),
                                Err(_) => Err(Exception::runtime_error("the function was not run")),
                            })
                    }))
                }
                Err(exception) => Running::Done(Err(exception)),
            }
        })
    }

    /// A function that takes its arguments as they came, any number of them, by position and by keyword.
    pub fn with_call<F, R>(
        name: impl Into<Str>,
        function: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<R, Exception>> + 'static,
        R: Into<Object>,
    {
        Self::raw(name, move |arrived| {
            let work = function(Call {
                name: arrived.function.name().clone(),
                args: arrived.args,
                kwargs: arrived.kwargs,
                connection: Connection::of(arrived.link.hold()),
            });
            Running::Later(Box::pin(async move { work.await.map(Into::into) }))
        })
    }

    fn raw(
        name: impl Into<Str>,
        run: impl Fn(Arrived<'_>) -> Running + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            name: name.into(),
            run: Box::new(run),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &Str {
        &self.0.name
    }

    pub(crate) fn run(
        &self,
        args: Vec<Object>,
        kwargs: Vec<(Str, Object)>,
        link: &Arc<Link>,
    ) -> Running {
        (self.0.run)(Arrived {
            function: self,
            args,
            kwargs,
            link,
        })
    }

    pub(crate) fn identity(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// The names of a function's parameters, as far as they have any.
struct Parameters(Box<[&'static str]>);

impl Parameters {
    /// Puts the arguments of a call in their places, as Python would.
    fn bind<A: Arguments>(&self, arrived: Arrived<'_>) -> Result<A, Exception> {
        let Arrived {
            function,
            args,
            kwargs,
            ..
        } = arrived;
        let name = function.name();
        if args.len() > A::COUNT {
            let what = format!(
                "{name}() takes {} positional arguments but {} were given",
                A::COUNT,
                args.len()
            );
            return Err(Exception::type_error(what));
        }
        let mut places: Vec<Option<Object>> = args.into_iter().map(Some).collect();
        places.resize_with(A::COUNT, || None);
        for (keyword, value) in kwargs {
            let place = self
                .0
                .iter()
                .position(|parameter| *parameter == &*keyword)
                .and_then(|at| places.get_mut(at));
            match place {
                None => {
                    return Err(Exception::type_error(format!(
                        "{name}() got an unexpected keyword argument '{keyword}'"
                    )));
                }
                Some(Some(_)) => {
                    return Err(Exception::type_error(format!(
                        "{name}() got multiple values for argument '{keyword}'"
                    )));
                }
                Some(place) => *place = Some(value),
            }
        }
        let mut binding = Binding {
            function: name,
            names: &self.0,
            places: places.into_iter(),
            at: 0,
        };
        A::bind(&mut binding)
    }
}

/// Arguments on their way to their parameters.
pub struct Binding<'a> {
    function: &'a Str,
    names: &'a [&'static str],
    places: std::vec::IntoIter<Option<Object>>,
    at: usize,
}

impl Binding<'_> {
    fn next<T: FromObject>(&mut self) -> Result<T, Exception> {
        let at = self.at;
        self.at += 1;
        let label = || match self.names.get(at) {
            Some(name) => format!("'{name}'"),
            None => format!("{}", at + 1),
        };
        match self.places.next().flatten() {
            Some(object) => T::from_object(object).map_err(|error| {
                Exception::type_error(format!("{}() argument {}: {error}", self.function, label()))
            }),
            None => T::missing().ok_or_else(|| {
                Exception::type_error(format!(
                    "{}() missing required argument {}",
                    self.function,
                    label()
                ))
            }),
        }
    }
}

/// The parameters of a function, as a tuple.
pub trait Arguments: Sized + 'static {
    /// How many there are.
    const COUNT: usize;

    /// Takes them in order.
    ///
    /// # Errors
    ///
    /// A `TypeError` that names the argument that is missing or of the wrong type.
    fn bind(binding: &mut Binding<'_>) -> Result<Self, Exception>;
}

/// What a function may return: a value, an [`Object`], or a `Result` of one of them and an exception.
pub trait Outcome<M> {
    /// Converts.
    ///
    /// # Errors
    ///
    /// The exception that the function raised.
    fn into_outcome(self) -> Result<Object, Exception>;
}

/// Marks an [`Outcome`] that cannot fail.
#[derive(Debug)]
pub struct Plain;
/// Marks an [`Outcome`] that is a `Result`.
#[derive(Debug)]
pub struct Fallible;
/// Marks an [`Outcome`] that is an [`Object`] already.
#[derive(Debug)]
pub struct Referred;

impl<T: Into<Value>> Outcome<Plain> for T {
    fn into_outcome(self) -> Result<Object, Exception> {
        Ok(Object::Value(self.into()))
    }
}

impl Outcome<Referred> for Object {
    fn into_outcome(self) -> Result<Object, Exception> {
        Ok(self)
    }
}

impl<M, T: Outcome<M>, E: Into<Exception>> Outcome<(Fallible, M)> for Result<T, E> {
    fn into_outcome(self) -> Result<Object, Exception> {
        self.map_err(Into::into)?.into_outcome()
    }
}

/// A closure that answers at once.
pub trait SyncFunction<M>: Send + Sync + 'static {
    /// Its parameters.
    type Arguments: Arguments;

    /// Calls it.
    ///
    /// # Errors
    ///
    /// The exception that it raised.
    fn call(&self, arguments: Self::Arguments) -> Result<Object, Exception>;
}

/// A closure that gives a future.
pub trait AsyncFunction<M>: Send + Sync + 'static {
    /// Its parameters.
    type Arguments: Arguments;

    /// Calls it.
    fn call(
        &self,
        arguments: Self::Arguments,
    ) -> impl Future<Output = Result<Object, Exception>> + 'static;
}

macro_rules! arities {
    ($($count:literal: $($name:ident)*;)*) => {$(
        impl<$($name: FromObject + 'static),*> Arguments for ($($name,)*) {
            const COUNT: usize = $count;

            fn bind(_binding: &mut Binding<'_>) -> Result<Self, Exception> {
                Ok(($(_binding.next::<$name>()?,)*))
            }
        }

        impl<Z, R, M, $($name: FromObject + 'static),*> SyncFunction<(M, ($($name,)*))> for Z
        where
            Z: Fn($($name),*) -> R + Send + Sync + 'static,
            R: Outcome<M>,
        {
            type Arguments = ($($name,)*);

            #[allow(non_snake_case)]
            fn call(&self, ($($name,)*): Self::Arguments) -> Result<Object, Exception> {
                self($($name),*).into_outcome()
            }
        }

        impl<Z, Q, R, M, $($name: FromObject + 'static),*> AsyncFunction<(M, ($($name,)*))> for Z
        where
            Z: Fn($($name),*) -> Q + Send + Sync + 'static,
            Q: Future<Output = R> + 'static,
            R: Outcome<M>,
        {
            type Arguments = ($($name,)*);

            #[allow(non_snake_case)]
            fn call(&self, ($($name,)*): Self::Arguments) -> impl Future<Output = Result<Object, Exception>> + 'static {
                let work = self($($name),*);
                async move { work.await.into_outcome() }
            }
        }
    )*};
}

arities! {
    0: ;
    1: A;
    2: A B;
    3: A B C;
    4: A B C D;
    5: A B C D E;
    6: A B C D E F;
    7: A B C D E F G;
    8: A B C D E F G H;
}
