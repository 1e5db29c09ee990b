//! Variable declarations and initialisers.

use super::cursor::Cursor;
use super::error::{full_name, text, Fail, Result};
use super::lexer::Token;
use super::modifiers::Type;
use super::scope::Binding;
use super::tables::{SharedVar, Sharing, Tables, VariableDecl};
use crate::ir::*;

/// Largest variable; far above any GPU's memory.
const SIZE_LIMIT: u64 = 1 << 40;
/// Most bytes that the initialisers of a module may leave out, so that a short
/// text cannot make a large image.
const GAP_LIMIT: u64 = 64 << 20;
/// Most array dimensions.
const DIMENSION_LIMIT: usize = 16;
/// Largest alignment in bytes.
const ALIGN_LIMIT: u32 = 1 << 20;

/// Everything of a declaration in front of the name.
#[derive(Clone, Copy, Debug)]
pub(super) struct DeclType {
    /// `None` for texture, sampler and surface references.
    pub(super) ty: Option<Type>,
    /// Which reference it is.
    opaque: Option<OpaqueType>,
    /// Elements of a `.v2`, `.v4` or `.v8` type, else 1.
    pub(super) vector: u32,
    /// Bytes; natural alignment unless `.align` says otherwise.
    pub(super) align: u32,
    managed: bool,
}

impl DeclType {
    /// Reads attributes and type; the cursor is behind the state space.
    pub(super) fn parse(cursor: &mut Cursor) -> Result<DeclType> {
        let mut align = None;
        let mut vector = 1;
        let mut managed = false;
        loop {
            let Token::Directive(name) = cursor.token else { return cursor.unexpected("a type") };
            if let Some(ty) = Type::parse(name) {
                cursor.advance()?;
                if cursor.accept_directive("ptr")? {
                    skip_pointer(cursor)?;
                }
                let natural = ty.bits().div_ceil(8) * vector;
                return Ok(DeclType { ty: Some(ty), opaque: None, vector, align: align.unwrap_or(natural), managed });
            }
            let at = cursor.at;
            cursor.advance()?;
            match name {
                b"align" => align = Some(alignment(cursor)?),
                b"v2" => vector = 2,
                b"v4" => vector = 4,
                b"v8" => vector = 8,
                b"attribute" => managed |= attribute(cursor)?,
                b"texref" | b"samplerref" | b"surfref" => {
                    let opaque = Some(match name {
                        b"texref" => OpaqueType::Texture,
                        b"samplerref" => OpaqueType::Sampler,
                        _ => OpaqueType::Surface,
                    });
                    return Ok(DeclType { ty: None, opaque, vector: 1, align: 8, managed });
                }
                _ => {
                    let message = format!("unexpected `.{}` in a declaration", text(name));
                    return Err(Fail::Invalid { at: Some(at), message });
                }
            }
        }
    }

    /// Bytes of one element of an array of this type.
    pub(super) fn element_size(&self) -> u64 {
        u64::from(self.scalar_size() * self.vector)
    }

    fn scalar_size(&self) -> u32 {
        self.ty.map_or(8, |ty| ty.bits().div_ceil(8))
    }
}

fn alignment(cursor: &mut Cursor) -> Result<u32> {
    let align = cursor.integer_u32()?;
    if !align.is_power_of_two() || align > ALIGN_LIMIT {
        return cursor.fail(format!("alignment {align} is not a power of two up to {ALIGN_LIMIT}"));
    }
    Ok(align)
}

/// The rest of a pointer parameter's `.ptr .space .align n`; the alignment is that
/// of the object pointed to.
fn skip_pointer(cursor: &mut Cursor) -> Result<()> {
    while let Token::Directive(b"global" | b"shared" | b"local" | b"const" | b"generic" | b"param") = cursor.token {
        cursor.advance()?;
    }
    if cursor.accept_directive("align")? {
        alignment(cursor)?;
    }
    Ok(())
}

/// Reads `(.managed)` and the like; true for `.managed`.
fn attribute(cursor: &mut Cursor) -> Result<bool> {
    cursor.expect(b'(')?;
    let mut managed = false;
    let mut depth = 1;
    while depth > 0 {
        match cursor.advance()? {
            Token::Punct(b'(') => depth += 1,
            Token::Punct(b')') => depth -= 1,
            Token::Directive(b"managed") => managed = true,
            Token::End => return cursor.unexpected("`)`"),
            _ => {}
        }
    }
    Ok(managed)
}

