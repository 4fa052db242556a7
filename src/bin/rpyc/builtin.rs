//! The built-in service of `rpyc serve`: a few functions that do what the same lines of Python would.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use num_bigint::BigInt;
use num_traits::ToPrimitive;
use rpyc::{Exception, Object, Service, Value, brine::Str};

/// What a reply takes besides the bytes it carries: kind, number, box and lengths.
const REPLY_OVERHEAD: usize = 64;

/// Bytes of the largest blob: with the reply around it, it must fit the largest frame.
const MAX_BLOB: usize = (64 << 20) - REPLY_OVERHEAD;

pub(crate) fn service() -> Service {
    Service::new("Builtin")
        .function_named("add", &["a", "b"], add)
        .function_named("echo", &["value"], |value: Object| value)
        .function_named("upper", &["text"], |text: Str| text.to_uppercase())
        .function_named("blob", &["n"], blob)
        .function_named("fail", &["message"], fail)
        .async_function_named("sleep", &["seconds"], sleep)
}

fn fail(message: Value) -> Result<Value, Exception> {
    Err(Exception::builtin("ValueError", vec![message]))
}

fn blob(n: BigInt) -> Result<Value, Exception> {
    if n < BigInt::ZERO {
        return Err(Exception::value_error("negative count"));
    }
    match n.to_usize() {
        Some(n) if n <= MAX_BLOB => Ok(Value::Bytes(BytesMut::zeroed(n).freeze())),
        _ => Err(Exception::value_error(format!(
            "a blob has at most {MAX_BLOB} bytes"
        ))),
    }
}

async fn sleep(seconds: Value) -> Result<Value, Exception> {
    tracing::debug!(%seconds, "sleeping");
    let time = match number(&seconds) {
        Some(Number::Int(seconds)) => int_to_float(&seconds)?,
        Some(Number::Float(seconds)) => seconds,
        _ => {
            return Err(Exception::type_error(format!(
                "'{}' object cannot be interpreted as an integer",
                python_name(&seconds)
            )));
        }
    };
    if time.is_nan() {
        return Err(Exception::value_error("Invalid value NaN (not a number)"));
    }
    if time < 0.0 {
        return Err(Exception::value_error("sleep length must be non-negative"));
    }
    let time = Duration::try_from_secs_f64(time).map_err(|_| {
        let text = "timestamp too large to convert to C PyTime_t";
        Exception::builtin("OverflowError", vec![text.into()])
    })?;
    // Python's zero does not wait for anything, either.
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
    Ok(seconds)
}

/// Python's `a + b`.
fn add(a: Object, b: Object) -> Result<Object, Exception> {
    let (a, b) = match (a, b) {
        (Object::Value(a), Object::Value(b)) => (a, b),
        // Tuples with references in them are joined like others.
        (a, b) => {
            let names = (python_name_of(&a), python_name_of(&b));
            return match (into_items(a), into_items(b)) {
                (Some(mut a), Some(b)) => {
                    a.extend(b);
                    Ok(Object::Tuple(a))
                }
                _ => Err(cannot_add(&names.0, &names.1)),
            };
        }
    };
    if let (Some(x), Some(y)) = (number(&a), number(&b)) {
        return add_numbers(x, y).map(Object::Value);
    }
    Ok(Object::Value(match (a, b) {
        (Value::Str(a), Value::Str(b)) => Value::from(format!("{a}{b}")),
        (Value::Bytes(a), Value::Bytes(b)) => Value::Bytes(Bytes::from([a, b].concat())),
        (Value::Tuple(mut a), Value::Tuple(b)) => {
            a.extend(b);
            Value::Tuple(a)
        }
        (a, b) => return Err(cannot_add(python_name(&a), python_name(&b))),
    }))
}

/// A number as Python's arithmetic sees it: a bool is an integer.
enum Number {
    Int(BigInt),
    Float(f64),
    Complex(f64, f64),
}

fn number(value: &Value) -> Option<Number> {
    Some(match value {
        Value::Bool(flag) => Number::Int(BigInt::from(u8::from(*flag))),
        Value::Int(number) => Number::Int(BigInt::from(*number)),
        Value::BigInt(number) => Number::Int((**number).clone()),
        Value::Float(number) => Number::Float(*number),
        Value::Complex { re, im } => Number::Complex(*re, *im),
        _ => return None,
    })
}

fn add_numbers(a: Number, b: Number) -> Result<Value, Exception> {
    use Number::{Complex, Float, Int};
    Ok(match (a, b) {
        (Int(a), Int(b)) => Value::from(a + b),
        (a @ (Int(_) | Float(_)), b @ (Int(_) | Float(_))) => {
            Value::Float(real_part(a)? + real_part(b)?)
        }
        (Complex(a, c), Complex(b, d)) => Value::Complex {
            re: a + b,
            im: c + d,
        },
        // The other one becomes complex first, so that a zero of ours loses its minus sign, as Python's does.
        (Complex(re, im), other) | (other, Complex(re, im)) => Value::Complex {
            re: re + real_part(other)?,
            im: im + 0.0,
        },
    })
}

fn real_part(number: Number) -> Result<f64, Exception> {
    match number {
        Number::Int(number) => int_to_float(&number),
        Number::Float(number) | Number::Complex(number, _) => Ok(number),
    }
}

