//! Texts of the files with errors in them: each compiles or is refused with a place in it.

use std::path::Path;
use vgpu_engine::ptx;
use vgpu_filetests::cases;

/// A xorshift generator: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Pieces that instructions are made of.
const PIECES: &[&str] = &[
    ".b0",
    ".h1",
    ".h10",
    ".b3210",
    ".h99",
    ".m16n8k16",
    ".m8n8k4",
    ".m99999999999n8k16",
    ".mnk",
    ".row",
    ".col",
    ".f16",
    ".b1",
    ".s4",
    ".x4",
    ".trans",
    ".v4",
    ".sat",
    ".shared",
    ".local",
    ".global",
    "{",
    "}",
    ",",
    "-",
    "!",
    "|",
    "%i0",
    "%p0",
    "[",
    "]",
    "0xffffffffffffffff",
    "_",
    ";",
    ".popc",
    ".satfinite",
    ".shr7",
    ".po",
    ".add",
    "%o0.b0",
    "alloca.u64",
];

fn mutate(random: &mut Random, text: &mut String) {
    for _ in 0..1 + random.below(3) {
        let at = random.below(text.len());
        let end = (at + random.below(16)).min(text.len());
        match random.below(3) {
            0 => text.insert_str(at, PIECES[random.below(PIECES.len())]),
            1 => text.replace_range(at..end, ""),
            _ => text.replace_range(at..end, PIECES[random.below(PIECES.len())]),
        }
    }
}

#[test]
fn mutated_instructions_are_compiled_or_refused_with_a_place() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for file in ["block", "carry", "convert", "memory", "mma", "video", "warp", "wmma"] {
        let text = std::fs::read_to_string(folder.join(file).with_extension("ptx")).unwrap();
        let forms = cases::parse(&text).unwrap();
        for _ in 0..1500 {
            let form = random.below(forms.len());
            let mut module = cases::module(&forms[form..=form]);
            mutate(&mut random, &mut module);
            if let Err(error) = ptx::compile(module.as_bytes()) {
                assert!(error.line > 0 && error.column > 0, "{error}\n{module}");
            }
        }
    }
}
