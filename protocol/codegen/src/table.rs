//! The table's text format and its in-memory form.

use std::path::Path;

/// How a function is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Answered in the guest, from state fetched earlier. The worker may still call the driver's
    /// function of that name for its own purposes.
    Local,
    /// Guest code written by hand, which sends `command`s of its own.
    Custom,
    /// Sent without waiting; an error is latched and returned by a later call that waits.
    Async,
    /// Sent, and the caller waits for the reply.
    Sync,
    /// As `Sync`, and the driver's call may block: the worker runs it on a waiter thread.
    Blocking,
    /// Not implemented: `CUDA_ERROR_NOT_SUPPORTED`.
    Refused,
}

impl Class {
    /// The class's word in the table.
    pub fn word(self) -> &'static str {
        match self {
            Class::Local => "local",
            Class::Custom => "custom",
            Class::Async => "async",
            Class::Sync => "sync",
            Class::Blocking => "blocking",
            Class::Refused => "refused",
        }
    }

    /// Whether functions of this class have an opcode.
    pub fn on_wire(self) -> bool {
        matches!(self, Class::Async | Class::Sync | Class::Blocking)
    }

    /// Whether the caller waits for a reply.
    pub fn waits(self) -> bool {
        matches!(self, Class::Sync | Class::Blocking)
    }
}

/// What an argument is, and how it crosses the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number passed by value; the Rust type's name.
    Scalar(String),
    /// A handle that names an object of the session.
    Handle(String),
    /// A handle minted by the guest for the object this call creates.
    New(String),
    /// A handle whose object this call destroys.
    Del(String),
    /// A pointer to one number that the call fills; `optional` pointers may be null.
    OutScalar { ty: String, optional: bool },
    /// A pointer to one plain struct that the call reads.
    InStruct(String),
    /// A pointer to one plain struct that the call fills.
    OutStruct(String),
    /// A NUL-terminated string.
    Str,
    /// A byte buffer that the call reads; its length is the named argument.
    Bytes(String),
    /// A byte buffer that the call fills; its length is the named argument.
    OutBytes(String),
    /// A C type that never crosses the queue as it is (only in `local` and `custom`).
    Raw(String),
}

/// One argument.
#[derive(Clone, Debug)]
pub struct Arg {
    /// The name in `cuda.h`.
    pub name: String,
    /// Direction, type and length rule.
    pub kind: Kind,
}

/// One function, or one command of ours.
#[derive(Clone, Debug)]
pub struct Function {
    /// The exported symbol, or the command's name.
    pub name: String,
    /// The name without its `_vN`, as `cuGetProcAddress` is asked for it.
    pub base: String,
    /// The CUDA version (1000 * major + 10 * minor) that introduced this symbol; 0 for commands.
    pub since: u32,
    /// The per-thread-default-stream twin: its suffix (`ptds`, `ptsz`) and first version.
    pub per_thread: Option<(String, u32)>,
    /// How it is served.
    pub class: Class,
    /// Whether the software GPU implements it.
    pub soft: bool,
    /// Whether it works before `cuInit`.
    pub early: bool,
    /// Whether hand-written guest code stands in front of the generated call.
    pub wrapped: bool,
    /// Whether `vgpu-graphs` implements it, for the guest and for the software GPU.
    pub shared: bool,
    /// Whether it is a command of ours rather than a driver function.
    pub command: bool,
    /// Arguments in order.
    pub args: Vec<Arg>,
    /// The heading of the table under which it stands.
    pub section: String,
    /// Why it is refused: its own words, or those of its section.
    pub reason: String,
}

impl Function {
    /// The name of the command struct: `cuMemAlloc_v2` becomes `CuMemAllocV2`.
    pub fn struct_name(&self) -> String {
        let mut out = String::new();
        for part in self.name.split('_') {
            let mut letters = part.chars();
            if let Some(first) = letters.next() {
                out.extend(first.to_uppercase());
                out.push_str(letters.as_str());
            }
        }
        out
    }

    /// Whether the table knows the C signature.
    pub fn has_signature(&self) -> bool {
        self.class != Class::Refused
    }
}

/// The parsed table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Handle types; the position (from 1) is the kind's number on the wire.
    pub handles: Vec<String>,
    /// Functions and commands in the table's order; the position (from 1) is the opcode.
    pub functions: Vec<Function>,
    /// FNV-1a hash over everything that decides the wire format.
    pub hash: u64,
}

