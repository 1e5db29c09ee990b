//! Which system calls a process may make (seccomp).
//!
//! A call that nothing in the process makes ends it with [`crate::exit::SECCOMP`] and a message. Some calls
//! that libraries try in passing (opening files, asking for a socket) are refused with an error instead.

use std::collections::BTreeMap;

use seccompiler::{
    apply_filter_all_threads, sock_filter, BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp,
    SeccompCondition, SeccompFilter, SeccompRule,
};

use super::SandboxError;

type Number = libc::c_long;
type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Memory, threads, time and messages over descriptors that a process has.
const COMMON: &[Number] = &[
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_dup,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fallocate,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    libc::SYS_mincore,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_msync,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pipe2,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_set_robust_list,
    libc::SYS_shutdown,
    libc::SYS_sigaltstack,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_write,
    libc::SYS_writev,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
];

/// Calls of the supervisor alone: it takes connections, and watches and stops workers.
const SUPERVISOR: &[Number] = &[
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setsockopt,
    libc::SYS_socketpair,
    libc::SYS_unlinkat,
    libc::SYS_waitid,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
];

/// Refused with "permission denied", as landlock would.
const REFUSED: &[Number] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_getcwd,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_readlinkat,
    libc::SYS_socket,
    libc::SYS_statx,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

/// What a worker with a host's driver does not need: it makes calls that only its author knows, so there the
/// list is of what is forbidden. Processes, other processes' memory, namespaces, the kernel's inner life.
const FORBIDDEN: &[Number] = &[
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_init_module,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_tkill,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_userfaultfd,
    libc::SYS_ioprio_set,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

/// What a process of ours asks `fcntl` for. Others (`F_SETOWN`, `F_SETSIG`) have signals sent to any process of the user.
const FCNTL: &[libc::c_int] = &[
    libc::F_DUPFD_CLOEXEC,
    libc::F_GETFD,
    libc::F_SETFD,
    libc::F_GETFL,
    libc::F_SETFL,
    libc::F_ADD_SEALS,
    libc::F_GET_SEALS,
];

/// The same by `ioctl`, and for drivers, which ask `fcntl` for more than we know.
const FCNTL_OWNER: &[libc::c_int] = &[libc::F_SETOWN, F_SETSIG, F_SETOWN_EX];
const IOCTL_OWNER: &[libc::c_int] = &[FIOSETOWN, SIOCSPGRP];

/// What the supervisor asks `ioctl` for.
const IOCTL: &[libc::c_int] = &[libc::FIONBIO as libc::c_int, libc::FIOCLEX as libc::c_int];

// From the kernel's asm-generic/fcntl.h and asm-generic/sockios.h.
/// What is added to the numbers of calls in the x32 ABI (asm/unistd.h).
pub const X32: u32 = 0x4000_0000;
const F_SETSIG: libc::c_int = 10;
const F_SETOWN_EX: libc::c_int = 15;
const FIOSETOWN: libc::c_int = 0x8901;
const SIOCSPGRP: libc::c_int = 0x8902;

/// For the supervisor.
pub fn restrict_supervisor() -> Result<(), SandboxError> {
    let asked = (libc::SYS_ioctl, one_of(IOCTL)?);
    allow_only(COMMON.iter().chain(SUPERVISOR).copied(), Some(asked))
}

/// For a worker with the software GPU.
pub fn restrict_soft_worker() -> Result<(), SandboxError> {
    allow_only(COMMON.iter().copied(), None)
}

/// For a worker with a host's driver.
pub fn restrict_host_worker() -> Result<(), SandboxError> {
    let mut denied: Rules = FORBIDDEN.iter().map(|call| (*call, Vec::new())).collect();
    let local = condition(0, SeccompCmpOp::Ne, libc::AF_UNIX as u64);
    denied.insert(libc::SYS_socket, vec![SeccompRule::new(vec![local?])?]);
    denied.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_thread()?])?]);
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo] {
        denied.insert(call, vec![SeccompRule::new(vec![other_process()?])?]);
    }
    // Where 0 stands for the calling process.
    for call in [libc::SYS_prlimit64, libc::SYS_migrate_pages, libc::SYS_move_pages] {
        let other = vec![other_process()?, condition(0, SeccompCmpOp::Ne, 0)?];
        denied.insert(call, vec![SeccompRule::new(other)?]);
    }
    let not_zero = |argument| SeccompRule::new(vec![condition(argument, SeccompCmpOp::Ne, 0)?]);
    denied.insert(libc::SYS_setpriority, vec![not_zero(0)?, not_zero(1)?]);
    denied.insert(libc::SYS_fcntl, one_of(FCNTL_OWNER)?);
    denied.insert(libc::SYS_ioctl, one_of(IOCTL_OWNER)?);
    apply(denied, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32))?;
    let last = BTreeMap::from([(libc::SYS_bpf, Vec::new())]);
    apply(last, SeccompAction::Allow, SeccompAction::Trap)?;
    refuse_x32()?;
    refuse_clone3()
}

