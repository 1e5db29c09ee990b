//! Matrix multiplication of a warp, on the registers of all lanes at once.
//!
//! Registers are turned into matrices in memory, multiplied row by row, and turned back. What is summed
//! and in which order: see [`MmaOp`]. Code that executes the IR in another way gives the same bits if it
//! calls [`MmaPlan::run`].

use super::math::fp8::e4m3;
use super::math::half::{from_half, to_half};
use super::math::round::BF16;
use super::math::{wide, NAN_F32};
use crate::ir::{ElementPlace, Fragment, MatrixRole, MatrixType, Mma, MmaOp, Rounding, Sparsity};

/// A register of all lanes; one of 64 bits is two of these, as 32 little-endian words.
pub type Register = [u32; LANES];

const LANES: usize = 32;

/// Where the elements of a fragment go: for each register, element and lane its index in the matrix, all
/// matrices one after the other.
struct Order {
    /// In the order register, element of it, lane.
    index: Vec<u32>,
    registers: usize,
    /// Elements of one matrix.
    len: usize,
}

impl Order {
    fn new(fragment: &Fragment) -> Order {
        let (rows, columns) = fragment.size();
        let (per, bits) = (fragment.ty.per_register(), fragment.ty.bits());
        let registers = fragment.used_registers() as usize;
        let mut index = vec![0; registers * per as usize * LANES];
        for matrix in 0..fragment.matrices() {
            for row in 0..rows {
                for column in 0..columns {
                    let place = fragment.place(matrix, row, column);
                    let at = (place.register * per + place.shift / bits) as usize * LANES + place.lane as usize;
                    index[at] = (matrix * rows + row) * columns + column;
                }
            }
        }
        Order { index, registers, len: (rows * columns) as usize }
    }

    /// For matrices of bits: the index of each word of 32 elements along `k`.
    fn of_bits(fragment: &Fragment) -> Order {
        let (rows, columns) = fragment.size();
        let by_column = fragment.role == MatrixRole::B;
        let (across, k) = if by_column { (columns, rows) } else { (rows, columns) };
        let registers = fragment.used_registers() as usize;
        let mut index = vec![0; registers * LANES];
        for line in 0..across {
            for word in 0..k / 32 {
                let (row, column) = if by_column { (word * 32, line) } else { (line, word * 32) };
                let place = fragment.place(0, row, column);
                index[place.register as usize * LANES + place.lane as usize] =
                    if by_column { word * across + line } else { line * (k / 32) + word };
            }
        }
        Order { index, registers, len: (across * k / 32) as usize }
    }

    /// Puts elements into matrix order.
    fn gather<T: Copy + Default>(&self, registers: &[Register], expand: impl Fn(&[Register], &mut Vec<T>)) -> Vec<T> {
        let mut elements = Vec::with_capacity(self.index.len());
        expand(registers, &mut elements);
        let mut matrix = vec![T::default(); self.index.len()];
        for (element, at) in elements.iter().zip(&self.index) {
            matrix[*at as usize] = *element;
        }
        matrix
    }
}

/// Appends the elements of 32-bit registers: `bits` wide each, converted by `convert`.
#[inline(always)]
fn expand<T>(registers: &[Register], bits: u32, out: &mut Vec<T>, convert: impl Fn(u32) -> T) {
    for register in registers {
        for shift in (0..32).step_by(bits as usize) {
            out.extend(register.iter().map(|word| convert(word >> shift)));
        }
    }
}

fn floats(ty: MatrixType, registers: &[Register], out: &mut Vec<f32>) {
    match ty {
        MatrixType::F16 => expand(registers, 16, out, from_half),
        MatrixType::BF16 => expand(registers, 16, out, |bits| f32::from_bits(bits << 16)),
        MatrixType::E4M3 => expand(registers, 8, out, |bits| e4m3(bits as u8) as f32),
        MatrixType::E5M2 => expand(registers, 8, out, |bits| from_half((bits & 0xff) << 8)),
        MatrixType::Tf32 => expand(registers, 32, out, |bits| f32::from_bits(bits & 0xffff_e000)),
        _ => expand(registers, 32, out, f32::from_bits),
    }
}

fn integers(ty: MatrixType, registers: &[Register], out: &mut Vec<i32>) {
    match ty {
        MatrixType::U4 => expand(registers, 4, out, |bits| (bits & 15) as i32),
        MatrixType::S4 => expand(registers, 4, out, |bits| (bits << 28) as i32 >> 28),
        MatrixType::U8 => expand(registers, 8, out, |bits| i32::from(bits as u8)),
        MatrixType::S8 => expand(registers, 8, out, |bits| i32::from(bits as i8)),
        _ => expand(registers, 32, out, |bits| bits as i32),
    }
}

fn doubles(registers: &[Register], out: &mut Vec<f64>) {
    for pair in registers.chunks_exact(2) {
        for words in pair.as_flattened().chunks_exact(2) {
            out.push(f64::from_bits(u64::from(words[1]) << 32 | u64::from(words[0])));
        }
    }
}

