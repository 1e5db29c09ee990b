//! A folder of PTX, such as `VGPU_SOFT_DUMP` collects: how fast it is parsed, and which kernels each tier takes.
//!
//! `scripts/bench corpus DIR`. Prints what is refused and why; fails if a text is refused or a kernel by the
//! interpreter.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vgpu_engine::engine::{Compiler, Engine, Native, Program, Source, Tier};
use vgpu_engine::memory::Memory;
use vgpu_engine::ptx;
use vgpu_llvm::Llvm;

/// LLVM, with an account of what it has compiled.
#[derive(Default)]
struct Accountant {
    compiled: Mutex<(usize, usize, Duration)>,
    refused: Mutex<BTreeMap<String, usize>>,
}

impl Compiler for Accountant {
    fn compile(&self, source: &Source<'_>) -> Result<Arc<dyn Native>, String> {
        let start = Instant::now();
        let native = Llvm.compile(source);
        match &native {
            Ok(_) => {
                let mut account = self.compiled.lock().expect("no panic");
                *account = (account.0 + 1, account.1 + source.function.insts.len(), account.2 + start.elapsed());
            }
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
    let (compiled, compiled_instructions, time) = *accountant.compiled.lock().expect("no panic");
    let each = time.as_secs_f64() * 1e3 / compiled_instructions.max(1) as f64;
    println!("compiled: {compiled} kernels in {:.1} s, {each:.3} ms per instruction", time.as_secs_f64());
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
