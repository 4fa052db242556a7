//! The bytes of a frame, part by part and in words.

use bytes::Bytes;
use rpyc::{
    brine::{Limits, decode_prefix},
    protocol::Handler,
};

/// Bytes in front of the payload: four of length, one of flags.
const HEAD: usize = 5;

/// Some bytes of a frame, what they are called and what they say.
#[derive(Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) bytes: Bytes,
    pub(crate) name: &'static str,
    pub(crate) meaning: String,
}

/// Cuts the frames in `bytes` into their parts; what makes no sense to it is one part without a name.
pub(crate) fn frames(bytes: &Bytes) -> Vec<Vec<Part>> {
    let mut frames = Vec::new();
    let mut rest = bytes.clone();
    while !rest.is_empty() {
        let length = rest
            .first_chunk()
            .map(|length| u32::from_be_bytes(*length) as usize);
        let whole = length
            .map_or(rest.len(), |length| length + HEAD + 1)
            .min(rest.len());
        frames.push(dissect(rest.split_to(whole)));
    }
    frames
}

fn dissect(frame: Bytes) -> Vec<Part> {
    let mut knife = Knife {
        parts: Vec::new(),
        rest: frame.clone(),
    };
    // Whatever is left when it stops understanding is shown all the same.
    if knife.frame().is_none() && !knife.rest.is_empty() {
        let rest = knife.rest.len();
        let _ = knife.cut(rest, "", "");
    }
    knife.parts
}

struct Knife {
    parts: Vec<Part>,
    rest: Bytes,
}

impl Knife {
    fn cut(&mut self, count: usize, name: &'static str, meaning: impl Into<String>) -> Option<()> {
        if count > self.rest.len() {
            return None;
        }
        self.parts.push(Part {
            bytes: self.rest.split_to(count),
            name,
            meaning: meaning.into(),
        });
        Some(())
    }

    fn frame(&mut self) -> Option<()> {
        let length = u32::from_be_bytes(*self.rest.first_chunk()?);
        self.cut(4, "length", format!("{length} bytes of payload"))?;
        let flag = *self.rest.first()?;
        let meaning = if flag == 0 {
            "not compressed"
        } else {
            "compressed with zlib"
        };
        self.cut(1, "flag", meaning)?;
        let kind = *self.rest.first()?;
        let meaning = match kind {
            1 => "a request",
            2 => "a reply",
            3 => "an exception",
            _ => return None,
        };
        self.cut(1, "type", meaning)?;
        // The tag of a tuple of two is part of what it begins with.
        self.value(1, "seq", |seq| {
            format!("number {seq}, which the answer repeats")
        })?;
        if kind == 1 {
            self.value(1, "handler", |number| {
                let handler = number.parse().ok().and_then(Handler::from_number);
                match handler {
                    Some(handler) => format!("{number}, {handler:?}"),
                    None => number,
                }
            })?;
        }
        if kind == 3 {
            self.value(0, "exception", |record| record)?;
        } else {
            self.boxed("box")?;
        }
        self.cut(1, "end", "a line feed, which nobody reads")
    }

    /// A brine value behind `before` bytes that belong to it.
    fn value(
        &mut self,
        before: usize,
        name: &'static str,
        meaning: impl FnOnce(String) -> String,
    ) -> Option<()> {
        let (text, count) = self.peek(before)?;
        self.cut(before + count, name, meaning(text))
    }

    fn peek(&self, before: usize) -> Option<(String, usize)> {
        if before > self.rest.len() {
            return None;
        }
        let (value, count) = decode_prefix(&self.rest.slice(before..), &Limits::DEFAULT).ok()?;
        Some((value.to_string(), count))
    }

    /// A pair of a label, which says how to read what follows, and that.
    fn boxed(&mut self, name: &'static str) -> Option<()> {
        let (label, count) = self.peek(1)?;
        let head = 1 + count;
        match label.as_str() {
            "1" => self.value_in_box(head, name, |value| format!("the value {value}")),
            "2" => {
                // Brine's tags for a tuple: none, one to four, or a count of one byte.
                let (items, tag) = match *self.rest.get(head)? {
                    0x02 => (0, 1),
                    tag @ 0x10..=0x13 => (usize::from(tag - 0x0f), 1),
                    0x14 => (usize::from(*self.rest.get(head + 1)?), 2),
                    _ => return None,
                };
                self.cut(
                    head + tag,
                    name,
                    format!("a tuple of {items}, each in a box:"),
                )?;
                (0..items).try_for_each(|_| self.boxed(""))
            }
            "3" => self.value_in_box(head, name, |id| format!("your object {id}")),
            "4" => self.value_in_box(head, name, |id| format!("my object {id}")),
            _ => None,
        }
    }

    fn value_in_box(
        &mut self,
        head: usize,
        name: &'static str,
        meaning: impl FnOnce(String) -> String,
    ) -> Option<()> {
        self.value(head, name, meaning)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(bytes: &'static [u8]) -> Vec<String> {
        let frames = frames(&Bytes::from_static(bytes));
        let parts = frames.iter().flatten();
        parts
            .map(|part| format!("{:02x?} {} {}", &part.bytes[..], part.name, part.meaning))
            .collect()
    }

    #[test]
    fn every_byte_of_a_request_is_told() {
        assert_eq!(
            shown(b"\0\0\0\x0b\0\x01\x11\x51\x11\x58\x11\x52\x10\x11\x51\x57\n"),
            [
                "[00, 00, 00, 0b] length 11 bytes of payload",
                "[00] flag not compressed",
                "[01] type a request",
                "[11, 51] seq number 1, which the answer repeats",
                "[11, 58] handler 8, CallAttr",
                "[11, 52, 10] box a tuple of 1, each in a box:",
                "[11, 51, 57]  the value 7",
                "[0a] end a line feed, which nobody reads",
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_shown() {
        assert_eq!(
            shown(b"\0\0\0\x02\0\x09\x09\n").last().unwrap(),
            "[09, 09, 0a]  "
        );
        assert_eq!(shown(b"\0\0").last().unwrap(), "[00, 00]  ");
    }
}
