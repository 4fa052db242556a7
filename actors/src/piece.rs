//! [`Piece`]: bytes on the data path, and room around them.

use std::{
    borrow::Borrow,
    fmt,
    ops::{Deref, DerefMut},
};

use bytes::{Buf, Bytes, BytesMut};

use crate::unit::COPY_LIMIT;

/// Room in front of what was read or laid out: for the head of a frame, and for that of a sealed record.
pub(crate) const HEADROOM: usize = 8;
/// Room behind it: for the end of a frame, and for a record's tag.
pub(crate) const TAILROOM: usize = 17;

/// Bytes of a [`Chunk`](crate::Chunk), in memory that is shared or in memory that nobody else sees.
///
/// It reads as a slice and becomes [`Bytes`] without a copy. Layers of this crate write into memory that nobody else sees: a frame's
/// head goes into the room before what was read, and a record is sealed and opened where it lies.
pub struct Piece(Memory);

enum Memory {
    Shared(Bytes),
    Own(Own),
}

/// Memory that nobody else sees: bytes between room that is of no use yet.
#[derive(Debug)]
pub(crate) struct Own {
    memory: BytesMut,
    front: u32,
    behind: u32,
}

impl Piece {
    /// The bytes. Nothing is copied.
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Memory::Shared(bytes) => bytes,
            Memory::Own(own) => own.into_bytes(),
        }
    }

    /// The bytes, for somebody who keeps them: a few of them do not hold all of the memory they were read into.
    pub(crate) fn into_kept(self) -> Bytes {
        match self.0 {
            Memory::Own(own) if own.len() <= COPY_LIMIT => Bytes::copy_from_slice(&own),
            _ => self.into_bytes(),
        }
    }

    /// Leaves so many bytes out at both ends.
    ///
    /// # Panics
    ///
    /// Where there are fewer bytes.
    pub(crate) fn shrink(&mut self, front: usize, behind: usize) {
        match &mut self.0 {
            Memory::Own(own) => own.shrink(front, behind),
            Memory::Shared(bytes) => {
                bytes.advance(front);
                bytes.truncate(bytes.len() - behind);
            }
        }
    }

    /// The same bytes in memory that nobody else sees; copied if they are shared.
    #[cfg(any(feature = "encrypt", test))]
    pub(crate) fn into_own(self) -> Own {
        match self.0 {
            Memory::Own(own) => own,
            Memory::Shared(bytes) => {
                let memory = bytes.try_into_mut();
                Own::new(memory.unwrap_or_else(|bytes| bytes[..].into()), 0, 0)
            }
        }
    }

    /// The memory, if nobody else sees it and there is so much room around the bytes.
    pub(crate) fn try_into_own(self, front: usize, behind: usize) -> Result<Own, Self> {
        match self.0 {
            Memory::Own(own) if own.has_room(front, behind) => Ok(own),
            _ => Err(self),
        }
    }
}

impl Own {
    /// The bytes of `memory` but the first `front` and the last `behind`, which are room.
    pub(crate) fn new(memory: BytesMut, front: usize, behind: usize) -> Self {
        debug_assert!(front + behind <= memory.len());
        Self {
            memory,
            front: front as u32,
            behind: behind as u32,
        }
    }

    fn has_room(&self, front: usize, behind: usize) -> bool {
        self.front as usize >= front && self.behind as usize >= behind
    }

    /// Takes so much of the room around the bytes in, which is to be written.
    ///
    /// # Panics
    ///
    /// Where there is less room.
    pub(crate) fn grow(&mut self, front: usize, behind: usize) {
        assert!(self.has_room(front, behind), "there is no such room");
        self.front -= front as u32;
        self.behind -= behind as u32;
    }

    /// Makes room of so many bytes at both ends.
    ///
    /// # Panics
    ///
    /// Where there are fewer bytes.
    pub(crate) fn shrink(&mut self, front: usize, behind: usize) {
        assert!(front + behind <= self.len(), "there are fewer bytes");
        self.front += front as u32;
        self.behind += behind as u32;
    }

    /// Takes the first `count` bytes away, with the room before them.
    #[cfg(any(feature = "encrypt", test))]
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        let front = std::mem::take(&mut self.front);
        Self {
            memory: self.memory.split_to(front as usize + count),
            front,
            behind: 0,
        }
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        let length = self.len();
        let mut bytes = self.memory.freeze();
        bytes.advance(self.front as usize);
        bytes.truncate(length);
        bytes
    }
}

impl Deref for Own {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory[self.front as usize..self.memory.len() - self.behind as usize]
    }
}

