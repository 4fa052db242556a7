//! Reading brine: whole values, and a [`Reader`] that pulls the parts of a message one by one.

mod iterable;

use bytes::Bytes;

use super::{BrineError, Limits, Str, Value, encode::check, integer, tag};

/// Strings up to this many bytes are copied out of the input, longer ones share its memory.
///
/// A shared string keeps the whole buffer behind the input alive, which is a read buffer of up to
/// 256 KiB: an attribute name kept in a map must not cost that. A copy of this size costs about as
/// much as the two atomic operations of sharing.
const COPIED_UP_TO: usize = 256;

/// Reads the value at the start of `input`; bytes after it are ignored, as Python does.
///
/// Byte strings and strings above 256 bytes share the memory of `input`, shorter ones are copies.
///
/// # Errors
///
/// Every [`BrineError`] but `TrailingBytes`.
pub fn decode(input: &Bytes, limits: &Limits) -> Result<Value, BrineError> {
    Reader::new(input, limits).value()
}

/// Reads the value at the start of `input` and says how many bytes it took.
///
/// # Errors
///
/// As for [`decode`].
pub fn decode_prefix(input: &Bytes, limits: &Limits) -> Result<(Value, usize), BrineError> {
    let mut reader = Reader::new(input, limits);
    let value = reader.value()?;
    Ok((value, reader.offset()))
}

