//! Module-level directives.

use super::body;
use super::builder::Builder;
use super::cursor::Cursor;
use super::error::{full_name, invalid, text, Fail, Result};
use super::header::{self, HeaderParam};
use super::lexer::Token;
use super::scope::Binding;
use super::shared;
use super::tables::{FunctionDecl, Sharing, Tables};
use super::variable::declare_variables;
use crate::ir::*;

/// Largest launch parameter block in bytes (CUDA's limit since sm_70).
const PARAM_BLOCK_LIMIT: u64 = 32764;

/// How the reason of a function begins that is declared and called, but defined nowhere
/// ([`crate::ir::Function::unsupported`]).
pub const UNRESOLVED: &str = "unresolved extern function";

/// Compiles a whole text.
pub(super) fn compile(source: &[u8]) -> Result<Module> {
    let mut compiler = Compiler { cursor: Cursor::new(source)?, tables: Tables::default() };
    compiler.tables.module.address_size = 64;
    compiler.first_version()?;
    while compiler.cursor.token != Token::End {
        let at = compiler.cursor.at;
        compiler.directive().map_err(|fail| place(fail, at))?;
    }
    let mut tables = compiler.tables;
    tables.resolve_symbols();
    shared::lay_out(&mut tables)?;
    Ok(tables.module)
}

/// Gives an error without a position that of its statement.
pub(super) fn place(fail: Fail, at: PtxPos) -> Fail {
    match fail {
        Fail::Invalid { at: None, message } => Fail::Invalid { at: Some(at), message },
        other => other,
    }
}

struct Compiler<'a> {
    cursor: Cursor<'a>,
    tables: Tables<'a>,
}

impl<'a> Compiler<'a> {
    fn first_version(&mut self) -> Result<()> {
        if !self.cursor.accept_directive("version")? {
            return self.cursor.unexpected("`.version` at the start of the module");
        }
        self.version()
    }

    /// Reads a version. Joined texts have several; the newest counts.
    fn version(&mut self) -> Result<()> {
        let Token::F64(bits) = self.cursor.token else {
            return self.cursor.unexpected("a version number such as 8.0");
        };
        self.cursor.advance()?;
        let tenths = (f64::from_bits(bits) * 10.0).round() as u32;
        let version = (tenths / 10, tenths % 10);
        self.tables.module.version = self.tables.module.version.max(version);
        Ok(())
    }

    fn directive(&mut self) -> Result<()> {
        let (linkage, is_extern) = self.linkage()?;
        let Token::Directive(name) = self.cursor.token else {
            return match self.cursor.accept(b';')? {
                true => Ok(()),
                false => self.cursor.unexpected("a directive"),
            };
        };
        let at = self.cursor.at;
        self.cursor.advance()?;
        let linkage = (!is_extern).then_some(linkage);
        match name {
            b"version" => {
                self.tables.begin_unit();
                self.version()
            }
            b"target" => self.target(),
            b"address_size" => self.address_size(),
            b"file" => self.file(),
            b"section" => self.section(),
            b"pragma" => self.cursor.skip_to_semicolon(),
            b"alias" => self.alias(),
            b"loc" => body::skip_loc(&mut self.cursor).map(drop),
            b"entry" => self.function(true, linkage, at),
            b"func" => self.function(false, linkage, at),
            b"global" => self.variables(Space::Global, linkage),
            b"const" => self.variables(Space::Const, linkage),
            b"shared" => self.variables(Space::Shared, linkage),
            b"tex" => self.variables(Space::Global, linkage),
            _ => invalid(format!("unknown directive `.{}`", text(name))),
        }
    }

    /// Reads `.visible` and the like; the flag is `.extern`.
    fn linkage(&mut self) -> Result<(Linkage, bool)> {
        let mut linkage = Linkage::Internal;
        let mut is_extern = false;
        while let Token::Directive(name) = self.cursor.token {
            match name {
                b"visible" => linkage = Linkage::Visible,
                b"weak" => linkage = Linkage::Weak,
                b"common" => linkage = Linkage::Common,
                b"extern" => is_extern = true,
                _ => break,
            }
            self.cursor.advance()?;
        }
        Ok((linkage, is_extern))
    }

    fn target(&mut self) -> Result<()> {
        let target = full_name(self.cursor.ident()?);
        // Joined texts have several; the highest counts.
        if header::target_number(&self.tables.module.target) <= header::target_number(&target) {
            self.tables.module.target = target;
        }
        while self.cursor.accept(b',')? {
            self.cursor.ident()?;
        }
        Ok(())
    }