impl DerefMut for Own {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        let end = self.memory.len() - self.behind as usize;
        &mut self.memory[self.front as usize..end]
    }
}

impl Deref for Piece {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match &self.0 {
            Memory::Shared(bytes) => bytes,
            Memory::Own(own) => own,
        }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Borrow<[u8]> for Piece {
    fn borrow(&self) -> &[u8] {
        self
    }
}

impl Default for Piece {
    /// No bytes.
    fn default() -> Self {
        Bytes::new().into()
    }
}

impl From<Bytes> for Piece {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self(Memory::Shared(bytes))
    }
}

impl From<Own> for Piece {
    #[inline]
    fn from(own: Own) -> Self {
        Self(Memory::Own(own))
    }
}

impl From<Piece> for Bytes {
    fn from(piece: Piece) -> Self {
        piece.into_bytes()
    }
}

impl Clone for Piece {
    /// Shares shared memory; bytes that nobody else sees are copied.
    fn clone(&self) -> Self {
        Self(Memory::Shared(match &self.0 {
            Memory::Shared(bytes) => bytes.clone(),
            Memory::Own(own) => Bytes::copy_from_slice(own),
        }))
    }
}

impl PartialEq for Piece {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl Eq for Piece {}

impl<T: AsRef<[u8]> + ?Sized> PartialEq<&T> for Piece {
    fn eq(&self, other: &&T) -> bool {
        self[..] == *other.as_ref()
    }
}

impl fmt::Debug for Piece {
    /// As [`Bytes`] show themselves.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&Bytes::copy_from_slice(self), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(text: &[u8], front: usize, behind: usize) -> Own {
        let mut memory = BytesMut::zeroed(front);
        memory.extend_from_slice(text);
        memory.extend_from_slice(&vec![0; behind]);
        Own::new(memory, front, behind)
    }

    #[test]
    fn room_becomes_bytes_and_bytes_become_room() {
        let mut text = own(b"text", 2, 1);
        text.grow(2, 1);
        text[..2].copy_from_slice(b"a ");
        text[6..].copy_from_slice(b"s");
        assert_eq!(&text[..], b"a texts");
        text.shrink(2, 1);
        assert_eq!(&text.into_bytes()[..], b"text");
    }

    #[test]
    #[should_panic(expected = "there is no such room")]
    fn room_ends() {
        own(b"text", 2, 1).grow(0, 2);
    }

    #[test]
    fn only_memory_of_its_own_with_room_enough_is_given_out() {
        let piece = Piece::from(own(b"text", 2, 1));
        let piece = piece.try_into_own(3, 1).expect_err("too little in front");
        let piece = piece.try_into_own(2, 2).expect_err("too little behind");
        assert_eq!(
            &piece.try_into_own(2, 1).expect("as much as that")[..],
            b"text"
        );
        let shared = Piece::from(Bytes::from_static(b"text"));
        assert_eq!(shared.try_into_own(0, 0).expect_err("shared"), b"text");
    }

    #[test]
    fn a_front_takes_the_room_before_it_along() {
        let mut rest = own(b"abcdef", 3, 4);
        let mut front = rest.split_to(2);
        front.grow(3, 0);
        assert_eq!(&front[..], b"\0\0\0ab");
        rest.grow(0, 4);
        assert_eq!(&rest[..], b"cdef\0\0\0\0");
    }

    #[test]
    fn few_bytes_that_are_kept_do_not_hold_what_they_were_read_into() {
        for (size, is_copied) in [(COPY_LIMIT, true), (COPY_LIMIT + 1, false)] {
            let piece = Piece::from(own(&vec![7; size], HEADROOM, TAILROOM));
            let before = piece.as_ptr();
            let kept = piece.into_kept();
            assert_eq!(kept, vec![7; size]);
            assert_eq!(kept.as_ptr() != before, is_copied, "{size} bytes");
        }
    }

    #[test]
    fn shared_bytes_are_written_to_only_as_a_copy() {
        let shared = Bytes::from(vec![1; 8]);
        let mut copy = Piece::from(shared.clone()).into_own();
        copy[0] = 2;
        assert_eq!(shared, vec![1; 8]);
        // Nobody else has these any more.
        let before = shared.as_ptr();
        assert_eq!(Piece::from(shared).into_own().as_ptr(), before);
    }

    #[test]
    fn a_clone_sees_nothing_of_what_is_written_later() {
        let piece = Piece::from(own(b"text", 2, 1));
        let clone = piece.clone();
        let mut text = piece.try_into_own(2, 1).expect("its own");
        text[0] = b'n';
        assert_eq!((&text[..], &clone[..]), (&b"next"[..], &b"text"[..]));
    }
}
