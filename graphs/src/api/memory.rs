//! Nodes that allocate and free memory.

use std::ffi::c_void;

use vgpu_protocol::cuda::{
    CUgraph, CUgraphNode, CUmemLocation, CUmemPoolProps, CUresult, ALLOCATION_PINNED, CUDA_MEM_ALLOC_NODE_PARAMS,
    LOCATION_DEVICE,
};

use super::raw::{check, edges, get, node, put};
use crate::memory::Attribute;
use crate::node::{Allocation, Edge, Params};
use crate::{Backend, Graphs, Result};

fn check_pool<B: Backend>(backend: &B, pool: &CUmemPoolProps) -> Result {
    if pool.allocType != ALLOCATION_PINNED || pool.handleTypes != 0 {
        return Err(CUresult::INVALID_VALUE);
    }
    if pool.location.kind != LOCATION_DEVICE {
        return Err(CUresult::NOT_SUPPORTED);
    }
    backend.check_device(pool.location.id)?;
    backend.check_allocation(pool.location.id)
}

impl<B: Backend> Graphs<B> {
    pub unsafe fn cuGraphAddMemAllocNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        nodeParams: *mut CUDA_MEM_ALLOC_NODE_PARAMS,
    ) -> Result {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let before = edges(dependencies, std::ptr::null(), numDependencies)?;
            self.add_allocation(phGraphNode, hGraph as u64, &before, nodeParams)
        }
    }

    /// # Safety
    /// Pointers are null or valid.
    pub(super) unsafe fn add_allocation(
        &self,
        out: *mut CUgraphNode,
        graph: u64,
        before: &[Edge],
        params: *mut CUDA_MEM_ALLOC_NODE_PARAMS,
    ) -> Result {
        check(out)?;
        // SAFETY: as the caller says.
        let mut given = unsafe { get(params)? };
        check_pool(&self.backend, &given.poolProps)?;
        if given.bytesize == 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        let known = self.state().store.graphs.get(graph).map(|graph| graph.moved)?;
        if known {
            return Err(CUresult::NOT_SUPPORTED);
        }
        let (device, size) = (given.poolProps.location.id, given.bytesize as u64);
        let address = self.backend.allocate(size)?;
        let mut state = self.state();
        let added = state.store.add(graph, before, Params::Allocate(Allocation { device, size, address }));
        if added.is_ok() {
            state.memory.add(address, size);
        }
        self.note(&state);
        drop(state);
        let added = added.inspect_err(|_| self.backend.release(address))?;
        given.dptr = address;
        // SAFETY: as the caller says.
        unsafe {
            put(params, given)?;
            put(out, node(added))
        }
    }

    pub unsafe fn cuGraphMemAllocNodeGetParams(
        &self,
        hNode: CUgraphNode,
        params_out: *mut CUDA_MEM_ALLOC_NODE_PARAMS,
    ) -> Result {
        match self.state().store.nodes.get(hNode as u64)?.params {
            // SAFETY: the caller vouches for the pointer.
            Params::Allocate(allocation) => unsafe { put(params_out, describe(allocation)) },
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    pub unsafe fn cuGraphAddMemFreeNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        dptr: u64,
    ) -> Result {
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let before = edges(dependencies, std::ptr::null(), numDependencies)?;
            self.add_free(phGraphNode, hGraph as u64, &before, dptr)
        }
    }

    /// # Safety
    /// `out` is null or valid for a write.
    pub(super) unsafe fn add_free(&self, out: *mut CUgraphNode, graph: u64, before: &[Edge], address: u64) -> Result {
        check(out)?;
        let mut state = self.state();
        if state.store.graphs.get(graph)?.moved {
            return Err(CUresult::NOT_SUPPORTED);
        }
        state.memory.add_free_node(address)?;
        let added = state.store.add(graph, before, Params::Free(address));
        if added.is_err() {
            state.memory.remove_free_node(address);
        }
        // SAFETY: as the caller says.
        unsafe { put(out, node(added?)) }
    }

    pub unsafe fn cuGraphMemFreeNodeGetParams(&self, hNode: CUgraphNode, dptr_out: *mut u64) -> Result {
        match self.state().store.nodes.get(hNode as u64)?.params {
            // SAFETY: the caller vouches for the pointer.
            Params::Free(address) => unsafe { put(dptr_out, address) },
            _ => Err(CUresult::INVALID_VALUE),
        }
    }

    /// Memory of graphs that exist is kept, and that of graphs that are gone was given back.
    pub unsafe fn cuDeviceGraphMemTrim(&self, device: i32) -> Result {
        self.backend.check_device(device)
    }

    pub unsafe fn cuDeviceGetGraphMemAttribute(&self, device: i32, attr: i32, value: *mut c_void) -> Result {
        self.backend.check_device(device)?;
        let amount = self.state().memory.get(attribute(attr)?);
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(value.cast::<u64>(), amount) }
    }

    pub unsafe fn cuDeviceSetGraphMemAttribute(&self, device: i32, attr: i32, value: *mut c_void) -> Result {
        self.backend.check_device(device)?;
        // SAFETY: the caller vouches for the pointer.
        if unsafe { get(value.cast_const().cast::<u64>())? } != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        self.state().memory.reset(attribute(attr)?)
    }
}

/// An allocation as it was asked for.
pub(super) fn describe(allocation: Allocation) -> CUDA_MEM_ALLOC_NODE_PARAMS {
    CUDA_MEM_ALLOC_NODE_PARAMS {
        poolProps: CUmemPoolProps {
            allocType: ALLOCATION_PINNED,
            handleTypes: 0,
            location: CUmemLocation { kind: LOCATION_DEVICE, id: allocation.device },
            win32SecurityAttributes: std::ptr::null_mut(),
            maxSize: 0,
            usage: 0,
            gpuDirectRDMACapable: 0,
            reserved: [0; 53],
        },
        accessDescs: std::ptr::null(),
        accessDescCount: 0,
        bytesize: allocation.size as usize,
        dptr: allocation.address,
    }
}

fn attribute(number: i32) -> Result<Attribute> {
    match number {
        0 => Ok(Attribute::Used),
        1 => Ok(Attribute::UsedHigh),
        2 => Ok(Attribute::Reserved),
        3 => Ok(Attribute::ReservedHigh),
        _ => Err(CUresult::INVALID_VALUE),
    }
}
