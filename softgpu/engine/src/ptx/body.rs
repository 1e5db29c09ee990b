//! Statements of a function body.

use super::builder::Builder;
use super::cursor::Cursor;
use super::error::{invalid, text, Fail, Result};
use super::header;
use super::lexer::Token;
use super::lower::{is_unsupported, Lower, Statement};
use super::module::place;
use super::operand::Operands;
use super::scope::{Binding, RegKind};
use super::tables::Tables;
use super::variable::{declare_variables, DeclType, Declarator};
use crate::ir::*;

/// Deepest nesting of braces in a body.
const SCOPE_DEPTH: usize = 64;

/// Reads a body behind its opening brace, including the closing one.
pub(super) fn statements<'a>(
    cursor: &mut Cursor<'a>,
    tables: &mut Tables<'a>,
    builder: &mut Builder<'a>,
) -> Result<()> {
    let mut body = Body { cursor, tables, builder, operands: Operands::default(), vectors: false };
    loop {
        let at = body.cursor.at;
        body.builder.at = at;
        match body.cursor.token {
            Token::Punct(b'}') if body.builder.scopes.depth() == 1 => {
                body.cursor.advance()?;
                return Ok(());
            }
            Token::End => return body.cursor.unexpected("`}`"),
            _ => body.statement().or_else(|fail| body.defer(fail, at))?,
        }
    }
}

struct Body<'c, 'a> {
    cursor: &'c mut Cursor<'a>,
    tables: &'c mut Tables<'a>,
    builder: &'c mut Builder<'a>,
    operands: Operands<'a>,
    /// Whether a register of a vector type has been declared.
    vectors: bool,
}

