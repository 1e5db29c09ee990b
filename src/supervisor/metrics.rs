//! Figures for monitoring, in Prometheus' text format, told to whoever connects to a Unix socket.

use std::fmt::Write as _;
use std::io::{self, Read, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use vgpu_protocol::control::BackendStatus;
use vgpu_protocol::DeviceInfo;

use super::control;
use super::table::SessionTable;

/// How long a reader may take to say what it wants and to take the answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is told, and about which VM.
pub struct Metrics {
    vm: String,
    info: DeviceInfo,
    /// The sessions of the VM that is connected.
    table: Mutex<Weak<SessionTable>>,
}

impl Metrics {
    /// Figures of a GPU; `vm` is what the VM is called.
    pub fn new(vm: String, info: DeviceInfo) -> Arc<Metrics> {
        Arc::new(Metrics { vm, info, table: Mutex::default() })
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
        let mut status = control::describe(&self.info);
        if let Some(table) = &table {
            table.measure(&mut status);
        }
        render(&status, &self.vm, table.is_some())
    }
}

fn render(status: &BackendStatus, vm: &str, connected: bool) -> String {
    let name: Vec<u8> = status.gpu_name.iter().copied().take_while(|byte| *byte != 0).collect();
    let uuid: String = status.uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let labels =
        format!("gpu=\"{}\",uuid=\"GPU-{uuid}\",vm=\"{}\"", escape(&String::from_utf8_lossy(&name)), escape(vm));
    let figures: [(&str, &str, u64); 5] = [
        ("vgpu_up", "Whether a VM is connected", connected.into()),
        ("vgpu_sessions", "CUDA processes that have a session", status.sessions.into()),
        ("vgpu_memory_used_bytes", "GPU memory in use", status.memory_used),
        ("vgpu_memory_total_bytes", "GPU memory; of the software GPU, per session", status.memory_total),
        ("vgpu_utilization_percent", "Share of the processors in use by the software GPU", status.utilization.into()),
    ];
    let mut text = String::new();
    for (metric, help, value) in figures {
        let _ = writeln!(text, "# HELP {metric} {help}\n# TYPE {metric} gauge\n{metric}{{{labels}}} {value}");
    }
    text
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
        let text = render(&BackendStatus::new_zeroed(), "a\"b\\c\n", false);
        assert!(text.contains("vm=\"a\\\"b\\\\c\\n\"} 0\n"), "{text}");
        assert!(text.lines().all(|line| line.starts_with('#') || line.starts_with("vgpu_")), "{text}");
    }
}
