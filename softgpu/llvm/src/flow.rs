//! The order in which a warp visits the blocks of a kernel, and who waits meanwhile.
//!
//! Blocks are visited in a topological order in which those of a loop stay together; a warp whose
//! lanes have diverged goes on with the first block that any lane wants, and the others wait. So
//! lanes meet again where their paths do, and a loop runs until no lane wants its head.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use vgpu_engine::ir::{for_each_successor, Function, Terminator};

/// Largest kernel that is compiled, in blocks.
const MAX_BLOCKS: usize = 3000;

/// A loop: its head and its blocks.
pub struct Loop {
    pub head: usize,
    /// By block.
    pub contains: Vec<bool>,
    /// Position behind its last block.
    pub end: usize,
}

/// What does not depend on which branches diverge.
pub struct Graph {
    /// Blocks that can be reached, in the order of visits.
    pub order: Vec<usize>,
    /// Index in `order`.
    pub position: Vec<usize>,
    /// Blocks to which lanes can go; without those that only end threads.
    pub successors: Vec<Vec<usize>>,
    /// Whether lanes can end behind a block.
    pub exits: Vec<bool>,
    pub loops: Vec<Loop>,
    /// Immediate dominator; the first block's is itself.
    dominator: Vec<usize>,
}

/// Whether a block does nothing but end threads.
pub fn is_exit(function: &Function, block: usize) -> bool {
    let block = &function.blocks[block];
    block.first == block.end && matches!(block.terminator, Terminator::Ret | Terminator::Exit)
}

impl Graph {
    pub fn new(function: &Function) -> Result<Graph, String> {
        let count = function.blocks.len();
        if count > MAX_BLOCKS {
            return Err(format!("it has {count} blocks"));
        }
        let mut graph = Graph {
            order: Vec::new(),
            position: vec![usize::MAX; count],
            successors: vec![Vec::new(); count],
            exits: vec![false; count],
            loops: Vec::new(),
            dominator: vec![usize::MAX; count],
        };
        for (number, block) in function.blocks.iter().enumerate() {
            let (successors, exits) = (&mut graph.successors[number], &mut graph.exits[number]);
            *exits = matches!(block.terminator, Terminator::Ret | Terminator::Exit);
            for_each_successor(&block.terminator, &function.branch_tables, |target| {
                let target = target.0 as usize;
                if is_exit(function, target) {
                    *exits = true;
                } else if !successors.contains(&target) {
                    successors.push(target);
                }
            });
        }
        graph.analyse()?;
        Ok(graph)
    }

    fn analyse(&mut self) -> Result<(), String> {
        let preliminary = self.reverse_postorder();
        let mut index = vec![usize::MAX; self.successors.len()];
        preliminary.iter().enumerate().for_each(|(i, block)| index[*block] = i);
        let mut predecessors = vec![Vec::new(); self.successors.len()];
        for block in &preliminary {
            self.successors[*block].iter().for_each(|next| predecessors[*next].push(*block));
        }
        self.find_dominators(&preliminary, &index, &predecessors);
        self.find_loops(&preliminary, &index, &predecessors)?;
        let all: Vec<usize> = preliminary.clone();
        self.sort(&all, None);
        for (i, block) in self.order.iter().enumerate() {
            self.position[*block] = i;
        }
        for l in &mut self.loops {
            let inside = self.order.iter().enumerate().filter(|(_, block)| l.contains[**block]);
            l.end = inside.map(|(i, _)| i + 1).max().unwrap_or(0);
        }
        Ok(())
    }

    fn reverse_postorder(&self) -> Vec<usize> {
        let mut seen = vec![false; self.successors.len()];
        let mut order = Vec::new();
        let mut stack = vec![(0usize, 0usize)];
        seen[0] = true;
        while let Some((block, next)) = stack.pop() {
            match self.successors[block].get(next) {
                Some(&successor) => {
                    stack.push((block, next + 1));
                    if !std::mem::replace(&mut seen[successor], true) {
                        stack.push((successor, 0));
                    }
                }
                None => order.push(block),
            }
        }
        order.reverse();
        order
    }

    fn find_dominators(&mut self, order: &[usize], index: &[usize], predecessors: &[Vec<usize>]) {
        self.dominator[0] = 0;
        let mut changed = true;
        while changed {
            changed = false;
            for &block in &order[1..] {
                let known = predecessors[block].iter().copied().filter(|p| self.dominator[*p] != usize::MAX);
                let common = known.reduce(|mut a, mut b| {
                    while a != b {
                        while index[a] > index[b] {
                            a = self.dominator[a];
                        }
                        while index[b] > index[a] {
                            b = self.dominator[b];
                        }
                    }
                    a
                });
                if let Some(common) = common.filter(|common| self.dominator[block] != *common) {
                    self.dominator[block] = common;
                    changed = true;
                }
            }
        }
    }

    /// Whether each path to `b` leads through `a`.
    pub fn dominates(&self, a: usize, b: usize) -> bool {
        let mut at = b;
        while at != a && at != 0 {
            at = self.dominator[at];
        }
        at == a
    }

