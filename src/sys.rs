//! Process-level calls that need `unsafe`.

use std::ffi::{c_char, c_void, CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::OnceLock;
use std::time::Duration;

use rustix::fs::{fcntl_add_seals, fcntl_get_seals, fstat, ftruncate, memfd_create, MemfdFlags, SealFlags};
use rustix::mm::{mmap, MapFlags, ProtFlags};
use rustix::process::{getppid, getrlimit, setrlimit, Resource, Rlimit};
use vgpu_logging::Shared;
use vgpu_protocol::cuda::attribute::PAGEABLE_MEMORY_ACCESS;
use vgpu_protocol::cuda::CUresult;
use vgpu_protocol::{DriverApi, GUEST_LIBRARY_SYMBOL};
use vgpu_softgpu::carrier::{Descriptor, Relocate, SetLiveness};

use crate::exit;

/// Loads a CUDA driver library for the rest of the process's life. `None`: it is the library for guests.
pub fn load_driver(path: &Path) -> Result<Option<DriverApi>, libloading::Error> {
    // SAFETY: loading a library runs its constructors; the person who started us named it.
    let library = Box::leak(Box::new(unsafe { libloading::Library::new(path) }?));
    // SAFETY: the address is not used.
    if unsafe { library.get::<*const c_void>(GUEST_LIBRARY_SYMBOL.to_bytes_with_nul()) }.is_ok() {
        return Ok(None);
    }
    let find = |name: &'static CStr| {
        // SAFETY: the address is only stored; `DriverApi` gives it the function's type.
        match unsafe { library.get::<*const c_void>(name.to_bytes_with_nul()) } {
            Ok(symbol) => *symbol,
            Err(_) => std::ptr::null(),
        }
    };
    let names = [c"vgpuIpcDescriptor", c"vgpuIpcRelocate", c"vgpuIpcLiveness"];
    let [descriptor, relocate, liveness] = names.map(find);
    if ![descriptor, relocate, liveness].iter().any(|function| function.is_null()) {
        // SAFETY: a library that exports these names has functions of these types behind them.
        crate::carrier::set(unsafe {
            crate::carrier::Carrier {
                descriptor: std::mem::transmute::<*const c_void, Descriptor>(descriptor),
                relocate: std::mem::transmute::<*const c_void, Relocate>(relocate),
                set_liveness: std::mem::transmute::<*const c_void, SetLiveness>(liveness),
            }
        });
    }
    // SAFETY: a library that exports names of the CUDA driver API has its functions behind them.
    Ok(Some(unsafe { DriverApi::load(find) }))
}

/// CUDA version of the driver; 0 if it does not tell.
pub fn driver_version(api: &DriverApi) -> i32 {
    let mut version = 0;
    if let Some(get) = api.cuDriverGetVersion {
        // SAFETY: the output is a local.
        unsafe { get(&mut version) };
    }
    version
}

/// Whether kernels of any device can read memory that was never given to the driver.
pub fn reaches_pageable_memory(api: &DriverApi) -> bool {
    let (Some(count), Some(attribute)) = (api.cuDeviceGetCount, api.cuDeviceGetAttribute) else { return false };
    let mut devices = 0;
    // SAFETY: the output is a local.
    unsafe { count(&mut devices) };
    (0..devices).any(|device| {
        let mut reaches = 0;
        // SAFETY: the output is a local; a device's number is its handle.
        unsafe { attribute(&mut reaches, PAGEABLE_MEMORY_ACCESS, device) };
        reaches != 0
    })
}

/// Calls `cuInit`.
pub fn initialize(api: &DriverApi) -> CUresult {
    match api.cuInit {
        // SAFETY: the function takes a number.
        Some(init) => unsafe { init(0) },
        None => CUresult::SHARED_OBJECT_SYMBOL_NOT_FOUND,
    }
}

/// Where the last words of a signal's handler go.
static MESSAGES: AtomicI32 = AtomicI32::new(libc::STDERR_FILENO);

/// Has handlers of signals speak on `messages`, for the rest of the process's life.
pub fn speak_on(messages: &impl AsRawFd) {
    MESSAGES.store(messages.as_raw_fd(), Ordering::Relaxed);
}

/// A frontend can shrink memory that it has shared: reading a lost page raises SIGBUS. There is no
/// way back from the middle of an access, so the process says so and ends with a code of its own.
pub fn end_on_sigbus() {
    handle(libc::SIGBUS, on_sigbus);
}

/// Has a system call that seccomp forbids end the process with a message and a code of its own.
pub fn end_on_forbidden_call() {
    handle(libc::SIGSYS, on_sigsys);
}

/// Has the process end with a message once it has used that much processor time.
pub fn end_after_processor_time(seconds: u64) -> io::Result<()> {
    handle(libc::SIGXCPU, on_sigxcpu);
    let limit = Rlimit { current: Some(seconds), maximum: Some(seconds.saturating_add(1)) };
    Ok(setrlimit(Resource::Cpu, limit)?)
}

