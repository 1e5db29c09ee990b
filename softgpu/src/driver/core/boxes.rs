//! Copies of boxes: rows and slices in linear memory or in arrays.

use std::sync::Arc;

use vgpu_engine::memory::{AccessError, Memory};
use vgpu_protocol::cuda::{BoxCopy, CUresult, CopyEnd, Place, Strides};

use super::array::{Array, Storage};
use super::staging::Staged;
use super::transfer::illegal;
use super::{Result, Target};

/// One end of a copy, its arguments checked.
#[derive(Clone, Copy)]
pub(in crate::driver) enum End {
    /// Memory that the GPU reaches, from the address of the box's first byte on.
    Device { address: u64, strides: Strides },
    /// Pageable host memory, likewise.
    Host { address: u64, strides: Strides },
}

/// A copy that can be made.
pub(in crate::driver) struct Checked {
    pub(in crate::driver) dst: End,
    pub(in crate::driver) src: End,
    pub(in crate::driver) extent: [usize; 3],
    /// Whether an end is host memory, so that a call that is not asynchronous waits.
    pub(in crate::driver) host: bool,
    /// Memory of arrays at the ends, which must stay until the copy is made.
    kept: [Option<Arc<Storage>>; 2],
}

impl Target {
    /// Checks a copy that is not empty.
    pub(in crate::driver) fn check_box(&self, copy: &BoxCopy) -> Result<Checked> {
        let mut kept = [None, None];
        let (dst, dst_is_host) = self.end(&copy.dst, copy.extent, &mut kept[0])?;
        let (src, src_is_host) = self.end(&copy.src, copy.extent, &mut kept[1])?;
        Ok(Checked { dst, src, extent: copy.extent, host: dst_is_host || src_is_host, kept })
    }

    /// An end, and whether it is host memory.
    fn end(&self, end: &CopyEnd, extent: [usize; 3], kept: &mut Option<Arc<Storage>>) -> Result<(End, bool)> {
        let driver = self.context.driver;
        let (address, host) = match end.place {
            Place::Array(handle) => {
                let array = Array::of(handle)?;
                *kept = Some(array.storage.clone());
                return array_end(end, &array, extent).map(|end| (end, false));
            }
            Place::Host(address) => (address, true),
            Place::Device(address) => (address, false),
            Place::Unified(address) => (address, driver.range_of(address).is_none_or(|range| range.is_host())),
        };
        let strides = end.strides(extent)?;
        let first = address.checked_add(strides.start as u64).ok_or(CUresult::INVALID_VALUE)?;
        let reached = driver.holds(first, strides.span as u64);
        match (host, reached) {
            (false, false) => Err(CUresult::INVALID_VALUE),
            (true, false) if address == 0 => Err(CUresult::INVALID_VALUE),
            (true, false) => Ok((End::Host { address: first, strides }, true)),
            (_, true) => Ok((End::Device { address: first, strides }, host)),
        }
    }

    /// Copies within what the GPU reaches, in stream order.
    pub(in crate::driver) fn copy_box(&self, to: (u64, Strides), from: (u64, Strides), copy: &Checked) -> Result {
        let [width, height, depth] = copy.extent;
        let kept = copy.kept.clone();
        self.light(bytes(copy.extent), move |context| {
            let rows = to.1.rows(height, depth).zip(from.1.rows(height, depth));
            let copied = copy_rows(&context.driver.memory, to.0, from.0, width, rows);
            drop(kept);
            copied.map_err(illegal)
        })
    }

    /// Copies from pageable memory, which `from` is all of the box's span of; returns as soon as that
    /// may change.
    pub(in crate::driver) fn write_box(&self, to: (u64, Strides), from: (&[u8], Strides), copy: &Checked) -> Result {
        let [width, height, depth] = copy.extent;
        let (context, extent) = (&self.context, copy.extent);
        let now = || {
            let written = write_rows(&context.driver.memory, to, from, extent);
            written.inspect_err(|error| context.fail(*error))
        };
        if let Some(_turn) = context.idle_turn(&self.stream) {
            return now();
        }
        let packed = Strides { start: 0, row: width, slice: width * height, span: width * height * depth };
        let mut rows = from.1.rows(height, depth).filter_map(|row| from.0.get(row..row + width));
        let Some(staged) = Staged::pack(context.driver, packed.span, &mut rows) else {
            return context.run(&self.stream, now);
        };
        let kept = copy.kept.clone();
        self.submit(move |context| {
            let written = write_rows(&context.driver.memory, to, (staged.bytes(), packed), extent);
            drop(kept);
            written
        })
    }

    /// Copies to pageable memory; done when it returns.
    pub(in crate::driver) fn read_box(&self, to: (&mut [u8], Strides), from: (u64, Strides), copy: &Checked) -> Result {
        let [width, height, depth] = copy.extent;
        self.context.run(&self.stream, || {
            for (to_row, from_row) in to.1.rows(height, depth).zip(from.1.rows(height, depth)) {
                let target = to.0.get_mut(to_row..to_row + width).ok_or(CUresult::INVALID_VALUE)?;
                self.context.access(self.context.driver.memory.read(from.0 + from_row as u64, target))?;
            }
            Ok(())
        })
    }

    /// Copies between pageable buffers after the stream's work; done when it returns. `row` copies
    /// one row, given its place at both ends.
    pub(in crate::driver) fn host_box(
        &self,
        to: Strides,
        from: Strides,
        copy: &Checked,
        row: impl Fn(usize, usize),
    ) -> Result {
        let [_, height, depth] = copy.extent;
        self.context.run(&self.stream, || {
            to.rows(height, depth).zip(from.rows(height, depth)).for_each(|(to, from)| row(to, from));
            Ok(())
        })
    }
}

fn array_end(end: &CopyEnd, array: &Array, extent: [usize; 3]) -> Result<End> {
    end.check_array(extent, array.shape.extent(), array.element.bytes())?;
    let layout = array.layout;
    let whole = CopyEnd { pitch: layout.pitch as usize, height: array.shape.extent()[1], ..*end };
    let strides = whole.strides(extent)?;
    Ok(End::Device { address: layout.base + strides.start as u64, strides })
}

fn bytes(extent: [usize; 3]) -> u64 {
    extent.iter().fold(1, |bytes: u64, size| bytes.saturating_mul(*size as u64))
}

fn write_rows(
    memory: &Memory,
    to: (u64, Strides),
    from: (&[u8], Strides),
    [width, height, depth]: [usize; 3],
) -> Result {
    for (to_row, from_row) in to.1.rows(height, depth).zip(from.1.rows(height, depth)) {
        let source = from.0.get(from_row..from_row + width).ok_or(CUresult::INVALID_VALUE)?;
        memory.write(to.0 + to_row as u64, source).map_err(illegal)?;
    }
    Ok(())
}

fn copy_rows(
    memory: &Memory,
    to: u64,
    from: u64,
    width: usize,
    rows: impl Iterator<Item = (usize, usize)>,
) -> std::result::Result<(), AccessError> {
    for (to_row, from_row) in rows {
        memory.copy(to + to_row as u64, from + from_row as u64, width as u64)?;
    }
    Ok(())
}
