//! Matrix instructions: multiplications, and matrices between memory and the registers of a warp.
//!
//! What one does with elements is a function of its own, made once for each kind that a kernel has: code to which it is
//! handed registers, stored one after the other, as each half of the warp in 64 bytes. It works on groups of
//! 16 elements, of which shuffles by constants make what is multiplied, so every element is computed as
//! the interpreter does, in the same order.

use super::{Gen, Val, HALF};
use crate::shape::Shape;
use crate::sys::{op, Builder, IntPredicate, RealPredicate, Type, Value};
use std::collections::HashMap;
use vgpu_engine::engine::Lookup;
use vgpu_engine::ir::*;

/// Most registers of a fragment.
const REGISTERS: u32 = 16;

/// Bytes of a half of a register.
const PART: usize = 64;

/// A number for each element of a group: which of some groups it is in, and where there.
pub(super) type Picks = [(usize, u32); 16];

/// What is made once for all instructions of its kind.
#[derive(PartialEq, Eq, Hash)]
pub(super) enum Helper {
    Multiply(String),
    Load(Fragment, bool),
    Store(Fragment, bool),
    Tiles(u32, bool),
}

/// Memory for the registers of three sources and a result.
pub(super) type Areas = [Value; 4];

/// Whether multiplications of a kind are compiled.
pub(super) fn multiplies(mma: &Mma) -> bool {
    use MatrixType::*;
    let same = matches!((mma.a_ty, mma.b_ty), (F16, F16) | (BF16, BF16) | (Tf32, Tf32));
    let floats = same && [mma.c_ty, mma.d_ty].iter().all(|ty| matches!(ty, F16 | F32));
    let bytes = matches!((mma.a_ty, mma.b_ty, mma.c_ty, mma.d_ty), (S8 | U8, S8 | U8, S32, S32));
    let fragments = [mma.a_fragment(), mma.b_fragment(), mma.c_fragment(), mma.d_fragment()];
    let is_plain = matches!(mma.op, MmaOp::Multiply { .. }) && mma.sparse.is_none();
    is_plain && (floats || bytes) && fragments.iter().all(fits)
}

fn fits(fragment: &Fragment) -> bool {
    fragment.used_registers() <= REGISTERS
}

/// Whether loads or stores of a matrix are compiled.
pub(super) fn moves(access: &MatrixAccess) -> bool {
    let fragment = access.fragment;
    let across = lines_of(&fragment, access.row_major).1;
    matches!(fragment.ty.bits(), 8 | 16 | 32) && across.is_multiple_of(8) && fits(&fragment) && fragment.matrices() == 1
}

/// Lines of a matrix in memory, and elements of each.
fn lines_of(fragment: &Fragment, row_major: bool) -> (u32, u32) {
    let (rows, columns) = fragment.size();
    if row_major {
        (rows, columns)
    } else {
        (columns, rows)
    }
}

/// How the elements of a fragment lie in groups.
struct Groups {
    fragment: Fragment,
    /// Whether a group is of neighbouring elements, rather than of one of each lane.
    is_dense: bool,
}

impl Groups {
    /// Those of which the fewest are needed for what is multiplied at once.
    fn new(fragment: Fragment) -> Groups {
        Groups { fragment, is_dense: fragment.kind == FragmentKind::Wmma }
    }

    fn per(&self) -> u32 {
        self.fragment.ty.per_register()
    }

    /// How many there are.
    fn count(&self) -> usize {
        (self.fragment.used_registers() * 2 * self.per()) as usize
    }

    /// Group and place of an element.
    fn spot(&self, matrix: u32, row: u32, column: u32) -> (usize, u32) {
        let ElementPlace { lane, register, shift } = self.fragment.place(matrix, row, column);
        let (lane, half, element) = (lane % HALF, register * 2 + lane / HALF, shift / self.fragment.ty.bits());
        let number = if self.is_dense { lane * self.per() + element } else { element * HALF + lane };
        ((half * self.per() + number / HALF) as usize, number % HALF)
    }

