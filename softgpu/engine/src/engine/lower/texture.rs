//! Texture and surface operations.

use super::super::code::Slot;
use super::super::isa::plain;
use super::super::ops::atomic::{apply, AtomicSpec};
use super::super::ops::texture::{FetchTexture, IsType, QueryObject, SurfaceSpec, TextureSpec, UseSurface};
use super::arith::unknown;
use super::function::Lowering;
use super::Result;
use crate::ir::{AtomType, OpaqueType, Operand, Reg, RegClass, Surf, SurfAction, Tex, TexQuery};

impl Lowering<'_, '_> {
    pub(super) fn texture(&mut self, tex: &Tex) -> Result<()> {
        let function = self.function;
        let dst = self.rows_of(function.reg_list(tex.dst), 32)?;
        let sources = function.operand_list(tex.sources).iter().map(|s| self.src32(*s)).collect::<Result<_>>()?;
        let resident = tex.resident.map(|reg| self.pred_index(reg));
        let handle = self.src64(tex.handle)?;
        let number = self.builder.code.textures.len() as u64;
        self.builder.code.textures.push(TextureSpec { tex: *tex, dst, sources, resident });
        self.emit(plain::<FetchTexture>(), 0, [handle, Slot(0), Slot(0)], number);
        Ok(())
    }

    pub(super) fn texture_query(
        &mut self,
        query: TexQuery,
        dst: Reg,
        handle: Operand,
        level: Option<Operand>,
    ) -> Result<()> {
        let handle = self.src64(handle)?;
        let level = self.src32(level.unwrap_or(Operand::Imm(0)))?;
        self.result(dst, (32, false), |l, d| {
            l.emit(plain::<QueryObject>(), d, [handle, level, Slot(0)], query as u64);
            Ok(())
        })
    }

    pub(super) fn surface(&mut self, surf: &Surf) -> Result<()> {
        let function = self.function;
        let bits = match surf.action {
            SurfAction::Load(width) | SurfAction::Store(width) => width.bits(),
            SurfAction::StoreFormatted => 32,
            SurfAction::Reduce { ty, .. } => ty.bits(),
        };
        let dst = self.rows_of(function.reg_list(surf.dst), bits)?;
        let coordinates = usize::from(surf.geometry.is_array()) + surf.geometry.dimensions();
        let mut place = Vec::new();
        let mut values = Vec::new();
        for (i, source) in function.operand_list(surf.sources).iter().enumerate() {
            if i < coordinates {
                place.push(self.src32(*source)?);
            } else {
                values.push(self.src(*source, bits)?);
            }
        }
        let reduction = match surf.action {
            SurfAction::Reduce { op, ty, .. } => {
                let (apply, bytes) = apply(op, AtomType::Int(ty)).ok_or_else(|| unknown(("sured", op, ty)))?;
                Some(AtomicSpec { apply, bytes, wide_base: true, offset: 0, returns: false })
            }
            _ => None,
        };
        let handle = self.src64(surf.handle)?;
        let number = self.builder.code.surfaces.len() as u64;
        self.builder.code.surfaces.push(SurfaceSpec { surf: *surf, bits, dst, place, values, reduction });
        self.emit(plain::<UseSurface>(), 0, [handle, Slot(0), Slot(0)], number);
        Ok(())
    }

    pub(super) fn is_type(&mut self, ty: OpaqueType, dst: Reg, a: Operand) -> Result<()> {
        let handle = self.src64(a)?;
        let dst = self.pred_index(dst);
        self.emit(plain::<IsType>(), dst, [handle, Slot(0), Slot(0)], ty as u64);
        Ok(())
    }

    /// First rows of registers that hold values of this many bits.
    fn rows_of(&self, regs: &[Reg], bits: u32) -> Result<Vec<u32>> {
        let row = |reg: &Reg| {
            let wide = matches!(self.class(*reg), RegClass::B64 | RegClass::B128);
            if wide == (bits == 64) {
                Ok(self.row(*reg))
            } else {
                Err(unknown("texture or surface access with registers of another width"))
            }
        };
        regs.iter().map(row).collect()
    }
}
