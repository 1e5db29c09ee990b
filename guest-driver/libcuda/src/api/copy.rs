//! Copies between the application's memory and the device.
//!
//! Pinned memory is shared with the worker and is copied from and to in place. Pageable memory goes
//! through the staging area: towards the device the call returns as soon as the source was read,
//! from the device it returns when the destination is complete.

use std::ffi::c_void;

use vgpu_client::{Session, PIECE_SIZE};
use vgpu_protocol::cmd::{
    CuMemcpyDtoDAsyncV2, CuStreamSynchronize, VgpuCopyDtoH, VgpuCopyDtoHWait, VgpuCopyHtoD, VgpuCopyHtoDInline,
    VgpuPointerInfo,
};
use vgpu_protocol::cuda::{CUresult, CUstream, Place};
use vgpu_protocol::{Handle, HandleKind};

use super::{fetch, Result};
use crate::context;
use crate::driver::{driver, Driver};
use crate::memory::Kind;
use crate::stub::{self, bytes, bytes_mut};

/// Largest copy that travels inside its command, bytes.
pub(super) const INLINE_SIZE: usize = 4096;

/// A stream, and whether the call returns only when everything is copied.
#[derive(Clone, Copy)]
pub(super) struct Order {
    driver: &'static Driver,
    pub(super) stream: Handle,
    pub(super) wait: bool,
}

impl Order {
    pub(super) fn new(stream: CUstream, wait: bool) -> std::result::Result<Self, CUresult> {
        let driver = driver()?;
        context::required()?;
        Ok(Order { driver, stream: stub::handle(HandleKind::Stream, stream as u64)?, wait })
    }

    pub(super) fn session(self) -> &'static Session {
        self.driver.session
    }

    pub(super) fn synchronise(self) -> Result {
        stub::call(&CuStreamSynchronize { hStream: self.stream }).map(drop)
    }

    /// Registered memory is read when its turn in the stream has come, for which the call waits; other
    /// pageable memory at the call.
    pub(super) fn before_reading(self, address: u64) -> Result {
        match self.driver.memory.find(address) {
            Some(range) if range.kind == Kind::Registered && !self.wait => self.synchronise(),
            _ => Ok(()),
        }
    }

    /// Whether a host address is pinned; an error if the copy would run out of its allocation.
    pub(super) fn is_pinned(self, address: u64, size: usize) -> std::result::Result<bool, CUresult> {
        match self.session().find(address) {
            Some((start, length)) if length - (address - start) < size as u64 => Err(CUresult::INVALID_VALUE),
            found => Ok(found.is_some()),
        }
    }

    /// Whether a capture takes a copy.
    fn is_captured(self, dst: Place, src: Place, size: usize) -> std::result::Result<bool, CUresult> {
        self.driver.graphs.capture_copy(self.stream.0, dst, src, size)
    }

    /// # Safety
    /// `src` is valid for reads of `size` bytes.
    unsafe fn to_device(self, dst: u64, src: *const c_void, size: usize) -> Result {
        if size == 0 || self.is_captured(Place::Device(dst), Place::Host(src as u64), size)? {
            return Ok(());
        }
        stub::check_range(dst, size as u64)?;
        if self.is_pinned(src as u64, size)? {
            stub::post(&VgpuCopyHtoD { dst, src: src as u64, size: size as u64, stream: self.stream })?;
            return if self.wait { self.synchronise() } else { Ok(()) };
        }
        self.before_reading(src as u64)?;
        // SAFETY: as the caller says.
        let source = unsafe { bytes(src, size)? };
        if size <= INLINE_SIZE {
            return stub::post(&VgpuCopyHtoDInline { dst, stream: self.stream, data: source }).map(drop);
        }
        let context = context::required()?.handle.0;
        for (i, part) in source.chunks(PIECE_SIZE).enumerate() {
            let piece = self.session().take_piece()?;
            self.session().fill_piece(&piece, part);
            let src = self.session().piece_address(&piece);
            let dst = dst.wrapping_add((i * PIECE_SIZE) as u64);
            let command = VgpuCopyHtoD { dst, src, size: part.len() as u64, stream: self.stream };
            self.session().post_with(context, &command, piece)?;
        }
        Ok(())
    }

    /// # Safety
    /// `dst` is valid for writes of `size` bytes; for pinned memory until the stream has got there.
    unsafe fn to_host(self, dst: *mut c_void, src: u64, size: usize) -> Result {
        if size == 0 || self.is_captured(Place::Host(dst as u64), Place::Device(src), size)? {
            return Ok(());
        }
        stub::check_range(src, size as u64)?;
        if self.is_pinned(dst as u64, size)? {
            let (dst, size, stream) = (dst as u64, size as u64, self.stream);
            return match self.wait {
                true => stub::call(&VgpuCopyDtoHWait { dst, src, size, stream }).map(drop),
                false => stub::post(&VgpuCopyDtoH { dst, src, size, stream }).map(drop),
            };
        }
        // SAFETY: as the caller says.
        let target = unsafe { bytes_mut(dst, size)? };
        fetch::to_pageable(self.session(), self.stream, target, src)?;
        stub::latched()
    }

    pub(super) fn on_device(self, dst: u64, src: u64, size: usize) -> Result {
        if size == 0 || self.is_captured(Place::Device(dst), Place::Device(src), size)? {
            return Ok(());
        }
        stub::check_range(dst, size as u64)?;
        stub::check_range(src, size as u64)?;
        stub::post(&CuMemcpyDtoDAsyncV2 { dstDevice: dst, srcDevice: src, ByteCount: size, hStream: self.stream })
            .map(drop)
    }

    /// # Safety
    /// Both ranges are valid for `size` bytes.
    unsafe fn on_host(self, dst: *mut c_void, src: *const c_void, size: usize) -> Result {
        if self.is_captured(Place::Host(dst as u64), Place::Host(src as u64), size)? {
            return Ok(());
        }
        // What the stream still has to do may concern either range.
        self.synchronise()?;
        stub::check_buffer(dst, size)?;
        stub::check_buffer(src, size)?;
        // SAFETY: as the caller says; the ranges may overlap.
        unsafe { std::ptr::copy(src.cast::<u8>(), dst.cast::<u8>(), size) };
        Ok(())
    }

    /// # Safety
    /// Host ends are valid for `size` bytes.
    pub(super) unsafe fn copy(self, dst: End, src: End, size: usize) -> Result {
        // SAFETY: as the caller says.
        unsafe {
            match (dst, src) {
                (End::Device(dst), End::Device(src)) => self.on_device(dst, src, size),
                (End::Device(dst), End::Host(src)) => self.to_device(dst, src as *const c_void, size),
                (End::Host(dst), End::Device(src)) => self.to_host(dst as *mut c_void, src, size),
                (End::Host(dst), End::Host(src)) => self.on_host(dst as *mut c_void, src as *const c_void, size),
            }
        }
    }

    /// What a unified address is: pinned and pageable memory is the host's, all else the device's.
    pub(super) fn classify(self, address: u64) -> std::result::Result<End, CUresult> {
        if let Some(range) = self.driver.memory.find(address) {
            return Ok(if matches!(range.kind, Kind::Host(_) | Kind::Registered) {
                End::Host(address)
            } else {
                End::Device(address)
            });
        }
        let known = stub::create(&VgpuPointerInfo { ptr: address })?.info.known != 0;
        Ok(if known { End::Device(address) } else { End::Host(address) })
    }
}

