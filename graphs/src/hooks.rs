//! What the entry points that have nothing to do with graphs ask about captures and graphs' memory.
//! While nothing is captured that costs one load.

use std::sync::atomic::Ordering;

use vgpu_protocol::cuda::{BoxCopy, CUresult, CopyEnd, Place};

use super::{Allocation, Backend, Copy, Fill, Graphs, Kernel, Params, Result, State, Stream};

/// `CU_EVENT_RECORD_EXTERNAL` and `CU_EVENT_WAIT_EXTERNAL`.
const EXTERNAL: u32 = 1;

impl<B: Backend> Graphs<B> {
    pub(crate) fn is_quiet(&self) -> bool {
        !self.capturing.load(Ordering::Acquire)
    }

    /// Whether work for the stream is captured now.
    pub fn is_captured(&self, stream: u64) -> Result<bool> {
        if self.is_quiet() {
            return Ok(false);
        }
        let stream = self.backend.stream(stream)?;
        self.state().captures.is_captured(stream)
    }

    /// Captures an operation if the stream captures; `false` means that it is to be run.
    pub fn capture(&self, stream: u64, params: impl FnOnce() -> Result<Params>) -> Result<bool> {
        self.capture_in(|| self.backend.stream(stream), params)
    }

    fn capture_in(
        &self,
        stream: impl FnOnce() -> Result<Stream>,
        params: impl FnOnce() -> Result<Params>,
    ) -> Result<bool> {
        if self.is_quiet() {
            return Ok(false);
        }
        let stream = stream()?;
        if !self.state().captures.is_captured(stream)? {
            return Ok(false);
        }
        let params = params()?;
        self.state().add_captured(stream, params).map(|_| true)
    }

    /// Captures a copy of consecutive bytes; `false` means that it is to be made.
    pub fn capture_copy(&self, stream: u64, dst: Place, src: Place, size: usize) -> Result<bool> {
        let (dst, src) = (CopyEnd::line(dst, 0), CopyEnd::line(src, 0));
        self.capture(stream, || self.copy_of(&BoxCopy { dst, src, extent: [size, 1, 1] }))
    }

    /// Captures a copy; `false` means that it is to be made.
    pub fn capture_box(&self, stream: impl FnOnce() -> Result<Stream>, copy: &BoxCopy) -> Result<bool> {
        self.capture_in(stream, || self.copy_of(copy))
    }

    fn copy_of(&self, copy: &BoxCopy) -> Result<Params> {
        let copy = Copy { params: copy.into(), context: self.backend.context()? };
        self.backend.check_copy(&copy.params)?;
        Ok(Params::Copy(Box::new(copy)))
    }

    /// A stream, as captures see it.
    pub fn stream(&self, stream: u64) -> Result<Stream> {
        self.backend.stream(stream)
    }

    /// Captures a memset; `false` means that it is to be made.
    pub fn capture_fill(&self, stream: u64, fill: impl FnOnce() -> Fill) -> Result<bool> {
        self.capture(stream, || {
            let fill = Fill { context: self.backend.context()?, ..fill() };
            self.backend.check_fill(&fill)?;
            Ok(Params::Fill(fill))
        })
    }

    /// An error if the stream captures: for work that cannot be captured.
    pub fn refuse_captured(&self, stream: u64) -> Result {
        if self.is_quiet() {
            return Ok(());
        }
        let stream = self.backend.stream(stream)?;
        self.refuse(|| stream)
    }

    /// As [`Graphs::refuse_captured`], for a stream that is known.
    pub fn refuse(&self, stream: impl FnOnce() -> Stream) -> Result {
        if self.is_quiet() {
            return Ok(());
        }
        let (stream, mut state) = (stream(), self.state());
        match state.captures.is_captured(stream)? {
            true => Err(state.captures.refuse(stream)),
            false => Ok(()),
        }
    }

    /// Whether a launch can be run.
    pub fn check_kernel(&self, kernel: &Kernel) -> Result {
        self.backend.check_kernel(kernel)
    }

    /// An event is recorded; `false` means that it is to be recorded in the stream.
    pub fn record_event(&self, event: u64, stream: u64, flags: u32) -> Result<bool> {
        if flags & !EXTERNAL != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        if self.is_quiet() {
            return external_only_in_captures(flags);
        }
        let stream = self.backend.stream(stream)?;
        let mut state = self.state();
        if flags & EXTERNAL == 0 || !state.captures.is_captured(stream)? {
            external_only_in_captures(flags)?;
            let taken = state.captures.record(event, stream)?;
            self.note(&state);
            return Ok(taken);
        }
        state.add_captured(stream, Params::EventRecord(event))?;
        // What the event stood for so far is over.
        state.captures.forget_event(event);
        Ok(true)
    }