/// `c` plus the products, row by row: `d[i][j] = madd(a[i][k], b[k][j], d[i][j])` for ascending `k`.
#[inline(always)]
fn multiply<T: Copy>((m, n, k): (usize, usize, usize), a: &[T], b: &[T], d: &mut [T], madd: impl Fn(T, T, T) -> T) {
    for i in 0..m {
        let (Some(a), Some(row)) = (a.get(i * k..(i + 1) * k), d.get_mut(i * n..(i + 1) * n)) else { return };
        for (x, line) in a.iter().zip(b.chunks_exact(n)) {
            for (sum, y) in row.iter_mut().zip(line) {
                *sum = madd(*x, *y, *sum);
            }
        }
    }
}

/// Likewise where `a` is sparse: `columns` are those of its elements, the lines of `b` that they meet.
#[inline(always)]
fn multiply_sparse<T: Copy>(
    (n, kept): (usize, usize),
    columns: &[u32],
    a: &[T],
    b: &[T],
    d: &mut [T],
    madd: impl Fn(T, T, T) -> T,
) {
    for ((a, columns), row) in a.chunks_exact(kept).zip(columns.chunks_exact(kept)).zip(d.chunks_exact_mut(n)) {
        for (x, column) in a.iter().zip(columns) {
            let line = b.iter().skip(*column as usize * n);
            for (sum, y) in row.iter_mut().zip(line) {
                *sum = madd(*x, *y, *sum);
            }
        }
    }
}

/// A multiplication made ready: where everything lies.
pub struct MmaPlan {
    op: MmaOp,
    types: [MatrixType; 4],
    size: (usize, usize, usize),
    /// Of a sparse `a`, where the metadata of each element is.
    sparse: Option<Vec<ElementPlace>>,
    a: Order,
    b: Order,
    c: Order,
    d: Order,
}

impl MmaPlan {
    /// Prepares a multiplication.
    pub fn new(mma: &Mma) -> MmaPlan {
        let bits = mma.a_ty == MatrixType::B1;
        let order = |fragment: Fragment| if bits { Order::of_bits(&fragment) } else { Order::new(&fragment) };
        let k = if bits { mma.shape.k / 32 } else { mma.shape.k };
        let places = |sparse: Sparsity| {
            let a = mma.a_fragment();
            let (rows, kept) = a.size();
            (0..rows * kept).map(|index| sparse.place(&a, index / kept, index % kept)).collect()
        };
        MmaPlan {
            op: mma.op,
            types: [mma.a_ty, mma.b_ty, mma.c_ty, mma.d_ty],
            size: (mma.shape.m as usize, mma.shape.n as usize, k as usize),
            sparse: mma.sparse.map(places),
            a: order(mma.a_fragment()),
            b: order(mma.b_fragment()),
            c: Order::new(&mma.c_fragment()),
            d: Order::new(&mma.d_fragment()),
        }
    }

    /// Registers that each source and the result take, in [`Register`]s.
    pub fn registers(&self) -> [usize; 4] {
        let count = |order: &Order, ty: MatrixType| order.registers * ty.register_bits() as usize / 32;
        let [a, b, c, d] = self.types;
        [count(&self.a, a), count(&self.b, b), count(&self.c, c), count(&self.d, d)]
    }

    /// Whether results have 64 bits.
    pub fn is_wide(&self) -> bool {
        self.types[3] == MatrixType::F64
    }

    /// Multiplies. The slices are as long as [`MmaPlan::registers`] says; `metadata` is for a sparse `a`.
    #[inline(always)]
    pub fn run(&self, a: &[Register], metadata: Option<&Register>, b: &[Register], c: &[Register], d: &mut [Register]) {
        let columns = metadata.and_then(|metadata| self.columns(metadata));
        let columns = columns.as_deref();
        match self.types[0] {
            MatrixType::F16 | MatrixType::BF16 | MatrixType::Tf32 | MatrixType::F32 => {
                self.run_floats(a, columns, b, c, d)
            }
            MatrixType::E4M3 | MatrixType::E5M2 => self.run_floats(a, columns, b, c, d),
            MatrixType::F64 => self.run_doubles(a, b, c, d),
            MatrixType::B1 => self.run_bits(a, b, c, d),
            _ => self.run_integers(a, columns, b, c, d),
        }
    }

    /// The columns of the elements of a sparse `a`.
    fn columns(&self, metadata: &Register) -> Option<Vec<u32>> {
        let places = self.sparse.as_ref()?.iter().enumerate();
        let kept = self.size.2 / 2;
        let column = |(index, place): (usize, &ElementPlace)| {
            let indices = metadata[place.lane as usize] >> place.shift;
            Sparsity::column(self.types[0], (index % kept) as u32, indices)
        };
        Some(places.map(column).collect())
    }

    /// Calls `one` for each of the matrices that the registers hold.
    fn each<T>(&self, a: &[T], b: &[T], d: &mut [T], one: impl Fn(&[T], &[T], &mut [T])) {
        let lines = a.chunks_exact(self.a.len).zip(b.chunks_exact(self.b.len)).zip(d.chunks_exact_mut(self.c.len));
        lines.for_each(|((a, b), d)| one(a, b, d));
    }

