//! Where the other state spaces appear among generic addresses: above all host addresses.

/// Bytes of each window.
const WINDOW: u64 = 1 << 32;
const FIRST: u64 = 1 << 48;

/// A state space with a window of generic addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Shared,
    Local,
    Param,
    /// Not data: the addresses of functions.
    Function,
}

impl Space {
    const fn base(self) -> u64 {
        match self {
            Space::Shared => FIRST,
            Space::Local => FIRST + WINDOW,
            Space::Param => FIRST + 2 * WINDOW,
            Space::Function => FIRST + 3 * WINDOW,
        }
    }

    /// The generic address of an address in this space.
    #[inline(always)]
    pub(super) const fn generic(self, address: u64) -> u64 {
        self.base().wrapping_add(address)
    }

    /// The address in this space of a generic address.
    #[inline(always)]
    pub(super) const fn specific(self, generic: u64) -> u64 {
        generic.wrapping_sub(self.base())
    }

    /// Whether a generic address lies in this space's window.
    #[inline(always)]
    pub(super) const fn contains(self, generic: u64) -> bool {
        self.specific(generic) < WINDOW
    }
}

/// Whether a generic address is one of global memory.
#[inline(always)]
pub(super) const fn is_global(generic: u64) -> bool {
    generic < FIRST
}

/// Address of a function, by its id in the module.
pub(super) fn function_address(id: u32) -> u64 {
    Space::Function.generic(u64::from(id + 1) * 16)
}

/// The function with this address.
pub(super) fn function_at(address: u64) -> Option<u32> {
    let offset = Space::Function.specific(address);
    let valid = Space::Function.contains(address) && offset.is_multiple_of(16) && offset != 0;
    valid.then(|| (offset / 16 - 1) as u32)
}

/// First generic address of a state space that has a window.
pub fn window(space: crate::ir::Space) -> Option<u64> {
    match space {
        crate::ir::Space::Shared => Some(Space::Shared.generic(0)),
        crate::ir::Space::Local => Some(Space::Local.generic(0)),
        crate::ir::Space::Param => Some(Space::Param.generic(0)),
        crate::ir::Space::Generic | crate::ir::Space::Global | crate::ir::Space::Const => None,
    }
}
