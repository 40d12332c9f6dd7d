//! The table, in Markdown.

use std::fmt::Write;

use crate::cells::{Cell, Figure};
use crate::durable;
use crate::results::{Medians, Results};

/// The generator may have limited a cell in which it used more of its core than this.
const GENERATOR_BUSY: f64 = 0.95;

pub(crate) fn markdown(results: &Results) -> String {
    let mut out = String::new();
    let machine = &results.machine;
    let _ = writeln!(out, "# Brokers beside each other\n");
    let _ = writeln!(
        out,
        "{}, {} cores, {} GiB, Linux {}; load average at the start {}. Loopback, generator on core {}.\n",
        machine.processor,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.load_average,
        results.generator_core
    );
    for broker in &results.brokers {
        let cores: Vec<String> = broker.cores.iter().map(usize::to_string).collect();
        let _ = writeln!(
            out,
            "- {}: {}; on core {}; `{}`",
            broker.name,
            broker.version,
            cores.join(" and "),
            broker.command.join(" ")
        );
    }
    let runs = |broker: &str, cell: &Cell| {
        results.runs.iter().filter(|run| run.broker == broker && run.cell == cell.name).count()
    };
    let most = results.cells.iter().map(|cell| runs(&results.brokers[0].name, cell)).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "\nMedians of {most} runs, brokers in turn, a fresh broker for each. `{}`\n",
        results.command
    );
    let p50 = ("p50 us", (|medians| medians.p50_us) as Value);
    let p99 = ("p99 us", (|medians| medians.p99_us) as Value);
    let rate = ("per second", (|medians| Some(medians.rate)) as Value);
    for (title, figures, values) in [
        ("CPU microseconds of the broker per delivery", &[Figure::PerDelivery][..], &[p99][..]),
        ("At a fixed rate: CPU microseconds of the broker per delivery", &[Figure::Latency], &[p50, p99]),
        (
            "CPU microseconds of the broker per connect and disconnect",
            &[Figure::PerConnection],
            &[rate, p50, p99],
        ),
        (
            "Idle: bytes per connection with a subscription; percent of a core",
            &[Figure::BytesPerConnection, Figure::IdlePercent],
            &[],
        ),
    ] {
        section(results, &mut out, title, figures, values);
    }
    rates(results, &mut out);
    durable::section(results, &mut out);
    failures(results, &mut out);
    out
}

/// A second value of a cell.
type Value = fn(&Medians) -> Option<f64>;

/// A table of the cells with such figures: the figure of each broker, the ratio of the first to each of the others, and
/// more values.
fn section(results: &Results, out: &mut String, title: &str, figures: &[Figure], values: &[(&str, Value)]) {
    let cells: Vec<&Cell> = results.cells.iter().filter(|cell| figures.contains(&cell.figure)).collect();
    if cells.is_empty() {
        return;
    }
    let names = || results.brokers.iter().map(|broker| broker.name.as_str());
    let first = &results.brokers[0].name;
    let mut head = vec!["cell".to_owned()];
    head.extend(names().map(str::to_owned));
    head.extend(names().skip(1).map(|name| format!("{first} / {name}")));
    if !results.goals.is_empty() {
        head.push("goal".into());
    }
    for (value, _) in values {
        head.extend(names().map(|name| format!("{name} {value}")));
    }
    let _ = writeln!(out, "## {title}\n\n| {} |\n|---|{}", head.join(" | "), "---:|".repeat(head.len() - 1));
    let or_dash = |value: Option<f64>| value.map_or("-".to_owned(), digits);
    for cell in cells {
        let medians: Vec<Option<Medians>> =
            (0..results.brokers.len()).map(|broker| results.medians(cell, broker)).collect();
        let mut row = vec![cell.name.clone()];
        row.extend(medians.iter().map(|medians| match medians {
            Some(medians) => format!("{}{}", digits(medians.figure), marks(medians)),
            None => "-".into(),
        }));
        for other in &medians[1..] {
            row.push(match (medians[0], other) {
                (Some(first), Some(other)) if other.figure > 0.0 => {
                    format!("{:.2}", first.figure / other.figure)
                }
                _ => "-".into(),
            });
        }
        if !results.goals.is_empty() {
            row.push(results.goals.get(&cell.name).map_or("".into(), |goal| format!("{goal:.2}")));
        }
        for (_, value) in values {
            row.extend(medians.iter().map(|medians| or_dash(medians.as_ref().and_then(value))));
        }
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    let _ = writeln!(out);
}

/// `*` if the generator may have been the limit, `!` if something became of a message that should not.
fn marks(medians: &Medians) -> &'static str {
    match (medians.generator_cores > GENERATOR_BUSY, medians.wrong.iter().any(|&count| count > 0)) {
        (false, false) => "",
        (true, false) => " *",
        (false, true) => " !",
        (true, true) => " *!",
    }
}

