//! Checked launches: each kind of error is reported with its place, and what is right is not.

use super::device::{Arg, Device};
use vgpu_engine::engine::{Extents, Fault, FaultKind, Launch};
use vgpu_engine::memory::Range;

/// A kernel `k(.u64 out)` with registers, 256 bytes of shared memory, and thread number, `4 * thread` and a value
/// in `%t`, `%o` and `%v`. Its instructions are each on a line of the PTX and of `source.cu` from 12 and 100 on.
fn kernel(instructions: &[&str]) -> String {
    let mut text = String::from(
        ".version 8.0\n.target sm_80\n.address_size 64\n.file 1 \"source.cu\"\n\
         .visible .entry k(.param .u64 out) {\n.reg .pred %p<4>; .reg .b32 %r<8>; .reg .b32 %t, %o, %v; .reg .b64 %d<4>;\n\
         .shared .align 16 .b8 s[256];\nld.param.u64 %d0, [out]; mov.u32 %t, %tid.x; shl.b32 %o, %t, 2;\n\
         mov.u32 %r7, s; add.u32 %o, %o, %r7; add.u32 %v, %t, 7;\nsetp.eq.u32 %p1, %t, 0;\nmov.u32 %r1, 0;\n",
    );
    for (number, instruction) in instructions.iter().enumerate() {
        text += &format!(".loc 1 {} 0 {instruction}\n", 100 + number);
    }
    text + "ret;\n}\n"
}

/// Runs a kernel on buffers of 400 and 100 bytes; gives the report.
fn check_on(device: &Device, source: &str, threads: u32) -> (Result<(), Fault>, String) {
    let program = device.load(source);
    let buffers = [400, 100].map(|size| Range { base: device.memory.allocate(size).unwrap(), size });
    let kernel = program.kernel("k").unwrap();
    let outcome = device.engine.launch_checked(
        &Launch {
            kernel: &kernel,
            grid: [2, 1, 1],
            block: [threads, 1, 1],
            dynamic_shared: device.dynamic_shared,
            params: &buffers[0].base.to_le_bytes(),
            cooperative: false,
            stack_limit: 1024,
            printf_limit: 1 << 20,
            output: &|text| device.printed.lock().unwrap().extend_from_slice(text),
            cancel: &device.cancel,
            heap: &device.heap,
            objects: &device.objects.snapshot(),
        },
        &buffers.into_iter().collect::<Extents>(),
    );
    let text = String::from_utf8(std::mem::take(&mut *device.printed.lock().unwrap())).unwrap();
    (outcome, text)
}

fn check(instructions: &[&str], threads: u32) -> (Result<(), Fault>, String) {
    check_on(&Device::with_threads(1), &kernel(instructions), threads)
}

/// What is reported of a kernel that goes on to its end: one finding for each first line.
#[track_caller]
fn findings(instructions: &[&str], threads: u32) -> Vec<String> {
    let (outcome, text) = check(instructions, threads);
    outcome.unwrap_or_else(|fault| panic!("{fault}\n{text}"));
    text.lines().filter(|line| !line.starts_with("=========     ")).map(str::to_string).collect()
}

