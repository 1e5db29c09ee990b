//! Immediate post-dominators of basic blocks.

use super::{Block, BlockId, Terminator};

/// Marks "no node".
const NONE: u32 = u32::MAX;

/// Computes [`Block::ipdom`] for all blocks, by the semi-NCA algorithm on the
/// reversed control-flow graph with a virtual exit. Blocks from which no exit can
/// be reached get `None`.
pub fn set_post_dominators(blocks: &mut [Block], branch_tables: &[Vec<BlockId>]) {
    let graph = ReverseGraph::new(blocks, branch_tables);
    let tree = SemiNca::run(&graph);
    let exit = blocks.len() as u32;
    for (index, block) in blocks.iter_mut().enumerate() {
        let idom = tree.immediate_dominator(index as u32);
        block.ipdom = idom.filter(|&node| node != exit).map(BlockId);
    }
}

/// Calls `visit` with every block that can follow.
pub fn for_each_successor(terminator: &Terminator, branch_tables: &[Vec<BlockId>], mut visit: impl FnMut(BlockId)) {
    match *terminator {
        Terminator::Branch(target) => visit(target),
        Terminator::CondBranch { taken, fallthrough, .. } => {
            visit(taken);
            visit(fallthrough);
        }
        Terminator::BranchIndexed { table, .. } => {
            branch_tables.get(table as usize).into_iter().flatten().copied().for_each(visit);
        }
        Terminator::Ret | Terminator::Exit | Terminator::Trap => {}
    }
}

/// Edges of the control-flow graph in both directions; node `n` (the number of
/// blocks) is the exit.
struct ReverseGraph {
    /// Successors in the program, that is predecessors in the reversed graph.
    successors: Adjacency,
    predecessors: Adjacency,
}

/// Compressed adjacency lists.
struct Adjacency {
    starts: Vec<u32>,
    targets: Vec<u32>,
}

impl Adjacency {
    /// From `(from, to)` edges among `nodes` nodes.
    fn new(nodes: usize, edges: impl Iterator<Item = (u32, u32)> + Clone) -> Self {
        let mut starts = vec![0u32; nodes + 1];
        for (from, _) in edges.clone() {
            starts[from as usize + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut next = starts.clone();
        let mut targets = vec![0; starts[nodes] as usize];
        for (from, to) in edges {
            let slot = &mut next[from as usize];
            targets[*slot as usize] = to;
            *slot += 1;
        }
        Adjacency { starts, targets }
    }

    fn of(&self, node: u32) -> &[u32] {
        &self.targets[self.starts[node as usize] as usize..self.starts[node as usize + 1] as usize]
    }
}

impl ReverseGraph {
    fn new(blocks: &[Block], branch_tables: &[Vec<BlockId>]) -> Self {
        let exit = blocks.len() as u32;
        let mut edges = Vec::with_capacity(blocks.len() * 2);
        for (index, block) in blocks.iter().enumerate() {
            let before = edges.len();
            for_each_successor(&block.terminator, branch_tables, |target| edges.push((index as u32, target.0)));
            if edges.len() == before {
                edges.push((index as u32, exit));
            }
        }
        let nodes = blocks.len() + 1;
        ReverseGraph {
            successors: Adjacency::new(nodes, edges.iter().copied()),
            predecessors: Adjacency::new(nodes, edges.iter().map(|&(from, to)| (to, from))),
        }
    }
}

/// State of the algorithm; all but `number` are indexed by depth-first number.
struct SemiNca {
    /// Depth-first number of each node from the exit, or `NONE`.
    number: Vec<u32>,
    node: Vec<u32>,
    parent: Vec<u32>,
    idom: Vec<u32>,
    semi: Vec<u32>,
    /// Forest of processed nodes with compressed paths.
    ancestor: Vec<u32>,
    label: Vec<u32>,
}

impl SemiNca {
    fn run(graph: &ReverseGraph) -> Self {
        let mut state = SemiNca::number_nodes(graph);
        let count = state.node.len() as u32;
        for v in (1..count).rev() {
            let mut semi = state.parent[v as usize];
            for &predecessor in graph.successors.of(state.node[v as usize]) {
                let u = state.number[predecessor as usize];
                if u != NONE {
                    semi = semi.min(state.eval(u));
                }
            }
            state.semi[v as usize] = semi;
            state.label[v as usize] = semi;
            state.ancestor[v as usize] = state.parent[v as usize];
        }
        for v in 1..count as usize {
            let mut idom = state.parent[v];
            while idom > state.semi[v] {
                idom = state.idom[idom as usize];
            }
            state.idom[v] = idom;
        }
        state
    }

    /// Numbers the nodes that reach the exit, in depth-first order.
    fn number_nodes(graph: &ReverseGraph) -> Self {
        let nodes = graph.successors.starts.len() - 1;
        let exit = nodes as u32 - 1;
        let mut number = vec![NONE; nodes];
        let (mut node, mut parent) = (Vec::new(), Vec::new());
        let mut stack = vec![(exit, 0)];
        while let Some((current, from)) = stack.pop() {
            if number[current as usize] != NONE {
                continue;
            }
            let n = node.len() as u32;
            number[current as usize] = n;
            node.push(current);
            parent.push(from);
            let unseen = graph.predecessors.of(current).iter().filter(|&&next| number[next as usize] == NONE);
            stack.extend(unseen.map(|&next| (next, n)));
        }
        let count = node.len();
        SemiNca {
            number,
            node,
            idom: parent.clone(),
            semi: (0..count as u32).collect(),
            ancestor: vec![NONE; count],
            label: (0..count as u32).collect(),
            parent,
        }
    }

    /// Smallest semidominator on the path from `v` to the root of its tree in the
    /// forest; for a node that was not processed yet, its own number.
    fn eval(&mut self, v: u32) -> u32 {
        let mut path = Vec::new();
        let mut at = v;
        while self.ancestor[at as usize] != NONE && self.ancestor[self.ancestor[at as usize] as usize] != NONE {
            path.push(at);
            at = self.ancestor[at as usize];
        }
        while let Some(below) = path.pop() {
            let above = self.ancestor[below as usize] as usize;
            self.label[below as usize] = self.label[below as usize].min(self.label[above]);
            self.ancestor[below as usize] = self.ancestor[above];
        }
        self.label[v as usize]
    }

    fn immediate_dominator(&self, node: u32) -> Option<u32> {
        match self.number[node as usize] {
            NONE | 0 => None,
            number => Some(self.node[self.idom[number as usize] as usize]),
        }
    }
}