    /// The elements of each group.
    fn elements(&self) -> Vec<[(u32, u32, u32); 16]> {
        let mut all = vec![[(0, 0, 0); 16]; self.count()];
        let (rows, columns) = self.fragment.size();
        for matrix in 0..self.fragment.matrices() {
            for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                let (group, index) = self.spot(matrix, row, column);
                all[group][index as usize] = (matrix, row, column);
            }
        }
        all
    }

    /// Place of element `index` of group number `group` of a half, among all of the half.
    fn number(&self, group: u32, index: u32) -> u32 {
        if self.is_dense {
            group * HALF + index
        } else {
            index * self.per() + group
        }
    }

    /// The groups, as integers as wide as an element.
    fn split(&self, b: &Builder, area: Value) -> Vec<Value> {
        let (per, word) = (self.per(), b.int(32));
        let mut groups = Vec::new();
        for half in 0..self.fragment.used_registers() as usize * 2 {
            let words = b.load(b.vector(word, HALF), b.field(area, half * PART), PART as u32);
            if per == 1 {
                groups.push(words);
                continue;
            }
            let all = b.bits(words, b.vector(b.int(32 / per), HALF * per));
            for group in 0..per {
                let indices: Vec<u32> = (0..HALF).map(|i| self.number(group, i)).collect();
                groups.push(b.shuffle(all, all, &indices));
            }
        }
        groups
    }

    /// Writes what [`Groups::split`] reads.
    fn join(&self, b: &Builder, groups: &[Value], area: Value) {
        let per = self.per() as usize;
        for (half, groups) in groups.chunks_exact(per).enumerate() {
            let mut all = groups.to_vec();
            while let [first, second, ..] = all[..] {
                let count = 2 * b.lanes(b.type_of(first)).unwrap_or(HALF);
                let both = |pair: &[Value]| b.shuffle(pair[0], pair[1], &(0..count).collect::<Vec<_>>());
                debug_assert!(b.type_of(first) == b.type_of(second));
                all = all.chunks_exact(2).map(both).collect();
            }
            let mut value = all[0];
            if !self.is_dense && per > 1 {
                // Element `e` of lane `i` is number `e * 16 + i` of what is there.
                let indices = (0..HALF).flat_map(|lane| (0..per as u32).map(move |e| e * HALF + lane));
                value = b.shuffle(value, value, &indices.collect::<Vec<_>>());
            }
            let words = b.bits(value, b.vector(b.int(32), HALF));
            b.store(words, b.field(area, half * PART), PART as u32);
        }
    }
}

/// 16 elements out of some groups.
pub(super) fn collect(b: &Builder, groups: &[Value], picks: &Picks) -> Value {
    let mut sources: Vec<usize> = Vec::new();
    for (group, _) in picks {
        if !sources.contains(group) {
            sources.push(*group);
        }
    }
    if sources.len() == 1 && picks.iter().zip(0..).all(|((_, at), i)| *at == i) {
        return groups[sources[0]];
    }
    let mut all = groups[sources[0]];
    // Elements of sources that come later are chosen anew then.
    for (n, source) in sources.iter().enumerate().skip(usize::from(sources.len() > 1)) {
        let index = |(i, (group, at)): (u32, &(usize, u32))| match () {
            () if n <= 1 && *group == sources[0] => *at,
            () if group == source => HALF + at,
            () => i,
        };
        let indices: Vec<u32> = (0..).zip(picks).map(index).collect();
        all = b.shuffle(all, groups[*source], &indices);
    }
    all
}

/// Elements as what is computed with: `f32`, or 32-bit integers.
fn widen(b: &Builder, ty: MatrixType, group: Value) -> Value {
    let word = b.int(32);
    match ty {
        MatrixType::F16 => b.cast(op::FPEXT, b.cast(op::BITCAST, group, b.float(16)), b.float(32)),
        MatrixType::BF16 => {
            let wide = b.cast(op::ZEXT, group, word);
            let bits = b.binary(op::SHL, wide, b.constant(b.type_of(wide), 16));
            b.cast(op::BITCAST, bits, b.float(32))
        }
        MatrixType::Tf32 => {
            let bits = b.binary(op::AND, group, b.constant(b.type_of(group), 0xffff_e000));
            b.cast(op::BITCAST, bits, b.float(32))
        }
        MatrixType::F32 => b.cast(op::BITCAST, group, b.float(32)),
        MatrixType::S8 => b.cast(op::SEXT, group, word),
        MatrixType::U8 => b.cast(op::ZEXT, group, word),
        _ => group,
    }
}

