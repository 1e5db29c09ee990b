//! From a module image (PTX text, fat binary or machine code) to the IR.

use std::borrow::Cow;
use std::fmt::Write;

use vgpu_protocol::cuda::CUresult;

use super::fatbin::{best_ptx, FatbinError};
use super::{configured, dump, Code, Result};
use vgpu_engine::ptx;

const ELF: &[u8] = b"\x7fELF";
const TILE_IR: &[u8] = b"\x7fTileIR";
pub(super) const BUILD_HINT: &str = "The software GPU executes PTX. Build with PTX included, for example \
                          `nvcc -gencode arch=compute_75,code=compute_75`.";

/// More than this is not reported about kernels that cannot be launched, bytes.
const INFO_BYTES: usize = 64 << 10;

/// What a compiler would have printed.
#[derive(Clone, Debug, Default)]
pub(in crate::driver) struct JitLog {
    pub(in crate::driver) info: String,
    pub(in crate::driver) error: String,
}

impl JitLog {
    pub(super) fn fail<T>(&mut self, code: CUresult, message: impl std::fmt::Display) -> Result<T> {
        let _ = writeln!(self.error, "{message}");
        Err(code)
    }
}

/// Compiles an image for a device of this capability (times ten). `image` is what the pointer given to
/// `cuModuleLoadData` leads to: PTX text without its NUL, a fat binary's container, or a cubin.
pub(in crate::driver) fn compile(image: &[u8], capability: u32, log: &mut JitLog) -> Result<Code> {
    compile_text(&ptx_of(image, capability, log)?, capability, log)
}

/// Text that lacks PTX's first directive is no PTX with errors, but no image at all.
pub(super) fn check_text(text: &[u8], log: &mut JitLog) -> Result {
    const FIRST: &[u8] = b".version";
    if text.windows(FIRST.len()).any(|word| word == FIRST) {
        Ok(())
    } else {
        log.fail(
            CUresult::INVALID_IMAGE,
            format_args!("the image is neither PTX text, which has a .version, nor a binary"),
        )
    }
}

/// As [`compile`], for PTX text.
pub(super) fn compile_text(text: &[u8], capability: u32, log: &mut JitLog) -> Result<Code> {
    check_text(text, log)?;
    let dump = configured().dump;
    if let Some(folder) = &dump {
        dump::text(folder, text);
    }
    let module = match ptx::compile(text) {
        Ok(module) => module,
        Err(error) => {
            return log.fail(CUresult::INVALID_PTX, format_args!("ptx, {error}"));
        }
    };
    let target = ptx::target_number(&module.target);
    if target > capability {
        let message = format_args!(
            "ptx: the target {} is higher than the device's, sm_{capability}. Build for `compute_{capability}` or lower.",
            module.target
        );
        return log.fail(CUresult::INVALID_PTX, message);
    }
    if let Some(folder) = &dump {
        dump::functions(folder, &module);
    }
    let code = Code::new(module);
    list_refusals(&code, log);
    Ok(code)
}

/// The PTX text in an image.
pub(super) fn ptx_of<'a>(image: &'a [u8], capability: u32, log: &mut JitLog) -> Result<Cow<'a, [u8]>> {
    if image.starts_with(ELF) {
        return log
            .fail(CUresult::NO_BINARY_FOR_GPU, format_args!("the image is machine code (a cubin). {BUILD_HINT}"));
    }
    if image.starts_with(TILE_IR) {
        let message = "the image is CUDA Tile IR, which only NVIDIA's driver compiles. The software GPU executes PTX.";
        return log.fail(CUresult::NO_BINARY_FOR_GPU, message);
    }
    if !image.starts_with(&vgpu_images::fatbin::MAGIC.to_le_bytes()) {
        return Ok(Cow::Borrowed(image));
    }
    best_ptx(image, capability).or_else(|error| match error {
        FatbinError::Damaged(_) => log.fail(CUresult::INVALID_IMAGE, error),
        FatbinError::NoPtx(_) => log.fail(CUresult::NO_BINARY_FOR_GPU, format_args!("{error}. {BUILD_HINT}")),
    })
}

fn list_refusals(code: &Code, log: &mut JitLog) {
    for (kernel, refusal) in code.refusals() {
        if log.info.len() > INFO_BYTES {
            break;
        }
        let _ = writeln!(log.info, "ptx: kernel `{kernel}` cannot be launched: {refusal}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_code_is_refused_with_a_hint() {
        let mut log = JitLog::default();
        let result = compile(b"\x7fELF\x02\x01\x01", 80, &mut log);
        assert_eq!(result.err(), Some(CUresult::NO_BINARY_FOR_GPU));
        assert!(log.error.contains("code=compute_75"), "{}", log.error);
    }

    #[test]
    fn tile_code_is_refused_by_name() {
        let mut log = JitLog::default();
        assert_eq!(compile(b"\x7fTileIR\0\x0d\x01", 130, &mut log).err(), Some(CUresult::NO_BINARY_FOR_GPU));
        assert!(log.error.contains("CUDA Tile IR"), "{}", log.error);
    }
}
