//! Graphs: nodes and the edges between them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use vgpu_protocol::cuda::{CUgraphEdgeData, CUresult};
use vgpu_protocol::HandleKind;

use crate::node::{check_edge, Edge, Params};
use crate::object::Object;
use crate::registry::Registry;
use crate::Result;

/// A graph.
#[derive(Default)]
pub struct Graph {
    /// Unique number in the process.
    pub id: u32,
    /// Nodes in the order of their creation.
    pub nodes: Vec<u64>,
    /// The node that it belongs to: a child graph's, or a conditional one.
    pub owner: Option<u64>,
    /// Whether it was handed over to its owner rather than cloned for it.
    pub moved: bool,
    /// Clones of another graph's nodes, by those.
    pub clones: HashMap<u64, u64>,
    /// References to user objects, by their handles.
    pub objects: BTreeMap<u64, (Arc<Object>, u32)>,
    /// Executable graphs made from it.
    pub executables: u32,
    /// Whether a capture adds to it.
    pub capturing: bool,
    next_local_id: u32,
}

/// A node.
pub struct Node {
    /// Its graph.
    pub graph: u64,
    /// Unique number in the graph.
    pub local_id: u32,
    /// What it does.
    pub params: Params,
    /// What comes before it, in the order given.
    pub dependencies: Vec<Edge>,
    /// What comes after it.
    pub dependents: Vec<u64>,
}

/// A condition that kernels set and a conditional node looks at.
pub struct Condition {
    /// The graph that it belongs to, which no node owns.
    pub graph: u64,
    /// The node, of this graph or of a body in it.
    pub node: Option<u64>,
    /// Context of the node and of the kernels.
    pub context: u64,
}

/// Conditional nodes within each other.
const MAX_DEPTH: usize = 32;

/// All graphs and nodes.
pub struct Store {
    pub graphs: Registry<Graph>,
    pub nodes: Registry<Node>,
    /// Conditions by their handles.
    pub conditions: BTreeMap<u64, Condition>,
    next_id: u32,
}

