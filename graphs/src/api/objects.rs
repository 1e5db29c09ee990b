//! User objects.

use std::ffi::c_void;

use vgpu_protocol::cuda::{CUgraph, CUhostFn, CUresult, CUuserObject};

use super::raw::{check, put};
use crate::object::{Named, Object};
use crate::{Backend, Graphs, Result};

/// `CU_USER_OBJECT_NO_DESTRUCTOR_SYNC`, which must be given.
const NO_DESTRUCTOR_SYNC: u32 = 1;
/// `CU_GRAPH_USER_OBJECT_MOVE`.
const MOVE: u32 = 1;

fn check_count(count: u32) -> Result {
    match i32::try_from(count) {
        Ok(1..) => Ok(()),
        _ => Err(CUresult::INVALID_VALUE),
    }
}

impl<B: Backend> Graphs<B> {
    pub unsafe fn cuUserObjectCreate(
        &self,
        object_out: *mut CUuserObject,
        ptr: *mut c_void,
        destroy: CUhostFn,
        initialRefcount: u32,
        flags: u32,
    ) -> Result {
        check(object_out)?;
        check_count(initialRefcount)?;
        if flags != NO_DESTRUCTOR_SYNC {
            return Err(CUresult::INVALID_VALUE);
        }
        let object = Object::new(destroy, ptr.expose_provenance())?;
        let handle = self.state().objects.insert(Named::new(object, initialRefcount));
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(object_out, handle as CUuserObject) }
    }

    pub unsafe fn cuUserObjectRetain(&self, object: CUuserObject, count: u32) -> Result {
        check_count(count)?;
        self.state().objects.get_mut(object as u64)?.retain(count)
    }

    pub unsafe fn cuUserObjectRelease(&self, object: CUuserObject, count: u32) -> Result {
        check_count(count)?;
        let mut state = self.state();
        let named = state.objects.get_mut(object as u64)?;
        named.release(count)?;
        if named.object().is_err() {
            state.objects.remove(object as u64)?;
        }
        Ok(())
    }

    pub unsafe fn cuGraphRetainUserObject(
        &self,
        graph: CUgraph,
        object: CUuserObject,
        count: u32,
        flags: u32,
    ) -> Result {
        check_count(count)?;
        if flags & !MOVE != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let mut state = self.state();
        state.store.graphs.get(graph as u64)?;
        let named = state.objects.get_mut(object as u64)?;
        let kept = named.object()?;
        if flags & MOVE != 0 {
            named.release(count)?;
        }
        let held = &mut state.store.graphs.get_mut(graph as u64)?.objects;
        let references = &mut held.entry(object as u64).or_insert((kept, 0)).1;
        *references = references.checked_add(count).ok_or(CUresult::INVALID_VALUE)?;
        Ok(())
    }

    pub unsafe fn cuGraphReleaseUserObject(&self, graph: CUgraph, object: CUuserObject, count: u32) -> Result {
        check_count(count)?;
        let mut state = self.state();
        let held = &mut state.store.graphs.get_mut(graph as u64)?.objects;
        let references = &mut held.get_mut(&(object as u64)).ok_or(CUresult::INVALID_VALUE)?.1;
        *references = references.checked_sub(count).ok_or(CUresult::INVALID_VALUE)?;
        if *references == 0 {
            held.remove(&(object as u64));
        }
        Ok(())
    }
}
