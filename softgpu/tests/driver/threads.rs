use crate::kit::*;
use std::ptr::null_mut;

const THREADS: u32 = 64;
const ROUNDS: u32 = 20;

/// One thread's work: everything on a stream of its own, results checked each round.
fn work(add: CUfunction, seed: u32) {
    const N: usize = 300;
    let (stream, done) = (stream(seed % 2), event(0));
    for round in 0..ROUNDS {
        let [a, b, c] = [0; 3].map(|_| alloc(4 * N));
        let value = (seed * ROUNDS + round) as f32;
        ok!(cuMemcpyHtoDAsync_v2(a, [value; N].as_ptr().cast(), 4 * N, stream));
        ok!(cuMemsetD32Async(b, 1.0_f32.to_bits(), N, stream));
        assert_eq!(launch(add, 3, 100, stream, &[a, b, c, N as u64]), CUresult::SUCCESS);
        ok!(cuEventRecord(done, stream));
        ok!(cuEventSynchronize(done));
        let mut sums = [0.0_f32; N];
        ok!(cuMemcpyDtoHAsync_v2(sums.as_mut_ptr().cast(), c, 4 * N, stream));
        assert_eq!(sums, [value + 1.0; N]);
        ok!(cuMemFree_v2(a));
        ok!(cuMemFreeAsync(b, stream));
        ok!(cuMemFree_v2(c));
    }
    ok!(cuEventDestroy_v2(done));
    ok!(cuStreamDestroy_v2(stream));
}

#[test]
fn many_threads_share_a_context() {
    let context = Context::new();
    let add = function(kernels(), "vectorAdd") as u64;
    std::thread::scope(|scope| {
        for seed in 0..THREADS {
            let context = &context;
            scope.spawn(move || {
                context.enter();
                work(add as CUfunction, seed);
            });
        }
    });
    ok!(cuCtxSynchronize());
}

#[test]
fn threads_create_and_destroy_contexts_beside_each_other() {
    std::thread::scope(|scope| {
        for seed in 0..8 {
            scope.spawn(move || {
                for _ in 0..5 {
                    let _context = Context::new();
                    let module = kernels();
                    assert_eq!(launch(function(module, "endless"), 1, 32, stream(1), &[]), CUresult::SUCCESS);
                    let address = alloc(4096);
                    ok!(cuMemsetD32Async(address, seed, 1024, stream(1)));
                    assert_eq!(launch(function(module, "empty"), 1, 32, null_mut(), &[]), CUresult::SUCCESS);
                }
            });
        }
    });
}