fn int_to_float(number: &BigInt) -> Result<f64, Exception> {
    number
        .to_f64()
        .filter(|float| float.is_finite())
        .ok_or_else(|| {
            let text = "int too large to convert to float";
            Exception::builtin("OverflowError", vec![text.into()])
        })
}

/// The words of CPython, which has its own for each kind of sequence.
fn cannot_add(a: &str, b: &str) -> Exception {
    Exception::type_error(match a {
        "str" | "tuple" => format!("can only concatenate {a} (not \"{b}\") to {a}"),
        "bytes" => format!("can't concat {b} to bytes"),
        _ => format!("unsupported operand type(s) for +: '{a}' and '{b}'"),
    })
}

/// What Python's `type(value).__name__` gives.
fn python_name(value: &Value) -> &'static str {
    match value {
        Value::None => "NoneType",
        Value::NotImplemented => "NotImplementedType",
        other => other.type_name(),
    }
}

fn python_name_of(object: &Object) -> String {
    match object {
        Object::Value(value) => python_name(value).into(),
        Object::Tuple(_) => "tuple".into(),
        Object::Netref(netref) => {
            let name = netref.class_name();
            name.rsplit_once('.').map_or(name, |(_, name)| name).into()
        }
        other => other.type_name().into(),
    }
}

fn into_items(object: Object) -> Option<Vec<Object>> {
    match object {
        Object::Tuple(items) => Some(items),
        Object::Value(Value::Tuple(items)) => Some(items.into_iter().map(Object::Value).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: impl Into<Value>, b: impl Into<Value>) -> String {
        match add(Object::Value(a.into()), Object::Value(b.into())) {
            Ok(object) => crate::output::Shown(&object).to_string(),
            Err(exception) => exception.to_string(),
        }
    }

    fn complex(re: f64, im: f64) -> Value {
        Value::Complex { re, im }
    }

    /// Each expectation was printed by CPython 3.11.
    #[test]
    fn sums_are_those_of_python() {
        let big = |exponent: u32| Value::from(BigInt::from(10).pow(exponent));
        assert_eq!(sum(1, 2), "3");
        assert_eq!(sum(i64::MAX, 1), "9223372036854775808");
        assert_eq!(sum(big(40), -1), format!("{}", "9".repeat(40)));
        assert_eq!(sum(true, true), "2");
        assert_eq!(sum(true, 0.5), "1.5");
        assert_eq!(sum(1, 2.5), "3.5");
        assert_eq!(sum(i64::MAX, 0.0), "9.223372036854776e+18");
        assert_eq!(sum((1_i64 << 53) + 1, 0.0), "9007199254740992.0");
        assert_eq!(sum(big(22), 0.0), "1e+22");
        assert_eq!(
            sum(big(400), 0.5),
            "OverflowError: int too large to convert to float"
        );
        assert_eq!(sum(-0.0, -0.0), "-0.0");
        assert_eq!(sum(complex(1.0, 2.0), complex(0.5, -1.0)), "(1.5+1j)");
        assert_eq!(sum(1, complex(0.0, 1.0)), "(1+1j)");
        assert_eq!(sum(complex(0.0, -0.0), 1.5), "(1.5+0j)");
        assert_eq!(sum("a", "b"), "'ab'");
        assert_eq!(
            sum(Bytes::from_static(b"a"), Bytes::from_static(b"\0")),
            r"b'a\x00'"
        );
        assert_eq!(sum((1,), (2, "x")), "(1, 2, 'x')");
        assert_eq!(sum(Value::tuple([]), Value::tuple([])), "()");
    }

    #[test]
    fn errors_are_in_the_words_of_python() {
        let bytes = || Bytes::from_static(b"a");
        let unsupported =
            |a, b| format!("TypeError: unsupported operand type(s) for +: '{a}' and '{b}'");
        assert_eq!(sum(1, "a"), unsupported("int", "str"));
        assert_eq!(sum((), 1), unsupported("NoneType", "int"));
        assert_eq!(sum(1.5, ()), unsupported("float", "NoneType"));
        assert_eq!(sum(Value::Ellipsis, true), unsupported("ellipsis", "bool"));
        assert_eq!(
            sum(Value::NotImplemented, 1),
            unsupported("NotImplementedType", "int")
        );
        assert_eq!(
            sum(Value::FrozenSet(vec![]), Value::FrozenSet(vec![])),
            unsupported("frozenset", "frozenset")
        );
        assert_eq!(
            sum("a", 1),
            "TypeError: can only concatenate str (not \"int\") to str"
        );
        assert_eq!(
            sum((1,), ()),
            "TypeError: can only concatenate tuple (not \"NoneType\") to tuple"
        );
        assert_eq!(sum(bytes(), "a"), "TypeError: can't concat str to bytes");
        assert_eq!(
            sum("a", bytes()),
            "TypeError: can only concatenate str (not \"bytes\") to str"
        );
    }

    #[test]
    fn blobs_end_below_the_largest_frame() {
        assert!(
            blob(BigInt::from(MAX_BLOB))
                .is_ok_and(|blob| blob.as_bytes().is_some_and(|bytes| bytes.len() == MAX_BLOB))
        );
        assert!(blob(BigInt::from(MAX_BLOB + 1)).is_err());
        assert!(blob(BigInt::from(10).pow(30)).is_err());
        assert_eq!(
            blob(BigInt::from(-1)).unwrap_err().to_string(),
            "ValueError: negative count"
        );
    }
}
