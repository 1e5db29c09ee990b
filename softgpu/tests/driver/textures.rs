use crate::kit::*;
use std::ffi::CString;
use std::ptr::{null, null_mut};
use vgpu_protocol::cuda::{
    CUarray, CUDA_ARRAY3D_DESCRIPTOR, CUDA_RESOURCE_DESC, CUDA_TEXTURE_DESC, RESOURCE_ARRAY, RESOURCE_LINEAR,
    RESOURCE_PITCH2D,
};

const FETCH: &str = ".version 8.0\n.target sm_80\n.address_size 64\n\
    .visible .entry fetch(.param .u64 t, .param .u64 out) { .reg .b64 %rd<3>; .reg .b32 %r<6>;\n\
    ld.param.u64 %rd1, [t]; ld.param.u64 %rd2, [out]; mov.b32 %r1, 1;\n\
    tex.1d.v4.u32.s32 {%r2, %r3, %r4, %r5}, [%rd1, {%r1}]; st.global.u32 [%rd2], %r2; ret; }";

fn fetch_kernel() -> CUfunction {
    let text = CString::new(FETCH).expect("no NUL");
    let loaded = load(text.as_bytes_with_nul());
    assert_eq!(loaded.result, CUresult::SUCCESS, "{}", loaded.error);
    function(loaded.module, "fetch")
}

fn line(flags: u32) -> CUarray {
    let shape = CUDA_ARRAY3D_DESCRIPTOR { Width: 64, Format: 3, NumChannels: 1, Flags: flags, ..Default::default() };
    let mut array = null_mut();
    ok!(cuArray3DCreate_v2(&mut array, &shape));
    let values: Vec<u32> = (100..164).collect();
    ok!(cuMemcpyHtoA_v2(array, 0, values.as_ptr().cast(), 256));
    array
}

fn of_array(array: CUarray) -> CUDA_RESOURCE_DESC {
    let mut resource = CUDA_RESOURCE_DESC { resType: RESOURCE_ARRAY, ..Default::default() };
    resource.res[0] = array as u64;
    resource
}

/// Integers, clamped.
fn plain() -> CUDA_TEXTURE_DESC {
    CUDA_TEXTURE_DESC { addressMode: [1; 3], flags: 1, ..Default::default() }
}

fn texture(array: CUarray) -> u64 {
    let mut object = 0;
    ok!(cuTexObjectCreate(&mut object, &of_array(array), &plain(), null()));
    object
}

#[test]
fn launches_keep_what_is_destroyed_while_they_wait() {
    let _context = Context::new();
    let (fetch, module, gate, stream) = (fetch_kernel(), kernels(), Gate::new(), stream(1));
    let array = line(0);
    let object = texture(array);
    gate.hold(module, stream);
    assert_eq!(launch(fetch, 1, 1, stream, &[object, gate.word(1)]), CUresult::SUCCESS);
    ok!(cuTexObjectDestroy(object));
    ok!(cuArrayDestroy(array));
    gate.open();
    ok!(cuStreamSynchronize(stream));
    assert_eq!(gate.value(1), 101);
}

#[test]
fn destroyed_objects_and_other_numbers_end_the_context() {
    for wrong in [0, 1, u64::MAX, 0x7e00_0000_0000_0000] {
        let _context = Context::new();
        let (fetch, out) = (fetch_kernel(), alloc(4));
        let object = texture(line(0));
        ok!(cuTexObjectDestroy(object));
        let handle = if wrong == 1 { object } else { wrong };
        assert_eq!(launch(fetch, 1, 1, null_mut(), &[handle, out]), CUresult::SUCCESS);
        assert_eq!(cu!(cuCtxSynchronize()), CUresult::ILLEGAL_ADDRESS, "{handle:#x}");
    }
}

