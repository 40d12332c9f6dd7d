//! `pelton store`: what the engine's library does, for people and as JSON.

use std::io::{self, Write};
use std::path::Path;

use pelton_storage_lmdb::{CheckReport, Stats, StoreError, backup, check, compact, stats};
use serde_json::{Value, json};

use crate::cli::{Output, StoreCommand, StorePlace};
use crate::config::Storage;
use crate::exit::Exit;
use crate::write_out;

/// Which store a command is about.
pub(crate) fn place(command: &StoreCommand) -> &StorePlace {
    match command {
        StoreCommand::Stats(place) | StoreCommand::Check(place) | StoreCommand::Compact(place) => place,
        StoreCommand::Backup(backup) => &backup.place,
    }
}

/// Does it.
pub(crate) fn run(command: &StoreCommand, config: &Storage) -> Exit {
    let place = place(command);
    let directory = Path::new(place.data.as_deref().unwrap_or(&config.path));
    match answer(command, directory) {
        Ok(Answer { text, json, exit }) => {
            let written = write_out(&match place.output {
                Output::Text => text,
                Output::Json => format!("{json}\n"),
            });
            if written == Exit::Ok { exit } else { written }
        }
        Err(refused) => {
            let _ = writeln!(io::stderr(), "{refused}");
            Exit::Refused
        }
    }
}

/// What a command has to say, in both forms.
struct Answer {
    text: String,
    json: Value,
    exit: Exit,
}

fn answer(command: &StoreCommand, directory: &Path) -> Result<Answer, StoreError> {
    match command {
        StoreCommand::Stats(_) => stats(directory).map(|stats| size(&stats)),
        StoreCommand::Check(_) => check(directory).map(|report| found(&report)),
        StoreCommand::Backup(to) => {
            backup(directory, &to.file)?;
            let bytes = std::fs::metadata(&to.file).map_or(0, |about| about.len());
            Ok(Answer {
                text: format!("{}: {bytes} bytes\n", to.file.display()),
                json: json!({ "file": to.file.display().to_string(), "bytes": bytes }),
                exit: Exit::Ok,
            })
        }
        StoreCommand::Compact(_) => {
            let (before, after) = compact(directory)?;
            Ok(Answer {
                text: format!("{before} bytes before, {after} after\n"),
                json: json!({ "bytes_before": before, "bytes_after": after }),
                exit: Exit::Ok,
            })
        }
    }
}

fn size(stats: &Stats) -> Answer {
    let closed = if stats.closed { "closed in order" } else { "in use, or not closed in order" };
    let mut text = format!(
        "{}\nformat {}, opened {} times, {closed}\n{} bytes used, {} of them free, {} transactions\n\n\
         {:<16}{:>12}{:>16}\n",
        stats.file.display(),
        stats.format,
        stats.opened,
        stats.used_bytes,
        stats.free_bytes,
        stats.transactions,
        "database",
        "records",
        "bytes"
    );
    for database in &stats.databases {
        text.push_str(&format!("{:<16}{:>12}{:>16}\n", database.name, database.records, database.bytes));
    }
    let databases: Vec<Value> = stats
        .databases
        .iter()
        .map(
            |database| json!({ "name": database.name, "records": database.records, "bytes": database.bytes }),
        )
        .collect();
    let json = json!({
        "file": stats.file.display().to_string(),
        "format": stats.format,
        "opened": stats.opened,
        "closed": stats.closed,
        "used_bytes": stats.used_bytes,
        "free_bytes": stats.free_bytes,
        "transactions": stats.transactions,
        "databases": databases,
    });
    Answer { text, json, exit: Exit::Ok }
}

fn found(report: &CheckReport) -> Answer {
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    let mut text = String::new();
    for problem in &problems {
        text.push_str(problem);
        text.push('\n');
    }
    let unlisted = report.problems_total - problems.len() as u64;
    if unlisted != 0 {
        text.push_str(&format!("and {unlisted} more\n"));
    }
    text.push_str(&format!(
        "{} pages ({} used, {} free), {} records, {} messages: {}\n",
        report.pages.total,
        report.pages.used,
        report.pages.free,
        report.records,
        report.messages,
        if report.is_clean() { "all is well".into() } else { format!("{} problems", report.problems_total) }
    ));
    let json = json!({
        "pages": { "total": report.pages.total, "used": report.pages.used, "free": report.pages.free },
        "records": report.records,
        "messages": report.messages,
        "problems": problems,
        "problems_total": report.problems_total,
    });
    Answer { text, json, exit: if report.is_clean() { Exit::Ok } else { Exit::Refused } }
}
