//! Writes the functions that the guest's `libcuda.so.1` exports.
//!
//! The generated code expects these in the including crate:
//! - `crate::api::NAME(args…) -> Result<(), CUresult>` for every `local` and `custom` function, and
//!   `crate::driver::driver()?.graphs.NAME(args…)` for those that are `shared`;
//! - `crate::stub::{enter, refuse, ready, call, create, post, post_anywhere, mint, forget, handle}` and
//!   `{refuse_captured, capture_fill, capture_copy, check_out, check_buffer, check_device, settle, check_fill, input, string,
//!   buffer, put, put_optional, fill}`.

use std::fmt::Write;

use crate::protocol::{c_type, kind_name};
use crate::{Arg, Class, Function, Kind, Table};

/// Arguments that are addresses of device memory: a wrong one is an error of the call itself, even
/// where the command is sent without waiting.
const DEVICE_POINTERS: [&str; 2] = ["dstDevice", "srcDevice"];

/// A struct that holds a stream.
const LAUNCH_CONFIG: &str = "*const cuda::CUlaunchConfig";

/// Writes the module that `vgpu-libcuda` includes.
pub fn write(table: &Table) -> String {
    let mut out = String::new();
    for f in table.driver_functions() {
        if f.class == Class::Refused {
            write_refused(&mut out, &f.name, &f.reason);
            if let Some((suffix, _)) = &f.per_thread {
                write_refused(&mut out, &format!("{}_{suffix}", f.name), &f.reason);
            }
            continue;
        }
        write_export(&mut out, f);
        if let Some((suffix, _)) = &f.per_thread {
            write_per_thread(&mut out, f, suffix);
        }
    }
    write_lookup(&mut out, table);
    write_raw(&mut out, table);
    out
}

/// The generated calls that hand-written functions of the same name wrap.
fn write_raw(out: &mut String, table: &Table) {
    out.push_str(
        "/// The generated calls behind the `wrapped` functions.\n#[allow(dead_code)]\npub mod raw {\nuse super::*;\n",
    );
    for f in table.driver_functions().filter(|f| f.wrapped) {
        let _ = writeln!(out, "/// # Safety\n/// As the driver function's.\npub unsafe fn {}({}) -> Result<(), CUresult> {{\n    // SAFETY: the caller keeps to the function's contract.\n    unsafe {{", f.name, signature(f));
        write_body(out, f);
        out.push_str("    }\n}\n");
    }
    out.push_str("}\n");
}

fn write_refused(out: &mut String, name: &str, reason: &str) {
    let _ = writeln!(
        out,
        "#[no_mangle]\npub extern \"C\" fn {name}() -> CUresult {{ crate::stub::refuse({name:?}, {reason:?}) }}"
    );
}

pub(crate) fn signature(f: &Function) -> String {
    f.args.iter().map(|a| format!("{}: {}", a.name, c_type(&a.kind))).collect::<Vec<_>>().join(", ")
}

fn write_export(out: &mut String, f: &Function) {
    let _ = writeln!(out, "#[no_mangle]\npub unsafe extern \"C\" fn {}({}) -> CUresult {{", f.name, signature(f));
    let _ = writeln!(out, "    // SAFETY: the caller keeps to this function's contract in the CUDA driver API.\n    crate::stub::enter({:?}, || unsafe {{", f.name);
    let names = f.args.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ");
    match f.class {
        _ if f.shared => {
            let _ = writeln!(out, "        crate::driver::driver()?.graphs.{}({names})", f.name);
        }
        _ if f.wrapped || !f.class.on_wire() => {
            if !f.early {
                out.push_str("        crate::stub::ready()?;\n");
            }
            let _ = writeln!(out, "        crate::api::{}({names})", f.name);
        }
        _ => write_body(out, f),
    }
    out.push_str("    })\n}\n");
}

