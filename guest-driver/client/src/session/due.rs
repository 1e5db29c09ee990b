//! The functions of the application that streams wait for.

use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::session::{due_entry, DueFunction, DUE_FUNCTIONS, DUE_OFFSET, RUN_OFFSET};
use zerocopy::{FromZeros, IntoBytes};

use super::Session;

/// The functions that become due, in order. One thread of the process runs them.
pub struct DueFunctions {
    session: &'static Session,
    /// How many have run.
    run: u32,
}

impl Session {
    /// The functions that become due from now on. To be asked for once.
    pub fn due_functions(&'static self) -> DueFunctions {
        DueFunctions { session: self, run: self.home.load_u32(RUN_OFFSET) }
    }
}

impl DueFunctions {
    /// Waits for the next function; its stream waits until [`DueFunctions::has_run`]. An error once the
    /// session has ended.
    pub fn wait(&mut self) -> Result<DueFunction, CUresult> {
        let Session { home, waiter, .. } = self.session;
        let mut due = self.run;
        waiter.wait(home, || {
            due = home.load_u32(DUE_OFFSET);
            due != self.run
        })?;
        if due.wrapping_sub(self.run) > DUE_FUNCTIONS {
            return Err(waiter.fail(CUresult::UNKNOWN));
        }
        let mut function = DueFunction::new_zeroed();
        home.read(due_entry(self.run), function.as_mut_bytes());
        Ok(function)
    }

    /// The function that was asked for last has run.
    pub fn has_run(&mut self) {
        self.run = self.run.wrapping_add(1);
        self.session.home.store_u32(RUN_OFFSET, self.run);
    }
}
