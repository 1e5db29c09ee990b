//! The functions that a libcuda exports, and how `cuGetProcAddress` chooses among them.

use std::collections::HashMap;
use std::ffi::c_void;

/// Flag of `cuGetProcAddress`: functions whose stream 0 is the calling thread's.
pub const PER_THREAD: u64 = 2;
/// All its flags.
pub const FLAGS: u64 = 3;

/// Address of an exported function.
#[derive(Clone, Copy)]
pub struct Address(pub *const c_void);

// SAFETY: addresses of functions are plain numbers.
unsafe impl Sync for Address {}
// SAFETY: as above.
unsafe impl Send for Address {}

/// One exported function.
pub struct Export {
    /// Name without `_vN`, as clients ask for it.
    pub base: &'static str,
    /// First CUDA version that has this variant.
    pub since: u32,
    /// Symbol.
    pub name: &'static str,
    /// Whether stream 0 means the calling thread's stream.
    pub per_thread: bool,
    /// Where it is.
    pub address: Address,
}

/// Why there is no function: `CUdriverProcAddressQueryResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No version has a function of that name.
    Symbol = 1,
    /// That version does not have it yet.
    Version = 2,
}

/// The exports by base name.
pub struct Exports(HashMap<&'static str, Vec<&'static Export>>);

impl Exports {
    /// Sorts the exports by name.
    pub fn new(exports: &'static [Export]) -> Exports {
        let mut by_name: HashMap<&str, Vec<&Export>> = HashMap::new();
        exports.iter().for_each(|export| by_name.entry(export.base).or_default().push(export));
        Exports(by_name)
    }

    /// The newest variant of `base` that `version` has, the per-thread twin if there is one and it is
    /// wanted.
    pub fn find(&self, base: &str, version: u32, per_thread: bool) -> Result<&'static Export, Missing> {
        let variants = self.0.get(base).ok_or(Missing::Symbol)?;
        let newest = |twin: bool| {
            variants.iter().filter(|e| e.per_thread == twin && e.since <= version).max_by_key(|e| e.since).copied()
        };
        per_thread.then(|| newest(true)).flatten().or_else(|| newest(false)).ok_or(Missing::Version)
    }
}
