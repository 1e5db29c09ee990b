//! Writes the worker's dispatcher: decode a command, resolve its handles, call the driver, reply.
//!
//! The generated function expects in the including module: `Context` with `api: &DriverApi` and the
//! methods `resolve`, `reserve`, `insert`, `take`, `restore`, `dropped` and `check_room`;
//! `Failure`; and a `commands` module with one function per `command`.

use std::fmt::Write;

use crate::protocol::kind_name;
use crate::{Function, Kind, Table};

/// Writes the module that the worker includes.
pub fn write(table: &Table) -> String {
    let mut out = String::from(
        "/// Runs one command and writes its reply. An unknown opcode is `CUDA_ERROR_NOT_SUPPORTED`.\n\
         #[allow(non_snake_case)]\n\
         pub fn dispatch(opcode: u16, ctx: &mut Context<'_>, r: &mut Reader<'_>, w: &mut Writer<'_>) -> Result<(), Failure> {\n    match opcode {\n",
    );
    for (opcode, f) in table.wire() {
        let _ = writeln!(out, "        {opcode} => {{ // {}", f.name);
        if f.command {
            let _ = writeln!(out, "            let command = cmd::{}::decode(r)?;\n            r.finish()?;\n            ctx.check_room(command.reply_capacity())?;", f.struct_name());
            let _ = writeln!(
                out,
                "            let reply: cmd::{}Reply = commands::{}(ctx, command)?;\n            reply.encode(w)?;",
                f.struct_name(),
                snake(&f.name)
            );
        } else {
            write_call(&mut out, f);
        }
        out.push_str("            Ok(())\n        }\n");
    }
    out.push_str("        _ => Err(Failure::Cuda(CUresult::NOT_SUPPORTED)),\n    }\n}\n\n");
    out.push_str("/// Whether a command's driver call may block, so that it belongs on a waiter thread.\npub fn may_block(opcode: u16) -> bool {\n    matches!(opcode, 0");
    for (opcode, f) in table.wire() {
        if f.class == crate::Class::Blocking {
            let _ = write!(out, " | {opcode}");
        }
    }
    out.push_str(")\n}\n");
    out
}

/// `vgpuLaunchKernel` becomes `launch_kernel`.
fn snake(name: &str) -> String {
    let bare = name.strip_prefix("vgpu").unwrap_or(name);
    let mut out = String::new();
    for c in bare.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}

/// The object without which one made by `f` cannot be: a module, library or mipmapped array among the
/// arguments.
fn parent(f: &Function) -> String {
    const OWNERS: [&str; 3] = ["CUmodule", "CUlibrary", "CUmipmappedArray"];
    let owner = f.args.iter().find(|a| matches!(&a.kind, Kind::Handle(ty) if OWNERS.contains(&ty.as_str())));
    owner.map_or("Handle::NULL".into(), |a| format!("c.{}", a.name))
}

fn write_call(out: &mut String, f: &Function) {
    let _ = writeln!(out, "            let c = cmd::{}::decode(r)?;\n            r.finish()?;\n            ctx.check_room(c.reply_capacity())?;", f.struct_name());
    let _ =
        writeln!(out, "            let function = ctx.api.{}.ok_or(Failure::Cuda(CUresult::NOT_SUPPORTED))?;", f.name);
    let mut call = Vec::new();
    for arg in &f.args {
        let name = &arg.name;
        let line = match &arg.kind {
            Kind::Scalar(_) => {
                call.push(format!("c.{name}"));
                String::new()
            }
            Kind::Handle(ty) => {
                call.push(name.clone());
                format!("let {name} = ctx.resolve(HandleKind::{}, c.{name})? as cuda::{ty};", kind_name(ty))
            }
            Kind::Del(ty) => {
                call.push(name.clone());
                format!("let {name} = ctx.take(HandleKind::{}, c.{name})? as cuda::{ty};", kind_name(ty))
            }
            Kind::New(ty) => {
                call.push(format!("&mut {name}"));
                format!(
                    "ctx.reserve(HandleKind::{}, c.{name})?; let mut {name}: cuda::{ty} = std::ptr::null_mut();",
                    kind_name(ty)
                )
            }
            Kind::OutScalar { ty, .. } => {
                call.push(format!("&mut {name}"));
                format!("let mut {name}: {ty} = Default::default();")
            }
            Kind::OutStruct(ty) => {
                call.push(format!("&mut {name}"));
                format!("let mut {name}: cuda::{ty} = zerocopy::FromZeros::new_zeroed();")
            }
            Kind::InStruct(_) => {
                call.push(format!("&c.{name}"));
                String::new()
            }
            Kind::Str => {
                call.push(format!("{name}.as_ptr()"));
                format!("let {name} = std::ffi::CString::new(c.{name}).map_err(|_| Failure::Cuda(CUresult::INVALID_VALUE))?;")
            }
            Kind::Bytes(len) => {
                call.push(format!("c.{name}.as_ptr().cast()"));
                format!(
                    "if c.{name}.len() != c.{len} as usize {{ return Err(Failure::Cuda(CUresult::INVALID_VALUE)); }}"
                )
            }
            Kind::OutBytes(len) => {
                call.push(format!("{name}.as_mut_ptr().cast()"));
                format!("let mut {name} = vec![0u8; c.{len} as usize];")
            }
            Kind::Raw(_) => continue,
        };
        if !line.is_empty() {
            let _ = writeln!(out, "            {line}");
        }
    }
    let _ = writeln!(out, "            // SAFETY: handles come from the ledger; buffers and outputs are locals of the call's sizes.\n            let result = unsafe {{ function({}) }};", call.join(", "));
    for arg in &f.args {
        if let Kind::Del(ty) = &arg.kind {
            let _ = writeln!(out, "            if result != CUresult::SUCCESS {{ ctx.restore(c.{0}); }} else {{ ctx.dropped(HandleKind::{1}, c.{0}); }}", arg.name, kind_name(ty));
        }
    }
    out.push_str("            Failure::check(result)?;\n");
    for arg in &f.args {
        if matches!(arg.kind, Kind::New(_)) {
            let _ = writeln!(out, "            ctx.insert(c.{0}, {0}.cast(), {1});", arg.name, parent(f));
        }
    }
    let outputs: Vec<String> = f
        .args
        .iter()
        .filter(|a| matches!(a.kind, Kind::OutScalar { .. } | Kind::OutStruct(_) | Kind::OutBytes(_)))
        .map(|a| a.name.clone())
        .collect();
    let _ = writeln!(out, "            cmd::{}Reply {{ {} }}.encode(w)?;", f.struct_name(), outputs.join(", "));
}
