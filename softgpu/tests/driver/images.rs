use crate::kit::*;
use std::ffi::CString;

fn load_text(text: &str) -> Loaded {
    load(CString::new(text).unwrap().as_bytes_with_nul())
}

#[test]
fn bad_ptx_is_refused_with_line_and_column() {
    let _context = Context::new();
    let loaded = load_text(&KERNELS.replace("add.f32", "add.bogus"));
    assert_eq!(loaded.result, CUresult::INVALID_PTX);
    let line = KERNELS.lines().position(|line| line.contains("add.f32")).unwrap() + 1;
    assert!(loaded.error.contains(&format!("line {line}, column")), "{}", loaded.error);
}

#[test]
fn text_that_is_no_ptx_is_refused() {
    let _context = Context::new();
    for text in ["", "x", "ab", "abc", "hello world", "\u{1}\u{2}", "\n\n\n"] {
        let loaded = load_text(text);
        assert_eq!(loaded.result, CUresult::INVALID_IMAGE, "{text:?}");
        assert!(!loaded.error.is_empty());
    }
}

#[test]
fn machine_code_is_refused_with_advice() {
    let _context = Context::new();
    let loaded = load(b"\x7fELF\x02\x01\x01\x33\0");
    assert_eq!(loaded.result, CUresult::NO_BINARY_FOR_GPU);
    assert!(loaded.error.contains("-gencode arch=compute_75,code=compute_75"), "{}", loaded.error);
}

#[test]
fn a_newer_target_is_refused() {
    let _context = Context::new();
    let loaded = load_text(&KERNELS.replace("sm_75", "sm_90"));
    assert_eq!(loaded.result, CUresult::INVALID_PTX);
    assert!(loaded.error.contains("sm_90") && loaded.error.contains("sm_80"), "{}", loaded.error);
}

#[test]
fn logs_are_cut_to_their_buffers() {
    let _context = Context::new();
    for size in [0_usize, 1, 2, 10] {
        let mut log = vec![0x55_u8; size + 1];
        let mut values = [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(size)];
        let mut module = std::ptr::null_mut();
        let result = cu!(cuModuleLoadDataEx(
            &mut module,
            c".version bad".as_ptr().cast(),
            2,
            [5, 6].as_ptr(),
            values.as_mut_ptr()
        ));
        assert_eq!(result, CUresult::INVALID_PTX);
        assert_eq!(values[1].addr(), size.saturating_sub(1));
        assert_eq!(log[size], 0x55);
        assert!(size == 0 || log[size - 1] == 0);
    }
}

#[test]
fn a_kernel_with_unsupported_instructions_loads_and_is_not_launched() {
    let _context = Context::new();
    let cluster = ".visible .entry cluster()\n{\n\tbarrier.cluster.arrive;\n\tret;\n}\n";
    let loaded = load_text(&format!("{KERNELS}{cluster}"));
    assert_eq!(loaded.result, CUresult::SUCCESS, "{}", loaded.error);
    assert!(loaded.info.contains("barrier.cluster") && loaded.info.contains("`cluster`"), "{}", loaded.info);
    let null = std::ptr::null_mut();
    assert_eq!(launch(function(loaded.module, "cluster"), 1, 32, null, &[]), CUresult::NOT_SUPPORTED);
    assert_eq!(launch(function(loaded.module, "empty"), 1, 32, null, &[]), CUresult::SUCCESS);
    ok!(cuCtxSynchronize());
}

#[test]
fn unresolved_functions_are_named_and_their_callers_not_launched() {
    let _context = Context::new();
    let text = ".version 8.0\n.target sm_75\n.address_size 64\n.extern .func missing();\n\
        .visible .entry k()\n{\n\tcall.uni missing;\n\tret;\n}\n";
    let loaded = load_text(text);
    assert_eq!(loaded.result, CUresult::SUCCESS, "{}", loaded.error);
    assert!(loaded.info.contains("`k`") && loaded.info.contains("missing"), "{}", loaded.info);
    let kernel = function(loaded.module, "k");
    assert_eq!(launch(kernel, 1, 1, std::ptr::null_mut(), &[]), CUresult::NOT_SUPPORTED);
}
