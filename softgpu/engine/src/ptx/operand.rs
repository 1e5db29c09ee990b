//! Instruction operands as written, before names are resolved.

use super::cursor::Cursor;
use super::error::{text, Fail, Result};
use super::lexer::Token;
use super::scope::{Binding, Scopes};
use crate::ir::{PtxPos, Reg, RegClass};

/// Most elements of one braced or parenthesised list.
const LIST_LIMIT: usize = 4096;

/// An operand as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Raw<'a> {
    /// Register, variable, function or label; also the sink `_`.
    Name(&'a [u8]),
    /// Element of a register of a vector type.
    Element(Reg),
    /// `%tid.x`: name and component index.
    Component(&'a [u8], u8),
    /// `name+offset` outside of brackets.
    Offset(&'a [u8], i64),
    /// `name[n]`: an element of an array, by its number.
    Index(&'a [u8], i64),
    /// `name.h10`, maybe with a minus sign: name, selected parts (empty: all) and sign.
    Part {
        name: &'a [u8],
        selector: &'a [u8],
        negated: bool,
    },
    /// `!name`.
    Not(&'a [u8]),
    Int(u64),
    F32(u32),
    F64(u64),
    /// `d|p`.
    Pair(&'a [u8], &'a [u8]),
    /// `[name+offset]`.
    Address(&'a [u8], i64),
    /// `[immediate]`.
    AbsoluteAddress(u64),
    /// `[name, {…}]`: a texture or surface and coordinates, with a sampler (`[name, name, {…}]`) or
    /// without. Elements as for `Vector`.
    Object {
        name: &'a [u8],
        sampler: Option<&'a [u8]>,
        start: usize,
        len: usize,
    },
    /// `{…}|p`.
    VectorPair {
        start: usize,
        len: usize,
        second: &'a [u8],
    },
    /// `{…}`: elements in [`Operands::elements`].
    Vector {
        start: usize,
        len: usize,
    },
    /// `(…)`, likewise.
    List {
        start: usize,
        len: usize,
    },
}

/// An operand and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawOperand<'a> {
    pub(super) raw: Raw<'a>,
    pub(super) at: PtxPos,
}

/// Operands of one instruction; the allocations are reused.
#[derive(Default)]
pub(super) struct Operands<'a> {
    pub(super) list: Vec<RawOperand<'a>>,
    pub(super) elements: Vec<RawOperand<'a>>,
}

impl<'a> Operands<'a> {
    /// Reads operands up to and including the `;`.
    pub(super) fn parse(&mut self, cursor: &mut Cursor<'a>) -> Result<()> {
        self.list.clear();
        self.elements.clear();
        if cursor.accept(b';')? {
            return Ok(());
        }
        loop {
            let operand = self.operand(cursor)?;
            self.list.push(operand);
            if cursor.accept(b';')? {
                return Ok(());
            }
            cursor.expect(b',')?;
            if self.list.len() > LIST_LIMIT {
                return cursor.fail("too many operands");
            }
        }
    }

    /// Puts the elements of registers of vector types in the place of `v` and `v.x`.
    pub(super) fn expand_vectors(&mut self, scopes: &mut Scopes<'a>, regs: &mut Vec<RegClass>) -> Result<()> {
        for operand in self.list.iter_mut().chain(&mut self.elements) {
            let Raw::Component(name, index) = operand.raw else { continue };
            let Some(Binding::VectorReg { first, len }) = scopes.lookup(name, regs) else { continue };
            if index >= len {
                let message = format!("`{}` has {len} elements", text(name));
                return Err(Fail::Invalid { at: Some(operand.at), message });
            }
            operand.raw = Raw::Element(Reg(first.0 + u32::from(index)));
        }
        for operand in &mut self.list {
            let Raw::Name(name) = operand.raw else { continue };
            let Some(Binding::VectorReg { first, len }) = scopes.lookup(name, regs) else { continue };
            let start = self.elements.len();
            let elements = (first.0..).take(len.into()).map(|reg| Raw::Element(Reg(reg)));
            self.elements.extend(elements.map(|raw| RawOperand { raw, at: operand.at }));
            operand.raw = Raw::Vector { start, len: len.into() };
        }
        Ok(())
    }

    fn operand(&mut self, cursor: &mut Cursor<'a>) -> Result<RawOperand<'a>> {
        let at = cursor.at;
        let raw = match cursor.token {
            Token::Punct(b'{') => {
                let (start, len) = self.sequence(cursor, b'}')?;
                match cursor.accept(b'|')? {
                    true => Raw::VectorPair { start, len, second: cursor.ident()? },
                    false => Raw::Vector { start, len },
                }
            }
            Token::Punct(b'(') => {
                let (start, len) = self.sequence(cursor, b')')?;
                Raw::List { start, len }
            }
            Token::Punct(b'[') => self.address(cursor)?,
            _ => scalar(cursor)?,
        };
        Ok(RawOperand { raw, at })
    }

    fn address(&mut self, cursor: &mut Cursor<'a>) -> Result<Raw<'a>> {
        cursor.advance()?;
        let raw = match cursor.token {
            Token::Ident(name) => {
                cursor.advance()?;
                if cursor.accept(b',')? {
                    self.object(cursor, name)?
                } else {
                    Raw::Address(name, offset(cursor)?)
                }
            }
            _ => Raw::AbsoluteAddress(cursor.integer()?),
        };
        cursor.expect(b']')?;
        Ok(raw)
    }

    /// The rest of `[name, …]`: coordinates, and maybe a sampler before them.
    fn object(&mut self, cursor: &mut Cursor<'a>, name: &'a [u8]) -> Result<Raw<'a>> {
        let mut sampler = None;
        loop {
            match cursor.token {
                Token::Punct(b'{') => {
                    let (start, len) = self.sequence(cursor, b'}')?;
                    return Ok(Raw::Object { name, sampler, start, len });
                }
                Token::Ident(second) if sampler.is_none() => {
                    let at = cursor.at;
                    cursor.advance()?;
                    if !cursor.accept(b',')? {
                        // A single coordinate needs no braces.
                        self.elements.push(RawOperand { raw: Raw::Name(second), at });
                        return Ok(Raw::Object { name, sampler, start: self.elements.len() - 1, len: 1 });
                    }
                    sampler = Some(second);
                }
                _ => return cursor.unexpected("coordinates"),
            }
        }
    }

    /// Elements between the bracket under the cursor and `close`.
    fn sequence(&mut self, cursor: &mut Cursor<'a>, close: u8) -> Result<(usize, usize)> {
        cursor.advance()?;
        let start = self.elements.len();
        if cursor.accept(close)? {
            return Ok((start, 0));
        }
        loop {
            let at = cursor.at;
            let raw = scalar(cursor)?;
            self.elements.push(RawOperand { raw, at });
            if cursor.accept(close)? {
                return Ok((start, self.elements.len() - start));
            }
            cursor.expect(b',')?;
            if self.elements.len() > LIST_LIMIT {
                return cursor.fail("too many elements");
            }
        }
    }
}

/// An optional `+n` or `-n`.
fn offset(cursor: &mut Cursor) -> Result<i64> {
    match cursor.token {
        Token::Punct(b'+') => {
            cursor.advance()?;
            Ok(cursor.integer()? as i64)
        }
        Token::Punct(b'-') => Ok(cursor.integer()? as i64),
        _ => Ok(0),
    }
}

fn scalar<'a>(cursor: &mut Cursor<'a>) -> Result<Raw<'a>> {
    match cursor.token {
        Token::Ident(name) => named(cursor, name),
        Token::Punct(b'!') => {
            cursor.advance()?;
            match cursor.token {
                Token::Ident(name) => {
                    cursor.advance()?;
                    Ok(Raw::Not(name))
                }
                _ => Ok(Raw::Int(u64::from(cursor.integer()? == 0))),
            }
        }
        Token::F32(bits) => {
            cursor.advance()?;
            Ok(Raw::F32(bits))
        }
        Token::F64(bits) => {
            cursor.advance()?;
            Ok(Raw::F64(bits))
        }
        Token::Punct(b'-') => negative(cursor),
        _ => Ok(Raw::Int(cursor.integer()?)),
    }
}

/// A number with a leading minus sign.
fn negative<'a>(cursor: &mut Cursor<'a>) -> Result<Raw<'a>> {
    const F32_SIGN: u32 = 1 << 31;
    const F64_SIGN: u64 = 1 << 63;
    // Integers go through the expression parser, which reads the sign itself.
    if cursor.lexer.at_ident()? {
        cursor.advance()?;
        let selector = cursor.lexer.selector().unwrap_or_default();
        return Ok(Raw::Part { name: cursor.ident()?, selector, negated: true });
    }
    if !cursor.lexer.at_float()? {
        return Ok(Raw::Int(cursor.integer()?));
    }
    cursor.advance()?;
    match cursor.advance()? {
        Token::F32(bits) => Ok(Raw::F32(bits ^ F32_SIGN)),
        Token::F64(bits) => Ok(Raw::F64(bits ^ F64_SIGN)),
        _ => cursor.unexpected("a number"),
    }
}

fn named<'a>(cursor: &mut Cursor<'a>, name: &'a [u8]) -> Result<Raw<'a>> {
    let component = cursor.lexer.component();
    if let Some(selector) = cursor.lexer.selector() {
        cursor.advance()?;
        return Ok(Raw::Part { name, selector, negated: false });
    }
    cursor.advance()?;
    if let Some(component) = component {
        return Ok(Raw::Component(name, component));
    }
    if cursor.accept(b'|')? {
        return Ok(Raw::Pair(name, cursor.ident()?));
    }
    if cursor.accept(b'[')? {
        let index = cursor.integer()? as i64;
        cursor.expect(b']')?;
        return Ok(Raw::Index(name, index));
    }
    Ok(match offset(cursor)? {
        0 => Raw::Name(name),
        offset => Raw::Offset(name, offset),
    })
}
