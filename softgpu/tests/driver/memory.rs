use crate::kit::*;
use std::ptr::null_mut;

#[test]
fn copies_and_fills_reach_what_they_name() {
    let _context = Context::new();
    let (a, b) = (alloc(4096), alloc(4096));
    upload(a, &(0..1024).collect::<Vec<u32>>());
    ok!(cuMemcpyDtoD_v2(b, a + 4, 4092));
    ok!(cuMemsetD32_v2(b + 8, 7, 2));
    ok!(cuMemsetD16_v2(b + 16, 0x0102, 2));
    ok!(cuMemsetD8_v2(b + 20, 9, 3));
    assert_eq!(download::<u32>(b, 7), [1, 2, 7, 7, 0x0102_0102, 0x0009_0909, 7]);
    assert_eq!(download::<u32>(b + 4088, 2), [1023, 0]);
}

#[test]
fn rows_are_filled_and_gaps_are_not() {
    let _context = Context::new();
    let (mut base, mut pitch) = (0, 0);
    ok!(cuMemAllocPitch_v2(&mut base, &mut pitch, 12, 3, 4));
    assert_eq!(pitch, 512);
    ok!(cuMemsetD2D32_v2(base, pitch, 5, 3, 3));
    let row = |y: u64| download::<u32>(base + 512 * y, 4);
    assert_eq!([row(0), row(1), row(2)], [[5, 5, 5, 0]; 3]);
    ok!(cuMemsetD2D8Async(base, 16, 1, 4, 2, null_mut()));
    assert_eq!(download::<u8>(base, 20)[..18], [1, 1, 1, 1, 5, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    for (pitch, width, height) in [(8, 9, 2), (512, 1, usize::MAX), (usize::MAX, 1, 3), (512, 513 << 20, 1)] {
        assert_eq!(cu!(cuMemsetD2D8_v2(base, pitch, 0, width, height)), CUresult::INVALID_VALUE);
    }
}

#[test]
fn wrong_ranges_are_refused_at_the_call() {
    let _context = Context::new();
    let address = alloc(512);
    let mut host = [0_u8; 1024];
    let host = host.as_mut_ptr().cast();
    for bad in [0, 1, address - 1, address + 1, u64::MAX - 3, host as u64] {
        assert_eq!(cu!(cuMemcpyHtoD_v2(bad, host, 512)), CUresult::INVALID_VALUE, "{bad:#x}");
        assert_eq!(cu!(cuMemcpyDtoH_v2(host, bad, 512)), CUresult::INVALID_VALUE, "{bad:#x}");
        assert_eq!(cu!(cuMemcpyDtoD_v2(bad, address, 512)), CUresult::INVALID_VALUE, "{bad:#x}");
        assert_eq!(cu!(cuMemcpyDtoDAsync_v2(address, bad, 512, null_mut())), CUresult::INVALID_VALUE, "{bad:#x}");
        assert_eq!(cu!(cuMemsetD8_v2(bad, 0, 512)), CUresult::INVALID_VALUE, "{bad:#x}");
    }
    assert_eq!(cu!(cuMemcpyHtoD_v2(address, std::ptr::null(), 4)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuMemsetD32_v2(address + 2, 0, 1)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuMemsetD32_v2(address, 0, usize::MAX)), CUresult::INVALID_VALUE);
    ok!(cuMemcpyHtoD_v2(address, std::ptr::null(), 0));
    ok!(cuCtxSynchronize());
}

#[test]
fn allocation_fails_with_codes_and_gives_back_what_is_freed() {
    let _context = Context::new();
    let mut address = 0;
    assert_eq!(cu!(cuMemAlloc_v2(&mut address, 0)), CUresult::INVALID_VALUE);
    for size in [MEMORY as usize + 1, usize::MAX, usize::MAX - 511] {
        assert_eq!(cu!(cuMemAlloc_v2(&mut address, size)), CUresult::OUT_OF_MEMORY);
    }
    assert_eq!(cu!(cuMemAllocPitch_v2(&mut address, &mut 0, usize::MAX, 2, 4)), CUresult::INVALID_VALUE);
    for _ in 0..20 {
        let address = alloc(MEMORY as usize / 4);
        ok!(cuMemFree_v2(address));
    }
    let kept = alloc(1000);
    assert_eq!(cu!(cuMemFree_v2(kept + 4)), CUresult::INVALID_VALUE);
    let (mut free, mut total) = (0, 0);
    ok!(cuMemGetInfo_v2(&mut free, &mut total));
    assert!(free < total && total as u64 == MEMORY);
}

#[test]
fn freeing_waits_for_work_in_flight_but_not_the_caller() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    let address = alloc(4096);
    gate.hold(module, stream);
    ok!(cuMemsetD32Async(address, 3, 1024, stream));
    ok!(cuMemcpyDtoHAsync_v2(gate.word(1) as *mut _, address, 4, stream));
    ok!(cuMemFree_v2(address));
    assert_eq!(cu!(cuMemFree_v2(address)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuMemsetD8_v2(address, 0, 1)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuMemGetAddressRange_v2(null_mut(), null_mut(), address)), CUresult::NOT_FOUND);
    assert_eq!(gate.value(1), 0);
    gate.open();
    ok!(cuStreamSynchronize(stream));
    assert_eq!(gate.value(1), 3);
}

#[test]
fn stream_ordered_allocations_live_until_their_place_in_the_stream() {
    let _context = Context::new();
    let (module, gate, stream) = (kernels(), Gate::new(), stream(1));
    gate.hold(module, stream);
    let mut address = 0;
    ok!(cuMemAllocAsync(&mut address, 4096, stream));
    ok!(cuMemsetD32Async(address, 11, 1024, stream));
    ok!(cuMemcpyDtoHAsync_v2(gate.word(1) as *mut _, address, 4, stream));
    ok!(cuMemFreeAsync(address, stream));
    assert_eq!(cu!(cuMemFreeAsync(address, stream)), CUresult::INVALID_VALUE);
    gate.open();
    ok!(cuStreamSynchronize(stream));
    assert_eq!(gate.value(1), 11);
}

#[test]
fn address_ranges_and_pointer_attributes() {
    let context = Context::new();
    let (address, gate) = (alloc(1000), Gate::new());
    let (mut base, mut size) = (0, 0);
    ok!(cuMemGetAddressRange_v2(&mut base, &mut size, address + 999));
    assert_eq!((base, size), (address, 1000));
    assert_eq!(cu!(cuMemGetAddressRange_v2(&mut base, &mut size, 16)), CUresult::NOT_FOUND);
    let long = |attribute, pointer| {
        let mut value = 0_u64;
        let result = cu!(cuPointerGetAttribute((&raw mut value).cast(), attribute, pointer));
        (result == CUresult::SUCCESS).then_some(value)
    };
    assert_eq!(long(1, address), Some(context.0 as u64));
    assert_eq!([long(2, address), long(2, gate.word(5))], [Some(2), Some(1)]);
    assert_eq!([long(3, address + 8), long(4, address)], [Some(address + 8), None]);
    assert_eq!([long(3, gate.word(5)), long(4, gate.word(5))], [Some(gate.word(5)); 2]);
    assert_eq!([long(11, address + 8), long(12, address + 8)], [Some(address), Some(1000)]);
    assert_ne!(long(7, address), long(7, alloc(8)));
    assert_eq!(long(8, address), Some(0));
    assert_eq!([long(2, 64), long(99, address)], [None, None]);
    assert_eq!(cu!(cuPointerGetAttribute(null_mut(), 2, address)), CUresult::INVALID_VALUE);
}

#[test]
fn module_variables_are_device_memory() {
    let _context = Context::new();
    let module = kernels();
    let (mut address, mut size) = (0, 0);
    ok!(cuModuleGetGlobal_v2(&mut address, &mut size, module, c"counter".as_ptr()));
    assert_eq!((size, download::<u32>(address, 1)[0]), (4, 41));
    ok!(cuModuleGetGlobal_v2(null_mut(), &mut size, module, c"table".as_ptr()));
    assert_eq!(size, 64);
    let mut base = 0;
    ok!(cuMemGetAddressRange_v2(&mut base, &mut size, address + 3));
    assert_eq!((base, size), (address, 4));
    assert_eq!(cu!(cuModuleGetGlobal_v2(&mut address, null_mut(), module, c"none".as_ptr())), CUresult::NOT_FOUND);
}

#[test]
fn registered_memory_is_registered_once() {
    let _context = Context::new();
    let gate = Gate::new();
    let word = gate.word(0) as *mut std::ffi::c_void;
    assert_eq!(cu!(cuMemHostRegister_v2(word, 64, 0)), CUresult::HOST_MEMORY_ALREADY_REGISTERED);
    assert_eq!(cu!(cuMemHostRegister_v2(word, 0, 0)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuMemHostRegister_v2(null_mut(), 64, 0)), CUresult::INVALID_VALUE);
    assert_eq!(cu!(cuMemHostRegister_v2(word, 64, 4)), CUresult::INVALID_VALUE);
    let other = gate.word(1) as *mut std::ffi::c_void;
    assert_eq!(cu!(cuMemHostUnregister(other)), CUresult::HOST_MEMORY_NOT_REGISTERED);
}

#[test]
fn portable_registrations_outlive_contexts() {
    let gate = {
        let _context = Context::new();
        Gate::new()
    };
    let _context = Context::new();
    ok!(cuMemsetD32_v2(gate.word(1), 5, 1));
    ok!(cuCtxSynchronize());
    assert_eq!(gate.value(1), 5);
}
