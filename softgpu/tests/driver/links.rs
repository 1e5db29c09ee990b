use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut, without_provenance_mut};

use vgpu_protocol::cuda::CUlinkState;

use crate::kit::*;

const PTX: i32 = 1;
const CALLER: &str = ".version 8.0\n.target sm_75\n.address_size 64\n\
    .extern .func (.param .b32 r) twice (.param .b32 a);\n\
    .visible .entry store_twice(.param .u64 p, .param .u64 v) { .reg .b32 %r<3>; .reg .b64 %d<2>;\n\
    ld.param.u64 %d1, [p]; ld.param.u32 %r1, [v];\n\
    { .param .b32 x; .param .b32 y; st.param.b32 [x], %r1; call (y), twice, (x); ld.param.b32 %r2, [y]; }\n\
    st.global.u32 [%d1], %r2; ret; }\n";
const CALLEE: &str = ".version 7.0\n.target sm_70\n.address_size 64\n\
    .visible .func (.param .b32 r) twice (.param .b32 a) { .reg .b32 %r<3>;\n\
    ld.param.b32 %r1, [a]; add.u32 %r2, %r1, %r1; st.param.b32 [r], %r2; ret; }\n";

fn create() -> CUlinkState {
    let mut link = null_mut();
    ok!(cuLinkCreate_v2(0, null(), null_mut(), &mut link));
    link
}

fn add(link: CUlinkState, kind: i32, data: &str, name: *const c_char) -> CUresult {
    cu!(cuLinkAddData_v2(link, kind, data.as_ptr().cast_mut().cast(), data.len(), name, 0, null(), null_mut()))
}

#[test]
fn a_linked_image_loads_and_calls_across_its_inputs() {
    let _context = Context::new();
    let link = create();
    assert_eq!(add(link, PTX, CALLER, c"caller".as_ptr()), CUresult::SUCCESS);
    assert_eq!(add(link, PTX, CALLEE, null()), CUresult::SUCCESS);
    let (mut image, mut size) = (null_mut(), 0);
    ok!(cuLinkComplete(link, &mut image, &mut size));
    // SAFETY: the link's image is that long until the link ends.
    let copy = unsafe { std::slice::from_raw_parts(image.cast::<u8>(), size) }.to_vec();
    ok!(cuLinkDestroy(link));
    let loaded = load(&copy);
    assert_eq!(loaded.result, CUresult::SUCCESS, "{}", loaded.error);
    let result = alloc(4);
    assert_eq!(launch(function(loaded.module, "store_twice"), 1, 1, null_mut(), &[result, 21]), CUresult::SUCCESS);
    assert_eq!(download::<u32>(result, 1), [42]);
}

#[test]
fn the_logs_of_every_step_are_in_the_buffers_of_the_link() {
    let _context = Context::new();
    let mut log = vec![0x55_u8; 512];
    let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), without_provenance_mut(log.len())];
    let mut link = null_mut();
    ok!(cuLinkCreate_v2(2, [5, 6].as_ptr(), values.as_mut_ptr(), &mut link));
    assert_eq!(add(link, PTX, ".version bad", c"first.ptx".as_ptr()), CUresult::INVALID_PTX);
    assert_eq!(add(link, 0, "\x7fELF", c"second.cubin".as_ptr()), CUresult::NO_BINARY_FOR_GPU);
    ok!(cuLinkDestroy(link));
    let text = String::from_utf8_lossy(&log[..values[1].addr()]).into_owned();
    assert!(text.contains("first.ptx") && text.contains("second.cubin"), "{text}");
}

#[test]
fn misuse_is_refused() {
    let _context = Context::new();
    let link = create();
    let (mut image, mut size) = (null_mut(), 0);
    assert_eq!(cu!(cuLinkComplete(link, &mut image, &mut size)), CUresult::INVALID_VALUE, "no input");
    assert_eq!(add(link, 99, CALLER, null()), CUresult::INVALID_VALUE);
    assert_eq!(add(link, PTX, CALLEE, null()), CUresult::SUCCESS);
    ok!(cuLinkComplete(link, &mut image, &mut size));
    assert_eq!(add(link, PTX, CALLER, null()), CUresult::INVALID_VALUE, "complete");
    ok!(cuLinkDestroy(link));
    assert_eq!(cu!(cuLinkDestroy(link)), CUresult::INVALID_HANDLE);
    assert_eq!(add(link, PTX, CALLER, null()), CUresult::INVALID_HANDLE);
}
