//! Matrix operations of a warp.

use super::super::code::{Op, Row, Slot, FULL, LANES};
use super::super::cx::{Cx, Flow};
use super::super::isa::Handler;
use super::super::matrix::{MmaPlan, Register};
use super::memory::{addresses, Bank};
use super::warp::meet_all;
use crate::ir::ElementPlace;
use crate::memory::{AccessError, Plain};
use std::marker::PhantomData;

/// A multiplication and the rows of its registers, two for one of 64 bits.
pub(in crate::engine) struct MmaSpec {
    pub(in crate::engine) plan: MmaPlan,
    pub(in crate::engine) a: Vec<Slot>,
    pub(in crate::engine) metadata: Option<Slot>,
    pub(in crate::engine) b: Vec<Slot>,
    pub(in crate::engine) c: Vec<Slot>,
    pub(in crate::engine) d: Vec<u32>,
}

/// The registers of a source.
#[inline(always)]
fn registers(cx: &Cx<'_>, slots: &[Slot]) -> Vec<Register> {
    slots.iter().map(|slot| *cx.row(*slot)).collect()
}

/// Multiplication `imm` of [`super::super::code::Code::multiplications`].
pub(in crate::engine) struct Multiply;
impl Handler for Multiply {
    #[inline(always)]
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        if !meet_all(cx) {
            return Flow::Switch;
        }
        let code = cx.code;
        let spec = &code.multiplications[op.imm as usize];
        let (a, b, c) = (registers(cx, &spec.a), registers(cx, &spec.b), registers(cx, &spec.c));
        let mut d = vec![[0; LANES]; spec.d.len()];
        let metadata = spec.metadata.map(|slot| *cx.row(slot));
        spec.plan.run(&a, metadata.as_ref(), &b, &c, &mut d);
        write_registers(cx, &spec.d, &d, spec.plan.is_wide());
        Flow::Next
    }
}

/// Writes registers of 32 bits, or pairs of rows if `wide`.
#[inline(always)]
fn write_registers(cx: &mut Cx<'_>, rows: &[u32], values: &[Register], wide: bool) {
    if !wide || cx.exec == FULL {
        for (row, register) in rows.iter().zip(values) {
            if wide {
                *cx.row_mut(*row) = *register;
            } else {
                cx.write32(*row, *register);
            }
        }
        return;
    }
    for (rows, pair) in rows.chunks_exact(2).zip(values.chunks_exact(2)) {
        let pair: &[Register; 2] = pair.first_chunk().unwrap_or(&[[0; LANES]; 2]);
        let words: [u64; LANES] = zerocopy::transmute!(*pair);
        cx.write64(rows[0], words);
    }
}

/// A piece of a matrix in memory, as wide as the access that moves it.
#[derive(Clone, Copy)]
pub(in crate::engine) struct Piece {
    /// Bytes from the matrix's address: `line` times the stride, plus this.
    pub(in crate::engine) offset: u32,
    pub(in crate::engine) line: u32,
    pub(in crate::engine) place: ElementPlace,
}

/// A matrix that is loaded or stored.
pub(in crate::engine) struct AccessSpec {
    pub(in crate::engine) pieces: Vec<Piece>,
    /// Bits of an element: the stride counts elements.
    pub(in crate::engine) bits: u32,
    /// Bytes of a piece.
    pub(in crate::engine) bytes: u32,
    pub(in crate::engine) wide_base: bool,
    /// Rows of the registers: two for one of 64 bits, and repeated ones behind those that are used.
    pub(in crate::engine) rows: Vec<Slot>,
    /// Rows in use.
    pub(in crate::engine) used: usize,
}

/// A value of a lane, at most 64 bits.
fn piece<B: Bank>(cx: &mut Cx<'_>, lane: usize, address: u64, bytes: u32) -> Result<u64, AccessError> {
    match bytes {
        1 => B::load::<u8>(cx, lane, address).map(u64::from),
        2 => B::load::<u16>(cx, lane, address).map(u64::from),
        4 => B::load::<u32>(cx, lane, address).map(u64::from),
        _ => B::load::<u64>(cx, lane, address),
    }
}

