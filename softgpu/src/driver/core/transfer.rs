//! Copies and fills. Arguments are checked at the call (`CUDA_ERROR_INVALID_VALUE`); a range that goes
//! away before the operation runs is an error of the context (`CUDA_ERROR_ILLEGAL_ADDRESS`).

use vgpu_protocol::cuda::{BoxCopy, CUresult, CopyEnd, Place};

use super::context::INLINE_BYTES;
use super::staging::Staged;
use super::{Context, Driver, Result, Target};
use vgpu_engine::memory::{AccessError, Memory, Plain};

/// Rows of equally long pieces of device memory. Units are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::driver) struct Rows {
    pub(in crate::driver) base: u64,
    /// From the start of a row to that of the next.
    pub(in crate::driver) pitch: u64,
    /// Length of a row.
    pub(in crate::driver) width: u64,
    pub(in crate::driver) height: u64,
}

impl Rows {
    /// Starts of the rows.
    fn starts(self) -> impl Iterator<Item = u64> {
        (0..self.height).map(move |row| self.base + row * self.pitch)
    }

    /// Whether values of `unit` bytes fit the rows, and those the memory.
    pub(super) fn check_values(self, driver: &Driver, unit: u64) -> Result {
        if !self.base.is_multiple_of(unit) || (self.height > 1 && !self.pitch.is_multiple_of(unit)) {
            return Err(CUresult::INVALID_VALUE);
        }
        self.check(driver)
    }

    /// Sets all values.
    pub(super) fn fill<T: Plain>(self, driver: &Driver, value: T) -> Result {
        let count = self.width / size_of::<T>() as u64;
        self.starts().try_for_each(|start| driver.memory.fill(start, value, count)).map_err(illegal)
    }

    /// Whether the rows lie in one range and do not overlap.
    fn check(self, driver: &Driver) -> Result {
        let before_last = (self.height - 1).checked_mul(self.pitch).ok_or(CUresult::INVALID_VALUE)?;
        let extent = before_last.checked_add(self.width).ok_or(CUresult::INVALID_VALUE)?;
        if self.height > 1 && self.pitch < self.width {
            return Err(CUresult::INVALID_VALUE);
        }
        check(driver, self.base, extent)
    }
}

impl Target {
    /// Copies into device memory and returns when it is done.
    pub(in crate::driver) fn write(&self, to: u64, from: &[u8]) -> Result {
        if from.is_empty() {
            return Ok(());
        }
        self.check(to, from.len() as u64)?;
        self.refuse_captured()?;
        self.context.run(&self.stream, || self.context.access(self.memory().write(to, from)))
    }

    /// Copies out of device memory and returns when it is done.
    pub(in crate::driver) fn read(&self, to: &mut [u8], from: u64) -> Result {
        if to.is_empty() {
            return Ok(());
        }
        self.check(from, to.len() as u64)?;
        self.refuse_captured()?;
        self.context.run(&self.stream, || self.context.access(self.memory().read(from, to)))
    }

    /// Copies into device memory; returns as soon as `from` may change.
    pub(in crate::driver) fn write_pageable(&self, to: u64, from: &[u8]) -> Result {
        self.check(to, from.len() as u64)?;
        self.refuse_captured()?;
        if let Some(_turn) = self.context.idle_turn(&self.stream) {
            return self.context.access(self.memory().write(to, from));
        }
        match Staged::new(self.context.driver, from) {
            Some(staged) => {
                self.submit(move |context| context.driver.memory.write(to, staged.bytes()).map_err(illegal))
            }
            None => self.write(to, from),
        }
    }

    /// Copies between places that the GPU can reach, in stream order.
    pub(in crate::driver) fn copy(&self, to: u64, from: u64, len: u64) -> Result {
        if len == 0 {
            return Ok(());
        }
        let (dst, src) = (CopyEnd::line(Place::Device(to), 0), CopyEnd::line(Place::Device(from), 0));
        let copy = BoxCopy { dst, src, extent: [len as usize, 1, 1] };
        if self.context.driver.graphs.capture_box(|| Ok(self.view()), &copy)? {
            return Ok(());
        }
        self.check(to, len)?;
        self.check(from, len)?;
        self.light(len, move |context| context.driver.memory.copy(to, from, len).map_err(illegal))
    }

    /// Sets all values in `rows` (whose width is a multiple of the value's size), in stream order.
    pub(in crate::driver) fn fill<T: Plain + Send + 'static>(&self, rows: Rows, value: T) -> Result {
        if rows.width == 0 || rows.height == 0 {
            return Ok(());
        }
        rows.check_values(self.context.driver, size_of::<T>() as u64)?;
        self.light(rows.width.saturating_mul(rows.height), move |context| rows.fill(context.driver, value))
    }

    /// Whether the GPU can reach all of a host range, so that it can be copied asynchronously.
    pub(in crate::driver) fn reaches(&self, address: u64, len: u64) -> bool {
        let driver = self.context.driver;
        driver.range_of(address).is_some_and(|range| range.is_host()) && driver.holds(address, len)
    }

    /// Waits for the stream's work.
    pub(in crate::driver) fn synchronise(&self) -> Result {
        self.context.synchronise_stream(&self.stream)
    }

    /// After a call that need not wait for its work: waits if the range around an address is memory that the
    /// host uses too, or the application wants that of it (`CU_POINTER_ATTRIBUTE_SYNC_MEMOPS`).
    pub(in crate::driver) fn settle(&self, address: u64) -> Result {
        let driver = self.context.driver;
        match driver.range_of(address) {
            Some(range) if range.is_for_host() || driver.allocations.is_synchronous(range.base) => self.synchronise(),
            _ => Ok(()),
        }
    }

    /// Queues a job.
    pub(in crate::driver) fn submit(&self, job: impl FnOnce(&Context) -> Result + Send + 'static) -> Result {
        self.refuse_captured()?;
        self.context.submit(&self.stream, job).map(drop)
    }

    /// Runs a short operation here if nothing has to be awaited, else queues it.
    pub(super) fn light(&self, bytes: u64, job: impl FnOnce(&Context) -> Result + Send + 'static) -> Result {
        self.refuse_captured()?;
        if bytes <= INLINE_BYTES {
            if let Some(_turn) = self.context.idle_turn(&self.stream) {
                return job(&self.context).inspect_err(|error| self.context.fail(*error));
            }
        }
        self.submit(job)
    }

    pub(super) fn check(&self, address: u64, len: u64) -> Result {
        check(self.context.driver, address, len)
    }

    fn memory(&self) -> &Memory {
        &self.context.driver.memory
    }
}

impl Context {
    /// An access that was checked and failed all the same: the range went away while it was in use.
    pub(super) fn access(&self, outcome: std::result::Result<(), AccessError>) -> Result {
        outcome.map_err(illegal).inspect_err(|error| self.fail(*error))
    }
}

fn check(driver: &Driver, address: u64, len: u64) -> Result {
    match driver.holds(address, len) {
        true => Ok(()),
        false => Err(CUresult::INVALID_VALUE),
    }
}

pub(super) fn illegal(error: AccessError) -> CUresult {
    match error {
        AccessError::Illegal(_) => CUresult::ILLEGAL_ADDRESS,
        AccessError::Misaligned(_) => CUresult::MISALIGNED_ADDRESS,
    }
}
