//! Addresses that no kernel may touch.

use crate::device::{Arg, Device};
use vgpu_engine::engine::FaultKind;

const ENGINE: &str = include_str!("../ptx/engine.ptx");

fn random(count: usize) -> Vec<u64> {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// Addresses near every boundary, one in host memory, and random ones.
fn hostile(d: &Device, host: u64) -> Vec<u64> {
    let buffer = d.memory.allocate(512).unwrap();
    let gone = d.memory.allocate(512).unwrap();
    d.memory.free(gone).unwrap();
    let edges = [
        0,
        1,
        4,
        0xfff,
        0x1000,
        host,
        host & !0xfff,
        buffer + 512,
        gone,
        0x0000_7fff_ffff_fffc,
        0x0000_8000_0000_0000,
        1 << 48,
        (1 << 48) + 0xffff_fffc,
        (1 << 48) + (1 << 32),
        (1 << 48) + (2 << 32),
        (1 << 48) + (3 << 32),
        (1 << 48) + (4 << 32),
        0xffff_8000_0000_0000,
        u64::MAX,
        u64::MAX - 3,
        u64::MAX - 15,
        1 << 63,
        buffer | 1,
        buffer | 2,
        0x2000_0000_0000,
        0x2100_0000_0000,
    ];
    edges.into_iter().chain(random(1000)).collect()
}

#[test]
fn wild_addresses_are_faults_and_touch_nothing() {
    let d = Device::with_threads(1);
    let program = d.load(ENGINE);
    let host = vec![0x5a5a_5a5au32; 4096];
    let middle = std::ptr::from_ref(&host[2048]).expose_provenance() as u64;
    let out = d.words(&[0; 4]);
    for address in hostile(&d, middle) {
        for kernel in ["wild_store", "wild_load", "wild_atomic", "wild_vector"] {
            let args = [Arg::U64(out), Arg::U64(address)];
            let fault = d.launch(&program, kernel, ([1; 3], [33, 1, 1]), &args);
            let fault = fault.expect_err(&format!("{kernel} at {address:#x}"));
            assert!(
                matches!(fault.kind, FaultKind::IllegalAddress | FaultKind::MisalignedAddress),
                "{kernel} at {address:#x}: {fault}"
            );
        }
    }
    assert!(host.iter().all(|w| *w == 0x5a5a_5a5a));
}

#[test]
fn lanes_between_two_that_are_within_bounds_may_be_far_outside() {
    let d = Device::with_threads(1);
    let out = d.words(&[0; 64]);
    for (last, block) in [(31u64, [32, 1, 1]), (15, [16, 2, 1])] {
        // So many times this is 5, modulo 2^64.
        let inverse = (0..6).fold(last, |x, _| x.wrapping_mul(2u64.wrapping_sub(last.wrapping_mul(x))));
        let stride = inverse.wrapping_mul(5);
        let source = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out) {{
                .reg .b32 %r<4>; .reg .b64 %d<4>; .reg .pred %p<4>;
                ld.param.u64 %d0, [out]; mov.u32 %r0, %tid.x; mov.u32 %r1, 0;
                cvt.u64.u32 %d1, %r0; mul.lo.u64 %d1, %d1, {stride}; add.u64 %d1, %d1, %d0;
                LOOP:
                setp.ne.u32 %p0, %r0, 0; setp.eq.and.u32 %p0, %r1, 0, %p0; @%p0 bra SKIP;
                st.global.u8 [%d1], %r0;
                SKIP:
                add.u32 %r1, %r1, 1; setp.lt.u32 %p1, %r1, 2; @%p1 bra LOOP;
                ret; }}"
        );
        let fault = d.launch(&d.load(&source), "k", ([1; 3], block), &[Arg::U64(out)]).expect_err("a wild store");
        assert_eq!(fault.kind, FaultKind::IllegalAddress, "{fault}");
    }
}

#[test]
fn indices_beyond_shared_and_local_memory_are_faults() {
    let d = Device::with_threads(1);
    let program = d.load(ENGINE);
    let out = d.words(&[0; 4]);
    for index in [4, 100, 1 << 20, 1 << 30, 1 << 40, u64::MAX / 4, u64::MAX - 1].into_iter().chain(random(300)) {
        for kernel in ["wild_shared", "wild_local"] {
            let args = [Arg::U64(out), Arg::U64(index)];
            // Addresses of shared memory have 32 bits, so an index may wrap to a valid one;
            // it must never leave the array's memory.
            if let Err(fault) = d.launch(&program, kernel, ([1; 3], [1, 1, 1]), &args) {
                assert_eq!(fault.kind, FaultKind::IllegalAddress, "{kernel}[{index:#x}]: {fault}");
            } else {
                assert!((index as u32).wrapping_mul(4) < 64, "{kernel}[{index:#x}] succeeded");
            }
        }
    }
}

#[test]
fn launches_that_do_not_fit_are_refused() {
    let d = Device::with_threads(1);
    let program = d.load(ENGINE);
    let out = d.words(&[0; 4]);
    for shape in [
        ([0, 1, 1], [1; 3]),
        ([1; 3], [1025, 1, 1]),
        ([1; 3], [32, 32, 2]),
        ([1; 3], [1, 0, 1]),
        ([u32::MAX; 3], [1; 3]),
    ] {
        let fault = d.launch(&program, "nested_loops", shape, &[Arg::U64(out)]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidLaunch);
    }
}
