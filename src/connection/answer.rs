//! What this end answers to each request of the peer.

use std::sync::Arc;

use super::{Exported, Link};
use crate::{
    brine::{Str, Value},
    object::Object,
    protocol::{Exception, Request},
    service::{Function, Member, Running},
};

type LocalItem = super::export::LocalItem;

/// The answer, or the work that gives it.
pub(super) fn answer(link: &Arc<Link>, request: Request<Exported>) -> Running {
    match callee(link, &request) {
        None => {}
        Some(Ok(function)) => {
            if let Request::Call { args, kwargs, .. } | Request::CallAttr { args, kwargs, .. } =
                request
            {
                return call(link, &function, args, kwargs);
            }
        }
        Some(Err(exception)) => {
            link.give_back_all(request.into_items());
            return Running::Done(Err(exception));
        }
    }
    if let Request::Ping { data } = request {
        return Running::Done(Ok(link.import(data)));
    }
    let answer = at_once(link, &request);
    link.give_back_all(request.into_items());
    Running::Done(answer)
}

/// What a request calls, if it is a call.
fn callee(link: &Link, request: &Request<Exported>) -> Option<Result<Function, Exception>> {
    let not_callable = |kind| Exception::type_error(format!("'{kind}' object is not callable"));
    match request {
        Request::Call { object, .. } => Some(match object {
            LocalItem::Ours(Exported::Function(function)) => Ok(function.clone()),
            other => Err(not_callable(other.type_name())),
        }),
        Request::CallAttr { object, name, .. } => Some(match member(link, object, name) {
            Ok(Member::Function(function)) => Ok(function),
            Ok(Member::Constant(value)) => Err(not_callable(value.type_name())),
            Err(exception) => Err(exception),
        }),
        _ => None,
    }
}

fn call(
    link: &Arc<Link>,
    function: &Function,
    args: Vec<LocalItem>,
    kwargs: Vec<(Str, LocalItem)>,
) -> Running {
    let args = args.into_iter().map(|item| link.import(item)).collect();
    let kwargs = kwargs
        .into_iter()
        .map(|(name, item)| (name, link.import(item)))
        .collect();
    function.run(args, kwargs, link)
}

/// An attribute. What is not named by the service does not exist: values have no attributes, either.
fn member(link: &Link, object: &LocalItem, name: &str) -> Result<Member, Exception> {
    let found = match object {
        LocalItem::Ours(Exported::Root(_)) => link.service.member(name),
        LocalItem::Ours(Exported::Function(function)) if name == "__call__" => {
            Some(Member::Function(function.clone()))
        }
        LocalItem::Ours(Exported::Function(function)) if name == "__name__" => {
            Some(Member::Constant(function.name().clone().into()))
        }
        _ => None,
    };
    // Every object of Python has one, and what is written without a docstring has `None`. Inspectors and `help()` rely on it.
    let found = found.or_else(|| {
        (name == "__doc__" && matches!(object, LocalItem::Ours(_)))
            .then_some(Member::Constant(Value::None))
    });
    // The words of RPyC (`core/protocol.py`, `_check_attr`).
    found.ok_or_else(|| Exception::attribute_error(format!("cannot access '{name}'")))
}

/// The answers that need no function of the service.
fn at_once(link: &Link, request: &Request<Exported>) -> Result<Object, Exception> {
    match request {
        Request::GetRoot => Ok(Object::Root(link.service.clone())),
        Request::GetAttr { object, name } => Ok(match member(link, object, name)? {
            Member::Function(function) => Object::Function(function),
            Member::Constant(value) => Object::Value(value),
        }),
        Request::SetAttr { .. } | Request::DelAttr { .. } => {
            Err(Exception::attribute_error("access denied"))
        }
        Request::Repr { object } | Request::Str { object } => Ok(describe(link, object).into()),
        Request::Cmp { object, other, op } => Ok(compare(object, other, op)),
        Request::Hash { object } => hash(object),
        Request::Dir { object } => Ok(match object {
            LocalItem::Ours(Exported::Root(service)) => {
                Value::tuple(service.names().into_iter().map(Value::Str)).into()
            }
            LocalItem::Ours(Exported::Function(_)) => Value::tuple(
                [Str::from_static("__call__"), Str::from_static("__name__")].map(Value::Str),
            )
            .into(),
            _ => Value::Tuple(Vec::new()).into(),
        }),
        Request::Pickle { .. } => Err(Exception::value_error("pickling is disabled")),
        Request::Del { .. } => Ok(Value::None.into()),
        Request::Inspect { object } => Ok(match object {
            Exported::Function(_) => Value::Tuple(vec![Value::from(("__call__", ()))]).into(),
            Exported::Root(_) => Value::Tuple(Vec::new()).into(),
        }),
        Request::BuffIter { object, count } => items(object, *count),
        Request::CtxExit { .. } => Err(Exception::attribute_error("cannot access '__exit__'")),
        Request::InstanceCheck { .. } => Ok(false.into()),
        Request::OldSlicing { .. } => {
            Err(Exception::attribute_error("cannot access '__getitem__'"))
        }
        Request::Ping { .. } | Request::Call { .. } | Request::CallAttr { .. } => {
            unreachable!("these take their arguments with them and are answered before")
        }
    }
}

fn describe(link: &Link, object: &LocalItem) -> String {
    match object {
        LocalItem::Value(value) => value.to_string(),
        LocalItem::Ours(Exported::Root(_)) => format!("<rpyc service {}>", link.service.name()),
        LocalItem::Ours(Exported::Function(function)) => format!("<function {}>", function.name()),
        LocalItem::Theirs(id) => format!("<reference to {}>", id.name()),
        LocalItem::Tuple(_) => "<tuple with references>".into(),
    }
}

/// Only identity is known of references.
fn compare(object: &LocalItem, other: &LocalItem, op: &str) -> Object {
    let (LocalItem::Ours(one), LocalItem::Ours(two)) = (object, other) else {
        return Value::NotImplemented.into();
    };
    match op {
        "__eq__" => (one == two).into(),
        "__ne__" => (one != two).into(),
        _ => Value::NotImplemented.into(),
    }
}

fn hash(object: &LocalItem) -> Result<Object, Exception> {
    use crate::protocol::Export;
    match object {
        // Half of an address always fits, and says nothing about where things are.
        LocalItem::Ours(ours) => Ok(((ours.identity() >> 4) as i64 & i64::from(i32::MAX)).into()),
        other => Err(Exception::type_error(format!(
            "unhashable type: '{}'",
            other.type_name()
        ))),
    }
}

/// The first items of a tuple; nothing else of ours can be iterated over.
fn items(object: &LocalItem, count: Option<u64>) -> Result<Object, Exception> {
    match object {
        LocalItem::Value(Value::Tuple(items)) => {
            let count = count.and_then(|count| usize::try_from(count).ok());
            let count = count.unwrap_or(usize::MAX).min(items.len());
            Ok(Value::Tuple(items[..count].to_vec()).into())
        }
        other => Err(Exception::type_error(format!(
            "'{}' object is not iterable",
            other.type_name()
        ))),
    }
}
