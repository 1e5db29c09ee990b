//! `vgpu smi`: what the GPUs are and who uses them, in the shape of `nvidia-smi`.

mod query;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail, Result};
use serde::Serialize;
use vgpu_client::{location, Broker};
use vgpu_protocol::broker::{BrokerStatus, SessionStatus, SOCKET_PATH, SOCKET_VARIABLE};
use vgpu_protocol::control::UNKNOWN;
use vgpu_protocol::DEVICES_MAX;

/// Arguments of `vgpu smi`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// List the GPUs, each in one line.
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

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// CUDA version of the driver, as in "13.0".
    pub cuda_version: String,
    /// Version of this software.
    pub version: String,
    /// Release of the NVIDIA driver whose interfaces the libraries follow, as NVML tells it.
    pub driver_version: String,
    /// Session queues of the device.
    pub session_limit: u32,
    /// The GPUs, by their number.
    pub gpus: Vec<Gpu>,
    /// CUDA processes.
    pub processes: Vec<Process>,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gpu {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// "GPU-" and the UUID in its usual form.
    pub uuid: String,
    /// PCI address, or "loopback".
    pub location: String,
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
        for gpu in &report.gpus {
            println!("GPU {}: {} (UUID: {})", gpu.index, gpu.name, gpu.uuid);
        }
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
        let broker = Broker::connect_to(&socket_path());
        let asked = broker.and_then(|broker| {
            let (first, sessions) = broker.status()?;
            let count = first.backend.device_count.clamp(1, DEVICES_MAX as u32);
            let others = (1..count).map(|number| broker.status_of(number).map(|(status, _)| status));
            Ok(Self::new(&first, &others.collect::<Result<Vec<_>, _>>()?, &sessions))
        });
        // The error's text has its cause in it already.
        asked.map_err(|error| anyhow!("{error} (try: vgpu doctor)"))
    }

    /// Puts what the broker says of each GPU into readable form.
    pub fn new(first: &BrokerStatus, others: &[BrokerStatus], sessions: &[SessionStatus]) -> Self {
        let backend = &first.backend;
        Self {
            cuda_version: format!("{}.{}", backend.driver_version / 1000, backend.driver_version % 1000 / 10),
            version: env!("CARGO_PKG_VERSION").into(),
            driver_version: match text(&backend.driver_release) {
                told if told.is_empty() => vgpu_protocol::DRIVER_RELEASE.into(),
                told => told,
            },
            session_limit: first.queues,
            gpus: (0..).zip(std::iter::once(first).chain(others)).map(|(i, status)| Gpu::new(i, status)).collect(),
            processes: sessions.iter().map(Process::new).collect(),
        }
    }
}

impl Gpu {
    fn new(index: u32, status: &BrokerStatus) -> Self {
        let backend = &status.backend;
        let sensors = &backend.sensors;
        let place = location::parse(&status.location).map(|place| location::of_gpu(place, index));
        Self {
            index,
            name: text(&backend.gpu_name),
            uuid: uuid(&backend.uuid),
            // QEMU's devices have one function, 0.
            location: place.map_or_else(
                || text(&status.location),
                |[domain, bus, device]| format!("{domain:04x}:{bus:02x}:{device:02x}.0"),
            ),
            compute_capability: format!("{}.{}", backend.capability / 10, backend.capability % 10),
            memory_total: backend.memory_total,
            memory_used: backend.memory_used,
            utilization: known(sensors.utilization),
            memory_utilization: known(sensors.memory_utilization),
            temperature: known(sensors.temperature),
            power: known(sensors.power),
            clock: known(sensors.clocks[1]),
            memory_clock: known(sensors.clocks[2]),
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

    fn status(name: &[u8; 4]) -> BrokerStatus {
        let mut status = BrokerStatus::new_zeroed();
        status.backend.gpu_name[..4].copy_from_slice(name);
        status.backend.uuid = *b"0123456789abcdef";
        status.backend.driver_version = 13020;
        status.backend.capability = 80;
        status.backend.memory_total = 4 << 30;
        status.backend.memory_used = 300 << 20;
        status.backend.sensors = Sensors { utilization: 7, ..Sensors::NONE };
        status.location[..12].copy_from_slice(b"0000:00:03.0");
        status.queues = 15;
        status
    }

    /// Of two GPUs.
    pub fn report() -> Report {
        let session = SessionStatus { pid: u32::MAX, uid: 1000, queue: 2, reserved: 0, shared_bytes: 34 << 20 };
        Report::new(&status(b"Test"), &[status(b"More")], &[session])
    }

    #[test]
    fn versions_and_uuid_have_their_usual_form() {
        let report = report();
        let [first, second] = report.gpus.as_slice() else { panic!("two GPUs: {report:?}") };
        assert_eq!((report.cuda_version.as_str(), first.compute_capability.as_str()), ("13.2", "8.0"));
        assert_eq!(first.uuid, "GPU-30313233-3435-3637-3839-616263646566");
        assert_eq!((first.location.as_str(), second.location.as_str()), ("0000:00:03.0", "0001:00:03.0"));
        assert_eq!((second.index, second.name.as_str()), (1, "More"));
        assert_eq!(report.processes[0].name, "?");
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a?[2Jb?");
        assert_eq!(text(b"name\0rest"), "name");
    }
}
