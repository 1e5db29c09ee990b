//! Random kernels, which both tiers must execute alike, bit for bit.

use crate::device::{Arg, Device};
use std::fmt::Write;
use vgpu_engine::engine::Engine;

/// A xorshift generator.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 16) % n
    }

    fn pick<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }
}

/// Words and long words of a thread.
const WORDS: u64 = 10;
const LONGS: u64 = 4;
const INPUTS: u32 = 1024;

/// Writes one kernel.
struct Generator {
    random: Random,
    text: String,
    labels: u32,
    /// Loops around the current place, with their labels for `break` and `continue`.
    loops: Vec<(u32, u32)>,
    /// Whether all threads of the block are certain to be here.
    together: bool,
    depth: u32,
    /// Whether lanes may read from others; then all lanes exist, and none ends before the others.
    shuffles: bool,
}

impl Generator {
    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn label(&mut self) -> u32 {
        self.labels += 1;
        self.labels
    }

    /// A word as a source.
    fn word(&mut self) -> String {
        match self.random.below(8) {
            0 => {
                let interesting =
                    ["0", "1", "2", "31", "32", "-1", "0x80000000", "0x7fffffff", "0x3f800000", "16", "0xff"];
                self.random.pick(&interesting).to_string()
            }
            _ => format!("%r{}", self.random.below(WORDS)),
        }
    }

    fn to(&mut self) -> String {
        format!("%r{}", self.random.below(WORDS))
    }

    fn long(&mut self) -> String {
        format!("%d{}", self.random.below(LONGS))
    }

    fn pred(&mut self) -> String {
        format!("%p{}", self.random.below(4))
    }

    fn guard(&mut self) -> String {
        match self.random.below(7) {
            0 => format!("@{} ", self.pred()),
            1 => format!("@!{} ", self.pred()),
            _ => String::new(),
        }
    }

