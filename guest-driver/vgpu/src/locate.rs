//! Where the project's other files are: beside this executable in a build folder, or installed.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Environment variable with another backend.
const BACKEND_VARIABLE: &str = "VGPU_BACKEND";
const BACKEND: &str = "vhost-user-vgpu";

/// A library of ours: the name that programs ask for, and where it may lie relative to this
/// executable.
pub struct Library {
    /// File name that the dynamic linker looks for.
    pub soname: &'static str,
    /// File name that build-time linking looks for.
    pub link_name: &'static str,
    /// Places relative to the folder of this executable.
    places: [&'static str; 3],
}

/// The CUDA driver library.
pub const LIBCUDA: Library = Library {
    soname: "libcuda.so.1",
    link_name: "libcuda.so",
    places: ["libcuda.so", "../lib/x86_64-linux-gnu/vgpu/libcuda.so.1", "../lib/vgpu/libcuda.so.1"],
};

/// The management library.
pub const LIBNVML: Library = Library {
    soname: "libnvidia-ml.so.1",
    link_name: "libnvidia-ml.so",
    places: ["libnvidia_ml.so", "../lib/x86_64-linux-gnu/vgpu/libnvidia-ml.so.1", "../lib/vgpu/libnvidia-ml.so.1"],
};

impl Library {
    /// The library's file.
    pub fn find(&self) -> Result<PathBuf> {
        let folder = own_folder()?;
        let found = self.places.iter().map(|place| folder.join(place)).find(|path| path.is_file());
        let path = found.with_context(|| {
            format!(
                "{} is not installed and not beside {}; build it with: cargo build --release --workspace",
                self.soname,
                folder.display()
            )
        })?;
        path.canonicalize().with_context(|| path.display().to_string())
    }
}

/// The backend's executable.
pub fn backend() -> Result<PathBuf> {
    if let Some(path) = env::var_os(BACKEND_VARIABLE) {
        return Ok(path.into());
    }
    let folders = env::var_os("PATH").unwrap_or_default();
    std::iter::once(own_folder()?)
        .chain(env::split_paths(&folders))
        .map(|folder| folder.join(BACKEND))
        .find(|path| path.is_file())
        .with_context(|| format!("there is no {BACKEND} beside this program or in PATH; build it with cargo build --release --workspace, or name it in {BACKEND_VARIABLE}"))
}

fn own_folder() -> Result<PathBuf> {
    let exe = env::current_exe().context("where is this program")?;
    Ok(exe.parent().map(Path::to_path_buf).unwrap_or_default())
}
