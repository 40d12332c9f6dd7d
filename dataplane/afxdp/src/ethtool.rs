//! What a driver says of a device, and how it is told to set it: `SIOCETHTOOL` (linux/ethtool.h). Nothing here is used
//! while frames flow.

use std::io;
use std::os::fd::OwnedFd;

use crate::syscall;

/// An interface of this network namespace, to ask and to set.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
    interface: String,
}

/// How many queues there are; each kind has its own, or they are combined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Channels {
    /// The most that may be combined.
    pub combined_max: u32,
    /// The most that only receive.
    pub rx_max: u32,
    /// The most that only send.
    pub tx_max: u32,
    /// Combined now.
    pub combined: u32,
    /// Only receiving now.
    pub rx: u32,
    /// Only sending now.
    pub tx: u32,
}

impl Channels {
    /// How many receive.
    pub const fn receiving(&self) -> u32 {
        self.rx + self.combined
    }

    /// How many could.
    pub fn receiving_max(&self) -> u32 {
        self.combined_max.max(self.rx_max)
    }
}

/// Entries of a device's rings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    /// The most to receive.
    pub rx_max: u32,
    /// The most to send.
    pub tx_max: u32,
    /// To receive, now.
    pub rx: u32,
    /// To send, now.
    pub tx: u32,
}

/// How long interrupts wait for more frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coalescing {
    /// Microseconds, for received frames.
    pub rx_usecs: u32,
    /// The driver chooses by itself.
    pub adaptive_rx: bool,
}

/// A feature of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Its name.
    pub name: String,
    /// Whether it is on.
    pub on: bool,
    /// Nobody can change it.
    pub fixed: bool,
}

const GDRVINFO: u32 = 0x03;
const GLINK: u32 = 0x0a;
const GCOALESCE: u32 = 0x0e;
const SCOALESCE: u32 = 0x0f;
const GRINGPARAM: u32 = 0x10;
const SRINGPARAM: u32 = 0x11;
const GSTRINGS: u32 = 0x1b;
const GSSET_INFO: u32 = 0x37;
const GFEATURES: u32 = 0x3a;
const SFEATURES: u32 = 0x3b;
const GCHANNELS: u32 = 0x3c;
const SCHANNELS: u32 = 0x3d;

/// The set of the names of features.
const SS_FEATURES: u32 = 4;
/// Words of a name.
const NAME_WORDS: usize = 8;
/// The most features asked for; kernels have about 65.
const FEATURES_MAX: usize = 256;

