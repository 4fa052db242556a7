//! [`Units`]: finds `u16 length | that many bytes` in what was read, however it is split.

use std::ops::{Range, RangeInclusive};

/// Bytes of the length in front of each unit.
pub(super) const HEAD: usize = 2;

/// A length that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BadLength(pub(super) usize);

/// The start of a unit whose rest is not here yet; it grows as bytes arrive, and holds no credit, since a unit larger
/// than the cap could never become whole otherwise.
#[derive(Default)]
pub(super) struct Units {
    kept: Vec<u8>,
}

impl Units {
    /// Where in `input` behind `at` the next whole unit is, without its length. Without a whole one, what is there of it is kept.
    pub(super) fn next(
        &mut self,
        input: &[u8],
        at: usize,
        lengths: &RangeInclusive<usize>,
    ) -> Result<Option<Range<usize>>, BadLength> {
        let input = &input[at..];
        match size(input, lengths)? {
            Some(size) if size <= input.len() => Ok(Some(at + HEAD..at + size)),
            _ => {
                self.kept.extend_from_slice(input);
                Ok(None)
            }
        }
    }

    /// Moves bytes of `input` behind what is kept, and counts them. The unit, behind its length, once it is whole.
    pub(super) fn complete(
        &mut self,
        input: &[u8],
        lengths: &RangeInclusive<usize>,
    ) -> Result<(usize, Option<Vec<u8>>), BadLength> {
        // The length first, and then what it says.
        let mut used = self.keep(HEAD, input);
        let Some(size) = size(&self.kept, lengths)? else {
            return Ok((used, None));
        };
        used += self.keep(size, &input[used..]);
        let unit = (self.kept.len() == size).then(|| std::mem::take(&mut self.kept));
        Ok((used, unit))
    }

    /// Moves bytes behind what is kept until there are `size`, and counts them.
    fn keep(&mut self, size: usize, input: &[u8]) -> usize {
        let missing = size.saturating_sub(self.kept.len());
        let more = &input[..missing.min(input.len())];
        self.kept.extend_from_slice(more);
        more.len()
    }

    /// Bytes of the unit that came so far, and bytes that it will have if that is known.
    pub(super) fn partial(&self) -> Option<(usize, usize)> {
        if self.kept.is_empty() {
            return None;
        }
        let due = self
            .kept
            .first_chunk::<HEAD>()
            .map_or(HEAD, |head| HEAD + usize::from(u16::from_be_bytes(*head)));
        Some((self.kept.len(), due))
    }
}

/// The whole size of the unit at the front of `bytes`, once its length is there.
fn size(bytes: &[u8], lengths: &RangeInclusive<usize>) -> Result<Option<usize>, BadLength> {
    let Some(head) = bytes.first_chunk::<HEAD>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*head));
    if lengths.contains(&length) {
        Ok(Some(HEAD + length))
    } else {
        Err(BadLength(length))
    }
}
