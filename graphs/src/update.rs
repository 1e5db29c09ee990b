//! Updating an executable graph with another graph of the same shape (`cuGraphExecUpdate`).

use std::collections::HashMap;

use vgpu_protocol::cuda::{CUresult, MEMORYTYPE_UNIFIED};

use crate::executable::{Snapped, Snapshot};
use crate::graph::Store;
use crate::node::{Copy, Fill, Kernel, Params};

/// `CUgraphExecUpdateResult`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Updated.
    Success = 0,
    /// An invalid value.
    Error = 1,
    /// Other nodes or edges.
    Topology = 2,
    /// A node does something else.
    Kind = 3,
    /// Parameters that cannot change.
    Parameters = 5,
    /// Something that cannot be updated.
    Unsupported = 6,
    /// A function of another context.
    Function = 7,
    /// Attributes that cannot change.
    Attributes = 8,
}

/// Why an update is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The reason.
    pub reason: Reason,
    /// The node of the new graph with which it has to do; 0 for none.
    pub node: u64,
    /// Where the edge that does not match comes from; 0 for none.
    pub from: u64,
}

impl Mismatch {
    fn new(reason: Reason, node: u64) -> Self {
        Mismatch { reason, node, from: 0 }
    }
}

impl From<CUresult> for Mismatch {
    fn from(error: CUresult) -> Self {
        let reason = if error == CUresult::NOT_SUPPORTED { Reason::Unsupported } else { Reason::Error };
        Mismatch::new(reason, 0)
    }
}

/// A change to one node: its position in the list of operations, and its new parameters.
pub type Change = (usize, Params);

/// What has to change so that the snapshot is like the graph. Nodes are paired from the last ones
/// backwards, in the order of the edges.
pub fn compare(snapshot: &Snapshot, store: &Store, graph: u64) -> Result<Vec<Change>, Mismatch> {
    let nodes = &store.graphs.get(graph)?.nodes;
    if nodes.len() != snapshot.nodes.len() {
        return Err(Mismatch::new(Reason::Topology, 0));
    }
    let is_last = |node: &&u64| store.nodes.get(**node).is_ok_and(|node| node.dependents.is_empty());
    let (old, new): (Vec<usize>, Vec<u64>) = (snapshot.ends(), nodes.iter().filter(is_last).copied().collect());
    if old.len() != new.len() {
        return Err(Mismatch::new(Reason::Topology, new.last().copied().unwrap_or(0)));
    }
    let mut pairs = Pairs { old: HashMap::new(), new: HashMap::new(), open: Vec::new() };
    for (old, new) in old.into_iter().zip(new) {
        pairs.join(old, new);
    }
    let mut changes = Vec::new();
    while let Some((old, new)) = pairs.open.pop() {
        let (before, after) = (&snapshot.nodes[old], store.nodes.get(new)?);
        if before.params.kind() != after.params.kind() {
            return Err(Mismatch::new(Reason::Kind, new));
        }
        if before.dependencies.len() != after.dependencies.len() {
            return Err(Mismatch::new(Reason::Topology, new));
        }
        for ((old, data), edge) in before.dependencies.iter().zip(&after.dependencies) {
            if *data != edge.data || !pairs.join(*old, edge.node) {
                return Err(Mismatch { reason: Reason::Topology, node: new, from: edge.node });
            }
        }
        check(before, &after.params, store, &mut changes).map_err(|mismatch| {
            if mismatch.node == 0 {
                Mismatch { node: new, ..mismatch }
            } else {
                mismatch
            }
        })?;
    }
    Ok(changes)
}

struct Pairs {
    old: HashMap<usize, u64>,
    new: HashMap<u64, usize>,
    open: Vec<(usize, u64)>,
}

impl Pairs {
    /// Pairs two nodes, unless one of them has another partner.
    fn join(&mut self, old: usize, new: u64) -> bool {
        match (self.old.get(&old), self.new.get(&new)) {
            (None, None) => {
                self.old.insert(old, new);
                self.new.insert(new, old);
                self.open.push((old, new));
                true
            }
            (known, _) => known == Some(&new),
        }
    }
}

fn check(before: &Snapped, after: &Params, store: &Store, changes: &mut Vec<Change>) -> Result<(), Mismatch> {
    let shape = |params: &Params| match params {
        Params::Conditional(c) => Some((c.branch, c.bodies.len(), c.context)),
        _ => None,
    };
    if shape(&before.params) != shape(after) {
        return Err(Mismatch::new(Reason::Parameters, 0));
    }
    for (graph, after) in before.graphs.iter().zip(after.graphs()) {
        changes.extend(compare(graph, store, *after)?);
    }
    if let Some(reason) = forbidden(&before.params, after) {
        return Err(Mismatch::new(reason, 0));
    }
    if !is_same(&before.params, after) {
        changes.push((before.operation, after.clone()));
    }
    Ok(())
}

