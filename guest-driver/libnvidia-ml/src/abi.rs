//! The exported functions. Names, arguments and errors are those of the NVML API reference; every
//! function takes the caller's pointers at their word.

#![allow(non_snake_case)]

use std::ffi::{c_char, c_void, CStr};

use crate::error::{describe, Error};
use crate::gpu::{self, Gpu};
use crate::types::{nvmlDevice_t, Memory, MemoryV2, PciInfoV2, PciInfoV3, ProcessV1, ProcessV2, Utilization};

include!(concat!(env!("OUT_DIR"), "/refused.rs"));

/// The handle of a GPU: its number and one, so that it is not null.
fn handle(number: u32) -> nvmlDevice_t {
    (number as usize + 1) as nvmlDevice_t
}

/// `NVML_TEMPERATURE_GPU`: the one sensor.
const TEMPERATURE_GPU: u32 = 0;

fn code(result: Result<(), Error>) -> u32 {
    result.map_or_else(|error| error as u32, |()| 0)
}

fn answer(body: impl FnOnce() -> Result<(), Error>) -> u32 {
    code(body())
}

fn refuse() -> u32 {
    code(gpu::initialised().and(Err(Error::NotSupported)))
}

/// The number behind a handle.
fn number(device: nvmlDevice_t) -> Result<u32, Error> {
    gpu::initialised()?;
    let number = (device as usize).checked_sub(1).and_then(|number| u32::try_from(number).ok());
    number.ok_or(Error::InvalidArgument)
}

/// The GPU behind a handle.
fn find(device: nvmlDevice_t) -> Result<Gpu, Error> {
    gpu::query(number(device)?)
}

/// # Safety
/// `out` is null or valid for a write.
unsafe fn give<T>(out: *mut T, value: T) -> Result<(), Error> {
    if out.is_null() {
        return Err(Error::InvalidArgument);
    }
    // SAFETY: the caller vouches for it.
    unsafe { out.write(value) };
    Ok(())
}

/// # Safety
/// `out` is null or valid for `length` bytes.
unsafe fn give_text(out: *mut c_char, length: u32, text: &[u8]) -> Result<(), Error> {
    if out.is_null() {
        return Err(Error::InvalidArgument);
    }
    if text.len() >= length as usize {
        return Err(Error::InsufficientSize);
    }
    // SAFETY: the buffer holds the text and a NUL.
    unsafe {
        out.copy_from_nonoverlapping(text.as_ptr().cast(), text.len());
        out.add(text.len()).write(0);
    }
    Ok(())
}

