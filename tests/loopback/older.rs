//! Drivers that know less than the newest: what a session has on them, and what it lacks.

use std::collections::HashSet;
use std::path::Path;

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::STAGING_OFFSET;
use vgpu_protocol::{cmd, Handle, HandleKind, ParamInfo};
use zerocopy::{FromBytes, IntoBytes};

use crate::backend::{mock_driver, Backend};
use crate::client::Client;
use crate::vm::{home, Vm};

/// As the mock's kernel has it.
const PTX: &[u8] = b"\n.version 8.0\n.target sm_80\n.address_size 64\n\
    .visible .entry add(.param .u64 .ptr .global .align 4 a, .param .u32 b) { ret; }\n\
    .visible .entry empty() { ret; }";

/// The mock driver as it would have been in CUDA 12.0: newer functions have other names.
fn driver_of_12_0() -> tempfile::TempPath {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("protocol/api/cuda.api");
    let table = std::fs::read_to_string(table).unwrap();
    let newer: HashSet<&[u8]> = table
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let name = words.next()?;
            words.next()?.parse::<u32>().is_ok_and(|since| since > 12000).then_some(name.as_bytes())
        })
        .collect();
    assert!(newer.contains(b"cuFuncGetParamInfo".as_slice()));
    let mut library = std::fs::read(mock_driver()).unwrap();
    for string in library.split_mut(|byte| *byte == 0) {
        if newer.contains(&*string) {
            string[0] = b'x';
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), library).unwrap();
    file.into_temp_path()
}

/// A backend with that driver.
fn backend_of_12_0(driver: &Path) -> Backend {
    Backend::start_on_in(driver, &[("MOCK_VERSION", "12000")], &[])
}

/// Loads a module or library out of an image; the handle.
fn load(client: &mut Client, vm: &Vm, kind: HandleKind, image: &[u8]) -> Handle {
    vm.write(home(1) + STAGING_OFFSET as u64, image);
    let handle = client.mint(kind);
    let (image, size) = (client.staging(), image.len() as u64);
    let result = match kind {
        HandleKind::Module => {
            client
                .call(
                    vm,
                    &cmd::VgpuModuleLoad { module: handle, image, size, options: &[], log_size: 64, values_size: 0 },
                )
                .result
        }
        _ => {
            client
                .call(
                    vm,
                    &cmd::VgpuLibraryLoad { library: handle, image, size, options: &[], log_size: 64, values_size: 0 },
                )
                .result
        }
    };
    assert_eq!(result, 0);
    handle
}

fn add_params(address: u64, value: u32) -> Vec<u8> {
    [address.to_le_bytes().as_slice(), &u64::from(value).to_le_bytes()].concat()
}

/// A cubin, as `ptxas` writes it but for the code, with the mock's `add`.
fn cubin() -> Vec<u8> {
    let param = |ordinal: u16, offset: u16, size: u32| {
        let fields = [ordinal.to_le_bytes(), offset.to_le_bytes()].concat();
        [&[4, 0x17, 12, 0, 0, 0, 0, 0][..], &fields, &(size << 18 | 0x1f000).to_le_bytes()].concat()
    };
    let info = [param(1, 8, 4), param(0, 0, 8), vec![3, 0x19, 12, 0]].concat();
    let names = b"\0.nv.info.add\0";
    let mut elf = b"\x7fELF\x02\x01\x01".to_vec();
    elf.resize(64, 0);
    let sections = [(0, 0, 0, 0), (1, 0x7000_0000, 64, info.len()), (0, 3, 64 + info.len(), names.len())];
    let table = (64 + info.len() + names.len()) as u64;
    elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    (elf[0x3a], elf[0x3c], elf[0x3e]) = (64, 3, 2);
    elf.extend([&info, &names[..]].concat());
    for (name, kind, offset, size) in sections {
        let words = [name, kind, 0, 0, 0, 0, offset as u32, 0, size as u32, 0, 0, 0, 0, 0, 0, 0];
        elf.extend(words.as_bytes());
    }
    elf
}

