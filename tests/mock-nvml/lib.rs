//! NVML for tests, loaded by `--nvml PATH`: two GPUs with the UUIDs of the mock driver's. Processes are those
//! that the caller's parent has started, each with as many MiB as tests expect, and one that is none of theirs.
//! `MOCK_NVML_DELAY` is how long it takes to start, milliseconds.

#![allow(non_snake_case)]

use std::ffi::{c_char, CStr};
use std::sync::atomic::{AtomicBool, Ordering};

/// What each process of the caller's parent has, bytes, and what a foreign one has.
const MEMORY: [u64; 2] = [123 << 20, 999 << 20];
const INVALID_ARGUMENT: u32 = 2;
const NOT_SUPPORTED: u32 = 3;
const NOT_FOUND: u32 = 6;
const INSUFFICIENT_SIZE: u32 = 7;

static STARTED: AtomicBool = AtomicBool::new(false);

#[repr(C)]
struct ProcessInfo {
    pid: u32,
    memory: u64,
    instances: [u32; 2],
}

fn uuid(number: u8) -> String {
    let bytes = [b"mock-gpu-uuid-0".as_slice(), &[b'0' + number]].concat();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// The number of a GPU behind a handle.
fn check(device: usize) -> u32 {
    assert!(STARTED.load(Ordering::Relaxed) && (1..=2).contains(&device), "no device of ours: {device}");
    device as u32 - 1
}

/// # Safety
/// `out` is valid for a write.
unsafe fn give<T>(out: *mut T, value: T) -> u32 {
    // SAFETY: as the caller says.
    unsafe { out.write(value) };
    0
}

#[no_mangle]
extern "C" fn nvmlInit_v2() -> u32 {
    let delay = std::env::var("MOCK_NVML_DELAY").map_or(0, |milliseconds| milliseconds.parse().unwrap());
    std::thread::sleep(std::time::Duration::from_millis(delay));
    STARTED.store(true, Ordering::Relaxed);
    0
}

#[no_mangle]
unsafe extern "C" fn nvmlSystemGetDriverVersion(out: *mut c_char, length: u32) -> u32 {
    let text = c"599.01.02";
    assert!(text.count_bytes() < length as usize);
    // SAFETY: the buffer is longer than the text.
    unsafe { out.copy_from_nonoverlapping(text.as_ptr(), text.count_bytes() + 1) };
    0
}

#[no_mangle]
unsafe extern "C" fn nvmlDeviceGetHandleByUUID(text: *const c_char, out: *mut usize) -> u32 {
    // SAFETY: the text is NUL-terminated.
    let wanted = unsafe { CStr::from_ptr(text) }.to_str().unwrap();
    match (0..2).find(|number| uuid(*number) == wanted) {
        // SAFETY: the output is the caller's.
        Some(number) => unsafe { give(out, usize::from(number) + 1) },
        None => NOT_FOUND,
    }
}

#[no_mangle]
unsafe extern "C" fn nvmlDeviceGetUtilizationRates(device: usize, out: *mut [u32; 2]) -> u32 {
    // SAFETY: the output is the caller's.
    unsafe { give(out, [50 + check(device), 25]) }
}

#[no_mangle]
unsafe extern "C" fn nvmlDeviceGetTemperature(device: usize, sensor: u32, out: *mut u32) -> u32 {
    if sensor != 0 {
        return INVALID_ARGUMENT;
    }
    // SAFETY: the output is the caller's.
    unsafe { give(out, 40 + check(device)) }
}

#[no_mangle]
unsafe extern "C" fn nvmlDeviceGetPowerUsage(device: usize, out: *mut u32) -> u32 {
    // SAFETY: the output is the caller's.
    unsafe { give(out, 70_500 + check(device)) }
}

/// As for a GPU whose power has no limit.
#[no_mangle]
extern "C" fn nvmlDeviceGetEnforcedPowerLimit(device: usize, _out: *mut u32) -> u32 {
    check(device);
    NOT_SUPPORTED
}

#[no_mangle]
unsafe extern "C" fn nvmlDeviceGetClockInfo(device: usize, part: u32, out: *mut u32) -> u32 {
    // SAFETY: the output is the caller's.
    unsafe { give(out, 1000 * (1 + part) + check(device)) }
}

/// Processes that have the same parent as this one.
fn siblings() -> Vec<u32> {
    let parent = std::os::unix::process::parent_id();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let behind_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        behind_name.split(' ').nth(1).and_then(|ppid| ppid.parse().ok()) == Some(parent)
    })
    .collect()
}

#[no_mangle]
unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    device: usize,
    count: *mut u32,
    out: *mut ProcessInfo,
) -> u32 {
    check(device);
    let mut infos: Vec<ProcessInfo> =
        siblings().iter().map(|pid| ProcessInfo { pid: *pid, memory: MEMORY[0], instances: [u32::MAX; 2] }).collect();
    infos.push(ProcessInfo { pid: 1, memory: MEMORY[1], instances: [u32::MAX; 2] });
    // SAFETY: the caller says how much room there is.
    unsafe {
        let room = count.replace(infos.len() as u32) as usize;
        if room < infos.len() {
            return INSUFFICIENT_SIZE;
        }
        for (place, info) in infos.into_iter().enumerate() {
            out.add(place).write(info);
        }
    }
    0
}
