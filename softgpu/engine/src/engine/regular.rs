//! The short form of registers whose lanes' values follow from each other, in which machine code leaves and finds them.

use super::code::{Row, FULL, LANES};
use super::interface::{RegisterKind, Regular};

/// Lanes of half a warp.
const HALF: usize = LANES / 2;

/// The rows and predicates of a warp.
pub(super) struct Registers<'a> {
    pub(super) rows: &'a mut [Row],
    pub(super) preds: &'a mut [u32],
}

impl Regular {
    fn at(&self, lane: usize) -> u64 {
        self.steps.at(lane as u32) as u64
    }
}

impl Registers<'_> {
    /// What a lane has in a register.
    fn get(&self, register: &Regular, lane: usize) -> u64 {
        let place = register.place as usize;
        match register.kind {
            RegisterKind::Pred => u64::from(self.preds[place] >> lane & 1),
            RegisterKind::Word => self.rows[place].0[lane].into(),
            RegisterKind::Long => {
                let (row, at) = (&self.rows[place + lane / HALF].0, lane % HALF * 2);
                u64::from(row[at]) | u64::from(row[at + 1]) << 32
            }
        }
    }

    /// Gives all lanes the values that follow from those of the first lane of each half.
    fn set(&mut self, register: &Regular, bases: [u64; 2]) {
        let place = register.place as usize;
        match register.kind {
            RegisterKind::Pred => {
                let [low, high] = bases.map(|holds| if holds & 1 != 0 { FULL >> HALF } else { 0 });
                self.preds[place] = low | high << HALF;
            }
            RegisterKind::Word => {
                for (half, base) in self.rows[place].0.chunks_exact_mut(HALF).zip(bases) {
                    for (lane, to) in half.iter_mut().enumerate() {
                        *to = base.wrapping_add(register.at(lane)) as u32;
                    }
                }
            }
            RegisterKind::Long => {
                for (row, base) in self.rows[place..place + 2].iter_mut().zip(bases) {
                    for (lane, to) in row.0.chunks_exact_mut(2).enumerate() {
                        let value = base.wrapping_add(register.at(lane));
                        (to[0], to[1]) = (value as u32, (value >> 32) as u32);
                    }
                }
            }
        }
    }

    /// Brings registers from their short form into the long one.
    pub(super) fn complete<'r>(&mut self, registers: impl IntoIterator<Item = &'r Regular>) {
        for register in registers {
            if register.kind == RegisterKind::Pred {
                continue;
            }
            let first = self.get(register, 0);
            let second = if register.halves { self.get(register, HALF) } else { first.wrapping_add(register.at(HALF)) };
            self.set(register, [first, second]);
        }
    }

    /// What the first lane of each half has if those to whom the register matters are right.
    fn bases(&self, register: &Regular, lanes: u32) -> [u64; 2] {
        let low = lanes & FULL >> HALF;
        let base = |lanes: u32, from: usize| {
            let first = if lanes == 0 { from } else { lanes.trailing_zeros() as usize };
            self.get(register, first).wrapping_sub(register.at(first - from))
        };
        if register.halves {
            return [base(low, 0), base(lanes & !low, HALF)];
        }
        let first = base(lanes, 0);
        [first, first.wrapping_add(register.at(HALF))]
    }

    /// Gives all lanes what follows from the values of some.
    pub(super) fn spread(&mut self, register: &Regular, lanes: u32) {
        self.set(register, self.bases(register, lanes));
    }

    /// Does so if all of these agree; says whether they do.
    pub(super) fn reduce(&mut self, register: &Regular, lanes: u32) -> bool {
        let bases = self.bases(register, lanes);
        let mask = match register.kind {
            RegisterKind::Pred => 1,
            RegisterKind::Word => u64::from(u32::MAX),
            RegisterKind::Long => u64::MAX,
        };
        let follows = |lane: usize| {
            let expected = bases[lane / HALF].wrapping_add(register.at(lane % HALF));
            lanes >> lane & 1 == 0 || self.get(register, lane) & mask == expected & mask
        };
        let agree = (0..LANES).all(follows);
        if agree {
            self.set(register, bases);
        }
        agree
    }
}
