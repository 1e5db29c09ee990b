//! Which forms of the PTX ISA execute: `isa.txt` lists them, the engine is asked about each.

use crate::device::Device;
use crate::Executor;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The list of forms.
pub const ISA: &str = include_str!("../isa.txt");

/// A line of the list.
pub struct Row {
    /// Heading above it.
    pub section: String,
    /// As written.
    pub pattern: String,
    /// Instructions that it stands for.
    pub forms: usize,
    /// Those that are refused, and why.
    pub refused: Vec<(String, String)>,
}

/// All ways to choose the alternatives in braces. Braces around operands begin with `$`.
fn expand(pattern: &str) -> Vec<String> {
    let open = pattern.match_indices('{').find(|(at, _)| !pattern[at + 1..].starts_with('$'));
    let Some((open, _)) = open else { return vec![pattern.into()] };
    let Some(length) = pattern[open..].find('}') else { return vec![pattern.into()] };
    let (head, tail) = (&pattern[..open], &pattern[open + length + 1..]);
    let alternatives = pattern[open + 1..open + length].replace("\\,", "\u{1}");
    let choices = alternatives.split(',').map(|choice| choice.replace('\u{1}', ","));
    choices.flat_map(|choice| expand(&format!("{head}{choice}{tail}"))).collect()
}

/// Width of a type in an opcode.
fn type_bits(name: &str) -> Option<u32> {
    Some(match name {
        "pred" => 1,
        "b8" | "u8" | "s8" => 8,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 16,
        "b32" | "u32" | "s32" | "f32" | "u16x2" | "s16x2" | "f16x2" | "bf16x2" | "tf32" => 32,
        "b64" | "u64" | "s64" | "f64" => 64,
        "b128" => 128,
        _ => return None,
    })
}

/// The form with registers for its operands.
fn with_registers(form: &str) -> String {
    let opcode = form.split_whitespace().next().unwrap_or_default();
    let types: Vec<u32> = opcode.split(['.', ';']).filter_map(type_bits).collect();
    let last = types.last().copied().unwrap_or(32);
    let before = types.len().checked_sub(2).and_then(|index| types.get(index).copied()).unwrap_or(last);
    let mut text = String::new();
    let mut parts = form.split('$');
    text += parts.next().unwrap_or_default();
    for (number, part) in parts.enumerate() {
        let name = part.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(part.len());
        let bits = match &part[..name] {
            "t" => last,
            "s" => before,
            "w" => last * 2,
            "p" => 1,
            digits => digits.parse().unwrap_or(32),
        };
        let prefix = match bits {
            1 => "p",
            8 | 16 => "h",
            32 => "r",
            64 => "d",
            _ => "q",
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "%{prefix}{number}{}", &part[name..]);
    }
    text
}

/// A module with a kernel that ends before it comes to the form.
fn module(form: &str) -> String {
    format!(
        ".version 8.8\n.target sm_90\n.address_size 64\n.global .align 16 .b8 global_bytes[64];\n\
         .func (.reg .b32 result) func(.reg .b32 argument)\n{{\nmov.u32 result, argument;\nret;\n}}\n\
         .visible .entry k(.param .u64 parameter, .param .u64 unused)\n{{\n\
         .reg .pred %p<64>;\n.reg .b16 %h<64>;\n.reg .b32 %r<64>;\n.reg .b64 %d<64>;\n.reg .b128 %q<64>;\n\
         prototype: .callprototype (.reg .b32 _) _ (.reg .b32 _);\nfunctions: .calltargets func;\n\
         targets: .branchtargets label;\n\
         mov.u32 %r63, %tid.x;\nsetp.eq.u32 %p63, %r63, 0;\n@%p63 exit;\n{}\nlabel:\nret;\n}}\n",
        with_registers(form)
    )
}

/// Asks about every form.
pub fn rows(executor: &dyn Executor) -> Vec<Row> {
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in ISA.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if let Some(heading) = line.strip_prefix("## ") {
            section = heading.into();
            continue;
        }
        if line.starts_with(['#', '>']) {
            continue;
        }
        let forms = expand(line);
        // Several modules in one go would be refused together.
        let refused = forms.iter().filter_map(|form| Some((form.clone(), refusal(form, executor)?))).collect();
        rows.push(Row { section: section.clone(), pattern: line.into(), forms: forms.len(), refused });
    }
    rows
}

/// Why a form does not execute; `None` if it does.
fn refusal(form: &str, executor: &dyn Executor) -> Option<String> {
    let device = Device::default();
    let program = device.load(&module(form));
    program.and_then(|program| device.run(executor, &program, ("k", 1), &[], 8)).err()
}

/// Forms that execute, and all of them, up to sm_80 and within reach.
pub fn counts(rows: &[Row]) -> (usize, usize) {
    let forms = rows.iter().filter(|row| ![BEYOND, OUT_OF_REACH].contains(&row.section.as_str()));
    forms.fold((0, 0), |(done, all), row| (done + row.forms - row.refused.len(), all + row.forms))
}

const BEYOND: &str = "Beyond sm_80";
const OUT_OF_REACH: &str = "Out of reach";

/// What the list says of a section.
fn note(section: &str) -> String {
    let heading = format!("## {section}");
    let below = ISA.lines().skip_while(|line| *line != heading).skip(1);
    below.map_while(|line| line.strip_prefix("> ")).map(|line| format!("{line}\n")).collect()
}

/// The documentation.
pub fn document(rows: &[Row]) -> String {
    let (done, all) = counts(rows);
    let mut text = format!(
        "# PTX instructions of the software GPU\n\n\
         Written by `scripts/docs` from `softgpu/filetests/isa.txt`: the engine was asked to prepare a kernel with\n\
         each form for execution. What the instructions give is tested by `softgpu/filetests/cases`.\n\n\
         Of the {all} forms below up to sm_80, {done} execute. A function with an instruction that is refused\n\
         loads; a launch of a kernel that can reach it fails, and names the instruction and its line.\n\n\
         `{{a,b}}` are alternatives. Operands: `$p` is a predicate, `$32` a register of that width, `$t` one of the\n\
         opcode's last type, `$s` of the type before it, `$w` of twice the last one.\n"
    );
    let mut section = "";
    for row in rows {
        if row.section != section {
            section = &row.section;
            let note = note(section);
            let gap = if note.is_empty() { "" } else { "\n" };
            let _ = write!(text, "\n## {section}\n{gap}{note}\n| form | forms | |\n|---|---|---|\n");
        }
        let opcode = row.pattern.trim_end_matches(';').replace("\\,", ",").replace('|', "\\|");
        let state = if row.refused.is_empty() {
            "executes".into()
        } else if row.refused.len() == row.forms {
            "refused".into()
        } else {
            let opcodes: BTreeSet<&str> =
                row.refused.iter().filter_map(|(form, _)| form.split_whitespace().next()).collect();
            format!("executes, but not `{}`", opcodes.into_iter().collect::<Vec<_>>().join("`, `"))
        };
        let _ = writeln!(text, "| `{opcode}` | {} | {state} |", row.forms);
    }
    text
}
