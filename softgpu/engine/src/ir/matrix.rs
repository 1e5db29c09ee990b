//! Matrix operations of a warp and how matrices lie in its registers.

use super::inst::{Address, Operand, OperandList, RegList};
use super::types::{Rounding, Space};

/// Lanes of a warp.
const LANES: u32 = 32;

/// Element type of a matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatrixType {
    B1,
    U4,
    S4,
    U8,
    S8,
    S32,
    F16,
    BF16,
    /// `f32` of which the low 13 bits are ignored.
    Tf32,
    F32,
    F64,
    E4M3,
    E5M2,
}

impl MatrixType {
    /// Bits of one element in a register or in memory.
    pub fn bits(self) -> u32 {
        match self {
            MatrixType::B1 => 1,
            MatrixType::U4 | MatrixType::S4 => 4,
            MatrixType::U8 | MatrixType::S8 | MatrixType::E4M3 | MatrixType::E5M2 => 8,
            MatrixType::F16 | MatrixType::BF16 => 16,
            MatrixType::S32 | MatrixType::Tf32 | MatrixType::F32 => 32,
            MatrixType::F64 => 64,
        }
    }

    /// Bits of the registers that hold such elements.
    pub fn register_bits(self) -> u32 {
        self.bits().max(32)
    }

    /// Elements in one register.
    pub fn per_register(self) -> u32 {
        self.register_bits() / self.bits()
    }
}

/// `m`×`n` results, sums of `k` products each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MmaShape {
    pub m: u32,
    pub n: u32,
    pub k: u32,
}

/// Which matrix of a multiplication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatrixRole {
    /// `m`×`k`.
    A,
    /// `k`×`n`.
    B,
    /// `m`×`n`: what is added, and the result.
    Accumulator,
}

/// Which rule says where the elements are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FragmentKind {
    /// `mma`: PTX ISA, "Matrix Fragments for mma".
    Mma,
    /// `mma.m8n8k4` on `f16`: each eight lanes multiply matrices of their own. The rule depends on
    /// whether the matrix is row-major.
    QuadPairs { row_major: bool },
    /// `wmma`, where it is up to the implementation: elements are counted by rows, but those of `b` that are smaller
    /// than a byte along `k`, and go to registers first, then to lanes, then to the lane's next register.
    Wmma,
}

/// A matrix in the registers of a warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fragment {
    pub role: MatrixRole,
    pub kind: FragmentKind,
    pub shape: MmaShape,
    pub ty: MatrixType,
}

/// Where an element is: bit `shift` of register `register` of lane `lane`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ElementPlace {
    pub lane: u32,
    pub register: u32,
    pub shift: u32,
}

impl Fragment {
    /// Rows and columns of one matrix.
    pub fn size(&self) -> (u32, u32) {
        let MmaShape { m, n, k } = self.shape;
        match self.role {
            MatrixRole::A => (m, k),
            MatrixRole::B => (k, n),
            MatrixRole::Accumulator => (m, n),
        }
    }

    /// Matrices that the registers hold: 4 for [`FragmentKind::QuadPairs`], else 1.
    pub fn matrices(&self) -> u32 {
        match self.kind {
            FragmentKind::QuadPairs { .. } => 4,
            FragmentKind::Mma | FragmentKind::Wmma => 1,
        }
    }

    /// Registers of a lane that the elements take.
    pub fn used_registers(&self) -> u32 {
        let (rows, columns) = self.size();
        (self.matrices() * rows * columns / self.ty.per_register()).div_ceil(LANES)
    }

    /// Registers of a lane as the instructions list them. `wmma` on `f16` always lists eight for `a` and
    /// `b`: what lies above [`Fragment::used_registers`] repeats what is below.
    pub fn registers(&self) -> u32 {
        match (self.kind, self.role, self.ty) {
            (FragmentKind::Wmma, MatrixRole::A | MatrixRole::B, MatrixType::F16) => 8,
            _ => self.used_registers(),
        }
    }

