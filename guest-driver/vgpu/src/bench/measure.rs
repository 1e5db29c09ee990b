//! The measurements themselves, on whichever driver they are given.

use std::hint::black_box;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::sockets;
use crate::ffi::{CallError, DeviceMemory, Driver};
use crate::locate;

/// Calls that are timed one by one, and before them, calls that are not.
pub(super) const CALLS: usize = 20_000;
pub(super) const WARM_UP: usize = 1_000;
/// Launches between two synchronisations: fewer than any queue holds.
pub(super) const BURST: usize = 32;
/// Launches whose rate is measured.
pub(super) const LAUNCHES: usize = 200_000;
/// Size of a copy, bytes, and how many are timed.
const COPY: usize = 64 << 20;
const COPIES: usize = 12;

pub(super) const PTX: &std::ffi::CStr = c"
.version 6.3
.target sm_50
.address_size 64
.visible .entry empty()
{
    ret;
}
";

/// How often [`WORK`] runs.
const WORKS: usize = 1000;

/// A kernel that runs for a millisecond, longer than anybody looks without sleeping, and says when it ends.
const WORK: &std::ffi::CStr = c"
.version 6.3
.target sm_50
.address_size 64
.visible .entry wake(.param .u64 ended)
{
    .reg .b64 %rd<5>;
    .reg .pred %p1;
    ld.param.u64 %rd4, [ended];
    mov.u64 %rd1, %globaltimer;
again:
    mov.u64 %rd2, %globaltimer;
    sub.u64 %rd3, %rd2, %rd1;
    setp.lt.u64 %p1, %rd3, 1000000;
    @%p1 bra again;
    st.global.u64 [%rd4], %rd2;
    ret;
}
";

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The guest's libcuda, a broker and a backend, without a VM.
    Loopback,
    /// The software GPU, called directly.
    Softgpu,
    /// The software GPU behind a Unix socket.
    Unix,
    /// The software GPU behind TCP on the loopback interface.
    Tcp,
}

impl Target {
    /// As in arguments and results.
    pub fn name(self) -> &'static str {
        match self {
            Target::Loopback => "loopback",
            Target::Softgpu => "softgpu",
            Target::Unix => "unix",
            Target::Tcp => "tcp",
        }
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unit {
    /// Less is better.
    #[serde(rename = "us")]
    Microseconds,
    /// More is better.
    #[serde(rename = "GiB/s")]
    GibPerSecond,
    /// Millions a second; more is better.
    #[serde(rename = "M/s")]
    MillionsPerSecond,
}

impl Unit {
    /// As in results.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Microseconds => "us",
            Unit::GibPerSecond => "GiB/s",
            Unit::MillionsPerSecond => "M/s",
        }
    }
}

/// One measurement of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// What was measured.
    pub bench: String,
    /// Unit of the figures.
    pub unit: Unit,
    /// The middle one of all.
    pub p50: f64,
    /// Only one in a hundred is worse.
    pub p99: f64,
    /// For a copy, what memcpy does in the same process.
    pub memcpy: Option<f64>,
}

/// Measures a target and prints a [`Sample`] a line.
pub fn run(target: Target) -> Result<()> {
    let samples = match target {
        Target::Loopback => of_driver(Driver::open(locate::LIBCUDA.soname)?),
        Target::Softgpu => of_driver(Driver::linked(vgpu_softgpu::driver_api())),
        Target::Unix => sockets::over_unix(),
        Target::Tcp => sockets::over_tcp(),
    };
    for sample in samples? {
        println!("{}", serde_json::to_string(&sample)?);
    }
    Ok(())
}

fn of_driver(driver: Driver) -> Result<Vec<Sample>> {
    driver.init()?;
    driver.use_device()?;
    let mut samples = vec![round_trip(&driver)?, launch(&driver)?, launch_rate(&driver)?];
    samples.extend(wake(&driver)?);
    samples.extend(copies(&driver)?);
    Ok(samples)
}

/// A call that needs an answer from the GPU.
fn round_trip(driver: &Driver) -> Result<Sample, CallError> {
    let times = timed(CALLS, || driver.memory_info().map(|info| _ = black_box(info)))?;
    Ok(latency("sync_round_trip", times))
}

/// What a launch costs its caller, while the GPU keeps up.
fn launch(driver: &Driver) -> Result<Sample, CallError> {
    let kernel = driver.kernel(PTX, "empty")?;
    let mut times = Vec::with_capacity(CALLS);
    let clock = Clock::new();
    while times.len() < CALLS {
        for _ in 0..BURST {
            let start = Instant::now();
            driver.launch(kernel, 1, 1, &mut [])?;
            times.push(clock.since(start));
        }
        driver.synchronize()?;
    }
    times.drain(..WARM_UP);
    Ok(latency("async_launch", times))
}

/// How many launches a second get done.
fn launch_rate(driver: &Driver) -> Result<Sample, CallError> {
    let kernel = driver.kernel(PTX, "empty")?;
    let start = Instant::now();
    for _ in 0..LAUNCHES {
        driver.launch(kernel, 1, 1, &mut [])?;
    }
    driver.synchronize()?;
    Ok(rate("launch_rate", LAUNCHES, start.elapsed()))
}