/// Array dimensions as declared.
pub(super) struct Dimensions {
    /// Outermost first; empty for a scalar.
    sizes: Vec<u64>,
    /// The first dimension is `[]`.
    pub(super) unsized_: bool,
}

impl Dimensions {
    pub(super) fn parse(cursor: &mut Cursor) -> Result<Dimensions> {
        let mut dimensions = Dimensions { sizes: Vec::new(), unsized_: false };
        while cursor.accept(b'[')? {
            if dimensions.sizes.len() == DIMENSION_LIMIT {
                return cursor.fail("too many array dimensions");
            }
            if dimensions.sizes.is_empty() && cursor.accept(b']')? {
                dimensions.unsized_ = true;
                dimensions.sizes.push(0);
                continue;
            }
            dimensions.sizes.push(cursor.integer()?);
            cursor.expect(b']')?;
        }
        Ok(dimensions)
    }

    pub(super) fn is_array(&self) -> bool {
        !self.sizes.is_empty()
    }

    /// Bytes of the whole array, `None` if it is too large.
    pub(super) fn size(&self, element: u64) -> Option<u64> {
        let product =
            |least: u64| self.sizes.iter().try_fold(element, |size, &count| size.checked_mul(count.max(least)));
        // The size of a row must be in range even if there are no rows.
        product(1).filter(|&size| size <= SIZE_LIMIT).and_then(|_| product(0))
    }
}

/// A declared name.
pub(super) struct Declarator<'a> {
    pub(super) name: &'a [u8],
    pub(super) dimensions: Dimensions,
    /// Bytes.
    pub(super) size: u64,
    /// Bytes of a scalar element; 0 if it is no array.
    pub(super) element: u32,
}

impl<'a> Declarator<'a> {
    pub(super) fn parse(cursor: &mut Cursor<'a>, ty: &DeclType) -> Result<Declarator<'a>> {
        let name = cursor.ident()?;
        let dimensions = Dimensions::parse(cursor)?;
        let Some(size) = dimensions.size(ty.element_size()) else {
            return cursor.fail(format!("`{}` is larger than {SIZE_LIMIT} bytes", text(name)));
        };
        let element = if dimensions.is_array() { ty.scalar_size() } else { 0 };
        Ok(Declarator { name, dimensions, size, element })
    }
}

/// A `.global`, `.const` or `.shared` declaration list; returns the names with
/// their meaning. The cursor is behind the state space.
pub(super) fn declare_variables<'a>(
    cursor: &mut Cursor<'a>,
    tables: &mut Tables<'a>,
    space: Space,
    linkage: Option<Linkage>,
) -> Result<Vec<(&'a [u8], Binding)>> {
    let ty = DeclType::parse(cursor)?;
    let mut declared = Vec::new();
    loop {
        let declarator = Declarator::parse(cursor, &ty)?;
        let name = declarator.name;
        let binding = match (ty.ty, space) {
            (None, Space::Global) => match declare_variable(cursor, tables, space, linkage, &ty, None, declarator)? {
                Binding::Variable(index) => Binding::Opaque(index),
                other => other,
            },
            (None, _) => return cursor.fail("a texture or surface reference must be `.global`"),
            (Some(_), Space::Shared) => declare_shared(tables, &ty, &declarator, linkage),
            (element @ Some(_), _) => declare_variable(cursor, tables, space, linkage, &ty, element, declarator)?,
        };
        declared.push((name, binding));
        if cursor.accept(b';')? {
            return Ok(declared);
        }
        cursor.expect(b',')?;
    }
}

fn skip_opaque_initialiser(cursor: &mut Cursor) -> Result<()> {
    if cursor.accept(b'=')? {
        cursor.skip_braces()?;
    }
    Ok(())
}