/// What is said by [`end_unless_cancelled`].
static LATE: OnceLock<String> = OnceLock::new();

/// Has the process end with `message` and the code for a GPU that cannot be had after so long, in whole seconds.
pub fn end_unless_cancelled(limit: Duration, message: String) {
    let _ = LATE.set(format!("vhost-user-vgpu: {message}"));
    handle(libc::SIGALRM, on_sigalrm);
    set_alarm(u32::try_from(limit.as_secs()).unwrap_or(u32::MAX));
}

/// The process goes on.
pub fn cancel_end() {
    set_alarm(0);
}

fn set_alarm(seconds: u32) {
    // SAFETY: the call takes a number; its signal has a handler.
    unsafe { libc::alarm(seconds) };
}

extern "C" fn on_sigalrm(_signal: libc::c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {
    end_with(LATE.get().map_or(&[], |message| message.as_bytes()), exit::NO_GPU)
}

extern "C" fn on_sigxcpu(_signal: libc::c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {
    const MESSAGE: &[u8] =
        b"vhost-user-vgpu: the session has used up its processor time (--max-kernel-time): it ends\n";
    end_with(MESSAGE, exit::RUNTIME)
}

fn handle(signal: libc::c_int, handler: vmm_sys_util::signal::SignalHandler) {
    if let Err(error) = vmm_sys_util::signal::register_signal_handler(signal, handler) {
        log::warn!("cannot install a handler of signal {signal}: {error}");
    }
}

extern "C" fn on_sigbus(_signal: libc::c_int, _info: *mut libc::siginfo_t, _context: *mut c_void) {
    const MESSAGE: &[u8] = b"vhost-user-vgpu: SIGBUS: memory of the VM vanished under the backend \
        (its file was truncated); use memory-backend-memfd, which is sealed against it\n";
    end_with(MESSAGE, exit::SIGBUS)
}

extern "C" fn on_sigsys(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut c_void) {
    const TEXT: &[u8] = b"vhost-user-vgpu: the sandbox forbids system call     : ended; if nothing has \
        attacked this process, report it, and see --sandbox\n";
    const DIGITS: std::ops::Range<usize> = 49..53;
    let mut message = [0; TEXT.len()];
    message.copy_from_slice(TEXT);
    // SAFETY: the kernel passes a siginfo_t; of a SIGSYS its words 4 and 5 are an address and word 6 the call.
    let mut call = unsafe { info.cast::<u32>().add(6).read() };
    for place in message[DIGITS].iter_mut().rev() {
        *place = b'0' + (call % 10) as u8;
        call /= 10;
    }
    end_with(&message, exit::SECCOMP)
}

/// Says something and ends the process, from a signal's handler.
fn end_with(message: &[u8], code: u8) -> ! {
    // SAFETY: write and _exit may be called from a signal handler.
    unsafe {
        libc::write(MESSAGES.load(Ordering::Relaxed), message.as_ptr().cast(), message.len());
        libc::_exit(i32::from(code))
    }
}

/// Ends the process at once: nothing that libraries have registered for the end is run, which may hang.
pub fn end(code: u8) -> ! {
    // SAFETY: the call does not return.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Tries what concerns the process `other`, or may; what of it was not refused. With `all`, also what ends a process
/// that runs no host's driver.
pub fn reach_others(other: i64, all: bool) -> Option<&'static str> {
    let own = i64::from(std::process::id());
    let mut limit = [0u64; 2];
    let always: &[(&str, libc::c_long, [i64; 4])] =
        &[("fcntl(2)", libc::SYS_fcntl, [0, libc::F_SETOWN.into(), own, 0])];
    let more: &[(&str, libc::c_long, [i64; 4])] = &[
        ("prlimit(2)", libc::SYS_prlimit64, [other, 0, 0, limit.as_mut_ptr() as i64]),
        ("setpriority(2)", libc::SYS_setpriority, [0, other, 19, 0]),
        ("rt_tgsigqueueinfo(2)", libc::SYS_rt_tgsigqueueinfo, [other, other, 0, 0]),
        ("calls of the x32 ABI", libc::c_long::from(crate::sandbox::X32) + libc::SYS_getpid, [0; 4]),
        #[cfg(target_arch = "x86_64")]
        ("fork(2)", libc::SYS_fork, [0; 4]),
    ];
    always.iter().chain(if all { more } else { &[] }).find_map(|(name, call, [a, b, c, d])| {
        // SAFETY: none of the calls is given memory but `limit`; a process that one of them makes ends at once.
        let refused = unsafe {
            match libc::syscall(*call, *a, *b, *c, *d) {
                0 if *name == "fork(2)" => libc::_exit(0),
                -1 => matches!(io::Error::last_os_error().raw_os_error(), Some(libc::EPERM | libc::EACCES)),
                _ => false,
            }
        };
        (!refused).then_some(*name)
    })
}

/// Makes a system call that no process of ours is allowed.
pub fn call_bpf() {
    // SAFETY: there is no such command: the call changes nothing.
    unsafe { libc::syscall(libc::SYS_bpf, -1, std::ptr::null::<c_void>(), 0) };
}

/// Allows as many open files as the administrator lets us have: memory regions and sessions take some each.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        log::debug!("cannot raise the limit of open files: {error}");
    }
}

