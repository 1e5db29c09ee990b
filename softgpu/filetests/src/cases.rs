//! Files of instructions with inputs and expected results.
//!
//! ```text
//! // in: b32 b32 out: b32
//! add.s32 %o0, %i0, %i1;
//! // 00000001 ffffffff = 00000000
//! ```
//!
//! A signature (which holds until the next one), the instructions, and one comment for each thread of the
//! block: its inputs as hexadecimal bits, `=`, its results. Inputs arrive in `%i0`, `%i1`, …, results are
//! taken from `%o0`, … Types are `b8` to `b64` and `pred` (0 or 1). Besides there are the registers `%p0` to
//! `%p3` (predicates), `%h0` to `%h3` (16 bits), `%t0` to `%t7` (32 bits), `%u0` to `%u7` (64 bits) and
//! `%q0` to `%q3` (128 bits), and 4 KiB each of the variables `shared_bytes`, `global_bytes`, `local_bytes`
//! and `const_bytes`. Other comments begin with `//:`.

use crate::device::Device;
use crate::Executor;
use std::fmt::Write;
use std::path::Path;

/// Type of an input or result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Pred,
    Bits(u32),
}

impl Type {
    fn parse(name: &str) -> Option<Type> {
        Some(match name {
            "pred" => Type::Pred,
            "b8" => Type::Bits(8),
            "b16" => Type::Bits(16),
            "b32" => Type::Bits(32),
            "b64" => Type::Bits(64),
            _ => return None,
        })
    }

    fn register(self) -> String {
        match self {
            Type::Pred => "pred".into(),
            Type::Bits(bits) => format!("b{bits}"),
        }
    }
}

/// Inputs and results of a form.
#[derive(Clone, Debug, Default)]
struct Signature {
    inputs: Vec<Type>,
    results: Vec<Type>,
}

/// Instructions and what they are to do.
#[derive(Clone, Debug)]
pub struct Form {
    /// Line of the first instruction, from 1.
    line: usize,
    signature: Signature,
    text: String,
    /// Inputs and expected results of each thread.
    threads: Vec<(Vec<u64>, Vec<u64>)>,
}

/// Bytes of one input or result in the buffers.
const SLOT: usize = 8;

/// Reads a file's forms.
///
/// # Errors
/// The line that is not understood.
pub fn parse(text: &str) -> Result<Vec<Form>, String> {
    let mut forms: Vec<Form> = Vec::new();
    let mut signature = Signature::default();
    for (number, line) in text.lines().enumerate().map(|(index, line)| (index + 1, line.trim())) {
        let wrong = |what: &str| format!("line {number}: {what}: {line}");
        if line.is_empty() || line.starts_with("//:") {
            continue;
        }
        if let Some(types) = line.strip_prefix("// in:") {
            let (inputs, results) = types.split_once("out:").ok_or_else(|| wrong("`out:` is missing"))?;
            let types = |list: &str| list.split_whitespace().map(Type::parse).collect::<Option<Vec<_>>>();
            let known = types(inputs).zip(types(results)).ok_or_else(|| wrong("unknown type"))?;
            signature = Signature { inputs: known.0, results: known.1 };
        } else if let Some(case) = line.strip_prefix("//") {
            let form = forms.last_mut().ok_or_else(|| wrong("no instruction before it"))?;
            let (inputs, results) = case.split_once('=').ok_or_else(|| wrong("`=` is missing"))?;
            let values = |list: &str| list.split_whitespace().map(|word| u64::from_str_radix(word, 16)).collect();
            let values = |list: &str| -> Result<Vec<u64>, std::num::ParseIntError> { values(list) };
            let (inputs, results) = (values(inputs), values(results));
            let (Ok(inputs), Ok(results)) = (inputs, results) else { return Err(wrong("a value is no number")) };
            if inputs.len() != form.signature.inputs.len() || results.len() != form.signature.results.len() {
                return Err(wrong("the values do not match the signature"));
            }
            form.threads.push((inputs, results));
        } else if let Some(open) = forms.last_mut().filter(|form| form.threads.is_empty()) {
            open.text += "\n";
            open.text += line;
        } else {
            let signature = signature.clone();
            forms.push(Form { line: number, signature, text: line.into(), threads: Vec::new() });
        }
    }
    match forms.iter().find(|form| form.threads.is_empty() || form.threads.len() > 1024) {
        Some(form) => Err(format!("line {}: a form needs 1 to 1024 cases", form.line)),
        None => Ok(forms),
    }
}

/// A module with a kernel `kN` for form number N.
#[must_use]
pub fn module(forms: &[Form]) -> String {
    let mut text = String::from(
        ".version 8.8\n.target sm_90\n.address_size 64\n\
         .global .align 16 .b8 global_bytes[4096];\n.const .align 16 .b8 const_bytes[4096];\n",
    );
    for (number, form) in forms.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = kernel(&mut text, number, form);
    }
    text
}

