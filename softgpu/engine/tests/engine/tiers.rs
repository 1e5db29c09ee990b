//! What goes on while kernels are compiled, also where that has no end.

use crate::device::{Arg, Device};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{mpsc, Arc, Mutex};
use std::time::{Duration, Instant};
use vgpu_engine::engine::{Compiler, Engine, FaultKind, Native, Source, Tier};

/// A compiler that says when it has begun, and never ends.
struct Endless(mpsc::Sender<()>);

impl Compiler for Endless {
    fn compile(&self, _: &Source<'_>) -> Result<Arc<dyn Native>, String> {
        let _ = self.0.send(());
        loop {
            std::thread::park();
        }
    }
}

/// A compiler that tells the first kernel's name and then waits for a word, and tells the names of the others.
struct Halting {
    names: mpsc::Sender<String>,
    word: Mutex<Option<mpsc::Receiver<()>>>,
}

impl Compiler for Halting {
    fn compile(&self, source: &Source<'_>) -> Result<Arc<dyn Native>, String> {
        let _ = self.names.send(source.function.name.clone());
        if let Some(word) = self.word.lock().unwrap().take() {
            let _ = word.recv();
        }
        Err("a test's compiler makes no code".into())
    }
}

/// An engine whose first compilation waits for a word, how the word is given, and the names of what is compiled.
fn halting(threads: usize) -> (Engine, mpsc::Sender<()>, mpsc::Receiver<String>) {
    let ((names, named), (give, word)) = (mpsc::channel(), mpsc::channel());
    let compiler = Halting { names, word: Mutex::new(Some(word)) };
    (Engine::with_compiler(threads, Some(Arc::new(compiler)), Tier::Auto), give, named)
}

/// A compiler with a bug.
struct Broken(mpsc::Sender<()>);

impl Compiler for Broken {
    fn compile(&self, _: &Source<'_>) -> Result<Arc<dyn Native>, String> {
        let _ = self.0.send(());
        panic!("a test's compiler fails, as it should");
    }
}

/// Counts its threads in a variable of its own and in a buffer.
const SOURCE: &str = ".version 8.0\n.target sm_80\n.address_size 64\n\
    .global .u32 total[1000000];\n\
    .visible .entry k(.param .u64 p) {\n\
    .reg .b64 %a, %b; .reg .b32 %c; .reg .pred %q;\n\
    ld.param.u64 %a, [p]; mov.u64 %b, total; mov.u32 %c, 200;\n\
    L: sub.u32 %c, %c, 1; setp.ne.u32 %q, %c, 0; @%q bra L;\n\
    red.global.add.u32 [%a], 1; red.global.add.u32 [%b], 1; ret; }";

/// A kernel of that name that adds to a buffer in a loop, after so many other instructions.
fn kernel(name: &str, instructions: usize) -> String {
    let others = "add.u32 %c, %c, %c; ".repeat(instructions);
    format!(
        ".visible .entry {name}(.param .u64 p) {{\n.reg .b64 %a; .reg .b32 %c; .reg .pred %q;\n\
         ld.param.u64 %a, [p]; ld.global.u32 %c, [%a]; {others} red.global.add.u32 [%a+8], %c; mov.u32 %c, 200;\n\
         L: red.global.add.u32 [%a+4], 1; sub.u32 %c, %c, 1; setp.ne.u32 %q, %c, 0; @%q bra L; ret; }}\n"
    )
}

/// Launches until a compiler has been asked; gives how often.
fn launch_until(d: &Device, program: &vgpu_engine::engine::Program, out: u64, asked: &mpsc::Receiver<()>) -> u32 {
    let mut launches = 0;
    while asked.try_recv().is_err() {
        d.launch(program, "k", ([64, 1, 1], [64, 1, 1]), &[Arg::U64(out)]).unwrap();
        launches += 1;
    }
    launches
}

