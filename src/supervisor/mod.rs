//! The supervisor: listens for the VM, speaks vhost-user, and starts a worker per session.

mod cache;
mod control;
mod device;
mod exchange;
mod launcher;
mod load;
mod memory;
mod metrics;
mod monitor;
mod process;
mod requests;
mod session;
mod socket;
mod table;
mod vring;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use vgpu_protocol::DeviceInfo;
use vhost::vhost_user::Listener;
use vhost_user_backend::VhostUserDaemon;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

use self::device::Device;
use self::launcher::{Launcher, LauncherError};
use self::metrics::Metrics;
use self::monitor::Monitor;
use self::process::End;
use self::session::Settings;
use self::socket::{end_on_signals, Socket};
use self::table::SessionTable;
use crate::args::{Executor, Serve};
use crate::exit;
use crate::gpu::Gpu;
use crate::sandbox::User;

/// Serves VMs, one after the other, until a signal ends the process. Workers inherit `log`.
pub fn run(args: &Serve, log: OwnedFd) -> ExitCode {
    let executor = &args.executor;
    if let Err(error) = executor.check() {
        return exit::fail(exit::NO_GPU, error);
    }
    let user = match User::find(args.user.as_deref()) {
        Ok(user) => user,
        Err(error) => return exit::fail(exit::SANDBOX, error),
    };
    let launcher = match Launcher::start(executor, &user, log) {
        Ok(launcher) => launcher,
        // It has said why.
        Err(LauncherError::Ended) => return ExitCode::from(exit::SANDBOX),
        Err(error) => return exit::fail(exit::RUNTIME, error),
    };
    let devices: Arc<[DeviceInfo]> = match probe(executor, &launcher) {
        Ok(devices) => devices.into(),
        Err(code) => return code,
    };
    // The VM's socket comes last: whoever finds it finds the other one.
    let opened = args.metrics.as_deref().map(Socket::at).transpose().and_then(|metrics| {
        let socket = Socket::open(args)?;
        Ok([Some(socket), metrics].into_iter().flatten().collect::<Vec<_>>())
    });
    let sockets = match opened {
        Ok(sockets) => sockets,
        Err(error) => return exit::fail(exit::RUNTIME, error),
    };
    let folders: Vec<PathBuf> = sockets.iter().filter_map(Socket::folder).collect();
    if let Err(error) = executor.sandbox.enter_supervisor(&user, &folders) {
        return exit::fail(exit::SANDBOX, error);
    }
    if let Err(error) = end_on_signals(&sockets) {
        return exit::fail(exit::RUNTIME, format_args!("cannot handle signals: {error}"));
    }
    let metrics = Metrics::new(args.vm_name(), devices.clone());
    let Some((socket, others)) = sockets.split_first() else { return ExitCode::from(exit::RUNTIME) };
    for other in others {
        if let Err(error) = other.listener().and_then(|listener| metrics.clone().serve(listener)) {
            return exit::fail(exit::RUNTIME, format_args!("cannot tell metrics on {other}: {error}"));
        }
    }
    let monitor = match executor.nvml_library().map(|_| Monitor::start(&launcher)).transpose() {
        Ok(monitor) => Arc::new(monitor.unwrap_or_default()),
        Err(error) => return exit::fail(exit::RUNTIME, format_args!("cannot start a process of its own: {error}")),
    };
    let settings = Settings {
        launcher: Arc::new(launcher),
        monitor,
        drain: (executor.gpu != Gpu::Soft).then(|| std::time::Duration::from_secs(args.drain_timeout)),
        totals: executor.totals,
    };
    log::info!("serving {} session queues of {} on {socket}", args.sessions, names(&devices));
    let mut listener = match socket.listener() {
        Ok(listener) => Listener::from(listener),
        Err(error) => return exit::fail(exit::RUNTIME, format_args!("cannot listen on {socket}: {error}")),
    };
    if let Err(error) = executor.sandbox.seal_supervisor() {
        return exit::fail(exit::SANDBOX, error);
    }
    loop {
        if let Err(error) = serve_one(&mut listener, &settings, args.sessions, &devices, &metrics) {
            return exit::fail(exit::RUNTIME, format_args!("cannot serve {socket}: {error}"));
        }
    }
}

/// Finds out what the GPUs are and that workers are confined; else the code to exit with.
fn probe(executor: &Executor, launcher: &Launcher) -> Result<Vec<DeviceInfo>, ExitCode> {
    let failed = |error| exit::fail(exit::RUNTIME, format_args!("cannot start a process of its own: {error}"));
    let devices = match process::probe(launcher, executor.start_time()).map_err(failed)? {
        Ok(devices) => devices,
        Err(End::Late) => {
            let message = "the driver does not come back from a call; is the GPU in order (nvidia-smi, dmesg)?";
            return Err(exit::fail(exit::NO_GPU, format_args!("--gpu {}: {message}", executor.gpu)));
        }
        Err(End::Code(code)) => return Err(ExitCode::from(u8::try_from(code).unwrap_or(exit::RUNTIME))),
        Err(end) => {
            return Err(exit::fail(exit::RUNTIME, format_args!("--gpu {}: the driver died ({end})", executor.gpu)))
        }
    };
    if executor.sandboxed() && !process::check_sandbox(launcher).map_err(failed)? {
        return Err(ExitCode::from(exit::SANDBOX));
    }
    Ok(devices)
}

/// Waits for a VM and serves it until it disconnects.
fn serve_one(
    listener: &mut Listener,
    settings: &Settings,
    sessions: u32,
    devices: &Arc<[DeviceInfo]>,
    metrics: &Metrics,
) -> Result<(), vhost_user_backend::Error> {
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let table = Arc::new(SessionTable::new(settings.clone(), memory.clone(), sessions));
    metrics.watch(&table);
    let device = Arc::new(Device::new(table.clone(), memory.clone(), sessions, devices.clone()));
    let (daemon, vrings) = vring::collect(|| VhostUserDaemon::new("vhost-user".into(), device.clone(), memory));
    let mut daemon = daemon?;
    device.attach(vrings.clone());
    let served = daemon.start(listener);
    if served.is_ok() {
        log::info!("a VM connected");
        match daemon.wait() {
            Ok(()) => log::info!("the VM disconnected"),
            Err(error) => log::info!("the VM disconnected: {error}"),
        }
    }
    table.clear();
    vrings.iter().for_each(vring::ObservedVring::forget);
    drop(daemon);
    if let Some(fd) = device.take_exit_fd() {
        drop(crate::sys::own(fd));
    }
    served
}

fn names(devices: &[DeviceInfo]) -> String {
    let name = |info: &DeviceInfo| {
        String::from_utf8_lossy(info.name.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
    };
    devices.iter().map(name).collect::<Vec<_>>().join(", ")
}
