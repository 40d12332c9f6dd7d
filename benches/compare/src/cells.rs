//! The cells: what is measured of every broker.

use crate::brokers::Suite;

/// What of a run a cell is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// CPU microseconds of the broker per delivery.
    PerDelivery,
    /// Latency at a rate that nobody is limited by.
    Latency,
    /// CPU microseconds of the broker per connect and disconnect.
    PerConnection,
    /// Bytes of memory per idle connection.
    BytesPerConnection,
    /// Percent of a core of a broker with nothing to do.
    IdlePercent,
    /// What it costs that messages are stored.
    Durable,
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) figure: Figure,
    /// Of `pelton-load`; host, port, core, times and process id come with the run.
    pub(crate) arguments: Vec<String>,
}

impl Cell {
    fn new(name: &str, figure: Figure, arguments: &str) -> Self {
        let arguments = arguments.split_ascii_whitespace().map(str::to_owned).collect();
        Self { name: name.to_owned(), figure, arguments }
    }
}

/// All cells, in the order of the table.
pub(crate) fn cells(suite: Suite) -> Vec<Cell> {
    match suite {
        Suite::Speed => speed(),
        Suite::Durable => durable(),
    }
}

/// QoS 1 to persistent sessions. Many messages a session and commit to clients that are away; one; clients that are there,
/// whose acknowledgements may come before the message was written: the more so, the fewer are under way.
fn durable() -> Vec<Cell> {
    [
        ("away q1 64", "away -c 100 --publishers 100 -F 200 -q 1 -s 64"),
        ("away q1 256", "away -c 100 --publishers 100 -F 200 -q 1 -s 256"),
        ("away, one each q1 64", "away -c 20000 --publishers 100 -F 200 -q 1 -s 64 --opening 500"),
        ("there q1 64", "pairs -c 100 -F 64 -q 1 -s 64 --stays"),
        ("there q1 256", "pairs -c 100 -F 64 -q 1 -s 256 --stays"),
        ("there, few under way q1 64", "pairs -c 100 -F 8 -q 1 -s 64 --stays"),
    ]
    .into_iter()
    .map(|(name, arguments)| Cell::new(name, Figure::Durable, arguments))
    .collect()
}

fn speed() -> Vec<Cell> {
    use Figure::{BytesPerConnection, IdlePercent, Latency, PerConnection, PerDelivery};
    let mut cells = Vec::new();
    for (name, scenario) in [
        ("fan-in", "fan-in -c 50 -F 32"),
        ("fan-out", "fan-out -c 500 -F 64"),
        ("pairs", "pairs -c 100 -F 64"),
    ] {
        for qos in 0..=2 {
            for bytes in [64, 1024] {
                cells.push(Cell::new(
                    &format!("{name} q{qos} {bytes}"),
                    PerDelivery,
                    &format!("{scenario} -q {qos} -s {bytes}"),
                ));
            }
        }
    }
    for (name, figure, arguments) in [
        ("shared group of 10 q0 64", PerDelivery, "shared -c 50 -g 10 -F 32 -q 0 -s 64"),
        ("pairs after visitors q0 64", PerDelivery, "pairs -c 100 -F 64 -q 0 -s 64 --visitors 500"),
        ("one by one q0 64", PerDelivery, "pairs -c 1000 -F 1 -q 0 -s 64"),
        ("one by one q1 64", PerDelivery, "pairs -c 1000 -F 1 -q 1 -s 64"),
        ("latency 10000/s q0 64", Latency, "pairs -c 100 --rate 10000 -q 0 -s 64"),
        ("latency 10000/s q1 64", Latency, "pairs -c 100 --rate 10000 -q 1 -s 64"),
        ("connect and disconnect", PerConnection, "connect -c 64"),
        ("idle memory", BytesPerConnection, "idle -c 15000 --from 5000 -k 0"),
        ("idle cpu", IdlePercent, "idle -c 1 --from 0 -k 0"),
    ] {
        cells.push(Cell::new(name, figure, arguments));
    }
    cells
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use pelton_load::Options;

    use super::*;

    #[test]
    fn the_generator_takes_every_cell() {
        let cells: Vec<Cell> = speed().into_iter().chain(durable()).collect();
        for cell in &cells {
            let options = Options::try_parse_from(["pelton-load".into()].iter().chain(&cell.arguments))
                .expect(&cell.name);
            options.check().expect(&cell.name);
            assert_eq!(cells.iter().filter(|other| other.name == cell.name).count(), 1, "{}", cell.name);
        }
    }
}
