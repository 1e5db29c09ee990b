//! The kernels of `tests/ptx`, compiled by nvcc, executed and compared with the
//! same computation here.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use vgpu_engine::engine::texture::Snapshot;
use vgpu_engine::engine::{DeviceHeap, Engine, Launch, Program};
use vgpu_engine::memory::Memory;
use vgpu_engine::ptx;

const KERNELS: &str = include_str!("ptx/kernels.ptx");
const ASYNC: &str = include_str!("ptx/async.ptx");
const OBJECTS: &str = include_str!("ptx/objects.ptx");

/// One module on a device of its own.
struct Sample {
    memory: Arc<Memory>,
    engine: Engine,
    heap: DeviceHeap,
    program: Program,
}

impl Sample {
    fn new(text: &str) -> Sample {
        let memory = Memory::new(64 << 20).unwrap();
        let module = ptx::compile(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        let program = Program::load(Arc::new(module), &memory).unwrap();
        Sample { engine: Engine::new(2), heap: DeviceHeap::new(&memory, 1 << 20), memory, program }
    }

    /// A buffer with these bytes.
    fn upload(&self, bytes: &[u8]) -> u64 {
        let address = self.memory.allocate(bytes.len() as u64).unwrap();
        self.memory.write(address, bytes).unwrap();
        address
    }

    fn download<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(address, &mut bytes).unwrap();
        bytes
    }

    /// Runs one block; returns what the kernel printed.
    fn run(&self, kernel: &str, threads: u32, dynamic_shared: u32, params: &[u8]) -> String {
        let kernel = self.program.kernel(kernel).unwrap();
        let printed = Mutex::new(Vec::new());
        let launch = Launch {
            kernel: &kernel,
            grid: [1; 3],
            block: [threads, 1, 1],
            dynamic_shared,
            params,
            cooperative: false,
            stack_limit: 4096,
            printf_limit: 1 << 16,
            output: &|bytes| printed.lock().unwrap().extend_from_slice(bytes),
            cancel: &AtomicBool::new(false),
            heap: &self.heap,
            objects: &Snapshot::default(),
        };
        self.engine.launch(&launch).unwrap_or_else(|fault| panic!("{fault}"));
        String::from_utf8(printed.into_inner().unwrap()).unwrap()
    }
}

/// Little-endian bytes of values of one type.
macro_rules! bytes {
    ($values:expr) => {
        $values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()
    };
}

/// Values of one type from little-endian bytes.
macro_rules! values {
    ($ty:ty, $bytes:expr) => {
        $bytes.chunks(size_of::<$ty>()).map(|chunk| <$ty>::from_le_bytes(chunk.try_into().unwrap())).collect::<Vec<_>>()
    };
}

#[test]
fn asynchronous_copies_arrive_in_shared_memory() {
    let sample = Sample::new(ASYNC);
    let input: Vec<f32> = (0..512).map(|i| i as f32).collect();
    let (a, b) = (sample.upload(&bytes!(input)), sample.upload(&[0; 2048]));
    sample.run("pipe", 128, 0, &bytes!([a, b]));
    let expected: Vec<f32> = input.chunks(4).rev().flatten().copied().collect();
    assert_eq!(values!(f32, sample.download::<2048>(b)), expected);
}

#[test]
fn a_barrier_object_orders_the_block() {
    let sample = Sample::new(ASYNC);
    let input: Vec<f32> = (0..128).map(|i| i as f32).collect();
    let (a, b) = (sample.upload(&bytes!(input)), sample.upload(&[0; 512]));
    sample.run("bar", 128, 0, &bytes!([a, b]));
    let expected: Vec<f32> = input.iter().rev().copied().collect();
    assert_eq!(values!(f32, sample.download::<512>(b)), expected);
}

#[test]
fn virtual_functions_and_device_new() {
    let sample = Sample::new(OBJECTS);
    for (n, expected) in [(1u32, 6.0f32), (0, 4.0)] {
        let o = sample.upload(&bytes!([0f32, 3.0]));
        let params = [bytes!([o]), bytes!([n])].concat();
        sample.run("_Z4virtPfi", 1, 0, &params);
        assert_eq!(values!(f32, sample.download::<4>(o)), [expected]);
    }
}

#[test]
fn initialised_tables_and_pointers_to_variables() {
    let sample = Sample::new(OBJECTS);
    let o = sample.upload(&[0; 8]);
    let printed = sample.run("_Z4dataPdi", 1, 0, &[bytes!([o]), bytes!([0u32])].concat());
    assert_eq!(values!(f64, sample.download::<8>(o)), [1.0 + 1.0 + 5.0 + 1.0 + 4.0]);
    assert_eq!(printed, "a 0\n");
}

