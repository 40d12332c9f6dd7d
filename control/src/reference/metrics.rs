//! `docs/METRICS.md`.

use crate::sys::figures::FIGURES;
use crate::sys::loads::{LOADS, WINDOWS, topic};
use crate::sys::reasons::{SETS, Set};

const HEAD: &str = "\
# Metrics

Generated from the code: `cargo run -p pelton -- docs --write docs`.

The broker publishes its figures below `$SYS/`, retained, every `[sys] interval_seconds`; of these only what has changed.
All are sums over all shards, since the start unless said otherwise. A subscription to `#` does not get them, one to
`$SYS/#` does:

```
mosquitto_sub -v -t '$SYS/#'
```

A message or connection that is lost is never lost without a count: each has one reason of a closed set.
";

/// The page. `transports` are the counters of the transports compiled in.
pub(crate) fn page(transports: &[Set]) -> String {
    let mut out = String::from(HEAD);
    out.push_str("\n## Figures\n\n| topic | what it says |\n|---|---|\n");
    for figure in FIGURES {
        out.push_str(&format!("| `{}` | {} |\n", figure.topic, figure.help));
    }
    out.push_str("\n## Loads\n\nPer minute, as moving averages over 1, 5 and 15 minutes.\n\n| topics | what is averaged |\n|---|---|\n");
    for load in &LOADS {
        let topics: Vec<String> =
            WINDOWS.iter().map(|(window, _)| format!("`{}`", topic(load, window))).collect();
        out.push_str(&format!("| {} | {} |\n", topics.join(" "), load.help));
    }
    for set in SETS.iter().chain(transports) {
        out.push_str(&format!(
            "\n## `$SYS/broker/pelton/{}/...`\n\n{}\n\n| name | what is counted |\n|---|---|\n",
            set.name, set.help
        ));
        for (name, help) in set.names.iter().zip(set.helps) {
            out.push_str(&format!("| `{name}` | {} |\n", help.trim()));
        }
    }
    out
}
