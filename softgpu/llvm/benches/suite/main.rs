//! Kernels on both tiers beside the same algorithms in C++ and, for those with barriers, in OpenCL on PoCL, in one run
//! on one core. Results are compared with those in C++.
//!
//! `scripts/bench softgpu` builds what this needs: PTX in `VGPU_BENCH_PTX`, and if there are compilers for them a library
//! of the C++ twins in `VGPU_BENCH_TWINS`, one that drives PoCL in `VGPU_BENCH_OPENCL` and the twins for that in
//! `VGPU_BENCH_CL`. `VGPU_BENCH_LISTINGS` names a folder for what the compiler makes. Kernels can be chosen by name. Prints one line for each kernel, or one JSON object with `--json`;
//! with `--alone` runs nothing but the compiled kernels, for a profiler.

mod cases;
mod opencl;

use cases::{Case, Inputs};
use libloading::Library;
use opencl::OpenCl;
use rustix::time::{clock_gettime, ClockId};
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Instant;
use vgpu_engine::engine::texture::Snapshot;
use vgpu_engine::engine::{DeviceHeap, Engine, Launch, Program, Tier};
use vgpu_engine::memory::Memory;
use vgpu_engine::ptx;
use vgpu_llvm::Llvm;

/// Seconds of the processor that this process has had.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// The best of some runs on one core, in seconds of its time: what else the machine does hardly matters then.
fn best(mut run: impl FnMut()) -> f64 {
    let mut least = f64::INFINITY;
    let start = Instant::now();
    for round in 0.. {
        let one = processor_time();
        run();
        if round > 0 {
            least = least.min(processor_time() - one);
        }
        if round >= 3 && start.elapsed().as_secs_f64() > 0.7 {
            break;
        }
    }
    least
}

/// What one kernel takes, in seconds.
struct Times {
    name: &'static str,
    interpreter: f64,
    llvm: f64,
    clang: Option<f64>,
    pocl: Option<f64>,
}

impl Times {
    /// How many times faster than `other` the compiled kernel is.
    fn ratio(&self, other: Option<f64>) -> Option<f64> {
        other.map(|other| other / self.llvm)
    }
}

fn geometric_mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    values.for_each(|value| (sum, count) = (sum + value.ln(), count + 1));
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

fn main() {
    let [json, alone] = ["--json", "--alone"].map(|name| std::env::args().any(|arg| arg == name));
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    if let Ok(folder) = variable("VGPU_BENCH_LISTINGS") {
        vgpu_llvm::write_listings(folder.as_ref());
    }
    let path = variable("VGPU_BENCH_PTX").expect("scripts/bench sets it");
    let source = std::fs::read(path).expect("the kernels' PTX");
    let twins = variable("VGPU_BENCH_TWINS").and_then(|path| {
        // SAFETY: the library has no initialisers but OpenMP's.
        unsafe { Library::new(path) }.map_err(|error| error.to_string())
    });
    let pocl = variable("VGPU_BENCH_OPENCL").and_then(|library| {
        let source = std::fs::read_to_string(variable("VGPU_BENCH_CL")?).map_err(|error| error.to_string())?;
        OpenCl::start(&library, &source)
    });
    for (what, error) in [("C++", twins.as_ref().err()), ("OpenCL", pocl.as_ref().err())] {
        if let Some(error) = error {
            eprintln!("without the twins in {what}: {error}");
        }
    }
    let memory = Memory::new(1 << 30).expect("device memory");
    let module = Arc::new(ptx::compile(&source).expect("valid PTX"));
    let (inputs, cases) = cases::all(&memory);

    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_chosen = |case: &&Case| chosen.is_empty() || chosen.iter().any(|name| name == case.name);
    if alone {
        for case in cases.iter().filter(is_chosen) {
            let program = Program::load(module.clone(), &memory).expect("room for the module");
            let engine = Engine::with_compiler(1, Some(Arc::new(Llvm)), Tier::Compiled);
            println!("{:14} {:.3} ms", case.name, 1e3 * launch(&engine, &program, &memory, case, |once| best(once)));
        }
        return;
    }
    let measure = |case: &Case| {
        let [interpreter, llvm] = [Tier::Interpreter, Tier::Compiled].map(|tier| {
            let program = Program::load(module.clone(), &memory).expect("room for the module");
            let engine = Engine::with_compiler(1, Some(Arc::new(Llvm)), tier);
            if let Ok(twins) = &twins {
                compare(case, &inputs, twins, |run| launch(&engine, &program, &memory, case, |once| run(once)));
            }
            launch(&engine, &program, &memory, case, |once| best(once))
        });
        Times {
            name: case.name,
            interpreter,
            llvm,
            clang: twins.as_ref().ok().map(|twins| best(|| (case.twin)(twins))),
            pocl: pocl.as_ref().ok().and_then(|pocl| {
                let program = Program::load(module.clone(), &memory).expect("room for the module");
                let kernel = program.kernel(case.name).expect("the kernel");
                let bytes = kernel.params().iter().zip(&case.args);
                let bytes: Vec<usize> =
                    bytes.map(|(param, arg)| if param.size == 8 { inputs.bytes_at(*arg) } else { 0 }).collect();
                let kernel = pocl.kernel(case.name, &case.args, &bytes)?;
                if let Ok(twins) = &twins {
                    compare(case, &inputs, twins, |run| run(&mut || kernel.run(case.grid, case.block)));
                }
                Some(best(|| kernel.run(case.grid, case.block)))
            }),
        }
    };
    let rows: Vec<Times> = cases.iter().filter(is_chosen).map(measure).collect();
    print(&rows, json);
}

