//! Writes the support matrix, `docs/driver-api.md`.

use std::fmt::Write;
use std::path::Path;

use crate::tested::Tested;
use crate::{Arg, Class, Kind, Table};

/// Writes one line per section of the table, for the README.
pub fn summary(table: &Table) -> String {
    let mut out = String::from("| area | entry points | served | on the software GPU |\n|---|---|---|---|\n");
    let mut sections: Vec<&str> = table.driver_functions().map(|f| f.section.as_str()).collect();
    sections.dedup();
    for section in sections {
        let rows: Vec<_> = table.driver_functions().filter(|f| f.section == section).collect();
        let served = rows.iter().filter(|f| f.class != Class::Refused).count();
        let soft = rows.iter().filter(|f| f.soft).count();
        let _ = writeln!(out, "| {section} | {} | {served} | {soft} |", rows.len());
    }
    out
}

/// Writes the symbols that refuse, one a line, each as a string of a C array.
pub fn refused(table: &Table) -> String {
    let mut out = String::new();
    for f in table.driver_functions().filter(|f| f.class == Class::Refused) {
        let _ = writeln!(out, "\"{}\",", f.name);
        if let Some((suffix, _)) = &f.per_thread {
            let _ = writeln!(out, "\"{}_{suffix}\",", f.name);
        }
    }
    out
}

/// Writes the matrix as Markdown.
pub fn write(table: &Table) -> String {
    let total = table.driver_functions().count();
    let wired = table.driver_functions().filter(|f| f.class != Class::Refused).count();
    let soft = table.driver_functions().filter(|f| f.soft).count();
    let tested = Tested::read(table, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
    let programs = tested.count();
    let mut out = format!(
        "# CUDA driver API support\n\nGenerated from `protocol/api/cuda.api` by `scripts/docs`; do not edit.\n\n\
         {total} entry points are exported (per-thread twins not counted): {wired} are served, {soft} of them by the software GPU;\n\
         the others return `CUDA_ERROR_NOT_SUPPORTED` and say their name once. Programs of `tests/conformance` and\n\
         `tests/programs` call {programs} of the entry points (*tested by*; \"all\" is what every conformance program calls);\n\
         `scripts/conformance` runs them.\n\n\
         Classes: *local* is answered in the guest; *async* is sent without waiting; *sync* waits for its reply; *blocking* waits\n\
         on a thread of its own in the worker; *custom* is guest code that sends commands of our own; *refused* is not implemented,\n\
         with the reason where it is refused on purpose.\n"
    );
    let mut section = None;
    for f in table.driver_functions() {
        if section != Some(&f.section) {
            section = Some(&f.section);
            let _ = write!(
                out,
                "\n## {}\n\n| function | since | class | software GPU | tested by |\n|---|---|---|---|---|\n",
                f.section
            );
        }
        let class = match f.reason.as_str() {
            "" => f.class.word().to_string(),
            reason => format!("{}: {reason}", f.class.word()),
        };
        let _ = writeln!(
            out,
            "| `{}` | {}.{} | {} | {} | {} |",
            f.name,
            f.since / 1000,
            f.since % 1000 / 10,
            class,
            if f.soft { "yes" } else { "" },
            tested.by(&f.name)
        );
    }
    out
}

/// Writes the served functions, whether they work before `cuInit`, and the kinds of their arguments, one letter each, as initialisers of a
/// C array: n number, d device pointer, h handle and x one that ends (with their type), o pointer that is
/// filled, q one that may be null, i pointer that is read, s string, b bytes, r raw pointer, c callback.
pub fn signatures(table: &Table) -> String {
    let mut out = String::new();
    for f in table.driver_functions().filter(|f| f.has_signature()) {
        let _ = write!(out, "{{{:?}, {}, {{", f.name, i32::from(f.early));
        for arg in &f.args {
            let _ = write!(out, "{:?}, ", letter(arg));
        }
        out.push_str("0}},\n");
    }
    out
}

fn letter(arg: &Arg) -> String {
    let name = arg.name.as_str();
    let is_device =
        matches!(name, "addr" | "dst" | "src") || name.to_lowercase().contains("ptr") || name.ends_with("Device");
    match &arg.kind {
        Kind::Scalar(ty) if ty == "u64" && is_device => "d".into(),
        Kind::Scalar(_) => "n".into(),
        Kind::Handle(ty) => format!("h{ty}"),
        Kind::Del(ty) => format!("x{ty}"),
        Kind::New(_) | Kind::OutStruct(_) | Kind::OutScalar { optional: false, .. } => "o".into(),
        Kind::OutScalar { optional: true, .. } => "q".into(),
        Kind::InStruct(_) => "i".into(),
        Kind::Str => "s".into(),
        Kind::Bytes(_) | Kind::OutBytes(_) => "b".into(),
        Kind::Raw(ty) if ty.starts_with('*') => "r".into(),
        Kind::Raw(ty) if ty.contains("Fn") || ty.contains("allback") || ty.contains("B2DSize") => "c".into(),
        Kind::Raw(_) => "n".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str) -> String {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name);
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    }

    #[test]
    fn test_support_matrix_is_up_to_date() {
        assert!(document("docs/driver-api.md") == write(&Table::load()), "run scripts/docs");
    }

    #[test]
    fn test_readme_has_the_summary_of_the_table() {
        assert!(document("README.md").contains(&summary(&Table::load())), "run scripts/docs");
    }
}