#[test]
fn test_functions_that_an_older_driver_lacks_are_not_supported() {
    let driver = driver_of_12_0();
    let backend = backend_of_12_0(&driver);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    assert_eq!(client.call(&vm, &cmd::VgpuDeviceInfo { dev: 0 }).info.driver_version, 12000);
    let module = load(&mut client, &vm, HandleKind::Module, PTX);
    let lacking = cmd::VgpuModuleNames { module, first: 0, size: 64 };
    assert_eq!(client.result(&vm, &lacking), CUresult::NOT_SUPPORTED.0);
    client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 });
}

#[test]
fn test_an_older_drivers_kernels_are_launched_as_their_images_say() {
    let driver = driver_of_12_0();
    let backend = backend_of_12_0(&driver);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let memory = client.call(&vm, &cmd::CuMemAllocV2 { bytesize: 64 }).dptr;
    let add = b"add".as_slice();
    let function = |client: &mut Client, module| {
        let function = client.mint(HandleKind::Function);
        let command = cmd::VgpuModuleGetFunction { function, module, name: add, params_size: 64 };
        let reply = client.call(&vm, &command);
        (function, reply.info, reply.params)
    };
    let of_text = load(&mut client, &vm, HandleKind::Module, PTX);
    let of_code = load(&mut client, &vm, HandleKind::Module, &cubin());
    let library = load(&mut client, &vm, HandleKind::Library, PTX);
    let of_library = client.mint(HandleKind::Module);
    client.call(&vm, &cmd::CuLibraryGetModule { pMod: of_library, library });
    let kernel = client.mint(HandleKind::Kernel);
    let command = cmd::VgpuLibraryGetKernel { kernel, library, name: add, params_size: 64 };
    let reply = client.call(&vm, &command);
    let mut found = vec![(kernel, reply.info, reply.params)];
    for module in [of_text, of_code, of_library] {
        found.push(function(&mut client, module));
    }
    let expected = [ParamInfo { offset: 0, size: 8 }, ParamInfo { offset: 8, size: 4 }];
    for (sum, (function, info, params)) in (1..).zip(found) {
        assert_eq!((info.param_count, info.param_bytes), (2, 12));
        let params: Vec<ParamInfo> =
            params.chunks_exact(8).map(|param| ParamInfo::read_from_bytes(param).unwrap()).collect();
        assert_eq!(params, expected);
        client.call(&vm, &client.launch(function, &add_params(memory, 5)));
        client.call(&vm, &cmd::VgpuCopyDtoHWait { dst: client.staging(), src: memory, size: 4, stream: Handle::NULL });
        assert_eq!(vm.load(home(1) + STAGING_OFFSET as u64), 5 * sum);
    }
}

#[test]
fn test_a_kernel_whose_parameters_nobody_tells_is_refused_by_name() {
    let driver = driver_of_12_0();
    let mut backend = backend_of_12_0(&driver);
    let mut vm = Vm::start(&backend.socket());
    let mut client = Client::open(&mut vm, 1);
    let silent = load(&mut client, &vm, HandleKind::Module, b"mock image");
    let library = load(&mut client, &vm, HandleKind::Library, b"mock image");
    let (function, kernel) = (client.mint(HandleKind::Function), client.mint(HandleKind::Kernel));
    let name = b"add".as_slice();
    let of_module = cmd::VgpuModuleGetFunction { function, module: silent, name, params_size: 64 };
    assert_eq!(client.result(&vm, &of_module), CUresult::NOT_SUPPORTED.0);
    let of_library = cmd::VgpuLibraryGetKernel { kernel, library, name, params_size: 64 };
    assert_eq!(client.result(&vm, &of_library), CUresult::NOT_SUPPORTED.0);
    let missing = cmd::VgpuModuleGetFunction { function, module: silent, name: b"missing", params_size: 64 };
    assert_eq!(client.result(&vm, &missing), CUresult::NOT_FOUND.0, "the driver's own answer comes first");
    backend.signal(rustix::process::Signal::TERM);
    let (_, messages) = backend.end();
    assert!(messages.contains("kernel add cannot be launched") && messages.contains("12.4"), "{messages}");
}
