use crate::kit::*;
use std::ffi::CString;
use std::process::Command;

const PRINTING: &str = ".version 8.0
.target sm_75
.address_size 64
.extern .func (.param .b32 result) vprintf(.param .b64 format, .param .b64 arguments);
.global .align 1 .b8 format[10] = {118, 97, 108, 117, 101, 61, 37, 100, 10, 0};

.visible .entry printing(.param .u32 value)
{
	.local .align 8 .b8 arguments[8];
	.reg .b32 %r<3>;
	.reg .b64 %rd<5>;
	ld.param.u32 %r1, [value];
	mov.u64 %rd1, arguments;
	st.local.u32 [%rd1], %r1;
	cvta.local.u64 %rd2, %rd1;
	mov.u64 %rd3, format;
	cvta.global.u64 %rd4, %rd3;
	{
		.param .b64 a;
		st.param.b64 [a], %rd4;
		.param .b64 b;
		st.param.b64 [b], %rd2;
		.param .b32 r;
		call.uni (r), vprintf, (a, b);
		ld.param.b32 %r2, [r];
	}
	ret;
}
";

/// Set in the process whose standard output is looked at.
const CHILD: &str = "SOFTGPU_TEST_PRINTS";

fn print_and_synchronise() {
    let _context = Context::new();
    let text = CString::new(PRINTING).unwrap();
    let loaded = load(text.as_bytes_with_nul());
    assert_eq!(loaded.result, CUresult::SUCCESS, "{}", loaded.error);
    let kernel = function(loaded.module, "printing");
    for value in [7, 8] {
        assert_eq!(launch(kernel, 1, 1, std::ptr::null_mut(), &[value]), CUresult::SUCCESS);
        ok!(cuCtxSynchronize());
        println!("synchronised");
    }
}

#[test]
fn printf_text_is_out_when_the_synchronising_call_returns() {
    if std::env::var_os(CHILD).is_some() {
        return print_and_synchronise();
    }
    let test = "output::printf_text_is_out_when_the_synchronising_call_returns";
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(child.stdout).unwrap();
    assert!(child.status.success(), "{text}");
    assert!(text.contains("value=7\nsynchronised\nvalue=8\nsynchronised\n"), "{text}");
}