    /// Where element (`row`, `column`) of matrix number `matrix` is.
    pub fn place(&self, matrix: u32, row: u32, column: u32) -> ElementPlace {
        let (lane, register, element) = match self.kind {
            FragmentKind::Wmma => self.counted(row, column),
            FragmentKind::Mma => self.tiled(row, column),
            FragmentKind::QuadPairs { row_major } => self.quad_pairs(row_major, matrix, row, column),
        };
        ElementPlace { lane, register, shift: element * self.ty.bits() }
    }

    fn counted(&self, row: u32, column: u32) -> (u32, u32, u32) {
        let (rows, columns) = self.size();
        let number = match self.role {
            MatrixRole::B if self.ty.bits() < 8 => column * rows + row,
            MatrixRole::A | MatrixRole::B | MatrixRole::Accumulator => row * columns + column,
        };
        let per = self.ty.per_register();
        (number / per % LANES, number / per / LANES, number % per)
    }

    /// Four lanes share a row of `a` or of the accumulator, or a column of `b`. Rows and columns beyond
    /// eight, and those beyond what four registers hold, follow in further registers.
    fn tiled(&self, row: u32, column: u32) -> (u32, u32, u32) {
        let per = self.ty.per_register();
        let along_k = |index: u32| (index / (4 * per), index / per % 4, index % per);
        match self.role {
            MatrixRole::A => {
                let (block, quad, element) = along_k(column);
                (row % 8 * 4 + quad, block * (self.shape.m / 8) + row / 8, element)
            }
            MatrixRole::B => {
                let (block, quad, element) = along_k(row);
                (column * 4 + quad, block, element)
            }
            MatrixRole::Accumulator => {
                let element = row / 8 * 2 + column % 2;
                (row % 8 * 4 + column / 2, element / per, element % per)
            }
        }
    }

    fn quad_pairs(&self, row_major: bool, matrix: u32, row: u32, column: u32) -> (u32, u32, u32) {
        // Lanes 4q to 4q+3 and those sixteen above work together.
        let lane = |low: u32, upper: u32| matrix * 4 + low + upper * 16;
        let per = self.ty.per_register();
        match (self.role, row_major) {
            (MatrixRole::A, true) => (lane(row % 4, row / 4), column / per, column % per),
            (MatrixRole::A, false) => (lane(column, row / 4), row % 4 / per, row % per),
            (MatrixRole::B, true) => (lane(row, column / 4), column % 4 / per, column % per),
            (MatrixRole::B, false) => (lane(column % 4, column / 4), row / per, row % per),
            (MatrixRole::Accumulator, _) if self.ty == MatrixType::F16 => {
                (lane(row % 4, row / 4), column / per, column % per)
            }
            (MatrixRole::Accumulator, _) => {
                let low = row % 2 + (column & 2);
                let element = column / 4 * 4 + row % 4 / 2 * 2 + column % 2;
                (lane(low, row / 4), element, 0)
            }
        }
    }
}

/// How products are made and summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MmaOp {
    /// Sums of products: `c`, then one multiply-add after the other in ascending order of `k`. Those of
    /// `f16`, `bf16`, `tf32` and 8-bit floats are in `f32`, those of integers in 32 bits.
    Multiply { rounding: Rounding, satfinite: bool },
    /// Bits in which `a` and `b` differ.
    XorPopc,
    /// Bits that both have.
    AndPopc,
}

/// `d = a * b + c` of a warp. All lanes take part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mma {
    pub op: MmaOp,
    pub shape: MmaShape,
    /// Where the elements of `a` and of the accumulators are.
    pub kind: FragmentKind,
    /// Where those of `b` are.
    pub b_kind: FragmentKind,
    pub a_ty: MatrixType,
    pub b_ty: MatrixType,
    pub c_ty: MatrixType,
    pub d_ty: MatrixType,
    /// With `mma.sp`, what is left out of `a`.
    pub sparse: Option<Sparsity>,
    /// Registers, as many as the fragments have.
    pub dst: RegList,
    pub a: OperandList,
    pub b: OperandList,
    pub c: OperandList,
}