#[test]
fn static_and_dynamic_shared_memory_do_not_overlap() {
    let sample = Sample::new(OBJECTS);
    for (kernel, threads) in [("_Z3shmILi33EEvPf", 33), ("_Z3shmILi100EEvPf", 100)] {
        let o = sample.upload(&bytes!([1.5f32, 2.5, 0.0]));
        sample.run(kernel, threads, threads * 8, &bytes!([o]));
        assert_eq!(values!(f32, sample.download::<12>(o)), [1.5, 2.5, 7.0]);
    }
}

#[test]
fn local_arrays_are_indexed_at_run_time() {
    let sample = Sample::new(OBJECTS);
    let mut words: Vec<i32> = (0..66).map(|i| (i * 37 + 11) % 101).collect();
    (words[64], words[65]) = (50, 9);
    let o = sample.upload(&bytes!(words));
    sample.run("_Z3recPi", 1, 0, &bytes!([o]));
    let mut local = words[..64].to_vec();
    for i in 0..50 {
        let at = (local[i] & 63) as usize;
        local[at] += i as i32;
    }
    assert_eq!(values!(i32, sample.download::<4>(o)), [local[9]]);
}

#[test]
fn recursion_structs_and_function_pointers() {
    let sample = Sample::new(KERNELS);
    let o = sample.upload(&bytes!([10i32, 6, 0, 7, 64]));
    // `table` holds the device addresses of x + 1 and x * 3.
    let table = sample.program.global("table").unwrap().address;
    let [_, triple] = values!(u64, sample.download::<16>(table))[..] else { unreachable!() };
    let structure = [bytes!([1i32, 2, 3, 4, 5, 6]), bytes!([2.5f64])].concat();
    sample.run("calls", 1, 0, &[bytes!([o]), structure, bytes!([triple])].concat());
    // fib(10); a[2] + 6 + (int)(2.5 * 2); 7 + 1; 4 * 3; the word written to the heap.
    assert_eq!(values!(i32, sample.download::<20>(o)), [55, 3 + 6 + 5, 8, 12, 1]);
}

#[test]
fn warp_operations_agree_with_their_definition() {
    let sample = Sample::new(KERNELS);
    let o = sample.upload(&[0; 128]);
    sample.run("warps", 32, 0, &bytes!([o]));
    let expected: Vec<u32> = (0..32u32)
        .map(|lane| {
            let ballot = 0xaaaa_aaaa;
            let equal = (0..32).filter(|other| other / 3 == lane / 3).map(|other| 1u32 << other).sum::<u32>();
            let shuffles = (lane ^ 3) + lane.saturating_sub(1) + ((lane & !7) + 5);
            let everyone = 0xffff_ffffu32;
            let reductions = 496 + 31;
            let barriers = 31 + 1;
            [ballot, 1, everyone, equal, shuffles, everyone, 1, reductions, barriers]
                .into_iter()
                .fold(0u32, u32::wrapping_add)
        })
        .collect();
    assert_eq!(values!(u32, sample.download::<128>(o)), expected);
}

#[test]
fn histogram_in_shared_memory() {
    let sample = Sample::new(KERNELS);
    let input: Vec<u8> = (0..5000u32).map(|i| (i * i % 251) as u8).collect();
    let (a, h) = (sample.upload(&input), sample.upload(&[0; 1024]));
    sample.run("hist", 256, 0, &[bytes!([a, h]), bytes!([5000u32])].concat());
    let mut expected = vec![0u32; 256];
    input.iter().for_each(|&byte| expected[byte as usize] += 1);
    assert_eq!(values!(u32, sample.download::<1024>(h)), expected);
}

#[test]
fn tiled_matrix_product() {
    let sample = Sample::new(KERNELS);
    let coefficients = sample.program.global("coef").unwrap().address;
    sample.memory.write(coefficients, &bytes!([2f32])).unwrap();
    let matrix = |seed: usize| -> Vec<f32> { (0..256).map(|i| ((i * seed) % 7) as f32).collect() };
    let (x, y) = (matrix(3), matrix(5));
    let (a, b, c) = (sample.upload(&bytes!(x)), sample.upload(&bytes!(y)), sample.upload(&[0; 1024]));
    let kernel = sample.program.kernel("matmul").unwrap();
    let launch = Launch {
        kernel: &kernel,
        grid: [1; 3],
        block: [16, 16, 1],
        dynamic_shared: 0,
        params: &[bytes!([a, b, c]), bytes!([16u32])].concat(),
        cooperative: false,
        stack_limit: 1024,
        printf_limit: 0,
        output: &|_| {},
        cancel: &AtomicBool::new(false),
        heap: &sample.heap,
        objects: &Snapshot::default(),
    };
    sample.engine.launch(&launch).unwrap();
    let cell = |row: usize, column: usize| (0..16).map(|k| x[row * 16 + k] * y[k * 16 + column]).sum::<f32>() * 2.0;
    let expected: Vec<f32> = (0..256).map(|i| cell(i / 16, i % 16)).collect();
    assert_eq!(values!(f32, sample.download::<1024>(c)), expected);
}

