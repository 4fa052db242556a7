//! Integers from decimal text.

use num_bigint::BigInt;

use super::{BrineError, Limits, Value, encode::check};

/// Reads what encoders write, as far as it surely fits 64 bits; `None` asks for [`parse`].
#[inline]
pub(super) fn parse_short(text: &[u8], limits: &Limits) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if !(1..=limits.digits.min(18)).contains(&digits.len()) {
        return None;
    }
    let mut number = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number = number * 10 + i64::from(digit);
    }
    Some(if negative { -number } else { number })
}

/// Reads decimal text as Python's `int()` reads bytes.
pub(super) fn parse(text: &[u8], offset: usize, limits: &Limits) -> Result<Value, BrineError> {
    parse_odd(text, limits).unwrap_or_else(|| Err(BrineError::InvalidInteger { offset }))
}

/// Long integers, and those with blanks around them, a plus sign, or single underscores between
/// digits. `None` if Python refuses the text for its form.
fn parse_odd(text: &[u8], limits: &Limits) -> Option<Result<Value, BrineError>> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !blank(byte))?;
    let end = text.iter().rposition(|byte| !blank(byte))?;
    let text = &text[start..=end];
    let (negative, text) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let mut digits = 0;
    let mut last = b'_';
    for &byte in text {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'_' if last != b'_' => {}
            _ => return None,
        }
        last = byte;
    }
    if last == b'_' {
        return None;
    }
    if let Err(error) = check("digits of an integer", limits.digits, digits) {
        return Some(Err(error));
    }
    let digits: Vec<u8> = text.iter().copied().filter(|byte| *byte != b'_').collect();
    let number = BigInt::parse_bytes(&digits, 10)?;
    Some(Ok(Value::from(if negative { -number } else { number })))
}
