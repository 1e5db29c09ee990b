//! The thread that makes all calls of linking: the compiler behind them keeps state by thread, and
//! does not bear a link that is begun, worked on and destroyed on several.

use std::io;
use std::sync::mpsc::{channel, Sender};
use std::sync::Mutex;

use vgpu_protocol::cuda::{CUcontext, CUresult};
use vgpu_protocol::DriverApi;

use super::context::{Context, Failure};
use super::ffi::driver;
use super::session::lock;

type Job = Box<dyn FnOnce() + Send>;

/// The thread, started at its first job.
#[derive(Default)]
pub struct Linker(Mutex<Option<Sender<Job>>>);

/// What a job makes its calls with.
pub struct Caller {
    /// The driver.
    pub api: DriverApi,
}

impl Linker {
    fn send(&self, job: Job) -> io::Result<()> {
        let mut sender = lock(&self.0);
        let jobs = match &*sender {
            Some(jobs) => jobs,
            None => {
                let (jobs, due) = channel::<Job>();
                let work = move || due.into_iter().for_each(|job| job());
                std::thread::Builder::new().name("linker".into()).spawn(work)?;
                sender.insert(jobs)
            }
        };
        jobs.send(job).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

/// Has a job done in the current context, after all earlier ones, without waiting for it.
pub fn post(ctx: &Context<'_>, job: impl FnOnce(&Caller) + Send + 'static) -> Result<(), Failure> {
    let (caller, context) = (Caller { api: ctx.api.clone() }, ctx.current);
    let job = move || {
        let entered: Result<(), Failure> = (|| driver!(caller, cuCtxSetCurrent(context as CUcontext)))();
        if let Err(error) = entered {
            log::debug!("linking: {}", error.result());
        }
        job(&caller);
    };
    ctx.session.linker.send(Box::new(job)).map_err(|error| {
        log::error!("cannot start a thread: {error}");
        Failure::Cuda(CUresult::OUT_OF_MEMORY)
    })
}

/// As [`post`]; waits for the job's value.
pub fn run<T: Send + 'static>(
    ctx: &Context<'_>,
    job: impl FnOnce(&Caller) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let (done, value) = channel();
    post(ctx, move |caller| {
        let _ = done.send(job(caller));
    })?;
    value.recv().unwrap_or(Err(Failure::Cuda(CUresult::UNKNOWN)))
}
