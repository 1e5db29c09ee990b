//! Matrix operations, and those on the parts of words.

use super::super::check::Kind;
use super::super::code::Slot;
use super::super::isa::{plain, select, Entry};
use super::super::matrix::MmaPlan;
use super::super::ops::matrix::*;
use super::super::ops::memory::{Generic, Global, SharedBank};
use super::super::ops::video::Video;
use super::arith::unknown;
use super::check::Checked;
use super::function::Lowering;
use super::Result;
use crate::ir::{self, Address, Fragment, MatrixAccess, MatrixRole, Mma, Operand, Reg, Space};

impl Lowering<'_, '_> {
    pub(super) fn multiply(&mut self, mma: &Mma) -> Result<()> {
        let function = self.function;
        let spec = MmaSpec {
            plan: MmaPlan::new(mma),
            a: self.fragment_rows(mma.a_fragment(), function.operand_list(mma.a))?,
            metadata: mma.sparse.map(|sparse| self.src32(sparse.metadata)).transpose()?,
            b: self.fragment_rows(mma.b_fragment(), function.operand_list(mma.b))?,
            c: self.fragment_rows(mma.c_fragment(), function.operand_list(mma.c))?,
            d: self.result_rows(mma.d_fragment(), function.reg_list(mma.dst)),
        };
        let number = self.builder.code.multiplications.len() as u64;
        self.builder.code.multiplications.push(spec);
        self.emit(select::<Multiply>(), 0, [Slot(0); 3], number);
        Ok(())
    }

    /// The rows of a fragment's registers in use.
    fn fragment_rows(&mut self, fragment: Fragment, operands: &[Operand]) -> Result<Vec<Slot>> {
        let used = operands.iter().take(fragment.used_registers() as usize);
        let wide = fragment.ty.register_bits() == 64;
        let rows = used.map(|operand| {
            let row = self.src(*operand, fragment.ty.register_bits())?;
            Ok(if wide { vec![row, Slot(row.0 + 1)] } else { vec![row] })
        });
        Ok(rows.collect::<Result<Vec<_>>>()?.concat())
    }

    fn result_rows(&self, fragment: Fragment, regs: &[Reg]) -> Vec<u32> {
        let wide = fragment.ty.register_bits() == 64;
        let rows = regs.iter().map(|reg| self.row(*reg));
        rows.flat_map(|row| if wide { vec![row, row + 1] } else { vec![row] }).collect()
    }

    pub(super) fn load_matrix(&mut self, access: &MatrixAccess, dst: &[Reg]) -> Result<()> {
        let entry = match access.space {
            Space::Generic => plain::<LoadMatrix<Generic>>(),
            Space::Global | Space::Const => plain::<LoadMatrix<Global>>(),
            Space::Shared => plain::<LoadMatrix<SharedBank>>(),
            Space::Local | Space::Param => return Err(unknown(("wmma.load", access.space))),
        };
        let rows = self.result_rows(access.fragment, dst).into_iter().map(Slot).collect();
        self.access_matrix(entry, Kind::Load, access, rows)
    }

    pub(super) fn store_matrix(&mut self, access: &MatrixAccess, src: &[Operand]) -> Result<()> {
        let entry = match access.space {
            Space::Generic => plain::<StoreMatrix<Generic>>(),
            Space::Global => plain::<StoreMatrix<Global>>(),
            Space::Shared => plain::<StoreMatrix<SharedBank>>(),
            Space::Const | Space::Local | Space::Param => return Err(unknown(("wmma.store", access.space))),
        };
        let rows = self.fragment_rows(access.fragment, src)?;
        self.access_matrix(entry, Kind::Store, access, rows)
    }

