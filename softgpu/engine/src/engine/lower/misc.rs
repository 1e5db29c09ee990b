//! The instruction table, and what is neither arithmetic nor memory.

use super::super::code::Slot;
use super::super::isa::{plain, select, Entry};
use super::super::ops::barrier::{self, reduction_imm, ALL_THREADS};
use super::super::ops::compare::*;
use super::super::ops::control::Nanosleep;
use super::super::ops::convert::{fp8_imm, ConvertFp8};
use super::super::ops::float::{BF16, F16};
use super::super::ops::int::{Bfi, Carrying, Lop3, WithBorrow, WithCarry};
use super::super::ops::memory::Fence;
use super::super::ops::moves::{High32, Join32, Low32, Mov64, Pack32, Shift32};
use super::super::ops::warp::*;
use super::super::ops::{Map1, Map2};
use super::arith::{dot_entries, known, unknown, NO_OPERAND};
use super::function::Lowering;
use super::select::by_any_int;
use super::Result;
use crate::ir::{
    BarrierRedOp, BoolOp, Cmp, CmpType, FloatType, IntType, Lop3Pred, Op, Operand, PredOperand, Reg, SetType, VoteMode,
    Width,
};

impl Lowering<'_, '_> {
    /// Decodes one instruction.
    pub(super) fn instruction(&mut self, op: &Op) -> Result<()> {
        let function = self.function;
        match *op {
            Op::Mov { width, dst, src } => self.mov(width, dst, src),
            Op::Pack { part, dst, src } => self.pack(part, dst, function.operand_list(src)),
            Op::Unpack { part, dst, src } => self.unpack(part, function.reg_list(dst), src),
            Op::IntUnary { op, ty, dst, a } => self.int_unary(op, ty, dst, a),
            Op::IntBinary { op, ty, dst, a, b } => self.int_binary(op, ty, dst, a, b),
            Op::IntTernary { op, ty, dst, a, b, c } => self.int_ternary(op, ty, dst, [a, b, c]),
            Op::AddCarry { ty, dst, a, b, carry_in, carry_out } => {
                let entries = [plain::<Carrying<WithCarry, u32>>(), plain::<Carrying<WithCarry, u64>>()];
                self.carrying(entries, ty, dst, [a, b, NO_OPERAND], (carry_in, carry_out))
            }
            Op::SubBorrow { ty, dst, a, b, borrow_in, borrow_out } => {
                let entries = [plain::<Carrying<WithBorrow, u32>>(), plain::<Carrying<WithBorrow, u64>>()];
                self.carrying(entries, ty, dst, [a, b, NO_OPERAND], (borrow_in, borrow_out))
            }
            Op::MadCarry { high, ty, dst, a, b, c, carry_in, carry_out } => {
                let entries = Self::mad_carry_entries(high, ty.is_signed());
                self.carrying(entries, ty, dst, [a, b, c], (carry_in, carry_out))
            }
            Op::Bfi { width, dst, a, b, pos, len } => self.bit_field_insert(width, dst, [a, b, pos, len]),
            Op::Lop3 { lut, dst, a, b, c, pred } => self.lop3(lut, dst, [a, b, c], pred),
            Op::Dp4a { a_signed, b_signed, dst, a, b, c } => {
                self.dot_product(dot_entries(op), (a_signed, b_signed), dst, [a, b, c], false)
            }
            Op::Dp2a { high, a_signed, b_signed, dst, a, b, c } => {
                self.dot_product(dot_entries(op), (a_signed, b_signed), dst, [a, b, c], high)
            }
            Op::PredNot { dst, a } => self.pred_binary(BoolOp::And, dst, not(a), not(a)),
            Op::PredBinary { op, dst, a, b } => self.pred_binary(op, dst, a, b),
            Op::FloatUnary { op, ty, mode, dst, a } => self.float_unary(op, ty, mode, dst, a),
            Op::FloatBinary { op, ty, mode, dst, a, b } => self.float_binary(op, ty, mode, dst, [a, b]),
            Op::FloatTernary { op, ty, mode, dst, a, b, c } => self.float_ternary(op, ty, mode, dst, [a, b, c]),
            Op::Testp { test, ty, dst, a } => {
                let entry = match ty {
                    FloatType::F32 => plain::<Testp32>(),
                    FloatType::F64 => plain::<Testp64>(),
                    _ => return Err(unknown(("testp", ty))),
                };
                let a = self.src(a, ty.bits())?;
                let dst = self.pred_index(dst);
                self.emit(entry, dst, [a, Slot(0), Slot(0)], test_imm(test));
                Ok(())
            }
            Op::Setp { cmp, ty, dst, dst2, a, b, combine } => {
                let dst = self.pred_index(dst);
                let dst2 = dst2.map(|reg| self.pred_index(reg));
                self.setp((cmp, ty), (dst, dst2), [a, b], combine)
            }
            Op::Set { cmp, ty, result, dst, a, b, combine } => self.set((cmp, ty), result, dst, [a, b], combine),
            Op::Selp { width, dst, a, b, p } => self.selp(width, dst, [a, b], p),
            Op::Slct { width, c_float, dst, a, b, c } => self.slct(width, c_float, dst, [a, b, c]),
            Op::Cvt { to, from, mode, dst, a } => self.convert(to, from, mode, dst, a),
            Op::CvtPackFloat { to, mode, dst, a, b } => self.pack_floats(to, mode, dst, [a, b]),
            Op::CvtPackInt { to, dst, a, b, c } => self.pack_ints(to, dst, [a, b, c]),
            Op::Cvta { space, to_space, dst, a } => self.convert_address(space, to_space, dst, a),
            Op::Isspacep { space, dst, a } => self.is_space(space, dst, a),
            Op::Load { ty, space, ordering, dst, addr } => self.load(ty, space, ordering, dst, addr),
            Op::LoadVec { ty, space, ordering, dst, addr } => {
                self.load_vector(ty, space, ordering, function.reg_list(dst), addr)
            }
            Op::Store { width, space, ordering, addr, src } => self.store(width, space, ordering, addr, src),
            Op::StoreVec { width, space, ordering, addr, src } => {
                self.store_vector(width, space, ordering, addr, function.operand_list(src))
            }
            Op::Atom { op, ty, space, dst, addr, b, c, .. } => self.atomic((op, ty), space, dst, addr, [b, c]),
            Op::CpAsync { bytes, dst, src, src_bytes } => self.copy_async(bytes, dst, src, src_bytes),
            Op::Fence { .. } => self.plain(plain::<Fence>(), 0, [Slot(0); 3], 0),
            Op::BarrierSync { id, threads } => self.barrier(plain::<barrier::Sync>(), 0, id, threads, (Slot(0), 0)),
            Op::BarrierArrive { id, threads } => {
                self.barrier(plain::<barrier::Arrive>(), 0, id, Some(threads), (Slot(0), 0))
            }
            Op::BarrierRed { op, dst, id, threads, p } => {
                let dst = if op == BarrierRedOp::Popc { self.row(dst) } else { self.pred_index(dst) };
                let p = Slot(self.pred(p).0);
                self.barrier(plain::<barrier::Reduce>(), dst, id, threads, (p, reduction_imm(op)))
            }
            Op::WarpSync { mask } => {
                let mask = self.src32(mask)?;
                self.check_warp_sync(false);
                self.emit(plain::<WarpSync>(), 0, [mask, Slot(0), Slot(0)], 0);
                self.check_warp_sync(true);
                Ok(())
            }
            Op::Shfl { mode, dst, in_range, a, b, c, mask } => {
                let sources = [self.src32(a)?, self.src32(b)?, self.src32(c)?];
                let in_range = in_range.map_or(0, |reg| self.pred_index(reg));
                let imm = u64::from(self.mask(mask)?.0) | u64::from(in_range) << 32;
                let dst = self.row(dst);
                self.plain(shfl(mode), dst, sources, imm)
            }
            Op::Vote { mode, dst, p, mask } => {
                let dst = if mode == VoteMode::Ballot { self.row(dst) } else { self.pred_index(dst) };
                let sources = [Slot(self.pred(p).0), self.mask(mask)?, Slot(0)];
                self.plain(select::<Vote>(), dst, sources, vote_imm(mode))
            }
            Op::MatchAny { width, dst, a, mask } => {
                let wide = width == Width::W64;
                let entry = if wide { plain::<MatchAny<u64>>() } else { plain::<MatchAny<u32>>() };
                let sources = [self.src(a, width.bits())?, self.src32(mask)?, Slot(0)];
                let dst = self.row(dst);
                self.plain(entry, dst, sources, 0)
            }
            Op::MatchAll { width, dst, all, a, mask } => {
                let wide = width == Width::W64;
                let entry = if wide { plain::<MatchAll<u64>>() } else { plain::<MatchAll<u32>>() };
                let all = Slot(all.map_or(0, |reg| self.pred_index(reg)));
                let sources = [self.src(a, width.bits())?, self.src32(mask)?, all];
                let dst = self.row(dst);
                self.plain(entry, dst, sources, 0)
            }
            Op::ActiveMask { dst } => {
                let dst = self.row(dst);
                self.plain(plain::<ActiveMask>(), dst, [Slot(0); 3], 0)
            }
            Op::Redux { op, dst, a, mask } => {
                let sources = [self.src32(a)?, self.src32(mask)?, Slot(0)];
                let dst = self.row(dst);
                self.plain(plain::<Redux>(), dst, sources, redux_imm(op))
            }
            Op::Elect { dst, is_leader, mask } => {
                let leader = Slot(dst.map_or(0, |reg| self.row(reg)));
                let sources = [leader, self.src32(mask)?, Slot(0)];
                let is_leader = self.pred_index(is_leader);
                self.plain(plain::<Elect>(), is_leader, sources, dst.is_some().into())
            }
            Op::Tex(ref tex) => self.texture(tex),
            Op::TexQuery { query, dst, handle, level } => self.texture_query(query, dst, handle, level),
            Op::Surf(ref surf) => self.surface(surf),
            Op::Istypep { ty, dst, a } => self.is_type(ty, dst, a),
            Op::Call { target, results, args } => self.call(target, results, args),
            Op::Mma(ref mma) => self.multiply(mma),
            Op::MatrixLoad { ref access, dst } => self.load_matrix(access, function.reg_list(dst)),
            Op::MatrixStore { ref access, src } => self.store_matrix(access, function.operand_list(src)),
            Op::LoadTiles { space, transposed, dst, addr } => {
                self.load_tiles(space, transposed, function.reg_list(dst), addr)
            }
            Op::StoreTiles { space, transposed, addr, src } => {
                self.store_tiles(space, transposed, addr, function.operand_list(src))
            }
            Op::TransposeTile { dst, a } => self.transpose_tile(dst, a),
            Op::Video(ref video) => self.video(video),
            Op::CvtFp8 { conversion, ty, relu, dst, a, b } => {
                let sources = [self.src32(a)?, self.src32(b)?, Slot(0)];
                let imm = fp8_imm(conversion, ty, relu);
                self.result(dst, (32, false), |l, d| l.plain(plain::<ConvertFp8>(), d, sources, imm))
            }
            Op::Nanosleep { .. } => self.plain(plain::<Nanosleep>(), 0, [Slot(0); 3], 0),
        }
    }

