//! The linker: several PTX texts become one, in a container that describes itself.
//!
//! PTX allows its header to be repeated, so texts are joined by writing them one behind the other. A
//! function that one text declares `.extern` then finds its definition in another. CUDA's device runtime
//! comes as machine code; a text of our own stands for it.

use vgpu_protocol::cuda::CUresult;

use super::image::{check_text, compile_text, ptx_of, JitLog, BUILD_HINT};
use super::{Code, Result};
use vgpu_engine::ptx;
use vgpu_images::fatbin;

/// `CUjitInputType`: PTX text and fat binaries are what can be linked.
const INPUT_PTX: i32 = 1;
const INPUT_FATBINARY: i32 = 2;
const INPUT_LIBRARY: i32 = 4;
/// What an archive starts with, and the name of the only member of `libcudadevrt.a`.
const ARCHIVE: &[u8] = b"!<arch>\n";
const DEVICE_RUNTIME_MEMBER: &[u8] = b"cuda_device_runtime.o";
/// Stands for that member.
const DEVICE_RUNTIME: &[u8] = include_bytes!("device_runtime.ptx");
/// The highest `CUjitInputType`.
const INPUT_LAST: i32 = 5;
/// Largest joined text, bytes.
const TEXT_MAX: usize = 1 << 30;

type Report = Box<dyn FnMut(&JitLog) + Send>;

/// A link in progress.
pub(in crate::driver) struct Link {
    /// Handle of the context that it ends with.
    pub(super) context: u64,
    /// Compute capability of the device, times ten.
    capability: u32,
    text: Vec<u8>,
    image: Option<Vec<u8>>,
    log: JitLog,
    /// Is told all messages so far after every step.
    report: Report,
}

impl Link {
    /// A link without inputs, in a context (by its handle), for a device of this capability (times ten).
    pub(in crate::driver) fn new(context: u64, capability: u32, report: Report) -> Link {
        Link { context, capability, text: Vec::new(), image: None, log: JitLog::default(), report }
    }

    /// Adds an input after checking it by itself. `kind` is a `CUjitInputType`, `name` is for messages.
    pub(in crate::driver) fn add(&mut self, kind: i32, data: &[u8], name: &str) -> Result {
        let added = self.check_and_add(kind, data, name);
        (self.report)(&self.log);
        added
    }

    fn check_and_add(&mut self, kind: i32, data: &[u8], name: &str) -> Result {
        if self.image.is_some() || !(0..=INPUT_LAST).contains(&kind) {
            return Err(CUresult::INVALID_VALUE);
        }
        let text = match kind {
            INPUT_PTX => data.split(|byte| *byte == 0).next().unwrap_or_default().into(),
            INPUT_FATBINARY => ptx_of(data, self.capability, &mut self.log)?,
            INPUT_LIBRARY if is_device_runtime(data) => DEVICE_RUNTIME.into(),
            _ => {
                let message = format_args!("link: the input `{name}` is machine code or an object file. {BUILD_HINT}");
                return self.log.fail(CUresult::NO_BINARY_FOR_GPU, message);
            }
        };
        check_text(&text, &mut self.log)?;
        if let Err(error) = ptx::compile(&text) {
            return self.log.fail(CUresult::INVALID_PTX, format_args!("ptx, input `{name}`, {error}"));
        }
        if self.text.len().saturating_add(text.len()) >= TEXT_MAX {
            return Err(CUresult::OUT_OF_MEMORY);
        }
        self.text.extend_from_slice(&text);
        self.text.push(b'\n');
        Ok(())
    }

    /// The linked image, which stays where it is as long as the link lives.
    pub(in crate::driver) fn complete(&mut self) -> Result<&[u8]> {
        if self.text.is_empty() {
            return Err(CUresult::INVALID_VALUE);
        }
        if self.image.is_none() {
            let compiled = self.check_complete();
            (self.report)(&self.log);
            self.image = Some(fatbin::with_ptx(&self.text, ptx::target_number(&compiled?.module.target)));
        }
        Ok(self.image.as_deref().unwrap_or_default())
    }

    /// The linked code; whatever its kernels call must be there.
    fn check_complete(&mut self) -> Result<Code> {
        let code = compile_text(&self.text, self.capability, &mut self.log)?;
        if let Some((kernel, refusal)) = code.unresolved() {
            return self.log.fail(CUresult::INVALID_PTX, format_args!("link: kernel `{kernel}`: {refusal}"));
        }
        Ok(code)
    }
}

fn is_device_runtime(data: &[u8]) -> bool {
    /// Behind the archive's header may lie a table of symbols and one of long names.
    const SEARCHED: usize = 64 << 10;
    let start = &data[..data.len().min(SEARCHED)];
    start.starts_with(ARCHIVE) && start.windows(DEVICE_RUNTIME_MEMBER.len()).any(|name| name == DEVICE_RUNTIME_MEMBER)
}

#[cfg(test)]
mod tests {
    use super::super::image::compile;
    use super::*;

