//! Values as Python source, as Python's `repr` writes them.

use std::fmt::{self, Display, Formatter, Write};

use super::{Str, Value};

/// Prints Python source that evaluates to the value.
///
/// It is what Python's `repr` prints but for infinities and NaNs, whose `repr` is no source:
/// they come out as `float('inf')`.
impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Bool(true) => f.write_str("True"),
            Self::Bool(false) => f.write_str("False"),
            Self::Int(number) => write!(f, "{number}"),
            Self::BigInt(number) => write!(f, "{number}"),
            Self::Float(number) => write_float(f, *number),
            Self::Complex { re, im } => write_complex(f, *re, *im),
            Self::Str(text) => write_str(f, text),
            Self::Bytes(bytes) => write_bytes(f, bytes),
            Self::Tuple(items) => match &items[..] {
                [item] => write!(f, "({item},)"),
                items => write_list(f, "(", items, ")"),
            },
            Self::Slice(parts) => write_list(f, "slice(", &parts[..], ")"),
            Self::FrozenSet(members) if members.is_empty() => f.write_str("frozenset()"),
            Self::FrozenSet(members) => write_list(f, "frozenset({", members, "})"),
            Self::Ellipsis => f.write_str("Ellipsis"),
            Self::NotImplemented => f.write_str("NotImplemented"),
        }
    }
}

fn write_list(f: &mut Formatter<'_>, open: &str, items: &[Value], close: &str) -> fmt::Result {
    f.write_str(open)?;
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        Display::fmt(item, f)?;
    }
    f.write_str(close)
}

fn write_float(f: &mut Formatter<'_>, number: f64) -> fmt::Result {
    if !number.is_finite() {
        return write!(f, "float('{}')", digits(number));
    }
    let digits = digits(number);
    f.write_str(&digits)?;
    if !digits.contains(['.', 'e']) {
        f.write_str(".0")?;
    }
    Ok(())
}

fn write_complex(f: &mut Formatter<'_>, re: f64, im: f64) -> fmt::Result {
    if !re.is_finite() || !im.is_finite() {
        f.write_str("complex(")?;
        write_float(f, re)?;
        f.write_str(", ")?;
        write_float(f, im)?;
        return f.write_str(")");
    }
    if re == 0.0 && re.is_sign_positive() {
        return write!(f, "{}j", digits(im));
    }
    let plus = if im.is_sign_negative() { "" } else { "+" };
    write!(f, "({}{plus}{}j)", digits(re), digits(im))
}

/// The shortest digits that read back as `number`, in Python's choice of notation: an exponent
/// below 1e-4 and from 1e16 on.
fn digits(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_owned();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{number:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
        }
        _ => number.to_string(),
    }
}

/// Python takes double quotes only where that spares escapes.
fn quote(has_single: bool, has_double: bool) -> char {
    if has_single && !has_double { '"' } else { '\'' }
}

fn write_str(f: &mut Formatter<'_>, text: &Str) -> fmt::Result {
    let quote = quote(text.contains('\''), text.contains('"'));
    f.write_char(quote)?;
    for char in text.chars() {
        match char {
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            char if char == quote => write!(f, "\\{char}")?,
            char if is_printable(char) => f.write_char(char)?,
            char => match u32::from(char) {
                code @ ..=0xff => write!(f, "\\x{code:02x}")?,
                code @ ..=0xffff => write!(f, "\\u{code:04x}")?,
                code => write!(f, "\\U{code:08x}")?,
            },
        }
    }
    f.write_char(quote)
}

fn is_printable(char: char) -> bool {
    if char.is_ascii() {
        return !char.is_ascii_control();
    }
    // The standard library keeps its table of printable characters behind `escape_debug`. Alone
    // or in front, a combining mark is escaped as well, hence the letter before it.
    let mut buffer = [b'a'; 5];
    let len = 1 + char.encode_utf8(&mut buffer[1..]).len();
    str::from_utf8(&buffer[..len]).is_ok_and(|text| text.escape_debug().count() == 2)
}

fn write_bytes(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let quote = quote(bytes.contains(&b'\''), bytes.contains(&b'"'));
    write!(f, "b{quote}")?;
    for &byte in bytes {
        match byte {
            b'\\' => f.write_str("\\\\")?,
            b'\n' => f.write_str("\\n")?,
            b'\r' => f.write_str("\\r")?,
            b'\t' => f.write_str("\\t")?,
            b' '..=b'~' if char::from(byte) == quote => write!(f, "\\{quote}")?,
            b' '..=b'~' => f.write_char(char::from(byte))?,
            byte => write!(f, "\\x{byte:02x}")?,
        }
    }
    f.write_char(quote)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use num_bigint::BigInt;

    use super::*;

    #[test]
    fn prints_what_python_prints() {
        let pow = |exponent| Value::from(BigInt::from(10).pow(exponent));
        let complex = |re, im| Value::Complex { re, im };
        let slice = Value::Slice(Box::new([Value::None, 2.into(), "a".into()]));
        let expected: &[(Value, &str)] = &[
            (Value::None, "None"),
            (true.into(), "True"),
            ((-7).into(), "-7"),
            (pow(20), "100000000000000000000"),
            (1.0.into(), "1.0"),
            ((-0.0).into(), "-0.0"),
            (18.2.into(), "18.2"),
            (1e15.into(), "1000000000000000.0"),
            (1e16.into(), "1e+16"),
            (1.5e300.into(), "1.5e+300"),
            (0.0001.into(), "0.0001"),
            (0.00001.into(), "1e-05"),
            (5e-324.into(), "5e-324"),
            (f64::INFINITY.into(), "float('inf')"),
            (f64::NEG_INFINITY.into(), "float('-inf')"),
            (f64::NAN.into(), "float('nan')"),
            (complex(13.0, 18.2), "(13+18.2j)"),
            (complex(-1.5, -0.0), "(-1.5-0j)"),
            (complex(0.0, 1.0), "1j"),
            (complex(-0.0, 1.0), "(-0+1j)"),
            (complex(f64::INFINITY, 1.0), "complex(float('inf'), 1.0)"),
            ("text".into(), "'text'"),
            ("it's".into(), "\"it's\""),
            ("'\"".into(), "'\\'\"'"),
            ("\0\t\n\r\\\x7f".into(), r"'\x00\t\n\r\\\x7f'"),
            (
                "é\u{a0}\u{301}\u{200b}\u{ad}漢😀\u{e0001}".into(),
                "'é\\xa0\u{301}\\u200b\\xad漢😀\\U000e0001'",
            ),
            (
                Bytes::from_static(b"a'\0\xff\n").into(),
                "b\"a'\\x00\\xff\\n\"",
            ),
            (Bytes::from_static(b"'\"").into(), "b'\\'\"'"),
            (Value::tuple([]), "()"),
            ((1,).into(), "(1,)"),
            ((1, (2, "a")).into(), "(1, (2, 'a'))"),
            (slice, "slice(None, 2, 'a')"),
            (Value::FrozenSet(vec![]), "frozenset()"),
            (
                Value::FrozenSet(vec![1.into(), 2.into()]),
                "frozenset({1, 2})",
            ),
            (Value::Ellipsis, "Ellipsis"),
            (Value::NotImplemented, "NotImplemented"),
        ];
        for (value, text) in expected {
            assert_eq!(value.to_string(), *text);
        }
    }
}
