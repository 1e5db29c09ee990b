//! Writes what the software GPU offers: its `DriverApi`, with every function that the table marks
//! `soft`, and the functions that it exports as a libcuda of its own.

use std::fmt::Write;

use crate::guest::{signature, write_lookup, write_per_thread};
use crate::{Function, Table};

/// Functions that the library itself implements, because they need the addresses of its exports.
const LOOKUP: [&str; 2] = ["cuGetProcAddress", "cuGetProcAddress_v2"];

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

/// Writes the software GPU's entry points that are `shared`: methods of what `graphs` passes.
pub fn shared(table: &Table) -> String {
    let mut out = String::new();
    for f in table.driver_functions().filter(|f| f.soft && f.shared) {
        let names: Vec<&str> = f.args.iter().map(|a| a.name.as_str()).collect();
        let _ = writeln!(
            out,
            "/// As documented for CUDA.\npub unsafe extern \"C\" fn {0}({1}) -> CUresult {{\n    \
             // SAFETY: the caller keeps to this function's contract in the CUDA driver API.\n    \
             graphs(|graphs| unsafe {{ graphs.{0}({2}) }})\n}}",
            f.name,
            signature(f),
            names.join(", ")
        );
    }
    out
}

/// Writes the module that `vgpu-softgpu-libcuda` includes: every entry point of the table. What the
/// software GPU lacks is `crate::refuse(NAME, REASON)`.
pub fn library(table: &Table) -> String {
    let mut out = String::new();
    for f in table.driver_functions() {
        let module = match LOOKUP.contains(&f.name.as_str()) {
            true => "crate::lookup",
            false => "vgpu_softgpu::driver",
        };
        if module == "crate::lookup" || (f.soft && f.has_signature()) {
            write_export(&mut out, f, module);
            if let Some((suffix, _)) = &f.per_thread {
                write_per_thread(&mut out, f, suffix);
            }
        } else {
            write_stub(&mut out, &f.name, &f.reason);
            if let Some((suffix, _)) = &f.per_thread {
                write_stub(&mut out, &format!("{}_{suffix}", f.name), &f.reason);
            }
        }
    }
    write_lookup(&mut out, table);
    out
}

fn write_export(out: &mut String, f: &Function, module: &str) {
    let names: Vec<&str> = f.args.iter().map(|a| a.name.as_str()).collect();
    let _ = writeln!(out, "#[no_mangle]\npub unsafe extern \"C\" fn {}({}) -> CUresult {{", f.name, signature(f));
    if !f.early {
        out.push_str("    if let Err(error) = vgpu_softgpu::driver::ready() {\n        return error;\n    }\n");
    }
    let _ = writeln!(
        out,
        "    // SAFETY: the contract is the same.\n    unsafe {{ {module}::{}({}) }}\n}}",
        f.name,
        names.join(", ")
    );
}

fn write_stub(out: &mut String, name: &str, reason: &str) {
    let _ = writeln!(
        out,
        "#[no_mangle]\npub extern \"C\" fn {name}() -> CUresult {{ crate::refuse({name:?}, {reason:?}) }}"
    );
}
