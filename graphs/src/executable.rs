//! Executable graphs: what was in the graph, as a list of operations in order.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use vgpu_protocol::cuda::{CUgraphEdgeData, CUresult};

use crate::graph::Store;
use crate::node::{Edge, Params};
use crate::object::Object;
use crate::{Backend, Result};

/// One operation of an executable graph, as whoever runs it needs it: child graphs are replaced by what
/// is in them, and memory nodes, whose memory stays where it is, by nothing. What is in the bodies of a
/// conditional node comes right behind it, body by body.
#[derive(Clone)]
pub struct Operation {
    /// What it does.
    pub params: Params,
    /// Positions of the operations before it in the list, all of them smaller than its own.
    pub dependencies: Vec<(usize, CUgraphEdgeData)>,
    /// Positions of the operations in each body of a conditional node.
    pub bodies: Vec<Range<usize>>,
}

/// A graph as it was when it was instantiated or last updated.
pub struct Snapshot {
    /// Nodes in the order of their creation.
    pub nodes: Vec<Snapped>,
}

/// A node of a snapshot.
pub struct Snapped {
    /// The node of the graph that it stands for.
    pub node: u64,
    /// What it does.
    pub params: Params,
    /// Positions in the snapshot of the nodes before it.
    pub dependencies: Vec<(usize, CUgraphEdgeData)>,
    /// What is in the graphs that it owns.
    pub graphs: Vec<Snapshot>,
    /// Position of its operation.
    pub operation: usize,
    /// Whether it is switched on.
    pub enabled: bool,
}

impl Snapshot {
    /// The node that stands for `node`, in graphs within too.
    pub fn find(&mut self, node: u64) -> Option<&mut Snapped> {
        // Two passes, because a borrow that is returned lasts to the end.
        if let Some(i) = self.nodes.iter().position(|snapped| snapped.node == node) {
            return self.nodes.get_mut(i);
        }
        self.nodes.iter_mut().flat_map(|snapped| &mut snapped.graphs).find_map(|graph| graph.find(node))
    }

    /// Gives the nodes of operations, in graphs within too, their new parameters.
    pub fn apply(&mut self, changes: &mut HashMap<usize, Params>) {
        for snapped in &mut self.nodes {
            if let Some(params) = changes.remove(&snapped.operation) {
                snapped.params = params;
            }
            snapped.graphs.iter_mut().for_each(|graph| graph.apply(changes));
        }
    }

    /// Operations that are switched off, in graphs within too.
    pub fn disabled(&self) -> Vec<usize> {
        let off = self.nodes.iter().filter(|snapped| !snapped.enabled).map(|snapped| snapped.operation);
        off.chain(self.nodes.iter().flat_map(|snapped| &snapped.graphs).flat_map(Snapshot::disabled)).collect()
    }

    /// Nodes that nothing comes after, in the order of their creation.
    pub fn ends(&self) -> Vec<usize> {
        let mut last = vec![true; self.nodes.len()];
        for (before, _) in self.nodes.iter().flat_map(|node| &node.dependencies) {
            last[*before] = false;
        }
        (0..self.nodes.len()).filter(|i| last[*i]).collect()
    }
}

/// The list of operations, and what it was made from.
pub struct Plan {
    /// What was in the graph.
    pub snapshot: Snapshot,
    /// What is to be run.
    pub operations: Vec<Operation>,
    /// Memory that a launch allocates.
    pub allocated: Vec<u64>,
    /// Memory that a launch frees.
    pub freed: Vec<u64>,
}

/// Why there is no plan.
pub struct Unplanned {
    /// The error.
    pub error: CUresult,
    /// A node that depends on itself.
    pub node: Option<u64>,
    /// Whether a condition belongs to no node.
    pub unused_condition: bool,
}

impl From<CUresult> for Unplanned {
    fn from(error: CUresult) -> Self {
        Unplanned { error, node: None, unused_condition: false }
    }
}

/// Plans a graph.
pub fn plan(store: &Store, graph: u64) -> std::result::Result<Plan, Unplanned> {
    let mut plan = Plan {
        snapshot: Snapshot { nodes: Vec::new() },
        operations: Vec::new(),
        allocated: Vec::new(),
        freed: Vec::new(),
    };
    if store.conditions_of(graph).any(|condition| condition.node.is_none()) {
        return Err(Unplanned { unused_condition: true, ..CUresult::INVALID_VALUE.into() });
    }
    plan.snapshot = plan.absorb(store, graph, None)?;
    Ok(plan)
}

impl Plan {
    fn push(&mut self, params: Params, dependencies: Vec<(usize, CUgraphEdgeData)>) -> usize {
        self.operations.push(Operation { params, dependencies, bodies: Vec::new() });
        self.operations.len() - 1
    }