/// `__dp4a` on signed bytes.
fn dot4(a: i32, b: i32, c: i32) -> i32 {
    let products = a.to_le_bytes().into_iter().zip(b.to_le_bytes());
    products.fold(c, |sum, (x, y)| sum.wrapping_add(i32::from(x as i8) * i32::from(y as i8)))
}

/// `__byte_perm` with a selector whose nibbles are below 8.
fn byte_perm(x: u32, y: u32, selector: u32) -> u32 {
    let bytes = (u64::from(y) << 32 | u64::from(x)).to_le_bytes();
    u32::from_le_bytes([0, 4, 8, 12].map(|shift| bytes[(selector >> shift & 7) as usize]))
}

/// `__vadd2`: two 16-bit sums.
fn add_halves(a: u32, b: u32) -> u32 {
    let half = |shift: u32| u32::from(((a >> shift) as u16).wrapping_add((b >> shift) as u16)) << shift;
    half(0) | half(16)
}

/// `__vmaxs4`: four maxima of signed bytes.
fn max_bytes(a: u32, b: u32) -> u32 {
    let (a, b) = (a.to_le_bytes(), b.to_le_bytes());
    u32::from_le_bytes(std::array::from_fn(|at| (a[at] as i8).max(b[at] as i8) as u8))
}

#[test]
fn integer_intrinsics_agree_with_their_definition() {
    let sample = Sample::new(KERNELS);
    let a = [0i64, -987_654_321_987, 12_345, 1 << 40, -999, 0, i64::MIN + 5, 0x1234_5678_9abc_def0, 0];
    let u = [0u64, u64::MAX - 3, 77, 5, 0, 0x00f0_f000_0000_1234, 1 << 37, 1 << 50];
    let i = [0i32, 0x7f01_80ff, 0x0070_90a3, -48, -7, 5, -6, 0, i32::MIN, 123_456_789, -5, 0, 0, 2, 0];
    let w = [0x1234_5678u32, 9, 0xf123_4567, 0xa0b0_c0d0, 0x0102_0304, 0x3715, 0xdead_beef, 0x0bad_cafe, 13, 1000]
        .into_iter()
        .chain([0, 0xffff_0001, 0x0001_ffff, 0x7f80_01ff, 0x0181_7f00])
        .collect::<Vec<u32>>();
    let s = [0i16, -300, 211];
    let buffers = [bytes!(a), bytes!(u), bytes!(i), bytes!(w), bytes!(s), vec![200u8]].map(|b| sample.upload(&b));
    sample.run("ints", 1, 0, &bytes!(buffers));

    let mut expected = i;
    let sum = |terms: &[u32]| terms.iter().copied().fold(0, u32::wrapping_add) as i32;
    let find_first = |x: u64| if x == 0 { 0 } else { x.trailing_zeros() + 1 };
    let small = i[4].unsigned_abs().wrapping_add(i[5].min(i[6]) as u32);
    let counts = i[1].count_ones() + i[2].leading_zeros() + find_first(i[3] as u32 as u64);
    expected[0] = sum(&[counts, w[0].reverse_bits(), small, w[1].max(w[2])]);
    let high = ((i64::from(i[8]) * i64::from(i[9])) >> 32) as u32;
    let funnel = ((u64::from(w[7]) << 32 | u64::from(w[6])) << w[8] >> 32) as u32;
    expected[7] = sum(&[high, byte_perm(w[3], w[4], w[5]), funnel, i[9].abs_diff(i[10]), w[9]]);
    expected[11] = dot4(i[1], i[2], i[3]);
    expected[12] = (u[5].count_ones() + u[6].leading_zeros() + find_first(u[7])) as i32;
    expected[14] = i[3] / i[4];
    assert_eq!(values!(i32, sample.download::<60>(buffers[2])), expected);

    let wide = |x: i64, y: i64| i128::from(x) * i128::from(y);
    let quotients = a[1] / a[2] + a[3] % a[4];
    let products = [wide(a[6], a[7]) >> 64, wide(a[1], a[2]) >> 37].map(|product| product as i64);
    let found = values!(i64, sample.download::<72>(buffers[0]));
    assert_eq!([found[0], found[5], found[8]], [quotients, products[0], products[1]]);
    assert_eq!(values!(u64, sample.download::<8>(buffers[1])), [(u[1] / u[2]).wrapping_mul(u[3])]);
    let product24 = (w[2] & 0xff_ffff).wrapping_mul(w[3] & 0xff_ffff);
    let packed = sum(&[add_halves(w[11], w[12]), max_bytes(w[13], w[14]), product24]) as u32;
    assert_eq!(values!(u32, sample.download::<60>(buffers[3]))[10], packed);
    assert_eq!(values!(i16, sample.download::<2>(buffers[4])), [(-300i32 * 211 + 200) as i16]);
}
