//! What this process may do: its effective capabilities (capabilities(7)), from `/proc/self/status`.

use super::Root;

/// What AF_XDP needs, with the bit of each.
const NEEDED: [(&str, u32); 3] = [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_BPF", 39)];
/// It stands for CAP_BPF and more.
const SYS_ADMIN: u32 = 21;

/// Those of the needed capabilities that the process lacks.
pub(super) fn missing(root: &Root) -> Vec<&'static str> {
    let status = root.read("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let has = |bit: u32| mask >> bit & 1 == 1;
    let suffices = |name: &str, bit: u32| has(bit) || name == "CAP_BPF" && has(SYS_ADMIN);
    NEEDED.iter().filter(|(name, bit)| !suffices(name, *bit)).map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        let folder = std::env::temp_dir().join(format!("pelton-capability-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("proc/self")).unwrap();
        let root = Root::new(&folder);
        let with = |mask: &str| {
            std::fs::write(folder.join("proc/self/status"), format!("Name:\tx\nCapEff:\t{mask}\n")).unwrap();
            missing(&root)
        };
        assert_eq!(with("000001ffffffffff"), Vec::<&str>::new());
        assert_eq!(with("0000000000000000"), ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF"]);
        // CAP_SYS_ADMIN (bit 21) and CAP_NET_ADMIN.
        assert_eq!(with("0000000000201000"), ["CAP_NET_RAW"]);
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(missing(&root).len(), 3, "what cannot be read is not there");
    }
}
