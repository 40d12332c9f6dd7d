//! What was measured: every run, and the medians.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::Path;

use pelton_load::Report;
use serde::Serialize;

use crate::brokers::Brokers;
use crate::cells::{Cell, Figure};
use crate::machine::Machine;
use crate::measure::Figures;
use crate::table;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// The command of this run.
    pub(crate) command: String,
    pub(crate) generator_core: usize,
    pub(crate) brokers: Vec<Measured>,
    #[serde(skip)]
    pub(crate) cells: Vec<Cell>,
    #[serde(skip)]
    pub(crate) goals: BTreeMap<String, f64>,
    #[serde(skip)]
    pub(crate) runs: Vec<Run>,
}

/// A broker of the table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) command: Vec<String>,
    pub(crate) cores: Vec<usize>,
}

/// One run of one cell.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) cell: String,
    pub(crate) broker: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) report: Option<Report>,
    #[serde(skip_serializing_if = "Figures::is_empty")]
    pub(crate) figures: Figures,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) failure: Option<String>,
}

/// Medians over the runs of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Medians {
    /// The cell's figure.
    pub(crate) figure: f64,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) rate: f64,
    pub(crate) broker_cores: f64,
    pub(crate) generator_cores: f64,
    /// Of all runs together: lost, duplicated, out of order.
    pub(crate) wrong: [u64; 3],
}

impl Results {
    pub(crate) fn new(machine: Machine, brokers: &Brokers, cells: &[Cell], generator_core: usize) -> Self {
        let measured = brokers.list.iter().map(|broker| Measured {
            name: broker.name.clone(),
            version: broker.version_text(),
            command: broker.command.clone(),
            cores: broker.cores.clone(),
        });
        Self {
            machine,
            command: std::env::args().collect::<Vec<_>>().join(" "),
            generator_core,
            brokers: measured.collect(),
            cells: cells.to_vec(),
            goals: brokers.goals.clone(),
            runs: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, cell: usize, broker: usize, report: Report, figures: Figures) {
        self.push(cell, broker, Some(report), figures, None);
    }

    pub(crate) fn add_failure(&mut self, cell: usize, broker: usize, failure: String) {
        self.push(cell, broker, None, Figures::new(), Some(failure));
    }

    fn push(
        &mut self,
        cell: usize,
        broker: usize,
        report: Option<Report>,
        figures: Figures,
        failure: Option<String>,
    ) {
        let (cell, broker) = (self.cells[cell].name.clone(), self.brokers[broker].name.clone());
        self.runs.push(Run { cell, broker, report, figures, failure });
    }

    /// `None` if no run of it came to its end.
    pub(crate) fn medians(&self, cell: &Cell, broker: usize) -> Option<Medians> {
        let reports: Vec<&Report> = self
            .runs
            .iter()
            .filter(|run| run.cell == cell.name && run.broker == self.brokers[broker].name)
            .filter_map(|run| run.report.as_ref())
            .collect();
        let over = |value: &dyn Fn(&Report) -> Option<f64>| {
            median(reports.iter().filter_map(|report| value(report)).collect())
        };
        let sum = |value: &dyn Fn(&Report) -> u64| reports.iter().map(|report| value(report)).sum();
        Some(Medians {
            figure: over(&|report| figure(cell.figure, report))?,
            p50_us: over(&|report| report.latency.map(|latency| latency.p50_us)),
            p99_us: over(&|report| report.latency.map(|latency| latency.p99_us)),
            rate: over(&|report| Some(report.rate))?,
            broker_cores: over(&|report| Some(report.broker?.cores))?,
            generator_cores: over(&|report| Some(report.generator_cores))?,
            wrong: [
                sum(&|report| report.lost),
                sum(&|report| report.duplicated),
                sum(&|report| report.out_of_order),
            ],
        })
    }

    /// The median over the runs of a cell of what `value` makes of each.
    pub(crate) fn median_of(
        &self,
        cell: &Cell,
        broker: usize,
        value: impl Fn(&Report, &Figures) -> Option<f64>,
    ) -> Option<f64> {
        let runs =
            self.runs.iter().filter(|run| run.cell == cell.name && run.broker == self.brokers[broker].name);
        median(runs.filter_map(|run| value(run.report.as_ref()?, &run.figures)).collect())
    }

    /// Writes `path`.md and `path`.json.
    pub(crate) fn write(&self, path: &Path) -> Result<(), Box<dyn Error>> {
        let with = |extension: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(extension);
            name
        };
        fs::write(with(".md"), table::markdown(self))?;
        fs::write(with(".json"), self.json()?)?;
        Ok(())
    }

    /// With a line for each run, so that two files can be compared line by line.
    fn json(&self) -> Result<String, serde_json::Error> {
        let head = serde_json::to_string(self)?;
        let runs: Vec<String> = self.runs.iter().map(serde_json::to_string).collect::<Result<_, _>>()?;
        Ok(format!("{},\n\"runs\":[\n{}\n]}}\n", head.strip_suffix('}').unwrap_or(&head), runs.join(",\n")))
    }
}

fn figure(figure: Figure, report: &Report) -> Option<f64> {
    match figure {
        Figure::PerDelivery | Figure::PerConnection | Figure::Latency | Figure::Durable => {
            report.broker?.cpu_us_per_count
        }
        Figure::BytesPerConnection => Some(report.idle?.bytes_per_connection),
        Figure::IdlePercent => Some(report.broker?.cores * 100.0),
    }
}

/// A run in a few words.
pub(crate) fn brief(report: &Report) -> String {
    let mut text = String::new();
    if let Some(us) = report.broker.and_then(|broker| broker.cpu_us_per_count) {
        text += &format!("{us:8.3} us ");
    }
    if let Some(latency) = report.latency {
        text += &format!("p50 {:.0} p99 {:.0} us ", latency.p50_us, latency.p99_us);
    }
    if let Some(idle) = report.idle {
        text += &format!("{:.0} bytes/connection ", idle.bytes_per_connection);
    }
    text += &format!("{:.0}/s ", report.rate);
    let wrong = report.lost + report.duplicated + report.out_of_order;
    if wrong > 0 {
        text += &format!(
            "LOST {} DUPLICATED {} OUT OF ORDER {}",
            report.lost, report.duplicated, report.out_of_order
        );
    }
    text
}

/// The middle one; of an even number the mean of both.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let high = *values.get(values.len() / 2)?;
    let low = values[(values.len() - 1) / 2];
    Some((low + high) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::brokers::Suite;

    #[test]
    fn the_file_has_every_run() {
        let text = "[[broker]]\nname = \"a\"\ncommand = [\"a\"]\n";
        let mut results = Results::new(
            Machine::look(),
            &toml::from_str(text).unwrap(),
            &crate::cells::cells(Suite::Speed),
            1,
        );
        results.add(0, 0, Report { lost: 7, ..Report::default() }, Figures::new());
        results.add_failure(1, 0, "it said \"no\"}".into());
        let json: serde_json::Value = serde_json::from_str(&results.json().unwrap()).unwrap();
        assert_eq!(json["runs"][0]["report"]["lost"], 7);
        assert_eq!(json["runs"][1]["failure"], "it said \"no\"}");
        assert_eq!(json["brokers"][0]["name"], "a");
        assert!(json["machine"]["cores"].as_u64() > Some(0));
    }

    #[test]
    fn the_middle_one() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
    }
}
