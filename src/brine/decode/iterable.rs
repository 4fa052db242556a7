//! What stands inside slices and frozen sets.

use std::collections::BTreeSet;

use super::Reader;
use crate::brine::{BrineError, Str, Value, tag};

impl Reader<'_> {
    /// What a slice or a frozen set is made of. That is a tuple, but Python iterates over anything
    /// that stands there: over bytes as integers, over text as strings of one character.
    pub(super) fn iterable(&mut self, offset: usize) -> Result<Vec<Value>, BrineError> {
        match self.byte(offset, "a sequence")? {
            tag @ (tag::EMPTY_BYTES | tag::BYTES_1..=tag::BYTES_U32) => {
                let bytes = self.byte_string(offset, tag)?;
                self.count_items(bytes.len())?;
                let item = |byte: &u8| Value::Int(i64::from(*byte));
                Ok(bytes.iter().map(item).collect())
            }
            tag::STR => {
                let text = self.text(offset, tag::STR)?;
                self.count_items(text.chars().count())?;
                let item = |char: char| Value::Str(Str::from(&*char.encode_utf8(&mut [0; 4])));
                Ok(text.chars().map(item).collect())
            }
            tag::FROZEN_SET => self.nested(|reader| reader.members(offset)),
            tag => self.tuple_items(offset, tag),
        }
    }

    /// The members of a frozen set, each once.
    ///
    /// Members are the same if their encodings are: no encoder writes one twice, and comparing
    /// the values themselves could be made costly by nesting sets.
    pub(super) fn members(&mut self, offset: usize) -> Result<Vec<Value>, BrineError> {
        let tag = match self.input.get(self.at) {
            Some(&tag @ (tag::EMPTY_TUPLE | tag::TUPLE_1..=tag::TUPLE_U32)) => tag,
            _ => {
                let mut members = self.iterable(offset)?;
                let mut seen = BTreeSet::new();
                members.retain(|member| match member {
                    Value::Int(number) => seen.insert(number.to_be_bytes().to_vec()),
                    Value::Str(text) => seen.insert(text.as_bytes().to_vec()),
                    _ => true,
                });
                return Ok(members);
            }
        };
        self.at += 1;
        let count = self.tuple_count(offset, tag)?;
        self.nested(|reader| {
            let mut members = Vec::with_capacity(count);
            let mut seen = BTreeSet::new();
            for _ in 0..count {
                let start = reader.at;
                let member = reader.value()?;
                if seen.insert(&reader.input[start..reader.at]) {
                    members.push(member);
                }
            }
            Ok(members)
        })
    }
}