fn store_piece<B: Bank>(cx: &mut Cx<'_>, lane: usize, address: u64, bytes: u32, value: u64) -> Result<(), AccessError> {
    match bytes {
        1 => B::store(cx, lane, address, value as u8),
        2 => B::store(cx, lane, address, value as u16),
        4 => B::store(cx, lane, address, value as u32),
        _ => B::store(cx, lane, address, value),
    }
}

/// Address of the matrix and bytes from line to line, which are the same in all lanes.
pub(super) fn matrix_place(cx: &Cx<'_>, op: &Op, spec: &AccessSpec) -> (u64, u64) {
    let lane = cx.exec.trailing_zeros() as usize & 31;
    let base = addresses(cx, op.a, spec.wide_base, 0)[lane];
    (base, u64::from(cx.row(op.b)[lane]) * u64::from(spec.bits) / 8)
}

/// Loads matrix `imm` of [`super::super::code::Code::matrices`] from address `a` with stride `b`.
pub(in crate::engine) struct LoadMatrix<B>(PhantomData<B>);
impl<B: Bank> Handler for LoadMatrix<B> {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        if !meet_all(cx) {
            return Flow::Switch;
        }
        let code = cx.code;
        let spec = &code.matrices[op.imm as usize];
        let (base, stride) = matrix_place(cx, op, spec);
        let mut rows = vec![[0; LANES]; spec.used];
        for p in &spec.pieces {
            let lane = p.place.lane as usize;
            let address = base.wrapping_add(u64::from(p.line) * stride).wrapping_add(u64::from(p.offset));
            let value = match piece::<B>(cx, lane, address, spec.bytes) {
                Ok(value) => value,
                Err(error) => return cx.fail_access(lane, error, "wmma.load"),
            };
            if spec.bytes == 8 {
                let pair = rows[p.place.register as usize * 2..].as_flattened_mut();
                pair[lane * 2..lane * 2 + 2].copy_from_slice(&[value as u32, (value >> 32) as u32]);
            } else {
                rows[p.place.register as usize][lane] |= (value as u32) << p.place.shift;
            }
        }
        let dst: Vec<u32> = spec.rows.iter().map(|slot| slot.0).collect();
        let values: Vec<Register> = rows.iter().copied().cycle().take(dst.len()).collect();
        write_registers(cx, &dst, &values, spec.bytes == 8);
        Flow::Next
    }
}

/// Stores matrix `imm` of [`super::super::code::Code::matrices`] to address `a` with stride `b`.
pub(in crate::engine) struct StoreMatrix<B>(PhantomData<B>);
impl<B: Bank> Handler for StoreMatrix<B> {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        if !meet_all(cx) {
            return Flow::Switch;
        }
        let code = cx.code;
        let spec = &code.matrices[op.imm as usize];
        let (base, stride) = matrix_place(cx, op, spec);
        let rows = registers(cx, &spec.rows);
        for p in &spec.pieces {
            let lane = p.place.lane as usize;
            let address = base.wrapping_add(u64::from(p.line) * stride).wrapping_add(u64::from(p.offset));
            let value = if spec.bytes == 8 {
                let pair = rows[p.place.register as usize * 2..].as_flattened();
                u64::from(pair[lane * 2 + 1]) << 32 | u64::from(pair[lane * 2])
            } else {
                u64::from(rows[p.place.register as usize][lane] >> p.place.shift)
            };
            if let Err(error) = store_piece::<B>(cx, lane, address, spec.bytes, value) {
                return cx.fail_access(lane, error, "wmma.store");
            }
        }
        Flow::Next
    }
}

