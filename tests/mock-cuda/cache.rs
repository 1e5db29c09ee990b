//! The driver's cache of compiled kernels, as `CUDA_CACHE_PATH` and `CUDA_CACHE_DISABLE` say.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

/// Where it is, if there is one.
fn folder() -> Option<PathBuf> {
    let disabled = std::env::var("CUDA_CACHE_DISABLE").is_ok_and(|value| value == "1");
    std::env::var_os("CUDA_CACHE_PATH").filter(|_| !disabled).map(PathBuf::from)
}

/// Notes in the cache that an image was compiled, or that it was found there, and what of others' can be seen.
pub fn load() {
    let Some(folder) = folder() else { return };
    let path = folder.join("image");
    let line = if path.exists() { "found" } else { "compiled" };
    let file = File::options().append(true).create(true).open(path);
    let others = std::fs::read_dir(folder.join("..")).map_or(0, Iterator::count);
    // Without a cache that can be written, a driver compiles each time.
    let _ = file.and_then(|mut file| writeln!(file, "{line}, sees {others} users"));
}