    fn address_size(&mut self) -> Result<()> {
        let size = self.cursor.integer_u32()?;
        if size != 64 {
            return invalid(format!("address size {size} is not supported, only 64"));
        }
        self.tables.module.address_size = size;
        Ok(())
    }

    fn file(&mut self) -> Result<()> {
        let index = self.cursor.integer_u32()?;
        let Token::Str(name) = self.cursor.advance()? else {
            return self.cursor.unexpected("a file name");
        };
        while self.cursor.accept(b',')? {
            self.cursor.integer()?;
        }
        self.tables.module.files.push((index, String::from_utf8_lossy(name).into_owned()));
        Ok(())
    }

    fn section(&mut self) -> Result<()> {
        while self.cursor.token != Token::Punct(b'{') {
            if self.cursor.advance()? == Token::End {
                return self.cursor.unexpected("`{`");
            }
        }
        self.cursor.skip_braces()
    }

    fn alias(&mut self) -> Result<()> {
        let alias = self.cursor.ident()?;
        self.cursor.expect(b',')?;
        let target = self.cursor.ident()?;
        self.cursor.expect(b';')?;
        let Some(&binding @ Binding::Function(_)) = self.tables.names.get(target) else {
            return invalid(format!("`{}` is not a function declared before", text(target)));
        };
        // The alias itself is usually declared before as a function.
        self.tables.names.insert(alias, binding);
        Ok(())
    }

    fn variables(&mut self, space: Space, linkage: Option<Linkage>) -> Result<()> {
        for (name, binding) in declare_variables(&mut self.cursor, &mut self.tables, space, linkage)? {
            self.declare_variable(name, binding, linkage)?;
        }
        Ok(())
    }

    /// Binds a variable; one that was only declared `.extern` may be bound again.
    fn declare_variable(&mut self, name: &'a [u8], binding: Binding, linkage: Option<Linkage>) -> Result<()> {
        let tables = &mut self.tables;
        let (known, unit) = (tables.names.get(name).copied(), tables.unit);
        let (repeats, foreign) = match known {
            Some(Binding::DynamicShared) => (binding == Binding::DynamicShared, false),
            Some(Binding::Variable(index) | Binding::Opaque(index)) => {
                let foreign = tables.variables[index as usize].sharing.is_foreign(linkage, unit);
                (linkage.is_none() || known == Some(binding), foreign)
            }
            Some(Binding::Shared(index)) => {
                (linkage.is_none(), tables.shared[index as usize].sharing.is_foreign(linkage, unit))
            }
            _ => (false, false),
        };
        if foreign {
            tables.declare_private(name, binding);
            return Ok(());
        }
        if repeats {
            return Ok(());
        }
        tables.declare(name, binding)
    }

    fn function(&mut self, is_entry: bool, linkage: Option<Linkage>, at: PtxPos) -> Result<()> {
        while self.cursor.accept_directive("attribute")? {
            while self.cursor.advance()? != Token::Punct(b')') {
                if self.cursor.token == Token::End {
                    return self.cursor.unexpected("`)`");
                }
            }
        }
        let results = if is_entry { Vec::new() } else { header::params(&mut self.cursor)? };
        let name = self.cursor.ident()?;
        let params = header::params(&mut self.cursor)?;
        let mut builder = Builder::new(name, is_entry, linkage.unwrap_or_default());
        header::tuning(&mut self.cursor, &mut builder.function)?;
        let signature = Signature { results: header::shapes(&results), params: header::shapes(&params) };
        let id = self.declare_function(name, is_entry, signature.clone(), linkage)?;
        self.tables.functions[id.0 as usize].at = at;
        if self.cursor.accept(b';')? {
            return Ok(());
        }
        let weak = Sharing::new(linkage, self.tables.unit).weak;
        let decl = &mut self.tables.functions[id.0 as usize];
        if decl.defined {
            if weak {
                return self.cursor.skip_braces();
            }
            if !decl.sharing.weak {
                return invalid(format!("`{}` is defined twice", text(name)));
            }
        }
        decl.defined = true;
        decl.sharing.weak = weak;
        decl.signature = signature;
        self.cursor.expect(b'{')?;
        builder.at = at;
        builder.function.results = bind_params(&mut builder, &results)?;
        builder.function.params = bind_params(&mut builder, &params)?;
        body::statements(&mut self.cursor, &mut self.tables, &mut builder)?;
        let (function, shared) = builder.finish()?;
        self.tables.module.functions[id.0 as usize] = function;
        self.tables.functions[id.0 as usize].shared = shared;
        Ok(())
    }

