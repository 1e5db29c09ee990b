//! The functions that a libcuda exports, and how `cuGetProcAddress` chooses among them.

use std::collections::HashMap;
use std::ffi::c_void;

use crate::cuda::CUresult;

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

    /// What `cuGetProcAddress` answers on a driver of `driver_version`: its result, the function, and
    /// the number that says why there is none (`CUdriverProcAddressQueryResult`).
    pub fn answer(
        &self,
        base: &str,
        version: i32,
        flags: u64,
        driver_version: i32,
    ) -> (CUresult, Option<&'static Export>, i32) {
        let per_thread = flags & PER_THREAD != 0;
        match self.find(base, version.max(0).min(driver_version).unsigned_abs(), per_thread) {
            Err(Missing::Symbol) => (CUresult::NOT_FOUND, None, Missing::Symbol as i32),
            // No driver has functions of a version after its own.
            _ if version > driver_version => (CUresult::INVALID_VALUE, None, Missing::Version as i32),
            Err(Missing::Version) => (CUresult::NOT_FOUND, None, Missing::Version as i32),
            Ok(export) => (CUresult::SUCCESS, Some(export), 0),
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const fn export(base: &'static str, since: u32, name: &'static str, per_thread: bool) -> Export {
        Export { base, since, name, per_thread, address: Address(std::ptr::null()) }
    }

    static EXPORTS: [Export; 4] = [
        export("cuCopy", 4000, "cuCopy", false),
        export("cuCopy", 7000, "cuCopy_ptsz", true),
        export("cuCopy", 12080, "cuCopy_v2", false),
        export("cuNew", 13000, "cuNew", false),
    ];

    #[test]
    fn test_answers_follow_versions_of_program_and_driver() {
        let exports = Exports::new(&EXPORTS);
        let answer = |base, version, flags, driver| {
            let (result, export, status) = exports.answer(base, version, flags, driver);
            (result, export.map(|export| export.name), status)
        };
        let found = |name| (CUresult::SUCCESS, Some(name), 0);
        assert_eq!(answer("cuCopy", 12000, 0, 13000), found("cuCopy"));
        assert_eq!(answer("cuCopy", 12080, 0, 13000), found("cuCopy_v2"));
        assert_eq!(answer("cuCopy", 12000, PER_THREAD, 12000), found("cuCopy_ptsz"));
        assert_eq!(answer("cuCopy", 4000, PER_THREAD, 12000), found("cuCopy"));
        assert_eq!(answer("cuCopy", 3000, 0, 13000), (CUresult::NOT_FOUND, None, 2));
        assert_eq!(answer("cuNew", 12080, 0, 12080), (CUresult::NOT_FOUND, None, 2));
        assert_eq!(answer("cuNew", 13000, 0, 12080), (CUresult::INVALID_VALUE, None, 2));
        assert_eq!(answer("cuOld", 12080, 0, 12080), (CUresult::NOT_FOUND, None, 1));
        assert_eq!(answer("cuCopy", -1, 0, 12080), (CUresult::NOT_FOUND, None, 2));
    }
}
