//! Operations that look at accesses before they are made, in checked code.

use super::super::check::{AccessSpec, Kind};
use super::super::code::Slot;
use super::super::isa::{plain, Entry};
use super::super::ops::check::{CheckAccess, CheckCopy, CheckMatrix, CheckTiles, LeaveWarp, TakeWarp};
use super::function::Lowering;
use crate::ir::{Ordering, Space};

/// What an access does where.
#[derive(Clone, Copy)]
pub(super) struct Checked {
    pub(super) space: Space,
    pub(super) kind: Kind,
    pub(super) bytes: u32,
    pub(super) strong: bool,
}

impl Checked {
    pub(super) fn load(space: Space, bytes: u32, ordering: Ordering) -> Checked {
        Checked { space, kind: Kind::Load, bytes, strong: ordering != Ordering::Weak }
    }

    pub(super) fn store(space: Space, bytes: u32, ordering: Ordering) -> Checked {
        Checked { space, kind: Kind::Store, bytes, strong: ordering != Ordering::Weak }
    }
}

impl Lowering<'_, '_> {
    /// Looks at an access at `base` + `offset`; of a store, `value` is what is stored.
    pub(super) fn check(&mut self, access: Checked, base: (Slot, bool), offset: u64, value: Option<Slot>) {
        let value = value.unwrap_or(CheckAccess::NO_VALUE);
        self.check_with(plain::<CheckAccess>(), access, base, value, offset);
    }

    /// Looks at both sides of an asynchronous copy of `count` bytes.
    pub(super) fn check_copy(&mut self, to: (Slot, bool), from: (Slot, bool), count: Slot, bytes: u32) {
        let load = Checked::load(Space::Global, bytes, Ordering::Weak);
        self.check_with(plain::<CheckCopy>(), load, from, count, 0);
        self.check(Checked::store(Space::Shared, bytes, Ordering::Weak), to, 0, None);
    }

    /// Looks at the rows of tiles.
    pub(super) fn check_tiles(&mut self, space: Space, kind: Kind, base: (Slot, bool), tiles: u32, offset: u64) {
        let access = Checked { space, kind, bytes: 16, strong: false };
        self.check_with(plain::<CheckTiles>(), access, base, Slot(tiles), offset);
    }

    /// Looks at the pieces of a matrix.
    pub(super) fn check_matrix(&mut self, access: Checked, base: (Slot, bool), stride: Slot, number: u64) {
        self.check_with(plain::<CheckMatrix>(), access, base, stride, number);
    }

    fn check_with(&mut self, entry: Entry, access: Checked, (base, wide_base): (Slot, bool), b: Slot, imm: u64) {
        // What only one thread has is checked by its size.
        if !self.builder.checked || matches!(access.space, Space::Local | Space::Param) {
            return;
        }
        let Checked { space, kind, bytes, strong } = access;
        let number = self.builder.code.accesses.len() as u32;
        self.builder.code.accesses.push(AccessSpec { space, kind, bytes, align: bytes, strong, wide_base });
        self.emit(entry, number, [base, b, Slot(0)], imm);
    }

    /// Before and behind `bar.warp.sync`.
    pub(super) fn check_warp_sync(&mut self, behind: bool) {
        if self.builder.checked {
            let entry = if behind { plain::<TakeWarp>() } else { plain::<LeaveWarp>() };
            self.emit(entry, 0, [Slot(0); 3], 0);
        }
    }
}