    fn access_matrix(&mut self, entry: Entry, kind: Kind, access: &MatrixAccess, rows: Vec<Slot>) -> Result<()> {
        let (base, wide_base) = self.offset_base(access.addr)?;
        let stride = self.src32(access.stride)?;
        let fragment = access.fragment;
        let used = (fragment.used_registers() * fragment.ty.register_bits() / 32) as usize;
        let (pieces, bytes) = pieces(access);
        let spec = AccessSpec { pieces, bits: fragment.ty.bits(), bytes, wide_base, rows, used };
        let number = self.builder.code.matrices.len() as u64;
        self.builder.code.matrices.push(spec);
        let checked = Checked { space: access.space, kind, bytes, strong: false };
        self.check_matrix(checked, (base, wide_base), stride, number);
        self.emit(entry, 0, [base, stride, Slot(0)], number);
        Ok(())
    }

    pub(super) fn load_tiles(&mut self, space: Space, transposed: bool, dst: &[Reg], addr: Address) -> Result<()> {
        let rows: Vec<Slot> = dst.iter().map(|reg| Slot(self.row(*reg))).collect();
        let entry =
            if space == Space::Shared { plain::<LoadTiles<SharedBank>>() } else { plain::<LoadTiles<Generic>>() };
        self.tiles(entry, (space, Kind::Load), transposed, &rows, addr)
    }

    pub(super) fn store_tiles(&mut self, space: Space, transposed: bool, addr: Address, src: &[Operand]) -> Result<()> {
        let rows = src.iter().map(|operand| self.src32(*operand)).collect::<Result<Vec<_>>>()?;
        let entry =
            if space == Space::Shared { plain::<StoreTiles<SharedBank>>() } else { plain::<StoreTiles<Generic>>() };
        self.tiles(entry, (space, Kind::Store), transposed, &rows, addr)
    }

    fn tiles(
        &mut self,
        entry: Entry,
        (space, kind): (Space, Kind),
        transposed: bool,
        rows: &[Slot],
        addr: Address,
    ) -> Result<()> {
        let (base, wide) = self.base(addr)?;
        self.check_tiles(space, kind, (base, wide), rows.len() as u32, addr.offset as u64);
        let flags = if wide { TILE_WIDE_BASE } else { 0 } | if transposed { TILE_TRANSPOSED } else { 0 };
        let list = self.list(rows.iter().copied());
        self.emit(entry, list, [base, Slot(rows.len() as u32), Slot(flags)], addr.offset as u64);
        Ok(())
    }

    pub(super) fn transpose_tile(&mut self, dst: Reg, a: Operand) -> Result<()> {
        let a = self.src32(a)?;
        let dst = self.row(dst);
        self.emit(plain::<TransposeTile>(), dst, [a, Slot(0), Slot(0)], 0);
        Ok(())
    }

    pub(super) fn video(&mut self, video: &ir::Video) -> Result<()> {
        let sources = [self.src32(video.a)?, self.src32(video.b)?, self.src32(video.c)?];
        let number = self.builder.code.videos.len() as u64;
        self.builder.code.videos.push(video.form);
        let signed = match video.form {
            ir::VideoForm::Parts { signed, .. } => signed,
            ir::VideoForm::Mad { a, b, .. } => a.signed || b.signed,
        };
        self.result(video.dst, (32, signed), |l, d| {
            l.emit(plain::<Video>(), d, sources, number);
            Ok(())
        })
    }
}

/// The pieces in which a matrix is moved, and their bytes: an element, or a register of elements that are
/// smaller than a byte.
fn pieces(access: &MatrixAccess) -> (Vec<Piece>, u32) {
    let fragment = access.fragment;
    let (rows, columns) = fragment.size();
    let (lines, across) = if access.row_major { (rows, columns) } else { (columns, rows) };
    let bits = fragment.ty.bits();
    let step = if bits < 8 { fragment.ty.per_register() } else { 1 };
    let bytes = bits * step / 8;
    let piece = |line: u32, at: u32| {
        let (row, column) = if access.row_major { (line, at) } else { (at, line) };
        Piece { offset: at / step * bytes, line, place: fragment.place(0, row, column) }
    };
    debug_assert!(bits >= 8 || (fragment.role == MatrixRole::A) == access.row_major);
    let pieces = (0..lines).flat_map(|line| (0..across).step_by(step as usize).map(move |at| piece(line, at)));
    (pieces.collect(), bytes)
}