/// # Safety
/// `text` is null or a NUL-terminated string.
unsafe fn read_text<'a>(text: *const c_char) -> Result<&'a [u8], Error> {
    if text.is_null() {
        return Err(Error::InvalidArgument);
    }
    // SAFETY: the caller vouches for it.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// Fills an array; too small a one is told how many there are.
///
/// # Safety
/// `count` is null or valid; `out` is null or valid for `*count` elements.
unsafe fn give_list<T>(count: *mut u32, out: *mut T, list: Vec<T>) -> Result<(), Error> {
    if count.is_null() {
        return Err(Error::InvalidArgument);
    }
    // SAFETY: the caller vouches for the pointers and the room.
    unsafe {
        let room = count.read() as usize;
        count.write(list.len() as u32);
        if list.len() > room {
            return Err(Error::InsufficientSize);
        }
        if out.is_null() && !list.is_empty() {
            return Err(Error::InvalidArgument);
        }
        for (i, item) in list.into_iter().enumerate() {
            out.add(i).write(item);
        }
    }
    Ok(())
}

/// Exports functions whose bodies return a `Result`, under one or more names.
macro_rules! exports {
    ($([$($name:ident)+] $args:tt $body:block)*) => {
        $(export_all! { [$($name)+] $args $body })*
    };
}

macro_rules! export_all {
    ([$($name:ident)+] $args:tt $body:block) => {
        $(export! { $name $args $body })+
    };
}

macro_rules! export {
    ($name:ident ($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        /// See the NVML API reference.
        #[no_mangle]
        pub unsafe extern "C" fn $name($($arg: $ty),*) -> u32 {
            answer(|| {
                // SAFETY: the caller keeps to the function's contract in the NVML API.
                unsafe { $body }
            })
        }
    };
}

#[allow(unused_unsafe)]
mod exported {
    use super::*;

    exports! {
        [nvmlInit nvmlInit_v2] () { gpu::initialise() }
        [nvmlInitWithFlags] (_flags: u32) { gpu::initialise() }
        [nvmlShutdown] () { gpu::shut_down() }

        [nvmlSystemGetDriverVersion] (out: *mut c_char, length: u32) {
            gpu::initialised()?;
            give_text(out, length, &gpu::release()?)
        }
        [nvmlSystemGetNVMLVersion] (out: *mut c_char, length: u32) {
            give_text(out, length, &gpu::version())
        }
        [nvmlSystemGetCudaDriverVersion nvmlSystemGetCudaDriverVersion_v2] (out: *mut i32) {
            give(out, gpu::cuda_version())
        }
        [nvmlSystemGetProcessName] (pid: u32, out: *mut c_char, length: u32) {
            gpu::initialised()?;
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).map_err(|_| Error::NotFound)?;
            give_text(out, length, line.split(|byte| *byte == 0).next().unwrap_or_default())
        }

        [nvmlDeviceGetCount nvmlDeviceGetCount_v2] (out: *mut u32) {
            give(out, gpu::query(0)?.count())
        }
        [nvmlDeviceGetHandleByIndex nvmlDeviceGetHandleByIndex_v2] (index: u32, out: *mut nvmlDevice_t) {
            give(out, handle(gpu::query(index)?.number()))
        }
        [nvmlDeviceGetHandleByUUID] (uuid: *const c_char, out: *mut nvmlDevice_t) {
            let wanted = read_text(uuid)?;
            give(out, handle(gpu::search(|gpu| gpu.uuid().as_bytes() == wanted)?.number()))
        }
        [nvmlDeviceGetHandleByPciBusId nvmlDeviceGetHandleByPciBusId_v2] (id: *const c_char, out: *mut nvmlDevice_t) {
            let wanted = vgpu_client::location::parse(read_text(id)?).ok_or(Error::InvalidArgument)?;
            // Without a VM there is no PCI address of ours: any address that CUDA reports means the first GPU.
            let gpu = gpu::search(|gpu| gpu.location().is_none_or(|ours| ours == wanted))?;
            give(out, handle(gpu.number()))
        }
        [nvmlDeviceGetHandleBySerial] (_serial: *const c_char, _out: *mut nvmlDevice_t) {
            gpu::initialised()?;
            Err(Error::NotFound)
        }

        [nvmlDeviceGetName] (device: nvmlDevice_t, out: *mut c_char, length: u32) {
            give_text(out, length, find(device)?.name())
        }
        [nvmlDeviceGetUUID] (device: nvmlDevice_t, out: *mut c_char, length: u32) {
            give_text(out, length, find(device)?.uuid().as_bytes())
        }
        [nvmlDeviceGetIndex nvmlDeviceGetMinorNumber] (device: nvmlDevice_t, out: *mut u32) {
            give(out, find(device)?.number())
        }
        [nvmlDeviceGetComputeMode] (device: nvmlDevice_t, out: *mut u32) {
            number(device)?;
            give(out, 0)
        }
        [nvmlDeviceGetTemperature] (device: nvmlDevice_t, sensor: u32, out: *mut u32) {
            if sensor != TEMPERATURE_GPU {
                return Err(Error::InvalidArgument);
            }
            give(out, find(device)?.temperature()?)
        }
        [nvmlDeviceGetPowerUsage] (device: nvmlDevice_t, out: *mut u32) { give(out, find(device)?.power()?) }
        [nvmlDeviceGetEnforcedPowerLimit nvmlDeviceGetPowerManagementLimit] (device: nvmlDevice_t, out: *mut u32) {
            give(out, find(device)?.power_limit()?)
        }
        [nvmlDeviceGetPerformanceState nvmlDeviceGetPowerState] (device: nvmlDevice_t, out: *mut u32) {
            give(out, find(device)?.performance_state()?)
        }
        [nvmlDeviceGetClockInfo] (device: nvmlDevice_t, part: u32, out: *mut u32) {
            give(out, find(device)?.clock(part)?)
        }
        [nvmlDeviceGetMaxClockInfo] (device: nvmlDevice_t, part: u32, out: *mut u32) {
            give(out, find(device)?.max_clock(part)?)
        }
        [nvmlDeviceGetMemoryInfo] (device: nvmlDevice_t, out: *mut Memory) { give(out, find(device)?.memory()) }
        [nvmlDeviceGetMemoryInfo_v2] (device: nvmlDevice_t, out: *mut MemoryV2) {
            let version = out.as_ref().ok_or(Error::InvalidArgument)?.version;
            if version != MemoryV2::VERSION {
                return Err(Error::ArgumentVersionMismatch);
            }
            give(out, find(device)?.memory_v2())
        }
        [nvmlDeviceGetUtilizationRates] (device: nvmlDevice_t, out: *mut Utilization) {
            give(out, find(device)?.utilization()?)
        }
        [nvmlDeviceGetCudaComputeCapability] (device: nvmlDevice_t, major: *mut i32, minor: *mut i32) {
            let capability = find(device)?.capability();
            give(major, capability.0)?;
            give(minor, capability.1)
        }
        [nvmlDeviceGetPciInfo nvmlDeviceGetPciInfo_v2] (device: nvmlDevice_t, out: *mut PciInfoV2) {
            give(out, find(device)?.pci_v2())
        }
        [nvmlDeviceGetPciInfo_v3] (device: nvmlDevice_t, out: *mut PciInfoV3) { give(out, find(device)?.pci()) }
        [nvmlDeviceGetComputeRunningProcesses] (device: nvmlDevice_t, count: *mut u32, out: *mut ProcessV1) {
            give_list(count, out, find(device)?.processes_v1())
        }
        [nvmlDeviceGetComputeRunningProcesses_v2 nvmlDeviceGetComputeRunningProcesses_v3] (
            device: nvmlDevice_t, count: *mut u32, out: *mut ProcessV2
        ) {
            give_list(count, out, find(device)?.processes())
        }
        [nvmlDeviceGetGraphicsRunningProcesses nvmlDeviceGetGraphicsRunningProcesses_v2 nvmlDeviceGetGraphicsRunningProcesses_v3] (
            device: nvmlDevice_t, count: *mut u32, out: *mut ProcessV2
        ) {
            number(device)?;
            give_list(count, out, Vec::new())
        }
        [nvmlInternalGetExportTable] (out: *mut *const c_void, id: *const [u8; 16]) {
            let known = id.as_ref().is_some_and(|id| *id == TOOL_TABLE_ID);
            if known { give(out, TOOL_TABLE.0.as_ptr().cast()) } else { Err(Error::NotSupported) }
        }
    }
}

/// The text of an error code.
#[no_mangle]
pub extern "C" fn nvmlErrorString(code: u32) -> *const c_char {
    describe(code).as_ptr()
}

/// By this a backend tells this library from the NVML of a host (`vgpu_protocol::GUEST_LIBRARY_SYMBOL`).
#[no_mangle]
#[allow(non_upper_case_globals)]
pub static vgpu_guest_library: u8 = 1;

/// The private table that `nvidia-smi` asks for; it can do without what is in it.
const TOOL_TABLE_ID: [u8; 16] = 0xc4fe3e6c_c98f_6c4e_a327_ee696e12f7c4_u128.to_be_bytes();

struct Slots([*const c_void; 256]);

// SAFETY: addresses of functions are plain numbers.
unsafe impl Sync for Slots {}

static TOOL_TABLE: Slots = {
    let mut slots = [refused_slot as *const c_void; 256];
    slots[0] = size_of::<Slots>() as *const c_void;
    Slots(slots)
};

extern "C" fn refused_slot() -> u32 {
    refuse()
}
