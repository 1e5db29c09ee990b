use crate::kit::*;
use std::ffi::c_void;
use std::ptr::null_mut;
use vgpu_protocol::cuda::{CUlaunchAttribute, CUlaunchConfig};

struct Vectors {
    addresses: [u64; 3],
    n: u64,
}

impl Vectors {
    fn new(n: u64) -> Vectors {
        let addresses = [0; 3].map(|_| alloc(4 * n as usize));
        upload(addresses[0], &(0..n).map(|i| i as f32).collect::<Vec<_>>());
        upload(addresses[1], &(0..n).map(|i| 2.0 * i as f32).collect::<Vec<_>>());
        Vectors { addresses, n }
    }

    fn params(&self) -> [u64; 4] {
        let [a, b, c] = self.addresses;
        [a, b, c, self.n]
    }

    fn verify(&self) {
        let sums = download::<f32>(self.addresses[2], self.n as usize);
        assert!(sums.iter().enumerate().all(|(i, sum)| *sum == 3.0 * i as f32));
    }
}

#[test]
fn vector_add() {
    let _context = Context::new();
    let add = function(kernels(), "vectorAdd");
    let vectors = Vectors::new(10_000);
    assert_eq!(launch(add, 40, 256, null_mut(), &vectors.params()), CUresult::SUCCESS);
    vectors.verify();
}

#[test]
fn parameters_may_come_in_one_buffer() {
    let _context = Context::new();
    let add = function(kernels(), "vectorAdd");
    let vectors = Vectors::new(100);
    let block = vectors.params();
    let run = |size: usize, key: usize| {
        let word = std::ptr::without_provenance_mut::<c_void>;
        let mut extra = [
            word(1),
            block.as_ptr().cast_mut().cast(),
            word(key),
            std::ptr::from_ref(&size).cast_mut().cast(),
            word(0),
        ];
        cu!(cuLaunchKernel(add, 1, 1, 1, 128, 1, 1, 0, null_mut(), null_mut(), extra.as_mut_ptr()))
    };
    assert_eq!(run(28, 2), CUresult::SUCCESS);
    vectors.verify();
    assert_eq!(run(32, 2), CUresult::SUCCESS);
    assert_eq!(run(24, 2), CUresult::INVALID_VALUE);
    assert_eq!(run(64, 2), CUresult::INVALID_VALUE);
    assert_eq!(run(28, 3), CUresult::INVALID_VALUE);
    assert_eq!(
        cu!(cuLaunchKernel(add, 1, 1, 1, 1, 1, 1, 0, null_mut(), null_mut(), null_mut())),
        CUresult::INVALID_VALUE
    );
}

#[test]
fn parameter_layout_is_told() {
    let _context = Context::new();
    let add = function(kernels(), "vectorAdd");
    let param = |index| {
        let (mut offset, mut size) = (0, 0);
        (cu!(cuFuncGetParamInfo(add, index, &mut offset, &mut size)), offset, size)
    };
    assert_eq!(param(0), (CUresult::SUCCESS, 0, 8));
    assert_eq!(param(3), (CUresult::SUCCESS, 24, 4));
    assert_eq!(param(4).0, CUresult::INVALID_VALUE);
    assert_eq!(param(usize::MAX).0, CUresult::INVALID_VALUE);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let _context = Context::new();
    let module = kernels();
    let run = |name: &str, grid: [u32; 3], block: [u32; 3], shared| {
        let [gx, gy, gz] = grid;
        let [bx, by, bz] = block;
        cu!(cuLaunchKernel(function(module, name), gx, gy, gz, bx, by, bz, shared, null_mut(), null_mut(), null_mut()))
    };
    let one = [1, 1, 1];
    assert_eq!(run("empty", one, [1024, 1, 1], 48 << 10), CUresult::SUCCESS);
    for bad in [[0, 1, 1], [1, 0, 1], [1, 1, 0], [1 << 31, 1, 1], [1, 65_536, 1], [1, 1, 65_536]] {
        assert_eq!(run("empty", bad, one, 0), CUresult::INVALID_VALUE, "grid {bad:?}");
    }
    for bad in [[0, 1, 1], [1025, 1, 1], [1, 1, 65], [32, 32, 2], [u32::MAX; 3]] {
        assert_eq!(run("empty", one, bad, 0), CUresult::INVALID_VALUE, "block {bad:?}");
    }
    assert_eq!(run("empty", one, one, (48 << 10) + 1), CUresult::INVALID_VALUE);
    assert_eq!(run("narrow", one, [64, 1, 1], 0), CUresult::SUCCESS);
    assert_eq!(run("narrow", one, [65, 1, 1], 0), CUresult::INVALID_VALUE);
    assert_eq!(run("exact", one, [32, 2, 1], 0), CUresult::SUCCESS);
    assert_eq!(run("exact", one, [64, 1, 1], 0), CUresult::INVALID_VALUE);
    ok!(cuCtxSynchronize());
}