    /// Adds the nodes of a graph, the first of them behind `entry`.
    fn absorb(&mut self, store: &Store, graph: u64, entry: Option<usize>) -> std::result::Result<Snapshot, Unplanned> {
        let nodes = &store.graphs.get(graph)?.nodes;
        let place: HashMap<u64, usize> = nodes.iter().enumerate().map(|(i, node)| (*node, i)).collect();
        let order =
            store.sorted(graph).map_err(|node| Unplanned { node: Some(node), ..CUresult::INVALID_VALUE.into() })?;
        let mut snapped: Vec<Option<Snapped>> = nodes.iter().map(|_| None).collect();
        let at = |edge: &Edge| place.get(&edge.node).map(|i| (*i, edge.data)).ok_or(CUresult::INVALID_VALUE);
        for handle in order {
            let node = store.nodes.get(handle)?;
            let dependencies = node.dependencies.iter().map(at).collect::<Result<Vec<_>>>()?;
            let before = |(i, data): &(usize, CUgraphEdgeData)| snapped[*i].as_ref().map(|s| (s.operation, *data));
            let mut after: Vec<_> = dependencies.iter().filter_map(before).collect();
            if after.is_empty() {
                after.extend(entry.map(|entry| (entry, CUgraphEdgeData::default())));
            }
            let (operation, graphs) = self.absorb_node(store, &node.params, after)?;
            let params = node.params.clone();
            snapped[place[&handle]] =
                Some(Snapped { node: handle, params, dependencies, graphs, operation, enabled: true });
        }
        Ok(Snapshot { nodes: snapped.into_iter().flatten().collect() })
    }

    /// Adds a node; the position of the operation that its dependents come after.
    fn absorb_node(
        &mut self,
        store: &Store,
        params: &Params,
        after: Vec<(usize, CUgraphEdgeData)>,
    ) -> std::result::Result<(usize, Vec<Snapshot>), Unplanned> {
        match params {
            Params::Child(child) => {
                let entry = self.push(Params::Empty, after);
                let child = self.absorb(store, *child, Some(entry))?;
                let ordinary = CUgraphEdgeData::default();
                let mut ends: Vec<_> = child.ends().iter().map(|i| (child.nodes[*i].operation, ordinary)).collect();
                if ends.is_empty() {
                    ends.push((entry, ordinary));
                }
                Ok((self.push(Params::Empty, ends), vec![child]))
            }
            Params::Conditional(conditional) => {
                let operation = self.push(params.clone(), after);
                let mut bodies = Vec::new();
                for body in &*conditional.bodies {
                    let start = self.operations.len();
                    bodies.push(self.absorb(store, *body, None)?);
                    let range = start..self.operations.len();
                    self.operations[operation].bodies.push(range);
                }
                Ok((operation, bodies))
            }
            Params::Allocate(allocation) => {
                self.allocated.push(allocation.address);
                Ok((self.push(Params::Empty, after), Vec::new()))
            }
            Params::Free(address) => {
                self.freed.push(*address);
                Ok((self.push(Params::Empty, after), Vec::new()))
            }
            params => Ok((self.push(params.clone(), after), Vec::new())),
        }
    }
}

/// What launches use. Lives until the last launch is done.
pub struct Held<B: Backend> {
    /// What the backend made of the operations.
    pub executable: B::Executable,
    /// User objects that must outlive the launches.
    pub objects: Vec<Arc<Object>>,
}

/// An executable graph.
pub struct Executable<B: Backend> {
    /// Unique number in the process.
    pub id: u32,
    /// The graph that it was made from, which may be gone.
    pub graph: u64,
    /// Flags of the instantiation.
    pub flags: u64,
    /// What is in it.
    pub snapshot: Snapshot,
    /// What launches use.
    pub held: Arc<Held<B>>,
    /// What `held` was made from, if the graph has conditions: another graph's conditions need it made anew.
    pub operations: Vec<Operation>,
    /// Streams in which something may still use `held`.
    pub streams: Vec<u64>,
    /// Memory that a launch allocates.
    pub allocated: Vec<u64>,
    /// Memory that a launch frees.
    pub freed: Vec<u64>,
}

impl<B: Backend> Executable<B> {
    /// Operations have other parameters now.
    pub fn apply(&mut self, changes: Vec<(usize, Params)>) {
        for (i, params) in &changes {
            if let Some(operation) = self.operations.get_mut(*i) {
                operation.params = params.clone();
            }
        }
        self.snapshot.apply(&mut changes.into_iter().collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_child_graphs_are_replaced_by_what_is_in_them() {
        let mut store = Store::new();
        let child = store.create();
        let inner = store.add(child, &[], Params::EventRecord(5)).unwrap();
        let graph = store.create();
        let first = store.add(graph, &[], Params::EventRecord(1)).unwrap();
        let middle = store.add(graph, &[Edge::after(first)], Params::Child(child)).unwrap();
        store.add(graph, &[Edge::after(middle)], Params::EventRecord(2)).unwrap();
        let Ok(mut plan) = plan(&store, graph) else { panic!("no plan") };
        let shape: Vec<(i32, Vec<usize>)> = plan
            .operations
            .iter()
            .map(|o| (o.params.kind(), o.dependencies.iter().map(|(i, _)| *i).collect()))
            .collect();
        assert_eq!(shape, [(7, vec![]), (5, vec![0]), (7, vec![1]), (5, vec![2]), (7, vec![3])]);
        assert_eq!(plan.snapshot.find(inner).map(|s| s.operation), Some(2));
    }

    #[test]
    fn test_a_cycle_names_its_node() {
        let mut store = Store::new();
        let graph = store.create();
        let a = store.add(graph, &[], Params::Empty).unwrap();
        let b = store.add(graph, &[Edge::after(a)], Params::Empty).unwrap();
        store.connect(graph, &[(b, a, CUgraphEdgeData::default())]).unwrap();
        assert!(plan(&store, graph).is_err_and(|error| error.node == Some(a)));
    }
}
