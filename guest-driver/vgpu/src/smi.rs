//! `vgpu smi`: what the GPU is and who uses it, in the shape of `nvidia-smi`.

mod query;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail, Result};
use serde::Serialize;
use vgpu_client::Broker;
use vgpu_protocol::broker::{BrokerStatus, SessionStatus, SOCKET_PATH, SOCKET_VARIABLE};
use vgpu_protocol::control::UNKNOWN;

/// Arguments of `vgpu smi`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List the GPU in one line.
    #[arg(short = 'L', long)]
    list_gpus: bool,

    /// Print these properties, separated by commas; "help" lists them.
    #[arg(long, value_name = "PROPERTY,...", value_delimiter = ',', requires = "format")]
    query_gpu: Vec<String>,

    /// Format of --query-gpu: csv[,noheader][,nounits].
    #[arg(long, value_name = "FORMAT")]
    format: Option<query::Format>,

    /// Print everything as one JSON object.
    #[arg(long, conflicts_with_all = ["list_gpus", "query_gpu"])]
    json: bool,
}

/// What is told about the GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the GPU.
    pub name: String,
    /// "GPU-" and the UUID in its usual form.
    pub uuid: String,
    /// PCI address, or "loopback".
    pub location: String,
    /// CUDA version of the driver, as in "13.0".
    pub cuda_version: String,
    /// Version of this software.
    pub version: String,
    /// Release of the NVIDIA driver whose interfaces the libraries follow, as NVML tells it.
    pub driver_version: String,
    /// As in "8.0".
    pub compute_capability: String,
    /// Memory that sessions may use, bytes.
    pub memory_total: u64,
    /// Memory in use, bytes.
    pub memory_used: u64,
    /// How busy the GPU is, percent, if that is known.
    pub utilization: Option<u32>,
    /// How busy its memory is, percent.
    pub memory_utilization: Option<u32>,
    /// Degrees Celsius.
    pub temperature: Option<u32>,
    /// Milliwatts.
    pub power: Option<u32>,
    /// Speed of the multiprocessors, MHz.
    pub clock: Option<u32>,
    /// Speed of the memory, MHz.
    pub memory_clock: Option<u32>,
    /// Session queues of the device.
    pub session_limit: u32,
    /// CUDA processes.
    pub processes: Vec<Process>,
}

/// A CUDA process of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Its session queue.
    pub queue: u32,
    /// Command name, if it is still there.
    pub name: String,
    /// Memory it shares with the GPU, bytes.
    pub shared_bytes: u64,
}

/// Prints what is asked for.
pub fn run(args: &Args) -> Result<ExitCode> {
    let format = args.format.unwrap_or_default();
    if args.query_gpu == ["help"] {
        query::help();
        return Ok(ExitCode::SUCCESS);
    }
    let fields = args.query_gpu.iter().map(|name| query::Field::find(name)).collect::<Result<Vec<_>>>()?;
    if args.format.is_some() && fields.is_empty() {
        bail!("--format needs --query-gpu");
    }
    let report = Report::fetch()?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else if args.list_gpus {
        println!("GPU 0: {} (UUID: {})", report.name, report.uuid);
    } else if !fields.is_empty() {
        print!("{}", query::csv(&report, &fields, format));
    } else {
        print!("{}", table::render(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// The broker's socket.
pub fn socket_path() -> PathBuf {
    std::env::var_os(SOCKET_VARIABLE).map_or_else(|| SOCKET_PATH.into(), PathBuf::from)
}

impl Report {
    /// Asks the broker.
    pub fn fetch() -> Result<Self> {
        let status = Broker::connect_to(&socket_path()).and_then(|broker| broker.status());
        // The error's text has its cause in it already.
        let (status, sessions) = status.map_err(|error| anyhow!("{error} (try: vgpu doctor)"))?;
        Ok(Self::new(&status, &sessions))
    }

    /// Puts what the broker says into readable form.
    pub fn new(status: &BrokerStatus, sessions: &[SessionStatus]) -> Self {
        let backend = &status.backend;
        let sensors = &backend.sensors;
        Self {
            name: text(&backend.gpu_name),
            uuid: uuid(&backend.uuid),
            location: text(&status.location),
            cuda_version: format!("{}.{}", backend.driver_version / 1000, backend.driver_version % 1000 / 10),
            version: env!("CARGO_PKG_VERSION").into(),
            driver_version: match text(&backend.driver_release) {
                told if told.is_empty() => vgpu_protocol::DRIVER_RELEASE.into(),
                told => told,
            },
            compute_capability: format!("{}.{}", backend.capability / 10, backend.capability % 10),
            memory_total: backend.memory_total,
            memory_used: backend.memory_used,
            utilization: known(sensors.utilization),
            memory_utilization: known(sensors.memory_utilization),
            temperature: known(sensors.temperature),
            power: known(sensors.power),
            clock: known(sensors.clocks[1]),
            memory_clock: known(sensors.clocks[2]),
            session_limit: status.queues,
            processes: sessions.iter().map(Process::new).collect(),
        }
    }
}

impl Process {
    fn new(session: &SessionStatus) -> Self {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", session.pid)).unwrap_or_default();
        Self {
            pid: session.pid,
            uid: session.uid,
            queue: session.queue,
            name: if name.is_empty() { "?".into() } else { printable(name.trim_end()) },
            shared_bytes: session.shared_bytes,
        }
    }
}

/// A figure that the host may not know.
fn known(figure: u32) -> Option<u32> {
    (figure != UNKNOWN).then_some(figure)
}

/// NUL-terminated text from the other side, fit for a terminal.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    printable(&String::from_utf8_lossy(&bytes[..end]))
}

/// A process names itself: its name must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

fn uuid(bytes: &[u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("GPU-{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgpu_protocol::control::Sensors;
    use zerocopy::FromZeros;

    pub fn report() -> Report {
        let mut status = BrokerStatus::new_zeroed();
        status.backend.gpu_name[..4].copy_from_slice(b"Test");
        status.backend.uuid = *b"0123456789abcdef";
        status.backend.driver_version = 13020;
        status.backend.capability = 80;
        status.backend.memory_total = 4 << 30;
        status.backend.memory_used = 300 << 20;
        status.backend.sensors = Sensors { utilization: 7, ..Sensors::NONE };
        status.location[..12].copy_from_slice(b"0000:00:03.0");
        status.queues = 15;
        let session = SessionStatus { pid: u32::MAX, uid: 1000, queue: 2, reserved: 0, shared_bytes: 34 << 20 };
        Report::new(&status, &[session])
    }

    #[test]
    fn versions_and_uuid_have_their_usual_form() {
        let report = report();
        assert_eq!((report.cuda_version.as_str(), report.compute_capability.as_str()), ("13.2", "8.0"));
        assert_eq!(report.uuid, "GPU-30313233-3435-3637-3839-616263646566");
        assert_eq!(report.location, "0000:00:03.0");
        assert_eq!(report.processes[0].name, "?");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a?[2Jb?");
        assert_eq!(text(b"name\0rest"), "name");
    }
}
