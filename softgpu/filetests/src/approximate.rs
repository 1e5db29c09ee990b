//! The approximate functions, against the bounds that the PTX ISA gives: `f32` densely, narrower types on
//! every number.

use crate::device::Device;
use crate::Executor;

/// How far a result may be from the exact one.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// Units in the last place of a `f32`.
    Ulp(f64),
    /// Relative error.
    Relative(f64),
    /// Absolute error.
    Absolute(f64),
    /// Absolute error of arguments in (0.5, 2), relative error of others.
    Logarithm(f64),
}

/// Type of argument and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    F32,
    F16,
    BF16,
}

impl Kind {
    fn bits(self) -> u32 {
        match self {
            Kind::F32 => 32,
            Kind::F16 | Kind::BF16 => 16,
        }
    }

    fn value(self, bits: u32) -> f64 {
        match self {
            Kind::F32 => f32::from_bits(bits).into(),
            Kind::BF16 => f32::from_bits(bits << 16).into(),
            Kind::F16 => {
                let (exponent, fraction) = (bits >> 10 & 31, f64::from(bits & 1023));
                let magnitude = match exponent {
                    0 => fraction / 1024.0 * 2f64.powi(-14),
                    31 if fraction != 0.0 => f64::NAN,
                    31 => f64::INFINITY,
                    _ => (1.0 + fraction / 1024.0) * 2f64.powi(exponent as i32 - 15),
                };
                if bits & 0x8000 == 0 {
                    magnitude
                } else {
                    -magnitude
                }
            }
        }
    }

    /// Largest finite and smallest normal number.
    fn limits(self) -> (f64, f64) {
        match self {
            Kind::F32 | Kind::BF16 => (f32::MAX.into(), f32::MIN_POSITIVE.into()),
            Kind::F16 => (65504.0, 2f64.powi(-14)),
        }
    }
}

struct Function {
    instruction: &'static str,
    kind: Kind,
    exact: fn(f64) -> f64,
    bound: Bound,
    /// Arguments that the bound is for.
    range: (f64, f64),
}

const ANY: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const CIRCLE: (f64, f64) = (-2.0 * std::f64::consts::PI, 2.0 * std::f64::consts::PI);

/// PTX ISA, "Floating Point Instructions" and "Half Precision Floating Point Instructions".
fn functions() -> Vec<Function> {
    let f = |instruction, kind, exact, bound, range| Function { instruction, kind, exact, bound, range };
    let two = |exponent: f64| exponent.exp2();
    vec![
        f("rcp.approx.f32", Kind::F32, |x| 1.0 / x, Bound::Ulp(1.0), ANY),
        f("rcp.approx.ftz.f32", Kind::F32, |x| 1.0 / x, Bound::Ulp(1.0), ANY),
        f("sqrt.approx.f32", Kind::F32, f64::sqrt, Bound::Relative(two(-23.0)), ANY),
        f("rsqrt.approx.f32", Kind::F32, |x| 1.0 / x.sqrt(), Bound::Relative(two(-22.9)), ANY),
        f("sin.approx.f32", Kind::F32, f64::sin, Bound::Absolute(two(-20.5)), CIRCLE),
        f("cos.approx.f32", Kind::F32, f64::cos, Bound::Absolute(two(-20.5)), CIRCLE),
        f("lg2.approx.f32", Kind::F32, f64::log2, Bound::Logarithm(two(-22.0)), ANY),
        f("ex2.approx.f32", Kind::F32, f64::exp2, Bound::Ulp(2.0), ANY),
        f("tanh.approx.f32", Kind::F32, f64::tanh, Bound::Relative(two(-11.0)), ANY),
        f("ex2.approx.f16", Kind::F16, f64::exp2, Bound::Relative(two(-9.9)), ANY),
        f("tanh.approx.f16", Kind::F16, f64::tanh, Bound::Absolute(two(-10.987)), ANY),
        f("ex2.approx.ftz.bf16", Kind::BF16, f64::exp2, Bound::Relative(two(-7.0)), ANY),
        f("tanh.approx.bf16", Kind::BF16, f64::tanh, Bound::Absolute(two(-8.0)), ANY),
    ]
}

