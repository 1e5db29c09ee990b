//! Kernels on both tiers beside the same algorithms in C++, in one run on one core.
//!
//! `scripts/bench softgpu` builds what this needs: PTX in `VGPU_BENCH_PTX`, a library of the C++ twins in
//! `VGPU_BENCH_TWINS`. Kernels can be chosen by name. Prints one line for each kernel, or one JSON object with `--json`.

use libloading::{Library, Symbol};
use rustix::time::{clock_gettime, ClockId};
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Instant;
use vgpu_engine::engine::texture::Snapshot;
use vgpu_engine::engine::{DeviceHeap, Engine, Launch, Program, Tier};
use vgpu_engine::memory::Memory;
use vgpu_engine::ptx;
use vgpu_llvm::Llvm;

/// One kernel: its launch shape and arguments, and a call of its twin.
struct Case<'a> {
    name: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    args: Vec<u64>,
    twin: Box<dyn Fn(&Library) + 'a>,
}

/// Seconds of the processor that this thread has had.
fn processor_time() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
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

macro_rules! twin {
    ($name:literal, $($arg:expr => $ty:ty),*) => {
        Box::new(move |library: &Library| {
            // SAFETY: the twin has this signature, and the buffers are as large as it expects.
            unsafe {
                let function: Symbol<'_, unsafe extern "C" fn($($ty),*)> = library.get($name).expect("the twin");
                function($($arg as $ty),*);
            }
        })
    };
}

fn main() {
    let json = std::env::args().any(|arg| arg == "--json");
    let path = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set; run scripts/bench"));
    let source = std::fs::read(path("VGPU_BENCH_PTX")).expect("the kernels' PTX");
    // SAFETY: the library has no initialisers but OpenMP's.
    let twins = unsafe { Library::new(path("VGPU_BENCH_TWINS")) }.expect("the twins");
    let memory = Memory::new(1 << 30).expect("device memory");
    let module = Arc::new(ptx::compile(&source).expect("valid PTX"));

    let n = 1u64 << 22;
    let side = 512u64;
    let buffers: Vec<u64> = (0..4).map(|_| memory.allocate(n * 4).expect("memory")).collect();
    let values: Vec<u8> =
        (0..n).flat_map(|i| (1.0 + (i.wrapping_mul(2_654_435_761) % 1000) as f32 / 500.0).to_le_bytes()).collect();
    for buffer in &buffers {
        memory.write(*buffer, &values).expect("own memory");
    }
    // Device pointers are addresses of this process, so the twins take them as they are.
    let [a, b, c, d] = [buffers[0], buffers[1], buffers[2], buffers[3]];
    let float = |v: f32| u64::from(v.to_bits());
    type P = *mut std::ffi::c_void;
    let wide = |threads: u64| [(threads / 256) as u32, 1, 1];
    let line = [256, 1, 1];
    let image = 2048u64;
    let cases = [
        Case {
            name: "saxpy",
            grid: wide(n),
            block: line,
            args: vec![a, b, float(0.5), n],
            twin: twin!(b"saxpy", a => P, b => P, 0.5 => f32, n => i32),
        },
        Case {
            name: "matmul",
            grid: [32, 32, 1],
            block: [16, 16, 1],
            args: vec![a, b, c, side],
            twin: twin!(b"matmul", a => P, b => P, c => P, side => i32),
        },
        Case {
            name: "reduce",
            grid: [64, 1, 1],
            block: line,
            args: vec![a, c, n],
            twin: twin!(b"reduce", a => P, c => P, n => i32),
        },
        Case {
            name: "scan",
            grid: wide(n),
            block: line,
            args: vec![a, c, n],
            twin: twin!(b"scan", a => P, c => P, n => i32),
        },
        Case {
            name: "stencil",
            grid: [64, 256, 1],
            block: [32, 8, 1],
            args: vec![a, c, image],
            twin: twin!(b"stencil", a => P, c => P, image => i32),
        },
        Case {
            name: "transpose",
            grid: [64, 64, 1],
            block: [32, 8, 1],
            args: vec![a, c, image],
            twin: twin!(b"transpose", a => P, c => P, image => i32),
        },
        Case {
            name: "histogram",
            grid: [64, 1, 1],
            block: line,
            args: vec![a, c, n],
            twin: twin!(b"histogram", a => P, c => P, n => i32),
        },
        Case {
            name: "mandelbrot",
            grid: [16, 64, 1],
            block: [32, 8, 1],
            args: vec![c, side, 256],
            twin: twin!(b"mandelbrot", c => P, side => i32, 256 => i32),
        },
        Case {
            name: "nbody",
            grid: wide(4096),
            block: line,
            args: vec![a, c, 4096],
            twin: twin!(b"nbody", a => P, c => P, 4096 => i32),
        },
        Case {
            name: "black_scholes",
            grid: wide(n / 4),
            block: line,
            args: vec![a, b, d, c, n / 4],
            twin: twin!(b"black_scholes", a => P, b => P, d => P, c => P, n / 4 => i32),
        },
    ];

    let mut product = 1.0f64;
    let mut rows = Vec::new();
    let chosen: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let is_chosen = |case: &&Case<'_>| chosen.is_empty() || chosen.iter().any(|name| name == case.name);
    for case in cases.iter().filter(is_chosen) {
        let tiers = [Tier::Interpreter, Tier::Compiled].map(|tier| {
            let program = Program::load(module.clone(), &memory).expect("room for the module");
            let engine = Engine::with_compiler(1, Some(Arc::new(Llvm)), tier);
            run(&engine, &program, &memory, case)
        });
        let native = best(|| (case.twin)(&twins));
        let ratio = native / tiers[1];
        product *= ratio;
        rows.push((case.name, tiers, native, ratio));
    }
    let mean = product.powf(1.0 / rows.len() as f64);
    if json {
        let row = |(name, tiers, native, ratio): &(&str, [f64; 2], f64, f64)| {
            let [interpreter, llvm] = tiers;
            format!(
                r#"{{"kernel":"{name}","interpreter_s":{interpreter:.6},"llvm_s":{llvm:.6},"clang_s":{native:.6},"ratio":{ratio:.3}}}"#
            )
        };
        let rows: Vec<String> = rows.iter().map(row).collect();
        println!(r#"{{"kernels":[{}],"geomean":{mean:.3}}}"#, rows.join(","));
        return;
    }
    println!("{:14} {:>14} {:>10} {:>10} {:>10}", "kernel", "interpreter ms", "llvm ms", "clang ms", "clang/llvm");
    for (name, [interpreter, llvm], native, ratio) in rows {
        let [interpreter, llvm, native] = [interpreter, llvm, native].map(|s| s * 1e3);
        println!("{name:14} {interpreter:14.2} {llvm:10.3} {native:10.3} {ratio:10.2}");
    }
    println!("geometric mean of clang/llvm: {mean:.2}");
}

fn run(engine: &Engine, program: &Program, memory: &Arc<Memory>, case: &Case<'_>) -> f64 {
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
    best(|| engine.launch(&launch).expect("the launch succeeds"))
}