/// Allows these calls, and one of which some uses only.
fn allow_only(
    calls: impl Iterator<Item = Number>,
    some: Option<(Number, Vec<SeccompRule>)>,
) -> Result<(), SandboxError> {
    let mut refused: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let unknown: Result<_, _> = FCNTL.iter().map(|command| condition(1, SeccompCmpOp::Ne, *command as u64)).collect();
    refused.insert(libc::SYS_fcntl, vec![SeccompRule::new(unknown?)?]);
    refused.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_thread()?])?]);
    apply(refused, SeccompAction::Allow, SeccompAction::Errno(libc::EACCES as u32))?;
    refuse_clone3()?;
    // The filters before this one have had their say.
    let known = REFUSED.iter().copied().chain([libc::SYS_clone, libc::SYS_clone3]);
    let mut allowed: Rules = calls.chain(known).map(|call| (call, Vec::new())).collect();
    // A process may end itself.
    allowed.insert(libc::SYS_tgkill, vec![SeccompRule::new(vec![own_process()?])?]);
    let names = [libc::PR_SET_NAME, libc::PR_SET_VMA].map(|option| {
        let named = condition(0, SeccompCmpOp::Eq, option as u64)?;
        SeccompRule::new(vec![named])
    });
    allowed.extend(some);
    allowed.insert(libc::SYS_prctl, names.into_iter().collect::<Result<_, BackendError>>()?);
    let reads_limit = vec![condition(0, SeccompCmpOp::Eq, 0)?, condition(2, SeccompCmpOp::Eq, 0)?];
    allowed.insert(libc::SYS_prlimit64, vec![SeccompRule::new(reads_limit)?]);
    apply(allowed, SeccompAction::Trap, SeccompAction::Allow)
}

/// Its flags lie in memory, out of a filter's reach; the C library falls back to `clone`.
fn refuse_clone3() -> Result<(), SandboxError> {
    let refused = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(refused, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32))
}

/// The same calls have other numbers for programs of the x32 ABI, which a list of what is forbidden does not name. All
/// lie above those of any other.
fn refuse_x32() -> Result<(), SandboxError> {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const JUMP: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, jf, k| sock_filter { code, jt: 0, jf, k };
    // The number is the first word of what a filter sees (seccomp(2)).
    let program = [
        step(LOAD, 0, 0),
        step(JUMP, 1, X32),
        step(RETURN, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        step(RETURN, 0, libc::SECCOMP_RET_ALLOW),
    ];
    Ok(apply_filter_all_threads(&program)?)
}

fn apply(rules: Rules, otherwise: SeccompAction, then: SeccompAction) -> Result<(), SandboxError> {
    let filter = SeccompFilter::new(rules, otherwise, then, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    Ok(apply_filter_all_threads(&program)?)
}

fn condition(argument: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)
}

/// The second argument is one of these.
fn one_of(values: &[libc::c_int]) -> Result<Vec<SeccompRule>, BackendError> {
    values.iter().map(|value| SeccompRule::new(vec![condition(1, SeccompCmpOp::Eq, *value as u64)?])).collect()
}

fn no_thread() -> Result<SeccompCondition, BackendError> {
    condition(0, SeccompCmpOp::MaskedEq(libc::CLONE_THREAD as u64), 0)
}

fn own_process() -> Result<SeccompCondition, BackendError> {
    condition(0, SeccompCmpOp::Eq, std::process::id().into())
}

fn other_process() -> Result<SeccompCondition, BackendError> {
    condition(0, SeccompCmpOp::Ne, std::process::id().into())
}