    fn operation(&mut self) {
        let guard = self.guard();
        let (d, a, b, c) = (self.to(), self.word(), self.word(), self.word());
        let (x, y, z) = (self.long(), self.long(), self.long());
        let (p, q) = (self.pred(), self.pred());
        let r = format!("%r{}", self.random.below(WORDS));
        let text = match self.random.below(44) {
            0 => format!("add.s32 {d}, {a}, {b}"),
            1 => format!("sub.s32 {d}, {a}, {b}"),
            2 => format!("mul.lo.s32 {d}, {a}, {b}"),
            3 => format!("mul.hi.{} {d}, {a}, {b}", self.random.pick(&["s32", "u32"])),
            4 => format!("mad.lo.s32 {d}, {a}, {b}, {c}"),
            5 => format!("mul.wide.{} {x}, {a}, {b}", self.random.pick(&["s32", "u32"])),
            6 => format!("mad.wide.{} {x}, {a}, {b}, {y}", self.random.pick(&["s32", "u32"])),
            7 => format!("{}.s64 {x}, {y}, {z}", self.random.pick(&["add", "sub", "mul.lo", "min", "max"])),
            8 => format!("{}.{} {d}, {a}, {b}", self.random.pick(&["div", "rem"]), self.random.pick(&["s32", "u32"])),
            9 => format!("{}.{} {d}, {a}, {b}", self.random.pick(&["min", "max"]), self.random.pick(&["s32", "u32"])),
            10 => format!("{}.b32 {d}, {a}, {b}", self.random.pick(&["and", "or", "xor"])),
            11 => format!("shl.b32 {d}, {a}, {b}"),
            12 => format!("shr.{} {d}, {a}, {b}", self.random.pick(&["s32", "u32"])),
            13 => format!("{}.b64 {x}, {y}, {r}", self.random.pick(&["shl", "shr"])),
            14 => format!(
                "{} {d}, {a}",
                self.random.pick(&[
                    "not.b32",
                    "neg.s32",
                    "abs.s32",
                    "popc.b32",
                    "clz.b32",
                    "brev.b32",
                    "bfind.u32",
                    "bfind.shiftamt.s32",
                    "cnot.b32"
                ])
            ),
            15 => format!("bfe.{} {d}, {a}, {b}, {c}", self.random.pick(&["s32", "u32"])),
            16 => format!("bfi.b32 {d}, {a}, {b}, {c}, {r}"),
            17 => format!("lop3.b32 {d}, {a}, {b}, {c}, {}", self.random.below(256)),
            18 => format!("prmt.b32 {d}, {a}, {b}, {c}"),
            19 => {
                format!("shf.{}.b32 {d}, {a}, {b}, {c}", self.random.pick(&["l.wrap", "l.clamp", "r.wrap", "r.clamp"]))
            }
            20 => format!(
                "setp.{}.{} {p}, {a}, {b}",
                self.random.pick(&["eq", "ne", "lt", "le", "gt", "ge"]),
                self.random.pick(&["s32", "u32"])
            ),
            21 => format!(
                "setp.{}.f32 {p}|{q}, {d}, {r}",
                self.random.pick(&["lt", "equ", "gtu", "num", "nan", "ne", "leu"])
            ),
            22 => format!("setp.lt.and.s32 {p}, {a}, {b}, {q}"),
            23 => format!("selp.b32 {d}, {a}, {b}, {p}"),
            24 => format!("{}.pred {p}, {q}, {}", self.random.pick(&["and", "or", "xor"]), self.pred()),
            25 => format!("cvt.{}.s32 {x}, {r}", self.random.pick(&["s64", "s64"])),
            26 => format!("cvt.u64.u32 {x}, {r}"),
            27 => format!("cvt.u32.u64 {d}, {y}"),
            28 => format!(
                "{}{} {d}, {r}, {d}",
                self.random.pick(&["add", "sub", "mul"]),
                self.random.pick(&[".f32", ".rn.ftz.f32", ".sat.f32", ".rz.f32"])
            ),
            29 => format!("fma.rn{} {d}, {d}, {r}, {r}", self.random.pick(&[".f32", ".ftz.f32", ".sat.f32"])),
            30 => format!(
                "{}.f32 {d}, {d}, {r}",
                self.random.pick(&["min", "max", "div.rn", "div.full", "max.ftz", "min.NaN", "copysign"])
            ),
            31 => format!(
                "{} {d}, {r}",
                self.random.pick(&[
                    "neg.f32",
                    "abs.f32",
                    "sqrt.rn.f32",
                    "rcp.rn.f32",
                    "rsqrt.approx.f32",
                    "ex2.approx.f32",
                    "abs.ftz.f32"
                ])
            ),
            32 => format!(
                "cvt.{} {d}, {r}",
                self.random.pick(&[
                    "rn.f32.s32",
                    "rn.f32.u32",
                    "rzi.s32.f32",
                    "rni.u32.f32",
                    "rmi.s32.f32",
                    "rpi.ftz.u32.f32",
                    "rni.f32.f32",
                    "sat.f32.f32",
                    "s32.s8",
                    "u32.u16",
                    "s32.s16"
                ])
            ),
            33 => format!(
                "cvt.rn.f64.s32 %e0, {r}; cvt.rn.f64.u32 %e1, {d}; {}.f64 %e2, %e0, %e1; cvt.rn.f32.f64 {d}, %e2",
                self.random.pick(&["add", "sub", "mul", "div.rn", "min", "max"])
            ),
            34 => format!("cvt.rn.f16.f32 %h0, {r}; cvt.f32.f16 {d}, %h0"),
            35 => format!(
                "cvt.u16.u32 %h0, {r}; cvt.u16.u32 %h1, {d}; {} %h2, %h0, %h1; cvt.u32.u16 {d}, %h2",
                self.random.pick(&["add.u16", "mul.lo.u16", "min.s16", "mul.hi.s16", "xor.b16"])
            ),
            36 => format!("mov.b64 {{{d}, {r}}}, {y}"),
            37 => format!("mov.b64 {x}, {{{d}, {r}}}"),
            38 => format!("add.cc.u32 {d}, {r}, {d}; addc.u32 {r}, {r}, {d}"),
            39 => format!("dp4a.s32.u32 {d}, {a}, {r}, {b}"),
            40 => format!(
                "mov.u32 {d}, {}",
                self.random.pick(&["%tid.x", "%tid.y", "%laneid", "%ctaid.x", "%ntid.x", "%lanemask_lt", "%warpid"])
            ),
            41 => format!("mov.b32 {d}, {a}"),
            42 => format!("sad.{} {d}, {a}, {b}, {c}", self.random.pick(&["s32", "u32"])),
            _ => format!("slct.b32.{} {d}, {a}, {b}, {r}", self.random.pick(&["s32", "f32"])),
        };
        let text = text.split("; ").map(|part| format!("{guard}{part};")).collect::<Vec<_>>().join("\n");
        self.line(&text);
    }