/// A line that cannot be understood.
#[derive(Debug)]
pub struct ParseError {
    line: usize,
    message: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cuda.api line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

impl Table {
    /// Reads the table of this workspace and, in a build script, asks to be run again when it changes.
    /// A bad table ends the build.
    pub fn load() -> Table {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../api/cuda.api");
        if std::env::var_os("OUT_DIR").is_some() {
            println!("cargo:rerun-if-changed={}", path.display());
        }
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()));
        Table::parse(&text).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Parses the table's text.
    pub fn parse(text: &str) -> Result<Table, ParseError> {
        let mut table = Table { handles: Vec::new(), functions: Vec::new(), hash: 0xcbf2_9ce4_8422_2325 };
        let (mut section, mut common) = (String::new(), String::new());
        for (number, raw) in text.lines().enumerate() {
            let fail = |message: &str| ParseError { line: number + 1, message: message.to_string() };
            if let Some(title) = raw.trim().strip_prefix("##") {
                let (title, reason) = title.split_once('#').unwrap_or((title, ""));
                (section, common) = (title.trim().to_string(), reason.trim().to_string());
                continue;
            }
            let (line, reason) = raw.split_once('#').unwrap_or((raw, ""));
            let (line, reason) = (line.trim(), reason.trim());
            if line.is_empty() {
                continue;
            }
            table.absorb(line);
            if let Some(name) = line.strip_prefix("handle ") {
                table.handles.push(name.trim().to_string());
                continue;
            }
            let mut function = parse_function(line, &section, &table.handles).map_err(|m| fail(&m))?;
            if function.class == Class::Refused {
                function.reason = if reason.is_empty() { common.clone() } else { reason.to_string() };
            }
            if table.functions.iter().any(|f| f.name == function.name) {
                return Err(fail(&format!("{} stands twice", function.name)));
            }
            table.functions.push(function);
        }
        Ok(table)
    }

    /// Driver functions, without our own commands.
    pub fn driver_functions(&self) -> impl Iterator<Item = &Function> {
        self.functions.iter().filter(|f| !f.command)
    }

    /// Everything that crosses the queue, with its opcode.
    pub fn wire(&self) -> impl Iterator<Item = (u16, &Function)> {
        self.functions.iter().enumerate().filter(|(_, f)| f.class.on_wire()).map(|(i, f)| (i as u16 + 1, f))
    }