/// Runs `child` in a copy of this process, which must have one thread only, and ends the copy with what
/// it returns.
pub fn fork(child: impl FnOnce() -> i32) -> io::Result<()> {
    // SAFETY: with one thread, no lock is held by another one at this moment.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = child();
            // SAFETY: ends the copy without running what the original has registered for its exit.
            unsafe { libc::_exit(code) }
        }
        _ => Ok(()),
    }
}

/// An executable with arguments and environment, ready for [`start`].
pub struct Image {
    file: File,
    _strings: Vec<CString>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
}

impl Image {
    /// Prepares to execute `file`.
    pub fn new(file: File, arguments: Vec<CString>, environment: Vec<CString>) -> Image {
        let pointers = |strings: &[CString]| {
            strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect::<Vec<_>>()
        };
        let (arguments_of, environment_of) = (pointers(&arguments), pointers(&environment));
        // The pointers are to the strings' own memory, which moving them does not move.
        let strings = arguments.into_iter().chain(environment).collect();
        Image { file, _strings: strings, arguments: arguments_of, environment: environment_of }
    }
}

/// Starts a process that executes `image` as a child of *this process's parent*, so much nicer, with the given standard
/// input and output. Call it from a process with one thread.
pub fn start(image: &Image, nice: u8, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> io::Result<i32> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    let parent = getppid();
    // SAFETY: as fork: the child has a copy of all memory and goes on here.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    match pid {
        -1 => return Err(io::Error::last_os_error()),
        0 => {}
        pid => return i32::try_from(pid).map_err(io::Error::other),
    }
    // SAFETY: nothing but system calls, on strings that `image` keeps.
    unsafe {
        libc::dup2(input.as_raw_fd(), libc::STDIN_FILENO);
        libc::dup2(output.as_raw_fd(), libc::STDOUT_FILENO);
        // A session of its own to the scheduler too: with autogroups, shares are by session, however many
        // threads it has.
        libc::setsid();
        // It does not outlive its parent, which may have ended already.
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        if getppid() != parent {
            libc::_exit(i32::from(exit::RUNTIME));
        }
        if nice > 0 {
            // All threads that it will have inherit it.
            libc::nice(i32::from(nice));
        }
        map_from_bottom();
        let (arguments, environment) = (image.arguments.as_ptr(), image.environment.as_ptr());
        libc::syscall(
            libc::SYS_execveat,
            image.file.as_raw_fd(),
            c"".as_ptr(),
            arguments,
            environment,
            libc::AT_EMPTY_PATH,
        );
        libc::_exit(i32::from(exit::RUNTIME))
    }
}

/// Has the mappings of what is executed next grow from the bottom of the address space, where other
/// processes have none: a driver gives GPU memory addresses of this kind, and in the client, where they
/// are addresses of the GPU too, they must not be those of its own memory.
fn map_from_bottom() {
    // SAFETY: the call only changes flags of this process; the second one adds to what the first says.
    unsafe {
        let flags = libc::personality(0xffff_ffff);
        libc::personality(flags as libc::c_ulong | libc::ADDR_COMPAT_LAYOUT as libc::c_ulong);
    }
}

/// Processor time of a process so far, of all its threads. Needs no rights and no file.
pub fn processor_time(pid: i32) -> Option<Duration> {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    // SAFETY: the outputs are locals.
    let known =
        unsafe { libc::clock_getcpuclockid(pid, &mut clock) == 0 && libc::clock_gettime(clock, &mut time) == 0 };
    known.then(|| Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
}

/// Memory in a file of its own, as zeros, of a size that stays.
pub fn sealed_memory(name: &CStr, size: usize) -> io::Result<OwnedFd> {
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&fd, size as u64)?;
    fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(fd)
}

/// Maps what processes know of each other's log lines, for the rest of this one's life.
pub fn map_log(fd: &OwnedFd) -> io::Result<&'static Shared> {
    if !fcntl_get_seals(fd)?.contains(SealFlags::SHRINK) || fstat(fd)?.st_size != size_of::<Shared>() as i64 {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: the mapping is new, as long as the type, cannot shrink, and is never taken away; the type is made of
    // atomics, for which any bytes are values and which others may change.
    unsafe { Ok(&*mmap(std::ptr::null_mut(), size_of::<Shared>(), access, MapFlags::SHARED, fd, 0)?.cast()) }
}

/// Takes over a descriptor number that nothing else in this process owns.
pub fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: callers pass numbers inherited from the parent process or given up by their owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Takes over an inherited listening socket.
pub fn inherited_listener(fd: RawFd) -> UnixListener {
    UnixListener::from(own(fd))
}