#[test]
fn function_attributes_and_settings() {
    let _context = Context::new();
    let shared = function(kernels(), "shared");
    let get = |attribute| {
        let mut value = -1;
        (cu!(cuFuncGetAttribute(&mut value, attribute, shared)), value)
    };
    assert_eq!([get(0).1, get(1).1, get(5).1, get(6).1], [1024, 1024, 75, 80]);
    assert!((0..16).all(|attribute| get(attribute).0 == CUresult::SUCCESS));
    assert_eq!([get(-1).0, get(16).0], [CUresult::INVALID_VALUE; 2]);
    assert_eq!(get(8).1, 47 << 10);
    assert_eq!(cu!(cuFuncSetAttribute(shared, 8, 163 << 10)), CUresult::INVALID_VALUE);
    ok!(cuFuncSetAttribute(shared, 8, 162 << 10));
    assert_eq!(get(8).1, 162 << 10);
    ok!(cuLaunchKernel(shared, 1, 1, 1, 1, 1, 1, 162 << 10, null_mut(), null_mut(), null_mut()));
    assert_eq!(cu!(cuFuncSetAttribute(shared, 0, 1)), CUresult::INVALID_VALUE);
    ok!(cuFuncSetAttribute(shared, 9, 50));
    assert_eq!(get(9).1, 50);
}

#[test]
fn cooperative_launches_must_fit_the_device() {
    let _context = Context::new();
    let empty = function(kernels(), "empty");
    let mut resident = 0;
    ok!(cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut resident, empty, 256, 0));
    assert!(resident > 0);
    let most = 2 * resident as u32;
    ok!(cuLaunchCooperativeKernel(empty, most, 1, 1, 256, 1, 1, 0, null_mut(), null_mut()));
    let too_many = cu!(cuLaunchCooperativeKernel(empty, most + 1, 1, 1, 256, 1, 1, 0, null_mut(), null_mut()));
    assert_eq!(too_many, CUresult::COOPERATIVE_LAUNCH_TOO_LARGE);
    assert_eq!(cu!(cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut resident, empty, 0, 0)), CUresult::INVALID_VALUE);
    let mut dynamic = 0;
    ok!(cuOccupancyAvailableDynamicSMemPerBlock(&mut dynamic, empty, 2, 256));
    ok!(cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut resident, empty, 256, dynamic));
    assert_eq!(resident, 2);
    assert_eq!(cu!(cuOccupancyAvailableDynamicSMemPerBlock(&mut dynamic, empty, 99, 256)), CUresult::INVALID_VALUE);
}

