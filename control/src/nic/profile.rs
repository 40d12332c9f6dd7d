//! Hardware profiles: what is known about families of devices. `hw-profiles/README.md` says what the keys mean.

use serde::Deserialize;

/// The profiles, by family. The last is for all devices that no other is for.
const FILES: [(&str, &str); 9] = [
    ("ixgbe", include_str!("../../../hw-profiles/ixgbe.toml")),
    ("i40e", include_str!("../../../hw-profiles/i40e.toml")),
    ("ice", include_str!("../../../hw-profiles/ice.toml")),
    ("mlx5", include_str!("../../../hw-profiles/mlx5.toml")),
    ("ena", include_str!("../../../hw-profiles/ena.toml")),
    ("gve", include_str!("../../../hw-profiles/gve.toml")),
    ("virtio-net", include_str!("../../../hw-profiles/virtio-net.toml")),
    ("veth", include_str!("../../../hw-profiles/veth.toml")),
    ("generic", include_str!("../../../hw-profiles/generic.toml")),
];

/// A profile.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Profile {
    pub(super) family: String,
    pub(super) title: String,
    pub(super) drivers: Vec<String>,
    pub(super) rungs: Rungs,
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) tune: Vec<Tune>,
    #[serde(default)]
    pub(super) command: Vec<Command>,
    #[serde(default)]
    pub(super) fact: Vec<Fact>,
}

/// What a driver can, by version of the kernel.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rungs {
    pub(super) native: Option<Since>,
    pub(super) zero_copy: Option<Since>,
    pub(super) multi_buffer: Option<Since>,
}

/// From which kernel on.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    /// A version, or "never".
    pub(super) since: String,
    pub(super) source: String,
    pub(super) verified: bool,
    pub(super) note: Option<String>,
}

impl Since {
    /// The version; none for never.
    pub(super) fn version(&self) -> Option<(u32, u32)> {
        version(&self.since)
    }
}

/// Limits of a device.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) queues_max: Option<Limit>,
    pub(super) queues_share_percent: Option<Limit>,
    pub(super) mtu_native: Option<Limit>,
    pub(super) ring_max: Option<Limit>,
    pub(super) zero_copy_segments: Option<Limit>,
}

impl Limits {
    /// The most queues a program can be attached with, of so many.
    pub(super) fn queues(&self, of: u32) -> u32 {
        let share = self.queues_share_percent.as_ref().map_or(of, |share| of * share.value / 100);
        share.min(self.queues_max.as_ref().map_or(u32::MAX, |max| max.value))
    }
}

/// A limit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limit {
    pub(super) value: u32,
    pub(super) source: String,
    pub(super) verified: bool,
    pub(super) note: Option<String>,
}

/// A setting.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tune {
    pub(super) knob: String,
    pub(super) want: String,
    pub(super) why: String,
    pub(super) source: String,
    pub(super) verified: bool,
    pub(super) note: Option<String>,
}

/// What is typed by hand.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Command {
    pub(super) what: String,
    pub(super) run: String,
    pub(super) why: String,
    pub(super) source: String,
    pub(super) verified: bool,
    pub(super) note: Option<String>,
}

/// What else is to be known.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fact {
    pub(super) about: String,
    pub(super) text: String,
    pub(super) source: String,
    pub(super) verified: bool,
    pub(super) note: Option<String>,
}

impl Profile {
    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    fn at(index: usize) -> Self {
        Self::parse(FILES[index].1).expect("a test reads every profile")
    }

    /// The profile of a family.
    ///
    /// # Errors
    /// The families there are.
    pub(super) fn named(family: &str) -> Result<Self, String> {
        let index = FILES.iter().position(|&(name, _)| name == family).ok_or_else(|| {
            let names = FILES.map(|(name, _)| name).join(", ");
            format!("there is no profile `{family}`, only {names}")
        })?;
        Ok(Self::at(index))
    }

