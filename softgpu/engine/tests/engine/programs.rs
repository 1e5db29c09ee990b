//! Whole programs as nvcc compiles them.

use crate::device::{Arg, Device};

const BASIC: &str = include_str!("../ptx/basic.ptx");

#[test]
fn vector_add() {
    let d = Device::new();
    let n = 10_000u32;
    let a: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let b: Vec<f32> = (0..n).map(|i| 0.5 * i as f32).collect();
    let (pa, pb, pc) = (d.floats(&a), d.floats(&b), d.floats(&vec![0.0; n as usize]));
    let program = d.load(BASIC);
    let args = [Arg::U64(pa), Arg::U64(pb), Arg::U64(pc), Arg::U32(n)];
    d.launch(&program, "vectorAdd", ([n.div_ceil(256), 1, 1], [256, 1, 1]), &args).unwrap();
    let c = d.read_floats(pc, n as usize);
    for i in 0..n as usize {
        assert_eq!(c[i], a[i] + b[i], "element {i}");
    }
}

#[test]
fn tiled_matrix_product() {
    let d = Device::new();
    let n = 64usize;
    let a: Vec<f32> = (0..n * n).map(|i| (i % 7) as f32).collect();
    let b: Vec<f32> = (0..n * n).map(|i| (i % 5) as f32 - 2.0).collect();
    let (pa, pb, pc) = (d.floats(&a), d.floats(&b), d.floats(&vec![0.0; n * n]));
    let program = d.load(BASIC);
    let args = [Arg::U64(pa), Arg::U64(pb), Arg::U64(pc), Arg::U32(n as u32)];
    d.launch(&program, "matmul", ([4, 4, 1], [16, 16, 1]), &args).unwrap();
    let c = d.read_floats(pc, n * n);
    for (row, col) in (0..n).flat_map(|r| (0..n).map(move |c| (r, c))) {
        let expected: f32 = (0..n).map(|k| a[row * n + k] * b[k * n + col]).sum();
        assert_eq!(c[row * n + col], expected, "element {row},{col}");
    }
}