/// Flag in `c` of a tile operation: the address is in a 64-bit register.
pub(in crate::engine) const TILE_WIDE_BASE: u32 = 1;
/// Flag in `c` of a tile operation: rows become columns.
pub(in crate::engine) const TILE_TRANSPOSED: u32 = 2;

/// One row of a tile: eight elements of 16 bits.
type TileRow = [u32; 4];

/// Element `column` of row `row` of a tile.
fn element(tile: &[TileRow; 8], row: usize, column: usize) -> u32 {
    tile[row][column / 2] >> (column % 2 * 16) & 0xffff
}

/// The register of a tile, transposed or not.
fn tile_register(tile: &[TileRow; 8], transposed: bool) -> Register {
    std::array::from_fn(|lane| {
        let (row, pair) = (lane / 4, lane % 4);
        if transposed {
            element(tile, pair * 2, row) | element(tile, pair * 2 + 1, row) << 16
        } else {
            tile[row][pair]
        }
    })
}

/// The tile of a register.
fn register_tile(register: &Register) -> [TileRow; 8] {
    std::array::from_fn(|row| std::array::from_fn(|pair| register[row * 4 + pair]))
}

/// Loads tiles from the addresses `a` + `imm`; `dst` is the first of `b` rows in
/// [`super::super::code::Code::slots`], `c` holds flags.
pub(in crate::engine) struct LoadTiles<B>(PhantomData<B>);
impl<B: Bank> Handler for LoadTiles<B>
where
    TileRow: Plain,
{
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        if !meet_all(cx) {
            return Flow::Switch;
        }
        let addresses = addresses(cx, op.a, op.c.0 & TILE_WIDE_BASE != 0, op.imm);
        let mut values = [[0; LANES]; 4];
        for (tile, value) in values.iter_mut().enumerate().take(op.b.0 as usize) {
            let mut rows = [TileRow::default(); 8];
            for (row, lane) in rows.iter_mut().zip(tile * 8..) {
                *row = match B::load(cx, lane, addresses[lane]) {
                    Ok(row) => row,
                    Err(error) => return cx.fail_access(lane, error, "ldmatrix"),
                };
            }
            *value = tile_register(&rows, op.c.0 & TILE_TRANSPOSED != 0);
        }
        for (n, value) in values.into_iter().enumerate().take(op.b.0 as usize) {
            let dst = cx.code.slots[op.dst as usize + n].0;
            cx.write32(dst, value);
        }
        Flow::Next
    }
}

/// Stores tiles, likewise.
pub(in crate::engine) struct StoreTiles<B>(PhantomData<B>);
impl<B: Bank> Handler for StoreTiles<B>
where
    TileRow: Plain,
{
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        if !meet_all(cx) {
            return Flow::Switch;
        }
        let addresses = addresses(cx, op.a, op.c.0 & TILE_WIDE_BASE != 0, op.imm);
        for tile in 0..op.b.0 as usize {
            let mut rows = register_tile(cx.row(cx.code.slots[op.dst as usize + tile]));
            if op.c.0 & TILE_TRANSPOSED != 0 {
                rows = register_tile(&tile_register(&rows, true));
            }
            for (row, lane) in rows.into_iter().zip(tile * 8..) {
                if let Err(error) = B::store(cx, lane, addresses[lane], row) {
                    return cx.fail_access(lane, error, "stmatrix");
                }
            }
        }
        Flow::Next
    }
}

/// `dst` = the tile in `a`, transposed.
pub(in crate::engine) struct TransposeTile;
impl Handler for TransposeTile {
    fn run(cx: &mut Cx<'_>, op: &Op) -> Flow {
        if !meet_all(cx) {
            return Flow::Switch;
        }
        let tile = register_tile(cx.row(op.a));
        cx.write32(op.dst, tile_register(&tile, true));
        Flow::Next
    }
}

/// Keeps [`Row`] and [`Register`] the same thing.
const _: () = assert!(size_of::<Row>() == size_of::<Register>());
