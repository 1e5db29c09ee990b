//! Findings as text, in the manner of `compute-sanitizer`.

use super::super::code::Code;
use super::super::{Fault, Kernel};
use super::{Checker, Finding, Kind, Problem};
use std::fmt::Write;
use std::sync::PoisonError;

/// Begins each line.
const MARK: &str = "=========";

impl Checker<'_> {
    /// All that was found in a launch, and the fault that has ended it.
    pub(in crate::engine) fn report(&self, kernel: &Kernel, code: &Code, fault: Option<&Fault>) -> String {
        let mut text = String::new();
        for finding in self.findings.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            // Writing to a string cannot fail.
            let _ = finding.write(&mut text, kernel, code);
        }
        if let Some(fault) = fault {
            let _ = write_fault(&mut text, kernel, fault);
        }
        text
    }
}

/// A line of PTX, and the line that it was made from.
fn line(kernel: &Kernel, line: u32) -> String {
    match (line, kernel.source_line(line)) {
        (0, _) => "an unknown line".into(),
        (_, Some((file, source))) => format!("{file}:{source}, PTX line {line}"),
        (_, None) => format!("PTX line {line}"),
    }
}

/// A kernel's name, of which a program may have made a book.
fn name(kernel: &Kernel) -> &str {
    const LONGEST: usize = 500;
    let name = kernel.name();
    name.char_indices().nth(LONGEST).map_or(name, |(end, _)| &name[..end])
}

fn place([x, y, z]: [u32; 3]) -> String {
    format!("({x},{y},{z})")
}

impl Finding {
    fn write(&self, text: &mut String, kernel: &Kernel, code: &Code) -> std::fmt::Result {
        let at = |op: u32| line(kernel, code.lines.get(op as usize).copied().unwrap_or(0));
        let (what, bytes) = (self.spec.name(), self.spec.bytes);
        match self.problem {
            Problem::Uninitialised => {
                writeln!(text, "{MARK} Uninitialised shared memory: {what} of {bytes} bytes that nobody has written")?;
            }
            Problem::Race { writes, .. } => {
                let hazard = match (self.spec.kind, writes) {
                    (Kind::Load, _) => "read after write",
                    (_, true) => "write after write",
                    (_, false) => "write after read",
                };
                writeln!(text, "{MARK} Race in shared memory ({hazard}): {what} of {bytes} bytes without a barrier")?;
            }
        }
        writeln!(text, "{MARK}     in `{}` at {}", name(kernel), at(self.op))?;
        writeln!(text, "{MARK}     by thread {} of block {}", place(self.thread), place(self.block))?;
        writeln!(text, "{MARK}     at shared address {:#x}", self.address)?;
        if let Problem::Race { op, .. } = self.problem {
            writeln!(text, "{MARK}     the other access: thread {} at {}", place(self.other), at(op))?;
        }
        if self.count > 1 {
            writeln!(text, "{MARK}     and {} times more there", self.count - 1)?;
        }
        Ok(())
    }
}

fn write_fault(text: &mut String, kernel: &Kernel, fault: &Fault) -> std::fmt::Result {
    writeln!(text, "{MARK} {:?}: {}", fault.kind, fault.detail)?;
    writeln!(text, "{MARK}     in `{}` at {}", name(kernel), line(kernel, fault.line))?;
    writeln!(text, "{MARK}     by thread {} of block {}", place(fault.thread), place(fault.block))?;
    if fault.address != 0 {
        writeln!(text, "{MARK}     at address {:#x}", fault.address)?;
    }
    Ok(())
}
