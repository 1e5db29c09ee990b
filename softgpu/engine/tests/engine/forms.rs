//! Runs single instructions on tables of inputs.

use crate::device::{Arg, Device};
use std::fmt::Write;

/// Inputs as bits, and the expected result.
pub type Case<'a> = (&'a [u64], u64);

/// Registers are `%a`, `%b`, `%c`, … for inputs of the given bit sizes and `%d` for
/// the result; `%p` and `%q` are predicates, `%t0` to `%t3` 32-bit temporaries.
/// A result size of 1 stands for the predicate `%p`.
pub fn check(result: u32, inputs: &[u32], text: &str, cases: &[Case<'_>]) {
    let d = Device::with_threads(1);
    let names = ["%a", "%b", "%c", "%e", "%f"];
    let mut body = String::new();
    for (name, bits) in names.iter().zip(inputs) {
        writeln!(body, "  .reg .b{bits} {name};").unwrap();
    }
    for (i, (name, bits)) in names.iter().zip(inputs).enumerate() {
        writeln!(body, "  ld.global.b{bits} {name}, [%in+{}];", i * 8).unwrap();
    }
    let (declare, store) = match result {
        1 => (String::new(), "selp.u32 %t3, 1, 0, %p;\n  st.global.u32 [%out], %t3;".to_string()),
        bits => (format!(".reg .b{bits} %d;"), format!("st.global.b{bits} [%out], %d;")),
    };
    let source = format!(
        ".version 8.6\n.target sm_90\n.address_size 64\n\
         .visible .entry k(.param .u64 pin, .param .u64 pout)\n{{\n\
         .reg .b64 %in, %out, %o;\n.reg .b32 %tid, %t<4>;\n.reg .pred %p, %q;\n{declare}\n\
         ld.param.u64 %in, [pin];\nld.param.u64 %out, [pout];\nmov.u32 %tid, %tid.x;\n\
         mad.wide.u32 %in, %tid, {}, %in;\nmad.wide.u32 %out, %tid, 8, %out;\n{body}\n  {text}\n  {store}\n  ret;\n}}\n",
        inputs.len() * 8,
    );
    let mut words = Vec::new();
    for (values, _) in cases {
        assert_eq!(values.len(), inputs.len(), "{text}");
        words.extend(values.iter().flat_map(|v| [*v as u32, (*v >> 32) as u32]));
    }
    let (pin, pout) = (d.words(&words), d.words(&vec![0; cases.len() * 2]));
    let program = d.load(&source);
    let shape = ([1; 3], [cases.len() as u32, 1, 1]);
    d.launch(&program, "k", shape, &[Arg::U64(pin), Arg::U64(pout)]).unwrap_or_else(|e| panic!("{text}: {e}"));
    let out = d.read(pout, cases.len() * 2);
    for (i, (values, expected)) in cases.iter().enumerate() {
        let got = u64::from(out[2 * i]) | u64::from(out[2 * i + 1]) << 32;
        assert_eq!(got, *expected, "{text}: inputs {values:#x?} gave {got:#x}, not {expected:#x}");
    }
}

/// As [`check`], for `f32` inputs and result.
pub fn check_f32(text: &str, cases: &[(&[f32], f32)]) {
    let bits: Vec<(Vec<u64>, u64)> =
        cases.iter().map(|(i, r)| (i.iter().map(|x| x.to_bits().into()).collect(), r.to_bits().into())).collect();
    let cases: Vec<Case<'_>> = bits.iter().map(|(i, r)| (i.as_slice(), *r)).collect();
    check(32, &vec![32; cases[0].0.len()], text, &cases);
}

/// As [`check`], for `f64` inputs and result.
pub fn check_f64(text: &str, cases: &[(&[f64], f64)]) {
    let bits: Vec<(Vec<u64>, u64)> =
        cases.iter().map(|(i, r)| (i.iter().map(|x| x.to_bits()).collect(), r.to_bits())).collect();
    let cases: Vec<Case<'_>> = bits.iter().map(|(i, r)| (i.as_slice(), *r)).collect();
    check(64, &vec![64; cases[0].0.len()], text, &cases);
}