/// Runs a kernel and its twin once each on the same inputs.
fn compare(case: &Case, inputs: &Inputs, twins: &Library, run: impl FnOnce(&dyn Fn(&mut dyn FnMut()))) {
    inputs.reset();
    run(&|once| once());
    let results = inputs.read(case.results);
    inputs.reset();
    (case.twin)(twins);
    assert!(case.same.holds(&results, &inputs.read(case.results)), "{}: not the twin's results", case.name);
}

/// Gives `run` what launches a case's kernel.
fn launch<T>(
    engine: &Engine,
    program: &Program,
    memory: &Arc<Memory>,
    case: &Case,
    run: impl FnOnce(&mut dyn FnMut()) -> T,
) -> T {
    let kernel = program.kernel(case.name).expect("the kernel");
    let mut params = vec![0; kernel.param_bytes()];
    for (param, arg) in kernel.params().iter().zip(&case.args) {
        let (offset, size) = (param.offset as usize, param.size as usize);
        params[offset..offset + size].copy_from_slice(&arg.to_le_bytes()[..size]);
    }
    let (cancel, heap) = (AtomicBool::new(false), DeviceHeap::new(memory, 0));
    let launch = Launch {
        kernel: &kernel,
        grid: case.grid,
        block: case.block,
        dynamic_shared: 0,
        params: &params,
        cooperative: false,
        stack_limit: 1024,
        printf_limit: 0,
        output: &|_| (),
        cancel: &cancel,
        heap: &heap,
        objects: &Snapshot::default(),
    };
    run(&mut || engine.launch(&launch).expect("the launch succeeds"))
}

fn print(rows: &[Times], json: bool) {
    let clang = geometric_mean(rows.iter().filter_map(|row| row.ratio(row.clang)));
    let pocl = geometric_mean(rows.iter().filter_map(|row| row.ratio(row.pocl)));
    if json {
        let number = |value: Option<f64>| value.map_or("null".into(), |value| format!("{value:.6}"));
        let row = |row: &Times| {
            format!(
                r#"{{"kernel":"{}","interpreter_s":{:.6},"llvm_s":{:.6},"clang_s":{},"ratio":{},"pocl_s":{},"pocl_ratio":{}}}"#,
                row.name,
                row.interpreter,
                row.llvm,
                number(row.clang),
                number(row.ratio(row.clang)),
                number(row.pocl),
                number(row.ratio(row.pocl)),
            )
        };
        let rows: Vec<String> = rows.iter().map(row).collect();
        let (clang, pocl) = (number(clang), number(pocl));
        println!(r#"{{"kernels":[{}],"geomean":{clang},"pocl_geomean":{pocl}}}"#, rows.join(","));
        return;
    }
    let heads = ["kernel", "interpreter ms", "llvm ms", "clang ms", "clang/llvm", "pocl ms", "pocl/llvm"];
    let [name, rest @ ..] = heads;
    println!("{name:14} {}", rest.map(|head| format!("{head:>14}")).join(" "));
    for row in rows {
        let number = |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        let ms = |value: Option<f64>| number(value.map(|seconds| seconds * 1e3));
        let columns = [
            ms(Some(row.interpreter)),
            ms(Some(row.llvm)),
            ms(row.clang),
            number(row.ratio(row.clang)),
            ms(row.pocl),
            number(row.ratio(row.pocl)),
        ];
        println!("{:14} {}", row.name, columns.map(|column| format!("{column:>14}")).join(" "));
    }
    for (what, mean) in [("clang/llvm", clang), ("pocl/llvm", pocl)] {
        mean.map_or_else(|| println!("no {what}"), |mean| println!("geometric mean of {what}: {mean:.2}"));
    }
}
