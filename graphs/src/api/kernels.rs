//! Kernel nodes.

use std::ffi::c_void;

use vgpu_protocol::cuda::{
    CUDA_KERNEL_NODE_PARAMS_v1, CUgraph, CUgraphExec, CUgraphNode, CUresult, CUDA_KERNEL_NODE_PARAMS,
};

use super::raw::{check, edges, get, node, put};
use crate::node::{Attributes, Kernel, Params, NODE_ATTRIBUTES};
use crate::{Backend, Graphs, Result};

/// `CU_LAUNCH_ATTRIBUTE_MEM_SYNC_DOMAIN_MAP`, whose default is {0, 1}.
const MEM_SYNC_DOMAIN_MAP: u32 = 9;

fn widen(params: CUDA_KERNEL_NODE_PARAMS_v1) -> CUDA_KERNEL_NODE_PARAMS {
    CUDA_KERNEL_NODE_PARAMS {
        func: params.func,
        grid: params.grid,
        block: params.block,
        sharedMemBytes: params.sharedMemBytes,
        kernelParams: params.kernelParams,
        extra: params.extra,
        kern: std::ptr::null_mut(),
        ctx: std::ptr::null_mut(),
    }
}

/// A launch as it is told; the arrays belong to the node.
pub(super) fn describe(kernel: &Kernel) -> CUDA_KERNEL_NODE_PARAMS {
    let (function, kern) = if kernel.is_kernel { (0, kernel.function) } else { (kernel.function, 0) };
    CUDA_KERNEL_NODE_PARAMS {
        func: function as _,
        grid: kernel.grid,
        block: kernel.block,
        sharedMemBytes: kernel.shared,
        kernelParams: kernel.params.pointers(),
        extra: std::ptr::null_mut(),
        kern: kern as _,
        ctx: kernel.context as _,
    }
}

impl<B: Backend> Graphs<B> {
    /// Takes over a launch; everything that the pointers lead to is copied.
    ///
    /// # Safety
    /// The parameters are as the driver API defines them.
    pub(super) unsafe fn kernel(&self, params: &CUDA_KERNEL_NODE_PARAMS, attributes: Attributes) -> Result<Params> {
        let is_kernel = params.func.is_null();
        let function = if is_kernel { params.kern as u64 } else { params.func as u64 };
        if function == 0 || (!params.kernelParams.is_null() && !params.extra.is_null()) {
            return Err(CUresult::INVALID_VALUE);
        }
        let context = match params.ctx as u64 {
            given if given != 0 && is_kernel => given,
            _ => self.backend.context()?,
        };
        let kernel = Kernel {
            function,
            is_kernel,
            context,
            grid: params.grid,
            block: params.block,
            shared: params.sharedMemBytes,
            // SAFETY: as the caller says.
            params: unsafe { self.backend.pack(function, params.kernelParams, params.extra)? },
            attributes,
        };
        self.backend.check_kernel(&kernel)?;
        Ok(Params::Kernel(Box::new(kernel)))
    }

    pub unsafe fn cuGraphAddKernelNode(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        nodeParams: *const CUDA_KERNEL_NODE_PARAMS_v1,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe {
            let params = widen(get(nodeParams)?);
            self.cuGraphAddKernelNode_v2(phGraphNode, hGraph, dependencies, numDependencies, &params)
        }
    }

    pub unsafe fn cuGraphAddKernelNode_v2(
        &self,
        phGraphNode: *mut CUgraphNode,
        hGraph: CUgraph,
        dependencies: *const CUgraphNode,
        numDependencies: usize,
        nodeParams: *const CUDA_KERNEL_NODE_PARAMS,
    ) -> Result {
        check(phGraphNode)?;
        // SAFETY: the caller vouches for the pointers.
        unsafe {
            let before = edges(dependencies, std::ptr::null(), numDependencies)?;
            self.state().store.graphs.get(hGraph as u64)?;
            let params = self.kernel(&get(nodeParams)?, Attributes::default())?;
            put(phGraphNode, node(self.state().store.add(hGraph as u64, &before, params)?))
        }
    }

