//! What a host's GPUs say of their state, through NVML. A process of its own asks them, in a worker's sandbox: the
//! supervisor runs no driver, and workers, which guests keep busy, know nothing of each other.

use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use vgpu_protocol::control::Sensors;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::args::Executor;
use crate::channel::{receive, send};
use crate::nvml::{Device, Nvml};
use crate::{exit, logging};

/// Most processes of a GPU that are told.
pub const MAX_PROCESSES: usize = 256;

/// A process of the host that uses a GPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// GPU memory that it has, bytes; `u64::MAX` if the driver does not tell.
    pub memory: u64,
}

/// The answer to the UUID of a GPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Reading {
    /// Release of the driver, NUL-terminated.
    pub release: [u8; 32],
    /// The GPU's state.
    pub sensors: Sensors,
    /// How many processes follow.
    pub count: u32,
    /// Reserved, 0.
    pub reserved: u32,
    /// Processes that use the GPU.
    pub processes: [Process; MAX_PROCESSES],
}

/// Answers the supervisor, which is at standard input, until it is gone.
pub fn run(args: &Executor) -> ExitCode {
    logging::start_worker(args.log_level, None, args.log_memory);
    crate::sys::end_on_forbidden_call();
    match serve(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            log::info!("{message}; guests are told no figures of the GPU");
            ExitCode::from(exit::NO_GPU)
        }
    }
}

fn serve(args: &Executor) -> Result<(), String> {
    let Some(path) = args.nvml_library() else { return Err("no NVML".into()) };
    rustix::thread::set_no_new_privs(true).map_err(|error| error.to_string())?;
    let _ = rustix::thread::set_name(c"monitor");
    let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3).map_err(|error| error.to_string())?;
    args.sandbox.enter_worker(args).map_err(|error| error.to_string())?;
    let nvml = Nvml::start(path).map_err(|error| error.to_string())?;
    args.sandbox.seal_worker(args).map_err(|error| error.to_string())?;
    answer(&socket, &nvml).map_err(|error| error.to_string())
}

fn answer(socket: &OwnedFd, nvml: &Nvml) -> io::Result<()> {
    let mut uuid = [0; 16];
    while receive(socket, &mut uuid)?.0 == uuid.len() {
        let reading = Reading::of(nvml, find(nvml, &uuid));
        send(socket, reading.as_bytes(), &[])?;
    }
    Ok(())
}

/// CUDA names whole GPUs and instances alike; NVML wants to be told which.
fn find(nvml: &Nvml, uuid: &[u8; 16]) -> Option<Device> {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts: Option<Vec<&str>> =
        [0..8, 8..12, 12..16, 16..20, 20..32].into_iter().map(|part| hex.get(part)).collect();
    let digits = parts?.join("-");
    ["GPU", "MIG"].iter().find_map(|kind| nvml.find(&CString::new(format!("{kind}-{digits}")).ok()?))
}

impl Reading {
    fn of(nvml: &Nvml, device: Option<Device>) -> Reading {
        let mut reading = Reading {
            release: nvml.release(),
            sensors: device.map_or(Sensors::NONE, |device| nvml.sensors(device)),
            count: 0,
            reserved: 0,
            processes: [Process { pid: 0, reserved: 0, memory: 0 }; MAX_PROCESSES],
        };
        let processes = device.map(|device| nvml.processes(device)).unwrap_or_default();
        for (place, process) in reading.processes.iter_mut().zip(processes) {
            *place = process;
            reading.count += 1;
        }
        reading
    }
}