/// Pulls values from an input one after the other.
///
/// A message has a known outline, so its reader asks for the header of each tuple and for typed
/// items, and builds a [`Value`] only for what is one. After an error the position is undefined:
/// drop the reader.
///
/// ```
/// use bytes::Bytes;
/// use rpyc::brine::{Limits, Reader};
///
/// let input = Bytes::from_static(b"\x12\x51\x57\x08\x0aa");
/// let mut reader = Reader::new(&input, &Limits::DEFAULT);
/// reader.tuple_of(3)?;
/// assert_eq!(reader.int()?, 1);
/// assert_eq!(reader.int()?, 7);
/// assert_eq!(reader.str_ref()?, "a");
/// reader.finish()?;
/// # Ok::<(), rpyc::brine::BrineError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a Bytes,
    at: usize,
    /// Items that the open tuples have claimed and that were not begun yet. Each takes a byte at
    /// least, so what they claim together can never exceed the bytes left; without this, each
    /// level of nesting could claim (and get memory for) all of the rest once more.
    owed: usize,
    items: usize,
    depth: usize,
    limits: Limits,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `input`.
    pub fn new(input: &'a Bytes, limits: &Limits) -> Self {
        Self {
            input,
            at: 0,
            owed: 0,
            items: 0,
            depth: 0,
            limits: *limits,
        }
    }

    /// How many bytes were read.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// What was not read yet.
    pub fn rest(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    ///
    /// [`BrineError::TrailingBytes`] if something is. Python never checks.
    pub fn finish(&self) -> Result<(), BrineError> {
        match self.rest().len() {
            0 => Ok(()),
            left => Err(BrineError::TrailingBytes {
                offset: self.at,
                left,
            }),
        }
    }

    /// Reads the header of a tuple: that many values follow.
    ///
    /// # Errors
    ///
    /// A [`BrineError`] if there is no tuple, or one with more items than the limits allow or
    /// than there are bytes left.
    #[inline]
    pub fn tuple_len(&mut self) -> Result<usize, BrineError> {
        let (offset, tag) = self.begin("a tuple")?;
        self.tuple_count(offset, tag)
    }

    /// Reads the header of a tuple that must have exactly `len` items.
    ///
    /// # Errors
    ///
    /// As for [`Reader::tuple_len`], and [`BrineError::ItemCount`] for another length.
    #[inline]
    pub fn tuple_of(&mut self, len: usize) -> Result<(), BrineError> {
        let offset = self.at;
        let got = self.tuple_len()?;
        if got != len {
            return Err(BrineError::ItemCount {
                offset,
                expected: len,
                got,
            });
        }
        Ok(())
    }

    /// Reads the header of a pair and its first item in one step, if that is an integer of one byte.
    ///
    /// Every box of a message begins like this. `None` means that nothing was read and that the parts must be read one by
    /// one, which also finds what is wrong with them.
    #[inline]
    pub(crate) fn pair_of_small(&mut self) -> Option<i64> {
        const PAIR: u8 = tag::TUPLE_1 + 1;
        let owed = self.owed.saturating_sub(1);
        let items = self.items.saturating_add(2);
        let &[PAIR, first, ref rest @ ..] = self.rest() else {
            return None;
        };
        if !(tag::SMALL_INT_FIRST..=tag::SMALL_INT_LAST).contains(&first)
            || rest.len() <= owed
            || items > self.limits.items
        {
            return None;
        }
        self.at += 2;
        self.owed = owed + 1;
        self.items = items;
        Some(i64::from(first) - i64::from(tag::SMALL_INT_ZERO))
    }

    /// Passes over a value if its encoding is exactly this. Brine delimits itself, so the bytes decide.
    #[inline]
    pub(crate) fn skip_if(&mut self, encoded: &[u8]) -> bool {
        let same = self.rest().starts_with(encoded);
        if same {
            self.at += encoded.len();
            self.owed = self.owed.saturating_sub(1);
        }
        same
    }

    /// Runs `read` one level deeper, so that a reader which follows nested tuples by recursion is
    /// bound by [`Limits::depth`] as [`Reader::value`] is.
    ///
    /// # Errors
    ///
    /// [`BrineError::LimitExceeded`] if this is too deep; else what `read` returns.
    #[inline]
    pub fn nested<T, E: From<BrineError>>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, E>,
    ) -> Result<T, E> {
        check("depth of nesting", self.limits.depth, self.depth + 1)?;
        self.depth += 1;
        let result = read(self);
        self.depth -= 1;
        result
    }

    /// Reads an integer that fits 64 bits.
    ///
    /// # Errors
    ///
    /// A [`BrineError`] if there is none.
    #[inline]
    pub fn int(&mut self) -> Result<i64, BrineError> {
        let (offset, tag) = self.begin("an integer")?;
        if (tag::SMALL_INT_FIRST..=tag::SMALL_INT_LAST).contains(&tag) {
            return Ok(small_int(tag));
        }
        let text = self.integer_text(offset, tag)?;
        if let Some(number) = integer::parse_short(text, &self.limits) {
            return Ok(number);
        }
        match integer::parse(text, offset, &self.limits)? {
            Value::Int(number) => Ok(number),
            _ => Err(BrineError::IntegerTooLarge { offset }),
        }
    }

    /// Reads a `bool`.
    ///
    /// # Errors
    ///
    /// A [`BrineError`] if there is none; an integer is none.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, BrineError> {
        match self.begin("a bool")? {
            (_, tag::TRUE) => Ok(true),
            (_, tag::FALSE) => Ok(false),
            (offset, tag) => Err(unexpected(offset, "bool", tag)),
        }
    }

    /// Reads a `str`.
    ///
    /// # Errors
    ///
    /// A [`BrineError`] if there is none.
    #[inline]
    pub fn str(&mut self) -> Result<Str, BrineError> {
        let (offset, tag) = self.begin("a string")?;
        self.text(offset, tag).map(|text| self.share_text(text))
    }

    /// Reads a `str` without taking it out of the input.
    ///
    /// # Errors
    ///
    /// A [`BrineError`] if there is none.
    #[inline]
    pub fn str_ref(&mut self) -> Result<&'a str, BrineError> {
        let (offset, tag) = self.begin("a string")?;
        self.text(offset, tag)
    }

    /// Reads a `bytes`.
    ///
    /// # Errors
    ///
    /// A [`BrineError`] if there is none.
    pub fn bytes(&mut self) -> Result<Bytes, BrineError> {
        self.bytes_ref().map(|bytes| self.share(bytes))
    }

    /// Reads a `bytes` without taking it out of the input.
    ///
    /// # Errors
    ///
    /// A [`BrineError`] if there is none.
    #[inline]
    pub fn bytes_ref(&mut self) -> Result<&'a [u8], BrineError> {
        let (offset, tag) = self.begin("a byte string")?;
        self.byte_string(offset, tag)
    }

    /// Reads any value.
    ///
    /// # Errors
    ///
    /// Every [`BrineError`] but `TrailingBytes`.
    pub fn value(&mut self) -> Result<Value, BrineError> {
        self.value_to(|value| value)
    }

    /// Reads any value and hands it to `put`.
    ///
    /// Each arm calls `put` itself, so that the item of a tuple is built where it will stay. A
    /// value returned and then moved is written in small pieces and read back in large ones, and
    /// the processor waits for that: 15 ns an item.
    #[inline]
    fn value_to<R>(&mut self, put: impl FnOnce(Value) -> R) -> Result<R, BrineError> {
        let (offset, tag) = self.begin("a value")?;
        Ok(match tag {
            tag::NONE => put(Value::None),
            tag::TRUE => put(Value::Bool(true)),
            tag::FALSE => put(Value::Bool(false)),
            tag::NOT_IMPLEMENTED => put(Value::NotImplemented),
            tag::ELLIPSIS => put(Value::Ellipsis),
            tag::SMALL_INT_FIRST..=tag::SMALL_INT_LAST => put(Value::Int(small_int(tag))),
            tag::INT_U8 | tag::INT_U32 => {
                let text = self.integer_text(offset, tag)?;
                match integer::parse_short(text, &self.limits) {
                    Some(number) => put(Value::Int(number)),
                    None => put(integer::parse(text, offset, &self.limits)?),
                }
            }
            tag::STR => {
                let text = self.text(offset, tag)?;
                put(Value::Str(self.share_text(text)))
            }
            tag::EMPTY_BYTES | tag::BYTES_1..=tag::BYTES_U32 => {
                let bytes = self.byte_string(offset, tag)?;
                put(Value::Bytes(self.share(bytes)))
            }
            tag::EMPTY_TUPLE | tag::TUPLE_1..=tag::TUPLE_U32 => {
                put(Value::Tuple(self.tuple_items(offset, tag)?))
            }
            tag::FLOAT => put(Value::Float(self.double(offset)?)),
            tag::COMPLEX => {
                let (re, im) = (self.double(offset)?, self.double(offset)?);
                put(Value::Complex { re, im })
            }
            tag::SLICE => {
                let parts = self.iterable(offset)?;
                let parts = <[Value; 3]>::try_from(parts).map_err(|parts| {
                    let got = parts.len();
                    BrineError::ItemCount {
                        offset,
                        expected: 3,
                        got,
                    }
                })?;
                put(Value::Slice(Box::new(parts)))
            }
            tag::FROZEN_SET => put(Value::FrozenSet(self.members(offset)?)),
            tag => return Err(BrineError::UnknownTag { offset, tag }),
        })
    }

    /// Starts a value: its offset and its tag.
    #[inline]
    fn begin(&mut self, what: &'static str) -> Result<(usize, u8), BrineError> {
        let offset = self.at;
        self.owed = self.owed.saturating_sub(1);
        Ok((offset, self.byte(offset, what)?))
    }

    #[inline]
    fn byte(&mut self, offset: usize, what: &'static str) -> Result<u8, BrineError> {
        let Some(&byte) = self.input.get(self.at) else {
            return Err(BrineError::Truncated {
                offset,
                what,
                missing: 1,
            });
        };
        self.at += 1;
        Ok(byte)
    }

    #[inline]
    fn take(
        &mut self,
        len: usize,
        offset: usize,
        what: &'static str,
    ) -> Result<&'a [u8], BrineError> {
        let rest = self.rest();
        let Some(taken) = rest.get(..len) else {
            return Err(BrineError::Truncated {
                offset,
                what,
                missing: len - rest.len(),
            });
        };
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(
        &mut self,
        offset: usize,
        what: &'static str,
    ) -> Result<[u8; N], BrineError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N, offset, what)?);
        Ok(array)
    }

    fn length(&mut self, offset: usize, what: &'static str) -> Result<usize, BrineError> {
        let length = u32::from_be_bytes(self.array(offset, what)?);
        // Where `usize` is smaller than this, the input is too short for it in any case.
        Ok(usize::try_from(length).unwrap_or(usize::MAX))
    }

    fn double(&mut self, offset: usize) -> Result<f64, BrineError> {
        self.array(offset, "a float").map(f64::from_be_bytes)
    }

    fn byte_string(&mut self, offset: usize, tag: u8) -> Result<&'a [u8], BrineError> {
        const WHAT: &str = "a byte string";
        let len = match tag {
            tag::EMPTY_BYTES => 0,
            tag::BYTES_1..=tag::BYTES_4 => usize::from(tag - tag::BYTES_1) + 1,
            tag::BYTES_U8 => usize::from(self.byte(offset, WHAT)?),
            tag::BYTES_U32 => self.length(offset, WHAT)?,
            tag => return Err(unexpected(offset, "bytes", tag)),
        };
        self.take(len, offset, WHAT)
    }

    fn text(&mut self, offset: usize, tag: u8) -> Result<&'a str, BrineError> {
        if tag != tag::STR {
            return Err(unexpected(offset, "str", tag));
        }
        // The text stands in there as a complete value, tag and all.
        let inner = self.byte(offset, "a string")?;
        let bytes = self.byte_string(offset, inner)?;
        str::from_utf8(bytes).map_err(|source| BrineError::InvalidUtf8 { offset, source })
    }

    /// See [`COPIED_UP_TO`].
    fn share(&self, bytes: &'a [u8]) -> Bytes {
        if bytes.len() <= COPIED_UP_TO {
            Bytes::copy_from_slice(bytes)
        } else {
            self.input.slice_ref(bytes)
        }
    }

    fn share_text(&self, text: &'a str) -> Str {
        if text.len() <= COPIED_UP_TO {
            Str::from(text)
        } else {
            // This checks long text twice, which costs little beside what produced it. The
            // alternative is unsafe code.
            Str::try_from(self.input.slice_ref(text.as_bytes())).unwrap_or_else(|_| text.into())
        }
    }

    fn integer_text(&mut self, offset: usize, tag: u8) -> Result<&'a [u8], BrineError> {
        const WHAT: &str = "an integer";
        let len = match tag {
            tag::INT_U8 => usize::from(self.byte(offset, WHAT)?),
            tag::INT_U32 => self.length(offset, WHAT)?,
            tag => return Err(unexpected(offset, "int", tag)),
        };
        self.take(len, offset, WHAT)
    }

    #[inline]
    fn tuple_count(&mut self, offset: usize, tag: u8) -> Result<usize, BrineError> {
        const WHAT: &str = "a tuple";
        let count = match tag {
            tag::EMPTY_TUPLE => 0,
            tag::TUPLE_1..=tag::TUPLE_4 => usize::from(tag - tag::TUPLE_1) + 1,
            tag::TUPLE_U8 => usize::from(self.byte(offset, WHAT)?),
            tag::TUPLE_U32 => self.length(offset, WHAT)?,
            tag => return Err(unexpected(offset, "tuple", tag)),
        };
        let free = self.rest().len().saturating_sub(self.owed);
        if count > free {
            return Err(BrineError::Truncated {
                offset,
                what: WHAT,
                missing: count - free,
            });
        }
        self.count_items(count)?;
        self.owed += count;
        Ok(count)
    }

    fn count_items(&mut self, count: usize) -> Result<(), BrineError> {
        let items = self.items.saturating_add(count);
        check("items in all", self.limits.items, items)?;
        self.items = items;
        Ok(())
    }

    fn tuple_items(&mut self, offset: usize, tag: u8) -> Result<Vec<Value>, BrineError> {
        let count = self.tuple_count(offset, tag)?;
        self.nested(|reader| {
            let mut items = Vec::with_capacity(count);
            for _ in 0..count {
                reader.value_to(|item| items.push(item))?;
            }
            Ok(items)
        })
    }
}

fn small_int(tag: u8) -> i64 {
    i64::from(tag) - i64::from(tag::SMALL_INT_ZERO)
}

#[cold]
fn unexpected(offset: usize, expected: &'static str, tag: u8) -> BrineError {
    match tag::name(tag) {
        Some(got) => BrineError::Unexpected {
            offset,
            expected,
            got,
        },
        None => BrineError::UnknownTag { offset, tag },
    }
}
