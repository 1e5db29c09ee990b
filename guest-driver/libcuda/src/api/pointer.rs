//! What a pointer points to.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUresult, MEMORYTYPE_DEVICE, MEMORYTYPE_HOST};

use super::Result;
use crate::driver::driver;
use crate::memory::{Kind, Range};
use crate::stub::{self, check_out, put};

/// An attribute's value, of the size that the driver API gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    Word(u32),
    Long(u64),
}

/// Device ordinal of a pointer that belongs to no device.
const NO_DEVICE: u32 = -2i32 as u32;

/// `CU_POINTER_ATTRIBUTE_*` of a registered pointer.
fn registered(range: &Range, attribute: i32, ptr: u64) -> std::result::Result<Value, CUresult> {
    let on_host = matches!(range.kind, Kind::Host(_) | Kind::Managed);
    Ok(match attribute {
        // A pool's memory is the device's, not a context's.
        1 if matches!(range.kind, Kind::Pool(_)) => Value::Long(0),
        1 => Value::Long(range.context.0),
        2 if matches!(range.kind, Kind::Host(_)) => Value::Word(MEMORYTYPE_HOST),
        2 => Value::Word(MEMORYTYPE_DEVICE),
        3 => Value::Long(ptr),
        4 if on_host => Value::Long(ptr),
        4 => return Err(CUresult::INVALID_VALUE),
        7 | 20 => Value::Long(range.id),
        8 => Value::Word(u32::from(range.kind == Kind::Managed)),
        9 => Value::Word(range.device as u32),
        6 | 10 | 15 | 21 => Value::Word(0),
        11 | 19 => Value::Long(range.start),
        12 | 18 => Value::Long(range.size),
        13 => Value::Word(1),
        17 => match range.kind {
            Kind::Pool(pool) => Value::Long(pool.0),
            _ => Value::Long(0),
        },
        14 => Value::Long(0),
        16 => Value::Word(3),
        22 => Value::Word(-1i32 as u32),
        _ => return Err(CUresult::INVALID_VALUE),
    })
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
    let range = driver()?.memory.find(ptr).ok_or(CUresult::INVALID_VALUE)?;
    // SAFETY: the caller vouches for the pointer.
    unsafe { store(data, registered(&range, attribute, ptr)?) }
}

/// Pointers that are not registered have type 0 and no error.
pub unsafe fn cuPointerGetAttributes(count: u32, attributes: *const i32, data: *mut *mut c_void, ptr: u64) -> Result {
    stub::ready()?;
    if attributes.is_null() || data.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    let range = driver()?.memory.find(ptr);
    for i in 0..count as usize {
        // SAFETY: both arrays have `count` elements.
        let (attribute, data) = unsafe { (*attributes.add(i), *data.add(i)) };
        let value = match &range {
            // Device memory has no host pointer, which is no error here.
            Some(range) if attribute == 4 => registered(range, 4, ptr).unwrap_or(Value::Long(0)),
            Some(range) => registered(range, attribute, ptr)?,
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
    use vgpu_protocol::Handle;

    fn range(kind: Kind) -> Range {
        Range { start: 0x1000, size: 64, kind, context: Handle(9), device: 0, id: 5 }
    }

    #[test]
    fn test_memory_types_and_host_pointers() {
        let device = range(Kind::Device);
        assert_eq!(registered(&device, 2, 0x1010), Ok(Value::Word(MEMORYTYPE_DEVICE)));
        assert_eq!(registered(&device, 4, 0x1010), Err(CUresult::INVALID_VALUE));
        let host = range(Kind::Host(3));
        assert_eq!(registered(&host, 2, 0x1010), Ok(Value::Word(MEMORYTYPE_HOST)));
        assert_eq!(registered(&host, 4, 0x1010), Ok(Value::Long(0x1010)));
        assert_eq!(registered(&range(Kind::Managed), 8, 0x1000), Ok(Value::Word(1)));
        assert_eq!((unregistered(2), unregistered(99)), (Ok(Value::Word(0)), Err(CUresult::INVALID_VALUE)));
    }
}
