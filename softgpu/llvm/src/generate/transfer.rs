//! Elements between memory and registers, once it is known that they may be accessed.

use super::matrix::{collect, Picks};
use super::memory::{Access, Bank, Kind};
use super::{field, Gen, Val, HALF};
use crate::shape::{in_half, Shape};
use crate::sys::{op, IntPredicate, Value};
use vgpu_engine::engine::Steps;
use vgpu_engine::ir::*;

/// How the elements of an access are moved.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// All lanes have one address.
    Same,
    /// Those of each half have one.
    SameInHalf,
    /// Neighbours' elements are neighbours.
    Row,
    /// So are those of all lanes when each has several.
    Lines,
    /// They may be, as far as is known: where lanes leave a loop at different times, nothing else is.
    Scattered,
    /// They are parts of few lines of memory.
    Dense(Dense),
    /// Two elements of a lane at a time.
    Pairs,
    Each,
}

/// Steps between neighbours of so many bytes each.
fn row(bytes: u32) -> Steps {
    in_half(Steps::line(bytes.into()))
}

/// Where the units of half a warp's lanes lie that are parts of few lines of memory. Whole lines are read, but not
/// beyond the first and the last of the units.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Dense {
    /// Bytes that are moved at a time, and how many such units there are in a line.
    unit: u32,
    width: u32,
    /// Bytes from the first lane's unit to where the first line begins and so forth; the others do not matter.
    starts: [i64; Dense::MOST],
    lines: usize,
    /// Line of each lane's unit, and its place there.
    picks: Picks,
}

impl Dense {
    /// Lines up to which moving them is quicker than moving units.
    const MOST: usize = 4;

    fn new(steps: Steps, unit: u32) -> Option<Dense> {
        if steps.0.iter().any(|step| !step.unsigned_abs().is_multiple_of(unit.into())) {
            return None;
        }
        let offsets: [i64; 16] = std::array::from_fn(|lane| steps.at(lane as u32));
        let (lowest, highest) = (*offsets.iter().min()?, *offsets.iter().max()?);
        let count = highest.checked_sub(lowest)? / i64::from(unit) + 1;
        let width = count.min(HALF.into());
        let places = offsets.map(|offset| (offset - lowest) / i64::from(unit));
        let mut sorted = places;
        sorted.sort_unstable();
        let mut firsts: Vec<i64> = Vec::new();
        for place in sorted {
            if firsts.last().is_none_or(|first| place >= first + width) {
                firsts.push(place.min(count - width));
            }
        }
        let mut starts = [0; Dense::MOST];
        for (n, first) in firsts.iter().enumerate() {
            *starts.get_mut(n)? = lowest + first * i64::from(unit);
        }
        let line_of = |place: i64| firsts.iter().position(|first| (*first..first + width).contains(&place));
        let mut picks = [(0, 0); 16];
        for (pick, place) in picks.iter_mut().zip(places) {
            let line = line_of(place)?;
            *pick = (line, (place - firsts[line]) as u32);
        }
        Some(Dense { unit, width: width as u32, starts, lines: firsts.len(), picks })
    }

    /// Whether each lane has a unit of its own.
    fn is_distinct(&self) -> bool {
        (0..16).all(|lane| !self.picks[..lane].contains(&self.picks[lane]))
    }
}

impl Bank {
    fn way(&self, shape: Shape, access: &Access<'_>, whole: bool) -> Way {
        let is_load = matches!(access.kind, Kind::Load { .. });
        let several = access.count > 1 && access.bytes == 4;
        let is_shared = self.stride.is_none();
        match shape {
            Shape::Uniform if is_shared => Way::Same,
            Shape::SCALARS if is_shared && is_load => Way::SameInHalf,
            Shape::Line(steps) | Shape::Affine(steps) if is_shared && in_half(steps) == row(access.bytes) => {
                match access.count {
                    1 => Way::Row,
                    _ if several => Way::Pairs,
                    _ => Way::Each,
                }
            }
            Shape::Line(steps) | Shape::Affine(steps)
                if is_shared && several && whole && in_half(steps) == row(access.bytes * access.count) =>
            {
                Way::Lines
            }
            Shape::Line(steps) | Shape::Affine(steps) if is_shared && whole => {
                let unit = if several { 2 * access.bytes } else { access.bytes };
                match Dense::new(in_half(steps), unit) {
                    Some(dense) if is_load || dense.is_distinct() => Way::Dense(dense),
                    _ if several => Way::Pairs,
                    _ => Way::Each,
                }
            }
            _ if several => Way::Pairs,
            Shape::Varying if is_shared && !self.is_small && access.count == 1 => Way::Scattered,
            _ => Way::Each,
        }
    }
}

