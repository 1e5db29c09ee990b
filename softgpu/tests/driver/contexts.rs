use crate::kit::*;
use std::ptr::null_mut;

fn current() -> CUcontext {
    let mut context = null_mut();
    ok!(cuCtxGetCurrent(&mut context));
    context
}

#[test]
fn created_contexts_form_a_stack() {
    let outer = Context::new();
    let inner = Context::new();
    assert_eq!(current(), inner.0);
    drop(inner);
    assert_eq!(current(), outer.0);
    ok!(cuCtxSetCurrent(null_mut()));
    assert_eq!(current(), null_mut());
    assert_eq!(cu!(cuCtxSynchronize()), CUresult::INVALID_CONTEXT);
    assert_eq!(cu!(cuMemFree_v2(8)), CUresult::INVALID_CONTEXT);
    assert_eq!(cu!(cuCtxSetCurrent(7 as CUcontext)), CUresult::INVALID_CONTEXT);
}

#[test]
fn the_current_context_belongs_to_the_thread() {
    let context = Context::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            assert_eq!(current(), null_mut());
            context.enter();
            assert_eq!(current(), context.0);
        });
    });
    assert_eq!(current(), context.0);
}

#[test]
fn the_primary_context_counts_its_users() {
    let (mut first, mut second) = (null_mut(), null_mut());
    ok!(cuDevicePrimaryCtxRetain(&mut first, 0));
    ok!(cuDevicePrimaryCtxRetain(&mut second, 0));
    assert_eq!(first, second);
    assert_eq!(cu!(cuCtxDestroy_v2(first)), CUresult::INVALID_CONTEXT);
    ok!(cuCtxSetCurrent(first));
    ok!(cuDevicePrimaryCtxRelease_v2(0));
    ok!(cuCtxSynchronize());
    ok!(cuDevicePrimaryCtxRelease_v2(0));
    assert_eq!(cu!(cuCtxSynchronize()), CUresult::CONTEXT_IS_DESTROYED);
    assert_eq!(cu!(cuDevicePrimaryCtxRelease_v2(0)), CUresult::INVALID_CONTEXT);
    ok!(cuDevicePrimaryCtxRetain(&mut first, 0));
    ok!(cuCtxSetCurrent(first));
    ok!(cuCtxSynchronize());
    ok!(cuDevicePrimaryCtxReset_v2(0));
    assert_eq!(cu!(cuCtxSynchronize()), CUresult::CONTEXT_IS_DESTROYED);
}

#[test]
fn destroying_a_context_stops_its_kernels_and_frees_its_objects() {
    let context = Context::new();
    let (module, stream) = (kernels(), stream(1));
    let kernel = function(module, "endless");
    for _ in 0..3 {
        assert_eq!(launch(kernel, 4, 64, stream, &[]), CUresult::SUCCESS);
    }
    assert_eq!(cu!(cuStreamQuery(stream)), CUresult::NOT_READY);
    let (entered, wait) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn({
        let context = context.0 as u64;
        move || {
            ok!(cuCtxSetCurrent(context as CUcontext));
            entered.send(()).unwrap();
            cu!(cuCtxSynchronize())
        }
    });
    wait.recv().unwrap();
    ok!(cuCtxDestroy_v2(context.0));
    assert_eq!(waiter.join().unwrap(), CUresult::CONTEXT_IS_DESTROYED);
    assert_eq!(cu!(cuStreamQuery(stream)), CUresult::INVALID_HANDLE);
    assert_eq!(cu!(cuModuleUnload(module)), CUresult::INVALID_HANDLE);
    let _other = Context::new();
    assert_eq!(launch(kernel, 1, 1, null_mut(), &[]), CUresult::INVALID_HANDLE);
}

#[test]
fn destroying_a_context_frees_its_memory() {
    for _ in 0..20 {
        let _context = Context::new();
        alloc(MEMORY as usize / 4);
    }
}

#[test]
fn a_fault_is_sticky_in_its_context_only() {
    let healthy = Context::new();
    let faulty = Context::new();
    let module = kernels();
    let address = alloc(64);
    assert_eq!(launch(function(module, "wild_store"), 2, 32, null_mut(), &[]), CUresult::SUCCESS);
    assert_eq!(cu!(cuCtxSynchronize()), CUresult::ILLEGAL_ADDRESS);
    let mut other = 0;
    assert_eq!(cu!(cuMemAlloc_v2(&mut other, 64)), CUresult::ILLEGAL_ADDRESS);
    assert_eq!(cu!(cuMemsetD8_v2(address, 0, 64)), CUresult::ILLEGAL_ADDRESS);
    assert_eq!(cu!(cuStreamQuery(null_mut())), CUresult::ILLEGAL_ADDRESS);
    healthy.enter();
    upload(alloc(4), &[1_u32]);
    ok!(cuCtxSynchronize());
    drop(faulty);
    let _fresh = Context::new();
    upload(alloc(4), &[1_u32]);
    ok!(cuCtxSynchronize());
}

#[test]
fn limits() {
    let _context = Context::new();
    let limit = |number| {
        let mut value = 0;
        (cu!(cuCtxGetLimit(&mut value, number)), value)
    };
    assert_eq!(limit(0), (CUresult::SUCCESS, 1024));
    assert_eq!(limit(1), (CUresult::SUCCESS, 1 << 20));
    assert_eq!(limit(2), (CUresult::SUCCESS, 8 << 20));
    assert_eq!(limit(4).0, CUresult::UNSUPPORTED_LIMIT);
    assert_eq!([limit(8), limit(9)], [(CUresult::SUCCESS, 0); 2]);
    assert_eq!(cu!(cuCtxSetLimit(8, 1)), CUresult::UNSUPPORTED_LIMIT);
    ok!(cuCtxSetLimit(0, 4096));
    ok!(cuCtxSetLimit(2, 16 << 20));
    assert_eq!([limit(0).1, limit(2).1], [4096, 16 << 20]);
    for number in 0..3 {
        assert_eq!(cu!(cuCtxSetLimit(number, usize::MAX)), CUresult::INVALID_VALUE);
    }
    assert_eq!(cu!(cuCtxSetLimit(-1, 1)), CUresult::UNSUPPORTED_LIMIT);
}