impl Mma {
    fn fragment(&self, role: MatrixRole, kind: FragmentKind, ty: MatrixType) -> Fragment {
        Fragment { role, kind, shape: self.shape, ty }
    }

    /// Where `a` is; of a sparse one, the half that is kept.
    pub fn a_fragment(&self) -> Fragment {
        let mut fragment = self.fragment(MatrixRole::A, self.kind, self.a_ty);
        if self.sparse.is_some() {
            fragment.shape.k /= 2;
        }
        fragment
    }

    /// Where `b` is.
    pub fn b_fragment(&self) -> Fragment {
        self.fragment(MatrixRole::B, self.b_kind, self.b_ty)
    }

    /// Where `c` is.
    pub fn c_fragment(&self) -> Fragment {
        self.fragment(MatrixRole::Accumulator, self.kind, self.c_ty)
    }

    /// Where the result goes.
    pub fn d_fragment(&self) -> Fragment {
        self.fragment(MatrixRole::Accumulator, self.kind, self.d_ty)
    }
}

/// A sparse `a`: half of the elements of each row are kept, and metadata tells which. PTX ISA, "Sparse matrix
/// storage" and "Matrix fragments for multiply-accumulate operation with sparse matrix A".
///
/// Two indices of two bits say which two of four elements are kept; which two of four pairs where elements have
/// four bits; and which two of four halves, thus one element of two, where they have 32. In which lanes and bits
/// they are, the ISA draws only: this follows from the order into which CUTLASS's `reorder_meta` (BSD licence)
/// brings metadata for `ldmatrix`, and agrees with what authors of sparse kernels for Triton have measured on an
/// sm_89 (m16n8k32 of 16 bits, m16n8k64 of 8). It has not been compared with a GPU here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sparsity {
    /// A register of 32 bits.
    pub metadata: Operand,
    /// Which lanes of each four have the metadata: below [`Sparsity::selectors`].
    pub selector: u32,
}

impl Sparsity {
    /// Bits of metadata for each element that is kept.
    fn bits(ty: MatrixType) -> u32 {
        match ty.bits() {
            4 => 1,
            32 => 4,
            _ => 2,
        }
    }

    /// Selectors that there are for the kept elements `a`: in a group of four lanes, each has the metadata of
    /// two rows or a part of it.
    pub fn selectors(a: &Fragment) -> u32 {
        let (_, kept) = a.size();
        64 / (kept * Sparsity::bits(a.ty))
    }

    /// Where the two indices for a kept element are: four bits, which [`Sparsity::column`] understands.
    pub fn place(&self, a: &Fragment, row: u32, kept: u32) -> ElementPlace {
        let bit = kept * Sparsity::bits(a.ty);
        // Halves of a register are for the rows of 16- and 32-bit elements, whole ones for those of smaller ones.
        let (lane, shift) =
            if a.ty.bits() >= 16 { (bit / 16, row / 8 * 16 + bit % 16) } else { (row / 8 + bit / 32 * 2, bit % 32) };
        let first = self.selector * (4 / Sparsity::selectors(a));
        ElementPlace { lane: row % 8 * 4 + first + lane, register: 0, shift: shift & !3 }
    }

    /// The column of a kept element by its indices. There is none outside the matrix, whatever they are.
    pub fn column(ty: MatrixType, kept: u32, indices: u32) -> u32 {
        let index = |number: u32| indices >> (number % 2 * 2) & 3;
        match ty.bits() {
            4 => kept / 4 * 8 + index(kept / 2) * 2 + kept % 2,
            32 => kept * 2 + index(0) / 2,
            _ => kept / 2 * 4 + index(kept),
        }
    }
}

/// A matrix between memory and the registers of a warp. All lanes take part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MatrixAccess {
    pub fragment: Fragment,
    /// Whether the elements of a row are next to each other in memory, rather than those of a column.
    pub row_major: bool,
    pub space: Space,
    /// The same in all lanes.
    pub addr: Address,
    /// Elements from one row (or column) to the next.
    pub stride: Operand,
}