/// A sum as an element of the result.
fn narrow(b: &Builder, ty: MatrixType, sum: Value) -> Value {
    let (bits, nan) = match ty {
        MatrixType::F16 => (b.cast(op::FPTRUNC, sum, b.float(16)), 0x7fff),
        MatrixType::F32 => (sum, super::values::NAN_F32),
        _ => return sum,
    };
    let bits = b.cast(op::BITCAST, bits, b.int(ty.bits()));
    let is_nan = b.fcmp(RealPredicate::LLVMRealUNO, sum, sum);
    b.select(is_nan, b.constant(b.type_of(bits), nan), bits)
}

/// The multiplication of registers in the first three areas to the last.
fn multiply(b: &Builder, mma: &Mma, areas: &[Value]) {
    let groups = [mma.a_fragment(), mma.b_fragment(), mma.c_fragment(), mma.d_fragment()].map(Groups::new);
    let read = |which: usize| -> Vec<Value> {
        let ty = groups[which].fragment.ty;
        groups[which].split(b, areas[which]).into_iter().map(|group| widen(b, ty, group)).collect()
    };
    let (first, second, third) = (read(0), read(1), read(2));
    let results = groups[3].elements();
    let added: Vec<Value> = results
        .iter()
        .map(|elements| collect(b, &third, &elements.map(|(matrix, row, column)| groups[2].spot(matrix, row, column))))
        .collect();
    let is_float = mma.c_ty != MatrixType::S32;
    let saturates = !is_float && matches!(mma.op, MmaOp::Multiply { satfinite: true, .. });
    let mut sums = match saturates {
        true => added.iter().map(|value| b.zero(b.type_of(*value))).collect(),
        false => added.clone(),
    };
    for k in 0..mma.shape.k {
        let mut made: [HashMap<Picks, Value>; 2] = Default::default();
        for (sum, elements) in sums.iter_mut().zip(&results) {
            let rows = elements.map(|(matrix, row, _)| groups[0].spot(matrix, row, k));
            let columns = elements.map(|(matrix, _, column)| groups[1].spot(matrix, k, column));
            let x = *made[0].entry(rows).or_insert_with(|| collect(b, &first, &rows));
            let y = *made[1].entry(columns).or_insert_with(|| collect(b, &second, &columns));
            *sum = match is_float {
                true => b.intrinsic("llvm.fma", &[b.type_of(x)], &[x, y, *sum]),
                false => b.binary(op::ADD, b.binary(op::MUL, x, y), *sum),
            };
        }
    }
    if saturates {
        for (sum, value) in sums.iter_mut().zip(added) {
            *sum = b.intrinsic("llvm.sadd.sat", &[b.type_of(value)], &[*sum, value]);
        }
    }
    let narrowed: Vec<Value> = sums.into_iter().map(|sum| narrow(b, mma.d_ty, sum)).collect();
    groups[3].join(b, &narrowed, areas[3]);
}

/// Where the elements of a matrix in memory are, in groups of 16 along its lines.
struct Lines {
    fragment: Fragment,
    row_major: bool,
}

impl Lines {
    fn size(&self) -> (u32, u32) {
        lines_of(&self.fragment, self.row_major)
    }

    fn spot(&self, row: u32, column: u32) -> (usize, u32) {
        let (line, at) = if self.row_major { (row, column) } else { (column, row) };
        let number = line * self.size().1 + at;
        ((number / HALF) as usize, number % HALF)
    }

    /// Elements that are read or written at once.
    fn piece(&self) -> u32 {
        if self.size().1.is_multiple_of(HALF) {
            HALF
        } else {
            8
        }
    }

    /// Host addresses of the pieces.
    fn places(&self, b: &Builder, first: Value, stride: Value) -> Vec<Value> {
        let (lines, across) = self.size();
        let bytes = self.fragment.ty.bits() / 8;
        let mut line = first;
        let mut places = Vec::new();
        for _ in 0..lines {
            let pieces = (0..across).step_by(self.piece() as usize);
            places.extend(pieces.map(|at| b.field(line, (at * bytes) as usize)));
            line = b.offset(line, stride);
        }
        places
    }