/// Threads that share the arguments.
const THREADS: usize = 1024;

/// A kernel that applies the instruction to `count` numbers.
fn module(function: &Function, count: usize) -> String {
    let (bits, bytes) = (function.kind.bits(), function.kind.bits() / 8);
    let instruction = function.instruction;
    format!(
        ".version 8.6\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 from, .param .u64 to)\n{{\n\
         .reg .b64 %from, %to;\n.reg .b32 %i;\n.reg .pred %more;\n.reg .b{bits} %x;\n\
         ld.param.u64 %from, [from];\nld.param.u64 %to, [to];\nmov.u32 %i, %tid.x;\n\
         mad.wide.u32 %from, %i, {bytes}, %from;\nmad.wide.u32 %to, %i, {bytes}, %to;\n\
         loop:\nld.global.b{bits} %x, [%from];\n{instruction} %x, %x;\nst.global.b{bits} [%to], %x;\n\
         add.u64 %from, %from, {step};\nadd.u64 %to, %to, {step};\nadd.u32 %i, %i, {THREADS};\n\
         setp.lt.u32 %more, %i, {count};\n@%more bra loop;\nret;\n}}\n",
        step = THREADS * bytes as usize,
    )
}

/// What is wrong with a result.
fn complaint(function: &Function, x: f64, result: f64) -> Option<String> {
    let (largest, least) = function.kind.limits();
    let flushes = function.instruction.contains(".ftz");
    if flushes && x != 0.0 && x.abs() < least || x < function.range.0 || x > function.range.1 {
        return None;
    }
    let exact = (function.exact)(x);
    let relative = |error: f64| error * exact.abs();
    let allowed = match function.bound {
        Bound::Ulp(count) => relative(count * f64::from(f32::EPSILON)),
        Bound::Relative(error) => relative(error),
        Bound::Absolute(error) => error,
        Bound::Logarithm(error) if x > 0.5 && x < 2.0 => error,
        Bound::Logarithm(error) => relative(error),
    };
    let right = if exact.is_nan() {
        result.is_nan()
    } else if exact.is_infinite() || exact.abs() > largest {
        result == exact || result.abs() >= largest * (1.0 - allowed / exact.abs()) && result.signum() == exact.signum()
    } else if exact.abs() < least {
        // Subnormal results may be flushed, or are as fine as subnormals are.
        result.abs() <= least && (result == 0.0 || (result - exact).abs() <= allowed.max(least * 2f64.powi(-7)))
    } else {
        (result - exact).abs() <= allowed || (exact.abs() > largest * 0.999 && result.is_infinite())
    };
    (!right).then(|| format!("{}: {x:e} gave {result:e}, exact is {exact:e}", function.instruction))
}

/// Runs all functions; gives the number of results.
///
/// # Errors
/// The first wrong result of each function.
pub fn run(executor: &dyn Executor) -> Result<usize, Vec<String>> {
    let (mut count, mut failures) = (0, Vec::new());
    for function in functions() {
        // An odd step meets all exponents, and all low bits.
        let arguments: Vec<u32> = match function.kind {
            Kind::F32 => (0..1 << 17).map(|i: u32| i.wrapping_mul(32_749)).collect(),
            Kind::F16 | Kind::BF16 => (0..1 << 16).collect(),
        };
        let bytes = function.kind.bits() as usize / 8;
        let input: Vec<u8> = arguments.iter().flat_map(|bits| bits.to_le_bytes()[..bytes].to_vec()).collect();
        let device = Device::default();
        let program = device.load(&module(&function, arguments.len())).map_err(|error| vec![error])?;
        let launched = device.run(executor, &program, ("k", THREADS as u32), &input, input.len());
        let results = launched.map_err(|error| vec![error])?;
        let words =
            results.chunks_exact(bytes).map(|word| word.iter().rev().fold(0, |all, b| all << 8 | u32::from(*b)));
        let pairs = arguments.iter().zip(words);
        let wrong =
            pairs.filter_map(|(x, y)| complaint(&function, function.kind.value(*x), function.kind.value(y))).next();
        failures.extend(wrong);
        count += arguments.len();
    }
    if failures.is_empty() {
        Ok(count)
    } else {
        Err(failures)
    }
}