#[test]
fn an_access_outside_of_an_allocation_is_a_fault_with_its_place() {
    let (outcome, text) = check(&["st.global.u32 [%d0+396], %t;", "st.global.u32 [%d0+400], %t;"], 1);
    let fault = outcome.unwrap_err();
    assert_eq!((fault.kind, fault.line), (FaultKind::IllegalAddress, 13), "within the rest of the last 512 bytes");
    for part in [
        "========= IllegalAddress: store of 4 bytes outside of all allocations; 0 bytes past the end of the 400 at 0x",
        "=========     in `k` at source.cu:101, PTX line 13\n",
        "=========     by thread (0,0,0) of block (0,0,0)\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let across = check(&["ld.global.u64 %d1, [%d0+392];", "ld.global.v2.u64 {%d1, %d2}, [%d0+384];"], 1);
    assert_eq!(across.0, Ok(()), "{}", across.1);
    let (outcome, text) = check(&["add.u64 %d1, %d0, 392;", "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%d0+400];"], 1);
    assert_eq!(outcome.unwrap_err().kind, FaultKind::IllegalAddress);
    assert!(text.contains("load of 16 bytes outside"), "{text}");
    let (outcome, text) = check(&["atom.global.add.u32 %r1, [%d0+-4], 1;"], 1);
    assert_eq!(outcome.unwrap_err().kind, FaultKind::IllegalAddress);
    assert!(text.contains("atomic operation of 4 bytes outside of all allocations"), "{text}");
}

#[test]
fn memory_that_the_application_has_freed_is_outside() {
    let device = Device::with_threads(1);
    let cached = device.memory.allocate(1 << 20).unwrap();
    let source = kernel(&[&format!("mov.u64 %d1, {cached};"), "ld.global.u32 %r1, [%d1+4096];"]);
    let (outcome, text) = check_on(&device, &source, 1);
    assert_eq!(outcome.unwrap_err().kind, FaultKind::IllegalAddress);
    assert!(text.contains("load of 4 bytes outside of all allocations, in memory that has been freed"), "{text}");
}

#[test]
fn what_the_kernel_allocates_has_bounds_too() {
    let device = Device::with_threads(1);
    let source = |body: &str| {
        format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n\
             .extern .func (.param .b64 r) malloc (.param .b64 n);\n.extern .func free (.param .b64 p);\n\
             .visible .entry k(.param .u64 out) {{\n.reg .b64 %d<4>; .reg .b32 %r<2>;\n\
             {{ .param .b64 n; .param .b64 r; st.param.b64 [n], 40; call.uni (r), malloc, (n); ld.param.b64 %d1, [r]; }}\n\
             {body}\nret;\n}}\n"
        )
    };
    let free = "{ .param .b64 p; st.param.b64 [p], %d1; call.uni free, (p); }";
    let (outcome, text) = check_on(&device, &source("st.global.u32 [%d1+44], 1;"), 1);
    assert_eq!(outcome, Ok(()), "40 bytes are 48: {text}");
    let (outcome, text) = check_on(&device, &source("st.global.u32 [%d1+48], 1;"), 1);
    assert_eq!(outcome.unwrap_err().line, 9);
    assert!(text.contains("outside of what the kernel's `malloc` gave or after its `free`"), "{text}");
    let (outcome, _) = check_on(&device, &source(&format!("{free}\nst.global.u32 [%d1], 1;")), 1);
    assert_eq!(outcome.unwrap_err().line, 10);
}

#[test]
fn misaligned_accesses_are_reported() {
    let (outcome, text) = check(&["ld.global.u32 %r1, [%d0+2];"], 1);
    assert_eq!(outcome.unwrap_err().kind, FaultKind::MisalignedAddress);
    assert!(text.contains("MisalignedAddress: load\n") && text.contains("source.cu:100, PTX line 12\n"), "{text}");
}

