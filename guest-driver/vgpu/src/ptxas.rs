//! `vgpu ptxas`: what CUDA's assembler is for a GPU that executes PTX. Programs that make kernels themselves, such as
//! XLA and Triton, start a `ptxas` and load what it wrote.
//!
//! The output is a fat binary that holds the PTX, so that any driver takes it. The text is checked as the software GPU
//! checks it when it is loaded.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{bail, Context, Result};
use vgpu_engine::ptx;
use vgpu_images::fatbin;

/// The name under which this program is `ptxas`.
pub const NAME: &str = "ptxas";

/// As NVIDIA's says it, for programs that read their assembler's version.
const VERSION: &str = "ptxas: assembler for GPUs that execute PTX\nCuda compilation tools, release 13.0, V13.0.0";

/// Options of NVIDIA's whose value may stand behind them as an argument of its own, beside `-o`.
const WITH_VALUE: [&str; 8] =
    ["-arch", "--gpu-name", "-O", "--opt-level", "-maxrregcount", "--maxrregcount", "-m", "--machine"];

/// Arguments of `vgpu ptxas`.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// As for NVIDIA's: the PTX, `-o` and the output, `--version`. Other options are taken and change nothing.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<OsString>,
}

/// What to do.
#[derive(Debug, PartialEq, Eq)]
enum Task {
    TellVersion,
    Assemble { input: PathBuf, output: PathBuf },
}

fn task(arguments: &[OsString]) -> Result<Task> {
    let (mut input, mut output) = (None, PathBuf::from("elf.o"));
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let option = argument.to_string_lossy();
        match option.split_once('=').unwrap_or((&option, "")) {
            ("-V" | "--version", _) => return Ok(Task::TellVersion),
            ("-o" | "--output-file", "") => output = rest.next().context("a file's name is missing behind -o")?.into(),
            ("-o" | "--output-file", name) => output = name.into(),
            (name, "") if WITH_VALUE.contains(&name) => drop(rest.next()),
            (name, _) if name.starts_with('-') => {}
            _ if input.is_some() => bail!("{option}: one file at a time is assembled"),
            _ => input = Some(PathBuf::from(argument)),
        }
    }
    Ok(Task::Assemble { input: input.context("no input file")?, output })
}

/// Whether the program was started as `ptxas`.
pub fn is_name(program: &OsStr) -> bool {
    std::path::Path::new(program).file_name().is_some_and(|name| name == NAME)
}

/// Checks a PTX text and packs it.
fn assemble(text: &[u8]) -> Result<Vec<u8>> {
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let module = ptx::compile(text)?;
    Ok(fatbin::with_ptx(text, ptx::target_number(&module.target)))
}

/// Does what the arguments say.
///
/// # Errors
/// A file cannot be read or written, or the text is not PTX.
pub fn run(args: &Args) -> Result<ExitCode> {
    match task(&args.arguments)? {
        Task::TellVersion => println!("{VERSION}"),
        Task::Assemble { input, output } => {
            let text = std::fs::read(&input).with_context(|| format!("cannot read {}", input.display()))?;
            let image = assemble(&text).with_context(|| input.display().to_string())?;
            std::fs::write(&output, image).with_context(|| format!("cannot write {}", output.display()))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &str) -> Option<Task> {
        task(&arguments.split(' ').map(OsString::from).collect::<Vec<_>>()).ok()
    }

    fn files(input: &str, output: &str) -> Option<Task> {
        Some(Task::Assemble { input: input.into(), output: output.into() })
    }

    #[test]
    fn command_lines_of_xla_and_triton() {
        assert_eq!(read("/tmp/a -o /tmp/b -arch=sm_80 --warn-on-spills"), files("/tmp/a", "/tmp/b"));
        assert_eq!(read("-lineinfo -v --fmad=false --gpu-name=sm_90a a.ptx -o a.cubin"), files("a.ptx", "a.cubin"));
        assert_eq!(read("-O 3 -arch sm_80 --output-file=b a.ptx"), files("a.ptx", "b"));
        assert_eq!(read("--version"), Some(Task::TellVersion));
    }

    #[test]
    fn command_lines_that_cannot_be_meant() {
        assert_eq!([read("-arch=sm_80 -o b"), read("a b -o c"), read("a -o")], [None, None, None]);
    }

    #[test]
    fn text_is_checked_and_packed() {
        let text = b".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k() { ret; }\n";
        let image = assemble(text).unwrap();
        let members = fatbin::members(&image).unwrap();
        assert_eq!(
            members.iter().map(|member| (member.kind(), member.sm())).collect::<Vec<_>>(),
            [(fatbin::Kind::Ptx, 90)]
        );
        assert!(members[0].bytes(1 << 20).unwrap().starts_with(text));
        assert!(assemble(b".version 8.0\n.target sm_90\n.entry k( { }").is_err());
    }
}