impl Gen<'_> {
    pub(super) fn host(&self, bank: &Bank, address: Value) -> Value {
        let sum = self.b.binary(op::ADD, address, bank.origin);
        self.b.cast(op::INTTOPTR, sum, self.b.pointer())
    }

    /// Host pointers of half a warp's elements.
    fn pointers(&self, bank: &Bank, address: Val, h: usize, offset: u32) -> Value {
        let mut places = self.varying(address).parts[h];
        if bank.is_small {
            // What is left of offsets that are below 2^31 is enough, and quicker.
            let places = self.b.cast(op::TRUNC, places, self.word());
            let places = self.b.binary(op::ADD, places, self.b.constant(self.b.type_of(places), offset.into()));
            let origin = self.b.cast(op::INTTOPTR, bank.origin, self.b.pointer());
            return self.b.offset(origin, places);
        }
        let ty = self.b.type_of(places);
        places = self.b.binary(op::ADD, places, self.b.splat(bank.origin, HALF));
        if let Some(stride) = bank.stride {
            let lanes = self.b.constants(self.long(), (0..u64::from(HALF)).map(|i| i + 16 * h as u64));
            places = self.b.binary(op::ADD, places, self.b.binary(op::MUL, lanes, self.b.splat(stride, HALF)));
        }
        let places = self.b.binary(op::ADD, places, self.b.constant(ty, offset.into()));
        self.b.cast(op::INTTOPTR, places, self.b.pointer())
    }

    fn half_lanes(&self, lanes: Value, h: usize) -> Value {
        let ty = self.b.vector(self.b.int(1), HALF);
        if self.whole {
            return self.b.constant(ty, 1);
        }
        self.b.bits(self.half_mask(lanes, h), ty)
    }

    #[allow(clippy::too_many_arguments, reason = "an access has as many parts")]
    pub(super) fn load(
        &mut self,
        access: &Access<'_>,
        bank: &Bank,
        address: Val,
        lanes: Value,
        dst: &[Reg],
        signed: bool,
        guard: Option<Val>,
    ) -> Result<(), String> {
        let values = match bank.way(address.shape, access, self.whole) {
            Way::Lines => self.load_lines(access, bank, address),
            Way::Dense(dense) => {
                let units = (0..access.count * access.bytes).step_by(dense.unit as usize);
                let units = units.map(|offset| self.load_dense(&dense, bank, address, offset));
                match dense.unit > access.bytes {
                    true => units.flat_map(|unit| self.halved(unit)).collect(),
                    false => units.collect(),
                }
            }
            Way::Pairs => {
                let pairs = (0..access.count).step_by(2);
                let pair = |n: u32| self.gather(2 * access.bytes, bank, address, n * access.bytes, lanes);
                pairs.flat_map(|n| self.halved(pair(n))).collect()
            }
            way => (0..access.count).map(|n| self.load_element(way, n, access, bank, address, lanes)).collect(),
        };
        // Only now, since a destination may be the address.
        for (reg, value) in dst.iter().zip(values) {
            self.write(*reg, value, signed, guard)?;
        }
        Ok(())
    }

    fn load_element(&self, way: Way, n: u32, access: &Access<'_>, bank: &Bank, address: Val, lanes: Value) -> Val {
        let (int, offset) = (self.b.int(access.bytes * 8), n * access.bytes);
        let place = |h: usize| self.b.field(self.host(bank, address.parts[h]), offset as usize);
        match way {
            Way::Same => self.uniform(self.b.load(int, place(0), access.bytes)),
            Way::SameInHalf => self.halves(address.shape, |h| {
                if self.whole {
                    return self.b.load(int, place(h), access.bytes);
                }
                // Half a warp without lanes has any address.
                let half = self.half_mask(lanes, h);
                let nobody = self.b.icmp(IntPredicate::LLVMIntEQ, half, self.b.constant(self.b.int(16), 0));
                let rows = self.b.load(self.b.pointer(), field!(self, lanes.rows), 8);
                self.b.load(int, self.b.select(nobody, rows, place(h)), access.bytes)
            }),
            Way::Row => {
                let ty = self.b.vector(int, HALF);
                self.halves(Shape::Varying, |h| {
                    if self.whole {
                        return self.b.load(ty, place(h), access.bytes);
                    }
                    let args = [place(h), self.c32(access.bytes), self.half_lanes(lanes, h), self.b.zero(ty)];
                    self.b.intrinsic("llvm.masked.load", &[ty, self.b.pointer()], &args)
                })
            }
            Way::Scattered => self.load_scattered(access.bytes, bank, address, lanes),
            Way::Lines | Way::Dense(_) | Way::Pairs | Way::Each => {
                self.gather(access.bytes, bank, address, offset, lanes)
            }
        }
    }

    /// Whether the elements of neighbouring lanes are neighbours, in each half.
    fn are_rows(&self, bytes: u32, address: Val, lanes: Value) -> Value {
        let steps = self.b.constants(self.long(), (0..HALF).map(|i| u64::from(i * bytes)));
        let others = self.map(address, |v| {
            let first = self.b.splat(self.b.extract(v, self.c64(0)), HALF);
            self.b.icmp(IntPredicate::LLVMIntNE, v, self.b.binary(op::ADD, first, steps))
        });
        let others = self.b.binary(op::AND, self.mask_of(others), lanes);
        self.b.icmp(IntPredicate::LLVMIntEQ, others, self.c32(0))
    }

    /// Loads elements from anywhere, quicker if they are neighbours.
    fn load_scattered(&self, bytes: u32, bank: &Bank, address: Val, lanes: Value) -> Val {
        let ty = self.b.vector(self.b.int(bytes * 8), HALF);
        let found = [(); 2].map(|()| self.b.variable(ty));
        let set = |value: Val| (0..2).for_each(|h| self.b.set(found[h], value.parts[h]));
        let (rows, apart, done) = (self.b.label(), self.b.label(), self.b.label());
        self.b.branch(self.are_rows(bytes, address, lanes), rows, apart);
        self.b.place(rows);
        set(self.halves(Shape::Varying, |h| {
            let place = self.host(bank, self.b.extract(address.parts[h], self.c64(0)));
            let args = [place, self.c32(bytes), self.half_lanes(lanes, h), self.b.zero(ty)];
            self.b.intrinsic("llvm.masked.load", &[ty, self.b.pointer()], &args)
        }));
        self.b.jump(done);
        self.b.place(apart);
        set(self.gather(bytes, bank, address, 0, lanes));
        self.b.jump(done);
        self.b.place(done);
        self.halves(Shape::Varying, |h| self.b.get(ty, found[h]))
    }

    /// Stores elements anywhere, likewise.
    fn store_scattered(&self, bytes: u32, bank: &Bank, address: Val, lanes: Value, vectors: Val) {
        let (rows, apart, done) = (self.b.label(), self.b.label(), self.b.label());
        self.b.branch(self.are_rows(bytes, address, lanes), rows, apart);
        self.b.place(rows);
        for h in 0..2 {
            let place = self.host(bank, self.b.extract(address.parts[h], self.c64(0)));
            let ty = self.b.type_of(vectors.parts[h]);
            let args = [vectors.parts[h], place, self.c32(bytes), self.half_lanes(lanes, h)];
            self.b.intrinsic("llvm.masked.store", &[ty, self.b.pointer()], &args);
        }
        self.b.jump(done);
        self.b.place(apart);
        self.scatter(bytes, bank, address, 0, lanes, vectors);
        self.b.jump(done);
        self.b.place(done);
    }

    /// Elements of so many bytes from anywhere.
    fn gather(&self, bytes: u32, bank: &Bank, address: Val, offset: u32, lanes: Value) -> Val {
        let ty = self.b.vector(self.b.int(bytes * 8), HALF);
        self.halves(Shape::Varying, |h| {
            let pointers = self.pointers(bank, address, h, offset);
            let args = [pointers, self.c32(bytes), self.half_lanes(lanes, h), self.b.zero(ty)];
            self.b.intrinsic("llvm.masked.gather", &[ty, self.b.type_of(pointers)], &args)
        })
    }

    /// The low and the high half of each lane's 64 bits.
    fn halved(&self, value: Val) -> [Val; 2] {
        [0, 32].map(|by| {
            self.map(value, |v| {
                let part = self.b.binary(op::LSHR, v, self.b.constant(self.b.type_of(v), by));
                self.b.cast(op::TRUNC, part, self.word())
            })
        })
    }

    /// Where a line begins whose units are so far behind the first ones.
    fn line_of(&self, bank: &Bank, base: Value, start: i64, offset: u32) -> Value {
        let distance = self.c64(start.wrapping_add(offset.into()) as u64);
        self.b.offset(self.host(bank, base), distance)
    }

    /// Loads units that are parts of few lines.
    fn load_dense(&self, dense: &Dense, bank: &Bank, address: Val, offset: u32) -> Val {
        let ty = self.b.vector(self.b.int(dense.unit * 8), dense.width);
        let half = |h: usize| {
            let line = |start: &i64| {
                let line = self.b.load(ty, self.line_of(bank, address.parts[h], *start, offset), dense.unit);
                let places: Vec<u32> = (0..HALF).map(|place| place % dense.width).collect();
                if dense.width == HALF {
                    line
                } else {
                    self.b.shuffle(line, line, &places)
                }
            };
            let lines: Vec<Value> = dense.starts[..dense.lines].iter().map(line).collect();
            collect(&self.b, &lines, &dense.picks)
        };
        if let Shape::Line(Steps([.., 0])) = address.shape {
            let both = half(0);
            return Val { shape: Shape::Varying, parts: [both; 2] };
        }
        self.halves(Shape::Varying, half)
    }

    /// Stores units that are parts of few lines, and of which no two of half a warp are at one place.
    fn store_dense(&self, dense: &Dense, bank: &Bank, address: Val, offset: u32, vectors: Val) {
        for h in 0..2 {
            let value = vectors.parts[h];
            for (line, start) in dense.starts[..dense.lines].iter().enumerate() {
                let lane_at = |place: u32| dense.picks.iter().position(|pick| *pick == (line, place));
                let lanes: Vec<Option<usize>> = (0..HALF).map(lane_at).collect();
                let sources: Vec<u32> = lanes.iter().map(|lane| lane.unwrap_or(0) as u32).collect();
                let mask = self.b.constants(self.b.int(1), lanes.iter().map(|lane| lane.is_some().into()));
                let line = self.b.shuffle(value, value, &sources);
                let place = self.line_of(bank, address.parts[h], *start, offset);
                let types = [self.b.type_of(line), self.b.pointer()];
                self.b.intrinsic("llvm.masked.store", &types, &[line, place, self.c32(dense.unit), mask]);
            }
        }
    }

    /// Two 32-bit values as one.
    fn paired(&self, pair: &[Val]) -> Val {
        let [low, high] = [pair[0], pair[1]].map(|value| self.resize(self.varying(value), 64, false));
        self.halves(Shape::Varying, |h| {
            let by = self.b.constant(self.b.type_of(high.parts[h]), 32);
            self.b.binary(op::OR, low.parts[h], self.b.binary(op::SHL, high.parts[h], by))
        })
    }

    /// Loads elements of which those of all lanes follow each other.
    fn load_lines(&self, access: &Access<'_>, bank: &Bank, address: Val) -> Vec<Val> {
        let (count, ty) = (access.count as usize, self.b.vector(self.b.int(access.bytes * 8), HALF));
        let halves = [0, 1].map(|h| {
            let first = self.host(bank, address.parts[h]);
            let line = |n: usize| self.b.field(first, n * (access.bytes * HALF) as usize);
            let lines: Vec<Value> = (0..count).map(|n| self.b.load(ty, line(n), access.bytes)).collect();
            let element = |n: usize| {
                let picks: Picks = std::array::from_fn(|lane| {
                    let number = lane * count + n;
                    (number / 16, number as u32 % HALF)
                });
                collect(&self.b, &lines, &picks)
            };
            (0..count).map(element).collect::<Vec<_>>()
        });
        (0..count).map(|n| Val { shape: Shape::Varying, parts: [halves[0][n], halves[1][n]] }).collect()
    }

    pub(super) fn store(&mut self, access: &Access<'_>, bank: &Bank, address: Val, lanes: Value, src: &[Operand]) {
        let bits = access.bytes * 8;
        let values: Vec<Val> = src.iter().map(|operand| self.read(*operand, bits)).collect();
        match bank.way(address.shape, access, self.whole) {
            Way::Lines => self.store_lines(access, bank, address, &values),
            Way::Pairs => {
                for (n, pair) in (0u32..).zip(values.chunks_exact(2)) {
                    let offset = n * 2 * access.bytes;
                    self.scatter(2 * access.bytes, bank, address, offset, lanes, self.paired(pair));
                }
            }
            Way::Dense(dense) => {
                let units: Vec<Val> = match dense.unit > access.bytes {
                    true => values.chunks_exact(2).map(|pair| self.paired(pair)).collect(),
                    false => values.iter().map(|value| self.varying(*value)).collect(),
                };
                for (n, unit) in (0u32..).zip(units) {
                    self.store_dense(&dense, bank, address, n * dense.unit, unit);
                }
            }
            way => {
                for (n, value) in (0u32..).zip(values) {
                    self.store_element(way, n * access.bytes, access, bank, address, lanes, value);
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "an access has as many parts")]
    fn store_element(
        &self,
        way: Way,
        offset: u32,
        access: &Access<'_>,
        bank: &Bank,
        address: Val,
        lanes: Value,
        value: Val,
    ) {
        let place = |h: usize| self.b.field(self.host(bank, address.parts[h]), offset as usize);
        match way {
            // The last lane's value stays.
            Way::Same => self.b.store(self.last_lane(value, lanes), place(0), access.bytes),
            Way::Row => {
                let vectors = self.varying(value);
                for h in 0..2 {
                    if self.whole {
                        self.b.store(vectors.parts[h], place(h), access.bytes);
                        continue;
                    }
                    let ty = self.b.type_of(vectors.parts[h]);
                    let args = [vectors.parts[h], place(h), self.c32(access.bytes), self.half_lanes(lanes, h)];
                    self.b.intrinsic("llvm.masked.store", &[ty, self.b.pointer()], &args);
                }
            }
            Way::Scattered => self.store_scattered(access.bytes, bank, address, lanes, self.varying(value)),
            _ => self.scatter(access.bytes, bank, address, offset, lanes, self.varying(value)),
        }
    }

    /// Stores elements of so many bytes anywhere.
    fn scatter(&self, bytes: u32, bank: &Bank, address: Val, offset: u32, lanes: Value, vectors: Val) {
        for h in 0..2 {
            let pointers = self.pointers(bank, address, h, offset);
            let ty = self.b.type_of(vectors.parts[h]);
            let args = [vectors.parts[h], pointers, self.c32(bytes), self.half_lanes(lanes, h)];
            self.b.intrinsic("llvm.masked.scatter", &[ty, self.b.type_of(pointers)], &args);
        }
    }

    /// Stores elements of which those of all lanes follow each other.
    fn store_lines(&self, access: &Access<'_>, bank: &Bank, address: Val, values: &[Val]) {
        let count = values.len();
        let vectors: Vec<Val> = values.iter().map(|value| self.varying(*value)).collect();
        for h in 0..2 {
            let first = self.host(bank, address.parts[h]);
            let parts: Vec<Value> = vectors.iter().map(|value| value.parts[h]).collect();
            for line in 0..count {
                let picks: Picks = std::array::from_fn(|i| {
                    let number = line * 16 + i;
                    (number % count, (number / count) as u32)
                });
                let place = self.b.field(first, line * (access.bytes * HALF) as usize);
                self.b.store(collect(&self.b, &parts, &picks), place, access.bytes);
            }
        }
    }

    /// The value of the last of some lanes.
    pub(super) fn last_lane(&self, value: Val, lanes: Value) -> Value {
        if value.shape == Shape::Uniform {
            return value.parts[0];
        }
        let vectors = self.varying(value);
        let high = self.half_mask(lanes, 1);
        let in_high = self.b.icmp(IntPredicate::LLVMIntNE, high, self.b.constant(self.b.int(16), 0));
        let of = |h: usize| {
            let none = self.b.constant(self.b.int(1), 0);
            let leading = self.b.intrinsic("llvm.ctlz", &[self.b.int(16)], &[self.half_mask(lanes, h), none]);
            let leading = self.b.cast(op::ZEXT, leading, self.word());
            let index = self.b.binary(op::AND, self.b.binary(op::SUB, self.c32(15), leading), self.c32(15));
            self.b.extract(vectors.parts[h], index)
        };
        self.b.select(in_high, of(1), of(0))
    }
}