    fn plain(&mut self, entry: Entry, dst: u32, sources: [Slot; 3], imm: u64) -> Result<()> {
        self.emit(entry, dst, sources, imm);
        Ok(())
    }

    fn mask(&mut self, mask: Option<Operand>) -> Result<Slot> {
        mask.map_or(Ok(Slot(NO_MASK)), |mask| self.src32(mask))
    }

    fn barrier(
        &mut self,
        entry: Entry,
        dst: u32,
        id: Operand,
        threads: Option<Operand>,
        (c, imm): (Slot, u64),
    ) -> Result<()> {
        let all = if threads.is_none() { ALL_THREADS } else { 0 };
        let (id, threads) = (self.src32(id)?, self.src32(threads.unwrap_or(NO_OPERAND))?);
        self.plain(entry, dst, [id, threads, c], imm | all)
    }

    fn mov(&mut self, width: Option<Width>, dst: Reg, src: Operand) -> Result<()> {
        match width {
            None => {
                let value = PredOperand { value: src, negated: false };
                self.pred_binary(BoolOp::And, dst, value, value)
            }
            Some(Width::W128) => {
                let from = self.src64(src)?;
                let to = self.row(dst);
                self.emit(select::<Map1<Mov64>>(), to, [from, Slot(0), Slot(0)], 0);
                self.plain(select::<Map1<Mov64>>(), to + 2, [Slot(from.0 + 2), Slot(0), Slot(0)], 0)
            }
            Some(Width::W64) => self.unary(select::<Map1<Mov64>>(), dst, 64, src, 0),
            Some(width) => {
                let src = self.src32(src)?;
                self.result(dst, (width.bits(), false), |l, d| {
                    l.copy32(d, src);
                    Ok(())
                })
            }
        }
    }

