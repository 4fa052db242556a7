//! Values as a user types them on the command line: Python's literals, and plain text for everything else.
//!
//! What Python's `ast.literal_eval` takes and RPyC passes by value: `None`, `True`, `False`, `...`, integers of any size, floats, imaginary numbers,
//! strings and byte strings with all their prefixes and escapes, and tuples of these. Lists, sets and dicts are no values to RPyC, so they are
//! text here, and so are `1, 2` without parentheses, `a + b`, `"a" "b"` and `\N{name}`.

use num_bigint::BigInt;
use rpyc::brine::Value;

/// As deep as Python's own parser goes. What brine refuses below that is refused when it is sent, by a name.
const MAX_DEPTH: usize = 200;

/// The value that `text` stands for. Text that is no literal stands for itself, so that names need no quotes; `'"1"'` is the text `1`.
pub(crate) fn parse(text: &str) -> Value {
    let mut parser = Parser {
        rest: text.trim_ascii(),
    };
    match parser.value(0) {
        Some(value) if parser.rest.is_empty() => value,
        _ => Value::Str(text.into()),
    }
}

/// A recursive descent over what is left of the text. `None` says "not a literal", and ends it all.
struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn value(&mut self, depth: usize) -> Option<Value> {
        if self.take("(") {
            return self.tuple(depth + 1);
        }
        if self.take("...") {
            return Some(Value::Ellipsis);
        }
        for (word, value) in [
            ("None", Value::None),
            ("True", Value::Bool(true)),
            ("False", Value::Bool(false)),
        ] {
            if self
                .rest
                .strip_prefix(word)
                .is_some_and(|rest| !rest.starts_with(is_word))
            {
                self.take(word);
                return Some(value);
            }
        }
        if self
            .rest
            .starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c))
        {
            return self.number();
        }
        self.string()
    }

    /// What follows the opening parenthesis. `(1)` is 1, `(1,)` a tuple.
    fn tuple(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut items = Vec::new();
        let mut comma = true;
        loop {
            self.blanks();
            if self.take(")") {
                return match items.len() {
                    1 if !comma => items.pop(),
                    _ => Some(Value::Tuple(items)),
                };
            }
            if !comma {
                return None;
            }
            items.push(self.value(depth)?);
            self.blanks();
            comma = self.take(",");
        }
    }

    fn number(&mut self) -> Option<Value> {
        let negative = match self.rest.as_bytes()[0] {
            b'-' => true,
            b'+' => false,
            _ => return self.unsigned(false),
        };
        self.skip(1);
        self.unsigned(negative)
    }

    fn unsigned(&mut self, negative: bool) -> Option<Value> {
        let sign = if negative { -1.0 } else { 1.0 };
        for (prefix, radix) in [("0x", 16), ("0o", 8), ("0b", 2)] {
            if self
                .rest
                .get(..2)
                .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
            {
                self.skip(2);
                // Here alone may an underscore stand first.
                self.take("_");
                let digits = self.digits(radix)?;
                return self.integer(&digits, radix, negative);
            }
        }
        let whole = self.digits(10);
        let mut text = whole.clone().unwrap_or_default();
        let mut float = false;
        if self.take(".") {
            float = true;
            text.push('.');
            // `1.` and `.5` are numbers, `.` is not.
            match (self.digits(10), &whole) {
                (Some(digits), _) => text.push_str(&digits),
                (None, Some(_)) => {}
                (None, None) => return None,
            }
        } else if whole.is_none() {
            return None;
        }
        if self.rest.starts_with(['e', 'E']) {
            float = true;
            self.skip(1);
            text.push('e');
            if self.take("-") {
                text.push('-');
            } else {
                self.take("+");
            }
            text.push_str(&self.digits(10)?);
        }
        if self.rest.starts_with(['j', 'J']) {
            self.skip(1);
            self.end_of_word()?;
            return Some(Value::Complex {
                re: 0.0 * sign,
                im: sign * text.parse::<f64>().ok()?,
            });
        }
        if float {
            self.end_of_word()?;
            return Some(Value::Float(sign * text.parse::<f64>().ok()?));
        }
        // Python takes 00 but not 007, which is good for house numbers and the like.
        if text.len() > 1 && text.starts_with('0') && text.bytes().any(|digit| digit != b'0') {
            return None;
        }
        self.integer(&text, 10, negative)
    }

    fn integer(&self, digits: &str, radix: u32, negative: bool) -> Option<Value> {
        self.end_of_word()?;
        let number = BigInt::parse_bytes(digits.as_bytes(), radix)?;
        Some(Value::from(if negative { -number } else { number }))
    }

    /// Digits with single underscores between them, which are left out.
    fn digits(&mut self, radix: u32) -> Option<String> {
        let mut digits = String::new();
        let mut chars = self.rest.char_indices().peekable();
        let mut end = 0;
        while let Some((at, c)) = chars.next() {
            if c.is_digit(radix) {
                digits.push(c);
                end = at + 1;
            } else if c != '_'
                || at == 0
                || end != at
                || !chars.peek().is_some_and(|(_, next)| next.is_digit(radix))
            {
                break;
            }
        }
        self.skip(end);
        (!digits.is_empty()).then_some(digits)
    }

    fn end_of_word(&self) -> Option<()> {
        (!self.rest.starts_with(|c| is_word(c) || c == '.')).then_some(())
    }

    fn string(&mut self) -> Option<Value> {
        let quote = self.rest.find(['"', '\''])?;
        let (raw, bytes) = match self.rest[..quote].to_ascii_lowercase().as_str() {
            "" | "u" => (false, false),
            "r" => (true, false),
            "b" => (false, true),
            "rb" | "br" => (true, true),
            _ => return None,
        };
        self.skip(quote);
        let quote = &self.rest[..1];
        let triple = quote.repeat(3);
        let long = self.take(&triple);
        if !long {
            self.skip(1);
        }
        let end = if long { triple.as_str() } else { quote };
        let mut content = Vec::new();
        while !self.take(end) {
            let c = self.next()?;
            if c == '\n' && !long || bytes && !c.is_ascii() {
                return None;
            }
            if c != '\\' {
                push(&mut content, c);
            } else if raw {
                // Even here a quote after a backslash does not end the string, and both stay.
                content.push(b'\\');
                let next = self.next()?;
                if bytes && !next.is_ascii() {
                    return None;
                }
                push(&mut content, next);
            } else {
                self.escape(bytes, &mut content)?;
            }
        }
        if bytes {
            return Some(Value::Bytes(content.into()));
        }
        let text = String::from_utf8(content).expect("only whole characters were pushed");
        Some(Value::Str(text.into()))
    }

    /// What follows a backslash. As in Python, an unknown escape stands for itself, backslash included.
    fn escape(&mut self, bytes: bool, content: &mut Vec<u8>) -> Option<()> {
        let code = match self.next()? {
            '\n' => return Some(()),
            c @ ('\\' | '\'' | '"') => u32::from(c),
            'a' => 7,
            'b' => 8,
            't' => 9,
            'n' => 10,
            'v' => 11,
            'f' => 12,
            'r' => 13,
            'x' => self.hex(2)?,
            'u' if !bytes => self.hex(4)?,
            'U' if !bytes => self.hex(8)?,
            'N' if !bytes => return None,
            c @ '0'..='7' => {
                let mut code = c.to_digit(8)?;
                for _ in 0..2 {
                    let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8)) else {
                        break;
                    };
                    self.skip(1);
                    code = code * 8 + digit;
                }
                code
            }
            c if bytes && !c.is_ascii() => return None,
            c => {
                content.push(b'\\');
                push(content, c);
                return Some(());
            }
        };
        if bytes {
            content.push(u8::try_from(code & 0xff).expect("one byte is left"));
        } else {
            // Half of a surrogate pair is a character to Python, but no text that can be sent.
            push(content, char::from_u32(code)?);
        }
        Some(())
    }

    fn hex(&mut self, count: usize) -> Option<u32> {
        let digits = self
            .rest
            .get(..count)
            .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))?;
        self.skip(count);
        u32::from_str_radix(digits, 16).ok()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.skip(c.len_utf8());
        Some(c)
    }

    fn blanks(&mut self) {
        self.rest = self.rest.trim_ascii_start();
    }

    fn take(&mut self, prefix: &str) -> bool {
        let found = self.rest.starts_with(prefix);
        if found {
            self.skip(prefix.len());
        }
        found
    }

    fn skip(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn push(content: &mut Vec<u8>, c: char) {
    content.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Str(text.into())
    }

    fn raw(bytes: &'static [u8]) -> Value {
        Value::Bytes(bytes.into())
    }

    #[test]
    fn words_are_constants() {
        assert_eq!(parse("None"), Value::None);
        assert_eq!(parse("True"), Value::Bool(true));
        assert_eq!(parse(" False "), Value::Bool(false));
        assert_eq!(parse("..."), Value::Ellipsis);
    }

    #[test]
    fn integers_have_any_size_and_base() {
        for (literal, number) in [
            ("1", 1),
            ("-1", -1),
            ("+5", 5),
            ("0", 0),
            ("00", 0),
            ("-0", 0),
            ("1_000_000", 1_000_000),
            ("0x_fF", 255),
            ("-0b101", -5),
            ("0o17", 15),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse(literal), Value::Int(number), "{literal}");
        }
        let big = BigInt::from(10).pow(40);
        assert_eq!(
            parse(&format!("1{}", "0".repeat(40))),
            Value::from(big.clone())
        );
        assert_eq!(parse(&format!("-1{}", "0".repeat(40))), Value::from(-big));
    }

    #[test]
    fn floats_and_imaginary_numbers() {
        for (literal, number) in [
            ("-2.5", -2.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1_0.2_5E-1", 1.025),
            ("007.5", 7.5),
            ("1e999", f64::INFINITY),
        ] {
            assert_eq!(parse(literal), Value::Float(number), "{literal}");
        }
        assert!(parse("-0.0").same_bits(&Value::Float(-0.0)));
        assert_eq!(parse("2j"), Value::Complex { re: 0.0, im: 2.0 });
        assert_eq!(parse("-1.5J"), Value::Complex { re: -0.0, im: -1.5 });
    }

    #[test]
    fn quotes_make_text() {
        for (literal, content) in [
            (r#""text""#, "text"),
            ("'text'", "text"),
            ("''", ""),
            (r#"'"'"#, "\""),
            (r#""1""#, "1"),
            ("u'é'", "é"),
            (r"'\'\\\n\x41\u00e9\U0001f600\101\0'", "'\\\nAé😀A\0"),
            (r"'\q'", "\\q"),
            (r"r'\n'", "\\n"),
            (r"r'\''", "\\'"),
            ("'''it's\nlong'''", "it's\nlong"),
            ("'a\\\nb'", "ab"),
        ] {
            assert_eq!(parse(literal), text(content), "{literal}");
        }
    }

    #[test]
    fn b_makes_bytes() {
        assert_eq!(parse(r#"b"raw""#), raw(b"raw"));
        assert_eq!(parse("b''"), raw(b""));
        assert_eq!(
            parse(r"B'\x00\xff\377\n\u00e9'"),
            raw(b"\0\xff\xff\n\\u00e9")
        );
        assert_eq!(parse(r"Rb'\x00'"), raw(br"\x00"));
    }

    #[test]
    fn parentheses_make_tuples() {
        assert_eq!(parse("()"), Value::tuple([]));
        assert_eq!(parse("( )"), Value::tuple([]));
        assert_eq!(parse("(1,)"), Value::tuple([Value::Int(1)]));
        assert_eq!(parse("(1)"), Value::Int(1));
        assert_eq!(
            parse("((1), (2,),)"),
            Value::tuple([Value::Int(1), Value::tuple([Value::Int(2)])])
        );
        assert_eq!(
            parse(r#"(1, ("a)", b'('), None)"#),
            Value::tuple([
                Value::Int(1),
                Value::tuple([text("a)"), raw(b"(")]),
                Value::None
            ])
        );
    }

    #[test]
    fn everything_else_is_text_as_it_stands() {
        for plain in [
            "",
            " ",
            "hello",
            " hello ",
            "None.",
            "Nonesuch",
            "True!",
            "1.2.3",
            "127.0.0.1",
            "12abc",
            "007",
            "1__0",
            "1_",
            "_1",
            "0x",
            "0xg",
            "1e",
            "1e+",
            "-",
            "+",
            ".",
            "..",
            "....",
            "--1",
            "- 1",
            "1 2",
            "1,2",
            "(1",
            "1)",
            "(1,,2)",
            "(,)",
            "(1 2)",
            "(a, b)",
            "[1]",
            "{}",
            "'",
            "'a",
            "'a'b",
            "'a' 'b'",
            "x'a'",
            "'a\nb'",
            "b'é'",
            r"b'\é'",
            r"'\xg0'",
            r"'\x4'",
            r"'\ud800'",
            r"'\N{BULLET}'",
            r"'\'",
            "it's",
            "é",
            "-é",
            "1é",
            "inf",
            "nan",
            "1+2j",
        ] {
            assert_eq!(parse(plain), text(plain), "{plain:?}");
        }
    }

    #[test]
    fn nesting_has_an_end() {
        let nested = |depth| format!("{}{}", "(".repeat(depth), ")".repeat(depth));
        assert!(parse(&nested(MAX_DEPTH)).as_tuple().is_some());
        for depth in [MAX_DEPTH + 1, 100_000] {
            assert_eq!(parse(&nested(depth)), text(&nested(depth)));
        }
    }
}