#[test]
fn objects_that_cannot_be_are_refused() {
    let _context = Context::new();
    let array = line(0);
    let memory = alloc(4096);
    let create = |resource: CUDA_RESOURCE_DESC, texture: CUDA_TEXTURE_DESC| {
        cu!(cuTexObjectCreate(&mut 0, &resource, &texture, null()))
    };
    let linear = |pointer: u64, format: u64, size: u64| {
        let mut resource = CUDA_RESOURCE_DESC { resType: RESOURCE_LINEAR, ..Default::default() };
        resource.res[..3].copy_from_slice(&[pointer, format, size]);
        resource
    };
    let pitched = |pitch: u64, width: u64, height: u64| {
        let mut resource = CUDA_RESOURCE_DESC { resType: RESOURCE_PITCH2D, ..Default::default() };
        resource.res[..5].copy_from_slice(&[memory, 3 | 1 << 32, width, height, pitch]);
        resource
    };
    let one = 3 | 1 << 32;
    assert_eq!(create(linear(memory, one, 4096), plain()), CUresult::SUCCESS);
    assert_eq!(create(pitched(64, 16, 64), plain()), CUresult::SUCCESS);
    for bad in [
        linear(memory, one, 4097 + 511),
        linear(memory, one, 0),
        linear(memory, one, u64::MAX),
        linear(memory + 4, one, 64),
        linear(0, one, 64),
        linear(memory, 3 | 3 << 32, 64),
        linear(memory, 99 | 1 << 32, 64),
        pitched(64, 17, 2),
        pitched(65, 16, 2),
        pitched(64, 16, 65),
        pitched(64, 16, u64::MAX),
        pitched(64, u64::MAX, 2),
        CUDA_RESOURCE_DESC { resType: 9, ..of_array(array) },
        CUDA_RESOURCE_DESC { flags: 1, ..of_array(array) },
    ] {
        assert_eq!(create(bad, plain()), CUresult::INVALID_VALUE, "{bad:?}");
    }
    assert_eq!(create(of_array(null_mut()), plain()), CUresult::INVALID_HANDLE);
    for bad in [
        CUDA_TEXTURE_DESC { addressMode: [4; 3], ..plain() },
        CUDA_TEXTURE_DESC { filterMode: 2, ..plain() },
        CUDA_TEXTURE_DESC { filterMode: 1, ..plain() },
        CUDA_TEXTURE_DESC { flags: 1 << 20, ..plain() },
    ] {
        assert_eq!(create(of_array(array), bad), CUresult::INVALID_VALUE, "{bad:?}");
    }
    assert_eq!(cu!(cuSurfObjectCreate(&mut 0, &of_array(array))), CUresult::INVALID_VALUE);
    let mut surface = 0;
    ok!(cuSurfObjectCreate(&mut surface, &of_array(line(2))));
    assert_eq!(cu!(cuTexObjectDestroy(surface)), CUresult::INVALID_VALUE);
    ok!(cuSurfObjectDestroy(surface));
    assert_eq!(cu!(cuSurfObjectDestroy(surface)), CUresult::INVALID_VALUE);
}

const REFERENCE: &str = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .global .texref t;\n\
    .visible .entry fetch(.param .u64 out) { .reg .b64 %rd<3>; .reg .b32 %r<6>;\n\
    ld.param.u64 %rd2, [out]; mov.b32 %r1, 1;\n\
    tex.1d.v4.u32.s32 {%r2, %r3, %r4, %r5}, [t, {%r1}]; st.global.u32 [%rd2], %r2; ret; }";

#[test]
fn references_are_bound_between_launches_and_end_with_their_module() {
    let _context = Context::new();
    let text = CString::new(REFERENCE).expect("no NUL");
    let loaded = load(text.as_bytes_with_nul());
    assert_eq!(loaded.result, CUresult::SUCCESS, "{}", loaded.error);
    let (mut reference, mut again) = (null_mut(), null_mut());
    ok!(cuModuleGetTexRef(&mut reference, loaded.module, c"t".as_ptr()));
    ok!(cuModuleGetTexRef(&mut again, loaded.module, c"t".as_ptr()));
    assert_eq!(reference, again);
    assert_eq!(cu!(cuModuleGetSurfRef(&mut null_mut(), loaded.module, c"t".as_ptr())), CUresult::NOT_FOUND);
    assert_eq!(cu!(cuModuleGetGlobal_v2(&mut 0, &mut 0, loaded.module, c"t".as_ptr())), CUresult::NOT_FOUND);
    let (first, second, out) = (line(0), line(0), alloc(8));
    ok!(cuMemcpyHtoA_v2(second, 0, [1_u32, 2, 3, 4].as_ptr().cast(), 16));
    ok!(cuTexRefSetFlags(reference, 1));
    assert_eq!(cu!(cuTexRefSetArray(reference, first, 0)), CUresult::INVALID_VALUE, "the flag is missing");
    let fetch = function(loaded.module, "fetch");
    for (array, place) in [(first, out), (second, out + 4)] {
        ok!(cuTexRefSetArray(reference, array, 1));
        assert_eq!(launch(fetch, 1, 1, null_mut(), &[place]), CUresult::SUCCESS);
    }
    assert_eq!(download::<u32>(out, 2), [101, 2]);
    assert_eq!(cu!(cuTexRefDestroy(reference)), CUresult::INVALID_HANDLE, "it is the module's");
    for bad in [cu!(cuTexRefSetAddressMode(reference, 3, 0)), cu!(cuTexRefSetFilterMode(reference, 2))] {
        assert_eq!(bad, CUresult::INVALID_VALUE);
    }
    ok!(cuModuleUnload(loaded.module));
    assert_eq!(cu!(cuTexRefSetFlags(reference, 1)), CUresult::INVALID_HANDLE);
}
