//! `vgpu doctor`: goes through everything that a CUDA program needs, in the order in which it is
//! needed, and says for each fault what mends it.

mod device;
mod leftovers;
mod library;
mod service;
mod trial;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Result;
use serde::Serialize;

/// Arguments of `vgpu doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the findings as one JSON object.
    #[arg(long)]
    json: bool,

    /// The part that loads the library, in a process of its own; not for users.
    #[arg(long, hide = true)]
    trial: bool,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// As it should be.
    Ok,
    /// CUDA programs run, but something should be looked at.
    Warn,
    /// CUDA programs do not run, or do harm.
    Fail,
    /// Does not apply here.
    Skip,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// How it went.
    pub status: Status,
    /// What was found, and where.
    pub detail: String,
    /// What mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, status: Status::Ok, detail: detail.into(), fix: None }
    }

    fn skip(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, status: Status::Skip, detail: detail.into(), fix: None }
    }

    fn warn(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, status: Status::Warn, detail: detail.into(), fix: Some(fix.into()) }
    }

    fn fail(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, status: Status::Fail, detail: detail.into(), fix: Some(fix.into()) }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    checks: &'a [Finding],
}

/// Checks everything; fails if a check does.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.trial {
        trial::run();
        return Ok(ExitCode::SUCCESS);
    }
    let findings = findings();
    let ok = !findings.iter().any(|finding| finding.status == Status::Fail);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&Report { ok, checks: &findings })?);
    } else {
        print!("{}", render(&findings, std::io::stdout().is_terminal()));
    }
    Ok(if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn findings() -> Vec<Finding> {
    let service = service::Service::ask();
    let mut findings = device::check(&service);
    findings.extend(service.check());
    findings.extend(leftovers::check());
    let trial = trial::observe();
    findings.extend(library::check(&trial));
    findings.push(trial.finding());
    findings
}

fn render(findings: &[Finding], colours: bool) -> String {
    let mut text = String::new();
    for finding in findings {
        let (word, colour) = match finding.status {
            Status::Ok => (" OK ", "32"),
            Status::Warn => ("WARN", "33"),
            Status::Fail => ("FAIL", "31"),
            Status::Skip => ("skip", "2"),
        };
        let word = if colours { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.into() };
        text += &format!("[{word}] {:<20} {}\n", finding.check, finding.detail);
        if let Some(fix) = &finding.fix {
            text += &format!("{:27} -> {fix}\n", "");
        }
    }
    let count = |status| findings.iter().filter(|finding| finding.status == status).count();
    match (count(Status::Fail), count(Status::Warn)) {
        (0, 0) => text += "\nEverything works.\n",
        (0, warnings) => text += &format!("\nCUDA programs can run; {warnings} warnings.\n"),
        (failures, _) => text += &format!("\n{failures} checks failed; begin with the first.\n"),
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_show_status_and_fix() {
        let text = render(&[Finding::ok("a", "fine"), Finding::fail("b", "broken", "mend it")], false);
        assert!(text.contains("[ OK ] a") && text.contains("[FAIL] b") && text.contains("-> mend it"), "{text}");
        assert!(text.contains("1 checks failed"));
    }

    #[test]
    fn json_names_the_status_in_capitals() {
        let json = serde_json::to_string(&Finding::warn("a", "b", "c")).unwrap();
        assert_eq!(json, r#"{"check":"a","status":"WARN","detail":"b","fix":"c"}"#);
    }
}