#[test]
fn launch_attributes() {
    let _context = Context::new();
    let empty = function(kernels(), "empty");
    let run = |grid: u32, attributes: &[(u32, [u32; 3])]| {
        let make = |(id, words): &(u32, [u32; 3])| {
            let mut value = [0; 64];
            for (place, word) in value.chunks_exact_mut(4).zip(words) {
                place.copy_from_slice(&word.to_le_bytes());
            }
            CUlaunchAttribute { id: *id, pad: 0, value }
        };
        let mut attributes: Vec<_> = attributes.iter().map(make).collect();
        let config = CUlaunchConfig {
            gridDimX: grid,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: 1024,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            hStream: null_mut(),
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        };
        cu!(cuLaunchKernelEx(&config, empty, null_mut(), null_mut()))
    };
    assert_eq!(run(64, &[]), CUresult::SUCCESS);
    assert_eq!(run(1, &[(2, [1, 0, 0]), (8, [1, 0, 0])]), CUresult::SUCCESS);
    assert_eq!(run(64, &[(2, [1, 0, 0])]), CUresult::COOPERATIVE_LAUNCH_TOO_LARGE);
    assert_eq!(run(64, &[(2, [0; 3])]), CUresult::SUCCESS);
    assert_eq!(run(4, &[(4, [1, 1, 1])]), CUresult::SUCCESS);
    assert_eq!(run(4, &[(4, [2, 1, 1])]), CUresult::NOT_SUPPORTED);
}

#[test]
fn library_kernels_are_used_as_functions() {
    let _context = Context::new();
    let text = std::ffi::CString::new(KERNELS).unwrap();
    let (mut library, mut kernel, mut same) = (null_mut(), null_mut(), null_mut());
    let code = text.as_ptr().cast();
    let null = null_mut::<*mut std::ffi::c_void>();
    ok!(cuLibraryLoadData(&mut library, code, null.cast(), null, 0, null.cast(), null, 0));
    ok!(cuLibraryGetKernel(&mut kernel, library, c"vectorAdd".as_ptr()));
    ok!(cuLibraryGetKernel(&mut same, library, c"vectorAdd".as_ptr()));
    assert_eq!(kernel, same);
    assert_eq!(cu!(cuLibraryGetKernel(&mut same, library, c"none".as_ptr())), CUresult::NOT_FOUND);
    let vectors = Vectors::new(100);
    assert_eq!(launch(kernel.cast(), 1, 128, null_mut(), &vectors.params()), CUresult::SUCCESS);
    vectors.verify();
    let (mut function_, mut threads) = (null_mut(), 0);
    ok!(cuKernelGetFunction(&mut function_, kernel));
    ok!(cuFuncGetAttribute(&mut threads, 0, function_));
    ok!(cuKernelGetAttribute(&mut threads, 0, kernel, 0));
    assert_eq!(threads, 1024);
    ok!(cuKernelSetAttribute(8, 96 << 10, kernel, 0));
    let mut offset = 0;
    ok!(cuKernelGetParamInfo(kernel, 3, &mut offset, null_mut()));
    assert_eq!(offset, 24);
    let (mut address, mut module) = (0, null_mut());
    ok!(cuLibraryGetGlobal(&mut address, null_mut(), library, c"counter".as_ptr()));
    assert_eq!(download::<u32>(address, 1), [41]);
    assert_eq!(cu!(cuLibraryGetManaged(&mut address, null_mut(), library, c"counter".as_ptr())), CUresult::NOT_FOUND);
    ok!(cuLibraryGetModule(&mut module, library));
    assert_eq!(function(module, "vectorAdd"), function_);
    assert_eq!(cu!(cuModuleUnload(module)), CUresult::NOT_PERMITTED);
    ok!(cuLibraryUnload(library));
    assert_eq!(launch(kernel.cast(), 1, 1, null_mut(), &vectors.params()), CUresult::INVALID_HANDLE);
    assert_eq!(launch(function_, 1, 1, null_mut(), &vectors.params()), CUresult::INVALID_HANDLE);
}

#[test]
fn an_unloaded_module_finishes_its_launches() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    let vectors = Vectors::new(100);
    gate.hold(module, stream);
    assert_eq!(launch(function(module, "vectorAdd"), 1, 128, stream, &vectors.params()), CUresult::SUCCESS);
    ok!(cuModuleUnload(module));
    gate.open();
    ok!(cuStreamSynchronize(stream));
    vectors.verify();
}
