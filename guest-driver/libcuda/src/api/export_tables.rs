//! The driver's private tables (`cuGetExportTable`) that CUDA runtimes and libraries insist on. The
//! facts about them are public in ZLUDA (<https://github.com/vosen/ZLUDA>, crate `dark_api`).
//!
//! Slot 0 holds a table's size, except in context-local storage. Slots that no client is known to
//! need refuse.

use std::ffi::c_void;
use std::sync::atomic::AtomicU64;

use vgpu_protocol::cuda::{
    CUcontext, CUfunction, CUmodule, CUresult, CUstream, CUuuid, CU_STREAM_LEGACY, CU_STREAM_PER_THREAD,
};

use super::device::identities;
use super::Result;
use crate::context::{self, Destructor};
use crate::driver::{self, driver};
use crate::exports;
use crate::integrity::{self, Question};
use crate::stub::{check_out, enter, give, put_optional};
use crate::{sys, trace};

/// A table's slots.
struct Slots<const N: usize>([*const c_void; N]);

// SAFETY: addresses of functions are plain numbers.
unsafe impl<const N: usize> Sync for Slots<N> {}

/// Slots that all refuse, each under a name of its own.
macro_rules! refusing {
    ($table:literal, $($slot:literal)*) => {
        [$({
            extern "C" fn refuse() -> CUresult {
                trace::refused(concat!("slot ", $slot, " of the private ", $table, " table"));
                CUresult::NOT_SUPPORTED
            }
            refuse as *const c_void
        }),*]
    };
}

impl<const N: usize> Slots<N> {
    /// A table with its size in slot 0.
    const fn sized(mut slots: [*const c_void; N]) -> Self {
        slots[0] = (N * size_of::<usize>()) as *const c_void;
        Slots(slots)
    }

    const fn with(mut self, slot: usize, function: *const c_void) -> Self {
        self.0[slot] = function;
        self
    }
}

/// The answer of a slot whose callers can do without.
extern "C" fn unavailable() -> CUresult {
    CUresult::NOT_SUPPORTED
}

extern "C" fn succeed() -> CUresult {
    CUresult::SUCCESS
}

static RUNTIME_INTERFACE: Slots<13> = Slots::sized(refusing!("runtime", 0 1 2 3 4 5 6 7 8 9 10 11 12))
    .with(2, primary_context as *const c_void)
    .with(6, load_module as *const c_void)
    .with(7, succeed as *const c_void)
    .with(12, succeed as *const c_void);

static CALLBACK_HOOKS: Slots<7> = Slots::sized(refusing!("hooks", 0 1 2 3 4 5 6))
    .with(2, hook_buffer as *const c_void)
    .with(6, hook_flags as *const c_void);

static TOOLS_STORAGE: Slots<4> = Slots::sized(refusing!("tools", 0 1 2 3)).with(2, thread_context as *const c_void);

static CONTEXT_STORAGE: Slots<4> = Slots(refusing!("storage", 0 1 2 3))
    .with(0, storage_put as *const c_void)
    .with(1, storage_delete as *const c_void)
    .with(2, storage_get as *const c_void);

static CONTEXT_CHECKS: Slots<4> = Slots::sized(refusing!("checks", 0 1 2 3))
    .with(2, check_context as *const c_void)
    .with(3, succeed as *const c_void);

static INTEGRITY: Slots<3> = Slots::sized(refusing!("integrity", 0 1 2)).with(1, check_integrity as *const c_void);

/// Large, of which four slots are known. cuBLAS keeps its kernels by the context's id, and its workspaces
/// by the stream's.
static CONTEXT_QUERIES: Slots<95> = Slots::sized(refusing!("queries",
    0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39
    40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64 65 66 67 68 69 70 71 72 73 74 75 76
    77 78 79 80 81 82 83 84 85 86 87 88 89 90 91 92 93 94))
.with(3, context_device as *const c_void)
.with(4, context_id as *const c_void)
.with(39, stream_id as *const c_void)
.with(51, real_stream as *const c_void);

static MODULE_FUNCTIONS: Slots<8> =
    Slots::sized(refusing!("functions", 0 1 2 3 4 5 6 7)).with(7, each_function as *const c_void);

/// Asked by cuBLASLt for the arrangement of multiprocessors. It calls slot 4 without a look at whether
/// there is a table at all, and does without the answer.
static ARRANGEMENT: Slots<32> = Slots::sized([unavailable as *const c_void; 32]);

