//! What cudarc programs use, each result checked. Prints `PASS cudarc/NAME` or `FAIL cudarc/NAME: reason`.

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use cudarc::driver::{CudaContext, DriverError, LaunchConfig, PushKernelArg};
use cudarc::nvrtc::{compile_ptx_with_opts, CompileOptions, Ptx};

type Outcome = Result<(), Box<dyn Error>>;

const SOURCE: &str = r#"
extern "C" __global__ void scale(float* values, float factor, size_t count) {
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    if (i < count) values[i] *= factor;
}
extern "C" __global__ void histogram(const unsigned* values, unsigned* bins, int count) {
    __shared__ unsigned local[16];
    if (threadIdx.x < 16) local[threadIdx.x] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
        atomicAdd(&local[values[i] % 16], 1);
    __syncthreads();
    if (threadIdx.x < 16) atomicAdd(&bins[threadIdx.x], local[threadIdx.x]);
}
"#;

fn ptx() -> Result<Ptx, Box<dyn Error>> {
    let options = CompileOptions { arch: Some("compute_75"), ..CompileOptions::default() };
    Ok(compile_ptx_with_opts(SOURCE, options)?)
}

fn require(condition: bool, what: &str) -> Outcome {
    if condition { Ok(()) } else { Err(what.into()) }
}

fn devices(context: &Arc<CudaContext>) -> Outcome {
    require(CudaContext::device_count()? == 1, "one device")?;
    require(!context.name()?.is_empty(), "a name")?;
    require(context.compute_capability()?.0 >= 5, "a capability")?;
    let (free, total) = context.mem_get_info()?;
    require(free > 0 && free <= total, "memory")
}

fn copies(context: &Arc<CudaContext>) -> Outcome {
    let stream = context.default_stream();
    let host: Vec<u32> = (0..100_000).collect();
    let device = stream.clone_htod(&host)?;
    let copy = stream.clone_dtod(&device)?;
    require(stream.clone_dtoh(&copy)? == host, "a copy of a copy")?;
    let zeros = stream.alloc_zeros::<u64>(1000)?;
    require(stream.clone_dtoh(&zeros)?.iter().all(|word| *word == 0), "zeros")?;
    let part = device.slice(10..20);
    require(stream.clone_dtoh(&part)? == host[10..20], "a part")
}

fn launches(context: &Arc<CudaContext>) -> Outcome {
    let stream = context.new_stream()?;
    let kernel = context.load_module(ptx()?)?.load_function("scale")?;
    let host: Vec<f32> = (0..5000).map(|i| i as f32).collect();
    let mut device = stream.clone_htod(&host)?;
    let mut launch = stream.launch_builder(&kernel);
    let (factor, count) = (2.5f32, host.len());
    launch.arg(&mut device).arg(&factor).arg(&count);
    // SAFETY: the arguments are those of the kernel, and it stays within them.
    unsafe { launch.launch(LaunchConfig::for_num_elems(5000))? };
    let wanted: Vec<f32> = host.iter().map(|value| value * 2.5).collect();
    require(stream.clone_dtoh(&device)? == wanted, "scaled values")
}

fn streams_and_events(context: &Arc<CudaContext>) -> Outcome {
    let (first, second) = (context.new_stream()?, context.new_stream()?);
    let kernel = context.load_module(ptx()?)?.load_function("histogram")?;
    let values: Vec<u32> = (0..20_000u32).map(|i| i.wrapping_mul(i) >> 3).collect();
    let device = first.clone_htod(&values)?;
    let mut bins = first.alloc_zeros::<u32>(16)?;
    let event = first.record_event(None)?;
    second.wait(&event)?;
    let mut launch = second.launch_builder(&kernel);
    let count = values.len() as i32;
    launch.arg(&device).arg(&mut bins).arg(&count);
    let shape = LaunchConfig { grid_dim: (4, 1, 1), block_dim: (128, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: as above.
    unsafe { launch.launch(shape)? };
    first.join(&second)?;
    let mut wanted = vec![0; 16];
    values.iter().for_each(|value| wanted[*value as usize % 16] += 1);
    require(first.clone_dtoh(&bins)? == wanted, "bins")
}

fn threads(context: &Arc<CudaContext>) -> Outcome {
    let workers: Vec<_> = (0..4u32)
        .map(|n| {
            let context = context.clone();
            std::thread::spawn(move || -> Result<bool, DriverError> {
                context.bind_to_thread()?;
                let stream = context.new_stream()?;
                let values = vec![n; 10_000];
                let device = stream.clone_htod(&values)?;
                Ok(stream.clone_dtoh(&device)? == values)
            })
        })
        .collect();
    for worker in workers {
        require(worker.join().map_err(|_| "a thread panicked")??, "values of a thread")?;
    }
    Ok(())
}

fn errors(context: &Arc<CudaContext>) -> Outcome {
    let module = context.load_module(ptx()?)?;
    require(module.load_function("missing").is_err(), "a missing function is an error")?;
    require(context.load_module(Ptx::from_src("nonsense")).is_err(), "bad PTX is an error")
}

fn main() -> ExitCode {
    let context = match CudaContext::new(0) {
        Ok(context) => context,
        Err(error) => {
            println!("FAIL cudarc/context: {error}");
            return ExitCode::FAILURE;
        }
    };
    type Check = fn(&Arc<CudaContext>) -> Outcome;
    let checks: [(&str, Check); 6] = [
        ("devices", devices),
        ("copies", copies),
        ("launches", launches),
        ("streams_and_events", streams_and_events),
        ("threads", threads),
        ("errors", errors),
    ];
    let mut code = ExitCode::SUCCESS;
    for (name, check) in checks {
        match check(&context) {
            Ok(()) => println!("PASS cudarc/{name}"),
            Err(error) => {
                println!("FAIL cudarc/{name}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}