/// From the end of a kernel to that of a call that has slept for it. `None` of a driver that
/// runs nothing; only the software GPU's clock is the host's.
fn wake(driver: &Driver) -> Result<Option<Sample>, CallError> {
    let kernel = driver.kernel(WORK, "wake")?;
    let mut ended = driver.allocate_pinned(8)?;
    let mut times = Vec::with_capacity(WORKS);
    for _ in 0..WORKS {
        let address = ended.bytes().as_ptr() as u64;
        driver.launch(kernel, 1, 1, &mut [address])?;
        driver.synchronize()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let end = ended.bytes().first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes));
        times.push(now.saturating_sub(Duration::from_nanos(end)).as_secs_f64());
    }
    let ran = ended.bytes().iter().any(|byte| *byte != 0);
    Ok(ran.then(|| latency("sleeper_wake", times)))
}

fn copies(driver: &Driver) -> Result<Vec<Sample>, CallError> {
    let device = driver.allocate(COPY)?;
    let mut pageable = vec![1; COPY];
    let mut pinned = driver.allocate_pinned(COPY)?;
    pinned.bytes().fill(1);
    let memcpy = memcpy_speed(&mut pageable);
    Ok(vec![
        upload(driver, "htod_pageable", device, &pageable, memcpy)?,
        download(driver, "dtoh_pageable", device, &mut pageable, memcpy)?,
        upload(driver, "htod_pinned", device, pinned.bytes(), memcpy)?,
        download(driver, "dtoh_pinned", device, pinned.bytes(), memcpy)?,
    ])
}

fn upload(driver: &Driver, bench: &str, to: DeviceMemory, from: &[u8], memcpy: f64) -> Result<Sample, CallError> {
    let times = timed(COPIES, || driver.upload(to, from).and_then(|()| driver.synchronize()))?;
    Ok(bandwidth(bench, times, Some(memcpy)))
}

fn download(driver: &Driver, bench: &str, from: DeviceMemory, to: &mut [u8], memcpy: f64) -> Result<Sample, CallError> {
    let times = timed(COPIES, || driver.download(to, from))?;
    Ok(bandwidth(bench, times, Some(memcpy)))
}

/// What the machine itself does: one thread, one copy.
fn memcpy_speed(from: &mut [u8]) -> f64 {
    let mut to = vec![0; from.len()];
    let copy = || {
        to.copy_from_slice(from);
        black_box(&mut to);
        Ok::<_, CallError>(())
    };
    timed(COPIES, copy).map_or(0.0, |times| bandwidth("memcpy", times, None).p50)
}

/// Times single calls, in seconds, after some that are not counted.
pub(super) fn timed<E>(count: usize, mut call: impl FnMut() -> Result<(), E>) -> Result<Vec<f64>, E> {
    for _ in 0..WARM_UP.min(count / 4) {
        call()?;
    }
    let mut times = Vec::with_capacity(count);
    let clock = Clock::new();
    for _ in 0..count {
        let start = Instant::now();
        call()?;
        times.push(clock.since(start));
    }
    Ok(times)
}

/// A clock that does not count its own readings, which cost a good part of a launch.
pub(super) struct Clock {
    /// From one reading to the next, seconds.
    reading: f64,
}

impl Clock {
    pub(super) fn new() -> Clock {
        const READINGS: usize = 1000;
        let readings = (0..READINGS).map(|_| Instant::now().elapsed().as_secs_f64()).collect();
        Clock { reading: percentiles(readings).0 }
    }

    /// Seconds.
    pub(super) fn since(&self, start: Instant) -> f64 {
        (start.elapsed().as_secs_f64() - self.reading).max(0.0)
    }
}

pub(super) fn latency(bench: &str, times: Vec<f64>) -> Sample {
    let (p50, p99) = percentiles(times);
    Sample { bench: bench.into(), unit: Unit::Microseconds, p50: p50 * 1e6, p99: p99 * 1e6, memcpy: None }
}

/// A rate that was measured once.
pub(super) fn rate(bench: &str, count: usize, time: Duration) -> Sample {
    let millions = count as f64 / time.as_secs_f64() / 1e6;
    Sample { bench: bench.into(), unit: Unit::MillionsPerSecond, p50: millions, p99: millions, memcpy: None }
}

fn bandwidth(bench: &str, times: Vec<f64>, memcpy: Option<f64>) -> Sample {
    let (p50, p99) = percentiles(times);
    let speed = |seconds: f64| COPY as f64 / f64::from(1 << 30) / seconds;
    Sample { bench: bench.into(), unit: Unit::GibPerSecond, p50: speed(p50), p99: speed(p99), memcpy }
}

/// The median and the 99th percentile, 0 without values.
fn percentiles(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let at = |percent: usize| values.get((values.len() * percent / 100).min(values.len().saturating_sub(1)));
    (at(50).copied().unwrap_or_default(), at(99).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        assert_eq!(percentiles((0..200).rev().map(f64::from).collect()), (100.0, 198.0));
        assert_eq!(percentiles(vec![3.0]), (3.0, 3.0));
        assert_eq!(percentiles(Vec::new()), (0.0, 0.0));
    }

    #[test]
    fn slow_copies_have_low_bandwidth() {
        let sample = bandwidth("copy", vec![1.0; 10], None);
        assert_eq!((sample.p50, sample.unit), (0.0625, Unit::GibPerSecond));
    }
}