    fn pack(&mut self, part: Width, dst: Reg, src: &[Operand]) -> Result<()> {
        let total = part.bits() * src.len() as u32;
        match (part, total) {
            (Width::W64, 128) => {
                let halves = [self.src64(src[0])?, self.src64(src[1])?];
                let dst = self.row(dst);
                for (half, row) in halves.into_iter().zip([dst, dst + 2]) {
                    self.emit(select::<Map1<Mov64>>(), row, [half, Slot(0), Slot(0)], 0);
                }
                Ok(())
            }
            (_, 128) => {
                let (low, high) = src.split_at(src.len() / 2);
                let (low, high) = (self.packed(part, low)?, self.packed(part, high)?);
                let dst = self.row(dst);
                self.emit(select::<Map1<Mov64>>(), dst, [low, Slot(0), Slot(0)], 0);
                self.plain(select::<Map1<Mov64>>(), dst + 2, [high, Slot(0), Slot(0)], 0)
            }
            (_, 64) => {
                let packed = self.packed(part, src)?;
                let dst = self.row(dst);
                self.plain(select::<Map1<Mov64>>(), dst, [packed, Slot(0), Slot(0)], 0)
            }
            _ => {
                let packed = self.packed(part, src)?;
                self.result(dst, (32, false), |l, d| {
                    l.copy32(d, packed);
                    Ok(())
                })
            }
        }
    }

