//! Every counter by its name: what was dropped and why, how connections ended, what the transports did.

use pelton_base::{CounterSet, Counters};
use pelton_broker::counters::{Dropped, Ended, Stored, Traffic};

use super::figures::{StorageFigures, Totals};

/// The topics of a set of counters begin with this.
pub(crate) fn topic(set: &str, name: &str) -> String {
    format!("$SYS/broker/pelton/{set}/{name}")
}

/// A set of counters: its name, what it is about, and each counter with its meaning.
pub(crate) struct Set {
    pub(crate) name: &'static str,
    pub(crate) help: &'static str,
    pub(crate) names: &'static [&'static str],
    pub(crate) helps: &'static [&'static str],
}

impl Set {
    /// The set of an enum.
    pub(crate) const fn of<E: CounterSet>(name: &'static str, help: &'static str) -> Self {
        Self { name, help, names: E::NAMES, helps: E::HELP }
    }
}

/// The broker's sets. Transports and the store have their own, below [`TRANSPORT`] and
/// [`STORAGE`].
pub(crate) const SETS: [Set; 4] = [
    Set::of::<Traffic>("traffic", "Packets and messages."),
    Set::of::<Dropped>(
        "dropped",
        "Messages that were not delivered to a subscriber or not taken from a publisher.",
    ),
    Set::of::<Ended>("ended", "Connections that ended."),
    Set::of::<Stored>("stored", "What befell the storage."),
];

/// The name of the store's set.
pub(crate) const STORAGE: &str = "storage";

/// The name of the transports' set.
pub(crate) const TRANSPORT: &str = "transport";

/// The name of the sets of an interface served past the kernel, whatever it is called, and of what is dropped there.
pub(crate) const INTERFACE: &str = "interface/NAME";
pub(crate) const INTERFACE_DROPPED: &str = "interface/NAME/dropped";

/// The name of the set of an interface's XDP program.
pub(crate) const PROGRAM: &str = "interface/NAME/xdp";

/// Topics and values of the XDP programs.
fn programs(totals: &Totals) -> impl Iterator<Item = (String, String)> + '_ {
    totals.programs.iter().flat_map(|(interface, counts)| {
        let set = format!("interface/{interface}/xdp");
        counts.iter().map(move |(reason, count)| (topic(&set, reason.name()), count.to_string()))
    })
}

/// Topics and values of the interfaces.
fn interfaces(totals: &Totals) -> impl Iterator<Item = (String, String)> + '_ {
    totals.interfaces.iter().flat_map(|interface| {
        let own = format!("interface/{}", interface.name);
        let dropped = format!("{own}/dropped");
        let facts = [("rung", interface.rung.to_owned()), ("connections", interface.connections.to_string())];
        let facts = facts.map(|(name, value)| (topic(&own, name), value));
        let figures =
            interface.figures.iter().map(move |(name, count)| (topic(&own, name), count.to_string()));
        let drops =
            interface.dropped.iter().map(move |(name, count)| (topic(&dropped, name), count.to_string()));
        facts.into_iter().chain(figures).chain(drops)
    })
}

/// Topics and values.
pub(crate) fn values<'a>(
    totals: &'a Totals,
    storage: &'a StorageFigures,
) -> impl Iterator<Item = (String, String)> + 'a {
    fn named<E: CounterSet>(
        set: &'static Set,
        counts: &Counters<E>,
    ) -> impl Iterator<Item = (String, String)> {
        counts.iter().map(move |(name, count)| (topic(set.name, name), count.to_string()))
    }
    let tally = &totals.tally;
    named(&SETS[0], &tally.traffic)
        .chain(named(&SETS[1], &tally.dropped))
        .chain(named(&SETS[2], &tally.ended))
        .chain(named(&SETS[3], &tally.stored))
        .chain(totals.transport.iter().map(|(name, count)| (topic(TRANSPORT, name), count.to_string())))
        .chain(interfaces(totals))
        .chain(programs(totals))
        .chain(storage.counters.iter().map(|(name, count)| (topic(STORAGE, name), count.to_string())))
}
