//! Ports of the broker that the kernel must not give to clients on this host: what comes to such a port of an interface
//! that is served by AF_XDP goes to the broker, so a connection from there would never hear an answer.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// The ports that are nobody's by chance.
const RESERVED: &str = "/proc/sys/net/ipv4/ip_local_reserved_ports";
/// What the kernel reads at once.
const LIST_BYTES_MAX: usize = 4_000;

/// Ports that were reserved, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    file: PathBuf,
    added: BTreeSet<u16>,
}

/// They could not be reserved.
#[derive(Debug)]
pub(crate) struct NotReserved {
    error: io::Error,
    list: String,
}

impl std::fmt::Display for NotReserved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { error, list } = self;
        write!(
            f,
            "the broker's ports cannot be reserved ({error}): a client on this host that is given one as its own hears \
             nothing: sysctl -w net.ipv4.ip_local_reserved_ports={list}"
        )
    }
}

impl Reserved {
    /// Reserves these ports; those that are reserved already stay so when it is dropped.
    pub(crate) fn reserve(ports: impl IntoIterator<Item = u16>) -> Result<Self, NotReserved> {
        Self::reserve_in(Path::new(RESERVED), ports)
    }

    fn reserve_in(file: &Path, ports: impl IntoIterator<Item = u16>) -> Result<Self, NotReserved> {
        let mut added: BTreeSet<u16> = ports.into_iter().collect();
        let read = std::fs::read_to_string(file).and_then(|text| {
            read_list(&text).ok_or_else(|| io::Error::other(format!("it says {:?}", text.trim())))
        });
        let before = match read {
            Ok(before) => before,
            Err(error) => return Err(NotReserved { error, list: write_list(&added) }),
        };
        added.retain(|port| !before.contains(port));
        if !added.is_empty() {
            let all = before.union(&added).copied().collect();
            write(file, &all).map_err(|error| NotReserved { error, list: write_list(&all) })?;
        }
        Ok(Self { file: file.to_owned(), added })
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if self.added.is_empty() {
            return;
        }
        // Others may have been added or taken away meanwhile. What cannot be taken away does no harm.
        let text = std::fs::read_to_string(&self.file).unwrap_or_default();
        if let Some(mut all) = read_list(&text) {
            all.retain(|port| !self.added.contains(port));
            let _ = write(&self.file, &all);
        }
    }
}

fn write(file: &Path, ports: &BTreeSet<u16>) -> io::Result<()> {
    let list = write_list(ports);
    if list.len() > LIST_BYTES_MAX {
        return Err(io::Error::other("the list is too long"));
    }
    std::fs::write(file, list + "\n")
}

/// Reads a list of ports and ranges of them.
fn read_list(text: &str) -> Option<BTreeSet<u16>> {
    let mut ports = BTreeSet::new();
    for part in text.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        ports.extend(first.trim().parse::<u16>().ok()?..=last.trim().parse().ok()?);
    }
    Some(ports)
}

fn write_list(ports: &BTreeSet<u16>) -> String {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for &port in ports {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let text = |(first, last)| if first == last { format!("{first}") } else { format!("{first}-{last}") };
    ranges.into_iter().map(text).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_file(text: &str, test: impl FnOnce(&Path)) -> String {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let file = std::env::temp_dir().join(format!("pelton-reserved-{}-{number}", std::process::id()));
        std::fs::write(&file, text).expect("it can be written");
        test(&file);
        let left = std::fs::read_to_string(&file).expect("it is there");
        std::fs::remove_file(&file).expect("it is there");
        left
    }

    #[test]
    fn what_was_added_goes_and_what_was_there_stays() {
        let said = |file: &Path| std::fs::read_to_string(file).expect("it is there");
        for (before, during) in [
            ("\n", "1883,8883\n"),
            ("8000-8003,9000\n", "1883,8000-8003,8883,9000\n"),
            ("1880-1882,8883\n", "1880-1883,8883\n"),
            ("1883,8883\n", "1883,8883\n"),
            ("65534-65535\n", "1883,8883,65534-65535\n"),
        ] {
            let after = with_file(before, |file| {
                let reserved = Reserved::reserve_in(file, [1883, 8883, 1883]).expect("it can be");
                assert_eq!(said(file), during);
                drop(reserved);
            });
            assert_eq!(after, before);
        }
        // What others change meanwhile stays changed.
        let after = with_file("5\n", |file| {
            let reserved = Reserved::reserve_in(file, [1883]).expect("it can be");
            std::fs::write(file, "7-9,1883\n").expect("it can be written");
            drop(reserved);
        });
        assert_eq!(after, "7-9\n");
    }

    #[test]
    fn what_cannot_be_is_said_with_the_command() {
        let refused =
            |file: &Path| Reserved::reserve_in(file, [1883, 1884]).expect_err("it cannot be").to_string();
        let said = refused(Path::new("/nowhere/ip_local_reserved_ports"));
        assert!(said.ends_with("sysctl -w net.ipv4.ip_local_reserved_ports=1883-1884"), "{said}");
        let odd: String = (0..1_500).map(|n| format!("{},", 10_000 + 2 * n)).collect();
        for text in ["no ports\n", odd.as_str()] {
            let left = with_file(text, |file| assert!(refused(file).contains("sysctl -w")));
            assert_eq!(left, text, "nothing is written");
        }
    }
}
