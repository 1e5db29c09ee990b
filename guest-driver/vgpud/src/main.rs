//! `vgpud`: the guest's broker as a program.

#![forbid(unsafe_code)]

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use log::{error, info, warn};
use rustix::process::Resource;
use signal_hook::consts::{SIGINT, SIGTERM};
use vgpu_logging::{Limit, Limits};
use vgpu_virtio::loopback::Loopback;
use vgpu_virtio::pci::Pci;
use vgpu_virtio::Transport;
use vgpud::{socket, Server};

/// Broker of the virtual GPU: gives each CUDA process of this machine a session on the device.
///
/// Runs in the foreground as root. Ends with code 0 on SIGTERM or SIGINT, 1 on errors, 2 on wrong
/// usage, 3 when there is no device.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Socket that CUDA processes connect to.
    #[arg(long, value_name = "PATH", default_value = vgpu_protocol::broker::SOCKET_PATH)]
    socket: PathBuf,

    /// Access mode of the socket, octal. Who may write to it may use the GPU.
    #[arg(long, value_name = "MODE", default_value = "666", value_parser = |mode: &str| u32::from_str_radix(mode, 8))]
    socket_mode: u32,

    /// Group of the socket.
    #[arg(long, value_name = "NAME")]
    socket_group: Option<String>,

    /// PCI address of the device, as in "0000:00:03.0"; the first that is found otherwise.
    #[arg(long, value_name = "BDF", conflicts_with = "loopback")]
    device: Option<String>,

    /// Use a backend on this machine, through its vhost-user socket, in place of a PCI device.
    #[arg(long, value_name = "SOCKET")]
    loopback: Option<PathBuf>,

    /// What to log: error, warn, info, debug or trace. The variable RUST_LOG goes before it.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: log::LevelFilter,

    /// Write one byte to this open descriptor when clients can connect.
    #[arg(long, value_name = "FD")]
    ready_fd: Option<u32>,
}

/// No device: the exit code tells it from other errors.
const EXIT_NO_DEVICE: u8 = 3;
/// Log lines: any user may come and go.
const LINES: Limit = Limit { burst: 1000, rate: 2 };

fn main() -> ExitCode {
    let args = Args::parse();
    vgpu_logging::start(args.log_level, None, Limits { own: LINES, all: None, shared: None });
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::NoDevice(text)) => {
            error!("{text}");
            ExitCode::from(EXIT_NO_DEVICE)
        }
        Err(Failure::Other(text)) => {
            error!("{text}");
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    NoDevice(String),
    Other(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Other(error.to_string())
    }
}

fn run(args: &Args) -> Result<(), Failure> {
    raise_descriptor_limit();
    let (stop, signals) = UnixStream::pair()?;
    signal_hook::low_level::pipe::register(SIGTERM, signals.try_clone()?)?;
    signal_hook::low_level::pipe::register(SIGINT, signals)?;
    // The socket comes first: another vgpud on it must not lose its device.
    let group = args.socket_group.as_deref().map(group_id).transpose()?;
    let listener = create_socket(&args.socket, args.socket_mode, group)?;
    let served = serve(args, listener, &stop);
    let _ = std::fs::remove_file(&args.socket);
    served
}

fn serve(args: &Args, listener: std::os::fd::OwnedFd, stop: &UnixStream) -> Result<(), Failure> {
    let transport = open_device(args)?;
    info!(
        "ready: device {}, {} sessions, socket {}",
        transport.location(),
        transport.sessions(),
        args.socket.display()
    );
    let mut server = Server::new(listener, transport)?;
    if let Some(fd) = args.ready_fd {
        std::fs::OpenOptions::new().write(true).open(format!("/proc/self/fd/{fd}"))?.write_all(b"\n")?;
    }
    Ok(server.run(stop.as_fd())?)
}

fn open_device(args: &Args) -> Result<Box<dyn Transport>, Failure> {
    if let Some(socket) = &args.loopback {
        return Ok(Box::new(Loopback::connect(socket)?));
    }
    match Pci::open(Path::new("/sys"), args.device.as_deref())? {
        Some(device) => Ok(Box::new(device)),
        None => Err(Failure::NoDevice(
            "there is no virtual GPU on the PCI bus (1af4:1067); start QEMU with -device \
             vhost-user-test-device-pci,virtio-id=39,... and see vgpu doctor"
                .into(),
        )),
    }
}

fn create_socket(path: &Path, mode: u32, group: Option<u32>) -> Result<std::os::fd::OwnedFd, Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .map_err(|error| Failure::Other(format!("cannot create the folder {}: {error}", folder.display())))?;
    }
    socket::listen(path, mode, group)
        .map_err(|error| Failure::Other(format!("cannot listen on {}: {error}", path.display())))
}

fn group_id(name: &str) -> Result<u32, Failure> {
    match nix::unistd::Group::from_name(name)? {
        Some(group) => Ok(group.gid.as_raw()),
        None => Err(Failure::Other(format!("there is no group '{name}'; create it with: groupadd {name}"))),
    }
}

/// Sessions take several descriptors each.
fn raise_descriptor_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, limit) {
        warn!("cannot raise the limit of open files: {error}");
    }
}
