//! The suite: each kernel's launch, its arguments, its twin in C++, and where its results are.

use libloading::{Library, Symbol};
use std::sync::Arc;
use vgpu_engine::memory::Memory;

/// One kernel.
pub struct Case {
    pub name: &'static str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub args: Vec<u64>,
    /// Calls the algorithm in C++ with the same arguments.
    pub twin: Box<dyn Fn(&Library)>,
    /// Address and words of the results.
    pub results: (u64, usize),
    pub same: Same,
}

/// When results are those of the twin.
#[derive(Clone, Copy)]
pub enum Same {
    /// Word for word.
    Exact,
    /// Floats, up to this part of the largest one: sums in another order.
    Close(f32),
    /// The sum of the floats, up to this part of it; of the twin's the first one is the sum.
    Sum(f32),
    /// All but this part of the words.
    Mostly(f64),
}

impl Same {
    /// Whether the words of a kernel are those of its twin.
    pub fn holds(self, kernel: &[u32], twin: &[u32]) -> bool {
        let floats = |words: &[u32]| words.iter().map(|word| f32::from_bits(*word)).collect::<Vec<f32>>();
        match self {
            Same::Exact => kernel == twin,
            Same::Close(part) => {
                let (kernel, twin) = (floats(kernel), floats(twin));
                let largest = twin.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                kernel.iter().zip(&twin).all(|(a, b)| (a - b).abs() <= part * largest)
            }
            Same::Sum(part) => {
                let sum: f64 = floats(kernel).iter().map(|value| f64::from(*value)).sum();
                (sum as f32 / f32::from_bits(twin[0]) - 1.0).abs() <= part
            }
            Same::Mostly(part) => {
                let different = kernel.iter().zip(twin).filter(|(a, b)| a != b).count();
                different as f64 <= part * twin.len() as f64
            }
        }
    }
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

/// Floats in each large buffer.
const N: u64 = 1 << 22;
/// Rows and columns of the matrices that are multiplied, and of images.
const SIDE: u64 = 512;
const IMAGE: u64 = 2048;
/// Rows of the sparse matrix.
const ROWS: u64 = 1 << 15;
/// Elements of a kernel's share in the sums that are checked.
const SUMS: f32 = 1e-4;

/// The memory of the suite, with what is in it before each run.
pub struct Inputs {
    memory: Arc<Memory>,
    buffers: Vec<(u64, Vec<u8>)>,
}

impl Inputs {
    fn add(&mut self, bytes: Vec<u8>) -> u64 {
        let address = self.memory.allocate(bytes.len() as u64).expect("memory");
        self.buffers.push((address, bytes));
        address
    }

    /// Writes what kernels start from.
    pub fn reset(&self) {
        for (address, bytes) in &self.buffers {
            self.memory.write(*address, bytes).expect("own memory");
        }
    }

    /// Bytes from an address to the end of its buffer.
    pub fn bytes_at(&self, address: u64) -> usize {
        let buffer = self.buffers.iter().find(|(base, _)| *base == address);
        buffer.expect("a buffer of the suite").1.len()
    }

