//! Speed of the tier-0 engine. Prints one JSON object per line.

use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Instant;
use vgpu_engine::engine::texture::Snapshot;
use vgpu_engine::engine::{DeviceHeap, Engine, Launch, Program};
use vgpu_engine::memory::Memory;
use vgpu_engine::ptx;

const SOURCE: &[u8] = include_bytes!("../tests/ptx/basic.ptx");
/// The best of many short runs is little disturbed by other load.
const RUNS: usize = 60;

fn main() {
    let memory = Memory::new(1 << 30).expect("device memory");
    let module = Arc::new(ptx::compile(SOURCE).expect("valid PTX"));
    let program = Program::load(module, &memory).expect("room for the module");
    for threads in [1, 0] {
        let bench = Bench { engine: Engine::new(threads), memory: &memory, program: &program };
        bench.matmul(128);
        bench.vector_add(1 << 18);
        bench.launch_latency();
    }
}

struct Bench<'a> {
    engine: Engine,
    memory: &'a Arc<Memory>,
    program: &'a Program,
}

impl Bench<'_> {
    fn seconds(&self, kernel: &str, grid: [u32; 3], block: [u32; 3], args: &[u64]) -> f64 {
        let kernel = self.program.kernel(kernel).expect("the kernel");
        let mut params: Vec<u8> = args.iter().flat_map(|a| a.to_le_bytes()).collect();
        params.truncate(kernel.param_bytes());
        let (cancel, heap) = (AtomicBool::new(false), DeviceHeap::new(self.memory, 0));
        let launch = Launch {
            kernel: &kernel,
            grid,
            block,
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
        let time = || {
            let start = Instant::now();
            self.engine.launch(&launch).expect("the launch succeeds");
            start.elapsed().as_secs_f64()
        };
        (0..=RUNS).map(|_| time()).skip(1).fold(f64::INFINITY, f64::min)
    }

    fn report(&self, bench: &str, unit: &str, value: f64) {
        let threads = self.engine.threads();
        println!(
            r#"{{"bench":"{bench}","target":"softgpu tier 0, {threads} threads","unit":"{unit}","value":{value:.3}}}"#
        );
    }

    fn matmul(&self, n: u32) {
        let bytes = u64::from(n) * u64::from(n) * 4;
        let [a, b, c] = [0; 3].map(|_| self.memory.allocate(bytes).expect("memory"));
        let seconds = self.seconds("matmul", [n / 16, n / 16, 1], [16, 16, 1], &[a, b, c, n.into()]);
        self.report("matmul_128", "GFLOP/s", 2.0 * f64::from(n).powi(3) / seconds / 1e9);
        self.free([a, b, c]);
    }

    fn vector_add(&self, n: u32) {
        let [a, b, c] = [0; 3].map(|_| self.memory.allocate(u64::from(n) * 4).expect("memory"));
        let seconds = self.seconds("vectorAdd", [n / 256, 1, 1], [256, 1, 1], &[a, b, c, n.into()]);
        self.report("vector_add_256k", "GB/s", 12.0 * f64::from(n) / seconds / 1e9);
        self.free([a, b, c]);
    }

    fn free(&self, buffers: [u64; 3]) {
        for buffer in buffers {
            self.memory.free(buffer).expect("own memory");
        }
    }

    fn launch_latency(&self) {
        let seconds = self.seconds("vectorAdd", [1, 1, 1], [32, 1, 1], &[0, 0, 0, 0]);
        self.report("launch_one_warp", "us", seconds * 1e6);
    }
}
