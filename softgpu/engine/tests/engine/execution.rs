//! Control flow, synchronisation, calls and the device runtime.

use crate::device::{Arg, Device};
use vgpu_engine::engine::FaultKind;

const ENGINE: &str = include_str!("../ptx/engine.ptx");

fn run(kernel: &str, threads: u32) -> Vec<u32> {
    Device::new().run_block(ENGINE, kernel, threads, threads as usize).unwrap()
}

#[test]
fn nested_loops_with_breaks() {
    let out = run("nested_loops", 256);
    for t in 0..256u32 {
        let mut sum = 0;
        for i in 0..t % 7 + 1 {
            for j in 0..20 {
                if (i + j) % (t % 5 + 2) == 0 {
                    continue;
                }
                if j > t % 11 {
                    break;
                }
                sum += i * 31 + j;
            }
            if sum > 400 {
                break;
            }
        }
        assert_eq!(out[t as usize], sum, "thread {t}");
    }
}

#[test]
fn barriers_in_a_loop() {
    let out = run("barrier_in_loop", 256);
    for (t, value) in out.iter().enumerate().take(256) {
        assert_eq!(*value, (t * (t + 1) / 2) as u32);
    }
}

#[test]
fn shuffles_under_divergence() {
    let out = run("divergent_shuffle", 32);
    for t in 0..32u32 {
        let v = if t & 1 == 1 { t ^ 2 } else { (t ^ 4) * 100 };
        assert_eq!(out[t as usize], v + 10_000);
    }
}

#[test]
fn spin_locks_between_lanes() {
    assert_eq!(run("lane_spin_lock", 256)[0], 256);
}

#[test]
fn spin_locks_without_a_loop_flag() {
    let d = Device::new();
    let (program, out) = (d.load(ENGINE), d.words(&[0, 0]));
    d.launch(&program, "naive_spin_lock", ([4, 1, 1], [64, 1, 1]), &[Arg::U64(out)]).unwrap();
    assert_eq!(d.read(out, 2), [0, 256]);
}

#[test]
fn warps_wait_for_each_other() {
    assert_eq!(run("warp_hand_over", 128)[..4], [0, 10, 20, 30]);
}

