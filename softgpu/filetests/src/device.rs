//! Memory and launches for tests.

use crate::Executor;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use vgpu_engine::engine::texture::Objects;
use vgpu_engine::engine::{DeviceHeap, Launch, LoadError, Program};
use vgpu_engine::memory::Memory;
use vgpu_engine::ptx;

/// A device without anything on it.
pub struct Device {
    memory: Arc<Memory>,
    heap: DeviceHeap,
    objects: Objects,
}

impl Default for Device {
    fn default() -> Device {
        let memory = Memory::new(256 << 20).expect("address space for a small device");
        Device { heap: DeviceHeap::new(&memory, 1 << 20), memory, objects: Objects::default() }
    }
}

impl Device {
    /// Compiles and places a module.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn load(&self, source: &str) -> Result<Program, String> {
        let module = ptx::compile(source.as_bytes()).map_err(|error| error.to_string())?;
        Program::load(Arc::new(module), &self.memory).map_err(|error: LoadError| error.to_string())
    }

    /// Runs a kernel of two parameters, inputs and a result buffer of `result` zeroed bytes, in one block.
    ///
    /// # Errors
    /// The fault that ended the launch.
    pub fn run(
        &self,
        executor: &dyn Executor,
        program: &Program,
        (kernel, threads): (&str, u32),
        input: &[u8],
        result: usize,
    ) -> Result<Vec<u8>, String> {
        let kernel = program.kernel(kernel).ok_or("no such kernel")?;
        let buffer = |bytes: &[u8]| -> Result<u64, String> {
            let address = self.memory.allocate(bytes.len().max(1) as u64).map_err(|error| error.to_string())?;
            self.memory.write(address, bytes).map_err(|error| error.to_string())?;
            Ok(address)
        };
        let (from, to) = (buffer(input)?, buffer(&vec![0; result])?);
        let done = executor.launch(&Launch {
            kernel: &kernel,
            grid: [1; 3],
            block: [threads, 1, 1],
            dynamic_shared: 0,
            params: &[from.to_le_bytes(), to.to_le_bytes()].concat(),
            cooperative: false,
            stack_limit: 4096,
            printf_limit: 0,
            output: &|_| {},
            cancel: &AtomicBool::new(false),
            heap: &self.heap,
            objects: &self.objects.snapshot(),
        });
        let mut bytes = vec![0; result];
        let read = self.memory.read(to, &mut bytes);
        for address in [from, to] {
            self.memory.free(address).map_err(|error| error.to_string())?;
        }
        done.map_err(|fault| fault.to_string())?;
        read.map_err(|error| error.to_string())?;
        Ok(bytes)
    }
}