    fn load(&self, b: &Builder, first: Value, stride: Value) -> Vec<Value> {
        let (bits, piece) = (self.fragment.ty.bits(), self.piece());
        let ty = b.vector(b.int(bits), piece);
        let read = |place: Value| b.load(ty, place, bits / 8);
        let pieces: Vec<Value> = self.places(b, first, stride).into_iter().map(read).collect();
        if piece == HALF {
            return pieces;
        }
        let all: Vec<u32> = (0..HALF).collect();
        pieces.chunks_exact(2).map(|pair| b.shuffle(pair[0], pair[1], &all)).collect()
    }

    fn store(&self, b: &Builder, groups: &[Value], first: Value, stride: Value) {
        let (bits, piece) = (self.fragment.ty.bits(), self.piece());
        let per = (HALF / piece) as usize;
        for (number, place) in self.places(b, first, stride).into_iter().enumerate() {
            let start = (number % per) as u32 * piece;
            let group = groups[number / per];
            let value = match piece == HALF {
                true => group,
                false => b.shuffle(group, group, &(start..start + piece).collect::<Vec<_>>()),
            };
            b.store(value, place, bits / 8);
        }
    }
}

/// Loads a matrix from an address with a stride into an area.
fn load(b: &Builder, lines: &Lines, arguments: &[Value]) {
    let memory = lines.load(b, arguments[0], arguments[1]);
    let groups = Groups { fragment: lines.fragment, is_dense: true };
    let pick = |elements: &[(u32, u32, u32); 16]| {
        collect(b, &memory, &elements.map(|(_, row, column)| lines.spot(row, column)))
    };
    let found: Vec<Value> = groups.elements().iter().map(pick).collect();
    groups.join(b, &found, arguments[2]);
}

/// Stores a matrix, likewise.
fn store(b: &Builder, lines: &Lines, arguments: &[Value]) {
    let groups = Groups { fragment: lines.fragment, is_dense: true };
    let registers = groups.split(b, arguments[2]);
    let (rows, columns) = lines.fragment.size();
    let mut picks: Vec<Picks> = vec![[(0, 0); 16]; (rows * columns / HALF) as usize];
    for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
        let (group, index) = lines.spot(row, column);
        picks[group][index as usize] = groups.spot(0, row, column);
    }
    let memory: Vec<Value> = picks.iter().map(|picks| collect(b, &registers, picks)).collect();
    lines.store(b, &memory, arguments[0], arguments[1]);
}

/// Loads tiles from the addresses in an area, which are the host's, into another one.
fn tiles(b: &Builder, count: u32, transposed: bool, arguments: &[Value]) {
    const ROWS: u32 = 8;
    let row_type = b.vector(b.int(16), ROWS);
    for tile in 0..count {
        let row = |row: u32| {
            let place = b.load(b.int(64), b.field(arguments[0], ((tile * ROWS + row) * 8) as usize), 8);
            b.load(row_type, b.cast(op::INTTOPTR, place, b.pointer()), 16)
        };
        let rows: Vec<Value> = (0..ROWS).map(row).collect();
        let all: Vec<u32> = (0..HALF).collect();
        let pairs: Vec<Value> = rows.chunks_exact(2).map(|pair| b.shuffle(pair[0], pair[1], &all)).collect();
        let pick = |group: u32| {
            let picks: Picks = std::array::from_fn(|i| {
                let number = group * HALF + i as u32;
                let (line, at) = (number / ROWS, number % ROWS);
                let (row, column) = if transposed { (at, line) } else { (line, at) };
                ((row / 2) as usize, row % 2 * ROWS + column)
            });
            collect(b, &pairs, &picks)
        };
        let groups: Vec<Value> = (0..4).map(pick).collect();
        let all: Vec<u32> = (0..2 * HALF).collect();
        for (half, pair) in groups.chunks_exact(2).enumerate() {
            let value = b.bits(b.shuffle(pair[0], pair[1], &all), b.vector(b.int(32), HALF));
            b.store(value, b.field(arguments[1], (tile as usize * 2 + half) * PART), PART as u32);
        }
    }
}

