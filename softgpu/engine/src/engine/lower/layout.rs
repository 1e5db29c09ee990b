//! Assigning rows and predicates to the registers of a function.

use super::super::code::Slot;
use super::super::ops::call::Place;
use crate::ir::{intervals, Function, Interval, Reg, RegClass};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Where the registers of a function are. Registers that are never alive at the
/// same time share a place; those of different widths never do, as their lanes lie
/// differently in the rows.
pub(super) struct Layout {
    /// Row or predicate of each register.
    pub(super) index: Vec<u32>,
    pub(super) rows: u32,
    pub(super) preds: u32,
}

impl Layout {
    pub(super) fn new(function: &Function) -> Layout {
        let intervals = intervals(function);
        let mut index = vec![0; function.regs.len()];
        let mut assign = |classes: &[RegClass], first: u32, size: u32| {
            let regs = (0..function.regs.len()).filter(|r| classes.contains(&function.regs[*r]));
            let alive: Vec<(usize, Interval)> = regs.filter_map(|r| Some((r, intervals[r]?))).collect();
            first + share(alive, |reg, place| index[reg] = first + place * size) * size
        };
        let words = assign(&[RegClass::B8, RegClass::B16, RegClass::B32], 0, 1);
        let longs = assign(&[RegClass::B64], words, 2);
        let rows = assign(&[RegClass::B128], longs, 4);
        // Predicate 0 is constant.
        let preds = assign(&[RegClass::Pred], 1, 1);
        Layout { index, rows, preds }
    }

    /// Where a value passed in a register arrives.
    pub(super) fn place(&self, function: &Function, reg: Reg) -> Place {
        let slot = Slot(self.index[reg.0 as usize]);
        match function.regs[reg.0 as usize] {
            RegClass::B64 => Place::Long(slot),
            _ => Place::Word(slot),
        }
    }
}

/// Gives each register a place that is free during its interval; returns how many
/// places there are.
fn share(mut regs: Vec<(usize, Interval)>, mut assign: impl FnMut(usize, u32)) -> u32 {
    regs.sort_by_key(|(_, interval)| interval.start);
    let mut places = 0;
    let mut free = BinaryHeap::new();
    let mut busy = BinaryHeap::new();
    for (reg, interval) in regs {
        // A result may be written before all inputs are read, so they do not share.
        while let Some(&Reverse((end, place))) = busy.peek() {
            if end >= interval.start {
                break;
            }
            busy.pop();
            free.push(Reverse(place));
        }
        let place = free.pop().map_or_else(
            || {
                places += 1;
                places - 1
            },
            |Reverse(place)| place,
        );
        assign(reg, place);
        busy.push(Reverse((interval.end, place)));
    }
    places
}
