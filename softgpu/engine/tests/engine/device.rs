//! A device for tests: modules from PTX text, buffers, launches.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use vgpu_engine::engine::texture::Objects;
use vgpu_engine::engine::{DeviceHeap, Engine, Fault, Launch, Program};
use vgpu_engine::memory::Memory;
use vgpu_engine::ptx;

pub struct Device {
    pub memory: Arc<Memory>,
    pub engine: Engine,
    pub heap: DeviceHeap,
    pub cancel: AtomicBool,
    pub cooperative: bool,
    pub dynamic_shared: u32,
    pub printed: Mutex<Vec<u8>>,
    pub objects: Objects,
}

impl Device {
    pub fn new() -> Device {
        Device::with_threads(2)
    }

    pub fn with_threads(threads: usize) -> Device {
        let memory = Memory::new(256 << 20).unwrap();
        Device {
            heap: DeviceHeap::new(&memory, 8 << 20),
            memory,
            engine: crate::engine(threads),
            cancel: AtomicBool::new(false),
            cooperative: false,
            dynamic_shared: 0,
            printed: Mutex::default(),
            objects: Objects::default(),
        }
    }

    pub fn load(&self, source: &str) -> Program {
        let module = ptx::compile(source.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
        Program::load(Arc::new(module), &self.memory).unwrap()
    }

    /// A buffer of 32-bit words.
    pub fn words(&self, words: &[u32]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        let address = self.memory.allocate(bytes.len().max(1) as u64).unwrap();
        self.memory.write(address, &bytes).unwrap();
        address
    }

    pub fn floats(&self, values: &[f32]) -> u64 {
        self.words(&values.iter().map(|v| v.to_bits()).collect::<Vec<_>>())
    }

    pub fn read(&self, address: u64, count: usize) -> Vec<u32> {
        let mut bytes = vec![0; count * 4];
        self.memory.read(address, &mut bytes).unwrap();
        bytes.chunks(4).map(|w| u32::from_le_bytes(w.try_into().unwrap())).collect()
    }

    pub fn read_floats(&self, address: u64, count: usize) -> Vec<f32> {
        self.read(address, count).into_iter().map(f32::from_bits).collect()
    }

    pub fn launch(
        &self,
        program: &Program,
        kernel: &str,
        (grid, block): ([u32; 3], [u32; 3]),
        args: &[Arg],
    ) -> Result<(), Fault> {
        let kernel = program.kernel(kernel).unwrap_or_else(|| panic!("no kernel {kernel}"));
        let mut params = vec![0; kernel.param_bytes()];
        assert_eq!(kernel.params().len(), args.len());
        for (param, arg) in kernel.params().iter().zip(args) {
            let bytes = arg.bytes();
            assert_eq!(param.size as usize, bytes.len());
            params[param.offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        }
        self.engine.launch(&Launch {
            kernel: &kernel,
            grid,
            block,
            dynamic_shared: self.dynamic_shared,
            params: &params,
            cooperative: self.cooperative,
            stack_limit: 1024,
            printf_limit: 1 << 20,
            output: &|text| self.printed.lock().unwrap().extend_from_slice(text),
            cancel: &self.cancel,
            heap: &self.heap,
            objects: &self.objects.snapshot(),
        })
    }

    /// Runs a kernel of one parameter, a zeroed buffer of `words` words, in one block.
    pub fn run_block(&self, source: &str, kernel: &str, threads: u32, words: usize) -> Result<Vec<u32>, Fault> {
        let out = self.words(&vec![0; words]);
        let program = self.load(source);
        self.launch(&program, kernel, ([1; 3], [threads, 1, 1]), &[Arg::U64(out)])?;
        Ok(self.read(out, words))
    }
}

#[derive(Clone, Copy)]
pub enum Arg {
    U32(u32),
    U64(u64),
}

impl Arg {
    fn bytes(self) -> Vec<u8> {
        match self {
            Arg::U32(v) => v.to_le_bytes().to_vec(),
            Arg::U64(v) => v.to_le_bytes().to_vec(),
        }
    }
}
