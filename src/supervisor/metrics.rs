//! Figures for monitoring, in Prometheus' text format, told to whoever connects to a Unix socket.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use vgpu_protocol::control::{BackendStatus, UNKNOWN};
use vgpu_protocol::DeviceInfo;

use super::control;
use super::table::SessionTable;

/// How long a reader may take to say what it wants and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is told, and about which VM.
pub struct Metrics {
    vm: String,
    devices: Arc<[DeviceInfo]>,
    /// The sessions of the VM that is connected.
    table: Mutex<Weak<SessionTable>>,
}

impl Metrics {
    /// Figures of the GPUs; `vm` is what the VM is called.
    pub fn new(vm: String, devices: Arc<[DeviceInfo]>) -> Arc<Metrics> {
        Arc::new(Metrics { vm, devices, table: Mutex::default() })
    }

    /// A VM has connected, with these sessions.
    pub fn watch(&self, table: &Arc<SessionTable>) {
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(table);
    }

    /// Answers readers for the rest of the process's life.
    pub fn serve(self: Arc<Self>, listener: UnixListener) -> io::Result<()> {
        std::thread::Builder::new().name("metrics".into()).spawn(move || loop {
            match listener.accept() {
                Ok((reader, _)) => {
                    if let Err(error) = self.answer(reader) {
                        log::debug!("a reader of metrics: {error}");
                    }
                }
                Err(error) => {
                    log::warn!("metrics: {error}");
                    std::thread::sleep(PATIENCE);
                }
            }
        })?;
        Ok(())
    }

    /// One answer to one request, as HTTP/1.0 has it; what is asked for does not matter.
    fn answer(&self, mut reader: UnixStream) -> io::Result<()> {
        reader.set_read_timeout(Some(PATIENCE))?;
        reader.set_write_timeout(Some(PATIENCE))?;
        let asked = reader.read(&mut [0; 4096])?;
        log::trace!("metrics: {asked} bytes of a request");
        let text = self.text();
        let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";
        write!(reader, "{head}Content-Length: {}\r\n\r\n{text}", text.len())
    }

    fn text(&self) -> String {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        let all = (0..).map_while(|number| control::describe(&self.devices, number));
        let all = all.map(|mut status| {
            if let Some(table) = &table {
                table.measure(&mut status);
            }
            status
        });
        render(&all.collect::<Vec<_>>(), &self.vm, table.is_some())
    }
}

/// What a metric is called, what it means, and its value, if it has one.
type Figure = (&'static str, &'static str, fn(&BackendStatus) -> Option<u64>);

const FIGURES: [Figure; 6] = [
    ("vgpu_sessions", "CUDA processes that have a session", |s| Some(s.sessions.into())),
    ("vgpu_memory_used_bytes", "GPU memory in use", |s| Some(s.memory_used)),
    ("vgpu_memory_total_bytes", "GPU memory; of the software GPU, per session", |s| Some(s.memory_total)),
    ("vgpu_utilization_percent", "How busy the GPU is", |s| known(s.sensors.utilization)),
    ("vgpu_temperature_celsius", "How warm the GPU is", |s| known(s.sensors.temperature)),
    ("vgpu_power_milliwatts", "What the GPU draws", |s| known(s.sensors.power)),
];

fn known(figure: u32) -> Option<u64> {
    (figure != UNKNOWN).then_some(figure.into())
}

fn render(devices: &[BackendStatus], vm: &str, connected: bool) -> String {
    let mut text = String::new();
    let labels: Vec<String> = devices.iter().map(|status| labels(status, vm)).collect();
    let mut tell = |metric: &str, help: &str, value: &dyn Fn(&BackendStatus) -> Option<u64>| {
        let told: Vec<_> = devices.iter().zip(&labels).filter_map(|(s, labels)| Some((labels, value(s)?))).collect();
        if !told.is_empty() {
            let _ = writeln!(text, "# HELP {metric} {help}\n# TYPE {metric} gauge");
        }
        for (labels, value) in told {
            let _ = writeln!(text, "{metric}{{{labels}}} {value}");
        }
    };
    tell("vgpu_up", "Whether a VM is connected", &|_| Some(connected.into()));
    for (metric, help, value) in FIGURES {
        tell(metric, help, &value);
    }
    text
}

fn labels(status: &BackendStatus, vm: &str) -> String {
    let name: Vec<u8> = status.gpu_name.iter().copied().take_while(|byte| *byte != 0).collect();
    let uuid: String = status.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("gpu=\"{}\",uuid=\"GPU-{uuid}\",vm=\"{}\"", escape(&String::from_utf8_lossy(&name)), escape(vm))
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    #[test]
    fn test_labels_are_escaped() {
        let text = render(&[BackendStatus::new_zeroed()], "a\"b\\c\n", false);
        assert!(text.contains("vm=\"a\\\"b\\\\c\\n\"} 0\n"), "{text}");
        assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("vgpu_")), "{text}");
    }
}