fn declare_shared(tables: &mut Tables, ty: &DeclType, declarator: &Declarator, linkage: Option<Linkage>) -> Binding {
    let is_extern = linkage.is_none();
    if declarator.dimensions.unsized_ || is_extern && declarator.size == 0 {
        tables.dynamic_shared_align = tables.dynamic_shared_align.max(ty.align);
        return Binding::DynamicShared;
    }
    let sharing = Sharing::new(linkage, tables.unit);
    tables.shared.push(SharedVar { size: declarator.size, element: declarator.element, align: ty.align, sharing });
    Binding::Shared(tables.shared.len() as u32 - 1)
}

fn declare_variable<'a>(
    cursor: &mut Cursor<'a>,
    tables: &mut Tables<'a>,
    space: Space,
    linkage: Option<Linkage>,
    ty: &DeclType,
    element: Option<Type>,
    declarator: Declarator<'a>,
) -> Result<Binding> {
    let name = declarator.name;
    let sharing = Sharing::new(linkage, tables.unit);
    let index = match tables.names.get(name) {
        Some(&(Binding::Variable(index) | Binding::Opaque(index)))
            if tables.variables[index as usize].takes(linkage, sharing) =>
        {
            index
        }
        _ => {
            let element = declarator.element;
            tables.variables.push(VariableDecl { name, space, element, definition: None, symbol: None, sharing });
            tables.variables.len() as u32 - 1
        }
    };
    let Some(linkage) = linkage else { return Ok(Binding::Variable(index)) };
    let mut variable = Variable {
        name: full_name(name),
        linkage,
        space,
        managed: ty.managed,
        opaque: ty.opaque,
        align: ty.align,
        size: declarator.size,
        init: Vec::new(),
        relocations: Vec::new(),
    };
    if let (true, Some(element)) = (cursor.token == Token::Punct(b'='), element) {
        cursor.advance()?;
        let mut initialiser =
            Initialiser { tables, element, element_size: element.bits().div_ceil(8), variable: &mut variable };
        let mut sizes = declarator.dimensions.sizes;
        if ty.vector > 1 {
            sizes.push(ty.vector.into());
        }
        initialiser.aggregate(cursor, &sizes, declarator.dimensions.unsized_)?;
    }
    if element.is_none() {
        skip_opaque_initialiser(cursor)?;
    }
    let decl = &mut tables.variables[index as usize];
    decl.sharing.declared_again(Some(linkage), sharing.unit);
    if decl.definition.is_some() && sharing.weak {
        return Ok(Binding::Variable(index));
    }
    decl.sharing.weak = sharing.weak;
    decl.definition = Some(VariableId(tables.module.variables.len() as u32));
    tables.module.variables.push(variable);
    Ok(Binding::Variable(index))
}

impl VariableDecl<'_> {
    /// Whether another declaration is of this variable: one that defines it, or two definitions of
    /// which one gives way.
    fn takes(&self, linkage: Option<Linkage>, other: Sharing) -> bool {
        let free = self.definition.is_none() || self.sharing.weak || other.weak;
        free && !self.sharing.is_foreign(linkage, other.unit)
    }
}

/// Fills in the initial bytes of a variable.
struct Initialiser<'t, 'a> {
    tables: &'t mut Tables<'a>,
    element: Type,
    /// Bytes.
    element_size: u32,
    variable: &'t mut Variable,
}

