//! A folder of PTX, such as `VGPU_SOFT_DUMP` collects: how fast it is parsed, which kernels each tier takes, and what
//! LLVM costs.
//!
//! `scripts/bench corpus DIR`. Prints what is refused and why; fails if a text is refused or a kernel by the
//! interpreter. Times of compilations are those of the processor, so that other work on the machine does not count.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vgpu_engine::engine::{Compiler, Engine, Native, Program, Source, Tier};
use vgpu_engine::memory::Memory;
use vgpu_engine::ptx;
use vgpu_llvm::Llvm;

/// A compilation: name of the kernel, its instructions, and the processor's time.
struct Compilation {
    name: String,
    instructions: usize,
    time: Duration,
}

impl Compilation {
    /// Milliseconds per instruction.
    fn each(&self) -> f64 {
        self.time.as_secs_f64() * 1e3 / self.instructions.max(1) as f64
    }
}

/// LLVM, with an account of what it has compiled.
#[derive(Default)]
struct Accountant {
    compiled: Mutex<Vec<Compilation>>,
    refused: Mutex<BTreeMap<String, usize>>,
}

/// Time that the processor has spent on the thread.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

impl Compiler for Accountant {
    fn compile(&self, source: &Source<'_>) -> Result<Arc<dyn Native>, String> {
        let start = processor_time();
        let native = Llvm.compile(source);
        match &native {
            Ok(_) => self.compiled.lock().expect("no panic").push(Compilation {
                name: source.function.name.clone(),
                instructions: source.function.insts.len(),
                time: processor_time() - start,
            }),
            Err(why) => *self.refused.lock().expect("no panic").entry(why.clone()).or_default() += 1,
        }
        native
    }
}

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = folder.read_dir().unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "ptx"));
    paths.sort();
    let read = |path: &Path| std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    paths.iter().map(|path| (path.display().to_string(), read(path))).collect()
}

fn main() {
    let folder = std::env::args().skip(1).find(|arg| !arg.starts_with("--")).expect("a folder of PTX");
    let files = files(Path::new(&folder));
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    let mut failures = 0;
    let parse = || files.iter().map(|(_, text)| ptx::compile(text)).collect::<Vec<_>>();
    let fastest = (0..5).map(|_| {
        let start = Instant::now();
        std::hint::black_box(parse());
        start.elapsed()
    });
    let fastest = fastest.min().unwrap_or_default();
    let speed = bytes as f64 / 1e6 / fastest.as_secs_f64();
    println!("{} modules of {bytes} bytes, parsed at {speed:.1} MB/s", files.len());
    let (memory, accountant) = (Memory::new(4 << 30).expect("device memory"), Arc::new(Accountant::default()));
    let engine = Engine::with_compiler(1, Some(accountant.clone()), Tier::Compiled);
    let (mut kernels, mut instructions) = (0, 0);
    for ((name, _), module) in files.iter().zip(parse()) {
        let module = match module {
            Ok(module) => Arc::new(module),
            Err(error) => {
                println!("{name}: {error}");
                failures += 1;
                continue;
            }
        };
        instructions += module.functions.iter().map(|function| function.insts.len()).sum::<usize>();
        let program = match Program::load(module, &memory) {
            Ok(program) => program,
            Err(error) => {
                // Texts for a link are not whole.
                println!("{name}: not loaded: {error}");
                continue;
            }
        };
        for kernel in program.kernel_names().map(str::to_string).collect::<Vec<_>>() {
            kernels += 1;
            if let Some(refusal) = refusal(&engine, &program, &kernel) {
                println!("{name}: `{kernel}`: {refusal}");
                failures += 1;
            }
        }
    }
    println!("{kernels} kernels, {instructions} instructions");
    report(&mut accountant.compiled.lock().expect("no panic"));
    for (why, count) in accountant.refused.lock().expect("no panic").iter() {
        println!("left to the interpreter: {count} because {why}");
    }
    std::process::exit(i32::from(failures > 0));
}

/// Has a kernel decoded and compiled; says why it cannot be decoded.
fn refusal(engine: &Engine, program: &Program, name: &str) -> Option<String> {
    let kernel = program.kernel(name)?;
    let most = kernel.attributes().max_threads;
    let block = kernel.attributes().required_block.unwrap_or([most.min(256), 1, 1]);
    let fault = engine.prepare(&kernel, block).err()?;
    // What other texts define comes with a link.
    (!fault.detail.contains(ptx::UNRESOLVED)).then(|| fault.to_string())
}

/// Prints what compiling has cost, by size of the kernels.
fn report(compiled: &mut [Compilation]) {
    const SIZES: [usize; 5] = [0, 50, 200, 1000, 5000];
    println!("compiled, with the milliseconds of the processor per instruction:");
    println!(
        "{:>14} {:>8} {:>13} {:>8} {:>8} {:>8} {:>8}",
        "instructions", "kernels", "in seconds", "median", "p90", "most", "all"
    );
    compiled.sort_by(|a, b| a.each().total_cmp(&b.each()));
    let line = |size: String, within: &dyn Fn(usize) -> bool| {
        let some: Vec<&Compilation> = compiled.iter().filter(|one| within(one.instructions)).collect();
        let (Some(last), instructions) = (some.last(), some.iter().map(|one| one.instructions).sum::<usize>()) else {
            return;
        };
        let time: f64 = some.iter().map(|one| one.time.as_secs_f64()).sum();
        let at = |part: f64| some[(some.len() as f64 * part) as usize].each();
        let all = time * 1e3 / instructions.max(1) as f64;
        println!(
            "{size:>14} {:>8} {time:>13.2} {:>8.3} {:>8.3} {:>8.3} {all:>8.3}",
            some.len(),
            at(0.5),
            at(0.9),
            last.each()
        );
    };
    for (i, from) in SIZES.into_iter().enumerate() {
        let to = SIZES.get(i + 1).copied().unwrap_or(usize::MAX);
        line(format!("{from} or more"), &|size| (from..to).contains(&size));
    }
    line("all".into(), &|_| true);
    if let Some(slowest) = compiled.iter().max_by_key(|one| one.time) {
        let Compilation { name, instructions, time } = slowest;
        println!("slowest: `{name}`, {instructions} instructions, {:.2} s", time.as_secs_f64());
    }
}
