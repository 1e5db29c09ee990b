//! The protocol's own commands, one function each (`vgpu…` in the API table).

mod context;
mod copy;
mod copy_box;
mod device;
mod function;
mod graph;
mod hostfunc;
mod image;
mod ipc;
mod launch;
mod link;
mod mem_op;
mod names;
mod pointer;
mod pool;
mod tensor_map;
mod texture;
mod vmm;

pub use context::{context_create, context_destroy, primary_release, primary_reset, primary_retain};
pub use copy::{begin_dto_h, copy_dto_h, copy_dto_h_wait, copy_hto_d, copy_hto_d_inline};
pub use copy_box::{copy_box, copy_box_inline, copy_box_peer, copy_box_wait};
pub use device::{describe, device_info};
pub use function::{library_get_kernel, module_get_function};
pub use graph::{
    graph_begin, graph_body, graph_condition, graph_conditional, graph_copy, graph_destroy, graph_empty, graph_enable,
    graph_event, graph_fill, graph_host, graph_instantiate, graph_kernel, graph_launch, graph_mem_ops, graph_params,
    graph_reset, graph_upload, Graph,
};
pub use hostfunc::{host_function, read_output};
pub use image::{library_load, module_load};
pub use ipc::{
    ipc_forget, ipc_get_event, ipc_get_mem, ipc_open_event, ipc_open_mem, mem_export, mem_import, pool_export,
    pool_export_pointer, pool_import, pool_import_pointer,
};
pub use launch::{launch, launch_large, occupancy_clusters};
pub use link::{link_add, link_complete, link_create, link_destroy, link_read, Link};
pub use mem_op::stream_mem_ops;
pub use names::{library_names, module_names};
pub use pointer::pointer_info;
pub use pool::{pool_create, pool_default, pool_get_access, pool_get_attribute, pool_set_access, pool_set_attribute};
pub use tensor_map::{tensor_map_im2col, tensor_map_im2col_wide, tensor_map_replace_address, tensor_map_tiled};
pub use texture::{surf_object_create, surf_object_destroy, tex_object_create, tex_object_destroy, ObjectKind};
pub use vmm::{mem_create, mem_granularity, mem_retain, mem_set_access};
