//! Reads PTX texts and says which do not compile, what is refused in the others, and how fast that went.
//!
//!     cargo run --release -p vgpu-filetests --example ptx-check FILE...

use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use vgpu_engine::ptx;

fn main() {
    let (mut bytes, mut time) = (0, Duration::ZERO);
    let (mut functions, mut refused) = (0, BTreeMap::<String, usize>::new());
    for path in std::env::args().skip(1) {
        let text = match std::fs::read(&path) {
            Ok(text) => text,
            Err(error) => {
                println!("{path}: {error}");
                continue;
            }
        };
        let start = Instant::now();
        let module = ptx::compile(&text);
        time += start.elapsed();
        bytes += text.len();
        match module {
            Ok(module) => {
                functions += module.functions.len();
                for what in module.functions.into_iter().filter_map(|function| function.unsupported) {
                    *refused.entry(what.what).or_default() += 1;
                }
            }
            Err(error) => println!("{path}: {error}"),
        }
    }
    for (what, count) in &refused {
        println!("{count:6} {what}");
    }
    let megabytes = bytes as f64 / 1e6;
    println!(
        "{functions} functions, {} refused; {:.1} MB/s",
        refused.values().sum::<usize>(),
        megabytes / time.as_secs_f64()
    );
}
