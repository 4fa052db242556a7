//! [`Replay`]: the way down, kept until the peer has it.
//!
//! Pieces are shared with what is on its way, never copied. Their credit stays with them, so whoever sends waits until
//! the peer has acknowledged enough.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::wire::encode_data_head;
use crate::{credit::Credit, message::Write, unit::Chunk};

/// All that was written and is not acknowledged, and how far it was sent on the present link.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pieces: VecDeque<Bytes>,
    /// The credit of each write with the bytes of it that are left.
    owed: VecDeque<(usize, Credit)>,
    /// Bytes of the stream that the peer has, that were sent on this link, that were sent on any link, that were written.
    acknowledged: u64,
    sent: u64,
    furthest: u64,
    written: u64,
    /// Where in `pieces` stands the next byte to be sent.
    piece: usize,
    at: usize,
    /// As far as the peer lets us send.
    limit: u64,
}

/// An offset that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Impossible;

impl Replay {
    pub(super) fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Bytes that wait for their acknowledgement, sent or not.
    pub(super) fn kept(&self) -> usize {
        usize::try_from(self.written - self.acknowledged).unwrap_or(usize::MAX)
    }

    /// True when all that was written was sent on this link.
    pub(super) fn is_all_sent(&self) -> bool {
        self.sent == self.written
    }

    /// Bytes that may be sent now.
    pub(super) fn sendable(&self) -> u64 {
        self.written.min(self.limit).saturating_sub(self.sent)
    }

    pub(super) fn push(&mut self, Write { unit, credit }: Write<Chunk>) {
        if unit.is_empty() {
            return;
        }
        self.written += unit.len() as u64;
        self.owed.push_back((unit.len(), credit));
        self.pieces.extend(unit.into_kept());
    }

    /// The peer has all up to `received_to`, and takes `credit` bytes more.
    pub(super) fn acknowledge(&mut self, received_to: u64, credit: u32) -> Result<(), Impossible> {
        if received_to > self.furthest {
            return Err(Impossible);
        }
        // A link's first word may be older than its last ones, but what was allowed once stays so.
        self.limit = self.limit.max(received_to.saturating_add(credit.into()));
        let count = received_to.saturating_sub(self.acknowledged);
        self.acknowledged += count;
        let mut left = usize::try_from(count).map_err(|_| Impossible)?;
        self.give_back(left);
        while left > 0
            && let Some(piece) = self.pieces.front_mut()
        {
            if piece.len() > left {
                drop(piece.split_to(left));
                if self.piece == 0 {
                    self.at = self.at.saturating_sub(left);
                }
                break;
            }
            left -= piece.len();
            self.pieces.pop_front();
            if self.piece == 0 {
                self.at = 0;
            }
            self.piece = self.piece.saturating_sub(1);
        }
        if self.pieces.is_empty() && self.pieces.capacity() > 1024 {
            self.pieces = VecDeque::new();
            self.owed.shrink_to_fit();
        }
        // An acknowledgement that comes while the same bytes are being sent again saves the rest of them.
        if self.sent < self.acknowledged {
            self.seek(self.acknowledged);
        }
        Ok(())
    }

    /// A new link: the peer has all up to `received_to`. What it lacks is sent again.
    pub(super) fn rewind(&mut self, received_to: u64) -> Result<(), Impossible> {
        if received_to < self.acknowledged {
            return Err(Impossible);
        }
        self.acknowledge(received_to, 0)?;
        self.seek(received_to);
        Ok(())
    }

    /// The link is gone, and all that was on it.
    pub(super) fn detach(&mut self) {
        self.seek(self.acknowledged);
    }

    /// Appends at most `most` bytes of the stream to `chunk`, in messages of at most `longest`, behind what is in `words`.
    pub(super) fn send(
        &mut self,
        most: usize,
        longest: usize,
        words: &mut BytesMut,
        chunk: &mut Chunk,
    ) {
        let sendable = usize::try_from(self.sendable()).unwrap_or(usize::MAX);
        let mut left = sendable.min(most);
        while left > 0 {
            let mut length = left.min(longest);
            left -= length;
            encode_data_head(self.sent, length, words);
            chunk.push(words.split().freeze());
            self.sent += length as u64;
            while length > 0 {
                let piece = &self.pieces[self.piece];
                let count = length.min(piece.len() - self.at);
                chunk.push(piece.slice(self.at..self.at + count));
                length -= count;
                self.at += count;
                if self.at == piece.len() {
                    self.piece += 1;
                    self.at = 0;
                }
            }
        }
        self.furthest = self.furthest.max(self.sent);
    }

    /// Continues to send at `offset`, which is not acknowledged yet.
    fn seek(&mut self, offset: u64) {
        self.sent = offset;
        self.piece = 0;
        let mut ahead = usize::try_from(offset - self.acknowledged).unwrap_or(usize::MAX);
        while let Some(piece) = self.pieces.get(self.piece)
            && piece.len() <= ahead
        {
            ahead -= piece.len();
            self.piece += 1;
        }
        self.at = ahead;
    }

    fn give_back(&mut self, mut left: usize) {
        while left > 0
            && let Some((bytes, credit)) = self.owed.front_mut()
        {
            if *bytes > left {
                *bytes -= left;
                // What is above the cap weighs less than its bytes: that credit returns with the last of them.
                let spare = credit.amount().saturating_sub(*bytes);
                drop(credit.split(left.min(spare)));
                break;
            }
            left -= *bytes;
            self.owed.pop_front();
        }
    }
}
