//! The device's attributes: those of compute capability 8.0, as far as the software GPU has them.
//! A feature that is missing is 0.

use vgpu_protocol::cuda::attribute as id;

use super::array::{MAX_1D, MAX_2D, MAX_3D, MAX_CUBEMAP_LAYERS, MAX_LAYERED, MAX_MIPMAPPED};
use super::state::Driver;
use super::Device;

pub(super) const WARP_SIZE: u32 = 32;
pub(super) const THREADS_PER_BLOCK: u32 = 1024;
pub(super) const BLOCK_MAX: [u32; 3] = [1024, 1024, 64];
pub(super) const GRID_MAX: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
pub(super) const THREADS_PER_MULTIPROCESSOR: u32 = 2048;
pub(super) const BLOCKS_PER_MULTIPROCESSOR: u32 = 32;
pub(super) const REGISTERS_PER_MULTIPROCESSOR: u32 = 65_536;
/// Bytes of shared memory a block gets without asking.
pub(super) const SHARED_PER_BLOCK: u32 = 48 << 10;
/// Bytes of shared memory a block gets after `cuFuncSetAttribute`.
pub(super) const SHARED_PER_BLOCK_OPTIN: u32 = 163 << 10;
pub(super) const SHARED_PER_MULTIPROCESSOR: u32 = 164 << 10;
pub(super) const SHARED_RESERVED_PER_BLOCK: u32 = 1 << 10;

/// The attributes that there are.
const FIRST: i32 = id::MAX_THREADS_PER_BLOCK;
const LAST: i32 = id::GPU_DIRECT_RDMA_WITH_LOCALIZED_MEMORY_SUPPORTED;
/// Bytes of `.const` memory.
const CONSTANT_MEMORY: i32 = 64 << 10;
/// Bytes to which linear memory behind a texture is aligned.
pub(super) const TEXTURE_ALIGNMENT: u32 = 512;
/// Bytes to which the rows of pitched memory behind a texture are aligned.
pub(super) const TEXTURE_PITCH_ALIGNMENT: u32 = 32;
/// Elements of linear memory, and bytes of a row of pitched memory, that a texture may have.
pub(super) const MAX_LINEAR: usize = 1 << 28;
pub(super) const MAX_LINEAR_PITCH: usize = 2_097_120;
/// kHz; the clock registers count nanoseconds.
const CLOCK_RATE: i32 = 1_000_000;
/// Bits; one memory channel.
const MEMORY_BUS_WIDTH: i32 = 64;
/// Bytes; programs size their working sets by it.
const L2_CACHE_SIZE: i32 = 4 << 20;
const ASYNC_ENGINES: i32 = 2;
/// PCI device and vendor of QEMU's vhost-user device.
const PCI_ID: i32 = 0x1067_1af4;
const NO_NUMA: i32 = -1;