    /// Adds the products of all matrices to `d`.
    #[inline(always)]
    fn products<T: Copy>(&self, a: &[T], columns: Option<&[u32]>, b: &[T], d: &mut [T], madd: impl Fn(T, T, T) -> T) {
        match columns {
            Some(columns) => multiply_sparse((self.size.1, self.size.2 / 2), columns, a, b, d, madd),
            None => self.each(a, b, d, |a, b, d| multiply(self.size, a, b, d, &madd)),
        }
    }

    #[inline(always)]
    fn run_floats(&self, a: &[Register], columns: Option<&[u32]>, b: &[Register], c: &[Register], d: &mut [Register]) {
        let [a_ty, b_ty, c_ty, d_ty] = self.types;
        let a = self.a.gather(a, |registers, out| floats(a_ty, registers, out));
        let b = self.b.gather(b, |registers, out| floats(b_ty, registers, out));
        let mut sums = self.c.gather(c, |registers, out| floats(c_ty, registers, out));
        self.products(&a, columns, &b, &mut sums, |x: f32, y, sum| x.mul_add(y, sum));
        let word = |value: f32| match d_ty {
            MatrixType::F16 => to_half(value),
            MatrixType::BF16 => BF16.round(value.into(), Rounding::Rn),
            _ if value.is_nan() => NAN_F32.to_bits(),
            _ => value.to_bits(),
        };
        self.scatter(&sums, d, d_ty.bits(), word);
    }

    #[inline(always)]
    fn run_integers(
        &self,
        a: &[Register],
        columns: Option<&[u32]>,
        b: &[Register],
        c: &[Register],
        d: &mut [Register],
    ) {
        let [a_ty, b_ty, ..] = self.types;
        let a = self.a.gather(a, |registers, out| integers(a_ty, registers, out));
        let b = self.b.gather(b, |registers, out| integers(b_ty, registers, out));
        let c = self.c.gather(c, |registers, out| integers(MatrixType::S32, registers, out));
        let mut sums = vec![0; c.len()];
        self.products(&a, columns, &b, &mut sums, |x: i32, y, sum| x * y + sum);
        let clamp = matches!(self.op, MmaOp::Multiply { satfinite: true, .. });
        for (sum, c) in sums.iter_mut().zip(c) {
            *sum = if clamp { sum.saturating_add(c) } else { sum.wrapping_add(c) };
        }
        self.scatter(&sums, d, 32, |value| value as u32);
    }

    #[inline(always)]
    fn run_bits(&self, a: &[Register], b: &[Register], c: &[Register], d: &mut [Register]) {
        let words = |registers: &[Register], out: &mut Vec<u32>| out.extend(registers.as_flattened());
        let (a, b, mut sums) = (self.a.gather(a, words), self.b.gather(b, words), self.c.gather(c, words));
        let and = self.op == MmaOp::AndPopc;
        self.each(&a, &b, &mut sums, |a, b, d| {
            multiply(self.size, a, b, d, |x: u32, y, sum| {
                let bits = if and { x & y } else { x ^ y };
                sum.wrapping_add(bits.count_ones())
            });
        });
        self.scatter(&sums, d, 32, |value| value);
    }

    #[inline(always)]
    fn run_doubles(&self, a: &[Register], b: &[Register], c: &[Register], d: &mut [Register]) {
        let (a, b, mut sums) = (self.a.gather(a, doubles), self.b.gather(b, doubles), self.c.gather(c, doubles));
        let rounding = match self.op {
            MmaOp::Multiply { rounding, .. } => rounding,
            MmaOp::XorPopc | MmaOp::AndPopc => Rounding::Rn,
        };
        self.each(&a, &b, &mut sums, |a, b, d| match rounding {
            Rounding::Rn => multiply(self.size, a, b, d, |x: f64, y, sum| x.mul_add(y, sum)),
            _ => multiply(self.size, a, b, d, |x, y, sum| wide::fma(x, y, sum, rounding)),
        });
        for (pair, index) in d.chunks_exact_mut(2).zip(self.d.index.chunks_exact(LANES)) {
            for (words, at) in pair.as_flattened_mut().chunks_exact_mut(2).zip(index) {
                let bits = sums[*at as usize].to_bits();
                words.copy_from_slice(&[bits as u32, (bits >> 32) as u32]);
            }
        }
    }

    /// Puts results of up to 32 bits into registers.
    #[inline(always)]
    fn scatter<T: Copy>(&self, matrix: &[T], registers: &mut [Register], bits: u32, word: impl Fn(T) -> u32) {
        let per = (32 / bits) as usize;
        for (register, index) in registers.iter_mut().zip(self.d.index.chunks_exact(per * LANES)) {
            *register = [0; LANES];
            for (part, shift) in index.chunks_exact(LANES).zip((0..32).step_by(bits as usize)) {
                for (lane, at) in register.iter_mut().zip(part) {
                    *lane |= word(matrix[*at as usize]) << shift;
                }
            }
        }
    }
}
