//! Writes the software GPU's `DriverApi`: every function that the table marks `soft`.

use std::fmt::Write;

use crate::Table;

/// Writes the module that `vgpu-softgpu` includes. A function that does not have the table's
/// signature does not compile.
pub fn write(table: &Table) -> String {
    let mut out =
        String::from("/// The software GPU's entry points.\npub fn driver_api() -> DriverApi {\n    DriverApi {\n");
    for f in table.driver_functions().filter(|f| f.soft && f.has_signature()) {
        let _ = writeln!(out, "        {}: Some(crate::driver::{}),", f.name, f.name);
    }
    out.push_str("        ..DriverApi::default()\n    }\n}\n");
    out
}
