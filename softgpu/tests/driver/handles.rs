use crate::kit::*;
use std::ffi::c_void;
use std::ptr::{null_mut, without_provenance_mut};

/// Numbers that are no handle of any kind, live handles of every kind but `own`, and that of `own`
/// with another index or generation.
fn foreign(all: &[*mut c_void], own: usize) -> Vec<*mut c_void> {
    let others = all.iter().enumerate().filter(|(i, _)| *i != own).map(|(_, handle)| *handle);
    let numbers = [3, 8, 0x7fff_0000_0000, u64::MAX as usize].map(without_provenance_mut);
    let twisted = [all[own].wrapping_byte_add(1 << 24), all[own].wrapping_byte_add(1 << 32)];
    others.chain(numbers).chain(twisted).collect()
}

#[test]
fn foreign_and_invented_handles_are_refused() {
    let context = Context::new();
    let module = kernels();
    let text = std::ffi::CString::new(KERNELS).unwrap();
    let (mut library, mut kernel) = (null_mut(), null_mut());
    let null = null_mut::<*mut std::ffi::c_void>();
    ok!(cuLibraryLoadData(&mut library, text.as_ptr().cast(), null.cast(), null, 0, null.cast(), null, 0));
    ok!(cuLibraryGetKernel(&mut kernel, library, c"empty".as_ptr()));
    let all: [*mut c_void; 7] = [
        context.0.cast(),
        module.cast(),
        library.cast(),
        function(module, "empty").cast(),
        kernel.cast(),
        stream(0).cast(),
        event(0).cast(),
    ];
    let bad = CUresult::INVALID_HANDLE;
    for handle in foreign(&all, 0) {
        assert_eq!(cu!(cuCtxSetCurrent(handle.cast())), CUresult::INVALID_CONTEXT);
        assert_eq!(cu!(cuCtxDestroy_v2(handle.cast())), CUresult::INVALID_CONTEXT);
    }
    for handle in foreign(&all, 1) {
        assert_eq!(cu!(cuModuleUnload(handle.cast())), bad);
        assert_eq!(cu!(cuModuleGetFunction(&mut null_mut(), handle.cast(), c"empty".as_ptr())), bad);
    }
    for handle in foreign(&all, 2) {
        assert_eq!(cu!(cuLibraryUnload(handle.cast())), bad);
        assert_eq!(cu!(cuLibraryGetModule(&mut null_mut(), handle.cast())), bad);
    }
    for handle in foreign(&all, 3).into_iter().filter(|handle| *handle != kernel.cast()) {
        assert_eq!(launch(handle.cast(), 1, 1, null_mut(), &[]), bad);
        assert_eq!(cu!(cuFuncGetAttribute(&mut 0, 0, handle.cast())), bad);
    }
    for handle in foreign(&all, 4) {
        assert_eq!(cu!(cuKernelGetFunction(&mut null_mut(), handle.cast())), bad);
        assert_eq!(cu!(cuKernelGetAttribute(&mut 0, 0, handle.cast(), 0)), bad);
    }
    for handle in foreign(&all, 5) {
        assert_eq!(cu!(cuStreamSynchronize(handle.cast())), bad);
        assert_eq!(cu!(cuStreamDestroy_v2(handle.cast())), bad);
        assert_eq!(cu!(cuMemsetD8Async(0, 0, 0, handle.cast())), bad);
    }
    for handle in foreign(&all, 6) {
        assert_eq!(cu!(cuEventRecord(handle.cast(), null_mut())), bad);
        assert_eq!(cu!(cuEventSynchronize(handle.cast())), bad);
        assert_eq!(cu!(cuEventDestroy_v2(handle.cast())), bad);
    }
    assert_eq!(cu!(cuStreamDestroy_v2(null_mut())), bad);
    ok!(cuCtxSynchronize());
}

#[test]
fn stale_handles_are_refused() {
    let _context = Context::new();
    let (stream, event) = (stream(0), event(0));
    ok!(cuStreamDestroy_v2(stream));
    ok!(cuEventDestroy_v2(event));
    let _reused = (crate::kit::stream(0), crate::kit::event(0));
    assert_eq!(cu!(cuStreamQuery(stream)), CUresult::INVALID_HANDLE);
    assert_eq!(cu!(cuEventQuery(event)), CUresult::INVALID_HANDLE);
}