/// The value of an attribute, `None` if there is no attribute of that number.
pub(in crate::driver) fn device_attribute(driver: &Driver, device: &Device, attribute: i32) -> Option<i32> {
    let signed = |value: u32| i32::try_from(value).unwrap_or(i32::MAX);
    let (major, minor) = driver.config.capability;
    let (domain, bus, slot) = device.pci;
    let value = match attribute {
        id::MAX_THREADS_PER_BLOCK => signed(THREADS_PER_BLOCK),
        id::MAX_BLOCK_DIM_X => signed(BLOCK_MAX[0]),
        id::MAX_BLOCK_DIM_Y => signed(BLOCK_MAX[1]),
        id::MAX_BLOCK_DIM_Z => signed(BLOCK_MAX[2]),
        id::MAX_GRID_DIM_X => signed(GRID_MAX[0]),
        id::MAX_GRID_DIM_Y => signed(GRID_MAX[1]),
        id::MAX_GRID_DIM_Z => signed(GRID_MAX[2]),
        id::MAX_SHARED_MEMORY_PER_BLOCK => signed(SHARED_PER_BLOCK),
        id::MAX_SHARED_MEMORY_PER_BLOCK_OPTIN => signed(SHARED_PER_BLOCK_OPTIN),
        id::MAX_SHARED_MEMORY_PER_MULTIPROCESSOR => signed(SHARED_PER_MULTIPROCESSOR),
        id::RESERVED_SHARED_MEMORY_PER_BLOCK => signed(SHARED_RESERVED_PER_BLOCK),
        id::MAX_REGISTERS_PER_BLOCK | id::MAX_REGISTERS_PER_MULTIPROCESSOR => signed(REGISTERS_PER_MULTIPROCESSOR),
        id::MAX_THREADS_PER_MULTIPROCESSOR => signed(THREADS_PER_MULTIPROCESSOR),
        id::MAX_BLOCKS_PER_MULTIPROCESSOR => signed(BLOCKS_PER_MULTIPROCESSOR),
        id::MULTIPROCESSOR_COUNT => i32::try_from(driver.engine.threads()).unwrap_or(i32::MAX),
        id::KERNEL_EXEC_TIMEOUT => i32::from(driver.watchdog.is_on()),
        id::WARP_SIZE => signed(WARP_SIZE),
        id::TOTAL_CONSTANT_MEMORY => CONSTANT_MEMORY,
        id::MAX_PITCH => i32::MAX,
        id::TEXTURE_ALIGNMENT | id::SURFACE_ALIGNMENT => signed(TEXTURE_ALIGNMENT),
        id::TEXTURE_PITCH_ALIGNMENT => signed(TEXTURE_PITCH_ALIGNMENT),
        id::MAXIMUM_TEXTURE1D_WIDTH..=id::MAXIMUM_TEXTURE2D_LAYERED_LAYERS
        | id::MAXIMUM_TEXTURE1D_LAYERED_WIDTH..=id::MAXIMUM_TEXTURE1D_LAYERED_LAYERS
        | id::MAXIMUM_TEXTURE2D_GATHER_WIDTH..=id::MAXIMUM_TEXTURE3D_DEPTH_ALTERNATE
        | id::MAXIMUM_TEXTURECUBEMAP_WIDTH..=id::MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT
        | id::MAXIMUM_TEXTURE1D_MIPMAPPED_WIDTH => i32::try_from(array_limit(attribute)).unwrap_or(i32::MAX),
        id::CLOCK_RATE | id::MEMORY_CLOCK_RATE => CLOCK_RATE,
        id::GLOBAL_MEMORY_BUS_WIDTH => MEMORY_BUS_WIDTH,
        id::L2_CACHE_SIZE => L2_CACHE_SIZE,
        id::ASYNC_ENGINE_COUNT => ASYNC_ENGINES,
        id::SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO => 2,
        id::COMPUTE_CAPABILITY_MAJOR => major,
        id::COMPUTE_CAPABILITY_MINOR => minor,
        id::PCI_DOMAIN_ID => domain,
        id::PCI_BUS_ID => bus,
        id::PCI_DEVICE_ID => slot,
        id::GPU_PCI_DEVICE_ID => PCI_ID,
        id::NUMA_ID | id::HOST_NUMA_ID => NO_NUMA,
        id::GPU_OVERLAP
        | id::CAN_MAP_HOST_MEMORY
        | id::CONCURRENT_KERNELS
        | id::UNIFIED_ADDRESSING
        | id::GLOBAL_L1_CACHE_SUPPORTED
        | id::LOCAL_L1_CACHE_SUPPORTED
        | id::MANAGED_MEMORY
        | id::CONCURRENT_MANAGED_ACCESS
        | id::MEMORY_POOLS_SUPPORTED
        | id::VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
        | id::COMPUTE_PREEMPTION_SUPPORTED
        | id::CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
        | id::COOPERATIVE_LAUNCH
        | id::STREAM_PRIORITIES_SUPPORTED
        | id::CAN_USE_STREAM_MEM_OPS_V1
        | id::CAN_USE_64_BIT_STREAM_MEM_OPS_V1
        | id::CAN_USE_STREAM_WAIT_VALUE_NOR_V1
        | id::CAN_USE_64_BIT_STREAM_MEM_OPS
        | id::CAN_USE_STREAM_WAIT_VALUE_NOR
        | id::HOST_REGISTER_SUPPORTED
        | id::HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED
        | id::MEMPOOL_SUPPORTED_HANDLE_TYPES
        | id::IPC_EVENT_SUPPORTED
        | id::MEM_SYNC_DOMAIN_COUNT => 1,
        _ if (FIRST..=LAST).contains(&attribute) => 0,
        _ => return None,
    };
    Some(value)
}

/// The largest arrays and bound memory that textures and surfaces may have.
fn array_limit(attribute: i32) -> usize {
    match attribute {
        id::MAXIMUM_TEXTURE1D_WIDTH | id::MAXIMUM_SURFACE1D_WIDTH => MAX_1D,
        id::MAXIMUM_TEXTURE2D_WIDTH | id::MAXIMUM_SURFACE2D_WIDTH | id::MAXIMUM_TEXTURE2D_LINEAR_WIDTH => MAX_2D[0],
        id::MAXIMUM_TEXTURE2D_HEIGHT | id::MAXIMUM_SURFACE2D_HEIGHT | id::MAXIMUM_TEXTURE2D_LINEAR_HEIGHT => MAX_2D[1],
        id::MAXIMUM_TEXTURE3D_WIDTH..=id::MAXIMUM_TEXTURE3D_DEPTH
        | id::MAXIMUM_SURFACE3D_WIDTH..=id::MAXIMUM_SURFACE3D_DEPTH
        | id::MAXIMUM_TEXTURE3D_WIDTH_ALTERNATE..=id::MAXIMUM_TEXTURE3D_DEPTH_ALTERNATE => MAX_3D[0],
        id::MAXIMUM_TEXTURE2D_LAYERED_LAYERS
        | id::MAXIMUM_TEXTURE1D_LAYERED_LAYERS
        | id::MAXIMUM_SURFACE1D_LAYERED_LAYERS
        | id::MAXIMUM_SURFACE2D_LAYERED_LAYERS => MAX_LAYERED[2],
        id::MAXIMUM_TEXTURECUBEMAP_LAYERED_LAYERS | id::MAXIMUM_SURFACECUBEMAP_LAYERED_LAYERS => MAX_CUBEMAP_LAYERS,
        id::MAXIMUM_TEXTURE1D_LINEAR_WIDTH => MAX_LINEAR,
        id::MAXIMUM_TEXTURE2D_LINEAR_PITCH => MAX_LINEAR_PITCH,
        id::MAXIMUM_TEXTURE1D_MIPMAPPED_WIDTH
        | id::MAXIMUM_TEXTURE2D_MIPMAPPED_WIDTH
        | id::MAXIMUM_TEXTURE2D_MIPMAPPED_HEIGHT => MAX_MIPMAPPED,
        // Layered arrays, cubemaps and gathers.
        _ => MAX_LAYERED[0],
    }
}
