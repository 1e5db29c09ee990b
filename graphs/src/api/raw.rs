//! The caller's pointers.

use vgpu_protocol::cuda::{CUgraph, CUgraphEdgeData, CUgraphNode, CUresult};

use crate::node::Edge;
use crate::Result;

/// Longest list that a caller may pass.
const MOST: usize = 1 << 24;

/// Reads an input.
///
/// # Safety
/// `pointer` is null or valid for a read.
pub unsafe fn get<T: std::marker::Copy>(pointer: *const T) -> Result<T> {
    match pointer.is_null() {
        true => Err(CUresult::INVALID_VALUE),
        // SAFETY: not null, and the caller vouches for it.
        false => Ok(unsafe { pointer.read_unaligned() }),
    }
}

/// An error unless there is a place for an output.
pub fn check<T>(pointer: *mut T) -> Result {
    match pointer.is_null() {
        true => Err(CUresult::INVALID_VALUE),
        false => Ok(()),
    }
}

/// Writes an output.
///
/// # Safety
/// `pointer` is null or valid for a write.
pub unsafe fn put<T>(pointer: *mut T, value: T) -> Result {
    check(pointer)?;
    // SAFETY: not null, and the caller vouches for it.
    unsafe { pointer.write_unaligned(value) };
    Ok(())
}

/// Writes an output that the caller may not want.
///
/// # Safety
/// As for [`put`].
pub unsafe fn put_optional<T>(pointer: *mut T, value: T) {
    if !pointer.is_null() {
        // SAFETY: not null, and the caller vouches for it.
        unsafe { pointer.write_unaligned(value) };
    }
}

/// A list of inputs.
///
/// # Safety
/// `pointer` is null or valid for reads of `count` values.
pub unsafe fn list<T: std::marker::Copy>(pointer: *const T, count: usize) -> Result<Vec<T>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    if pointer.is_null() || count > MOST {
        return Err(CUresult::INVALID_VALUE);
    }
    // SAFETY: not null, and the caller vouches for the count.
    Ok((0..count).map(|i| unsafe { pointer.add(i).read_unaligned() }).collect())
}

/// Dependencies, and what they mean if that is given.
///
/// # Safety
/// As for [`list`].
pub unsafe fn edges(nodes: *const CUgraphNode, data: *const CUgraphEdgeData, count: usize) -> Result<Vec<Edge>> {
    // SAFETY: as the caller says.
    let (nodes, data) = unsafe { (list(nodes, count)?, meanings(data, count)?) };
    Ok(nodes.into_iter().zip(data).map(|(node, data)| Edge { node: node as u64, data }).collect())
}

/// What edges mean; ordinary ones if it is not given.
///
/// # Safety
/// As for [`list`].
pub unsafe fn meanings(data: *const CUgraphEdgeData, count: usize) -> Result<Vec<CUgraphEdgeData>> {
    match data.is_null() {
        true if count > MOST => Err(CUresult::INVALID_VALUE),
        true => Ok(vec![CUgraphEdgeData::default(); count]),
        // SAFETY: as the caller says.
        false => unsafe { list(data, count) },
    }
}

/// Fills the caller's list as far as it goes, the rest of it with `empty`; the count becomes that of the
/// values, and without a list it is all that is asked for.
///
/// # Safety
/// `count` is null or valid; `out` is null or valid for writes of `count` values.
pub unsafe fn fill<T: std::marker::Copy>(out: *mut T, count: *mut usize, values: &[T], empty: T) -> Result {
    // SAFETY: as the caller says.
    unsafe {
        let room = get(count)?;
        if out.is_null() {
            return put(count, values.len());
        }
        let given = values.len().min(room);
        for (i, value) in values.iter().take(room).enumerate() {
            out.add(i).write_unaligned(*value);
        }
        for i in given..room {
            out.add(i).write_unaligned(empty);
        }
        put(count, given)
    }
}

/// Writes edges, with their meaning where that is wanted; where it is not, there may be none.
///
/// # Safety
/// As for [`fill`]; `data` is null or valid for as many writes.
pub unsafe fn fill_edges(
    out: *mut CUgraphNode,
    data: *mut CUgraphEdgeData,
    count: *mut usize,
    edges: &[Edge],
) -> Result {
    if out.is_null() && !data.is_null() {
        return Err(CUresult::INVALID_VALUE);
    }
    if !out.is_null() && data.is_null() {
        no_meaning(edges.iter().map(|edge| edge.data))?;
    }
    // SAFETY: as the caller says.
    unsafe {
        let room = get(count)?;
        fill(out, count, &edges.iter().map(|edge| node(edge.node)).collect::<Vec<_>>(), std::ptr::null_mut())?;
        if !data.is_null() {
            let mut room = room;
            let meanings: Vec<_> = edges.iter().map(|edge| edge.data).collect();
            fill(data, &mut room, &meanings, CUgraphEdgeData::default())?;
        }
    }
    Ok(())
}

/// An error if edges mean more than a caller can be told who asks for their ends only.
pub fn no_meaning(mut data: impl Iterator<Item = CUgraphEdgeData>) -> Result {
    match data.any(|data| data != CUgraphEdgeData::default()) {
        true => Err(CUresult::LOSSY_QUERY),
        false => Ok(()),
    }
}

/// A node's handle as the caller knows it.
pub fn node(handle: u64) -> CUgraphNode {
    handle as CUgraphNode
}

/// A graph's handle as the caller knows it.
pub fn graph(handle: u64) -> CUgraph {
    handle as CUgraph
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_lists_are_filled_as_far_as_they_go() {
        let mut out = [9u32; 3];
        let mut count = 3;
        // SAFETY: the list has room for the count.
        unsafe { fill(out.as_mut_ptr(), &mut count, &[1, 2], 0).unwrap() };
        assert_eq!((out, count), ([1, 2, 0], 2));
        let mut count = 1;
        // SAFETY: as above.
        unsafe { fill(out.as_mut_ptr(), &mut count, &[5, 6], 0).unwrap() };
        assert_eq!((out, count), ([5, 2, 0], 1));
        // SAFETY: there is no list.
        unsafe { fill(std::ptr::null_mut::<u32>(), &mut count, &[5, 6], 0).unwrap() };
        assert_eq!(count, 2);
    }
}