/// Why a node of an executable graph cannot get these parameters.
pub fn forbidden(before: &Params, after: &Params) -> Option<Reason> {
    match (before, after) {
        (Params::Kernel(before), Params::Kernel(after)) => {
            if before.context != after.context {
                return Some(Reason::Function);
            }
            let cooperative = before.attributes.is_cooperative() != after.attributes.is_cooperative();
            cooperative.then_some(Reason::Attributes)
        }
        (Params::Copy(before), Params::Copy(after)) => {
            let (b, a) = (&before.params, &after.params);
            // Which kind of memory a unified address is can differ from copy to copy.
            let same = |before: u32, after: u32| before == after || before == MEMORYTYPE_UNIFIED;
            let kinds = same(b.srcMemoryType, a.srcMemoryType) && same(b.dstMemoryType, a.dstMemoryType);
            let boxes = |copy: &Copy| copy.params.Height > 1 || copy.params.Depth > 1;
            let shape = |copy: &Copy| (copy.params.WidthInBytes, copy.params.Height, copy.params.Depth);
            let resized = (boxes(before) || boxes(after)) && shape(before) != shape(after);
            (!kinds || resized || before.context != after.context).then_some(Reason::Parameters)
        }
        (Params::Fill(before), Params::Fill(after)) => {
            let shape = |fill: &Fill| (fill.params.width, fill.params.height, fill.params.elementSize);
            let rows = before.params.height > 1 || after.params.height > 1;
            let resized = rows && shape(before) != shape(after);
            (resized || before.context != after.context).then_some(Reason::Parameters)
        }
        (Params::MemOps(before), Params::MemOps(after)) => {
            let same = before.context == after.context && before.operations.len() == after.operations.len();
            let mut pairs = before.operations.iter().zip(&*after.operations);
            (!same || !pairs.all(|(before, after)| before.can_become(after))).then_some(Reason::Parameters)
        }
        (before, after) if before.is_memory() && !is_same(before, after) => Some(Reason::Parameters),
        _ => None,
    }
}

fn is_same(before: &Params, after: &Params) -> bool {
    match (before, after) {
        (Params::Kernel(before), Params::Kernel(after)) => {
            let shape = |k: &Kernel| (k.function, k.grid, k.block, k.shared);
            shape(before) == shape(after)
                && before.params.bytes() == after.params.bytes()
                && before.attributes == after.attributes
        }
        (Params::Host(before), Params::Host(after)) => {
            before.function.map(|f| f as usize) == after.function.map(|f| f as usize) && before.data == after.data
        }
        (Params::EventWait(before), Params::EventWait(after)) => before == after,
        (Params::EventRecord(before), Params::EventRecord(after)) => before == after,
        (Params::Free(before), Params::Free(after)) => before == after,
        (Params::Allocate(before), Params::Allocate(after)) => before == after,
        (Params::MemOps(before), Params::MemOps(after)) => before.operations == after.operations,
        (Params::Conditional(before), Params::Conditional(after)) => before.condition == after.condition,
        (Params::Empty, Params::Empty) | (Params::Child(_), Params::Child(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executable::plan;
    use crate::node::Edge;

    /// A chain of event records, and a node beside it that comes after the first one.
    fn graph(store: &mut Store, events: [u64; 3], reversed: bool) -> (u64, Vec<u64>) {
        let graph = store.create();
        let first = store.add(graph, &[], Params::EventRecord(events[0])).unwrap();
        let second = store.add(graph, &[Edge::after(first)], Params::EventRecord(events[1])).unwrap();
        let mut both = [Edge::after(first), Edge::after(second)];
        if reversed {
            both.reverse();
        }
        let third = store.add(graph, &both, Params::EventWait(events[2])).unwrap();
        (graph, vec![first, second, third])
    }

    #[test]
    fn test_only_what_changed_is_told() {
        let mut store = Store::new();
        let (old, _) = graph(&mut store, [1, 2, 3], false);
        let Ok(plan) = plan(&store, old) else { panic!("no plan") };
        let (new, _) = graph(&mut store, [1, 7, 3], false);
        let changes = compare(&plan.snapshot, &store, new).unwrap();
        assert!(matches!(changes[..], [(1, Params::EventRecord(7))]));
        let (new, _) = graph(&mut store, [1, 2, 3], false);
        assert!(compare(&plan.snapshot, &store, new).unwrap().is_empty());
    }

    #[test]
    fn test_other_shapes_are_refused_with_their_node() {
        let mut store = Store::new();
        let (old, _) = graph(&mut store, [1, 2, 3], false);
        let Ok(plan) = plan(&store, old) else { panic!("no plan") };
        let mismatch = |store: &Store, new| compare(&plan.snapshot, store, new).err();
        let (new, nodes) = graph(&mut store, [1, 2, 3], true);
        let found = mismatch(&store, new).unwrap();
        assert_eq!((found.reason, nodes.contains(&found.node)), (Reason::Topology, true));
        let (new, nodes) = graph(&mut store, [1, 2, 3], false);
        store.nodes.get_mut(nodes[1]).unwrap().params = Params::Empty;
        assert_eq!(mismatch(&store, new), Some(Mismatch { reason: Reason::Kind, node: nodes[1], from: 0 }));
        let (new, _) = graph(&mut store, [1, 2, 3], false);
        let extra = store.add(new, &[], Params::Empty).unwrap();
        assert_eq!(mismatch(&store, new), Some(Mismatch { reason: Reason::Topology, node: 0, from: 0 }));
        store.destroy_node(extra).unwrap();
        assert_eq!(mismatch(&store, new), None);
    }
}
