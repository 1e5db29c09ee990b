//! Writes the protocol crate's part: opcodes, handle kinds, command structs, `DriverApi`.

use std::fmt::Write;

use crate::{Arg, Class, Function, Kind, Table};

/// Writes the module that `vgpu-protocol` includes.
pub fn write(table: &Table) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "/// Hash of the API table; both sides must have the same.\npub const API_HASH: u64 = {:#018x};\n",
        table.hash
    );
    write_handles(&mut out, table);
    write_functions(&mut out, table);
    out.push_str("/// One struct per command: what crosses the queue, typed.\n#[allow(clippy::identity_op)]\npub mod cmd {\nuse super::*;\n");
    for (opcode, function) in table.wire() {
        write_command(&mut out, opcode, function);
    }
    out.push_str("}\n\n");
    write_driver_api(&mut out, table);
    out
}

fn write_handles(out: &mut String, table: &Table) {
    out.push_str("/// Kinds of objects that a session's handles name.\n#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]\n#[repr(u8)]\npub enum HandleKind {\n");
    for (i, name) in table.handles.iter().enumerate() {
        let _ = writeln!(out, "    /// `{name}`.\n    {} = {},", kind_name(name), i + 1);
    }
    out.push_str("}\n\nimpl HandleKind {\n    /// All kinds, in the order of their numbers (from 1).\n    pub const ALL: &'static [HandleKind] = &[\n");
    for name in &table.handles {
        let _ = writeln!(out, "        HandleKind::{},", kind_name(name));
    }
    out.push_str("    ];\n}\n\n");
}

/// `CUstream` becomes `Stream`.
pub(crate) fn kind_name(handle: &str) -> String {
    let bare = handle.strip_prefix("CU").unwrap_or(handle);
    let mut letters = bare.chars();
    letters.next().map(|c| c.to_uppercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

fn write_functions(out: &mut String, table: &Table) {
    out.push_str("/// The API table: every driver function and every command of ours; opcode = position + 1.\npub static FUNCTIONS: &[FunctionInfo] = &[\n");
    for f in &table.functions {
        let per_thread = match &f.per_thread {
            Some((suffix, since)) => format!("Some(({suffix:?}, {since}))"),
            None => "None".into(),
        };
        let _ = writeln!(
            out,
            "    FunctionInfo {{ name: {:?}, base: {:?}, since: {}, per_thread: {per_thread}, class: Class::{:?}, soft: {}, command: {} }},",
            f.name, f.base, f.since, f.class, f.soft, f.command
        );
    }
    out.push_str("];\n\n");
}

fn write_command(out: &mut String, opcode: u16, f: &Function) {
    let name = f.struct_name();
    let inputs: Vec<&Arg> = f.args.iter().filter(|a| field_type(&a.kind).is_some()).collect();
    let borrowed = inputs.iter().any(|a| matches!(a.kind, Kind::Str | Kind::Bytes(_)));
    let life = if borrowed { "<'a>" } else { "" };
    let _ = writeln!(out, "/// `{}`\n#[derive(Clone, Debug, PartialEq)]\n#[allow(non_snake_case, missing_docs)]\npub struct {name}{life} {{", f.name);
    for arg in &inputs {
        let _ = writeln!(out, "    pub {}: {},", arg.name, field_type(&arg.kind).unwrap_or_default());
    }
    let _ = writeln!(out, "}}\n\nimpl<'a> Command<'a> for {name}{life} {{");
    let _ = writeln!(out, "    const OPCODE: u16 = {opcode};\n    const NAME: &'static str = {:?};", f.name);
    let _ = writeln!(out, "    type Reply = {name}Reply;");
    out.push_str(
        "    #[allow(unused_variables)]\n    fn encode(&self, w: &mut Writer<'_>) -> Result<(), WireError> {\n",
    );
    for arg in &inputs {
        let _ = writeln!(out, "        w.{};", encode_call(arg));
    }
    out.push_str("        Ok(())\n    }\n    #[allow(unused_variables)]\n    fn decode(r: &mut Reader<'a>) -> Result<Self, WireError> {\n        Ok(Self {\n");
    for arg in &inputs {
        let _ = writeln!(out, "            {}: r.{}?,", arg.name, decode_call(&arg.kind));
    }
    out.push_str("        })\n    }\n    fn size(&self) -> usize {\n        0");
    for arg in &inputs {
        match &arg.kind {
            Kind::Str | Kind::Bytes(_) => {
                let _ = write!(out, " + 8 + padded(self.{}.len())", arg.name);
            }
            Kind::InStruct(ty) => {
                let _ = write!(out, " + padded(size_of::<cuda::{ty}>())");
            }
            _ => out.push_str(" + 8"),
        }
    }
    out.push_str("\n    }\n    fn reply_capacity(&self) -> usize {\n        0");
    for arg in &f.args {
        match &arg.kind {
            Kind::OutScalar { .. } => out.push_str(" + 8"),
            Kind::OutStruct(ty) => {
                let _ = write!(out, " + padded(size_of::<cuda::{ty}>())");
            }
            Kind::OutBytes(len) => {
                let _ = write!(out, " + 8 + padded(self.{len} as usize)");
            }
            _ => {}
        }
    }
    out.push_str("\n    }\n}\n\n");
    write_reply(out, f, &name);
}

fn write_reply(out: &mut String, f: &Function, name: &str) {
    let outputs: Vec<&Arg> = f
        .args
        .iter()
        .filter(|a| matches!(a.kind, Kind::OutScalar { .. } | Kind::OutStruct(_) | Kind::OutBytes(_)))
        .collect();
    let _ = writeln!(out, "/// Reply of `{}`.\n#[derive(Clone, Debug)]\n#[allow(non_snake_case, missing_docs)]\npub struct {name}Reply {{", f.name);
    for arg in &outputs {
        let ty = match &arg.kind {
            Kind::OutScalar { ty, .. } => ty.clone(),
            Kind::OutStruct(ty) => format!("cuda::{ty}"),
            _ => "Vec<u8>".into(),
        };
        let _ = writeln!(out, "    pub {}: {ty},", arg.name);
    }
    let _ = writeln!(out, "}}\n\nimpl Reply for {name}Reply {{\n    #[allow(unused_variables)]\n    fn encode(&self, w: &mut Writer<'_>) -> Result<(), WireError> {{");
    for arg in &outputs {
        let call = match &arg.kind {
            Kind::OutScalar { ty, .. } => format!("{ty}(self.{})", arg.name),
            Kind::OutStruct(_) => format!("pod(&self.{})", arg.name),
            _ => format!("bytes(&self.{})", arg.name),
        };
        let _ = writeln!(out, "        w.{call}?;");
    }
    out.push_str("        Ok(())\n    }\n    #[allow(unused_variables)]\n    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {\n        Ok(Self {\n");
    for arg in &outputs {
        let call = match &arg.kind {
            Kind::OutScalar { ty, .. } => format!("{ty}()?"),
            Kind::OutStruct(_) => "pod()?".to_string(),
            _ => "bytes()?.to_vec()".to_string(),
        };
        let _ = writeln!(out, "            {}: r.{call},", arg.name);
    }
    out.push_str("        })\n    }\n}\n\n");
}

/// The type of an argument's field in its command struct; `None` for outputs.
fn field_type(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Scalar(ty) => ty.clone(),
        Kind::Handle(_) | Kind::New(_) | Kind::Del(_) => "Handle".into(),
        Kind::InStruct(ty) => format!("cuda::{ty}"),
        Kind::Str | Kind::Bytes(_) => "&'a [u8]".into(),
        _ => return None,
    })
}

