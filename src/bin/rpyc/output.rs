//! What the command prints: objects as text and as JSON, numbers for people, and colour where it is wanted.

use std::{
    fmt::{self, Display, Formatter},
    io::{self, IsTerminal, Write},
    time::Duration,
};

use rpyc::{Object, Value};
use serde_json::json;

/// An object as Python source, as far as it has any.
pub(crate) struct Shown<'a>(pub(crate) &'a Object);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Object::Value(value) => value.fmt(f),
            Object::Tuple(items) => {
                f.write_str("(")?;
                for (index, item) in items.iter().enumerate() {
                    let separator = if index > 0 { ", " } else { "" };
                    write!(f, "{separator}{}", Shown(item))?;
                }
                f.write_str(if items.len() == 1 { ",)" } else { ")" })
            }
            other => write!(f, "<{}>", referred(other)),
        }
    }
}

/// What an object without a value refers to.
fn referred(object: &Object) -> String {
    match object {
        Object::Netref(netref) => format!("reference to {}", clean(netref.class_name())),
        Object::Function(function) => format!("function {}", function.name()),
        other => other.type_name().into(),
    }
}

/// An object as JSON: a tuple is an array, `bytes` are base64, integers beyond 64 bits are strings. What JSON has no form for does not
/// become something else: a set says that it is one, and so does a number that is not finite.
pub(crate) fn json(object: &Object) -> serde_json::Value {
    match object {
        Object::Value(value) => json_of_value(value),
        Object::Tuple(items) => items.iter().map(json).collect(),
        Object::Netref(netref) => json!({ "reference": netref.class_name() }),
        other => json!({ "reference": other.type_name() }),
    }
}

fn json_of_value(value: &Value) -> serde_json::Value {
    match value {
        Value::Float(number) => real(*number),
        Value::Complex { re, im } => json!({ "re": real(*re), "im": real(*im) }),
        Value::Tuple(items) => items.iter().map(json_of_value).collect(),
        Value::FrozenSet(members) => {
            json!({ "frozenset": members.iter().map(json_of_value).collect::<Vec<_>>() })
        }
        Value::Slice(parts) => {
            let [start, stop, step] = parts.each_ref().map(json_of_value);
            json!({ "start": start, "stop": stop, "step": step })
        }
        value => serde_json::to_value(value).expect("JSON has a form for every value"),
    }
}

/// A number that is not finite in the words of Python.
fn real(number: f64) -> serde_json::Value {
    if number.is_finite() {
        json!(number)
    } else {
        json!({ "float": number.to_string().to_lowercase() })
    }
}

/// Text from a peer, with nothing in it that a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    let mut cleaned = String::with_capacity(text.len());
    for char in text.chars() {
        if char.is_control() && !matches!(char, '\n' | '\t') {
            cleaned.extend(char.escape_default());
        } else {
            cleaned.push(char);
        }
    }
    cleaned
}

/// Prints a line at once, so that whoever reads from a pipe has it.
pub(crate) fn line(text: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Whether colour is wanted: on a terminal that knows it, unless the user asked for none (<https://no-color.org>).
pub(crate) fn is_colourful(out: &impl IsTerminal) -> bool {
    out.is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|wish| wish.is_empty())
        && std::env::var_os("TERM").is_none_or(|kind| kind != "dumb")
}

/// A time with three digits or so, and the unit that fits.
pub(crate) fn time(time: Duration) -> String {
    let nanos = time.as_nanos() as f64;
    match nanos {
        ..1e3 => format!("{nanos:.0} ns"),
        ..1e4 => format!("{:.1} µs", nanos / 1e3),
        ..1e6 => format!("{:.0} µs", nanos / 1e3),
        ..1e7 => format!("{:.1} ms", nanos / 1e6),
        ..1e9 => format!("{:.0} ms", nanos / 1e6),
        _ => format!("{:.2} s", nanos / 1e9),
    }
}

/// A count with commas between its thousands.
pub(crate) fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// The value below which `share` of the sorted times lie.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let place = (sorted.len() as f64 * share) as usize;
    sorted
        .get(place.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        let times = [999, 1_000, 12_345, 1_234_567, 12_345_678, 1_234_567_890];
        let shown = times.map(|nanos| time(Duration::from_nanos(nanos)));
        assert_eq!(
            shown,
            ["999 ns", "1.0 µs", "12 µs", "1.2 ms", "12 ms", "1.23 s"]
        );
        assert_eq!(
            [0.0, 999.4, 1_000.0, 1_234_567.0].map(count),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn percentiles_are_among_the_times() {
        let times: Vec<_> = (1..=100).map(Duration::from_secs).collect();
        assert_eq!(percentile(&times, 0.5), Duration::from_secs(51));
        assert_eq!(percentile(&times, 0.99), Duration::from_secs(100));
        assert_eq!(percentile(&times, 1.0), Duration::from_secs(100));
        assert_eq!(percentile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn terminals_are_not_driven_by_peers() {
        assert_eq!(
            clean("a\x1b[31m\n\tb\r\u{9b}"),
            "a\\u{1b}[31m\n\tb\\r\\u{9b}"
        );
    }

    #[test]
    fn values_are_shown_as_source_and_as_json() {
        let root = || Object::Root(rpyc::VoidService.into());
        let object = Object::Tuple(vec![Object::Value(Value::from((1, "a"))), root()]);
        assert_eq!(Shown(&object).to_string(), "((1, 'a'), <object>)");
        assert_eq!(
            json(&object).to_string(),
            r#"[[1,"a"],{"reference":"object"}]"#
        );
        let odd = Value::tuple([
            Value::Float(f64::INFINITY),
            Value::Float(f64::NEG_INFINITY),
            Value::FrozenSet(vec![1.into(), Value::Float(f64::NAN)]),
        ]);
        assert_eq!(
            json(&Object::Value(odd)).to_string(),
            r#"[{"float":"inf"},{"float":"-inf"},{"frozenset":[1,{"float":"nan"}]}]"#
        );
        let one = Object::Tuple(vec![root()]);
        assert_eq!(Shown(&one).to_string(), "(<object>,)");
    }
}