fn write_body(out: &mut String, f: &Function) {
    out.push_str("        crate::stub::ready()?;\n");
    for arg in &f.args {
        let name = &arg.name;
        match &arg.kind {
            Kind::OutScalar { optional: false, .. } | Kind::OutStruct(_) | Kind::New(_) => {
                let _ = writeln!(out, "        crate::stub::check_out({name})?;");
            }
            Kind::OutBytes(len) => {
                let _ = writeln!(out, "        crate::stub::check_buffer({name}, {len} as usize)?;");
            }
            Kind::Scalar(_) if DEVICE_POINTERS.contains(&name.as_str()) => {
                let check = fill_check(f).unwrap_or(format!("check_device({name})"));
                let _ = writeln!(out, "        crate::stub::{check}?;");
            }
            _ => {}
        }
    }
    for arg in &f.args {
        if let Kind::New(handle) = &arg.kind {
            let _ = writeln!(
                out,
                "        let minted_{} = crate::stub::mint(HandleKind::{})?;",
                arg.name,
                kind_name(handle)
            );
        }
    }
    if let Some(captured) = captured(f) {
        let _ = writeln!(out, "        if crate::stub::{captured}? {{ return Ok(()); }}");
    }
    let fields: Vec<String> = f.args.iter().filter_map(input_field).collect();
    let _ = writeln!(out, "        let command = cmd::{} {{ {} }};", f.struct_name(), fields.join(", "));
    let verb = verb(f);
    let mints: Vec<&Arg> = f.args.iter().filter(|a| matches!(a.kind, Kind::New(_))).collect();
    if mints.is_empty() {
        let _ = writeln!(out, "        let _reply = crate::stub::{verb}(&command)?;");
    } else {
        let _ = writeln!(out, "        let _reply = match crate::stub::{verb}(&command) {{\n            Ok(reply) => reply,\n            Err(error) => {{");
        for arg in &mints {
            let _ = writeln!(out, "                crate::stub::forget(minted_{});", arg.name);
        }
        out.push_str("                return Err(error);\n            }\n        };\n");
    }
    for arg in &f.args {
        let name = &arg.name;
        let _ = match &arg.kind {
            Kind::New(ty) => writeln!(out, "        *{name} = minted_{name}.0 as cuda::{ty};"),
            Kind::Del(_) => writeln!(out, "        crate::stub::forget(Handle({name} as u64));"),
            Kind::OutScalar { optional, .. } => {
                let put = if *optional { "put_optional" } else { "put" };
                writeln!(out, "        crate::stub::{put}({name}, _reply.{name});")
            }
            Kind::OutStruct(_) => writeln!(out, "        crate::stub::put({name}, _reply.{name});"),
            Kind::OutBytes(len) => writeln!(out, "        crate::stub::fill({name}, {len} as usize, &_reply.{name});"),
            _ => Ok(()),
        };
    }
    for name in unordered(f) {
        let _ = writeln!(out, "        crate::stub::settle({name})?;");
    }
    out.push_str("        Ok(())\n");
}

/// Device addresses of a call without a stream that is not waited for.
fn unordered(f: &Function) -> Vec<&str> {
    let has_stream = f.args.iter().any(|a| matches!(&a.kind, Kind::Handle(ty) if ty == "CUstream"));
    let names = f.args.iter().map(|a| a.name.as_str()).filter(|name| DEVICE_POINTERS.contains(name));
    names.filter(|_| f.class == Class::Async && !has_stream).collect()
}

/// The check of a `cuMemset*`: its rows must be aligned to the value and lie in one allocation.
fn fill_check(f: &Function) -> Option<String> {
    let (_, unit) = fill_value(f)?;
    Some(format!("check_fill(dstDevice, {unit}, {})", fill_rows(f)))
}

/// What a stream that captures makes of the call: a node, or an error. Functions without a stream that
/// have a per-thread twin use the legacy default stream.
fn captured(f: &Function) -> Option<String> {
    let has = |name: &str| f.args.iter().any(|a| a.name == name);
    let stream = f.args.iter().find(|a| a.kind == Kind::Handle("CUstream".into()));
    let Some(stream) = stream.map(|a| format!("{} as u64", a.name)) else {
        return f.per_thread.as_ref().map(|_| "refuse_captured(0)".into());
    };
    if let Some((value, unit)) = fill_value(f) {
        let rows = fill_rows(f);
        return Some(format!("capture_fill({stream}, dstDevice, {unit}, {value}.into(), {rows})"));
    }
    if ["dstDevice", "srcDevice", "ByteCount"].into_iter().all(has) {
        return Some(format!("capture_copy({stream}, dstDevice, srcDevice, ByteCount)"));
    }
    Some(format!("refuse_captured({stream})"))
}