/// Asked by CUPTI, which does not even tell its version without it. Kernels are not profiled: none of its functions is
/// there, and so it stops at the next table that it asks for.
static PROFILING: Slots<67> = Slots::sized([unavailable as *const c_void; 67]);

static TABLES: &[([u8; 16], Table)] = &[
    (uuid(0x6bd5fb6c_5bf4_e74a_8987_d93912fd9df9), Table(RUNTIME_INTERFACE.0.as_ptr())),
    (uuid(0xa094798c_2e74_2e74_93f2_0800200c0a66), Table(CALLBACK_HOOKS.0.as_ptr())),
    (uuid(0x42d85a81_23f6_cb47_8298_f6e78a3aecdc), Table(TOOLS_STORAGE.0.as_ptr())),
    (uuid(0xc693336e_1121_df11_a8c3_68f355d89593), Table(CONTEXT_STORAGE.0.as_ptr())),
    (uuid(0x263e8860_7cd2_6143_92f6_bbd5006dfa7e), Table(CONTEXT_CHECKS.0.as_ptr())),
    (uuid(0xd4082055_bde6_704b_8d34_ba123c66e1f2), Table(INTEGRITY.0.as_ptr())),
    (uuid(0x21318c60_9714_3248_8ca6_41ff7324c8f2), Table(CONTEXT_QUERIES.0.as_ptr())),
    (uuid(0x6e163fbe_b958_444d_835c_e182aff1991e), Table(MODULE_FUNCTIONS.0.as_ptr())),
    (uuid(0x7cb63f9b_9ca4_8e42_a484_beb66e6aed7f), Table(PROFILING.0.as_ptr())),
    (uuid(0x1734dc26_800d_4745_8726_c0f1e7dd8bca), Table(ARRANGEMENT.0.as_ptr())),
];

struct Table(*const *const c_void);

// SAFETY: the address of a static.
unsafe impl Sync for Table {}

const fn uuid(number: u128) -> [u8; 16] {
    number.to_be_bytes()
}

pub unsafe fn cuGetExportTable(table: *mut *const c_void, id: *const CUuuid) -> Result {
    check_out(table)?;
    // SAFETY: the caller vouches for the pointer.
    let wanted = unsafe { id.as_ref() }.ok_or(CUresult::INVALID_VALUE)?.bytes;
    let found = TABLES.iter().find(|(id, _)| *id == wanted).map(|(_, table)| table.0);
    if found.is_none() {
        trace::explain(|| format!("private table {:032x} is unknown", u128::from_be_bytes(wanted)));
    }
    // SAFETY: the caller vouches for the pointer.
    unsafe { give(table, found.map_or(std::ptr::null(), |table| table.cast()))? };
    found.map(drop).ok_or(CUresult::INVALID_VALUE)
}

/// The primary context's handle; it is not made current.
unsafe extern "C" fn primary_context(out: *mut CUcontext, dev: i32) -> CUresult {
    enter("private: primary context", || {
        let driver = driver()?;
        check_out(out)?;
        let context = driver.primary_handle(dev)?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(out, context.raw()) }
    })
}

/// The module load of CUDA runtime 11.
unsafe extern "C" fn load_module(out: *mut CUmodule, image: *const c_void, _: usize, _: usize, _: usize) -> CUresult {
    // SAFETY: the caller vouches for the pointers.
    enter("private: load module", || unsafe { super::cuModuleLoadData(out, image) })
}

/// A stream's id.
unsafe extern "C" fn stream_id(_: CUcontext, stream: CUstream, out: *mut u64) -> CUresult {
    // SAFETY: the caller vouches for the pointer.
    enter("private: id of a stream", || unsafe { super::cuStreamGetId(stream, out) })
}

/// The handle that names a stream whichever default stream the caller has: null becomes one of the two.
unsafe extern "C" fn real_stream(_: CUcontext, stream: CUstream, out: *mut CUstream, per_thread: i32) -> CUresult {
    enter("private: handle of a stream", || {
        let real = match (stream.is_null(), per_thread) {
            (false, _) => stream,
            (true, 0) => CU_STREAM_LEGACY as CUstream,
            (true, _) => CU_STREAM_PER_THREAD as CUstream,
        };
        crate::stream::find(real as u64)?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(out, real) }
    })
}

fn checked(result: CUresult) -> Result {
    match result {
        CUresult::SUCCESS => Ok(()),
        error => Err(error),
    }
}

type EachFunction = Option<unsafe extern "C" fn(*mut c_void, CUfunction)>;