    pub unsafe fn cuGraphKernelNodeGetParams(
        &self,
        hNode: CUgraphNode,
        nodeParams: *mut CUDA_KERNEL_NODE_PARAMS_v1,
    ) -> Result {
        let state = self.state();
        let kernel = state.store.nodes.get(hNode as u64)?.params.kernel()?;
        let told = describe(kernel);
        let narrow = CUDA_KERNEL_NODE_PARAMS_v1 {
            func: kernel.function as _,
            grid: told.grid,
            block: told.block,
            sharedMemBytes: told.sharedMemBytes,
            kernelParams: told.kernelParams,
            extra: told.extra,
        };
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(nodeParams, narrow) }
    }

    pub unsafe fn cuGraphKernelNodeGetParams_v2(
        &self,
        hNode: CUgraphNode,
        nodeParams: *mut CUDA_KERNEL_NODE_PARAMS,
    ) -> Result {
        let state = self.state();
        let told = describe(state.store.nodes.get(hNode as u64)?.params.kernel()?);
        // SAFETY: the caller vouches for the pointer.
        unsafe { put(nodeParams, told) }
    }

    pub unsafe fn cuGraphKernelNodeSetParams(
        &self,
        hNode: CUgraphNode,
        nodeParams: *const CUDA_KERNEL_NODE_PARAMS_v1,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.cuGraphKernelNodeSetParams_v2(hNode, &widen(get(nodeParams)?)) }
    }

    pub unsafe fn cuGraphKernelNodeSetParams_v2(
        &self,
        hNode: CUgraphNode,
        nodeParams: *const CUDA_KERNEL_NODE_PARAMS,
    ) -> Result {
        // SAFETY: the caller vouches for the pointers.
        let params = unsafe { self.kernel(&get(nodeParams)?, self.attributes(hNode as u64)?)? };
        self.set(hNode as u64, params)
    }

    pub unsafe fn cuGraphExecKernelNodeSetParams(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        nodeParams: *const CUDA_KERNEL_NODE_PARAMS_v1,
    ) -> Result {
        // SAFETY: as for the caller.
        unsafe { self.cuGraphExecKernelNodeSetParams_v2(hGraphExec, hNode, &widen(get(nodeParams)?)) }
    }

    pub unsafe fn cuGraphExecKernelNodeSetParams_v2(
        &self,
        hGraphExec: CUgraphExec,
        hNode: CUgraphNode,
        nodeParams: *const CUDA_KERNEL_NODE_PARAMS,
    ) -> Result {
        // SAFETY: the caller vouches for the pointers.
        let params = unsafe { self.kernel(&get(nodeParams)?, self.attributes(hNode as u64)?)? };
        self.set_executable(hGraphExec as u64, hNode as u64, params)
    }

    /// Attributes of a kernel node.
    pub(super) fn attributes(&self, node: u64) -> Result<Attributes> {
        Ok(self.state().store.nodes.get(node)?.params.kernel()?.attributes.clone())
    }

    pub unsafe fn cuGraphKernelNodeCopyAttributes(&self, dst: CUgraphNode, src: CUgraphNode) -> Result {
        let attributes = self.attributes(src as u64)?;
        self.change_attributes(dst as u64, |of| *of = attributes)
    }

    pub unsafe fn cuGraphKernelNodeGetAttribute(
        &self,
        hNode: CUgraphNode,
        attr: i32,
        value_out: *mut c_void,
    ) -> Result {
        let attribute = known(attr)?;
        let attributes = self.attributes(hNode as u64)?;
        let default = if attribute == MEM_SYNC_DOMAIN_MAP { [0, 1] } else { [0, 0] };
        let value = attributes.0.get(&attribute).copied().unwrap_or_else(|| {
            let mut value = [0; 64];
            value[..2].copy_from_slice(&default);
            value
        });
        // SAFETY: the caller vouches for a value of 64 bytes.
        unsafe { put(value_out.cast::<[u8; 64]>(), value) }
    }

    pub unsafe fn cuGraphKernelNodeSetAttribute(&self, hNode: CUgraphNode, attr: i32, value: *const c_void) -> Result {
        let attribute = known(attr)?;
        // SAFETY: the caller vouches for a value of 64 bytes.
        let value = unsafe { get(value.cast::<[u8; 64]>())? };
        self.change_attributes(hNode as u64, |of| {
            of.0.insert(attribute, value);
        })
    }

    /// Changes attributes, unless the launch could not be run any more.
    fn change_attributes(&self, node: u64, change: impl FnOnce(&mut Attributes)) -> Result {
        let mut kernel = self.state().store.nodes.get(node)?.params.kernel()?.clone();
        change(&mut kernel.attributes);
        self.backend.check_kernel(&kernel)?;
        self.set(node, Params::Kernel(Box::new(kernel)))
    }
}

fn known(attribute: i32) -> Result<u32> {
    let attribute = u32::try_from(attribute).map_err(|_| CUresult::INVALID_VALUE)?;
    match NODE_ATTRIBUTES.contains(&attribute) {
        true => Ok(attribute),
        false => Err(CUresult::INVALID_VALUE),
    }
}
