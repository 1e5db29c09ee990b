//! Checks of the broker and of the backend behind it.

use std::path::PathBuf;

use rustix::io::Errno;
use vgpu_client::{Broker, OpenError};
use vgpu_protocol::broker::{BrokerError, BrokerStatus};
use vgpu_protocol::session::{ARENA_BASES, ARENA_SIZE};

use super::Finding;
use crate::smi;

const SOCKET: &str = "vgpud socket";
const BROKER: &str = "vgpud";
const BACKEND: &str = "backend";
const VERSIONS: &str = "versions";

const RESTART: &str = "systemctl restart vgpud; its messages: journalctl -u vgpud";
const REINSTALL: &str = "install the same release in guest and host, then restart vhost-user-vgpu, the VM and vgpud";
const START_BACKEND: &str = "start vhost-user-vgpu on the host, and the VM again; its log says why it ended";

/// What the broker says.
pub struct Service {
    path: PathBuf,
    connection: Result<Broker, OpenError>,
    status: Option<Result<BrokerStatus, OpenError>>,
}

impl Service {
    /// Connects to the broker and asks for its status.
    pub fn ask() -> Self {
        let path = smi::socket_path();
        let connection = Broker::connect_to(&path);
        let status = connection.as_ref().ok().map(|broker| broker.status().map(|(status, _)| status));
        Self { path, connection, status }
    }

    /// Whether the broker works without a VM.
    pub fn is_loopback(&self) -> bool {
        let location = self.status.as_ref().and_then(|status| status.as_ref().ok()).map(|status| status.location);
        location.is_some_and(|location| location.starts_with(b"loopback\0"))
    }

    /// Whether a broker is there.
    pub fn is_running(&self) -> bool {
        self.connection.is_ok()
    }

    /// The findings; what depends on a failed check is left out.
    pub fn check(&self) -> Vec<Finding> {
        if let Err(error) = &self.connection {
            return vec![self.unreachable(error)];
        }
        let mut findings = vec![Finding::ok(SOCKET, self.path.display().to_string())];
        match &self.status {
            Some(Ok(status)) => {
                findings.push(Finding::ok(BROKER, format!("process {} answers", status.pid)));
                findings.push(check_backend(status));
                findings.push(self.check_versions());
            }
            Some(Err(OpenError::Refused(BrokerError::Device))) => {
                findings.push(Finding::ok(BROKER, "answers"));
                findings.push(Finding::fail(BACKEND, "does not answer vgpud", START_BACKEND));
            }
            Some(Err(OpenError::Refused(BrokerError::Version))) => {
                findings.push(Finding::fail(VERSIONS, "vgpu and vgpud are of different versions", REINSTALL));
            }
            Some(Err(error)) => findings.push(Finding::fail(BROKER, error.to_string(), RESTART)),
            None => {}
        }
        findings
    }

    /// Opens a session, which ends with its connection: only that compares the API tables of all
    /// three.
    fn check_versions(&self) -> Finding {
        for base in ARENA_BASES {
            let opened = Broker::connect_to(&self.path).and_then(|broker| broker.open(base, ARENA_SIZE));
            return match opened {
                Ok(_) => {
                    Finding::ok(VERSIONS, format!("guest and host both have API {:016x}", vgpu_protocol::API_HASH))
                }
                Err(OpenError::Refused(BrokerError::BaseTaken)) => continue,
                Err(OpenError::Refused(BrokerError::Version)) => {
                    Finding::fail(VERSIONS, "guest and host are of different versions", REINSTALL)
                }
                Err(OpenError::Refused(error @ BrokerError::Busy)) => {
                    Finding::warn(VERSIONS, error.to_string(), "vgpu smi lists the processes")
                }
                Err(error) => Finding::fail(VERSIONS, format!("cannot open a session: {error}"), RESTART),
            };
        }
        Finding::fail(VERSIONS, "no address range is free in the backend's workers", START_BACKEND)
    }

    fn unreachable(&self, error: &OpenError) -> Finding {
        let path = self.path.display();
        match error {
            OpenError::Unreachable { error: Errno::NOENT, .. } => {
                Finding::fail(SOCKET, format!("{path} does not exist: vgpud does not run"), "systemctl start vgpud")
            }
            OpenError::Unreachable { error: Errno::ACCESS, .. } => Finding::fail(
                SOCKET,
                format!("this user may not write to {path}"),
                format!("ls -l {path} names the group that may: usermod -aG GROUP USER, or start vgpud with --socket-mode 666"),
            ),
            OpenError::Unreachable { error: Errno::CONNREFUSED, .. } => {
                Finding::fail(SOCKET, format!("{path} is there, but nobody serves it"), RESTART)
            }
            error => Finding::fail(SOCKET, error.to_string(), RESTART),
        }
    }
}

fn check_backend(status: &BrokerStatus) -> Finding {
    let report = smi::Report::new(status, &[], &[]);
    let gpu = |gpu: &smi::Gpu| format!("{}, {:.1} GiB", gpu.name, gpu.memory_total as f64 / f64::from(1 << 30));
    let others = match status.backend.device_count {
        0 | 1 => String::new(),
        count => format!(", the first of {count} GPUs"),
    };
    let first = report.gpus.first().map(gpu).unwrap_or_default();
    Finding::ok(BACKEND, format!("{first}{others}, CUDA {}", report.cuda_version))
}
