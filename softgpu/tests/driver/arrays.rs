use crate::kit::*;
use std::ptr::null_mut;
use vgpu_protocol::cuda::{
    CUarray, CUmipmappedArray, CUDA_ARRAY3D_DESCRIPTOR, CUDA_ARRAY_DESCRIPTOR, CUDA_MEMCPY3D, MEMORYTYPE_ARRAY,
    MEMORYTYPE_HOST,
};

const U32: u32 = 3;

fn array(width: usize, height: usize) -> CUarray {
    let shape = CUDA_ARRAY_DESCRIPTOR { Width: width, Height: height, Format: U32, NumChannels: 1 };
    let mut array = null_mut();
    ok!(cuArrayCreate_v2(&mut array, &shape));
    array
}

fn to_array(array: CUarray, from: &[u32], width: usize, height: usize) -> CUDA_MEMCPY3D {
    CUDA_MEMCPY3D {
        srcXInBytes: 0,
        srcY: 0,
        srcZ: 0,
        srcLOD: 0,
        srcMemoryType: MEMORYTYPE_HOST,
        srcHost: from.as_ptr().cast(),
        srcDevice: 0,
        srcArray: null_mut(),
        srcContext: null_mut(),
        srcPitch: width * 4,
        srcHeight: height,
        dstXInBytes: 0,
        dstY: 0,
        dstZ: 0,
        dstLOD: 0,
        dstMemoryType: MEMORYTYPE_ARRAY,
        dstHost: null_mut(),
        dstDevice: 0,
        dstArray: array,
        dstContext: null_mut(),
        dstPitch: 0,
        dstHeight: 0,
        WidthInBytes: width * 4,
        Height: height,
        Depth: 1,
    }
}

#[test]
fn copies_that_leave_their_memory_are_refused_at_the_call() {
    let _context = Context::new();
    let array = array(8, 8);
    let values = [7; 64];
    let good = to_array(array, &values, 8, 8);
    ok!(cuMemcpy3D_v2(&good));
    let bad: [fn(&mut CUDA_MEMCPY3D); 9] = [
        |c| c.dstXInBytes = 4,
        |c| c.dstXInBytes = usize::MAX,
        |c| c.WidthInBytes = usize::MAX,
        |c| (c.WidthInBytes, c.dstXInBytes) = (4, 2),
        |c| c.dstY = 1,
        |c| c.Height = usize::MAX,
        |c| c.dstZ = 1,
        |c| c.srcPitch = usize::MAX,
        |c| c.srcHost = std::ptr::null(),
    ];
    for (i, change) in bad.iter().enumerate() {
        let mut copy = good;
        change(&mut copy);
        assert_eq!(cu!(cuMemcpy3D_v2(&copy)), CUresult::INVALID_VALUE, "{i}");
    }
    for handle in [0, 1, u64::MAX, array as u64 ^ 1 << 32, alloc(64)] {
        let copy = CUDA_MEMCPY3D { dstArray: handle as CUarray, ..good };
        assert_eq!(cu!(cuMemcpy3D_v2(&copy)), CUresult::INVALID_HANDLE, "{handle:#x}");
    }
    ok!(cuArrayDestroy(array));
    assert_eq!(cu!(cuMemcpy3D_v2(&good)), CUresult::INVALID_HANDLE);
    assert_eq!(cu!(cuArrayDestroy(array)), CUresult::INVALID_HANDLE);
}

#[test]
fn pageable_sources_may_change_and_arrays_may_go_while_a_copy_waits() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    let array = array(16, 2);
    let mut values: Vec<u32> = (0..32).collect();
    gate.hold(module, stream);
    ok!(cuMemcpy3DAsync_v2(&to_array(array, &values, 16, 2), stream));
    values.fill(0);
    ok!(cuMemcpyAtoHAsync_v2(gate.word(1) as *mut _, array, 8, 4, stream));
    ok!(cuArrayDestroy(array));
    gate.open();
    ok!(cuStreamSynchronize(stream));
    assert_eq!(gate.value(1), 2);
}

#[test]
fn memory_of_arrays_comes_back() {
    let context = Context::new();
    let free = || {
        let (mut free, mut total) = (0, 0);
        ok!(cuMemGetInfo_v2(&mut free, &mut total));
        free
    };
    let before = free();
    let shape =
        CUDA_ARRAY3D_DESCRIPTOR { Width: 100, Height: 60, Depth: 3, Format: U32, NumChannels: 4, ..Default::default() };
    let mut mipmapped: CUmipmappedArray = null_mut();
    ok!(cuMipmappedArrayCreate(&mut mipmapped, &shape, 100));
    let (mut level, mut again) = (null_mut(), null_mut());
    ok!(cuMipmappedArrayGetLevel(&mut level, mipmapped, 6));
    ok!(cuMipmappedArrayGetLevel(&mut again, mipmapped, 6));
    assert_eq!(level, again);
    assert_eq!(cu!(cuMipmappedArrayGetLevel(&mut again, mipmapped, 7)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuArrayDestroy(level)), CUresult::INVALID_HANDLE);
    assert!(free() + 100 * 60 * 3 * 16 <= before);
    ok!(cuMipmappedArrayDestroy(mipmapped));
    assert_eq!(free(), before);
    let mut descriptor = CUDA_ARRAY_DESCRIPTOR::default();
    assert_eq!(cu!(cuArrayGetDescriptor_v2(&mut descriptor, level)), CUresult::INVALID_HANDLE);
    let left = array(64, 64);
    drop(context);
    let _context = Context::new();
    assert_eq!(cu!(cuArrayGetDescriptor_v2(&mut descriptor, left)), CUresult::INVALID_HANDLE);
    assert_eq!(free(), before);
}

#[test]
fn arrays_that_cannot_be_are_refused() {
    let _context = Context::new();
    let good = CUDA_ARRAY3D_DESCRIPTOR { Width: 8, Height: 8, Format: U32, NumChannels: 1, ..Default::default() };
    let create = |shape: CUDA_ARRAY3D_DESCRIPTOR| cu!(cuArray3DCreate_v2(&mut null_mut(), &shape));
    for bad in [
        CUDA_ARRAY3D_DESCRIPTOR { Width: usize::MAX, ..good },
        CUDA_ARRAY3D_DESCRIPTOR { Height: usize::MAX, ..good },
        CUDA_ARRAY3D_DESCRIPTOR { Depth: usize::MAX, ..good },
        CUDA_ARRAY3D_DESCRIPTOR { Height: 0, Depth: 4, ..good },
        CUDA_ARRAY3D_DESCRIPTOR { Format: 4, ..good },
        CUDA_ARRAY3D_DESCRIPTOR { NumChannels: 0, ..good },
        CUDA_ARRAY3D_DESCRIPTOR { Flags: 1 << 31, ..good },
    ] {
        assert_eq!(create(bad), CUresult::INVALID_VALUE, "{bad:?}");
    }
    assert_eq!(create(CUDA_ARRAY3D_DESCRIPTOR { Flags: 0x40, ..good }), CUresult::NOT_SUPPORTED);
    assert_eq!(create(CUDA_ARRAY3D_DESCRIPTOR { Format: 0xb0, ..good }), CUresult::NOT_SUPPORTED);
    let huge = CUDA_ARRAY3D_DESCRIPTOR { Width: 16384, Height: 16384, Depth: 16384, NumChannels: 4, ..good };
    assert_eq!(create(huge), CUresult::OUT_OF_MEMORY);
}
