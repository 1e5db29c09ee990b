//! The calling thread's stack of contexts.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use vgpu_protocol::cuda::CUresult;

use super::state::driver;
use super::stream::PerThreadStream;
use super::{Context, Result, Stream};

thread_local! {
    static STACK: RefCell<Vec<Arc<Context>>> = const { RefCell::new(Vec::new()) };
    /// Handle of the current context, 0 if there is none: still there in exit handlers, unlike the stack.
    static TOP: Cell<u64> = const { Cell::new(0) };
    /// The thread's default stream in each context, by the context's handle.
    static STREAMS: RefCell<HashMap<u64, PerThreadStream>> = RefCell::new(HashMap::new());
}

/// The current context. Its sticky error, if it has one, is returned instead.
pub(in crate::driver) fn current() -> Result<Arc<Context>> {
    driver()?;
    let context = top().ok_or(CUresult::INVALID_CONTEXT)?;
    context.check()?;
    Ok(context)
}

/// The current context, also after an error, for what concerns no work of it.
pub(in crate::driver) fn attached() -> Result<Arc<Context>> {
    driver()?;
    let context = top().ok_or(CUresult::INVALID_CONTEXT)?;
    match context.check() {
        Err(CUresult::CONTEXT_IS_DESTROYED) => Err(CUresult::CONTEXT_IS_DESTROYED),
        _ => Ok(context),
    }
}

/// The current context's handle, 0 if there is none.
pub(in crate::driver) fn current_handle() -> u64 {
    top().map_or(0, |context| context.handle)
}

/// Makes `context` current in place of the present one; `None` pops that.
pub(in crate::driver) fn set_current(context: Option<Arc<Context>>) {
    with_stack(|stack| {
        stack.pop();
        stack.extend(context);
    });
}

/// Makes `context` current on top of the present one.
pub(in crate::driver) fn push_current(context: Arc<Context>) {
    with_stack(|stack| stack.push(context));
}

/// Takes the current context off the stack.
pub(in crate::driver) fn pop_top() -> Option<Arc<Context>> {
    let popped = STACK.try_with(|stack| stack.borrow_mut().pop()).ok().flatten();
    note_top();
    popped
}

/// Takes `context` off the top of the stack, if it is there.
pub(in crate::driver) fn pop_current(context: &Context) {
    with_stack(|stack| {
        if stack.last().is_some_and(|top| top.handle == context.handle) {
            stack.pop();
        }
    });
}

/// The calling thread's default stream in `context`.
pub(super) fn per_thread_stream(context: &Arc<Context>) -> Result<Arc<Stream>> {
    let stream = STREAMS.try_with(|streams| {
        let mut streams = streams.borrow_mut();
        let make = || PerThreadStream::new(context);
        streams.entry(context.handle).or_insert_with(make).stream.clone()
    });
    stream.map_err(|_| CUresult::INVALID_CONTEXT)
}

fn top() -> Option<Arc<Context>> {
    let top = STACK.try_with(|stack| stack.borrow().last().cloned());
    top.unwrap_or_else(|_| driver().ok()?.contexts.get(TOP.get()))
}

fn note_top() {
    let top = STACK.try_with(|stack| stack.borrow().last().map_or(0, |context| context.handle));
    TOP.set(top.unwrap_or(0));
}

/// During a thread's end the stack may be gone; then there is nothing to change.
fn with_stack(change: impl FnOnce(&mut Vec<Arc<Context>>)) {
    let _ = STACK.try_with(|stack| change(&mut stack.borrow_mut()));
    note_top();
}