    /// Declares a function, or finds its earlier declaration.
    fn declare_function(
        &mut self,
        name: &'a [u8],
        is_entry: bool,
        signature: Signature,
        linkage: Option<Linkage>,
    ) -> Result<FunctionId> {
        // The host finds entries by name, whatever their linkage.
        let linkage = if is_entry && linkage == Some(Linkage::Internal) { Some(Linkage::Visible) } else { linkage };
        let unit = self.tables.unit;
        let known = match self.tables.names.get(name) {
            Some(&Binding::Function(id)) => Some(id),
            _ => None,
        };
        let foreign = known.is_some_and(|id| self.tables.functions[id.0 as usize].sharing.is_foreign(linkage, unit));
        if let Some(id) = known.filter(|_| !foreign) {
            let decl = &mut self.tables.functions[id.0 as usize];
            if !decl.agrees(&signature, unit) || decl.is_entry != is_entry {
                return invalid(format!("`{}` differs from its earlier declaration", text(name)));
            }
            decl.sharing.declared_again(linkage, unit);
            return Ok(id);
        }
        let id = FunctionId(self.tables.functions.len() as u32);
        if foreign {
            self.tables.declare_private(name, Binding::Function(id));
        } else {
            self.tables.declare(name, Binding::Function(id))?;
        }
        let sharing = Sharing { weak: false, ..Sharing::new(linkage, unit) };
        self.tables.functions.push(FunctionDecl {
            name,
            is_entry,
            defined: false,
            at: self.cursor.at,
            signature,
            symbol: None,
            sharing,
            shared: Vec::new(),
        });
        // Stands until the definition, if there is one.
        self.tables.module.functions.push(Function {
            name: full_name(name),
            is_entry,
            blocks: vec![Block { first: 0, end: 0, terminator: Terminator::Trap, ipdom: None }],
            unsupported: Some(Unsupported { what: format!("{UNRESOLVED} `{}`", text(name)), at: self.cursor.at }),
            ..Function::default()
        });
        Ok(id)
    }
}

impl FunctionDecl<'_> {
    /// Whether another declaration in text number `unit` can be of this function. Texts that are
    /// joined may disagree on whether it has a result: then nothing is returned.
    fn agrees(&self, signature: &Signature, unit: u32) -> bool {
        let results = [&self.signature.results, &signature.results];
        let lacking = self.sharing.unit != unit && results.iter().any(|list| list.is_empty());
        self.signature.params == signature.params && (results[0] == results[1] || lacking)
    }
}

/// Gives parameters or results their place and binds their names.
fn bind_params<'a>(builder: &mut Builder<'a>, params: &[HeaderParam<'a>]) -> Result<Vec<Param>> {
    let mut bound = Vec::with_capacity(params.len());
    for param in params {
        let (binding, storage) = if builder.function.is_entry {
            let offset = entry_param(&mut builder.function, param)?;
            (Binding::EntryParam { offset }, ParamStorage::Block { offset })
        } else if let Some(class) = param.scalar {
            let reg = builder.reg(class);
            let binding = if param.is_reg { Binding::Reg(reg) } else { Binding::ScalarParam(reg) };
            (binding, ParamStorage::Reg(reg))
        } else {
            let offset = builder.frame(param.size, param.align)?;
            let binding = Binding::Frame { offset, size: param.size as u32, element: 0, param: true };
            (binding, ParamStorage::Frame { offset })
        };
        if !builder.scopes.innermost().declare(param.name, binding) && param.name != b"_" {
            return invalid(format!("`{}` is declared twice", text(param.name)));
        }
        bound.push(Param { name: full_name(param.name), size: param.size as u32, align: param.align, storage });
    }
    Ok(bound)
}

/// Places a parameter in the launch block; returns its offset.
fn entry_param(function: &mut Function, param: &HeaderParam) -> Result<u32> {
    if param.is_reg {
        return invalid("a parameter of an entry must be in .param space");
    }
    let offset = u64::from(function.param_block_size).next_multiple_of(param.align.into());
    let end = offset + param.size;
    if end > PARAM_BLOCK_LIMIT {
        return invalid(format!("parameters exceed {PARAM_BLOCK_LIMIT} bytes"));
    }
    function.param_block_size = end as u32;
    Ok(offset as u32)
}
