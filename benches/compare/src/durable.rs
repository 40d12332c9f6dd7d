//! The table of the cells about messages that are stored: a row for each cell and broker.

use std::fmt::Write;

use pelton_load::Report;

use crate::cells::{Cell, Figure};
use crate::measure::Figures;
use crate::results::Results;
use crate::table::digits;

/// Messages the store wrote in the whole run.
const WRITTEN: &str = "written";
/// Messages it did not write, because their acknowledgements had come.
const OVERTAKEN: &str = "overtaken";
/// Bytes of the messages it wrote, with what surrounds each.
const STORED_BYTES: &str = "stored_bytes";
/// Commits.
const COMMITS: &str = "commits";
/// Microseconds spent in them.
const COMMIT_US: &str = "commit_us";
/// What the table looks for among the figures of a broker; one that has none of them has no such columns.
#[cfg(test)]
pub(crate) const FIGURES: [&str; 5] = [WRITTEN, OVERTAKEN, STORED_BYTES, COMMITS, COMMIT_US];

/// What a column says of a run.
type Value = fn(&Report, &Figures) -> Option<f64>;

const COLUMNS: [(&str, Value); 11] = [
    ("per second", |report, _| Some(report.rate)),
    ("broker us", |report, _| report.broker?.cpu_us_per_count),
    ("of that store's thread", |report, _| report.thread_us_per_count),
    ("bytes to disk each", |report, _| report.broker?.written_bytes_per_count),
    ("bytes stored each", |_, figures| {
        Some(figures.get(STORED_BYTES)? / figures.get(WRITTEN)?).filter(|bytes| bytes.is_finite())
    }),
    ("never written %", |_, figures| {
        let (written, overtaken) = (figures.get(WRITTEN)?, figures.get(OVERTAKEN)?);
        Some(100.0 * overtaken / (written + overtaken)).filter(|share| share.is_finite())
    }),
    ("written a commit", per_commit),
    ("a session and commit", |report, figures| {
        Some(per_commit(report, figures)? / (report.subscribers as f64)).map(|each| each.max(1.0))
    }),
    ("commit ms", |_, figures| Some(figures.get(COMMIT_US)? / figures.get(COMMITS)? / 1e3)),
    ("p50 ms", |report, _| Some(report.latency?.p50_us / 1e3)),
    ("p99 ms", |report, _| Some(report.latency?.p99_us / 1e3)),
];

fn per_commit(_: &Report, figures: &Figures) -> Option<f64> {
    Some(figures.get(WRITTEN)? / figures.get(COMMITS)?)
}

/// The table, if there are such cells.
pub(crate) fn section(results: &Results, out: &mut String) {
    let cells: Vec<&Cell> = results.cells.iter().filter(|cell| cell.figure == Figure::Durable).collect();
    if cells.is_empty() {
        return;
    }
    let heads: Vec<&str> = COLUMNS.iter().map(|(head, _)| *head).collect();
    let _ = writeln!(
        out,
        "## QoS 1 to persistent sessions\n\n| cell | broker | {} |\n|---|---|{}",
        heads.join(" | "),
        "---:|".repeat(heads.len())
    );
    for cell in cells {
        for (broker, measured) in results.brokers.iter().enumerate() {
            let values: Vec<String> = COLUMNS
                .iter()
                .map(|(_, value)| results.median_of(cell, broker, value).map_or("".to_owned(), digits))
                .collect();
            if values.iter().any(|value| !value.is_empty()) {
                let _ = writeln!(out, "| {} | {} | {} |", cell.name, measured.name, values.join(" | "));
            }
        }
    }
    let _ = writeln!(
        out,
        "\nCounted and timed are PUBACKs to publishers where clients are away, deliveries where they are there. \
         Microseconds and bytes are for each. Bytes to disk are those the system counts for the process in the seconds \
         measured: all of a run of pages of which a part is written, what is still to be written included, so that it is the \
         upper bound. Bytes stored are those of messages and what surrounds each. `never written`: messages whose \
         acknowledgements came before their turn to be written. These, and figures of commits, are of the whole run, by the \
         broker's own account.\n"
    );
}

#[cfg(test)]
mod tests {
    use pelton_load::report::{Latency, Used};

    use super::*;
    use crate::brokers::{Brokers, Suite};
    use crate::cells::cells;
    use crate::machine::Machine;

    #[test]
    fn a_broker_that_tells_nothing_has_gaps() {
        let text = "suite = \"durable\"\n[[broker]]\nname = \"a\"\ncommand = [\"a\"]\n[[broker]]\nname = \"b\"\n\
                    command = [\"b\"]\n";
        let brokers: Brokers = toml::from_str(text).unwrap();
        let mut results = Results::new(Machine::look(), &brokers, &cells(Suite::Durable), 1);
        let report = Report {
            rate: 250_000.0,
            subscribers: 100,
            latency: Some(Latency { p50_us: 40_000.0, p99_us: 70_000.0, ..Latency::default() }),
            broker: Some(Used {
                cpu_us_per_count: Some(1.25),
                written_bytes_per_count: Some(330.0),
                ..Used::default()
            }),
            thread_us_per_count: Some(0.75),
            ..Report::default()
        };
        let figures = [
            (WRITTEN, 3_000.0),
            (OVERTAKEN, 1_000.0),
            (STORED_BYTES, 951_000.0),
            (COMMITS, 2.0),
            (COMMIT_US, 30_000.0),
        ];
        let figures = figures.map(|(name, value)| (name.to_owned(), value)).into();
        results.add(1, 0, report.clone(), figures);
        results.add(1, 1, Report { thread_us_per_count: None, ..report }, Figures::new());
        let mut out = String::new();
        section(&results, &mut out);
        for line in [
            "| away q1 256 | a | 250000 | 1.25 | 0.75 | 330 | 317 | 25.0 | 1500 | 15.0 | 15.0 | 40.0 | 70.0 |",
            "| away q1 256 | b | 250000 | 1.25 |  | 330 |  |  |  |  |  | 40.0 | 70.0 |",
        ] {
            assert!(out.lines().any(|found| found == line), "{line}\n{out}");
        }
        assert!(!out.contains("| away q1 64 |"), "{out}");
    }
}