impl<'a> Initialiser<'_, 'a> {
    /// Reads the value of a (nested) array with these dimensions.
    fn aggregate(&mut self, cursor: &mut Cursor<'a>, sizes: &[u64], grows: bool) -> Result<()> {
        if sizes.is_empty() {
            return self.value(cursor, 0);
        }
        let limit = if grows { SIZE_LIMIT } else { self.variable.size };
        let end = self.braces(cursor, sizes, 0, limit)?;
        if grows {
            self.variable.size = end;
        }
        Ok(())
    }

    /// Reads `{ … }` for the array that starts at byte `start`; returns the end of
    /// what was given. Depth is bounded by the number of dimensions.
    fn braces(&mut self, cursor: &mut Cursor<'a>, sizes: &[u64], start: u64, limit: u64) -> Result<u64> {
        cursor.expect(b'{')?;
        let stride = sizes[1..].iter().product::<u64>() * u64::from(self.element_size);
        let mut offset = start;
        while cursor.token != Token::Punct(b'}') {
            if offset >= limit {
                return cursor.fail("more initial values than elements");
            }
            if sizes.len() > 1 && cursor.token == Token::Punct(b'{') {
                self.braces(cursor, &sizes[1..], offset, offset + stride)?;
                offset += stride;
            } else {
                self.value(cursor, offset)?;
                offset += u64::from(self.element_size);
            }
            if !cursor.accept(b',')? {
                break;
            }
        }
        cursor.expect(b'}')?;
        Ok(offset)
    }

    /// Reads one element and stores it at byte `offset`.
    fn value(&mut self, cursor: &mut Cursor<'a>, offset: u64) -> Result<()> {
        match cursor.token {
            Token::Ident(_) => return self.relocation(cursor, offset, 0),
            Token::F32(_) | Token::F64(_) => {
                let bits = self.float(cursor, false)?;
                return self.store(cursor, offset, bits);
            }
            Token::Punct(b'-') if cursor.lexer.at_float()? => {
                cursor.advance()?;
                let bits = self.float(cursor, true)?;
                return self.store(cursor, offset, bits);
            }
            _ => {}
        }
        let value = cursor.integer()?;
        if cursor.accept(b'(')? {
            if value == 0 {
                return cursor.fail("the mask operator needs a mask");
            }
            self.relocation(cursor, offset, value.trailing_zeros())?;
            return cursor.expect(b')');
        }
        let bits = match self.element {
            Type::Float(FloatType::F32) => (value as i64 as f32).to_bits().into(),
            Type::Float(FloatType::F64) => (value as i64 as f64).to_bits(),
            _ => value,
        };
        self.store(cursor, offset, bits)
    }

    fn float(&self, cursor: &mut Cursor, negative: bool) -> Result<u64> {
        let value = match cursor.advance()? {
            Token::F32(bits) => f64::from(f32::from_bits(bits)),
            Token::F64(bits) => f64::from_bits(bits),
            _ => return cursor.unexpected("a floating-point number"),
        };
        let value = if negative { -value } else { value };
        Ok(match self.element_size {
            4 => (value as f32).to_bits().into(),
            8 => value.to_bits(),
            _ => return cursor.fail("floating-point value for a type that is neither .f32 nor .f64"),
        })
    }

    fn store(&mut self, cursor: &Cursor, offset: u64, bits: u64) -> Result<()> {
        let size = self.element_size as usize;
        let Ok(start) = usize::try_from(offset) else { return cursor.fail("initialiser is too long") };
        let init = &mut self.variable.init;
        // Nested braces may skip a part.
        let gap = start.saturating_sub(init.len()) as u64;
        self.tables.initialiser_gaps += gap;
        if self.tables.initialiser_gaps > GAP_LIMIT {
            return cursor.fail("initialisers leave out too much");
        }
        if init.len() < start + size {
            init.resize(start + size, 0);
        }
        let bytes = u128::from(bits).to_le_bytes();
        init[start..start + size].copy_from_slice(&bytes[..size]);
        Ok(())
    }

    /// Reads `symbol`, `symbol+n` or `generic(symbol)+n`.
    fn relocation(&mut self, cursor: &mut Cursor<'a>, offset: u64, shift: u32) -> Result<()> {
        let mut name = cursor.ident()?;
        let generic = name == b"generic" && cursor.accept(b'(')?;
        if generic {
            name = cursor.ident()?;
        }
        let mut addend = 0;
        if generic {
            addend = addend_of(cursor)?;
            cursor.expect(b')')?;
        }
        addend = i64::wrapping_add(addend, addend_of(cursor)?);
        let symbol = match self.tables.names.get(name) {
            Some(&Binding::Variable(index)) => self.tables.variable_symbol(index),
            Some(&Binding::Function(id)) => self.tables.function_symbol(id),
            _ => return cursor.fail(format!("`{}` is not a variable or function declared before", text(name))),
        };
        self.store(cursor, offset, 0)?;
        let size = self.element_size;
        self.variable.relocations.push(Relocation { offset, size, symbol, addend, shift, generic });
        Ok(())
    }
}

/// An optional `+n` or `-n`.
fn addend_of(cursor: &mut Cursor) -> Result<i64> {
    if cursor.accept(b'+')? {
        return Ok(cursor.integer()? as i64);
    }
    if cursor.token == Token::Punct(b'-') {
        return Ok(cursor.integer()? as i64);
    }
    Ok(0)
}
