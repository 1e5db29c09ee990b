//! The session's shared memory: staging pieces and the arena.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::ARENA_SIZE;

use super::{lock, Session};
use crate::broker::{Broker, OpenError};
use crate::staging::{Piece, PIECE_SIZE};

/// Smallest chunk that is asked for, so that many small allocations need few.
const CHUNK_STEP: u64 = 32 << 20;
/// The first bytes of a longer copy have left the cache before the application looks at them.
const CACHED: usize = 4 << 20;

impl Session {
    /// A piece of the staging area, if one is free now.
    pub fn try_piece(&self) -> Result<Option<Piece>, CUresult> {
        let mut stream = lock(&self.stream);
        self.reap(&mut stream)?;
        Ok(self.staging.take(|sequence| stream.is_done(sequence)))
    }

    /// A piece of the staging area, waiting until one is free.
    pub fn take_piece(&self) -> Result<Piece, CUresult> {
        let mut piece = None;
        let mut broken = Ok(());
        self.waiter.wait(&self.home, || {
            let mut stream = lock(&self.stream);
            broken = self.reap(&mut stream);
            piece = self.staging.take(|sequence| stream.is_done(sequence));
            if piece.is_none() && stream.has_open() {
                if let Ok((_, kick)) = stream.submit(&self.home, false) {
                    self.kick(kick);
                }
            }
            broken.is_err() || piece.is_some()
        })?;
        broken?;
        piece.ok_or(CUresult::UNKNOWN)
    }

    /// Gives a piece back; it is free again when the batch `until` is done.
    pub fn give_back(&self, piece: Piece, until: Option<u64>) {
        self.staging.give_back(piece, until);
    }

    /// Where a piece lies for the worker.
    pub fn piece_address(&self, piece: &Piece) -> u64 {
        self.base + piece.offset() as u64
    }

    /// Copies at most [`PIECE_SIZE`] bytes into a piece.
    pub fn fill_piece(&self, piece: &Piece, from: &[u8]) {
        assert!(from.len() <= PIECE_SIZE);
        if self.is_cpu.load(Ordering::Relaxed) {
            self.home.write_streaming(piece.offset(), from);
        } else {
            self.home.write(piece.offset(), from);
        }
    }

    /// Tells whether the device is a CPU, which reads staging sooner from memory than from this core's cache, and
    /// has better uses for a core than to look for its answers.
    pub fn set_is_cpu(&self, is_cpu: bool) {
        self.is_cpu.store(is_cpu, Ordering::Relaxed);
        self.waiter.set_lingers(!is_cpu);
    }

    /// Has threads sleep rather than look for a while when they wait.
    pub fn wait_asleep(&self) {
        self.waiter.set_lingers(false);
    }

    /// Copies at most [`PIECE_SIZE`] bytes out of a piece, which are part of `total`.
    pub fn read_piece(&self, piece: &Piece, to: &mut [u8], total: usize) {
        assert!(to.len() <= PIECE_SIZE);
        if total > CACHED {
            self.home.read_streaming(piece.offset(), to);
        } else {
            self.home.read(piece.offset(), to);
        }
    }

    /// Allocates shared memory: its address here, in the worker and on the GPU.
    pub fn allocate(&self, length: u64) -> Result<u64, CUresult> {
        if length > ARENA_SIZE {
            return Err(CUresult::OUT_OF_MEMORY);
        }
        // The lock is held throughout, so that two threads do not both ask for a chunk.
        let broker = lock(&self.broker);
        if let Some(address) = lock(&self.arena).allocate(length) {
            return Ok(address);
        }
        self.waiter.alive()?;
        if self.add_chunk(&broker, length.max(CHUNK_STEP)).is_err() {
            self.add_chunk(&broker, length).map_err(|_| CUresult::OUT_OF_MEMORY)?;
        }
        lock(&self.arena).allocate(length).ok_or(CUresult::OUT_OF_MEMORY)
    }

    fn add_chunk(&self, broker: &Broker, length: u64) -> Result<(), OpenError> {
        let (va, size) = lock(&self.arena).plan_chunk(length).ok_or(OpenError::NoAddressSpace)?;
        let mapped = broker.map_chunk(va, size).and_then(|memory| {
            let mapped = self.space.map(memory.as_fd(), 0, va, size as usize);
            mapped.map_err(|error| OpenError::System("cannot map shared memory", error))
        });
        match mapped {
            Ok(()) => lock(&self.arena).add_chunk(va, size),
            Err(_) => lock(&self.arena).abandon_chunk(va, size),
        }
        mapped
    }

    /// Frees shared memory, which the device must not use any more.
    pub fn free(&self, address: u64) -> Result<(), CUresult> {
        let broker = lock(&self.broker);
        let mut arena = lock(&self.arena);
        if !arena.free(address) {
            return Err(CUresult::INVALID_VALUE);
        }
        while let Some((va, size)) = arena.remove_idle_chunk(CHUNK_STEP) {
            let unmapped = self.space.unmap(va, size as usize);
            if unmapped.is_ok() && broker.unmap_chunk(va, size).is_ok() {
                arena.abandon_chunk(va, size);
            }
        }
        Ok(())
    }

    /// The allocation of shared memory that `address` lies in: start and size.
    pub fn find(&self, address: u64) -> Option<(u64, u64)> {
        if address.wrapping_sub(self.base) >= ARENA_SIZE {
            return None;
        }
        lock(&self.arena).find(address)
    }

    /// Copies bytes into an allocation of shared memory.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), CUresult> {
        let (start, size) = self.find(address).ok_or(CUresult::INVALID_VALUE)?;
        if from.len() as u64 > size - (address - start) {
            return Err(CUresult::INVALID_VALUE);
        }
        self.space.write(address, from).map_err(|_| CUresult::INVALID_VALUE)
    }
}
