//! [`Units`]: finds `u16 length | that many bytes` in what was read, however it is split.

use std::ops::RangeInclusive;

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
    /// What is kept was given out.
    is_given: bool,
}

impl Units {
    /// The next whole unit, without its length; what was used is taken from the front of `input`.
    pub(super) fn next<'a, 'b: 'a>(
        &'a mut self,
        input: &mut &'b [u8],
        lengths: RangeInclusive<usize>,
    ) -> Result<Option<&'a [u8]>, BadLength> {
        if std::mem::take(&mut self.is_given) {
            // Not cleared: an idle connection keeps no room.
            self.kept = Vec::new();
        }
        if self.kept.is_empty() {
            match size(input, &lengths)? {
                Some(size) if size <= input.len() => {
                    let (unit, rest) = input.split_at(size);
                    *input = rest;
                    return Ok(Some(&unit[HEAD..]));
                }
                _ => {}
            }
        }
        // The length first, and then what it says.
        self.keep(HEAD, input);
        let Some(size) = size(&self.kept, &lengths)? else {
            return Ok(None);
        };
        self.keep(size, input);
        self.is_given = self.kept.len() == size;
        Ok(self.is_given.then(|| &self.kept[HEAD..]))
    }

    /// Moves bytes behind what is kept until there are `size`.
    fn keep(&mut self, size: usize, input: &mut &[u8]) {
        let missing = size.saturating_sub(self.kept.len());
        let (more, rest) = input.split_at(missing.min(input.len()));
        self.kept.extend_from_slice(more);
        *input = rest;
    }

    /// Bytes of the unit that came so far, and bytes that it will have if that is known.
    pub(super) fn partial(&self) -> Option<(usize, usize)> {
        if self.is_given || self.kept.is_empty() {
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
