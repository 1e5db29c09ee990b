//! The table for people.

use super::{Gpu, Process, Report};

const MIB: u64 = 1 << 20;
/// Characters between the outer bars.
const WIDTH: usize = 77;

/// The whole table.
pub fn render(report: &Report) -> String {
    let mut lines = vec![
        rule(),
        line(&columns(
            &format!("VGPU {}", report.version),
            &format!("Driver Version: {}   CUDA Version: {}", report.driver_version, report.cuda_version),
        )),
        rule(),
    ];
    // Sessions may use all GPUs: there is one count of them.
    let sessions = format!("   Sessions {} / {}", report.processes.len(), report.session_limit);
    for gpu in &report.gpus {
        lines.extend(of_gpu(gpu, if gpu.index == 0 { &sessions } else { "" }));
        lines.push(rule());
    }
    lines.extend([
        String::new(),
        rule(),
        line("Processes:"),
        line(&format!("{:>10}  {:>7}  {:>5}  {:<28} {:>18}", "PID", "UID", "Queue", "Name", "Shared memory")),
        rule(),
    ]);
    match report.processes.is_empty() {
        true => lines.push(line("No running CUDA processes")),
        false => lines.extend(report.processes.iter().map(process)),
    }
    lines.push(rule());
    lines.join("\n") + "\n"
}

/// The lines of one GPU.
fn of_gpu(gpu: &Gpu, sessions: &str) -> [String; 3] {
    let memory = format!("       Memory {}MiB / {}MiB", gpu.memory_used / MIB, gpu.memory_total / MIB);
    let state = format!("{}GPU-Util {}{sessions}", state(gpu), percent(gpu.utilization));
    [
        line(&columns(&format!("GPU {}  {}", gpu.index, gpu.name), &gpu.location)),
        line(&columns(&format!("       {}", gpu.uuid), &format!("compute {}", gpu.compute_capability))),
        line(&columns(&memory, &state)),
    ]
}

/// Temperature and power, if they are known.
fn state(gpu: &Gpu) -> String {
    let temperature = gpu.temperature.map(|degrees| format!("{degrees}C   ")).unwrap_or_default();
    let power = gpu.power.map(|milliwatts| format!("{}W   ", milliwatts / 1000)).unwrap_or_default();
    temperature + &power
}

fn percent(figure: Option<u32>) -> String {
    figure.map_or("N/A".into(), |figure| format!("{figure}%"))
}

fn process(process: &Process) -> String {
    let shared = format!("{}MiB", process.shared_bytes / MIB);
    let name: String = process.name.chars().take(28).collect();
    line(&format!("{:>10}  {:>7}  {:>5}  {name:<28} {shared:>18}", process.pid, process.uid, process.queue))
}

fn rule() -> String {
    format!("+{}+", "-".repeat(WIDTH))
}

fn line(text: &str) -> String {
    let text: String = text.chars().take(WIDTH - 2).collect();
    format!("| {text:<width$} |", width = WIDTH - 2)
}

/// One text at the left, one at the right end of a line.
fn columns(left: &str, right: &str) -> String {
    let room = (WIDTH - 2).saturating_sub(right.chars().count() + 1);
    let left: String = left.chars().take(room).collect();
    format!("{left:<room$} {right}")
}

#[cfg(test)]
mod tests {
    use super::super::tests::report;
    use super::*;

    #[test]
    fn every_line_has_the_same_width() {
        let mut report = report();
        report.gpus[0].name = "a name that goes on and on ".repeat(8);
        let table = render(&report);
        assert!(table.lines().filter(|line| !line.is_empty()).all(|line| line.chars().count() == WIDTH + 2), "{table}");
    }

    #[test]
    fn memory_and_processes_are_shown() {
        let table = render(&report());
        assert!(table.contains("GPU 0  Test") && table.contains("GPU 1  More"), "{table}");
        assert!(table.contains("300MiB / 4096MiB") && table.contains(&u32::MAX.to_string()) && table.contains("34MiB"));
        let mut idle = report();
        idle.processes.clear();
        assert!(render(&idle).contains("No running CUDA processes"));
    }
}