    fn access(&mut self) {
        let guard = self.guard();
        let (d, a) = (self.to(), self.to());
        let scale = self.random.below(2);
        let slot = self.random.below(8) * 4;
        let vector = self.random.below(3);
        match self.random.below(7) {
            // A gather, a row, or the same word for all.
            0 | 1 => {
                self.line(&format!(
                    "and.b32 %t0, {a}, {};\nmul.wide.u32 %a0, %t0, 4;\nadd.s64 %a0, %a0, %in;",
                    INPUTS - 1
                ));
                self.line(&format!("{guard}ld.global.u32 {d}, [%a0];"));
            }
            2 => {
                self.line(&format!("shr.u32 %t0, {a}, {};\nand.b32 %t0, %t0, 255;", scale * 4));
                self.line("shl.b32 %t1, %t0, 4;\ncvt.u64.u32 %a0, %t1;\nadd.s64 %a0, %a0, %in;");
                match vector {
                    0 => self.line(&format!("{guard}ld.global.v2.u32 {{{d}, %t1}}, [%a0+8];\nxor.b32 {d}, {d}, %t1;")),
                    1 => self.line(&format!(
                        "{guard}ld.global.v4.u32 {{{d}, %t1, %t2, %t3}}, [%a0];\nadd.u32 {d}, {d}, %t2;"
                    )),
                    _ => self.line(&format!("{guard}ld.global.s8 {d}, [%a0+3];")),
                }
            }
            3 => self.line(&format!("{guard}st.global.u32 [%own+{slot}], {d};")),
            4 => self
                .line(&format!("{guard}st.local.u32 [depot+{slot}], {d};\n{guard}ld.local.u32 {a}, [depot+{slot}];")),
            5 => {
                self.line(&format!(
                    "and.b32 %t0, {a}, 28;\ncvt.u64.u32 %a0, %t0;\nmov.u64 %a1, depot;\nadd.s64 %a1, %a1, %a0;"
                ));
                self.line(&format!("{guard}st.local.u32 [%a1], {d};\n{guard}ld.local.u16 {a}, [%a1+2];"));
            }
            _ => self.line(&format!("{guard}red.global.add.u32 [%counters+{slot}], {d};")),
        }
    }

    /// What needs all threads of the warp or block.
    fn exchange(&mut self) {
        let (d, a) = (self.to(), self.to());
        let (p, q) = (self.pred(), self.pred());
        let n = self.random.below(32);
        let least = if self.shuffles { 0 } else { 2 };
        match least + self.random.below(6 - least) {
            0 => {
                let mode = self.random.pick(&["up", "down", "bfly", "idx"]);
                let c = if mode == "up" { "0" } else { self.random.pick(&["31", "0x181f", "0x1c1f"]) };
                self.line(&format!("shfl.sync.{mode}.b32 {d}|{p}, {a}, {n}, {c}, -1;"));
            }
            1 => self.line(&format!("and.b32 %t0, {a}, 31;\nshfl.sync.idx.b32 {d}, {d}, %t0, 31, -1;")),
            2 => self.line(&format!("vote.sync.ballot.b32 {d}, {p}, -1;")),
            3 => {
                let mode = self.random.pick(&["all", "any", "uni"]);
                self.line(&format!("vote.sync.{mode}.pred {q}, {p}, -1;"));
            }
            4 => self.line(&format!("redux.sync.add.u32 {d}, {a}, -1;")),
            _ => {
                self.line(&format!("st.shared.u32 [%sown], {a};\nbar.sync 0;"));
                self.line(&format!("add.u32 %t0, %linear, {n};\nrem.u32 %t0, %t0, %threads;\nshl.b32 %t0, %t0, 2;"));
                self.line(&format!(
                    "mov.u32 %t1, shared;\nadd.u32 %t0, %t0, %t1;\nld.shared.u32 {d}, [%t0];\nbar.sync 0;"
                ));
            }
        }
    }