impl Store {
    pub fn new() -> Self {
        Store {
            graphs: Registry::new(HandleKind::Graph),
            nodes: Registry::new(HandleKind::GraphNode),
            conditions: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// A new graph without nodes.
    pub fn create(&mut self) -> u64 {
        self.next_id += 1;
        self.graphs.insert(Graph { id: self.next_id, ..Graph::default() })
    }

    /// Adds a node. Graphs in `params` must be the node's own.
    pub fn add(&mut self, graph: u64, dependencies: &[Edge], params: Params) -> Result<u64> {
        self.graphs.get(graph)?;
        let mut seen = HashSet::new();
        for edge in dependencies {
            let before = self.nodes.get(edge.node)?;
            if before.graph != graph || !seen.insert(edge.node) {
                return Err(CUresult::INVALID_VALUE);
            }
            check_edge(&before.params, &params, edge.data)?;
        }
        self.check_place(graph, &params)?;
        let owned = params.graphs().to_vec();
        let condition = if let Params::Conditional(conditional) = &params { Some(conditional.condition) } else { None };
        let to = self.graphs.get_mut(graph)?;
        let local_id = to.next_local_id;
        to.next_local_id += 1;
        let node = Node { graph, local_id, params, dependencies: dependencies.to_vec(), dependents: Vec::new() };
        let handle = self.nodes.insert(node);
        self.graphs.get_mut(graph)?.nodes.push(handle);
        for edge in dependencies {
            self.nodes.get_mut(edge.node)?.dependents.push(handle);
        }
        for graph in owned {
            self.graphs.get_mut(graph)?.owner = Some(handle);
        }
        if let Some(condition) = condition.and_then(|condition| self.conditions.get_mut(&condition)) {
            condition.node = Some(handle);
        }
        Ok(handle)
    }

    /// Whether a node may be in a graph: bodies of conditional nodes take only some kinds, child graphs no
    /// conditional ones.
    fn check_place(&self, graph: u64, params: &Params) -> Result {
        let (mut graph, mut depth, mut in_child) = (graph, 0, false);
        while let Some(owner) = self.graphs.get(graph)?.owner {
            let owner = self.nodes.get(owner)?;
            match owner.params {
                Params::Conditional(_) => depth += 1,
                _ => in_child = true,
            }
            graph = owner.graph;
        }
        let is_conditional = matches!(params, Params::Conditional(_));
        let mut bad = is_conditional && (in_child || depth >= MAX_DEPTH);
        if depth > 0 {
            bad |= !params.can_be_conditional();
            for child in params.graphs() {
                bad |= self.any(*child, &|params| !params.can_be_conditional())?;
            }
        }
        if bad {
            return Err(CUresult::NOT_SUPPORTED);
        }
        Ok(())
    }

    /// The graph that no node owns in which a graph is, if only conditional nodes lie in between.
    pub fn root(&self, graph: u64) -> Result<u64> {
        let mut root = graph;
        while let Some(owner) = self.graphs.get(root)?.owner {
            let owner = self.nodes.get(owner)?;
            if !matches!(owner.params, Params::Conditional(_)) {
                return Err(CUresult::NOT_SUPPORTED);
            }
            root = owner.graph;
        }
        Ok(root)
    }

    /// Whether any node is such a one, also of graphs within.
    fn any(&self, graph: u64, is: &impl Fn(&Params) -> bool) -> Result<bool> {
        for node in &self.graphs.get(graph)?.nodes {
            let params = &self.nodes.get(*node)?.params;
            if is(params) {
                return Ok(true);
            }
            for graph in params.graphs() {
                if self.any(*graph, is)? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Whether any node, of graphs within too, takes or gives back memory.
    pub fn has_memory(&self, graph: u64) -> Result<bool> {
        self.any(graph, &Params::is_memory)
    }

    /// Whether any node is a conditional one.
    pub fn has_conditional(&self, graph: u64) -> Result<bool> {
        self.any(graph, &|params| matches!(params, Params::Conditional(_)))
    }

    /// Whether there can be only one of the graph: it can neither be cloned nor instantiated twice.
    pub fn is_unique(&self, graph: u64) -> Result<bool> {
        Ok(self.has_memory(graph)? || self.has_conditional(graph)?)
    }

    /// Conditions that belong to a graph.
    pub fn conditions_of(&self, graph: u64) -> impl Iterator<Item = &Condition> {
        self.conditions.values().filter(move |condition| condition.graph == graph)
    }

    /// Adds edges.
    pub fn connect(&mut self, graph: u64, edges: &[(u64, u64, CUgraphEdgeData)]) -> Result {
        self.graphs.get(graph)?;
        for (i, (from, to, data)) in edges.iter().enumerate() {
            let (before, after) = (self.nodes.get(*from)?, self.nodes.get(*to)?);
            let twice = edges[..i].iter().any(|(f, t, _)| (f, t) == (from, to));
            let there = after.dependencies.iter().any(|edge| edge.node == *from);
            if before.graph != graph || after.graph != graph || from == to || twice || there {
                return Err(CUresult::INVALID_VALUE);
            }
            check_edge(&before.params, &after.params, *data)?;
        }
        for (from, to, data) in edges {
            self.nodes.get_mut(*to)?.dependencies.push(Edge { node: *from, data: *data });
            self.nodes.get_mut(*from)?.dependents.push(*to);
        }
        Ok(())
    }

    /// Removes edges, which must be there as given.
    pub fn disconnect(&mut self, graph: u64, edges: &[(u64, u64, CUgraphEdgeData)]) -> Result {
        if self.has_memory(graph)? {
            return Err(CUresult::NOT_SUPPORTED);
        }
        for (from, to, data) in edges {
            let after = self.nodes.get(*to)?;
            let there = after.dependencies.contains(&Edge { node: *from, data: *data });
            if after.graph != graph || !there {
                return Err(CUresult::INVALID_VALUE);
            }
        }
        for (from, to, _) in edges {
            self.nodes.get_mut(*to)?.dependencies.retain(|edge| edge.node != *from);
            self.nodes.get_mut(*from)?.dependents.retain(|node| node != to);
        }
        Ok(())
    }

    /// Removes a node, its edges and the graphs that it owns.
    pub fn destroy_node(&mut self, node: u64) -> Result {
        let graph = self.nodes.get(node)?.graph;
        if self.graphs.get(graph)?.capturing {
            return Err(CUresult::ILLEGAL_STATE);
        }
        if self.has_memory(graph)? {
            return Err(CUresult::NOT_SUPPORTED);
        }
        let gone = self.nodes.remove(node)?;
        for edge in &gone.dependencies {
            self.nodes.get_mut(edge.node)?.dependents.retain(|dependent| *dependent != node);
        }
        for dependent in &gone.dependents {
            self.nodes.get_mut(*dependent)?.dependencies.retain(|edge| edge.node != node);
        }
        self.graphs.get_mut(graph)?.nodes.retain(|other| *other != node);
        self.remove_owned(&gone.params)
    }

    /// Removes a graph with its nodes, the graphs that these own, and its conditions.
    pub fn remove(&mut self, graph: u64) -> Result {
        for node in self.graphs.remove(graph)?.nodes {
            let params = self.nodes.remove(node)?.params;
            self.remove_owned(&params)?;
        }
        self.conditions.retain(|_, condition| condition.graph != graph);
        Ok(())
    }

    /// Removes what a node that is gone owned.
    fn remove_owned(&mut self, params: &Params) -> Result {
        if let Params::Conditional(conditional) = params {
            if let Some(condition) = self.conditions.get_mut(&conditional.condition) {
                condition.node = None;
            }
        }
        params.graphs().iter().try_for_each(|graph| self.remove(*graph))
    }

    /// References to user objects that a graph and the graphs within hold.
    pub fn objects(&self, graph: u64) -> Result<Vec<Arc<Object>>> {
        let Graph { nodes, objects, .. } = self.graphs.get(graph)?;
        let mut found: Vec<Arc<Object>> = objects.values().map(|(object, _)| object.clone()).collect();
        for node in nodes {
            for graph in self.nodes.get(*node)?.params.graphs() {
                found.extend(self.objects(*graph)?);
            }
        }
        Ok(found)
    }

    /// A copy of a graph and its child graphs.
    pub fn clone_graph(&mut self, graph: u64) -> Result<u64> {
        let nodes = self.graphs.get(graph)?.nodes.clone();
        let copy = self.create();
        let mut clones = HashMap::new();
        for node in &nodes {
            let params = match self.nodes.get(*node)?.params.clone() {
                Params::Child(child) => Params::Child(self.clone_graph(child)?),
                Params::Conditional(_) => return Err(CUresult::NOT_SUPPORTED),
                params => params,
            };
            clones.insert(*node, self.add(copy, &[], params)?);
        }
        for node in &nodes {
            let Node { dependencies, dependents, .. } = self.nodes.get(*node)?;
            let translate = |node: &u64| clones.get(node).copied().ok_or(CUresult::INVALID_VALUE);
            let dependents = dependents.iter().map(translate).collect::<Result<Vec<_>>>()?;
            let edge = |edge: &Edge| Ok(Edge { node: translate(&edge.node)?, data: edge.data });
            let dependencies = dependencies.iter().map(edge).collect::<Result<Vec<_>>>()?;
            let clone = self.nodes.get_mut(translate(node)?)?;
            (clone.dependencies, clone.dependents) = (dependencies, dependents);
        }
        let objects = self.graphs.get(graph)?.objects.clone();
        let made = self.graphs.get_mut(copy)?;
        (made.clones, made.objects) = (clones, objects);
        Ok(copy)
    }

    /// Nodes in an order in which every node comes after what it depends on, as close to that of their
    /// creation as can be; an error names a node that depends on itself.
    pub fn sorted(&self, graph: u64) -> std::result::Result<Vec<u64>, u64> {
        let nodes = self.graphs.get(graph).map(|graph| graph.nodes.as_slice()).unwrap_or_default();
        let place: HashMap<u64, usize> = nodes.iter().enumerate().map(|(i, node)| (*node, i)).collect();
        let node = |i: usize| self.nodes.get(nodes[i]).ok();
        let mut missing: Vec<usize> = (0..nodes.len()).map(|i| node(i).map_or(0, |n| n.dependencies.len())).collect();
        let mut ready: std::collections::BTreeSet<usize> = (0..nodes.len()).filter(|i| missing[*i] == 0).collect();
        let mut order = Vec::with_capacity(nodes.len());
        while let Some(next) = ready.pop_first() {
            order.push(nodes[next]);
            for dependent in node(next).map(|n| n.dependents.as_slice()).unwrap_or_default() {
                let Some(i) = place.get(dependent) else { continue };
                missing[*i] -= 1;
                if missing[*i] == 0 {
                    ready.insert(*i);
                }
            }
        }
        match missing.iter().position(|count| *count > 0) {
            Some(stuck) => Err(nodes[stuck]),
            None => Ok(order),
        }
    }

    /// The nodes themselves and everything that comes before them.
    pub fn ancestors(&self, nodes: impl IntoIterator<Item = u64>) -> HashSet<u64> {
        let mut found = HashSet::new();
        let mut open: Vec<u64> = nodes.into_iter().collect();
        while let Some(node) = open.pop() {
            if found.insert(node) {
                let before = self.nodes.get(node).map(|n| n.dependencies.as_slice()).unwrap_or_default();
                open.extend(before.iter().map(|edge| edge.node));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diamond(store: &mut Store) -> (u64, [u64; 4]) {
        let graph = store.create();
        let a = store.add(graph, &[], Params::Empty).unwrap();
        let b = store.add(graph, &[Edge::after(a)], Params::Empty).unwrap();
        let c = store.add(graph, &[Edge::after(a)], Params::Empty).unwrap();
        let d = store.add(graph, &[Edge::after(b), Edge::after(c)], Params::Empty).unwrap();
        (graph, [a, b, c, d])
    }

    #[test]
    fn test_cycles_are_found_and_names_one_of_their_nodes() {
        let mut store = Store::new();
        let (graph, [a, b, _, d]) = diamond(&mut store);
        assert_eq!(store.sorted(graph).unwrap().len(), 4);
        store.connect(graph, &[(d, a, CUgraphEdgeData::default())]).unwrap();
        assert!(store.sorted(graph).is_err());
        store.disconnect(graph, &[(d, a, CUgraphEdgeData::default())]).unwrap();
        assert_eq!(store.sorted(graph).unwrap()[0], a);
        assert_eq!(store.connect(graph, &[(a, b, CUgraphEdgeData::default())]), Err(CUresult::INVALID_VALUE));
    }

    #[test]
    fn test_a_clone_has_its_own_nodes_and_edges() {
        let mut store = Store::new();
        let (graph, [a, b, c, d]) = diamond(&mut store);
        let copy = store.clone_graph(graph).unwrap();
        store.destroy_node(b).unwrap();
        assert_eq!(store.graphs.get(graph).unwrap().nodes, [a, c, d]);
        assert_eq!(store.nodes.get(d).unwrap().dependencies, [Edge::after(c)]);
        let clones = &store.graphs.get(copy).unwrap().clones;
        assert_eq!(store.nodes.get(clones[&d]).unwrap().dependencies.len(), 2);
        store.remove(graph).unwrap();
        assert!(store.nodes.get(a).is_err() && store.nodes.get(store.graphs.get(copy).unwrap().nodes[0]).is_ok());
    }

    #[test]
    fn test_dependencies_must_be_of_the_graph_and_differ() {
        let mut store = Store::new();
        let (graph, [a, ..]) = diamond(&mut store);
        let other = store.create();
        assert!(store.add(other, &[Edge::after(a)], Params::Empty).is_err());
        assert!(store.add(graph, &[Edge::after(a), Edge::after(a)], Params::Empty).is_err());
        assert_eq!(store.ancestors([a]).len(), 1);
    }
}
