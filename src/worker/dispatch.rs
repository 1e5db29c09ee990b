//! One match from opcode to call, generated from the API table.

use vgpu_protocol::cuda::{self, CUresult};
use vgpu_protocol::{cmd, Command, Handle, HandleKind, Reader, Reply, Writer};

use super::commands;
use super::context::{Context, Failure};

include!(concat!(env!("OUT_DIR"), "/dispatch.rs"));