fn kernel(text: &mut String, number: usize, form: &Form) -> std::fmt::Result {
    let Signature { inputs, results } = &form.signature;
    write!(text, ".visible .entry k{number}(.param .u64 from, .param .u64 to)\n{{\n.reg .pred %p<4>;\n")?;
    write!(text, ".reg .b16 %h<4>;\n.reg .b32 %t<8>;\n.reg .b64 %u<8>;\n.reg .b128 %q<4>;\n")?;
    write!(text, ".reg .b64 %from, %to;\n.reg .b32 %thread, %word;\n")?;
    for space in ["shared", "local"] {
        if form.text.contains(&format!("{space}_bytes")) {
            writeln!(text, ".{space} .align 16 .b8 {space}_bytes[4096];")?;
        }
    }
    for (prefix, types) in [("i", inputs), ("o", results)] {
        for (n, ty) in types.iter().enumerate() {
            writeln!(text, ".reg .{} %{prefix}{n};", ty.register())?;
        }
    }
    write!(text, "ld.param.u64 %from, [from];\nld.param.u64 %to, [to];\nmov.u32 %thread, %tid.x;\n")?;
    for (name, count) in [("from", inputs.len()), ("to", results.len())] {
        writeln!(text, "mad.wide.u32 %{name}, %thread, {}, %{name};", count * SLOT)?;
    }
    for (n, ty) in inputs.iter().enumerate() {
        let at = n * SLOT;
        match ty {
            Type::Pred => {
                write!(text, "ld.global.u32 %word, [%from+{at}];\nsetp.ne.u32 %i{n}, %word, 0;\n")?;
            }
            Type::Bits(bits) => writeln!(text, "ld.global.b{bits} %i{n}, [%from+{at}];")?,
        }
    }
    writeln!(text, "{}", form.text)?;
    for (n, ty) in results.iter().enumerate() {
        let at = n * SLOT;
        match ty {
            Type::Pred => write!(text, "selp.u32 %word, 1, 0, %o{n};\nst.global.u32 [%to+{at}], %word;\n")?,
            Type::Bits(bits) => writeln!(text, "st.global.b{bits} [%to+{at}], %o{n};")?,
        }
    }
    text.push_str("ret;\n}\n");
    Ok(())
}

/// Runs a file; gives the number of its forms.
///
/// # Errors
/// Each form that failed, with the thread and its values.
pub fn run(text: &str, executor: &dyn Executor) -> Result<usize, Vec<String>> {
    let forms = parse(text).map_err(|error| vec![error])?;
    let device = Device::default();
    let program = device.load(&module(&forms)).map_err(|error| vec![error])?;
    let failures: Vec<String> = forms
        .iter()
        .enumerate()
        .filter_map(|(number, form)| {
            let failed = run_form(&device, &program, (number, form), executor).err()?;
            Some(format!("line {}: {}: {failed}", form.line, form.text))
        })
        .collect();
    if failures.is_empty() {
        Ok(forms.len())
    } else {
        Err(failures)
    }
}

fn run_form(
    device: &Device,
    program: &vgpu_engine::engine::Program,
    (number, form): (usize, &Form),
    executor: &dyn Executor,
) -> Result<(), String> {
    let input: Vec<u8> = form.threads.iter().flat_map(|(inputs, _)| inputs).flat_map(|v| v.to_le_bytes()).collect();
    let per_thread = form.signature.results.len();
    let (threads, bytes) = (form.threads.len(), form.threads.len() * per_thread * SLOT);
    let out = device.run(executor, program, (&format!("k{number}"), threads as u32), &input, bytes)?;
    let words: Vec<u64> = out
        .chunks_exact(SLOT)
        .map(|word| word.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
        .collect();
    for (thread, (inputs, expected)) in form.threads.iter().enumerate() {
        let found = &words[thread * per_thread..(thread + 1) * per_thread];
        if found != expected {
            return Err(format!("thread {thread}: {inputs:x?} gave {found:x?}, not {expected:x?}"));
        }
    }
    Ok(())
}

/// Runs all files of a folder; gives the number of forms.
///
/// # Errors
/// Each form that failed, with its file.
pub fn run_folder(folder: &Path, executor: &dyn Executor) -> Result<usize, Vec<String>> {
    let unreadable = |error: std::io::Error| vec![format!("{}: {error}", folder.display())];
    let mut files: Vec<_> =
        folder.read_dir().map_err(unreadable)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    let (mut count, mut failures) = (0, Vec::new());
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "ptx")) {
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        match run(&text, executor) {
            Ok(forms) => count += forms,
            Err(failed) => failures.extend(failed.iter().map(|failure| format!("{}: {failure}", file.display()))),
        }
    }
    if failures.is_empty() {
        Ok(count)
    } else {
        Err(failures)
    }
}