    /// Parts joined to at most 64 bits, in a temporary.
    fn packed(&mut self, part: Width, src: &[Operand]) -> Result<Slot> {
        let total = part.bits() * src.len() as u32;
        if total == 64 {
            let (low, high) = src.split_at(src.len() / 2);
            let (low, high) = match part {
                Width::W32 => (self.src32(low[0])?, self.src32(high[0])?),
                _ => (self.packed(part, low)?, self.packed(part, high)?),
            };
            let temp = self.temp64();
            self.emit(select::<Map2<Join32>>(), temp.0, [low, high, Slot(0)], 0);
            return Ok(temp);
        }
        let entry = match part {
            Width::W8 => select::<Pack32<8>>(),
            Width::W16 => select::<Pack32<16>>(),
            _ => return Err(unknown(("mov", part, src.len()))),
        };
        let parts = src.iter().map(|s| self.src32(*s)).collect::<Result<Vec<Slot>>>()?;
        let first = self.builder.code.slots.len() as u64;
        self.builder.code.slots.extend(&parts);
        let temp = self.temp32();
        self.emit(entry, temp.0, [Slot(0); 3], first | (parts.len() as u64) << 32);
        Ok(temp)
    }

    fn unpack(&mut self, part: Width, dst: &[Reg], src: Operand) -> Result<()> {
        let total = part.bits() * dst.len() as u32;
        if part == Width::W64 {
            let from = self.src64(src)?;
            for (reg, row) in dst.iter().zip([from.0, from.0 + 2]) {
                let dst = self.row(*reg);
                self.emit(select::<Map1<Mov64>>(), dst, [Slot(row), Slot(0), Slot(0)], 0);
            }
            return Ok(());
        }
        let words = match total {
            0..=32 => vec![self.src32(src)?],
            _ => {
                let first = self.src64(src)?;
                let pairs = if total == 64 { vec![first] } else { vec![first, Slot(first.0 + 2)] };
                pairs.into_iter().flat_map(|pair| self.halves(pair)).collect()
            }
        };
        let per_word = (32 / part.bits()) as usize;
        for (n, reg) in dst.iter().enumerate() {
            let word = words[n / per_word];
            let shift = u64::from(part.bits()) * (n % per_word) as u64;
            self.result(*reg, (part.bits(), false), |l, d| {
                l.emit(select::<Shift32>(), d, [word, Slot(0), Slot(0)], shift);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The two words of a pair of rows.
    fn halves(&mut self, pair: Slot) -> [Slot; 2] {
        let (low, high) = (self.temp32(), self.temp32());
        self.emit(select::<Map1<Low32>>(), low.0, [pair, Slot(0), Slot(0)], 0);
        self.emit(select::<Map1<High32>>(), high.0, [pair, Slot(0), Slot(0)], 0);
        [low, high]
    }

    fn bit_field_insert(&mut self, width: Width, dst: Reg, [a, b, pos, len]: [Operand; 4]) -> Result<()> {
        let entry = if width == Width::W64 { plain::<Bfi<u64>>() } else { plain::<Bfi<u32>>() };
        let (a, b) = (self.src(a, width.bits())?, self.src(b, width.bits())?);
        let (pos, len) = (self.src32(pos)?, self.src32(len)?);
        let dst = self.row(dst);
        self.plain(entry, dst, [a, b, pos], len.0.into())
    }

    fn lop3(&mut self, lut: u8, dst: Reg, [a, b, c]: [Operand; 3], pred: Option<Lop3Pred>) -> Result<()> {
        let sources = [self.src32(a)?, self.src32(b)?, self.src32(c)?];
        let row = self.row(dst);
        self.emit(select::<Lop3>(), row, sources, lut.into());
        let Some(pred) = pred else { return Ok(()) };
        let index = self.pred_index(pred.dst);
        let compare = (Cmp::Ne, CmpType::Int(IntType::U32));
        self.setp(compare, (index, None), [Operand::Reg(dst), NO_OPERAND], Some((pred.op, pred.input)))
    }

    fn pred_binary(&mut self, op: BoolOp, dst: Reg, a: PredOperand, b: PredOperand) -> Result<()> {
        let sources = [Slot(self.pred(a).0), Slot(self.pred(b).0), Slot(0)];
        let dst = self.pred_index(dst);
        self.plain(plain::<PredBinary>(), dst, sources, bool_op(op))
    }

    fn setp(
        &mut self,
        (cmp, ty): (Cmp, CmpType),
        (dst, dst2): (u32, Option<u32>),
        [a, b]: [Operand; 2],
        combine: Option<(BoolOp, PredOperand)>,
    ) -> Result<()> {
        let combine = combine.map(|(op, p)| (op, self.pred(p)));
        let (entry, bits, imm) = match ty {
            CmpType::Int(ty) => {
                let entry = match cmp {
                    Cmp::Eq => by_any_int!(ty, select, SetpInt, Eq),
                    Cmp::Ne => by_any_int!(ty, select, SetpInt, Ne),
                    Cmp::Lt => by_any_int!(ty, select, SetpInt, Lt),
                    Cmp::Le => by_any_int!(ty, select, SetpInt, Le),
                    Cmp::Gt => by_any_int!(ty, select, SetpInt, Gt),
                    Cmp::Ge => by_any_int!(ty, select, SetpInt, Ge),
                    _ => None,
                };
                (known(entry, ("setp", cmp, ty))?, ty.bits(), CompareImm::new(0, false, combine))
            }
            CmpType::Float { ty, ftz } => {
                let entry = match ty {
                    FloatType::F32 => select::<SetpF32>(),
                    FloatType::F64 => select::<SetpF64>(),
                    FloatType::F16 | FloatType::F16x2 => plain::<SetpHalf<F16, 0>>(),
                    FloatType::BF16 | FloatType::BF16x2 => plain::<SetpHalf<BF16, 0>>(),
                    FloatType::F32x2 => return Err(unknown(("setp", ty))),
                };
                (entry, ty.bits(), CompareImm::new(relation(cmp), ftz, combine))
            }
        };
        let (a, b) = (self.src(a, bits)?, self.src(b, bits)?);
        let upper = match ty {
            CmpType::Float { ty: FloatType::F16x2, .. } => Some(plain::<SetpHalf<F16, 16>>()),
            CmpType::Float { ty: FloatType::BF16x2, .. } => Some(plain::<SetpHalf<BF16, 16>>()),
            _ => None,
        };
        match (upper, dst2) {
            (Some(upper), Some(dst2)) => {
                self.emit(entry, dst, [a, b, Slot(0)], imm.0);
                self.plain(upper, dst2, [a, b, Slot(0)], imm.0)
            }
            _ => self.plain(entry, dst, [a, b, Slot(dst2.unwrap_or(0))], imm.0),
        }
    }

    fn set(
        &mut self,
        compare: (Cmp, CmpType),
        result: SetType,
        dst: Reg,
        sources: [Operand; 2],
        combine: Option<(BoolOp, PredOperand)>,
    ) -> Result<()> {
        let (low, high) = (self.temp_pred(), self.temp_pred());
        let pair = matches!(compare.1, CmpType::Float { ty: FloatType::F16x2 | FloatType::BF16x2, .. });
        self.setp(compare, (low, pair.then_some(high)), sources, combine)?;
        let (ones, bits): (u64, u32) = match result {
            SetType::Int(width) => (u64::MAX, width.bits()),
            SetType::Float(FloatType::F32) => (0x3f80_0000, 32),
            SetType::Float(FloatType::F64) => (0x3ff0_0000_0000_0000, 64),
            SetType::Float(FloatType::F16 | FloatType::F16x2) => (0x3c00_3c00, 32),
            SetType::Float(FloatType::BF16 | FloatType::BF16x2) => (0x3f80_3f80, 32),
            SetType::Float(FloatType::F32x2) => return Err(unknown(("set", result))),
        };
        let row = self.row(dst);
        if pair {
            let both = self.builder.constant32(ones as u32);
            let upper = self.builder.constant32(ones as u32 & 0xffff_0000);
            let lower = self.builder.constant32(ones as u32 & 0xffff);
            let zero = self.builder.constant32(0);
            let (with, without) = (self.temp32(), self.temp32());
            let high = Slot(high << 1);
            self.emit(select::<Select<u32>>(), with.0, [both, lower, high], 0);
            self.emit(select::<Select<u32>>(), without.0, [upper, zero, high], 0);
            return self.plain(select::<Select<u32>>(), row, [with, without, Slot(low << 1)], 0);
        }
        let p = Slot(low << 1);
        if bits == 64 {
            let (ones, zero) = (self.builder.constant64(ones), self.builder.constant64(0));
            return self.plain(select::<Select<u64>>(), row, [ones, zero, p], 0);
        }
        let (ones, zero) = (self.builder.constant32(ones as u32), self.builder.constant32(0));
        self.result(dst, (32, false), |l, d| l.plain(select::<Select<u32>>(), d, [ones, zero, p], 0))
    }

    fn selp(&mut self, width: Width, dst: Reg, [a, b]: [Operand; 2], p: PredOperand) -> Result<()> {
        let p = Slot(self.pred(p).0);
        self.select(width, dst, [a, b], p)
    }

    fn select(&mut self, width: Width, dst: Reg, [a, b]: [Operand; 2], p: Slot) -> Result<()> {
        let wide = matches!(width, Width::W64 | Width::W128);
        let bits = if wide { 64 } else { 32 };
        let (a, b) = (self.src(a, bits)?, self.src(b, bits)?);
        if !wide {
            return self.result(dst, (32, false), |l, d| l.plain(select::<Select<u32>>(), d, [a, b, p], 0));
        }
        let row = self.row(dst);
        self.emit(select::<Select<u64>>(), row, [a, b, p], 0);
        if width == Width::W128 {
            self.emit(select::<Select<u64>>(), row + 2, [Slot(a.0 + 2), Slot(b.0 + 2), p], 0);
        }
        Ok(())
    }

    fn slct(&mut self, width: Width, c_float: Option<bool>, dst: Reg, [a, b, c]: [Operand; 3]) -> Result<()> {
        let ty = match c_float {
            Some(ftz) => CmpType::Float { ty: FloatType::F32, ftz },
            None => CmpType::Int(IntType::S32),
        };
        let holds = self.temp_pred();
        self.setp((Cmp::Ge, ty), (holds, None), [c, NO_OPERAND], None)?;
        self.select(width, dst, [a, b], Slot(holds << 1))
    }
}

fn not(p: PredOperand) -> PredOperand {
    PredOperand { negated: !p.negated, ..p }
}