/// Thousands of deliveries a second, with how much of their cores both sides had.
fn rates(results: &Results, out: &mut String) {
    let cells: Vec<&Cell> = results.cells.iter().filter(|cell| cell.figure == Figure::PerDelivery).collect();
    if cells.is_empty() {
        return;
    }
    let names: Vec<&str> = results.brokers.iter().map(|broker| broker.name.as_str()).collect();
    let _ = writeln!(
        out,
        "## Thousand deliveries a second (percent of a core: broker, generator)\n\n| cell | {} |\n|---|{}",
        names.join(" | "),
        "---:|".repeat(names.len())
    );
    for cell in cells {
        let row: Vec<String> = (0..names.len())
            .map(|broker| match results.medians(cell, broker) {
                Some(medians) => format!(
                    "{:.0} ({:.0}, {:.0})",
                    medians.rate / 1_000.0,
                    medians.broker_cores * 100.0,
                    medians.generator_cores * 100.0
                ),
                None => "-".into(),
            })
            .collect();
        let _ = writeln!(out, "| {} | {} |", cell.name, row.join(" | "));
    }
    let _ = writeln!(
        out,
        "\n`*`: the generator had over {:.0} % of its core and may have been the limit. `!`: messages were lost, came \
         twice or out of order, see below.\n",
        GENERATOR_BUSY * 100.0
    );
}

fn failures(results: &Results, out: &mut String) {
    for run in &results.runs {
        let wrong = run.report.as_ref().map(|report| (report.lost, report.duplicated, report.out_of_order));
        match (wrong, &run.failure) {
            (_, Some(failure)) => {
                let _ = writeln!(out, "- {}, {}: {failure}", run.cell, run.broker);
            }
            (Some((lost, duplicated, out_of_order)), _) if lost + duplicated + out_of_order > 0 => {
                let _ = writeln!(
                    out,
                    "- {}, {}: {lost} lost, {duplicated} duplicated, {out_of_order} out of order",
                    run.cell, run.broker
                );
            }
            _ => {}
        }
    }
}

/// Three digits that say something.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use pelton_load::Report;
    use pelton_load::report::{Latency, Used};

    use super::*;
    use crate::brokers::{Brokers, Suite};
    use crate::cells::cells;
    use crate::machine::Machine;
    use crate::measure::Figures;

    #[test]
    fn three_digits() {
        assert_eq!([0.4713, 9.5, 35.44, 4421.3].map(digits), ["0.47", "9.50", "35.4", "4421"]);
    }

    fn report(cpu_us: f64, p99_us: f64, lost: u64) -> Report {
        Report {
            rate: 2_000_000.0,
            lost,
            latency: Some(Latency { p99_us, ..Latency::default() }),
            broker: Some(Used { cpu_us_per_count: Some(cpu_us), cores: 0.9, ..Used::default() }),
            generator_cores: 0.5,
            ..Report::default()
        }
    }

    #[test]
    fn medians_and_their_ratios_stand_in_the_row_of_the_cell() {
        let text = "[[broker]]\nname = \"a\"\ncommand = [\"a\"]\n[[broker]]\nname = \"b\"\ncommand = [\"b\"]\n\
                    [goals]\n\"pairs q0 64\" = 0.5\n";
        let brokers: Brokers = toml::from_str(text).unwrap();
        let cells: Vec<_> =
            cells(Suite::Speed).into_iter().filter(|cell| cell.name.starts_with("pairs q0")).collect();
        let mut results = Results::new(Machine::look(), &brokers, &cells, 1);
        for (cpu_us, p99_us) in [(0.2, 10.0), (0.9, 30.0), (0.3, 20.0)] {
            results.add(0, 0, report(cpu_us, p99_us, 0), Figures::new());
            results.add(0, 1, report(cpu_us * 2.0, p99_us * 3.0, 7), Figures::new());
        }
        results.add_failure(1, 1, "does not listen".into());
        let table = markdown(&results);
        for line in [
            "| pairs q0 64 | 0.30 | 0.60 ! | 0.50 | 0.50 | 20.0 | 60.0 |",
            "| pairs q0 1024 | - | - | - |  | - | - |",
            "| pairs q0 64 | 2000 (90, 50) | 2000 (90, 50) |",
            "- pairs q0 64, b: 7 lost, 0 duplicated, 0 out of order",
            "- pairs q0 1024, b: does not listen",
        ] {
            assert!(table.lines().any(|found| found == line), "{line}\n{table}");
        }
    }
}
