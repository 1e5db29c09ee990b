//! Copies from the device to pageable memory: in parts through the staging area, of which the device fills some while
//! this side empties another.

use std::collections::VecDeque;

use vgpu_client::{Pending, Piece, Session, PIECE_SIZE};
use vgpu_protocol::cmd::VgpuCopyDtoHWait;
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::Handle;

use super::Result;
use crate::context;

/// Parts that the device may be filling at a time.
const DEPTH: usize = 3;
/// Into how many parts a copy is divided at least, if they are not too small: the first one is waited for.
const PARTS: usize = 8;
/// Smallest part, bytes: a command for less costs more than it hides.
const SMALLEST: usize = 64 << 10;

/// A part that is being filled, and where it goes.
struct Fetch<'a> {
    piece: Piece,
    pending: Pending,
    target: &'a mut [u8],
}

/// The parts of a copy that are under way. All are waited for, also when the copy has failed: their pieces of the
/// staging area must not be filled for somebody else.
struct Fetches<'a> {
    session: &'static Session,
    total: usize,
    under_way: VecDeque<Fetch<'a>>,
}

impl<'a> Fetches<'a> {
    /// Waits for the oldest part and copies it out.
    fn finish_oldest(&mut self) -> Result {
        let Some(Fetch { piece, pending, target }) = self.under_way.pop_front() else { return Ok(()) };
        let finished = self.session.finish::<VgpuCopyDtoHWait>(pending);
        if finished.is_ok() {
            self.session.read_piece(&piece, target, self.total);
        }
        self.session.give_back(piece, None);
        finished.map(drop)
    }

    /// A piece for one more part. Waits for one only without holding any: threads must not wait for each other's.
    fn piece(&mut self) -> std::result::Result<Piece, CUresult> {
        while self.under_way.len() >= DEPTH {
            self.finish_oldest()?;
        }
        loop {
            if let Some(piece) = self.session.try_piece()? {
                return Ok(piece);
            }
            if self.under_way.is_empty() {
                return self.session.take_piece();
            }
            self.finish_oldest()?;
        }
    }

    fn begin(&mut self, context: u64, src: u64, stream: Handle, target: &'a mut [u8]) -> Result {
        let piece = self.piece()?;
        let dst = self.session.piece_address(&piece);
        match self.session.begin(context, &VgpuCopyDtoHWait { dst, src, size: target.len() as u64, stream }) {
            Ok(pending) => self.under_way.push_back(Fetch { piece, pending, target }),
            Err(error) => {
                self.session.give_back(piece, None);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Drop for Fetches<'_> {
    fn drop(&mut self) {
        while !self.under_way.is_empty() {
            let _ = self.finish_oldest();
        }
    }
}

/// Copies from `src` on the device, in the order of `stream`; returns when all is there.
pub(super) fn to_pageable(session: &'static Session, stream: Handle, target: &mut [u8], src: u64) -> Result {
    let context = context::required()?.handle.0;
    let total = target.len();
    let size = (total / PARTS).next_multiple_of(4096).clamp(SMALLEST, PIECE_SIZE);
    let mut fetches = Fetches { session, total, under_way: VecDeque::new() };
    for (i, part) in target.chunks_mut(size).enumerate() {
        fetches.begin(context, src.wrapping_add((i * size) as u64), stream, part)?;
    }
    while !fetches.under_way.is_empty() {
        fetches.finish_oldest()?;
    }
    Ok(())
}
