//! Texts with errors in them: each is compiled or refused with a place in it, and what compiles is consistent,
//! can be placed on a device, and its kernels can be decoded or are refused.

use std::path::Path;
use std::sync::Arc;
use vgpu_engine::engine::{Engine, FaultKind, Program};
use vgpu_engine::memory::Memory;
use vgpu_engine::{ir, ptx};
use vgpu_filetests::cases;
use vgpu_fuzz::{rounds, Random};

/// Functions of real modules that are longer than this are left out: small texts make for many rounds.
const LONGEST: usize = 6000;

/// Numbers at which ranges end, and tokens that few texts have.
const TOKENS: &[&str] = &[
    "0xffffffffffffffff",
    "4294967295",
    "-1",
    "0f7f800000",
    "1e999",
    ".v4",
    ".b128",
    ".m99999999999n8k16",
    ".b3210",
    ".h99",
    ".shared",
    ".param",
    ".extern",
    ".func",
    ".loc 1 2 3, function_name $L0, inlined_at 1 1 1",
    ".branchtargets",
    "%tid.x",
    "{",
    "}",
    "_",
    "\"",
    "/*",
    "@!%p1",
    "alloca.u64",
    "brx.idx",
];

/// Real texts to make mutations of: short modules of a single kernel.
fn texts() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |folder: &Path| -> Vec<String> {
        let mut files: Vec<_> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "ptx"));
        files.sort();
        files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect()
    };
    let mut texts = Vec::new();
    for file in read(&folder.join("cases")) {
        let forms = cases::parse(&file).unwrap();
        texts.extend((0..forms.len()).map(|form| cases::module(&forms[form..=form])));
    }
    for sample in read(&folder.join("../engine/tests/ptx")) {
        let parts: Vec<&str> = sample.split_inclusive("\n}\n").collect();
        let functions = parts[1..].iter().filter(|function| function.len() < LONGEST);
        texts.extend(functions.map(|function| [parts[0], function].concat()));
    }
    texts
}

/// Names with their dots and percent signs, numbers, white space, and single characters.
fn tokens(text: &str) -> Vec<&str> {
    let class = |c: char| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '$' | '%' => 1,
        c if c.is_whitespace() => 2,
        _ => 0,
    };
    let mut tokens = Vec::new();
    let mut start = 0;
    let mut last = 0;
    for (at, c) in text.char_indices() {
        let now = class(c);
        if at > start && (now != last || now == 0) && text[start..at] != *"." {
            tokens.push(&text[start..at]);
            start = at;
        }
        last = now;
    }
    tokens.push(&text[start..]);
    tokens
}

/// Swaps, drops, doubles, exchanges or moves some tokens or statements.
fn mutate_tokens<'t>(random: &mut Random, tokens: &mut Vec<&'t str>, other: &[&'t str]) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(tokens.len());
        let to = random.below(tokens.len());
        let end = (at + random.below(12)).min(tokens.len());
        match random.below(7) {
            0 => tokens.swap(at, to),
            1 => drop(tokens.drain(at..end)),
            2 => tokens.insert(at, tokens[at]),
            3 => tokens[at] = TOKENS[random.below(TOKENS.len())],
            4 => tokens[at] = other[random.below(other.len())],
            5 => {
                let from = random.below(other.len());
                let piece = other[from..(from + random.below(24)).min(other.len())].iter().copied();
                tokens.splice(at..end, piece);
            }
            _ => {
                let piece = tokens[at..end].to_vec();
                tokens.splice(to..to, piece);
            }
        }
        if tokens.is_empty() {
            tokens.push(";");
        }
    }
}

/// Replaces, removes, repeats or moves a few short pieces.
fn mutate_bytes(random: &mut Random, text: &mut Vec<u8>) {
    const BYTES: &[u8] = b"{}()[]<>,;:.@!%+-0189axr_$\"/*|= \n\0\xff";
    for _ in 0..1 + random.below(4) {
        let at = random.below(text.len());
        let len = random.below(24).min(text.len() - at);
        match random.below(5) {
            0 => text[at] = BYTES[random.below(BYTES.len())],
            1 => drop(text.drain(at..at + len)),
            2 => text.insert(at, BYTES[random.below(BYTES.len())]),
            3 => text[at] ^= 1 << random.below(8),
            _ => {
                let piece = text[at..at + len].to_vec();
                let to = random.below(text.len());
                text.splice(to..to, piece);
            }
        }
        if text.is_empty() {
            text.push(b';');
        }
    }
}

/// Everything that happens to a module before its first instruction runs.
fn decode(module: ir::Module, memory: &Arc<Memory>, engine: &Engine) {
    ir::verify(&module).unwrap_or_else(|error| panic!("{error}"));
    // What device memory cannot hold or nobody defines is refused.
    let Ok(program) = Program::load(Arc::new(module), memory) else { return };
    for name in program.kernel_names() {
        let kernel = program.kernel(name).expect("a kernel of the program");
        let block = kernel.attributes().required_block.unwrap_or([1; 3]);
        // What it refuses is told as such.
        if let Err(fault) = engine.prepare(&kernel, block) {
            assert_eq!(fault.kind, FaultKind::Unsupported, "{fault}");
        }
    }
}

#[test]
fn mutated_texts_are_compiled_or_refused_with_a_place() {
    let texts = texts();
    let tokens: Vec<Vec<&str>> = texts.iter().map(|text| tokens(text)).collect();
    let (memory, engine) = (Memory::new(64 << 20).unwrap(), Engine::new(1));
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    for _ in rounds("ptx", 12_000) {
        let chosen = random.below(texts.len());
        let kind = random.below(3);
        let mut text = match kind {
            0 => texts[chosen].clone().into_bytes(),
            _ => {
                let mut mutated = tokens[chosen].clone();
                let other = &tokens[random.below(tokens.len())];
                mutate_tokens(&mut random, &mut mutated, other);
                mutated.concat().into_bytes()
            }
        };
        if kind != 1 {
            mutate_bytes(&mut random, &mut text);
        }
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match ptx::compile(&text) {
            Ok(module) => decode(module, &memory, &engine),
            Err(error) => assert!(error.line > 0 && error.column > 0, "{error}"),
        }));
        if let Err(panic) = outcome {
            eprintln!("the text:\n{}", String::from_utf8_lossy(&text));
            std::panic::resume_unwind(panic);
        }
    }
}