impl<'a> Body<'_, 'a> {
    /// Notes an unsupported statement, all of which has been read, and goes on.
    fn defer(&mut self, fail: Fail, at: PtxPos) -> Result<()> {
        match fail {
            Fail::Unsupported(what) => {
                self.builder.function.unsupported.get_or_insert(Unsupported { what, at });
                Ok(())
            }
            invalid => Err(place(invalid, at)),
        }
    }

    fn statement(&mut self) -> Result<()> {
        match self.cursor.token {
            Token::Ident(name) => {
                if self.cursor.lexer.accept_label_colon()? {
                    self.cursor.advance()?;
                    return self.label(name);
                }
                self.instruction(name, None)
            }
            Token::Punct(b'@') => self.guarded(),
            Token::Punct(b'{') => {
                if self.builder.scopes.depth() == SCOPE_DEPTH {
                    return invalid("braces are nested too deeply");
                }
                self.builder.scopes.open();
                self.cursor.advance().map(drop)
            }
            Token::Punct(b'}') => {
                self.builder.scopes.close();
                self.cursor.advance().map(drop)
            }
            Token::Punct(b';') => self.cursor.advance().map(drop),
            Token::Directive(name) => {
                self.cursor.advance()?;
                self.directive(name)
            }
            _ => self.cursor.unexpected("an instruction"),
        }
    }

    fn guarded(&mut self) -> Result<()> {
        self.cursor.advance()?;
        let negated = self.cursor.accept(b'!')?;
        let at = self.cursor.at;
        let name = self.cursor.ident()?;
        let reg = match self.builder.scopes.lookup(name, &mut self.builder.function.regs) {
            Some(Binding::Reg(reg)) if self.builder.function.regs[reg.0 as usize] == RegClass::Pred => reg,
            _ => {
                let message = format!("`{}` is not a predicate register", text(name));
                return Err(Fail::Invalid { at: Some(at), message });
            }
        };
        let Token::Ident(opcode) = self.cursor.token else { return self.cursor.unexpected("an instruction") };
        self.builder.at = self.cursor.at;
        self.instruction(opcode, Some(Guard { reg, negated }))
    }

    /// Reads the rest of an instruction; the cursor is on the opcode.
    fn instruction(&mut self, base: &'a [u8], guard: Option<Guard>) -> Result<()> {
        let modifiers = self.cursor.lexer.modifiers()?;
        if is_unsupported(base, &modifiers) {
            self.cursor.lexer.skip_statement();
            self.cursor.advance()?;
            self.cursor.expect(b';')?;
            return super::error::unsupported(format!("instruction `{}`", modifiers.opcode(base)));
        }
        self.cursor.advance()?;
        self.operands.parse(self.cursor)?;
        if self.builder.function.unsupported.is_some() {
            // The body will not be used, and names in it may be undeclared.
            return Ok(());
        }
        if self.vectors {
            self.operands.expand_vectors(&mut self.builder.scopes, &mut self.builder.function.regs)?;
        }
        let mut statement = Statement { base, modifiers, guard, operands: &self.operands };
        Lower { tables: self.tables, builder: self.builder }.statement(&mut statement)
    }

    /// A label, or a list declared under a label-like name.
    fn label(&mut self, name: &'a [u8]) -> Result<()> {
        let at = self.builder.at;
        let binding = match self.cursor.token {
            Token::Directive(b"branchtargets") => {
                self.cursor.advance()?;
                self.branch_targets()?
            }
            Token::Directive(b"callprototype") => {
                self.cursor.advance()?;
                let signature = header::prototype(self.cursor)?;
                Binding::Signature(self.tables.signature(signature))
            }
            Token::Directive(b"calltargets") => {
                self.cursor.advance()?;
                self.call_targets()?
            }
            _ => return self.builder.place_label(name, at),
        };
        self.declare(name, binding)
    }

    fn branch_targets(&mut self) -> Result<Binding> {
        let mut table = Vec::new();
        loop {
            let at = self.cursor.at;
            let label = self.cursor.ident()?;
            table.push(self.builder.label(label, at));
            if self.cursor.accept(b';')? {
                break;
            }
            self.cursor.expect(b',')?;
        }
        let tables = &mut self.builder.function.branch_tables;
        tables.push(table);
        Ok(Binding::BranchTargets(tables.len() as u32 - 1))
    }

    /// All targets have the same prototype: that of the first one.
    fn call_targets(&mut self) -> Result<Binding> {
        let at = self.cursor.at;
        let name = self.cursor.ident()?;
        self.cursor.skip_to_semicolon()?;
        let Some(&Binding::Function(id)) = self.tables.names.get(name) else {
            let message = format!("`{}` is not a function declared before", text(name));
            return Err(Fail::Invalid { at: Some(at), message });
        };
        let signature = self.tables.functions[id.0 as usize].signature.clone();
        Ok(Binding::Signature(self.tables.signature(signature)))
    }

    fn declare(&mut self, name: &'a [u8], binding: Binding) -> Result<()> {
        if !self.builder.scopes.innermost().declare(name, binding) {
            return invalid(format!("`{}` is declared twice", text(name)));
        }
        Ok(())
    }

    fn directive(&mut self, name: &[u8]) -> Result<()> {
        match name {
            b"reg" => self.registers(),
            b"local" => self.frame_variables(false),
            b"param" => self.frame_variables(true),
            b"shared" => self.module_variables(Space::Shared, Some(Linkage::Internal)),
            b"global" => self.module_variables(Space::Global, Some(Linkage::Internal)),
            b"const" => self.module_variables(Space::Const, Some(Linkage::Internal)),
            b"extern" => {
                if !self.cursor.accept_directive("shared")? {
                    return self.cursor.unexpected("`.shared`");
                }
                self.module_variables(Space::Shared, None)
            }
            b"loc" => {
                let pos = skip_loc(self.cursor)?;
                self.builder.source_pos(pos);
                Ok(())
            }
            b"pragma" => self.cursor.skip_to_semicolon(),
            _ => invalid(format!("unknown directive `.{}` in a function", text(name))),
        }
    }

    fn registers(&mut self) -> Result<()> {
        let ty = DeclType::parse(self.cursor)?;
        let class = ty.ty.map(|ty| ty.reg_class());
        let Some(class) = class.filter(|&class| class != RegClass::Pred || ty.vector == 1) else {
            return invalid("no register has this type");
        };
        let kind = RegKind { class, len: ty.vector as u8 };
        self.vectors |= kind.len > 1;
        loop {
            let name = self.cursor.ident()?;
            let fresh = if self.cursor.accept(b'<')? {
                let count = self.cursor.integer()?;
                self.cursor.expect(b'>')?;
                self.builder.scopes.innermost().declare_range(name, count, kind)
            } else {
                let binding = kind.create(&mut self.builder.function.regs);
                self.builder.scopes.innermost().declare(name, binding)
            };
            if !fresh {
                return invalid(format!("register `{}` is declared twice", text(name)));
            }
            if self.cursor.accept(b';')? {
                return Ok(());
            }
            self.cursor.expect(b',')?;
        }
    }

    /// `.local` variables and `.param` variables of calls.
    fn frame_variables(&mut self, param: bool) -> Result<()> {
        let ty = DeclType::parse(self.cursor)?;
        loop {
            let declarator = Declarator::parse(self.cursor, &ty)?;
            let class = ty.ty.map_or(RegClass::B64, |ty| ty.reg_class());
            let is_scalar = !declarator.dimensions.is_array() && ty.vector == 1 && class != RegClass::B128;
            let binding = if param && is_scalar {
                Binding::ScalarParam(self.builder.reg(class))
            } else {
                let offset = self.builder.frame(declarator.size, ty.align)?;
                Binding::Frame { offset, size: declarator.size as u32, element: declarator.element, param }
            };
            self.declare(declarator.name, binding)?;
            if self.cursor.accept(b';')? {
                return Ok(());
            }
            self.cursor.expect(b',')?;
        }
    }

    /// Variables of module lifetime with a name local to the function.
    fn module_variables(&mut self, space: Space, linkage: Option<Linkage>) -> Result<()> {
        for (name, binding) in declare_variables(self.cursor, self.tables, space, linkage)? {
            self.declare(name, binding)?;
        }
        Ok(())
    }
}

/// Reads a `.loc` behind its directive; it ends without a semicolon.
pub(super) fn skip_loc(cursor: &mut Cursor) -> Result<SourcePos> {
    let file = cursor.integer_u32()?;
    let line = cursor.integer_u32()?;
    cursor.integer()?;
    while cursor.accept(b',')? {
        match cursor.ident()? {
            b"function_name" => {
                cursor.ident()?;
                if cursor.accept(b'+')? {
                    cursor.integer()?;
                }
            }
            b"inlined_at" => {
                for _ in 0..3 {
                    cursor.integer()?;
                }
            }
            _ => return cursor.unexpected("`function_name` or `inlined_at`"),
        }
    }
    Ok(SourcePos { file, line })
}