    fn condition(&mut self) -> String {
        let p = self.pred();
        match self.random.below(4) {
            0 => {
                let n = self.random.below(40);
                self.line(&format!("setp.lt.u32 {p}, %tid.x, {n};"));
            }
            1 => {
                let a = self.to();
                self.line(&format!("and.b32 %t0, {a}, 3;\nsetp.eq.u32 {p}, %t0, 1;"));
            }
            2 => self.line(&format!("mov.u32 %t0, %ctaid.x;\nsetp.eq.u32 {p}, %t0, 0;")),
            _ => {}
        }
        p
    }

    fn statement(&mut self) {
        let nest = if self.depth < 3 { 3 } else { 0 };
        match self.random.below(10 + nest) {
            0..=5 => self.operation(),
            6 | 7 => self.access(),
            8 if self.together => self.exchange(),
            8 => self.operation(),
            9 => match self.loops.last().copied() {
                Some((next, end)) if self.random.below(2) == 0 => {
                    let p = self.condition();
                    let to = if self.random.below(2) == 0 { next } else { end };
                    self.line(&format!("@{p} bra L{to};"));
                }
                _ if !self.shuffles && !self.together && self.depth > 0 && self.random.below(12) == 0 => {
                    let p = self.condition();
                    self.line(&format!("@{p} bra DONE;"));
                }
                _ => self.operation(),
            },
            10 | 11 => self.branch(),
            _ => self.repeat(),
        }
    }

    fn statements(&mut self, most: u64) {
        for _ in 0..1 + self.random.below(most) {
            self.statement();
        }
    }

    fn branch(&mut self) {
        let p = self.condition();
        let (other, end) = (self.label(), self.label());
        let together = std::mem::replace(&mut self.together, false);
        self.depth += 1;
        self.line(&format!("@{p} bra L{other};"));
        self.statements(5);
        if self.random.below(2) == 0 {
            self.line(&format!("bra L{end};\nL{other}:"));
            self.statements(5);
            self.line(&format!("L{end}:"));
        } else {
            self.line(&format!("L{other}:\nL{end}:"));
        }
        self.depth -= 1;
        self.together = together;
    }

    fn repeat(&mut self) {
        let (head, next, end) = (self.label(), self.label(), self.label());
        let counter = format!("%c{}", self.depth);
        // As many rounds for all, or not.
        let uniform = self.random.below(2) == 0;
        if uniform {
            let n = 1 + self.random.below(5);
            self.line(&format!("mov.u32 {counter}, {n};"));
        } else {
            let a = self.to();
            self.line(&format!("and.b32 {counter}, {a}, 7;"));
        }
        let together = self.together;
        self.together &= uniform;
        let exchange = self.together && self.random.below(2) == 0;
        self.together &= exchange;
        self.depth += 1;
        self.line(&format!("L{head}:"));
        if !exchange {
            self.loops.push((next, end));
        }
        self.statements(6);
        if !exchange {
            self.loops.pop();
        }
        self.line(&format!(
            "L{next}:\nsub.u32 {counter}, {counter}, 1;\nsetp.gt.s32 %q, {counter}, 0;\n@%q bra L{head};\nL{end}:"
        ));
        self.depth -= 1;
        self.together = together;
    }

