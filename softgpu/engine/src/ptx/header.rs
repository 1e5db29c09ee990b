//! Function headers: parameters, results and performance directives.

use super::cursor::Cursor;
use super::error::Result;
use super::lexer::Token;
use super::modifiers::Type;
use super::variable::{DeclType, Declarator};
use crate::ir::{Function, ParamShape, RegClass, Signature};

/// 75 for `sm_75`, 90 for `sm_90a`; 0 for what names no number.
pub fn target_number(target: &str) -> u32 {
    let digits: String = target.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

/// A parameter or result as declared.
pub(super) struct HeaderParam<'a> {
    pub(super) name: &'a [u8],
    pub(super) size: u64,
    pub(super) align: u32,
    /// Register class if it is passed in a register.
    pub(super) scalar: Option<RegClass>,
    /// Declared `.reg`: the name itself is a register.
    pub(super) is_reg: bool,
}

impl HeaderParam<'_> {
    pub(super) fn shape(&self) -> ParamShape {
        match self.scalar {
            Some(_) => ParamShape::Scalar { size: self.size as u32 },
            None => ParamShape::Bytes { size: self.size as u32 },
        }
    }
}

/// Shapes of parameters in order.
pub(super) fn shapes(params: &[HeaderParam]) -> Vec<ParamShape> {
    params.iter().map(HeaderParam::shape).collect()
}

/// Reads `( … )`, or nothing if the cursor is not on a parenthesis.
pub(super) fn params<'a>(cursor: &mut Cursor<'a>) -> Result<Vec<HeaderParam<'a>>> {
    /// Keeps every size below 2^32.
    const COUNT_LIMIT: usize = 4096;
    let mut params = Vec::new();
    if !cursor.accept(b'(')? || cursor.accept(b')')? {
        return Ok(params);
    }
    loop {
        params.push(param(cursor)?);
        if cursor.accept(b')')? {
            return Ok(params);
        }
        cursor.expect(b',')?;
        if params.len() == COUNT_LIMIT {
            return cursor.fail("too many parameters");
        }
    }
}

fn param<'a>(cursor: &mut Cursor<'a>) -> Result<HeaderParam<'a>> {
    const SIZE_LIMIT: u64 = 1 << 20;
    let is_reg = cursor.accept_directive("reg")?;
    if !is_reg && !cursor.accept_directive("param")? {
        return cursor.unexpected("`.param` or `.reg`");
    }
    let ty = DeclType::parse(cursor)?;
    let declarator = Declarator::parse(cursor, &ty)?;
    if declarator.size > SIZE_LIMIT {
        return cursor.fail(format!("parameter is larger than {SIZE_LIMIT} bytes"));
    }
    let is_scalar = is_reg || !declarator.dimensions.is_array() && ty.vector == 1;
    let scalar = ty.ty.map(Type::reg_class).filter(|&class| is_scalar && class != RegClass::B128);
    if scalar == Some(RegClass::Pred) && !is_reg {
        return cursor.fail("a .param cannot have type .pred");
    }
    Ok(HeaderParam { name: declarator.name, size: declarator.size, align: ty.align, scalar, is_reg })
}

/// Reads a `.callprototype` behind its directive, up to and including the `;`.
pub(super) fn prototype(cursor: &mut Cursor) -> Result<Signature> {
    let results = params(cursor)?;
    if let Token::Ident(_) = cursor.token {
        cursor.advance()?;
    }
    let params = params(cursor)?;
    cursor.skip_to_semicolon()?;
    Ok(Signature { results: shapes(&results), params: shapes(&params) })
}

/// Reads the directives between the parameters and the body.
pub(super) fn tuning(cursor: &mut Cursor, function: &mut Function) -> Result<()> {
    while let Token::Directive(name) = cursor.token {
        cursor.advance()?;
        match name {
            b"maxntid" => function.max_ntid = Some(dimensions(cursor)?),
            b"reqntid" => function.req_ntid = Some(dimensions(cursor)?),
            b"minnctapersm" => function.min_ctas_per_sm = Some(cursor.integer_u32()?),
            b"maxnreg" | b"maxnctapersm" | b"maxclusterrank" | b"abi_preserve" | b"abi_preserve_control" => {
                cursor.integer()?;
            }
            b"reqnctapercluster" => {
                dimensions(cursor)?;
            }
            b"noreturn" | b"explicitcluster" | b"blocksareclusters" => {}
            b"pragma" => cursor.skip_to_semicolon()?,
            b"attribute" => {
                while cursor.advance()? != Token::Punct(b')') {
                    if cursor.token == Token::End {
                        return cursor.unexpected("`)`");
                    }
                }
            }
            _ => return cursor.fail("unknown directive in front of a function body"),
        }
    }
    Ok(())
}

/// One to three integers; missing ones are 1.
fn dimensions(cursor: &mut Cursor) -> Result<[u32; 3]> {
    let mut values = [1; 3];
    for (index, value) in values.iter_mut().enumerate() {
        if index > 0 && !cursor.accept(b',')? {
            break;
        }
        *value = cursor.integer_u32()?;
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        assert_eq!(
            [target_number("sm_75"), target_number("sm_90a"), target_number("sm_120f"), target_number("")],
            [75, 90, 120, 0]
        );
    }
}
