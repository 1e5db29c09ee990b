use crate::kit::*;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Mutex;

const LEGACY: CUstream = 1 as CUstream;
const PER_THREAD: CUstream = 2 as CUstream;

/// Sets a word of the gate's memory in stream order.
fn set(gate: &Gate, word: usize, value: u32, stream: CUstream) {
    ok!(cuMemsetD32Async(gate.word(word), value, 1, stream));
}

#[test]
fn streams_keep_their_order_and_do_not_block_the_caller() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    gate.hold(module, stream);
    for i in 0..500 {
        set(&gate, 1, i, stream);
    }
    assert_eq!(cu!(cuStreamQuery(stream)), CUresult::NOT_READY);
    assert_eq!(gate.value(1), 0);
    gate.open();
    ok!(cuStreamSynchronize(stream));
    ok!(cuStreamQuery(stream));
    assert_eq!(gate.value(1), 499);
}

#[test]
fn the_default_stream_waits_for_blocking_streams_and_they_for_it() {
    let _context = Context::new();
    let (module, gate) = (kernels(), Gate::new());
    let (first, second) = (stream(0), stream(0));
    gate.hold(module, first);
    set(&gate, 1, 1, null_mut());
    set(&gate, 2, 2, second);
    for stream in [first, second, null_mut(), LEGACY] {
        assert_eq!(cu!(cuStreamQuery(stream)), CUresult::NOT_READY);
    }
    assert_eq!([gate.value(1), gate.value(2)], [0, 0]);
    gate.open();
    ok!(cuStreamSynchronize(second));
    assert_eq!([gate.value(1), gate.value(2)], [1, 2]);
}

#[test]
fn non_blocking_streams_are_independent_of_the_default_stream() {
    let _context = Context::new();
    let (module, gate, free) = (kernels(), Gate::new(), stream(1));
    gate.hold(module, null_mut());
    set(&gate, 1, 1, free);
    ok!(cuStreamSynchronize(free));
    assert_eq!(gate.value(1), 1);
    assert_eq!(cu!(cuStreamQuery(null_mut())), CUresult::NOT_READY);
    gate.open();
    ok!(cuCtxSynchronize());
    ok!(cuStreamQuery(null_mut()));
}

#[test]
fn synchronising_the_default_stream_waits_for_blocking_streams() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(0));
    gate.hold(module, stream);
    set(&gate, 1, 1, stream);
    std::thread::scope(|scope| {
        scope.spawn(|| gate.open());
        ok!(cuStreamSynchronize(null_mut()));
    });
    assert_eq!(gate.value(1), 1);
}

#[test]
fn each_thread_has_its_own_default_stream() {
    let context = Context::new();
    let (module, gate) = (kernels(), Gate::new());
    gate.hold(module, PER_THREAD);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            context.enter();
            set(&gate, 1, 1, PER_THREAD);
            ok!(cuStreamSynchronize(PER_THREAD));
        });
    });
    assert_eq!(gate.value(1), 1);
    assert_eq!(cu!(cuStreamQuery(PER_THREAD)), CUresult::NOT_READY);
    gate.open();
    ok!(cuStreamSynchronize(PER_THREAD));
}

#[test]
fn pageable_copies_take_the_source_at_the_call() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    let address = alloc(64);
    gate.hold(module, stream);
    let mut source = [1_u32; 16];
    ok!(cuMemcpyHtoDAsync_v2(address, source.as_ptr().cast(), 64, stream));
    source.fill(2);
    gate.open();
    let mut result = [0_u32; 16];
    ok!(cuMemcpyDtoHAsync_v2(result.as_mut_ptr().cast(), address, 64, stream));
    assert_eq!(result, [1; 16]);
}

#[test]
fn many_pageable_copies_are_bounded_and_arrive() {
    const LEN: usize = 1 << 20;
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    let address = alloc(2 * LEN);
    gate.hold(module, stream);
    std::thread::scope(|scope| {
        // The copies exceed what is staged at a time, so the last ones wait for the gate.
        scope.spawn(|| gate.open());
        for i in 0..100 {
            let source = vec![i as u8; LEN];
            ok!(cuMemcpyHtoDAsync_v2(address, source.as_ptr().cast(), LEN, stream));
        }
        let source = vec![100_u8; 2 * LEN];
        ok!(cuMemcpyHtoDAsync_v2(address, source.as_ptr().cast(), 2 * LEN, stream));
    });
    assert!(download::<u8>(address, 2 * LEN).iter().all(|byte| *byte == 100));
}

#[test]
fn pinned_copies_take_the_source_when_their_turn_comes() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    let address = alloc(4);
    gate.hold(module, stream);
    ok!(cuMemcpyHtoDAsync_v2(address, gate.word(1) as *const c_void, 4, stream));
    ok!(cuMemsetD32_v2(gate.word(1), 9, 1));
    gate.open();
    ok!(cuStreamSynchronize(stream));
    assert_eq!(download::<u32>(address, 1), [9]);
}

#[test]
fn host_functions_run_in_order_on_another_thread() {
    static CALLS: Mutex<Vec<(usize, std::thread::ThreadId)>> = Mutex::new(Vec::new());
    unsafe extern "C" fn note(argument: *mut c_void) {
        CALLS.lock().unwrap().push((argument.addr(), std::thread::current().id()));
    }
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    gate.hold(module, stream);
    for i in 0..10 {
        ok!(cuLaunchHostFunc(stream, Some(note), std::ptr::without_provenance_mut(i)));
    }
    assert_eq!(cu!(cuLaunchHostFunc(stream, None, null_mut())), CUresult::INVALID_VALUE);
    assert!(CALLS.lock().unwrap().is_empty());
    gate.open();
    ok!(cuStreamSynchronize(stream));
    let calls = CALLS.lock().unwrap();
    assert!(calls.iter().map(|call| call.0).eq(0..10));
    assert!(calls.iter().all(|call| call.1 != std::thread::current().id()));
}

#[test]
fn a_destroyed_stream_finishes_its_work() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    gate.hold(module, stream);
    set(&gate, 1, 6, stream);
    ok!(cuStreamDestroy_v2(stream));
    assert_eq!(cu!(cuStreamQuery(stream)), CUresult::INVALID_HANDLE);
    gate.open();
    ok!(cuCtxSynchronize());
    assert_eq!(gate.value(1), 6);
}

#[test]
fn stream_flags_are_checked() {
    let _context = Context::new();
    let mut stream = null_mut();
    assert_eq!(cu!(cuStreamCreate(&mut stream, 2)), CUresult::INVALID_VALUE);
    ok!(cuStreamCreateWithPriority(&mut stream, 1, -5));
    ok!(cuStreamSynchronize(stream));
    let (mut least, mut greatest) = (9, 9);
    ok!(cuCtxGetStreamPriorityRange(&mut least, &mut greatest));
    assert_eq!((least, greatest), (0, -5));
}