    fn absorb(&mut self, line: &str) {
        for byte in line.bytes().chain(*b"\n") {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

fn parse_function(line: &str, section: &str, handles: &[String]) -> Result<Function, String> {
    let (head, args) = match line.split_once('(') {
        Some((head, rest)) => (head, rest.strip_suffix(')').ok_or("the line must end with ')'")?),
        None => (line, ""),
    };
    let mut words = head.split_whitespace();
    let name = words.next().ok_or("a name is missing")?.to_string();
    let mut function = Function {
        base: base_name(&name),
        name,
        since: 0,
        per_thread: None,
        class: Class::Refused,
        soft: false,
        wrapped: false,
        shared: false,
        early: false,
        command: false,
        args: Vec::new(),
        section: section.to_string(),
        reason: String::new(),
    };
    for word in words {
        match word {
            "soft" => function.soft = true,
            "wrapped" => function.wrapped = true,
            "shared" => function.shared = true,
            "early" => function.early = true,
            "command" => function.command = true,
            "local" => function.class = Class::Local,
            "custom" => function.class = Class::Custom,
            "async" => function.class = Class::Async,
            "sync" => function.class = Class::Sync,
            "blocking" => function.class = Class::Blocking,
            "refused" => function.class = Class::Refused,
            other => match other.split_once(':') {
                Some((suffix, since)) => {
                    let since = since.parse().map_err(|_| format!("bad version in '{other}'"))?;
                    function.per_thread = Some((suffix.to_string(), since));
                }
                None => function.since = other.parse().map_err(|_| format!("unknown word '{other}'"))?,
            },
        }
    }
    for part in args.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let (name, kind) = part.split_once(':').ok_or_else(|| format!("'{part}' needs 'name: kind'"))?;
        function.args.push(Arg { name: name.trim().to_string(), kind: parse_kind(kind.trim(), handles)? });
    }
    check_lengths(&function)?;
    Ok(function)
}

fn base_name(name: &str) -> String {
    match name.rsplit_once("_v") {
        Some((base, digits)) if digits.parse::<u32>().is_ok() => base.to_string(),
        _ => name.to_string(),
    }
}

fn parse_kind(text: &str, handles: &[String]) -> Result<Kind, String> {
    let handle = |name: &str| {
        handles.iter().any(|h| h == name).then(|| name.to_string()).ok_or_else(|| format!("'{name}' is no handle"))
    };
    let length = |text: &str| text.strip_suffix(']').map(str::to_string).ok_or_else(|| "']' is missing".to_string());
    if let Some(ty) = text.strip_prefix("raw ") {
        return Ok(Kind::Raw(ty.trim().to_string()));
    }
    if let Some(name) = text.strip_prefix("new ") {
        return handle(name).map(Kind::New);
    }
    if let Some(name) = text.strip_prefix("del ") {
        return handle(name).map(Kind::Del);
    }
    if let Some(len) = text.strip_prefix("out bytes[") {
        return length(len).map(Kind::OutBytes);
    }
    if let Some(len) = text.strip_prefix("bytes[") {
        return length(len).map(Kind::Bytes);
    }
    if let Some(ty) = text.strip_prefix("out? ") {
        return Ok(Kind::OutScalar { ty: scalar(ty)?, optional: true });
    }
    if let Some(ty) = text.strip_prefix("out ") {
        return Ok(match scalar(ty) {
            Ok(ty) => Kind::OutScalar { ty, optional: false },
            Err(_) => Kind::OutStruct(ty.to_string()),
        });
    }
    if let Some(ty) = text.strip_prefix("in ") {
        return Ok(Kind::InStruct(ty.to_string()));
    }
    if text == "str" {
        return Ok(Kind::Str);
    }
    handle(text).map(Kind::Handle).or_else(|_| scalar(text).map(Kind::Scalar))
}

fn scalar(text: &str) -> Result<String, String> {
    match text {
        "u8" | "u16" | "u32" | "i32" | "u64" | "usize" | "f32" => Ok(text.to_string()),
        other => Err(format!("unknown kind '{other}'")),
    }
}

fn check_lengths(function: &Function) -> Result<(), String> {
    for arg in &function.args {
        if let Kind::Bytes(len) | Kind::OutBytes(len) = &arg.kind {
            let known = function.args.iter().any(|a| &a.name == len && matches!(a.kind, Kind::Scalar(_)));
            if !known && !function.command {
                return Err(format!("the length '{len}' of '{}' is no scalar argument", arg.name));
            }
        }
        if matches!(arg.kind, Kind::Raw(_)) && function.class.on_wire() {
            return Err(format!("'{}' is raw and cannot cross the queue", arg.name));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = "handle CUstream\n## Memory\ncuMemAlloc_v2 3020 soft sync(dptr: out u64, bytesize: usize)\n\
                          cuStreamCreate 2000 async(phStream: new CUstream, Flags: u32)\ncuFoo 12000 refused\n";

    #[test]
    fn test_parse_reads_names_versions_and_kinds() {
        let table = Table::parse(SAMPLE).unwrap();
        let alloc = &table.functions[0];
        assert_eq!((alloc.base.as_str(), alloc.since, alloc.class), ("cuMemAlloc", 3020, Class::Sync));
        assert_eq!(alloc.struct_name(), "CuMemAllocV2");
        assert_eq!(table.functions[1].args[0].kind, Kind::New("CUstream".into()));
        assert_eq!(table.wire().map(|(op, _)| op).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn test_refusals_have_reasons_that_do_not_change_the_hash() {
        let plain = Table::parse("## Maps\ncuA 1000 refused\ncuB 1000 local()\ncuC 1000 refused\n").unwrap();
        let table =
            Table::parse("## Maps # no maps\ncuA 1000 refused\ncuB 1000 local()\ncuC 1000 refused # no C\n").unwrap();
        let reasons: Vec<&str> = table.functions.iter().map(|f| f.reason.as_str()).collect();
        assert_eq!(reasons, ["no maps", "", "no C"]);
        assert_eq!((table.functions[0].section.as_str(), table.hash), ("Maps", plain.hash));
    }

    #[test]
    fn test_parse_duplicate_name_is_an_error_with_its_line() {
        let error = Table::parse("cuA 1000 refused\ncuA 1000 refused\n").unwrap_err();
        assert_eq!(error.to_string(), "cuda.api line 2: cuA stands twice");
    }

    #[test]
    fn test_parse_raw_argument_on_the_wire_is_refused() {
        assert!(Table::parse("cuA 1000 sync(p: raw *const c_void)\n").is_err());
    }

    #[test]
    fn test_hash_changes_with_any_signature() {
        let other = SAMPLE.replace("usize", "u32");
        assert_ne!(Table::parse(SAMPLE).unwrap().hash, Table::parse(&other).unwrap().hash);
    }
}