    fn find_loops(&mut self, order: &[usize], index: &[usize], predecessors: &[Vec<usize>]) -> Result<(), String> {
        for &head in order {
            let latches: Vec<usize> = predecessors[head].iter().copied().filter(|p| index[*p] >= index[head]).collect();
            if latches.is_empty() {
                continue;
            }
            if latches.iter().any(|latch| !self.dominates(head, *latch)) {
                return Err("its loops have several entries".into());
            }
            let mut contains = vec![false; self.successors.len()];
            contains[head] = true;
            let mut open = latches;
            while let Some(block) = open.pop() {
                if !std::mem::replace(&mut contains[block], true) {
                    open.extend(&predecessors[block]);
                }
            }
            self.loops.push(Loop { head, contains, end: 0 });
        }
        Ok(())
    }

    /// Appends blocks to the order: those of a loop, or all of them. Inner loops count as one.
    fn sort(&mut self, blocks: &[usize], within: Option<usize>) {
        let size = |l: &Loop| l.contains.iter().filter(|c| **c).count();
        // The outermost inner loop of each block.
        let owner = |block: usize| {
            let inner = self.loops.iter().enumerate().filter(|(i, l)| {
                l.contains[block]
                    && Some(*i) != within
                    && within.is_none_or(|w| self.loops[w].contains[l.head] && l.head != self.loops[w].head)
            });
            inner.max_by_key(|(_, l)| size(l)).map(|(i, _)| i)
        };
        let node = |block: usize| owner(block).map_or(block, |l| self.loops[l].head);
        let head = within.map(|w| self.loops[w].head);
        let mut inside = vec![false; self.successors.len()];
        blocks.iter().for_each(|block| inside[*block] = true);
        let mut edges: BTreeSet<(usize, usize)> = BTreeSet::new();
        for &block in blocks {
            for &next in &self.successors[block] {
                let (from, to) = (node(block), node(next));
                if inside[next] && from != to && Some(next) != head {
                    edges.insert((from, to));
                }
            }
        }
        let mut degree = vec![0; self.successors.len()];
        edges.iter().for_each(|(_, to)| degree[*to] += 1);
        let nodes: BTreeSet<usize> = blocks.iter().map(|block| node(*block)).collect();
        let mut ready: BinaryHeap<Reverse<usize>> =
            nodes.iter().filter(|n| degree[**n] == 0).map(|n| Reverse(*n)).collect();
        let mut sorted = Vec::new();
        while let Some(Reverse(n)) = ready.pop() {
            sorted.push((n, owner(n)));
            for (_, to) in edges.range((n, 0)..(n + 1, 0)) {
                degree[*to] -= 1;
                if degree[*to] == 0 {
                    ready.push(Reverse(*to));
                }
            }
        }
        for (n, inner) in sorted {
            match inner {
                None => self.order.push(n),
                Some(inner) => {
                    let members: Vec<usize> = (0..inside.len()).filter(|b| self.loops[inner].contains[*b]).collect();
                    self.sort(&members, Some(inner));
                }
            }
        }
    }

    /// When a block is visited next, as seen from another one: the head of a loop comes after its blocks.
    fn visit(&self, from: usize, to: usize) -> (usize, usize) {
        let again = self.loops.iter().find(|l| l.head == to && l.contains[from]);
        match again {
            // Inner loops end with or before the outer ones and go first.
            Some(l) => (l.end * 2, self.order.len() - self.position[to]),
            None => (self.position[to] * 2 + 1, 0),
        }
    }

    /// Blocks at which lanes may be next, in the order of visits.
    pub fn candidates(&self, from: usize, waiting: &BTreeSet<usize>, also: &[usize]) -> Vec<usize> {
        let mut all: Vec<usize> = waiting.iter().chain(also).copied().collect();
        all.sort_by_key(|to| self.visit(from, *to));
        all.dedup();
        all
    }

    /// For each block, where other lanes may wait while it runs. `diverges` says which branches can
    /// send lanes of a warp to different blocks.
    pub fn waiting(&self, diverges: &[bool]) -> Vec<BTreeSet<usize>> {
        let mut waiting: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.successors.len()];
        let mut changed = true;
        while changed {
            changed = false;
            for &block in &self.order {
                let targets: Vec<Vec<usize>> = match diverges[block] {
                    true => vec![self.successors[block].clone()],
                    false if self.successors[block].is_empty() => vec![Vec::new()],
                    false => self.successors[block].iter().map(|s| vec![*s]).collect(),
                };
                for also in targets {
                    let candidates = self.candidates(block, &waiting[block], &also);
                    for (i, next) in candidates.iter().enumerate() {
                        let before = waiting[*next].len();
                        waiting[*next].extend(&candidates[i + 1..]);
                        changed |= waiting[*next].len() != before;
                        // Lanes are certain to be where a branch of all of them leads.
                        if !diverges[block] && also.contains(next) {
                            break;
                        }
                    }
                }
            }
        }
        waiting
    }
}