#[test]
fn shared_memory_that_nobody_has_written_is_reported() {
    let instructions = ["@%p1 st.shared.u32 [%o], %v;", "bar.sync 0;", "ld.shared.u32 %r1, [%o];"];
    let (outcome, text) = check(&instructions, 32);
    assert_eq!(outcome, Ok(()));
    for part in [
        "========= Uninitialised shared memory: load of 4 bytes that nobody has written\n",
        "=========     in `k` at source.cu:102, PTX line 14\n",
        "=========     by thread (1,0,0) of block (0,0,0)\n=========     at shared address 0x4\n",
        // 31 of each of the two blocks.
        "=========     and 61 times more there\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let atomic = findings(&["atom.shared.add.u32 %r1, [%o], 1;"], 1);
    assert_eq!(atomic, ["========= Uninitialised shared memory: atomic operation of 4 bytes that nobody has written"]);
}

#[test]
fn races_are_reported_with_both_accesses() {
    let (outcome, text) = check(&["st.shared.u32 [%o], %v;", "xor.b32 %o, %o, 4;", "ld.shared.u32 %r1, [%o];"], 64);
    assert_eq!(outcome, Ok(()));
    for part in [
        "========= Race in shared memory (read after write): load of 4 bytes without a barrier\n",
        "=========     in `k` at source.cu:102, PTX line 14\n",
        "=========     by thread (0,0,0) of block (0,0,0)\n",
        "=========     the other access: thread (1,0,0) at source.cu:100, PTX line 12\n",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    let race =
        |hazard, what| vec![format!("========= Race in shared memory ({hazard}): {what} of 4 bytes without a barrier")];
    let all = findings(&["st.shared.u32 [s], %v;"], 64);
    assert_eq!(all, race("write after write", "store"));
    let after = ["st.shared.u32 [%o], %v;", "bar.sync 0;", "ld.shared.u32 %r2, [s+4];", "st.shared.u32 [%o], %t;"];
    assert_eq!(findings(&after, 32), race("write after read", "store"));
    let part = ["st.shared.u32 [%o], %v;", "bar.sync 1, 32;", "ld.shared.u32 %r1, [s+4];"];
    assert_eq!(findings(&part, 64), race("read after write", "load"), "warps have barriers of their own");
}

#[test]
fn what_is_ordered_is_not_reported() {
    let none: Vec<String> = Vec::new();
    let barrier = ["st.shared.u32 [%o], %v;", "bar.sync 0;", "xor.b32 %o, %o, 128;", "ld.shared.u32 %r1, [%o];"];
    assert_eq!(findings(&barrier, 64), none);
    let warp = [
        "st.shared.u32 [%o], %v;",
        "bar.warp.sync 0xffffffff;",
        "xor.b32 %o, %o, 4;",
        "ld.shared.u32 %r1, [%o];",
        "bar.warp.sync 0xffffffff;",
        "st.shared.u32 [%o], %r1;",
    ];
    assert_eq!(findings(&warp, 64), none);
    assert_eq!(findings(&["st.shared.u32 [s], 5;"], 64), none, "all write the same");
    let named = ["st.shared.u32 [%o], %v;", "bar.sync 3, 64;", "xor.b32 %o, %o, 128;", "ld.shared.u32 %r1, [%o];"];
    assert_eq!(findings(&named, 64), none);
    let atomics = [
        "@%p1 st.shared.u32 [s], 0;",
        "bar.sync 0;",
        "atom.shared.add.u32 %r1, [s], 1;",
        "bar.sync 0;",
        "ld.shared.u32 %r1, [s];",
    ];
    assert_eq!(findings(&atomics, 64), none);
    // The first warp fills, the second waits for it and reads.
    let handed_over = [
        "setp.lt.u32 %p2, %t, 32;",
        "@!%p2 bra wait;",
        "st.shared.u32 [%o], %v;",
        "bar.arrive 2, 64;",
        "bra done;",
        "wait: bar.sync 2, 64;",
        "ld.shared.u32 %r1, [%o+-128];",
        "done:",
    ];
    assert_eq!(findings(&handed_over, 64), none);
    let bytes = ["add.u32 %r2, %r7, %t;", "st.shared.u8 [%r2], %t;", "ld.shared.u8 %r3, [%r2];"];
    assert_eq!(findings(&bytes, 64), none, "neighbouring bytes are different places");
}

#[test]
fn asynchronous_copies_are_checked_on_both_sides() {
    let copy = [
        "cp.async.ca.shared.global [%o], [%d0], 4;",
        "cp.async.wait_all;",
        "bar.sync 0;",
        "ld.shared.u32 %r1, [s+12];",
    ];
    assert_eq!(findings(&copy, 32), Vec::<String>::new());
    let (outcome, text) = check(&["cp.async.ca.shared.global [s], [%d0+392], 16;"], 1);
    assert_eq!(outcome.unwrap_err().kind, FaultKind::MisalignedAddress, "{text}");
    let (outcome, text) = check(&["cp.async.cg.shared.global [s], [%d0+400], 16;"], 1);
    assert_eq!(outcome.unwrap_err().kind, FaultKind::IllegalAddress);
    assert!(text.contains("load of 16 bytes outside"), "{text}");
}

#[test]
fn unchecked_launches_of_the_same_kernel_are_as_before() {
    let device = Device::with_threads(1);
    let program = device.load(&kernel(&["st.global.u32 [%d0+400], %t;"]));
    let buffer = device.memory.allocate(400).unwrap();
    assert_eq!(device.launch(&program, "k", ([1; 3], [1; 3]), &[Arg::U64(buffer)]), Ok(()));
}