    /// A stream waits for an event; `false` means that it is to wait.
    pub fn wait_event(&self, stream: u64, event: u64, flags: u32) -> Result<bool> {
        if flags & !EXTERNAL != 0 {
            return Err(CUresult::INVALID_VALUE);
        }
        if self.is_quiet() {
            return external_only_in_captures(flags);
        }
        let stream = self.backend.stream(stream)?;
        let is_recorded = self.backend.is_recorded(event);
        let mut state = self.state();
        if flags & EXTERNAL == 0 {
            return state.captures.wait(stream, event, is_recorded);
        }
        match state.captures.is_captured(stream)? {
            true => state.add_captured(stream, Params::EventWait(event)).map(|_| true),
            false => external_only_in_captures(flags),
        }
    }

    /// A call asks for the state of an event, or waits for it.
    pub fn check_event(&self, event: u64) -> Result {
        if self.is_quiet() {
            return Ok(());
        }
        self.state().captures.check_event(event)
    }

    /// An event is destroyed.
    pub fn forget_event(&self, event: u64) {
        if !self.is_quiet() {
            let mut state = self.state();
            state.captures.forget_event(event);
            self.note(&state);
        }
    }

    /// A call asks for the state of a stream, or waits for it.
    pub fn check_stream(&self, stream: u64) -> Result {
        if self.is_quiet() {
            return Ok(());
        }
        let stream = self.backend.stream(stream)?;
        self.state().captures.check_stream(stream)
    }

    /// A stream is destroyed.
    pub fn forget_stream(&self, stream: u64) {
        if self.is_quiet() {
            return;
        }
        if let Ok(stream) = self.backend.stream(stream) {
            let mut state = self.state();
            state.captures.forget_stream(stream);
            self.note(&state);
        }
    }

    /// A context ends.
    pub fn forget_context(&self, context: u64) {
        if self.is_quiet() {
            return;
        }
        let mut state = self.state();
        for graph in state.captures.forget_context(context) {
            // Memory of the context ends with it.
            let _ = state.store.remove(graph);
            state.conditions.remove(&graph);
        }
        self.note(&state);
    }

    /// A call waits for all streams of a context.
    pub fn check_context(&self, context: u64) -> Result {
        if self.is_quiet() {
            return Ok(());
        }
        self.state().captures.check_context(context)
    }

    /// A call that captures do not see, such as an allocation.
    pub fn check_unsafe(&self) -> Result {
        if self.is_quiet() {
            return Ok(());
        }
        self.state().captures.check_unsafe()
    }

    /// Captures an allocation on a device if the stream captures; `None` means that it is to be made.
    pub fn capture_allocation(&self, stream: u64, device: i32, size: u64) -> Result<Option<u64>> {
        if !self.is_captured(stream)? {
            return Ok(None);
        }
        let address = self.backend.allocate(size)?;
        let stream = self.backend.stream(stream)?;
        let mut state = self.state();
        let added = state.add_captured(stream, Params::Allocate(Allocation { device, size, address }));
        if added.is_ok() {
            state.memory.add(address, size);
        }
        self.note(&state);
        drop(state);
        match added {
            Ok(_) => Ok(Some(address)),
            Err(error) => {
                self.backend.release(address);
                Err(error)
            }
        }
    }

    /// Memory is freed in a stream's order; `false` means that it is to be freed.
    pub fn free_in_stream(&self, stream: u64, address: u64) -> Result<bool> {
        if !self.is_captured(stream)? {
            return self.free(address);
        }
        let stream = self.backend.stream(stream)?;
        let mut state = self.state();
        state.memory.add_free_node(address)?;
        state.add_captured(stream, Params::Free(address)).map(|_| true)
    }

    /// Memory is freed; `false` means that it is no graph's.
    pub fn free(&self, address: u64) -> Result<bool> {
        if !self.has_memory.load(Ordering::Acquire) {
            return Ok(false);
        }
        let mut state = self.state();
        let Some(freed) = state.memory.free(address) else { return Ok(false) };
        self.note(&state);
        drop(state);
        self.release_memory(freed?.into_iter().collect());
        Ok(true)
    }
}

impl<B: Backend> State<B> {
    pub(crate) fn add_captured(&mut self, stream: Stream, params: Params) -> Result<u64> {
        self.captures.add(stream, &mut self.store, params)
    }
}

fn external_only_in_captures(flags: u32) -> Result<bool> {
    match flags & EXTERNAL {
        0 => Ok(false),
        _ => Err(CUresult::ILLEGAL_STATE),
    }
}
