//! Instruction counts under callgrind: the regression gate on machines whose clocks cannot be trusted.
//!
//! `instructions` counts every workload and compares with the table in `benches/results/instructions.txt`;
//! it fails if a workload needs more than a twentieth more than it says. `instructions --write` writes the table anew. A workload is run in a process of its own under valgrind, once with few and once with many
//! runs: the difference is the cost of the runs without set-up.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use pelton_benches::{Workload, counted};

const FEW: u64 = 2;
const MANY: u64 = 12;
/// How much more than the table says is let pass, in per mille.
const TOLERANCE: u64 = 50;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", set, name, runs] => {
            let (set, runs) = (set.parse().unwrap_or(0), runs.parse().unwrap_or(0));
            run(set, name, runs)
        }
        [] => compare(false),
        ["--write"] => compare(true),
        _ => {
            eprintln!("usage: instructions [--write]");
            ExitCode::from(2)
        }
    }
}

fn find(set: usize, name: &str) -> Option<Workload> {
    counted().get(set)?().into_iter().find(|workload| workload.name == name)
}

fn run(set: usize, name: &str, runs: u64) -> ExitCode {
    let Some(mut workload) = find(set, name) else { return ExitCode::from(2) };
    for _ in 0..runs {
        (workload.run)();
    }
    ExitCode::SUCCESS
}

fn table() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results/instructions.txt")
}

fn compare(write: bool) -> ExitCode {
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!(
            "NOT RUN: valgrind is not installed (Debian: apt-get install valgrind); nothing was counted"
        );
        return ExitCode::from(3);
    }
    let before = read();
    let mut now = BTreeMap::new();
    let mut worse = 0;
    for (set, workloads) in counted().into_iter().enumerate() {
        for workload in workloads() {
            let counts = (count(set, &workload.name, FEW), count(set, &workload.name, MANY));
            let (Some(few), Some(many)) = counts else {
                eprintln!("{}: valgrind gave no count", workload.name);
                return ExitCode::FAILURE;
            };
            let each = many.saturating_sub(few) / ((MANY - FEW) * workload.operations);
            let verdict = match before.get(&workload.name) {
                Some(&old) if each * 1000 > old * (1000 + TOLERANCE) + 2000 => {
                    worse += 1;
                    format!("WORSE than {old}")
                }
                Some(&old) => format!("was {old}"),
                None => "new".to_owned(),
            };
            println!("{each:>8}  {:<60} {verdict}", workload.name);
            now.insert(workload.name, each);
        }
    }
    if write {
        let mut text = String::from(
            "# Instructions per operation, counted by callgrind (see benches/src/instructions.rs).\n\
             # Written by: cargo run --release -p pelton-benches --bin instructions -- --write\n",
        );
        for (name, each) in &now {
            text.push_str(&format!("{each:>8}  {name}\n"));
        }
        if let Err(error) = std::fs::write(table(), text) {
            eprintln!("{}: {error}", table().display());
            return ExitCode::FAILURE;
        }
        return ExitCode::SUCCESS;
    }
    if worse == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn read() -> BTreeMap<String, u64> {
    std::fs::read_to_string(table())
        .unwrap_or_default()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (count, name) = line.trim_start().split_once("  ")?;
            Some((name.to_owned(), count.parse().ok()?))
        })
        .collect()
}

/// The instructions of a process that runs a workload `runs` times.
fn count(set: usize, name: &str, runs: u64) -> Option<u64> {
    let itself = std::env::current_exe().ok()?;
    let out = std::env::temp_dir().join(format!("pelton-callgrind-{}", std::process::id()));
    let done = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(itself)
        // The allocator gives memory back when so much time has gone by, not so much work: what that costs is not the
        // same twice, and was a third of the count of a workload of few instructions. Without it a count is exact.
        .env("MIMALLOC_PURGE_DELAY", "-1")
        .args(["run", &set.to_string(), name, &runs.to_string()])
        .output()
        .ok()?;
    let text = std::fs::read_to_string(&out).ok()?;
    let _ = std::fs::remove_file(&out);
    if !done.status.success() {
        return None;
    }
    let total =
        text.lines().find_map(|line| line.strip_prefix("summary: ").or(line.strip_prefix("totals: ")))?;
    total.trim().parse().ok()
}
