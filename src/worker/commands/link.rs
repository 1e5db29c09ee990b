//! Linking. The driver writes its messages into buffers that it was given when the link began, so
//! those live as long as the link.

use std::ffi::{c_void, CString};
use std::sync::{Arc, Mutex};

use vgpu_protocol::cuda::CUlinkState;
use vgpu_protocol::{cmd, Handle, HandleKind};

use super::image::{copy_image, told, Options};
use crate::worker::context::{Context, Failure};
use crate::worker::ffi::{self, driver};
use crate::worker::ledger::Pointer;
use crate::worker::linker;
use crate::worker::session::lock;

/// Room for the messages of one link, bytes.
const LOG_SIZE: usize = 4096;
/// `CU_JIT_INPUT_PTX`.
const INPUT_PTX: i32 = 1;
/// What a link needs besides the driver's object. Its lock is held during calls, so that the buffers
/// outlive them.
pub struct Link {
    options: Options,
    /// The linked image, once there is one.
    image: Vec<u8>,
}

impl Link {
    fn text(&self, log_size: u32) -> Vec<u8> {
        let mut text = self.options.text();
        text.truncate(log_size as usize);
        text
    }
}

fn find(ctx: &Context<'_>, handle: Handle) -> Result<Arc<Mutex<Link>>, Failure> {
    ctx.entry(HandleKind::LinkState, handle)?;
    lock(&ctx.session.links).get(&handle).cloned().ok_or(Failure::INVALID_VALUE)
}

fn state(ctx: &Context<'_>, handle: Handle) -> Result<Pointer, Failure> {
    Ok(ctx.resolve(HandleKind::LinkState, handle)? as Pointer)
}

/// `vgpuLinkCreate`.
pub fn link_create(
    ctx: &mut Context<'_>,
    command: cmd::VgpuLinkCreate<'_>,
) -> Result<cmd::VgpuLinkCreateReply, Failure> {
    ctx.reserve(HandleKind::LinkState, command.link)?;
    let mut link = Link { options: Options::new(LOG_SIZE, command.options)?, image: Vec::new() };
    let (link, made) = linker::run(ctx, move |caller| {
        let mut made: CUlinkState = std::ptr::null_mut();
        let (count, names, values) = (link.options.count(), link.options.names(), link.options.values());
        driver!(caller, cuLinkCreate_v2(count, names, values, &mut made))?;
        Ok((link, made as Pointer))
    })?;
    lock(&ctx.session.links).insert(command.link, Arc::new(Mutex::new(link)));
    ctx.insert(command.link, made as *mut c_void, Handle::NULL);
    Ok(cmd::VgpuLinkCreateReply {})
}

/// `vgpuLinkAdd`.
pub fn link_add(ctx: &mut Context<'_>, command: cmd::VgpuLinkAdd<'_>) -> Result<cmd::VgpuLinkAddReply, Failure> {
    let mut data = copy_image(ctx, command.data, command.size)?;
    let name = CString::new(command.name).map_err(|_| Failure::INVALID_VALUE)?;
    let size = usize::try_from(command.size).map_err(|_| Failure::INVALID_VALUE)?;
    // Text is passed with the NUL that `copy_image` has put behind it.
    let size = size + usize::from(command.kind == INPUT_PTX);
    let (kind, log_size) = (command.kind, command.log_size);
    let (link, state) = (find(ctx, command.link)?, state(ctx, command.link)?);
    linker::run(ctx, move |caller| {
        let link = lock(&link);
        let state = state as CUlinkState;
        let none = std::ptr::null_mut::<*mut c_void>();
        let at = data.as_mut_ptr().cast();
        let added =
            (|| driver!(caller, cuLinkAddData_v2(state, kind, at, size, name.as_ptr(), 0, std::ptr::null(), none)))();
        Ok(cmd::VgpuLinkAddReply { result: told(added)?, log: link.text(log_size) })
    })
}

/// `vgpuLinkComplete`.
pub fn link_complete(
    ctx: &mut Context<'_>,
    command: cmd::VgpuLinkComplete,
) -> Result<cmd::VgpuLinkCompleteReply, Failure> {
    let (link, state) = (find(ctx, command.link)?, state(ctx, command.link)?);
    linker::run(ctx, move |caller| {
        let mut link = lock(&link);
        let completed = ffi::link_complete(&caller.api, state as CUlinkState).map(|image| link.image = image);
        let result = told(completed)?;
        let (log, values) = (link.text(command.log_size), link.options.numbers(command.values_size));
        Ok(cmd::VgpuLinkCompleteReply { result, size: link.image.len() as u64, log, values })
    })
}

/// `vgpuLinkRead`.
pub fn link_read(ctx: &mut Context<'_>, command: cmd::VgpuLinkRead) -> Result<cmd::VgpuLinkReadReply, Failure> {
    let link = find(ctx, command.link)?;
    let link = lock(&link);
    let start = usize::try_from(command.offset).map_err(|_| Failure::INVALID_VALUE)?;
    let rest = link.image.get(start..).ok_or(Failure::INVALID_VALUE)?;
    Ok(cmd::VgpuLinkReadReply { data: rest.iter().take(command.size as usize).copied().collect() })
}

/// `vgpuLinkDestroy`.
pub fn link_destroy(
    ctx: &mut Context<'_>,
    command: cmd::VgpuLinkDestroy,
) -> Result<cmd::VgpuLinkDestroyReply, Failure> {
    let link = find(ctx, command.link)?;
    let state = ctx.take(HandleKind::LinkState, command.link)? as Pointer;
    lock(&ctx.session.links).remove(&command.link);
    linker::post(ctx, move |caller| {
        let _in_use = lock(&link);
        let destroyed: Result<(), Failure> = (|| driver!(caller, cuLinkDestroy(state as CUlinkState)))();
        if let Err(error) = destroyed {
            log::debug!("cuLinkDestroy: {}", error.result());
        }
    })?;
    Ok(cmd::VgpuLinkDestroyReply {})
}