    /// Words from an address on.
    pub fn read(&self, (address, words): (u64, usize)) -> Vec<u32> {
        let mut bytes = vec![0; words * 4];
        self.memory.read(address, &mut bytes).expect("own memory");
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
    }
}

fn words(values: impl Iterator<Item = u32>) -> Vec<u8> {
    values.flat_map(u32::to_le_bytes).collect()
}

fn floats(values: impl Iterator<Item = f32>) -> Vec<u8> {
    words(values.map(f32::to_bits))
}

/// All cases and their memory. Device pointers are addresses of this process, so the twins take them as they are.
pub fn all(memory: &Arc<Memory>) -> (Inputs, Vec<Case>) {
    let mut inputs = Inputs { memory: memory.clone(), buffers: Vec::new() };
    let scrambled = |i: u64| i.wrapping_mul(2_654_435_761) % 1000;
    let values = floats((0..N).map(|i| 1.0 + scrambled(i) as f32 / 500.0));
    let [a, b, c, d] = [(); 4].map(|()| inputs.add(values.clone()));
    let keys = inputs.add(words((0..N).map(|i| (i as u32).wrapping_mul(2_654_435_761).rotate_left(13))));
    // Numbers from 1 to 1.5 in 16 bits.
    let halves =
        inputs.add((0..SIDE * SIDE).flat_map(|i| (0x3c00 | (scrambled(i) as u16 & 0x1ff)).to_le_bytes()).collect());
    // Rows of 8 to 71 elements.
    let lengths = (0..ROWS).map(|row| 8 + scrambled(row) as u32 % 64);
    let starts: Vec<u32> = std::iter::once(0)
        .chain(lengths.scan(0, |end, n| {
            *end += n;
            Some(*end)
        }))
        .collect();
    let count = u64::from(starts[ROWS as usize]);
    let starts = inputs.add(words(starts.into_iter()));
    let columns = inputs.add(words((0..count).map(|i| (i.wrapping_mul(40_503) % ROWS) as u32)));
    let angle = |i: u64| -std::f32::consts::TAU * i as f32 / 512.0;
    let roots = inputs.add(floats((0..256).flat_map(|i| [angle(i).cos(), angle(i).sin()])));
    let float = |v: f32| u64::from(v.to_bits());
    type P = *mut std::ffi::c_void;
    let wide = |threads: u64| [(threads / 256) as u32, 1, 1];
    let line = [256, 1, 1];
    let squares = |count: u64| (c, (count * count) as usize);
    let cases = vec![
        Case {
            name: "saxpy",
            grid: wide(N),
            block: line,
            args: vec![a, b, float(0.5), N],
            twin: twin!(b"saxpy", a => P, b => P, 0.5 => f32, N => i32),
            results: (b, N as usize),
            same: Same::Close(1e-6),
        },
        Case {
            name: "stencil",
            grid: [64, 256, 1],
            block: [32, 8, 1],
            args: vec![a, c, IMAGE],
            twin: twin!(b"stencil", a => P, c => P, IMAGE => i32),
            results: squares(IMAGE),
            same: Same::Close(1e-6),
        },
        Case {
            name: "conv2d",
            grid: [64, 256, 1],
            block: [32, 8, 1],
            args: vec![a, b, c, IMAGE],
            twin: twin!(b"conv2d", a => P, b => P, c => P, IMAGE => i32),
            results: squares(IMAGE),
            same: Same::Close(1e-5),
        },
        Case {
            name: "matmul",
            grid: [32, 32, 1],
            block: [16, 16, 1],
            args: vec![a, b, c, SIDE],
            twin: twin!(b"matmul", a => P, b => P, c => P, SIDE => i32),
            results: squares(SIDE),
            same: Same::Close(SUMS),
        },
        Case {
            name: "matmul_blocked",
            grid: [8, 8, 1],
            block: [16, 16, 1],
            args: vec![a, b, c, SIDE],
            twin: twin!(b"matmul_blocked", a => P, b => P, c => P, SIDE => i32),
            results: squares(SIDE),
            same: Same::Close(SUMS),
        },
        Case {
            name: "matmul_tensor",
            grid: [4, 16, 1],
            block: [32, 4, 1],
            args: vec![halves, halves, c, SIDE / 2],
            twin: twin!(b"matmul_tensor", halves => P, halves => P, c => P, SIDE / 2 => i32),
            results: squares(SIDE / 2),
            same: Same::Close(SUMS),
        },
        Case {
            name: "reduce",
            grid: [64, 1, 1],
            block: line,
            args: vec![a, c, N],
            twin: twin!(b"reduce", a => P, c => P, N => i32),
            results: (c, 64),
            same: Same::Sum(1e-3),
        },
        Case {
            name: "scan",
            grid: wide(N),
            block: line,
            args: vec![a, c, N],
            twin: twin!(b"scan", a => P, c => P, N => i32),
            results: (c, N as usize),
            same: Same::Close(SUMS),
        },
        Case {
            name: "histogram",
            grid: [64, 1, 1],
            block: line,
            args: vec![a, c, N],
            twin: twin!(b"histogram", a => P, c => P, N => i32),
            results: (c, 256),
            same: Same::Exact,
        },
        Case {
            name: "bitonic",
            grid: [(N / 4 / 512) as u32, 1, 1],
            block: line,
            args: vec![keys, c, N / 4],
            twin: twin!(b"bitonic", keys => P, c => P, N / 4 => i32),
            results: (c, N as usize / 4),
            same: Same::Exact,
        },
        Case {
            name: "radix_sort",
            grid: [(N / 4 / 1024) as u32, 1, 1],
            block: line,
            args: vec![keys, c, N / 4],
            twin: twin!(b"radix_sort", keys => P, c => P, N / 4 => i32),
            results: (c, N as usize / 4),
            same: Same::Exact,
        },
        Case {
            name: "transpose",
            grid: [64, 64, 1],
            block: [32, 8, 1],
            args: vec![a, c, IMAGE],
            twin: twin!(b"transpose", a => P, c => P, IMAGE => i32),
            results: squares(IMAGE),
            same: Same::Exact,
        },
        Case {
            name: "spmv",
            grid: wide(ROWS * 32),
            block: line,
            args: vec![starts, columns, a, b, c, ROWS],
            twin: twin!(b"spmv", starts => P, columns => P, a => P, b => P, c => P, ROWS => i32),
            results: (c, ROWS as usize),
            same: Same::Close(SUMS),
        },
        Case {
            name: "fft",
            grid: [(N / 4 / 512) as u32, 1, 1],
            block: line,
            args: vec![a, c, roots],
            twin: twin!(b"fft", a => P, c => P, roots => P, N / 4 => i32),
            results: (c, N as usize / 2),
            same: Same::Close(1e-5),
        },
        Case {
            name: "mandelbrot",
            grid: [16, 64, 1],
            block: [32, 8, 1],
            args: vec![c, SIDE, 256],
            twin: twin!(b"mandelbrot", c => P, SIDE => i32, 256 => i32),
            results: squares(SIDE),
            // At the border, roundings decide.
            same: Same::Mostly(0.01),
        },
        Case {
            name: "nbody",
            grid: wide(4096),
            block: line,
            args: vec![a, c, 4096],
            twin: twin!(b"nbody", a => P, c => P, 4096 => i32),
            results: (c, 4 * 4096),
            same: Same::Close(SUMS),
        },
        Case {
            name: "black_scholes",
            grid: wide(N / 4),
            block: line,
            args: vec![a, b, d, c, N / 4],
            twin: twin!(b"black_scholes", a => P, b => P, d => P, c => P, N / 4 => i32),
            results: (c, N as usize / 4),
            same: Same::Close(1e-5),
        },
    ];
    (inputs, cases)
}
