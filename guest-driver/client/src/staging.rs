//! The home's staging area: a few pieces through which pageable memory is copied.

use std::sync::{Mutex, PoisonError};

use vgpu_protocol::session::{STAGING_OFFSET, STAGING_SIZE};

/// Pieces of the staging area.
const PIECES: usize = 4;
/// Size of a piece, bytes.
pub const PIECE_SIZE: usize = STAGING_SIZE / PIECES / 4096 * 4096;

/// A piece that its holder alone uses.
#[derive(Debug)]
pub struct Piece(usize);

impl Piece {
    /// Where the piece lies in the home, bytes.
    pub fn offset(&self) -> usize {
        STAGING_OFFSET + self.0 * PIECE_SIZE
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Free,
    Held,
    /// In use by the batch of that number.
    Until(u64),
}

/// Who has which piece.
pub struct Staging(Mutex<[State; PIECES]>);

impl Staging {
    /// All pieces free.
    pub fn new() -> Self {
        Staging(Mutex::new([State::Free; PIECES]))
    }

    /// A piece that is free, or whose batch is done.
    pub fn take(&self, is_done: impl Fn(u64) -> bool) -> Option<Piece> {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (index, state) = states.iter_mut().enumerate().find(|(_, state)| match state {
            State::Free => true,
            State::Held => false,
            State::Until(sequence) => is_done(*sequence),
        })?;
        *state = State::Held;
        Some(Piece(index))
    }

    /// Gives a piece back, free once the batch `until` is done.
    pub fn give_back(&self, piece: Piece, until: Option<u64>) {
        let mut states = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = states.get_mut(piece.0) {
            *state = until.map_or(State::Free, State::Until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_pieces_return_when_their_batch_is_done() {
        let staging = Staging::new();
        let pieces: Vec<Piece> = (0..PIECES).map(|_| staging.take(|_| false).unwrap()).collect();
        assert!(staging.take(|_| true).is_none());
        for (sequence, piece) in pieces.into_iter().enumerate() {
            staging.give_back(piece, Some(sequence as u64));
        }
        assert!(staging.take(|_| false).is_none());
        assert_eq!(staging.take(|sequence| sequence == 2).unwrap().offset(), STAGING_OFFSET + 2 * PIECE_SIZE);
    }
}
