//! The test of everything: load the library as a program does, and run a kernel. It happens in a
//! process of its own, so that whatever the library does, the doctor can tell.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use serde::{Deserialize, Serialize};

use super::Finding;
use crate::ffi::Driver;
use crate::{locate, sys};

const TRIAL: &str = "kernel launch";
/// Longest time for the whole trial; an emulated machine is slow.
const LIMIT: Duration = Duration::from_secs(120);

const PTX: &std::ffi::CStr = c"
.version 6.3
.target sm_50
.address_size 64
.visible .entry triple(.param .u64 data)
{
    .reg .u32 %r<4>;
    .reg .u64 %a<4>;
    ld.param.u64 %a0, [data];
    cvta.to.global.u64 %a1, %a0;
    mov.u32 %r0, %tid.x;
    mul.wide.u32 %a2, %r0, 4;
    add.u64 %a3, %a1, %a2;
    ld.global.u32 %r1, [%a3];
    mul.lo.u32 %r2, %r1, 3;
    st.global.u32 [%a3], %r2;
    ret;
}
";
const THREADS: u32 = 64;

/// How far the trial came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// Files that `libcuda.so.1` and `libnvidia-ml.so.1` are here.
    pub libcuda: Option<String>,
    /// See `libcuda`.
    pub nvml: Option<String>,
    /// Name of the device on which the kernel ran, with the right result.
    device: Option<String>,
    /// What went wrong.
    error: Option<String>,
}

impl Trial {
    /// What the trial says about the GPU as a whole.
    pub fn finding(&self) -> Finding {
        match (&self.device, &self.error) {
            (Some(device), None) => Finding::ok(TRIAL, format!("{THREADS} threads computed correctly on {device}")),
            (_, error) => Finding::fail(
                TRIAL,
                error.as_deref().unwrap_or("the trial did not finish"),
                "mend what failed above; else VGPU_LOG=1 vgpu doctor shows more, and the backend's log on the host",
            ),
        }
    }
}

/// Runs the trial in a child process.
pub fn observe() -> Trial {
    let mut trial = Trial::default();
    if let Err(error) = observe_child(&mut trial) {
        trial.error.get_or_insert(format!("{error:#}"));
    }
    trial
}

fn observe_child(trial: &mut Trial) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["doctor", "--trial"]).stdin(Stdio::null()).stdout(Stdio::piped());
    sys::end_with_parent(&mut command, rustix::process::Signal::KILL);
    let mut child = command.spawn()?;
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let lines = output.into_iter().flat_map(|output| BufReader::new(output).lines().map_while(Result::ok));
        lines.filter_map(|line| serde_json::from_str::<Trial>(&line).ok()).last()
    });
    let start = Instant::now();
    let status = loop {
        match child.try_wait()? {
            Some(status) => break Some(status),
            None if start.elapsed() > LIMIT => break None,
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    };
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    if let Ok(Some(last)) = reader.join() {
        *trial = last;
    }
    match status {
        Some(status) if status.success() => Ok(()),
        Some(status) => bail!("the program that loaded libcuda.so.1 ended with {status}"),
        None => bail!("no result within {} s", LIMIT.as_secs()),
    }
}

/// The child: tells after each step how far it is.
pub fn run() {
    let mut trial = Trial::default();
    if let Err(error) = try_gpu(&mut trial) {
        trial.error = Some(format!("{error:#}"));
    }
    tell(&trial);
}

fn tell(trial: &Trial) {
    let line = serde_json::to_string(trial).unwrap_or_default();
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn try_gpu(trial: &mut Trial) -> Result<()> {
    let driver = Driver::open(locate::LIBCUDA.soname)?;
    trial.libcuda = mapped_file("libcuda.so");
    tell(trial);
    if Driver::open(locate::LIBNVML.soname).is_ok() {
        trial.nvml = mapped_file("libnvidia");
        tell(trial);
    }
    driver.init()?;
    let devices = driver.device_count()?;
    if devices < 1 {
        bail!("cuDeviceGetCount says {devices}");
    }
    let name = driver.device_name()?;
    driver.use_device()?;
    let kernel = driver.kernel(PTX, "triple")?;
    let input: Vec<u32> = (1..=THREADS).collect();
    let bytes: Vec<u8> = input.iter().flat_map(|value| value.to_ne_bytes()).collect();
    let memory = driver.allocate(bytes.len())?;
    driver.upload(memory, &bytes)?;
    driver.launch(kernel, 1, THREADS, &mut [memory.address])?;
    driver.synchronize()?;
    let mut output = vec![0; bytes.len()];
    driver.download(&mut output, memory)?;
    let expected: Vec<u8> = input.iter().flat_map(|value| (value * 3).to_ne_bytes()).collect();
    if output != expected {
        bail!("the kernel on {name} computed wrong values");
    }
    trial.device = Some(name);
    Ok(())
}

/// The file behind a loaded library whose name begins like this.
fn mapped_file(prefix: &str) -> Option<String> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    paths.filter(|path| path.rsplit('/').next().is_some_and(|name| name.starts_with(prefix))).map(String::from).next()
}
