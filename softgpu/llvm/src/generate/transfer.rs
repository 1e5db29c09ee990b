//! Elements between memory and registers, once it is known that they may be accessed.

use super::matrix::{collect, Picks};
use super::memory::{Access, Bank, Kind};
use super::{field, Gen, Val, HALF};
use crate::shape::Shape;
use crate::sys::{op, IntPredicate, Value};
use vgpu_engine::ir::*;

/// How the elements of an access are moved.
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
    /// Two elements of a lane at a time.
    Pairs,
    Each,
}

impl Bank {
    fn way(&self, shape: Shape, access: &Access<'_>, whole: bool) -> Way {
        let is_load = matches!(access.kind, Kind::Load { .. });
        let several = access.count > 1 && access.bytes == 4;
        let is_shared = self.stride.is_none();
        match shape {
            Shape::Uniform if is_shared => Way::Same,
            Shape::Affine(0) if is_shared && is_load => Way::SameInHalf,
            Shape::Line(stride) | Shape::Affine(stride) if is_shared && stride == i64::from(access.bytes) => {
                match access.count {
                    1 => Way::Row,
                    _ if several => Way::Pairs,
                    _ => Way::Each,
                }
            }
            Shape::Line(stride) | Shape::Affine(stride)
                if is_shared && several && whole && stride == i64::from(access.bytes * access.count) =>
            {
                Way::Lines
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
            Way::Lines | Way::Pairs | Way::Each => self.gather(access.bytes, bank, address, offset, lanes),
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
                    let [low, high] = [pair[0], pair[1]].map(|value| self.resize(self.varying(value), 64, false));
                    let both = self.halves(Shape::Varying, |h| {
                        let by = self.b.constant(self.b.type_of(high.parts[h]), 32);
                        self.b.binary(op::OR, low.parts[h], self.b.binary(op::SHL, high.parts[h], by))
                    });
                    self.scatter(2 * access.bytes, bank, address, n * 2 * access.bytes, lanes, both);
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