    const CALLER: &[u8] = b".version 8.0\n.target sm_75\n.address_size 64\n\
        .extern .func (.param .b32 r) twice (.param .b32 a);\n\
        .visible .entry k(.param .u64 p) { .reg .b32 %r<3>; .reg .b64 %d<2>;\n\
        ld.param.u64 %d1, [p]; mov.u32 %r1, 21;\n\
        { .param .b32 x; .param .b32 y; st.param.b32 [x], %r1; call (y), twice, (x); ld.param.b32 %r2, [y]; }\n\
        st.global.u32 [%d1], %r2; ret; }\n\0";
    const CALLEE: &[u8] = b".version 7.0\n.target sm_70\n.address_size 64\n\
        .visible .func (.param .b32 r) twice (.param .b32 a) { .reg .b32 %r<3>;\n\
        ld.param.b32 %r1, [a]; add.u32 %r2, %r1, %r1; st.param.b32 [r], %r2; ret; }\n";

    fn link(inputs: &[&[u8]]) -> (Result<Vec<u8>>, JitLog) {
        let mut link = Link::new(1, 80, Box::new(|_| ()));
        let added: Result<Vec<()>> = inputs.iter().map(|data| link.add(INPUT_PTX, data, "test")).collect();
        let image = added.and_then(|_| link.complete().map(<[u8]>::to_vec));
        (image, link.log)
    }

    #[test]
    fn externs_are_resolved_in_either_order_and_the_image_describes_itself() {
        for inputs in [[CALLER, CALLEE], [CALLEE, CALLER]] {
            let (image, log) = link(&inputs);
            let image = image.unwrap_or_else(|error| panic!("{error}: {}", log.error));
            assert_eq!(fatbin::container_size(&image), Some(image.len() as u64));
            let code = compile(&image, 80, &mut JitLog::default()).unwrap_or_else(|error| panic!("{error}"));
            assert!(code.has_kernel("k") && code.refusal("k").is_none());
            assert_eq!(code.module.version, (8, 0));
            assert_eq!(code.module.target, "sm_75");
        }
    }

    #[test]
    fn a_missing_function_is_an_error_with_a_log() {
        let (image, log) = link(&[CALLER]);
        assert_eq!(image.err(), Some(CUresult::INVALID_PTX));
        assert!(log.error.contains("`twice`"), "{}", log.error);
    }

    #[test]
    fn the_device_runtime_library_is_replaced() {
        const GRID: &[u8] = b".version 8.0\n.target sm_75\n.address_size 64\n\
            .extern .func (.param .b64 r) cudaCGGetIntrinsicHandle (.param .b32 a);\n\
            .extern .func (.param .b32 r) cudaCGSynchronize (.param .b64 a, .param .b32 b);\n\
            .visible .entry k() { .param .b32 s; .param .b64 h; .param .b32 f; .param .b32 e; .reg .b64 %d;\n\
            st.param.b32 [s], 1; call (h), cudaCGGetIntrinsicHandle, (s); ld.param.b64 %d, [h];\n\
            st.param.b32 [f], 0; st.param.b64 [h], %d; call (e), cudaCGSynchronize, (h, f); ret; }\n";
        let mut archive = b"!<arch>\n".to_vec();
        archive.extend(b"cuda_device_runtime.o/  0           0     0     644     4         `\n\x7fELF");
        let mut link = Link::new(0, 80, Box::new(|_| ()));
        assert_eq!(link.add(INPUT_PTX, GRID, "kernel"), Ok(()));
        assert_eq!(link.add(INPUT_LIBRARY, &archive, "libcudadevrt.a"), Ok(()));
        let image = link.complete().unwrap_or_else(|error| panic!("{error}")).to_vec();
        let code = compile(&image, 80, &mut JitLog::default()).unwrap_or_else(|error| panic!("{error}"));
        assert!(code.refusal("k").is_none());
        let mut link = Link::new(0, 80, Box::new(|_| ()));
        let other = b"!<arch>\nother.o/        0           0     0     644     4         `\n\x7fELF";
        assert_eq!(link.add(INPUT_LIBRARY, other, "libother.a"), Err(CUresult::NO_BINARY_FOR_GPU));
    }

    #[test]
    fn two_definitions_are_an_error_with_a_log() {
        let (image, log) = link(&[CALLEE, CALLEE]);
        assert_eq!(image.err(), Some(CUresult::INVALID_PTX));
        assert!(log.error.contains("`twice` is defined twice"), "{}", log.error);
    }

    #[test]
    fn machine_code_is_refused_with_a_hint() {
        let mut link = Link::new(1, 80, Box::new(|_| ()));
        assert_eq!(link.add(0, b"\x7fELF", "a.cubin"), Err(CUresult::NO_BINARY_FOR_GPU));
        assert!(link.log.error.contains("a.cubin") && link.log.error.contains("compute_75"), "{}", link.log.error);
        assert_eq!(link.complete().err(), Some(CUresult::INVALID_VALUE), "nothing was added");
    }
}
