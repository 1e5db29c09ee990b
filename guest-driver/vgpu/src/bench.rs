//! `vgpu bench`: what remoting costs. The same calls run in a process with the guest's libcuda on a
//! backend of its own, in a process with the software GPU linked in, and over sockets instead of a virtqueue.

mod measure;
mod sockets;

use std::process::{Command, ExitCode, Stdio};

use anyhow::{bail, Context, Result};
use serde::Serialize;

use self::measure::{Sample, Target};
use crate::local::{LocalGpu, Options};
use crate::sys;

/// Arguments of `vgpu bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    options: Options,

    /// The part that measures one target, in a process of its own; not for users.
    #[arg(long, hide = true)]
    measure: Option<Target>,
}

/// One result. `value` is `p50`.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Line {
    bench: String,
    target: Target,
    unit: measure::Unit,
    value: f64,
    p50: f64,
    p99: f64,
    /// What it is compared with: the software GPU called directly, memcpy for copies, the virtqueue for sockets.
    baseline: f64,
    /// Speed over the baseline's: above 1 is faster.
    ratio: f64,
}

/// Measures both targets and prints the results.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(target) = args.measure {
        measure::run(target)?;
        return Ok(ExitCode::SUCCESS);
    }
    env_logger::Builder::new().filter_level(args.options.log_level).parse_default_env().init();
    let gpu = LocalGpu::start(&args.options).context("cannot start a virtual GPU")?;
    let remote = samples(Target::Loopback, Some(&gpu))?;
    let soft = samples(Target::Softgpu, None)?;
    gpu.stop()?;
    let mut lines = lines(&remote, &soft);
    for target in [Target::Unix, Target::Tcp] {
        lines.extend(beside(target, &samples(target, None)?, &remote));
    }
    for line in lines {
        match args.json {
            true => println!("{}", serde_json::to_string(&line)?),
            false => println!("{line}"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the measurements of one target in a child process.
fn samples(target: Target, gpu: Option<&LocalGpu>) -> Result<Vec<Sample>> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["bench", "--measure", target.name()]).stdout(Stdio::piped());
    if let Some(gpu) = gpu {
        command.envs(gpu.environment());
    }
    sys::end_with_parent(&mut command, rustix::process::Signal::KILL);
    let output = command.spawn()?.wait_with_output()?;
    if !output.status.success() {
        bail!("measuring {} failed ({})", target.name(), output.status);
    }
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| Ok(serde_json::from_slice(line)?)).collect()
}

/// Compares latencies with the software GPU, and copies with memcpy.
fn lines(remote: &[Sample], soft: &[Sample]) -> Vec<Line> {
    let of_soft = |bench: &str| soft.iter().find(|sample| sample.bench == bench).map(|sample| sample.p50);
    let remote = remote.iter().filter_map(|sample| {
        let baseline = sample.memcpy.or_else(|| of_soft(&sample.bench))?;
        Some(Line::new(Target::Loopback, sample, baseline))
    });
    let copies = soft.iter().filter_map(|sample| Some(Line::new(Target::Softgpu, sample, sample.memcpy?)));
    remote.chain(copies).collect()
}

/// Compares a target with the virtqueue.
fn beside<'a>(target: Target, samples: &'a [Sample], queue: &'a [Sample]) -> impl Iterator<Item = Line> + use<'a> {
    samples.iter().filter_map(move |sample| {
        let baseline = queue.iter().find(|other| other.bench == sample.bench)?.p50;
        Some(Line::new(target, sample, baseline))
    })
}

impl Line {
    fn new(target: Target, sample: &Sample, baseline: f64) -> Self {
        let ratio = match sample.unit {
            measure::Unit::Microseconds => baseline / sample.p50,
            measure::Unit::GibPerSecond | measure::Unit::MillionsPerSecond => sample.p50 / baseline,
        };
        Self {
            bench: sample.bench.clone(),
            target,
            unit: sample.unit,
            value: sample.p50,
            p50: sample.p50,
            p99: sample.p99,
            baseline,
            ratio,
        }
    }
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:<16} {:<9} {:>9.2} {:<6} p99 {:>9.2}   baseline {:>9.2}   ratio {:>6.3}",
            self.bench,
            self.target.name(),
            self.value,
            self.unit.name(),
            self.p99,
            self.baseline,
            self.ratio
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(bench: &str, unit: measure::Unit, p50: f64, memcpy: Option<f64>) -> Sample {
        Sample { bench: bench.into(), unit, p50, p99: 2.0 * p50, memcpy }
    }

    #[test]
    fn a_ratio_above_one_is_faster() {
        let us = measure::Unit::Microseconds;
        let gib = measure::Unit::GibPerSecond;
        let remote = [sample("round_trip", us, 4.0, None), sample("copy", gib, 6.0, Some(8.0))];
        let soft = [sample("round_trip", us, 1.0, None), sample("copy", gib, 10.0, Some(8.0))];
        let ratios: Vec<_> = lines(&remote, &soft).iter().map(|line| (line.target, line.ratio)).collect();
        assert_eq!(ratios, [(Target::Loopback, 0.25), (Target::Loopback, 0.75), (Target::Softgpu, 1.25)]);
        let slow = [sample("round_trip", us, 40.0, None)];
        assert_eq!(beside(Target::Tcp, &slow, &remote).map(|line| line.ratio).collect::<Vec<_>>(), [0.1]);
    }

    #[test]
    fn json_has_the_agreed_keys() {
        let line = Line::new(Target::Loopback, &sample("x", measure::Unit::Microseconds, 2.0, None), 1.0);
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"bench":"x","target":"loopback","unit":"us","value":2.0,"p50":2.0,"p99":4.0,"baseline":1.0,"ratio":0.5}"#
        );
    }
}
