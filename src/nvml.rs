//! The functions of the host's NVML that are asked for, found by name; what a release lacks is not known.

use std::ffi::{c_char, c_void, CStr};
use std::path::Path;

use vgpu_protocol::control::{Sensors, UNKNOWN};
use vgpu_protocol::GUEST_LIBRARY_SYMBOL;

use crate::monitor::{Process, MAX_PROCESSES};

/// Why there is no NVML.
#[derive(Debug, thiserror::Error)]
pub enum NvmlError {
    /// the library cannot be loaded
    #[error("cannot load NVML: {0}")]
    Load(#[from] libloading::Error),
    /// the name led to the library for guests
    #[error(
        "the NVML found is this project's library for guests: take its folder out of LD_LIBRARY_PATH, or see --nvml"
    )]
    GuestLibrary,
    /// it does not start
    #[error("NVML does not start (error {0})")]
    Start(u32),
}

/// `nvmlDevice_t`, of this process's NVML.
#[derive(Clone, Copy, Debug)]
pub struct Device(*mut c_void);

type Handle = *mut c_void;
type Figure = unsafe extern "C" fn(Handle, *mut u32) -> u32;
type NumberedFigure = unsafe extern "C" fn(Handle, u32, *mut u32) -> u32;
type Text = unsafe extern "C" fn(*mut c_char, u32) -> u32;

const SUCCESS: u32 = 0;
/// `NVML_TEMPERATURE_GPU`.
const TEMPERATURE_GPU: u32 = 0;
/// Room for processes that start between two looks.
const SPARE: usize = 16;

/// `nvmlUtilization_t`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Utilization {
    gpu: u32,
    memory: u32,
}

/// `nvmlProcessInfo_t` of the functions' second and third versions.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct ProcessInfo {
    pid: u32,
    memory: u64,
    instance: u32,
    compute_instance: u32,
}

macro_rules! functions {
    ($($field:ident: $ty:ty = $name:literal,)*) => {
        /// The library, which stays loaded.
        #[derive(Clone, Copy)]
        pub struct Nvml {
            $($field: Option<$ty>,)*
        }

        impl Nvml {
            fn load(path: &Path) -> Result<Nvml, NvmlError> {
                // SAFETY: loading a library runs its constructors; the person who started us named it.
                let library = Box::leak(Box::new(unsafe { libloading::Library::new(path) }?));
                // SAFETY: the address is not used.
                if unsafe { library.get::<*const c_void>(GUEST_LIBRARY_SYMBOL.to_bytes_with_nul()) }.is_ok() {
                    return Err(NvmlError::GuestLibrary);
                }
                // SAFETY: a library that exports names of NVML has its functions behind them.
                Ok(unsafe { Nvml { $($field: library.get::<$ty>($name).ok().map(|function| *function),)* } })
            }
        }
    };
}

functions! {
    init: unsafe extern "C" fn() -> u32 = b"nvmlInit_v2\0",
    driver_version: Text = b"nvmlSystemGetDriverVersion\0",
    by_uuid: unsafe extern "C" fn(*const c_char, *mut Handle) -> u32 = b"nvmlDeviceGetHandleByUUID\0",
    utilization: unsafe extern "C" fn(Handle, *mut Utilization) -> u32 = b"nvmlDeviceGetUtilizationRates\0",
    temperature: NumberedFigure = b"nvmlDeviceGetTemperature\0",
    power: Figure = b"nvmlDeviceGetPowerUsage\0",
    power_limit: Figure = b"nvmlDeviceGetEnforcedPowerLimit\0",
    performance_state: Figure = b"nvmlDeviceGetPerformanceState\0",
    clock: NumberedFigure = b"nvmlDeviceGetClockInfo\0",
    max_clock: NumberedFigure = b"nvmlDeviceGetMaxClockInfo\0",
    processes: unsafe extern "C" fn(Handle, *mut u32, *mut ProcessInfo) -> u32 = b"nvmlDeviceGetComputeRunningProcesses_v3\0",
}

/// A figure that a function may not exist for, or not tell.
fn figure(ask: impl FnOnce(*mut u32) -> Option<u32>) -> u32 {
    let mut value = 0;
    match ask(&mut value) {
        Some(SUCCESS) => value,
        _ => UNKNOWN,
    }
}

impl Nvml {
    /// Loads and initialises NVML.
    pub fn start(path: &Path) -> Result<Nvml, NvmlError> {
        let nvml = Nvml::load(path)?;
        // SAFETY: the function takes nothing.
        match nvml.init.map(|init| unsafe { init() }) {
            Some(SUCCESS) => Ok(nvml),
            result => Err(NvmlError::Start(result.unwrap_or(UNKNOWN))),
        }
    }

    /// Release of the driver, NUL-terminated; empty if it is not told.
    pub fn release(&self) -> [u8; 32] {
        let mut text = [0; 32];
        // SAFETY: the buffer has that length; its last byte is kept for the NUL.
        let told = self.driver_version.map(|get| unsafe { get(text.as_mut_ptr().cast(), text.len() as u32 - 1) });
        if told == Some(SUCCESS) {
            text
        } else {
            [0; 32]
        }
    }

    /// The GPU or instance of that name.
    pub fn find(&self, uuid: &CStr) -> Option<Device> {
        let mut device = std::ptr::null_mut();
        // SAFETY: the name is NUL-terminated, the output a local.
        let found = self.by_uuid.map(|get| unsafe { get(uuid.as_ptr(), &mut device) });
        (found == Some(SUCCESS)).then_some(Device(device))
    }

    /// What it says of its state.
    pub fn sensors(&self, Device(device): Device) -> Sensors {
        let mut busy = Utilization { gpu: UNKNOWN, memory: UNKNOWN };
        // SAFETY: here and below, the device is NVML's own and the outputs are locals.
        let told = self.utilization.map(|get| unsafe { get(device, &mut busy) });
        if told != Some(SUCCESS) {
            busy = Utilization { gpu: UNKNOWN, memory: UNKNOWN };
        }
        // SAFETY: as above.
        let plain = |get: Option<Figure>| figure(|out| get.map(|get| unsafe { get(device, out) }));
        // SAFETY: as above.
        let numbered =
            |get: Option<NumberedFigure>, number| figure(|out| get.map(|get| unsafe { get(device, number, out) }));
        Sensors {
            utilization: busy.gpu,
            memory_utilization: busy.memory,
            temperature: numbered(self.temperature, TEMPERATURE_GPU),
            power: plain(self.power),
            power_limit: plain(self.power_limit),
            performance_state: plain(self.performance_state),
            clocks: std::array::from_fn(|kind| numbered(self.clock, kind as u32)),
            max_clocks: std::array::from_fn(|kind| numbered(self.max_clock, kind as u32)),
        }
    }

    /// The processes that compute on it.
    pub fn processes(&self, Device(device): Device) -> Vec<Process> {
        let Some(get) = self.processes else { return Vec::new() };
        let mut infos = [ProcessInfo::default(); MAX_PROCESSES + SPARE];
        let mut count = infos.len() as u32;
        // SAFETY: there is room for so many.
        if unsafe { get(device, &mut count, infos.as_mut_ptr()) } != SUCCESS {
            return Vec::new();
        }
        let told = infos.iter().take(count as usize);
        told.map(|info| Process { pid: info.pid, reserved: 0, memory: info.memory }).collect()
    }
}
