//! Files that nobody has to keep: made as they are sent, and hashed as they come.

use std::io::{self, Read, Write};

use sha2::{Digest, Sha256};

/// Writes pseudo-random bytes, and gives their hash.
pub(crate) fn send_file(mut socket: impl Write, size: u64, seed: u64) -> io::Result<[u8; 32]> {
    let (mut hash, mut state, mut left) = (Sha256::new(), seed | 1, size);
    let mut block = vec![0_u8; 256 << 10];
    while left > 0 {
        for word in block.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let count = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
        hash.update(&block[..count]);
        socket.write_all(&block[..count])?;
        left -= count as u64;
    }
    Ok(hash.finalize().into())
}

pub(crate) fn take_file(mut socket: impl Read) -> io::Result<([u8; 32], u64)> {
    let (mut hash, mut taken) = (Sha256::new(), 0);
    let mut block = vec![0_u8; 256 << 10];
    loop {
        let count = socket.read(&mut block)?;
        if count == 0 {
            return Ok((hash.finalize().into(), taken));
        }
        hash.update(&block[..count]);
        taken += count as u64;
    }
}
