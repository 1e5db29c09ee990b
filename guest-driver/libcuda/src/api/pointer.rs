//! What a pointer points to.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUresult, ACCESS_READ_WRITE, MEMORYTYPE_DEVICE, MEMORYTYPE_HOST};

use super::Result;
use crate::context;
use crate::driver::driver;
use crate::memory::{Kind, Range};
use crate::stub::{self, check_buffer, check_out, put};
use crate::vmm::Mapping;

/// An attribute's value, of the size that the driver API gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Word(u32),
    Long(u64),
}

/// Device ordinal of a pointer that belongs to no device.
const NO_DEVICE: u32 = -2i32 as u32;

/// `CU_POINTER_ATTRIBUTE_SYNC_MEMOPS`, the only one that can be set.
const SYNC_MEMOPS: i32 = 6;

/// `CU_POINTER_ATTRIBUTE_*` of a registered pointer; `mapping` is what is mapped there, if it lies in a
/// reserved range.
fn registered(
    range: &Range,
    mapping: Option<&Mapping>,
    attribute: i32,
    ptr: u64,
) -> std::result::Result<Value, CUresult> {
    let on_host = matches!(range.kind, Kind::Host(_) | Kind::Managed | Kind::Registered);
    let reserved = range.kind == Kind::Reserved;
    Ok(match attribute {
        // The memory of pools and mappings is the device's, not a context's.
        1 if matches!(range.kind, Kind::Pool(_) | Kind::Reserved) => Value::Long(0),
        1 => Value::Long(range.context.0),
        2 if matches!(range.kind, Kind::Host(_) | Kind::Registered) => Value::Word(MEMORYTYPE_HOST),
        2 => Value::Word(MEMORYTYPE_DEVICE),
        // Kernels cannot reach it.
        3 if range.kind == Kind::Registered => return Err(CUresult::INVALID_VALUE),
        3 => Value::Long(ptr),
        4 if on_host => Value::Long(ptr),
        4 => return Err(CUresult::INVALID_VALUE),
        SYNC_MEMOPS => Value::Word(u32::from(range.synchronous)),
        7 => Value::Long(range.id),
        8 => Value::Word(u32::from(range.kind == Kind::Managed)),
        9 => Value::Word(mapping.map_or(range.device, |mapping| mapping.physical.device) as u32),
        10 => Value::Word(u32::from(range.kind == Kind::Device)),
        15 | 21 => Value::Word(0),
        11 => Value::Long(range.start),
        12 => Value::Long(range.size),
        13 if reserved && mapping.is_none() => return Err(CUresult::INVALID_VALUE),
        13 => Value::Word(1),
        14 => Value::Long(match range.kind {
            Kind::Pool(pool) => driver()?.pools.is_shareable(pool).into(),
            _ => mapping.is_some_and(|mapping| mapping.physical.shareable).into(),
        }),
        16 if reserved => Value::Word(mapping.map_or(0, |mapping| mapping.access(current_device()))),
        16 => Value::Word(ACCESS_READ_WRITE),
        17 => match range.kind {
            Kind::Pool(pool) => Value::Long(pool.0),
            _ => Value::Long(0),
        },
        18 if reserved => Value::Long(mapping.map_or(0, |mapping| mapping.size)),
        18 => Value::Long(range.size),
        19 if reserved => Value::Long(mapping.map_or(0, |mapping| mapping.start)),
        19 => Value::Long(range.start),
        20 => Value::Long(mapping.map_or(range.id, |mapping| mapping.physical.id)),
        22 => Value::Word(-1i32 as u32),
        _ => return Err(CUresult::INVALID_VALUE),
    })
}

fn current_device() -> i32 {
    context::current().map_or(0, |context| context.device)
}

/// A known pointer's range, and what is mapped there.
fn find(ptr: u64) -> std::result::Result<Option<(Range, Option<Mapping>)>, CUresult> {
    let driver = driver()?;
    let range = driver.memory.find(ptr);
    Ok(range.map(|range| (range, if range.kind == Kind::Reserved { driver.vmm.find(ptr) } else { None })))
}

/// The same where `cuPointerGetAttributes` answers for a pointer that is not registered.
fn unregistered(attribute: i32) -> std::result::Result<Value, CUresult> {
    Ok(match attribute {
        9 => Value::Word(NO_DEVICE),
        22 => Value::Word(-1i32 as u32),
        2 | 6 | 8 | 10 | 13 | 15 | 16 | 21 => Value::Word(0),
        1 | 3 | 4 | 7 | 11 | 12 | 14 | 17 | 18 | 19 | 20 => Value::Long(0),
        _ => return Err(CUresult::INVALID_VALUE),
    })
}

