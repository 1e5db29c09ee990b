//! What modules are made of, written to a folder for people: `VGPU_SOFT_DUMP`, `vgpu run --dump-ir`.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::Path;

use vgpu_engine::ir;

/// Writes a module's PTX.
pub(super) fn text(folder: &Path, text: &[u8]) {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    warn(folder, write(folder, &format!("module-{:016x}.ptx", hasher.finish()), text));
}

/// Writes the IR of each kernel and function of a module.
pub(super) fn functions(folder: &Path, module: &ir::Module) {
    for function in module.functions.iter().filter(|function| function.unsupported.is_none()) {
        let name = format!("{}.ir", function.listing_name());
        warn(folder, write(folder, &name, function.to_string().as_bytes()));
    }
}

/// Several processes may write the same file; each sees a whole one.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let place = folder.join(name);
    if place.exists() {
        return Ok(());
    }
    let unfinished = folder.join(format!(".{name}.{}", std::process::id()));
    std::fs::create_dir_all(folder)?;
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, place)
}

fn warn(folder: &Path, written: io::Result<()>) {
    if let Err(error) = written {
        log::warn!("softgpu: nothing can be written to {}: {error}", folder.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vgpu_engine::ptx;

    #[test]
    fn a_module_is_its_text_and_a_file_for_each_function() {
        let folder = std::env::temp_dir().join(format!("vgpu-dump-{}", std::process::id()));
        let long = "k".repeat(300);
        let source = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry a() {{ ret; }}\n\
             .visible .entry {long}() {{ bar.sync 0; ret; }}\n"
        );
        text(&folder, source.as_bytes());
        functions(&folder, &ptx::compile(source.as_bytes()).unwrap());
        let read = |entry: io::Result<std::fs::DirEntry>| {
            let entry = entry.unwrap();
            (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap())
        };
        let mut files: Vec<(String, String)> = folder.read_dir().unwrap().map(read).collect();
        files.sort();
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(files.len(), 3);
        assert!(files[0].0.starts_with("a-") && files[0].1.starts_with("entry a "), "{files:?}");
        assert!(files[1].0.len() < 150 && files[1].1.contains("BarrierSync"), "{files:?}");
        assert!(files[2].0.ends_with(".ptx") && files[2].1 == source, "{files:?}");
    }
}