impl Gen<'_> {
    pub(super) fn matrix(&mut self, operation: &Op, guard: Option<Val>, lanes: Value) -> Result<(), String> {
        self.meet(Some(Operand::Imm(u32::MAX.into())), lanes)?;
        match *operation {
            Op::Mma(ref mma) => {
                let mma = *mma;
                let all = self.are_all(lanes);
                self.if_it_can(all, None, guard, lanes, |gen| gen.multiply(&mma, guard))
            }
            Op::MatrixLoad { access, dst } => self.move_matrix(&access, guard, lanes, |gen, first, stride| {
                let lines = Lines { fragment: access.fragment, row_major: access.row_major };
                let [.., area] = gen.areas();
                let kind = Helper::Load(access.fragment, access.row_major);
                let arguments = [first, stride, area];
                gen.call_helper(kind, &arguments, |b, arguments| load(b, &lines, arguments));
                gen.write_registers(dst, access.fragment.used_registers(), area, guard)
            }),
            Op::MatrixStore { access, src } => self.move_matrix(&access, guard, lanes, |gen, first, stride| {
                let lines = Lines { fragment: access.fragment, row_major: access.row_major };
                let [.., area] = gen.areas();
                gen.read_registers(src, &access.fragment, area);
                let kind = Helper::Store(access.fragment, access.row_major);
                gen.call_helper(kind, &[first, stride, area], |b, arguments| store(b, &lines, arguments));
                Ok(())
            }),
            Op::LoadTiles { space, transposed, dst, addr } => {
                self.load_tiles(space, transposed, dst, addr, guard, lanes)
            }
            _ => Err(format!("a matrix operation that is not compiled at line {}", self.line())),
        }
    }

    fn are_all(&self, lanes: Value) -> Value {
        if self.whole {
            return self.b.constant(self.b.int(1), 1);
        }
        self.b.icmp(IntPredicate::LLVMIntEQ, lanes, self.c32(u32::MAX))
    }

    /// Does what `fast` generates if a condition holds; else the interpreter executes the instruction, after a range has
    /// been looked up.
    fn if_it_can(
        &mut self,
        condition: Value,
        lookup: Option<Lookup>,
        guard: Option<Val>,
        lanes: Value,
        fast: impl FnOnce(&mut Self) -> Result<(), String>,
    ) -> Result<(), String> {
        let (can, cannot, done) = (self.b.label(), self.b.label(), self.b.label());
        self.b.branch_rarely(self.negation(condition), cannot, can);
        self.b.place(cannot);
        self.interpret(guard, lanes, lookup)?;
        self.b.jump(done);
        self.b.place(can);
        fast(self)?;
        self.b.jump(done);
        self.b.place(done);
        Ok(())
    }

    fn areas(&mut self) -> Areas {
        let bytes = REGISTERS * 2 * PART as u32;
        *self.areas.get_or_insert_with(|| [(); 4].map(|()| self.b.room(bytes)))
    }

    fn call_helper(&mut self, kind: Helper, arguments: &[Value], body: impl FnOnce(&Builder, &[Value])) {
        let types: Vec<Type> = arguments.iter().map(|value| self.b.type_of(*value)).collect();
        let function = *self.helpers.entry(kind).or_insert_with(|| self.b.helper(&types, body));
        self.b.call(function, None, arguments);
    }

    /// Stores the registers of a fragment that are in use.
    fn read_registers(&mut self, operands: OperandList, fragment: &Fragment, area: Value) {
        let used = fragment.used_registers() as usize;
        let operands = self.function.operand_list(operands).iter().take(used).copied().collect::<Vec<_>>();
        for (n, operand) in operands.into_iter().enumerate() {
            let value = self.read(operand, 32);
            let value = self.varying(value);
            for h in 0..2 {
                self.b.store(value.parts[h], self.b.field(area, (n * 2 + h) * PART), PART as u32);
            }
        }
    }

    /// Writes registers from an area where `used` of them are, of which the others are copies.
    fn write_registers(&mut self, dst: RegList, used: u32, area: Value, guard: Option<Val>) -> Result<(), String> {
        let ty = self.b.vector(self.word(), HALF);
        for (n, reg) in self.function.reg_list(dst).iter().enumerate() {
            let place = |h: usize| self.b.field(area, (n % used as usize * 2 + h) * PART);
            let value = self.halves(Shape::Varying, |h| self.b.load(ty, place(h), PART as u32));
            self.put(*reg, value, guard)?;
        }
        Ok(())
    }

    fn multiply(&mut self, mma: &Mma, guard: Option<Val>) -> Result<(), String> {
        let areas = self.areas();
        let sources = [(mma.a, mma.a_fragment()), (mma.b, mma.b_fragment()), (mma.c, mma.c_fragment())];
        for ((operands, fragment), area) in sources.into_iter().zip(areas) {
            self.read_registers(operands, &fragment, area);
        }
        let Mma { op, shape, kind, b_kind, a_ty, b_ty, c_ty, d_ty, .. } = *mma;
        let name = format!("{:?}", (op, shape, kind, b_kind, a_ty, b_ty, c_ty, d_ty));
        self.call_helper(Helper::Multiply(name), &areas, |b, areas| multiply(b, mma, areas));
        self.write_registers(mma.dst, mma.d_fragment().used_registers(), areas[3], guard)
    }

    /// The first lane's value, of a warp of which all lanes run.
    fn of_first_lane(&self, value: Val) -> Value {
        match value.shape {
            Shape::Varying => self.b.extract(value.parts[0], self.c64(0)),
            _ => value.parts[0],
        }
    }

    /// Checks the lines of a matrix and gives `fast` the host address of the first and the bytes from one to the next.
    fn move_matrix(
        &mut self,
        access: &MatrixAccess,
        guard: Option<Val>,
        lanes: Value,
        fast: impl FnOnce(&mut Self, Value, Value) -> Result<(), String>,
    ) -> Result<(), String> {
        let bytes = access.fragment.ty.bits() / 8;
        let (count, across) = lines_of(&access.fragment, access.row_major);
        let address = self.address(access.addr);
        let first = self.of_first_lane(address);
        let stride = self.read(access.stride, 32);
        let stride = self.b.cast(op::ZEXT, self.of_first_lane(stride), self.long());
        let stride = self.b.binary(op::MUL, stride, self.c64(bytes.into()));
        let between = self.b.binary(op::MUL, stride, self.c64((count - 1).into()));
        let less = self.b.binary(op::ADD, between, self.c64(u64::from(across * bytes) - 1));
        let site = self.new_site(access.space);
        let bank = self.bank(access.space, site);
        let limit = self.b.intrinsic("llvm.usub.sat", &[self.long()], &[bank.size(), less]);
        let within = self.b.icmp(IntPredicate::LLVMIntULT, self.b.binary(op::SUB, first, bank.first()), limit);
        let low = self.b.binary(op::OR, first, stride);
        let low = self.b.binary(op::AND, low, self.c64(u64::from(bytes) - 1));
        let aligned = self.b.icmp(IntPredicate::LLVMIntEQ, low, self.c64(0));
        let can = self.b.binary(op::AND, self.b.binary(op::AND, within, aligned), self.are_all(lanes));
        let writes = matches!(self.function.insts[self.inst].op, Op::MatrixStore { .. });
        let lookup = self.lookup_of(site, access.addr, writes);
        self.if_it_can(can, lookup, guard, lanes, |gen| {
            let place = gen.host(&bank, first);
            fast(gen, place, stride)
        })
    }

    fn load_tiles(
        &mut self,
        space: Space,
        transposed: bool,
        dst: RegList,
        addr: Address,
        guard: Option<Val>,
        lanes: Value,
    ) -> Result<(), String> {
        const ROW: u32 = 16;
        let count = dst.len;
        let address = self.address(addr);
        let site = self.new_site(space);
        let bank = self.bank(space, site);
        let named = self.c32(u32::MAX >> (32 - 8 * count));
        let within = self.is_within(&bank, address, (ROW, 0), named);
        let can = self.b.binary(op::AND, within, self.are_all(lanes));
        let lookup = self.lookup_of(site, addr, false);
        self.if_it_can(can, lookup, guard, lanes, |gen| {
            let [places, .., area] = gen.areas();
            let origin = gen.b.splat(bank.origin, HALF);
            let hosts = gen.map(gen.varying(address), |v| gen.b.binary(op::ADD, v, origin));
            gen.b.store(hosts.parts[0], places, PART as u32);
            gen.b.store(hosts.parts[1], gen.b.field(places, 2 * PART), PART as u32);
            gen.call_helper(Helper::Tiles(count, transposed), &[places, area], |b, arguments| {
                tiles(b, count, transposed, arguments);
            });
            gen.write_registers(dst, count, area, guard)
        })
    }
}