#[test]
fn blocks_wait_for_later_ones() {
    let mut d = Device::with_threads(1);
    d.cooperative = true;
    let (program, out) = (d.load(ENGINE), d.words(&[0; 8]));
    d.launch(&program, "block_hand_over", ([8, 1, 1], [32, 1, 1]), &[Arg::U64(out)]).unwrap();
    assert_eq!(d.read(out, 8), [1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn cooperative_grids_meet_at_barriers() {
    let mut d = Device::new();
    d.cooperative = true;
    let (program, out) = (d.load(ENGINE), d.words(&[0; 66]));
    let args = [Arg::U64(out), Arg::U32(5)];
    d.launch(&program, "grid_barrier", ([64, 1, 1], [64, 1, 1]), &args).unwrap();
    let words = d.read(out, 66);
    assert_eq!(words[..2], [320, 0]);
    assert!(words[2..].iter().all(|w| *w == 5));
}

#[test]
fn reduction_with_shuffles_and_atomics() {
    let d = Device::new();
    let n = 100_000u32;
    let input: Vec<u32> = (0..n).map(|i| i % 1000).collect();
    let (program, pin, out) = (d.load(ENGINE), d.words(&input), d.words(&[0]));
    let args = [Arg::U64(pin), Arg::U64(out), Arg::U32(n)];
    d.launch(&program, "reduce", ([16, 1, 1], [256, 1, 1]), &args).unwrap();
    assert_eq!(d.read(out, 1)[0], input.iter().sum::<u32>());
}

#[test]
fn histogram_with_contended_atomics() {
    let d = Device::new();
    let n = 50_000u32;
    let input: Vec<u32> = (0..n).map(|i| i * i % 97).collect();
    let (program, pin, out) = (d.load(ENGINE), d.words(&input), d.words(&[0; 64]));
    let args = [Arg::U64(pin), Arg::U64(out), Arg::U32(n)];
    d.launch(&program, "histogram", ([8, 1, 1], [128, 1, 1]), &args).unwrap();
    let mut expected = [0; 64];
    input.iter().for_each(|v| expected[*v as usize % 64] += 1);
    assert_eq!(d.read(out, 64), expected);
}

#[test]
fn float_atomics_lose_nothing() {
    let d = Device::new();
    let (program, f, g) = (d.load(ENGINE), d.words(&[0]), d.words(&[0, 0]));
    d.launch(&program, "float_atomics", ([16, 1, 1], [128, 1, 1]), &[Arg::U64(f), Arg::U64(g)]).unwrap();
    assert_eq!(d.read_floats(f, 1), [2048.0]);
    let double = d.read(g, 2);
    assert_eq!(f64::from_bits(u64::from(double[1]) << 32 | u64::from(double[0])), 1024.0);
}

#[test]
fn recursion_within_the_stack_limit() {
    let fibonacci = [0, 1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89];
    for (t, value) in run("recursion", 64).into_iter().enumerate() {
        assert_eq!(value, fibonacci[t % 12]);
    }
}

#[test]
fn endless_recursion_is_a_stack_overflow() {
    let fault = Device::new().run_block(ENGINE, "stack_overflow", 32, 2).unwrap_err();
    assert_eq!(fault.kind, FaultKind::StackOverflow);
}

#[test]
fn calls_through_pointers_that_differ_between_lanes() {
    for (t, value) in run("function_pointers", 64).into_iter().enumerate() {
        let t = t as u32;
        let expected = [2 * t, t * t, 0u32.wrapping_sub(t)][t as usize % 3];
        assert_eq!(value, expected, "thread {t}");
    }
    let fault = Device::new().run_block(ENGINE, "bad_function_pointer", 1, 1).unwrap_err();
    assert_eq!(fault.kind, FaultKind::InvalidPc);
}

#[test]
fn structs_are_passed_and_returned_by_value() {
    for (t, value) in run("structs_by_value", 64).into_iter().enumerate() {
        assert_eq!(value as usize, (3 + t) % 20 + t);
    }
}

#[test]
fn local_arrays() {
    for (t, value) in run("local_array", 64).into_iter().enumerate() {
        let t = t as u32;
        let expected: u32 = (0..64).map(|i| (i * 7 + t) % 64 * t * (i + 1)).sum();
        assert_eq!(value, expected);
    }
}

#[test]
fn printf_of_several_threads_in_order() {
    let d = Device::new();
    d.run_block(ENGINE, "print", 32, 1).unwrap();
    let text = String::from_utf8(d.printed.into_inner().unwrap()).unwrap();
    assert_eq!(
        text,
        "thread 0 of 32:  0.00 text A 123456789abc\n\
         thread 1 of 32:  1.50 text B 123456789abc\n\
         thread 2 of 32:  3.00 text C 123456789abc\n"
    );
}

#[test]
fn assertions_are_reported_as_cuda_does() {
    let d = Device::new();
    let fault = d.run_block(ENGINE, "assertion", 32, 1).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Assert);
    assert_eq!(fault.thread, [5, 0, 0]);
    let text = String::from_utf8(d.printed.into_inner().unwrap()).unwrap();
    assert!(text.contains("block: [0,0,0], thread: [5,0,0] Assertion `threadIdx.x != 5` failed.\n"), "{text}");
    assert!(text.starts_with("engine.cu:"), "{text}");
}

#[test]
fn device_malloc_and_free() {
    for (t, value) in run("heap", 256).into_iter().enumerate() {
        assert_eq!(value as usize, 16 * t + 120);
    }
}

#[test]
fn dynamic_shared_memory() {
    let mut d = Device::new();
    d.dynamic_shared = 64 * 4;
    let out = d.run_block(ENGINE, "dynamic_shared", 64, 64).unwrap();
    assert!((0..64).all(|t| out[t] == (63 - t as u32) * 3));
    d.dynamic_shared = 32 * 4;
    let fault = d.run_block(ENGINE, "dynamic_shared", 64, 64).unwrap_err();
    assert_eq!(fault.kind, FaultKind::IllegalAddress);
}

#[test]
fn constants_and_initialised_pointers() {
    assert_eq!(run("constants", 4), [11, 21, 31, 41]);
}

#[test]
fn votes_matches_and_reductions() {
    assert!(run("votes", 32).iter().all(|r| *r == 0b111_1101), "{:b}", run("votes", 32)[0]);
}

#[test]
fn groups_of_lanes_with_their_own_masks() {
    for (t, value) in run("tiles", 64).into_iter().enumerate() {
        let first = t / 8 * 8;
        assert_eq!(value as usize, (first..first + 8).sum::<usize>());
    }
}

#[test]
fn named_barriers_and_counting() {
    for (t, value) in run("counted_barrier", 128).into_iter().enumerate() {
        assert_eq!(value as usize, ((t / 32) ^ 1) + 1 + 640);
    }
}

#[test]
fn a_barrier_that_cannot_be_passed_is_a_fault() {
    let fault = Device::new().run_block(ENGINE, "lost_barrier", 64, 1).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Deadlock);
}

#[test]
fn exited_threads_do_not_hold_up_barriers() {
    for (t, value) in run("early_exit", 100).into_iter().enumerate() {
        assert_eq!(value, u32::from(t % 3 != 0));
    }
}

#[test]
fn traps_stop_the_launch() {
    let fault = Device::new().run_block(ENGINE, "trap", 32, 1).unwrap_err();
    assert_eq!((fault.kind, fault.thread), (FaultKind::Trap, [3, 0, 0]));
    assert!(fault.line > 0);
}

#[test]
fn endless_kernels_can_be_cancelled() {
    use std::sync::atomic::Ordering::Relaxed;
    let d = Device::new();
    let (program, out) = (d.load(ENGINE), d.words(&[0]));
    std::thread::scope(|s| {
        let launch = s.spawn(|| d.launch(&program, "endless", ([64, 1, 1], [256, 1, 1]), &[Arg::U64(out)]));
        d.cancel.store(true, Relaxed);
        assert_eq!(launch.join().unwrap().unwrap_err().kind, FaultKind::Cancelled);
    });
}

#[test]
fn memory_can_be_freed_while_an_endless_kernel_runs() {
    let d = Device::new();
    let (program, out, other) = (d.load(ENGINE), d.words(&[0]), d.words(&[0]));
    std::thread::scope(|s| {
        let launch = s.spawn(|| d.launch(&program, "endless", ([4, 1, 1], [32, 1, 1]), &[Arg::U64(out)]));
        d.memory.free(other).unwrap();
        d.memory.write(out, &[1, 0, 0, 0]).unwrap();
        launch.join().unwrap().unwrap();
    });
}

#[test]
fn addresses_of_32_bits_wrap() {
    let source = "\
        .version 8.0\n.target sm_80\n.address_size 64\n\
        .visible .entry k(.param .u64 p) {\n\
        .shared .align 16 .b8 s[512]; .reg .b32 %r<8>; .reg .b64 %rd<2>;\n\
        ld.param.u64 %rd0, [p]; mov.u32 %r0, s; sub.u32 %r1, %r0, 256;\n\
        mov.u32 %r2, 7; st.shared.u32 [%r1+260], %r2; atom.shared.add.u32 %r3, [%r1+260], 2;\n\
        cp.async.ca.shared.global [%r1+256], [%rd0], 4; cp.async.wait_all;\n\
        ld.shared.u32 %r4, [s]; ld.shared.u32 %r5, [s+4];\n\
        st.global.u32 [%rd0+4], %r4; st.global.u32 [%rd0+8], %r5; ret; }\n";
    let d = Device::new();
    let (program, out) = (d.load(source), d.words(&[5, 0, 0]));
    d.launch(&program, "k", ([1; 3], [1, 1, 1]), &[Arg::U64(out)]).unwrap();
    assert_eq!(d.read(out, 3), [5, 5, 9]);
}

#[test]
fn elements_of_arrays_by_their_numbers() {
    let source = "\
        .version 8.0\n.target sm_80\n.address_size 64\n\
        .global .u16 table[4] = {10, 11, 12, 13};\n.global .v2 .u32 pairs[2] = {{20, 21}, {22, 23}};\n\
        .global .u8 rows[2][3] = {{30, 31, 32}, {33, 34, 35}};\n.extern .shared .align 16 .u32 dynamic[];\n\
        .visible .entry k(.param .u64 p) {\n\
        .reg .b64 %p, %a; .reg .b32 %r<8>; .reg .b16 %h;\n\
        .shared .align 8 .f32 tile[16]; .local .align 8 .u64 own[4];\n\
        ld.param.u64 %p, [p];\n\
        mov.u64 %a, table[3]; ld.global.u16 %h, [%a]; cvt.u32.u16 %r0, %h;\n\
        ld.global.u32 %r1, pairs[2];\n\
        ld.global.u8 %r2, rows[4];\n\
        mov.u32 %r3, 40; st.shared.u32 tile[5], %r3; ld.shared.u32 %r3, [tile+20];\n\
        mov.u64 %a, 50; st.local.u64 own[2], %a; ld.local.u32 %r4, [own+16];\n\
        mov.u32 %r5, dynamic[0]; mov.u32 %r6, dynamic; sub.u32 %r5, %r5, %r6;\n\
        st.global.v4.u32 [%p], {%r0, %r1, %r2, %r3}; st.global.v2.u32 [%p+16], {%r4, %r5}; ret; }\n";
    let d = Device::new();
    let (program, out) = (d.load(source), d.words(&[0; 6]));
    d.launch(&program, "k", ([1; 3], [1, 1, 1]), &[Arg::U64(out)]).unwrap();
    assert_eq!(d.read(out, 6), [13, 22, 34, 40, 50, 0]);
}