impl Ethtool {
    /// An interface, by name. Whether it is there shows when it is asked.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn of(interface: &str) -> io::Result<Self> {
        Ok(Self { socket: syscall::control_socket()?, interface: interface.to_owned() })
    }

    /// A command, and the words the kernel puts in its place.
    fn ask<const N: usize>(&self, mut words: [u32; N]) -> io::Result<[u32; N]> {
        self.command(&mut words)?;
        Ok(words)
    }

    fn command(&self, words: &mut [u32]) -> io::Result<()> {
        syscall::ethtool(&self.socket, &self.interface, words)
    }

    /// The driver's name, its version and the device's place on its bus; empty where there is none.
    ///
    /// # Errors
    /// No such interface, or a driver that does not say.
    pub fn driver(&self) -> io::Result<[String; 3]> {
        // `struct ethtool_drvinfo`: after the command, names of 32 bytes: driver, version, firmware, bus; then others.
        let mut words = [0; 49];
        words[0] = GDRVINFO;
        let words = self.ask(words)?;
        let name = |index: usize| text(&words[1 + index * NAME_WORDS..][..NAME_WORDS]);
        Ok([name(0), name(1), name(3)])
    }

    /// Whether there is a link.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn has_link(&self) -> io::Result<bool> {
        Ok(self.ask([GLINK, 0])?[1] != 0)
    }

    /// How many queues there are.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the driver does not say.
    pub fn channels(&self) -> io::Result<Channels> {
        // `struct ethtool_channels`: command; maxima of rx, tx, other, combined; counts of the same.
        let [_, rx_max, tx_max, _, combined_max, rx, tx, _, combined] =
            self.ask([GCHANNELS, 0, 0, 0, 0, 0, 0, 0, 0])?;
        Ok(Channels { combined_max, rx_max, tx_max, combined, rx, tx })
    }

    /// Sets how many queues there are: combined where they can be, else as many to send as to receive.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_receiving(&self, count: u32) -> io::Result<()> {
        let mut words = self.ask([GCHANNELS, 0, 0, 0, 0, 0, 0, 0, 0])?;
        words[0] = SCHANNELS;
        if words[4] != 0 {
            words[8] = count;
        } else {
            words[5] = count;
            words[6] = count.min(words[2]);
        }
        self.command(&mut words)
    }

    /// How long the rings are.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the driver does not say.
    pub fn rings(&self) -> io::Result<Rings> {
        // `struct ethtool_ringparam`: command; maxima of rx, mini, jumbo, tx; counts of the same.
        let [_, rx_max, _, _, tx_max, rx, _, _, tx] = self.ask([GRINGPARAM, 0, 0, 0, 0, 0, 0, 0, 0])?;
        Ok(Rings { rx_max, tx_max, rx, tx })
    }

    /// Sets how long the rings are.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_rings(&self, rx: u32, tx: u32) -> io::Result<()> {
        let mut words = self.ask([GRINGPARAM, 0, 0, 0, 0, 0, 0, 0, 0])?;
        words[0] = SRINGPARAM;
        words[5] = rx;
        words[8] = tx;
        self.command(&mut words)
    }

    fn coalesce(&self) -> io::Result<[u32; 23]> {
        let mut words = [0; 23];
        words[0] = GCOALESCE;
        self.ask(words)
    }

    /// How long interrupts wait.
    ///
    /// # Errors
    /// `EOPNOTSUPP` if the driver does not say.
    pub fn coalescing(&self) -> io::Result<Coalescing> {
        let words = self.coalesce()?;
        Ok(Coalescing { rx_usecs: words[1], adaptive_rx: words[10] != 0 })
    }

    /// Sets how long interrupts wait.
    ///
    /// # Errors
    /// What the driver says.
    pub fn set_coalescing(&self, set: Coalescing) -> io::Result<()> {
        let mut words = self.coalesce()?;
        words[0] = SCOALESCE;
        words[1] = set.rx_usecs;
        words[10] = set.adaptive_rx.into();
        self.command(&mut words)
    }

    /// All features.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn features(&self) -> io::Result<Vec<Feature>> {
        let names = self.feature_names()?;
        let blocks = names.len().div_ceil(32);
        // `struct ethtool_gfeatures`: command, blocks; of each available, requested, active, never changed.
        let mut words = vec![0; 2 + blocks * 4];
        words[0] = GFEATURES;
        words[1] = blocks as u32;
        self.command(&mut words)?;
        let bit = |index: usize, word: usize| words[2 + index / 32 * 4 + word] >> (index % 32) & 1 == 1;
        Ok(names
            .into_iter()
            .enumerate()
            .filter(|(_, name)| !name.is_empty())
            .map(|(index, name)| Feature { name, on: bit(index, 2), fixed: !bit(index, 0) || bit(index, 3) })
            .collect())
    }

    fn feature_names(&self) -> io::Result<Vec<String>> {
        // `struct ethtool_sset_info`: command, reserved, a mask of sets in two words, their sizes.
        let [_, _, mask, _, count] = self.ask([GSSET_INFO, 0, 1 << SS_FEATURES, 0, 0])?;
        let count = if mask == 0 { 0 } else { count as usize };
        if count > FEATURES_MAX {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        // `struct ethtool_gstrings`: command, set, how many; names. The kernel writes as many as it has.
        let mut words = vec![0; 3 + FEATURES_MAX * NAME_WORDS];
        words[0] = GSTRINGS;
        words[1] = SS_FEATURES;
        words[2] = count as u32;
        if count != 0 {
            self.command(&mut words)?;
        }
        Ok(words[3..].chunks(NAME_WORDS).take(count).map(text).collect())
    }

    /// Turns a feature on or off. That others follow it is the driver's affair.
    ///
    /// # Errors
    /// `NotFound` if there is no such feature; what the driver says.
    pub fn set_feature(&self, name: &str, on: bool) -> io::Result<()> {
        let names = self.feature_names()?;
        let index =
            names.iter().position(|known| known == name).ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        let blocks = names.len().div_ceil(32);
        // `struct ethtool_sfeatures`: command, blocks; of each those that are meant, those that are wanted.
        let mut words = vec![0; 2 + blocks * 2];
        words[0] = SFEATURES;
        words[1] = blocks as u32;
        let bit = 1 << (index % 32);
        words[2 + index / 32 * 2] = bit;
        words[3 + index / 32 * 2] = if on { bit } else { 0 };
        self.command(&mut words)
    }
}

/// A name that ends with zero, or with its words.
fn text(words: &[u32]) -> String {
    let bytes: Vec<u8> =
        words.iter().flat_map(|word| word.to_ne_bytes()).take_while(|&byte| byte != 0).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_says_what_it_has_and_what_is_not_there_is_an_error() {
        let loopback = Ethtool::of("lo").expect("a socket");
        let features = loopback.features().expect("every device has some");
        let named = |name: &str| features.iter().find(|feature| feature.name == name).cloned();
        // It never was a device with a cable: this one is as it is.
        assert_eq!(
            named("loopback"),
            Some(Feature { name: "loopback".into(), on: true, fixed: true }),
            "{features:?}"
        );
        assert!(named("rx-gro").is_some_and(|feature| !feature.fixed), "{features:?}");
        assert!(loopback.rings().is_err());
        assert_eq!(
            loopback.set_feature("no-such", true).expect_err("there is none").kind(),
            io::ErrorKind::NotFound
        );
        let nobody = Ethtool::of("no-such-device").expect("a socket");
        assert!(nobody.driver().is_err() && nobody.channels().is_err());
    }
}