/// One end of a copy.
#[derive(Clone, Copy)]
pub(super) enum End {
    Host(u64),
    Device(u64),
}

pub(super) fn no_stream() -> CUstream {
    std::ptr::null_mut()
}

pub unsafe fn cuMemcpyHtoD_v2(dst: u64, src: *const c_void, size: usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { Order::new(no_stream(), true)?.to_device(dst, src, size)? };
    stub::settle(dst)
}

pub unsafe fn cuMemcpyHtoDAsync_v2(dst: u64, src: *const c_void, size: usize, stream: CUstream) -> Result {
    // SAFETY: as for the caller.
    unsafe { Order::new(stream, false)?.to_device(dst, src, size) }
}

pub unsafe fn cuMemcpyDtoH_v2(dst: *mut c_void, src: u64, size: usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { Order::new(no_stream(), true)?.to_host(dst, src, size) }
}

pub unsafe fn cuMemcpyDtoHAsync_v2(dst: *mut c_void, src: u64, size: usize, stream: CUstream) -> Result {
    // SAFETY: as for the caller.
    unsafe { Order::new(stream, false)?.to_host(dst, src, size) }
}

/// # Safety
/// As for `cuMemcpy`.
unsafe fn unified(order: Order, dst: u64, src: u64, size: usize) -> Result {
    if size == 0 {
        return Ok(());
    }
    let (dst, src) = (order.classify(dst)?, order.classify(src)?);
    // SAFETY: as the caller says.
    unsafe { order.copy(dst, src, size) }
}

pub unsafe fn cuMemcpy(dst: u64, src: u64, size: usize) -> Result {
    // SAFETY: as for the caller.
    unsafe { unified(Order::new(no_stream(), true)?, dst, src, size)? };
    stub::settle(dst)?;
    stub::settle(src)
}

pub unsafe fn cuMemcpyAsync(dst: u64, src: u64, size: usize, stream: CUstream) -> Result {
    // SAFETY: as for the caller.
    unsafe { unified(Order::new(stream, false)?, dst, src, size) }
}