    fn kernel(seed: u64, shuffles: bool) -> String {
        let mut g = Generator {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            text: String::new(),
            labels: 0,
            loops: Vec::new(),
            together: true,
            depth: 0,
            shuffles,
        };
        for _ in 0..4 {
            g.random.next();
        }
        g.line(".version 8.6\n.target sm_80\n.address_size 64");
        g.line(".visible .entry k(.param .u64 pin, .param .u64 pout, .param .u64 pcounters)\n{");
        g.line(".local .align 16 .b8 depot[64];\n.shared .align 16 .b8 shared[4096];");
        g.line(&format!(".reg .b32 %r<{WORDS}>, %t<4>, %c<8>, %linear, %threads, %sown;\n.reg .b64 %d<{LONGS}>, %a<2>, %in, %out, %own, %counters;"));
        g.line(".reg .pred %p<4>, %q;\n.reg .f64 %e<3>;\n.reg .b16 %h<3>;");
        g.line("ld.param.u64 %in, [pin];\nld.param.u64 %out, [pout];\nld.param.u64 %counters, [pcounters];");
        g.line(
            "cvta.to.global.u64 %in, %in;\ncvta.to.global.u64 %out, %out;\ncvta.to.global.u64 %counters, %counters;",
        );
        g.line("mov.u32 %t0, %tid.x; mov.u32 %t1, %tid.y; mov.u32 %t2, %ntid.x; mov.u32 %t3, %tid.z;");
        g.line("mad.lo.u32 %linear, %t1, %t2, %t0; mov.u32 %t0, %ntid.y; mul.lo.u32 %t1, %t2, %t0; mad.lo.u32 %linear, %t3, %t1, %linear;");
        g.line("mov.u32 %t3, %ntid.z; mul.lo.u32 %threads, %t1, %t3;");
        g.line("shl.b32 %sown, %linear, 2; mov.u32 %t0, shared; add.u32 %sown, %sown, %t0;");
        g.line("mov.u32 %t0, %ctaid.x; mad.lo.u32 %t0, %t0, %threads, %linear;");
        g.line(&format!("mul.wide.u32 %own, %t0, {}; add.s64 %own, %own, %out;", (WORDS + LONGS * 2 + 9) * 4));
        for i in 0..WORDS {
            match g.random.below(4) {
                0 => {
                    let from = g.random.pick(&["%tid.x", "%ctaid.x", "%laneid", "%tid.y"]);
                    g.line(&format!("mov.u32 %r{i}, {from};"));
                }
                1 => {
                    let value = g.random.next() as u32;
                    g.line(&format!("mov.u32 %r{i}, {value};"));
                }
                _ => g.line(&format!("mad.lo.u32 %t1, %linear, 4, {i};\nand.b32 %t1, %t1, {};\nmul.wide.u32 %a0, %t1, 4;\nadd.s64 %a0, %a0, %in;\nld.global.u32 %r{i}, [%a0];", INPUTS - 1)),
            }
        }
        for i in 0..LONGS {
            g.line(&format!("cvt.u64.u32 %d{i}, %r{i};"));
        }
        for i in 0..4 {
            g.line(&format!("setp.gt.s32 %p{i}, %r{i}, {};", i * 3));
        }
        for i in 0..8 {
            g.line(&format!("st.local.u32 [depot+{}], %r{i};", i * 4));
        }
        g.statements(24);
        g.line("DONE:");
        for i in 0..WORDS {
            g.line(&format!("st.global.u32 [%own+{}], %r{i};", 32 + i * 4));
        }
        for i in 0..LONGS {
            g.line(&format!("cvt.u32.u64 %t0, %d{i}; shr.u64 %d{i}, %d{i}, 32; cvt.u32.u64 %t1, %d{i};"));
            let at = 32 + (WORDS + 2 * i) * 4;
            g.line(&format!("st.global.u32 [%own+{at}], %t0; st.global.u32 [%own+{}], %t1;", at + 4));
        }
        g.line("selp.u32 %t0, 1, 0, %p0; @%p1 or.b32 %t0, %t0, 2; @%p2 or.b32 %t0, %t0, 4; @%p3 or.b32 %t0, %t0, 8;");
        g.line(&format!("st.global.u32 [%own+{}], %t0;\nret;\n}}", 32 + (WORDS + 2 * LONGS) * 4));
        g.text
    }
}

