//! Writes the support matrix, `docs/driver-api.md`.

use std::fmt::Write;

use crate::{Class, Table};

/// Writes the matrix as Markdown.
pub fn write(table: &Table) -> String {
    let total = table.driver_functions().count();
    let wired = table.driver_functions().filter(|f| f.class != Class::Refused).count();
    let soft = table.driver_functions().filter(|f| f.soft).count();
    let mut out = format!(
        "# CUDA driver API support\n\nGenerated from `protocol/api/cuda.api` by `cargo run -p vgpu-codegen`; do not edit.\n\n\
         {total} entry points are exported (per-thread twins not counted): {wired} are served, {soft} of them by the software GPU;\n\
         the others return `CUDA_ERROR_NOT_SUPPORTED` and say their name once.\n\n\
         Classes: *local* is answered in the guest; *async* is sent without waiting; *sync* waits for its reply; *blocking* waits\n\
         on a thread of its own in the worker; *custom* is guest code that sends commands of our own; *refused* is not implemented.\n"
    );
    let mut section = None;
    for f in table.driver_functions() {
        if section != Some(&f.section) {
            section = Some(&f.section);
            let _ = write!(out, "\n## {}\n\n| function | since | class | software GPU |\n|---|---|---|---|\n", f.section);
        }
        let _ = writeln!(out, "| `{}` | {}.{} | {} | {} |", f.name, f.since / 1000, f.since % 1000 / 10, f.class.word(), if f.soft { "yes" } else { "" });
    }
    out
}