/// The argument that a `cuMemset*` fills with, and its size in bytes.
fn fill_value(f: &Function) -> Option<(&'static str, usize)> {
    let has = |name: &str| f.args.iter().any(|a| a.name == name);
    [("uc", 1), ("us", 2), ("ui", 4)].into_iter().find(|(value, _)| has(value))
}

/// Pitch, width and height of what a `cuMemset*` fills.
fn fill_rows(f: &Function) -> &'static str {
    match f.args.iter().any(|a| a.name == "dstPitch") {
        true => "dstPitch, Width, Height",
        false => "0, N, 1",
    }
}

/// How the command is sent. A call that creates something does not return the latched error of an
/// earlier one, since its caller would lose what was created; a destruction needs no current context.
fn verb(f: &Function) -> &'static str {
    let has = |wanted: fn(&Kind) -> bool| f.args.iter().any(|a| wanted(&a.kind));
    match f.class.waits() {
        true if f.wrapped || has(|kind| matches!(kind, Kind::New(_))) => "create",
        true => "call",
        false if has(|kind| matches!(kind, Kind::Del(_))) => "post_anywhere",
        false => "post",
    }
}

fn input_field(arg: &Arg) -> Option<String> {
    let name = &arg.name;
    Some(match &arg.kind {
        Kind::Scalar(_) => name.clone(),
        Kind::Handle(ty) | Kind::Del(ty) => {
            format!("{name}: crate::stub::handle(HandleKind::{}, {name} as u64)?", kind_name(ty))
        }
        Kind::New(_) => format!("{name}: minted_{name}"),
        Kind::InStruct(_) => format!("{name}: crate::stub::input({name})?"),
        Kind::Str => format!("{name}: crate::stub::string({name})?"),
        Kind::Bytes(len) => format!("{name}: crate::stub::buffer({name}, {len} as usize)?"),
        _ => return None,
    })
}

/// The per-thread twin: the null stream means the calling thread's stream.
pub(crate) fn write_per_thread(out: &mut String, f: &Function, suffix: &str) {
    let _ =
        writeln!(out, "#[no_mangle]\npub unsafe extern \"C\" fn {}_{suffix}({}) -> CUresult {{", f.name, signature(f));
    let passed: Vec<String> = f
        .args
        .iter()
        .map(|a| match &a.kind {
            Kind::Handle(ty) if ty == "CUstream" => format!("vgpu_protocol::cuda::per_thread({})", a.name),
            Kind::Raw(ty) if ty == LAUNCH_CONFIG => "&config".into(),
            _ => a.name.clone(),
        })
        .collect();
    // A stream inside a struct is changed in a copy of that.
    if let Some(config) = f.args.iter().find(|a| matches!(&a.kind, Kind::Raw(ty) if ty == LAUNCH_CONFIG)) {
        let _ = writeln!(
            out,
            "    // SAFETY: null or readable, by the caller's contract.\n    let Some(config) = (unsafe {{ {}.as_ref() }}) else {{ return CUresult::INVALID_VALUE }};\n    let config = vgpu_protocol::cuda::per_thread_config(config);",
            config.name
        );
    }
    let _ = writeln!(
        out,
        "    // SAFETY: the caller's contract is that of the twin.\n    unsafe {{ {}({}) }}\n}}",
        f.name,
        passed.join(", ")
    );
}

/// The table by which `cuGetProcAddress` finds the exported functions.
pub(crate) fn write_lookup(out: &mut String, table: &Table) {
    out.push_str("/// Every exported function.\npub static EXPORTS: &[Export] = &[\n");
    for f in table.driver_functions() {
        let symbols = [(f.name.clone(), f.since, false)].into_iter();
        let twin = f.per_thread.iter().map(|(suffix, since)| (format!("{}_{suffix}", f.name), *since, true));
        for (name, since, per_thread) in symbols.chain(twin) {
            let _ = writeln!(
                out,
                "    Export {{ base: {:?}, since: {since}, name: {name:?}, per_thread: {per_thread}, address: Address({name} as *const c_void) }},",
                f.base
            );
        }
    }
    out.push_str("];\n");
}