    /// The profile for a driver.
    pub(super) fn of_driver(driver: &str) -> Self {
        let all = (0..FILES.len()).map(Self::at);
        all.into_iter()
            .find(|profile| profile.drivers.iter().any(|known| known == driver))
            .unwrap_or_else(|| Self::at(FILES.len() - 1))
    }
}

/// The first two numbers of a version.
pub(super) fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nic::tune::knob::Knob;

    #[test]
    fn every_profile_is_read_and_says_where_it_has_it_from() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../hw-profiles");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".toml").map(str::to_owned))
            .collect();
        there.sort();
        let mut known: Vec<&str> = FILES.iter().map(|&(name, _)| name).collect();
        known.sort_unstable();
        assert_eq!(there, known, "a file that is not compiled in, or the other way round");
        let mut drivers = Vec::new();
        for (name, text) in FILES {
            let profile = Profile::parse(text).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(profile.family, name);
            assert!(!profile.title.is_empty(), "{name}");
            assert_eq!(profile.drivers.is_empty(), name == "generic", "{name}");
            drivers.extend(profile.drivers.clone());
            let Rungs { native, zero_copy, multi_buffer } = &profile.rungs;
            for since in [native, zero_copy, multi_buffer].into_iter().flatten() {
                assert!(since.since == "never" || since.version().is_some(), "{name}: {since:?}");
                assert!(!since.source.is_empty(), "{name}: {since:?}");
            }
            let Limits { queues_max, queues_share_percent, mtu_native, ring_max, zero_copy_segments } =
                &profile.limits;
            for limit in [queues_max, queues_share_percent, mtu_native, ring_max, zero_copy_segments]
                .into_iter()
                .flatten()
            {
                assert!(!limit.source.is_empty() && limit.value > 0, "{name}: {limit:?}");
            }
            for tune in &profile.tune {
                Knob::parse(&tune.knob, &tune.want)
                    .unwrap_or_else(|why| panic!("{name}: {}: {why}", tune.knob));
                assert!(!tune.why.is_empty() && !tune.source.is_empty(), "{name}: {tune:?}");
            }
            for command in &profile.command {
                assert!(!command.run.is_empty() && !command.source.is_empty(), "{name}: {command:?}");
            }
            for fact in &profile.fact {
                assert!(!fact.text.is_empty() && !fact.source.is_empty(), "{name}: {fact:?}");
            }
        }
        let count = drivers.len();
        drivers.sort();
        drivers.dedup();
        assert_eq!(drivers.len(), count, "two profiles for one driver");
    }

    #[test]
    fn a_key_nobody_knows_is_refused_wherever_it_is() {
        let good = FILES[0].1;
        assert!(Profile::parse(good).is_ok());
        for (place, with) in [
            ("[rungs]", "[rungs]\nsome = 1"),
            ("[limits]", "[limits]\nsome = 1"),
            ("[[tune]]", "[[tune]]\nsome = 1"),
            ("[[fact]]", "[[fact]]\nsome = 1"),
            ("[[command]]", "[[command]]\nsome = 1"),
            ("family =", "some = 1\nfamily ="),
            ("native = {", "native = { some = 1,"),
            ("ring_max = {", "ring_max = { some = 1,"),
        ] {
            let bad = good.replacen(place, with, 1);
            assert_ne!(bad, good, "{place} is not there");
            let error = Profile::parse(&bad).expect_err(place).to_string();
            assert!(error.contains("some"), "{place}: {error}");
        }
    }

    #[test]
    fn the_driver_names_the_family() {
        for (driver, family) in [("mlx5_core", "mlx5"), ("virtio_net", "virtio-net"), ("e1000e", "generic")] {
            assert_eq!(Profile::of_driver(driver).family, family);
        }
        assert!(Profile::named("ixbge").unwrap_err().contains("ixgbe, i40e"));
        assert_eq!(Profile::named("ena").unwrap().limits.queues(9), 4);
        assert_eq!(Profile::named("gve").unwrap().limits.queues(64), 16);
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version("never"), None);
    }
}