fn encode_call(arg: &Arg) -> String {
    let name = &arg.name;
    match &arg.kind {
        Kind::Scalar(ty) => format!("{ty}(self.{name})?"),
        Kind::InStruct(_) => format!("pod(&self.{name})?"),
        Kind::Str | Kind::Bytes(_) => format!("bytes(self.{name})?"),
        _ => format!("u64(self.{name}.0)?"),
    }
}

fn decode_call(kind: &Kind) -> String {
    match kind {
        Kind::Scalar(ty) => format!("{ty}()"),
        Kind::InStruct(_) => "pod()".into(),
        Kind::Str | Kind::Bytes(_) => "bytes()".into(),
        _ => "handle()".into(),
    }
}

/// The C type of an argument, as Rust.
pub fn c_type(kind: &Kind) -> String {
    match kind {
        Kind::Scalar(ty) => ty.clone(),
        Kind::Handle(ty) | Kind::Del(ty) => format!("cuda::{ty}"),
        Kind::New(ty) => format!("*mut cuda::{ty}"),
        Kind::OutScalar { ty, .. } => format!("*mut {ty}"),
        Kind::InStruct(ty) => format!("*const cuda::{ty}"),
        Kind::OutStruct(ty) => format!("*mut cuda::{ty}"),
        Kind::Str => "*const c_char".into(),
        Kind::Bytes(_) => "*const c_void".into(),
        Kind::OutBytes(_) => "*mut c_void".into(),
        Kind::Raw(ty) => ty.clone(),
    }
}

fn write_driver_api(out: &mut String, table: &Table) {
    out.push_str("/// Entry points of a CUDA driver: the host's libcuda or the software GPU.\n/// `None`: that driver lacks the function.\n#[allow(non_snake_case, missing_docs, clippy::type_complexity)]\n#[derive(Clone, Default)]\npub struct DriverApi {\n");
    let known = |f: &&Function| !f.command && f.class != Class::Refused;
    for f in table.functions.iter().filter(known) {
        let types: Vec<String> = f.args.iter().map(|a| c_type(&a.kind)).collect();
        let _ = writeln!(
            out,
            "    pub {}: Option<unsafe extern \"C\" fn({}) -> cuda::CUresult>,",
            f.name,
            types.join(", ")
        );
    }
    out.push_str("}\n\nimpl DriverApi {\n    /// Fills the table by name, as `dlsym` would.\n    ///\n    /// # Safety\n    /// `find` returns null or the address of a function that has the named driver function's C signature.\n    #[allow(clippy::missing_transmute_annotations)]\n    pub unsafe fn load(mut find: impl FnMut(&'static std::ffi::CStr) -> *const c_void) -> Self {\n        // SAFETY: the caller vouches for the signatures; a null address becomes `None`.\n        unsafe {\n            Self {\n");
    for f in table.functions.iter().filter(known) {
        let _ =
            writeln!(out, "                {}: std::mem::transmute::<*const c_void, _>(find(c{:?})),", f.name, f.name);
    }
    out.push_str("            }\n        }\n    }\n}\n");
}