/// Calls `each` with `user` and every function of a module; 1 if that went well.
unsafe extern "C" fn each_function(_: CUcontext, module: CUmodule, each: EachFunction, user: *mut c_void) -> u32 {
    let result = enter("private: functions of a module", || {
        let each = each.ok_or(CUresult::INVALID_VALUE)?;
        let mut count = 0;
        // SAFETY: the pointers are ours; the caller vouches for its function.
        unsafe {
            checked(exports::cuModuleGetFunctionCount(&mut count, module))?;
            let mut functions = vec![std::ptr::null_mut(); count as usize];
            super::cuModuleEnumerateFunctions(functions.as_mut_ptr(), count, module)?;
            functions.into_iter().for_each(|function| each(user, function));
        }
        Ok(())
    });
    u32::from(result == CUresult::SUCCESS)
}

static HOOK_BUFFER: [AtomicU64; 512] = [const { AtomicU64::new(0) }; 512];
static HOOK_FLAGS: [AtomicU64; 8] = [const { AtomicU64::new(0) }; 8];

/// Switches by which profilers subscribe to the runtime's callbacks: all off.
unsafe extern "C" fn hook_buffer(buffer: *mut *const c_void, size: *mut usize) {
    // SAFETY: the caller vouches for the pointers. The runtime and its tools own the buffers.
    unsafe {
        put_optional(buffer, HOOK_BUFFER.as_ptr().cast());
        put_optional(size, 1024);
    }
}

unsafe extern "C" fn hook_flags(buffer: *mut *const c_void, size: *mut usize) {
    // SAFETY: as above.
    unsafe {
        put_optional(buffer, HOOK_FLAGS.as_ptr().cast());
        put_optional(size, 14);
    }
}

/// The calling thread's context; null if it has none.
unsafe extern "C" fn thread_context(out: *mut CUcontext, _: u32) -> CUresult {
    // SAFETY: the caller vouches for the pointer.
    enter("private: thread context", || unsafe { super::cuCtxGetCurrent(out) })
}

unsafe extern "C" fn storage_put(
    ctx: CUcontext,
    key: *mut c_void,
    value: *mut c_void,
    destructor: Destructor,
) -> CUresult {
    enter("private: context storage put", || {
        driver()?;
        context::resolve(ctx)?.store(key as usize, value as usize, destructor);
        Ok(())
    })
}

unsafe extern "C" fn storage_delete(ctx: CUcontext, key: *mut c_void) -> CUresult {
    enter("private: context storage delete", || {
        driver()?;
        context::resolve(ctx)?.remove(key as usize);
        Ok(())
    })
}

unsafe extern "C" fn storage_get(out: *mut *mut c_void, ctx: CUcontext, key: *mut c_void) -> CUresult {
    enter("private: context storage get", || {
        driver()?;
        let value = context::resolve(ctx)?.load(key as usize).ok_or(CUresult::INVALID_HANDLE)?;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(out, value as *mut c_void) }
    })
}

unsafe extern "C" fn check_context(_: CUcontext, blocked: *mut u32, _: *mut *const c_void) -> CUresult {
    // SAFETY: the caller vouches for the pointer.
    unsafe { put_optional(blocked, 0) };
    CUresult::SUCCESS
}

unsafe extern "C" fn context_id(ctx: CUcontext, out: *mut u64) -> CUresult {
    // SAFETY: the caller vouches for the pointer.
    enter("private: context id", || unsafe { super::cuCtxGetId(ctx, out) })
}

unsafe extern "C" fn context_device(ctx: CUcontext, out: *mut i32) -> CUresult {
    enter("private: context device", || {
        driver()?;
        let device = context::resolve(ctx)?.device;
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(out, device) }
    })
}

unsafe extern "C" fn check_integrity(version: u32, unix_seconds: u64, out: *mut [u64; 2]) -> CUresult {
    enter("private: integrity", || {
        let driver = driver()?;
        let function = check_integrity as *const c_void;
        let question = Question {
            driver_version: driver::version().cast_unsigned(),
            version,
            process: std::process::id(),
            thread: sys::thread_id(),
            addresses: [RUNTIME_INTERFACE.0.as_ptr() as u64, INTEGRITY.0.as_ptr() as u64, function as u64],
            unix_seconds,
        };
        // SAFETY: the caller vouches for the pointer.
        unsafe { give(out, integrity::answer(&question, identities(driver))) }
    })
}
