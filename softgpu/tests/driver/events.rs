use crate::kit::*;
use std::ptr::null_mut;

#[test]
fn events_follow_their_stream() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    let (start, end) = (event(0), event(0));
    ok!(cuEventQuery(start));
    ok!(cuEventRecord(start, stream));
    ok!(cuEventQuery(start));
    gate.hold(module, stream);
    ok!(cuEventRecordWithFlags(end, stream, 0));
    assert_eq!(cu!(cuEventQuery(end)), CUresult::NOT_READY);
    let mut milliseconds = -1.0;
    assert_eq!(cu!(cuEventElapsedTime(&mut milliseconds, start, end)), CUresult::NOT_READY);
    gate.open();
    ok!(cuEventSynchronize(end));
    ok!(cuEventQuery(end));
    ok!(cuEventElapsedTime_v2(&mut milliseconds, start, end));
    assert!(milliseconds > 0.0, "{milliseconds}");
    ok!(cuEventElapsedTime(&mut milliseconds, end, start));
    assert!(milliseconds < 0.0, "{milliseconds}");
}

#[test]
fn elapsed_time_needs_two_recorded_timed_events() {
    let _context = Context::new();
    let (recorded, fresh, untimed) = (event(0), event(1), event(2));
    ok!(cuEventRecord(recorded, null_mut()));
    ok!(cuEventRecord(untimed, null_mut()));
    let mut milliseconds = 0.0;
    for other in [fresh, untimed] {
        assert_eq!(cu!(cuEventElapsedTime(&mut milliseconds, recorded, other)), CUresult::INVALID_HANDLE);
    }
    ok!(cuEventElapsedTime(&mut milliseconds, recorded, recorded));
    assert_eq!(milliseconds, 0.0);
}

#[test]
fn streams_wait_for_events_of_other_streams() {
    let _context = Context::new();
    let (module, gate, event) = (kernels(), Gate::new(), event(2));
    let (first, second) = (stream(1), stream(1));
    gate.hold(module, first);
    ok!(cuMemsetD32Async(gate.word(1), 1, 1, first));
    ok!(cuEventRecord(event, first));
    ok!(cuStreamWaitEvent(second, event, 0));
    ok!(cuMemcpyDtoDAsync_v2(gate.word(2), gate.word(1), 4, second));
    assert_eq!(cu!(cuStreamQuery(second)), CUresult::NOT_READY);
    ok!(cuEventDestroy_v2(event));
    gate.open();
    ok!(cuStreamSynchronize(second));
    assert_eq!(gate.value(2), 1);
}

#[test]
fn flags_and_contexts_are_checked() {
    let first = Context::new();
    let (mut bad, own) = (null_mut(), event(0));
    assert_eq!(cu!(cuEventCreate(&mut bad, 8)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuEventCreate(&mut bad, 4)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuEventCreate(&mut bad, 6)), CUresult::SUCCESS);
    assert_eq!(cu!(cuEventRecordWithFlags(own, null_mut(), 2)), CUresult::INVALID_VALUE);
    let _second = Context::new();
    assert_eq!(cu!(cuEventRecord(own, null_mut())), CUresult::INVALID_HANDLE);
    drop(first);
    assert_eq!(cu!(cuEventQuery(own)), CUresult::INVALID_HANDLE);
}