#[test]
fn launches_modules_and_engines_do_not_wait_for_a_compilation_without_end() {
    let (sender, asked) = mpsc::channel();
    let mut d = Device::with_threads(1);
    d.engine = Engine::with_compiler(1, Some(Arc::new(Endless(sender))), Tier::Auto);
    let out = d.words(&[0]);
    let before = d.memory.info().free;
    let program = d.load(SOURCE);
    assert!(d.memory.info().free < before);
    let launches = launch_until(&d, &program, out, &asked);
    d.launch(&program, "k", ([64, 1, 1], [64, 1, 1]), &[Arg::U64(out)]).unwrap();
    assert_eq!(d.read(out, 1), [(launches + 1) * 64 * 64]);
    // The module is unloaded while it is being compiled.
    drop(program);
    assert_eq!(d.memory.info().free, before);
    // Another engine takes the place of this one, which goes.
    d.engine = Engine::new(1);
}

const HEAD: &str = ".version 8.0\n.target sm_80\n.address_size 64\n";

#[test]
fn of_kernels_that_wait_the_one_that_gains_most_by_instruction_is_compiled_first() {
    let mut d = Device::with_threads(1);
    let (engine, word, named) = halting(1);
    d.engine = engine;
    let out = d.words(&[0, 0, 0, 0]);
    let program = d.load(&[HEAD, &kernel("first", 1), &kernel("long", 2000), &kernel("short", 1)].concat());
    let launch = |name| d.launch(&program, name, ([64, 1, 1], [64, 1, 1]), &[Arg::U64(out)]).unwrap();
    while named.try_recv().is_err() {
        launch("first");
    }
    // Far more than compiling is worth: both wait now.
    for name in ["long", "short"] {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(50) {
            launch(name);
        }
    }
    word.send(()).unwrap();
    assert_eq!([named.recv().unwrap(), named.recv().unwrap()], ["short", "long"]);
}

#[test]
fn where_many_threads_run_kernels_several_compile() {
    let mut d = Device::with_threads(1);
    let (engine, _word, named) = halting(8);
    d.engine = engine;
    let out = d.words(&[0, 0, 0, 0]);
    let program = d.load(&[HEAD, &kernel("endless", 1), &kernel("other", 1)].concat());
    for name in ["endless", "other"] {
        let told = loop {
            d.launch(&program, name, ([64, 1, 1], [64, 1, 1]), &[Arg::U64(out)]).unwrap();
            if let Ok(told) = named.try_recv() {
                break told;
            }
        };
        assert_eq!(told, name);
    }
}

#[test]
fn a_launch_that_has_to_be_compiled_first_can_be_cancelled() {
    let (sender, asked) = mpsc::channel();
    let mut d = Device::with_threads(1);
    d.engine = Engine::with_compiler(1, Some(Arc::new(Endless(sender))), Tier::Compiled);
    let (out, program) = (d.words(&[0]), d.load(SOURCE));
    std::thread::scope(|scope| {
        let launch = scope.spawn(|| d.launch(&program, "k", ([1; 3], [64, 1, 1]), &[Arg::U64(out)]));
        asked.recv().unwrap();
        d.cancel.store(true, Relaxed);
        assert_eq!(launch.join().unwrap().unwrap_err().kind, FaultKind::Cancelled);
    });
    assert_eq!(d.read(out, 1), [0]);
}

#[test]
fn kernels_on_which_a_compiler_fails_are_interpreted_and_others_still_compiled() {
    let (sender, asked) = mpsc::channel();
    let mut d = Device::with_threads(1);
    d.engine = Engine::with_compiler(1, Some(Arc::new(Broken(sender))), Tier::Compiled);
    let out = d.words(&[0]);
    for launches in 1..=2 {
        let program = d.load(SOURCE);
        for launch in 0..2 {
            d.launch(&program, "k", ([1; 3], [64, 1, 1]), &[Arg::U64(out)]).unwrap();
            assert_eq!(asked.try_recv().is_ok(), launch == 0);
        }
        assert_eq!(d.read(out, 1), [launches * 2 * 64]);
    }
}