/// # Safety
/// `data` is null or valid for a write of the attribute's size.
unsafe fn store(data: *mut c_void, value: Value) -> Result {
    check_out(data)?;
    // SAFETY: as the caller says.
    unsafe {
        match value {
            Value::Word(value) => put(data.cast(), value),
            Value::Long(value) => put(data.cast(), value),
        }
    }
    Ok(())
}

pub unsafe fn cuPointerGetAttribute(data: *mut c_void, attribute: i32, ptr: u64) -> Result {
    let (range, mapping) = find(ptr)?.ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { store(data, registered(&range, mapping.as_ref(), attribute, ptr)?) }
}

pub unsafe fn cuPointerSetAttribute(value: *const c_void, attribute: i32, ptr: u64) -> Result {
    let driver = driver()?;
    check_buffer(value, 1)?;
    let range = driver.memory.find(ptr).ok_or(CUresult::INVALID_VALUE)?;
    if attribute != SYNC_MEMOPS {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: the caller vouches for a boolean, whose low byte comes first.
    let synchronous = unsafe { value.cast::<u8>().read() } != 0;
    driver.memory.set_synchronous(range.start, synchronous);
    Ok(())
}

/// Pointers that are not registered have type 0 and no error.
pub unsafe fn cuPointerGetAttributes(count: u32, attributes: *const i32, data: *mut *mut c_void, ptr: u64) -> Result {
    stub::ready()?;
    if attributes.is_null() || data.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let found = find(ptr)?;
    for i in 0..count as usize {
        // SAFETY: both arrays have `count` elements.
        let (attribute, data) = unsafe { (*attributes.add(i), *data.add(i)) };
        let value = match &found {
            // Device memory has no host pointer, registered memory no device pointer: no error here.
            Some((range, mapping)) if matches!(attribute, 3 | 4) => {
                registered(range, mapping.as_ref(), attribute, ptr).unwrap_or(Value::Long(0))
            }
            Some((range, mapping)) => registered(range, mapping.as_ref(), attribute, ptr)?,
            None => unregistered(attribute)?,
        };
        // SAFETY: the caller vouches for each pointer.
        unsafe { store(data, value)? };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vmm::Physical;
    use vgpu_protocol::Handle;

    fn range(kind: Kind) -> Range {
        Range { start: 0x1000, size: 64, kind, context: Handle(9), device: 0, id: 5, synchronous: false }
    }

    #[test]
    fn test_memory_types_and_host_pointers() {
        let of = |kind, attribute, ptr| registered(&range(kind), None, attribute, ptr);
        assert_eq!(of(Kind::Device, 2, 0x1010), Ok(Value::Word(MEMORYTYPE_DEVICE)));
        assert_eq!(of(Kind::Device, 4, 0x1010), Err(CUresult::INVALID_VALUE));
        assert_eq!(of(Kind::Host(3), 2, 0x1010), Ok(Value::Word(MEMORYTYPE_HOST)));
        assert_eq!(of(Kind::Host(3), 4, 0x1010), Ok(Value::Long(0x1010)));
        assert_eq!(of(Kind::Managed, 8, 0x1000), Ok(Value::Word(1)));
        assert_eq!((unregistered(2), unregistered(99)), (Ok(Value::Word(0)), Err(CUresult::INVALID_VALUE)));
    }

    #[test]
    fn test_reserved_addresses_are_mapped_or_not() {
        let range = range(Kind::Reserved);
        let mapping = Mapping::new(0x1000, 16, Physical { device: 0, id: 8, shareable: false });
        let of = |attribute| [None, Some(&mapping)].map(|mapping| registered(&range, mapping, attribute, 0x1008).ok());
        assert_eq!(of(13), [None, Some(Value::Word(1))]);
        assert_eq!(of(16), [Some(Value::Word(0)); 2]);
        assert_eq!(of(12), [Some(Value::Long(64)); 2]);
        assert_eq!(of(18), [Some(Value::Long(0)), Some(Value::Long(16))]);
        assert_eq!(of(20), [Some(Value::Long(5)), Some(Value::Long(8))]);
        assert_eq!(of(1), [Some(Value::Long(0)); 2]);
    }
}