pub const BLOCKS: [[u32; 3]; 9] =
    [[32, 1, 1], [64, 1, 1], [16, 4, 1], [33, 1, 1], [8, 8, 1], [100, 1, 1], [48, 2, 1], [16, 2, 2], [5, 3, 1]];

/// What a kernel leaves in memory.
fn run(engine: Engine, source: &str, block: [u32; 3]) -> Result<Vec<u32>, String> {
    let mut d = Device::with_threads(1);
    d.engine = engine;
    let mut random = Random(0x1234_5678_9abc_def1);
    let inputs: Vec<u32> = (0..INPUTS)
        .map(|i| match i % 4 {
            0 => (random.next() % 64) as u32,
            1 => ((random.next() % 2000) as f32 / 7.0 - 100.0).to_bits(),
            2 => {
                [0, 0x8000_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_1234, 0xffc0_0001, 1, 0x807f_ffff][i as usize / 4 % 8]
            }
            _ => random.next() as u32,
        })
        .collect();
    let threads = block.iter().product::<u32>() * 2;
    let words = threads as usize * (WORDS + LONGS * 2 + 9) as usize;
    let (pin, out, counters) = (d.words(&inputs), d.words(&vec![0; words]), d.words(&[0; 8]));
    let program = d.load(source);
    let args = [Arg::U64(pin), Arg::U64(out), Arg::U64(counters)];
    d.launch(&program, "k", ([2, 1, 1], block), &args).map_err(|fault| fault.to_string())?;
    let mut all = d.read(out, words);
    all.extend(d.read(counters, 8));
    Ok(all)
}

/// What both tiers leave in memory, where that differs.
pub fn difference(source: &str, block: [u32; 3]) -> Option<String> {
    let expected = run(Engine::new(1), source, block);
    let got = run(crate::engine(1), source, block);
    if let Err(error) = &expected {
        return Some(format!("block {block:?}: {error}\n{source}"));
    }
    if expected == got {
        return None;
    }
    let mut report = format!("block {block:?}\n{source}\n");
    match (&expected, &got) {
        (Ok(expected), Ok(got)) => {
            let stride = (WORDS + LONGS * 2 + 9) as usize;
            for (i, (e, g)) in expected.iter().zip(got).enumerate().filter(|(_, (e, g))| e != g).take(12) {
                let _ = writeln!(report, "thread {} slot {}: {e:#x}, not {g:#x}", i / stride, i % stride);
            }
        }
        _ => {
            let _ = writeln!(report, "{:?} and {:?}", expected.as_ref().err(), got.as_ref().err());
        }
    }
    Some(report)
}

fn compare(seeds: std::ops::Range<u64>) {
    for seed in seeds {
        let block = BLOCKS[seed as usize % BLOCKS.len()];
        let full = block.iter().product::<u32>().is_multiple_of(32);
        let source = Generator::kernel(seed, full && seed % 2 == 0);
        if let Some(report) = difference(&source, block) {
            panic!("seed {seed}, {report}");
        }
    }
}

#[test]
fn generated_kernels_give_the_same_in_both_tiers() {
    compare(0..60);
}

/// `VGPU_SEEDS=FROM..TO` says which.
#[test]
#[ignore = "takes half an hour"]
fn ten_thousand_generated_kernels_give_the_same_in_both_tiers() {
    let range = std::env::var("VGPU_SEEDS").ok();
    let range = range.as_deref().and_then(|text| text.split_once(".."));
    let (from, to) = range.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?))).unwrap_or((0, 10_000));
    compare(from..to);
}
