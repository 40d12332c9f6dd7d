use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::cli::Output;

/// Files of a system with one interface, made up. They go with this.
struct Tree(PathBuf);

impl Tree {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let tree = Self(std::env::temp_dir().join(format!("pelton-tune-{}-{number}", std::process::id())));
        let _ = fs::remove_dir_all(&tree.0);
        for (path, text) in [
            ("sys/class/net/eth1/ifindex", "2"),
            ("sys/class/net/eth1/type", "1"),
            ("sys/class/net/eth1/flags", "0x1003"),
            ("sys/class/net/eth1/mtu", "9001"),
            ("sys/class/net/eth1/napi_defer_hard_irqs", "10"),
            ("sys/class/net/eth1/gro_flush_timeout", "20000"),
            ("sys/class/net/eth1/queues/rx-0/rps_cpus", "0"),
            ("sys/class/net/eth1/queues/rx-1/rps_cpus", "0"),
            ("sys/class/net/eth1/queues/rx-2/rps_cpus", "0"),
            ("proc/sys/vm/nr_hugepages", "3"),
            ("proc/sys/net/ipv4/ip_local_reserved_ports", "80"),
            (
                "proc/interrupts",
                "  CPU0\n 50: 0 PCI 1-edge eth1-TxRx-0\n 51: 0 PCI 1-edge eth1-TxRx-1\n 52: 0 PCI 1-edge eth1-TxRx-2\n",
            ),
            ("proc/irq/50/smp_affinity_list", "0"),
            ("proc/irq/51/smp_affinity_list", "0-3"),
            ("proc/irq/52/smp_affinity_list", "0-3"),
        ] {
            tree.set(path, text);
        }
        tree
    }

    fn set(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("{text}\n")).unwrap();
    }

    fn get(&self, path: &str) -> String {
        fs::read_to_string(self.0.join(path)).unwrap().trim_end().to_owned()
    }

    fn options(&self, profile: &str) -> Tune {
        Tune {
            interface: vec!["eth1".into()],
            profile: Some(profile.into()),
            shards: Some(2),
            port: vec![1883],
            skip: Vec::new(),
            place: TunePlace {
                undo: "/var/lib/pelton/tune-undo.json".into(),
                root: self.0.clone(),
                output: Output::Text,
            },
        }
    }

    fn undo(&self) -> PathBuf {
        self.0.join("var/lib/pelton/tune-undo.json")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const NAPI: &str = "sys/class/net/eth1/napi_defer_hard_irqs";
const FLUSH: &str = "sys/class/net/eth1/gro_flush_timeout";
const PAGES: &str = "proc/sys/vm/nr_hugepages";
const PORTS: &str = "proc/sys/net/ipv4/ip_local_reserved_ports";

#[test]
fn a_plan_says_what_and_why_and_changes_nothing() {
    let tree = Tree::new();
    let text = plan(&tree.options("ixgbe")).unwrap().text;
    for words in [
        "vm.nr_hugepages: 3 -> 20\n",
        "net.ipv4.ip_local_reserved_ports: 80 -> 80,1883\n",
        "eth1 napi_defer_hard_irqs: 10 -> 0\n",
        "eth1 gro_flush_timeout: 20000 -> 0\n",
        "eth1 interrupt:51: 0-3 -> 1\n",
        "eth1 interrupt:52: 0-3 -> 0\n",
        "TLB misses",
        "[believed: https://",
        "eth1 rx-ring: left alone: ",
        "6 to change, 1 as wanted\n",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!((tree.get(NAPI), tree.get(PAGES)), ("10".into(), "3".into()));
    assert!(!tree.undo().exists());
}

#[test]
fn what_was_applied_holds_until_it_is_reverted() {
    let tree = Tree::new();
    let options = tree.options("ixgbe");
    assert_eq!(check(&options).unwrap().exit, Exit::Refused, "nothing is set yet");
    assert_eq!(apply(&options).unwrap().exit, Exit::Ok);
    let set = [tree.get(NAPI), tree.get(FLUSH), tree.get(PAGES), tree.get(PORTS)];
    assert_eq!(set, ["0", "0", "20", "80,1883"]);
    assert_eq!(tree.get("proc/irq/51/smp_affinity_list"), "1");
    let checked = check(&options).unwrap();
    assert_eq!(checked.exit, Exit::Ok, "{}", checked.text);
    assert!(apply(&options).unwrap().text.contains("nothing to change"));

    // It drifts, and is applied again: what was there at the very first is what comes back.
    tree.set(NAPI, "7");
    let checked = check(&options).unwrap();
    assert_eq!(checked.exit, Exit::Refused);
    assert!(checked.text.contains("napi_defer_hard_irqs: 7 -> 0") && checked.json["drift"] == true);
    apply(&options).unwrap();
    let reverted = revert(&options.place).unwrap();
    assert_eq!(reverted.exit, Exit::Ok, "{}", reverted.text);
    let back = [tree.get(NAPI), tree.get(FLUSH), tree.get(PAGES), tree.get(PORTS)];
    assert_eq!(back, ["10", "20000", "3", "80"], "{}", reverted.text);
    assert_eq!(tree.get("proc/irq/51/smp_affinity_list"), "0-3");
    assert!(!tree.undo().exists());
    assert!(revert(&options.place).err().unwrap().contains("nothing to undo"));
}

#[test]
fn what_somebody_else_changed_since_is_left_alone() {
    let tree = Tree::new();
    let options = tree.options("ixgbe");
    apply(&options).unwrap();
    tree.set(PAGES, "128");
    fs::remove_file(tree.0.join(FLUSH)).unwrap();
    let reverted = revert(&options.place).unwrap();
    assert_eq!(tree.get(PAGES), "128");
    assert!(
        reverted.text.contains("somebody changed it since from 20 to 128; it was 3"),
        "{}",
        reverted.text
    );
    assert_eq!(tree.get(NAPI), "10", "the others come back");
}

#[test]
fn nothing_is_touched_that_could_not_be_undone() {
    let tree = Tree::new();
    let mut options = tree.options("ixgbe");
    // A file where the folder would have to be.
    tree.set("blocked", "");
    options.place.undo = "/blocked/undo.json".into();
    let refused = apply(&options).err().unwrap();
    assert!(refused.contains("undo file") && refused.contains("--undo"), "{refused}");
    assert_eq!(tree.get(NAPI), "10");
    // A folder where the file would be prepared: that shows only when it is saved.
    options.place.undo = "/var/lib/pelton/tune-undo.json".into();
    fs::create_dir_all(tree.0.join("var/lib/pelton/tune-undo.new")).unwrap();
    assert!(apply(&options).err().unwrap().contains("cannot be written"));
    assert_eq!((tree.get(NAPI), tree.get(PAGES)), ("10".into(), "3".into()));
    tree.set("var/lib/pelton/tune-undo.json", "not ours");
    assert!(apply(&options).err().unwrap().contains("no undo file of this program"));
    for other in [
        r#"{ "settings": [{ "interface": null, "setting": "/etc/passwd", "before": "x", "after": "y" }] }"#,
        r#"{ "settings": [{ "interface": "x/../../y", "setting": "mtu", "before": "x", "after": "y" }] }"#,
    ] {
        tree.set("var/lib/pelton/tune-undo.json", other);
        assert!(revert(&options.place).err().unwrap().contains("no undo file"), "{other}");
    }
}

#[test]
fn limits_of_the_profile_are_kept() {
    let tree = Tree::new();
    let text = plan(&tree.options("ena")).unwrap().text;
    assert!(text.contains("eth1 mtu: 9001 -> 3498\n"), "{text}");
    tree.set("sys/class/net/eth1/mtu", "1500");
    tree.set(PAGES, "1000");
    let text = plan(&tree.options("ena")).unwrap().text;
    assert!(!text.contains("mtu: ") && !text.contains("hugepages: "), "{text}");
    let mut skipping = tree.options("ixgbe");
    skipping.skip = vec!["napi_defer_hard_irqs".into()];
    let text = plan(&skipping).unwrap().text;
    assert!(text.contains("eth1 napi_defer_hard_irqs: left alone: --skip\n"), "{text}");
    let refused = |options: &Tune| plan(options).err().unwrap();
    assert!(refused(&tree.options("none")).contains("ixgbe"));
    let mut options = tree.options("ena");
    options.interface = vec!["eth2".into()];
    assert!(refused(&options).contains("no interface `eth2`"));
}

#[test]
fn queues_rings_and_features_are_as_the_device_can() {
    use pelton_afxdp::ethtool::{Channels, Coalescing, Feature, Rings};
    let tree = Tree::new();
    let root = Root::new(&tree.0);
    let mut device = Device::of(&root, "eth1").unwrap();
    device.channels = Some(Channels { combined_max: 8, combined: 8, ..Channels::default() });
    device.rings = Some(Rings { rx_max: 1024, tx_max: 8192, rx: 512, tx: 4096 });
    device.coalescing = Some(Coalescing { rx_usecs: 50, adaptive_rx: true });
    let feature = |name: &str, on, fixed| Feature { name: name.into(), on, fixed };
    device.features = vec![
        feature("rx-lro", true, false),
        feature("rx-gro-hw", true, true),
        feature("rx-vlan-hw-parse", false, false),
    ];
    let of = |family: &str, device: &Device, shards: u32| {
        let profile = Profile::named(family).unwrap();
        let lines = for_device(&root, device, &profile, &Aim { shards, ports: &[1883] }).unwrap();
        text(&lines)
    };
    let ixgbe = of("ixgbe", &device, 4);
    for words in [
        "eth1 queues: 8 -> 4\n",
        // As many as there can be.
        "eth1 rx-ring: 512 -> 1024\n",
        "eth1 rx-usecs: 50 -> 10\n",
        "eth1 adaptive-rx: on -> off\n",
        "eth1 feature:rx-lro: on -> off\n",
        "eth1 feature:rx-gro-hw: left alone: the driver has it fixed to on\n",
    ] {
        assert!(ixgbe.contains(words), "{words}: {ixgbe}");
    }
    assert!(!ixgbe.contains("tx-ring: 4096"), "longer than advised is left: {ixgbe}");
    assert!(!ixgbe.contains("vlan-hw-parse: "), "{ixgbe}");
    // More than are needed do no harm there, fewer than the other end's would.
    let veth = of("veth", &device, 4);
    assert!(!veth.contains("queues:"), "{veth}");
    device.channels = Some(Channels { rx_max: 8, rx: 2, ..Channels::default() });
    assert!(of("veth", &device, 4).contains("eth1 queues: 2 -> 4\n"));
    device.channels = Some(Channels { combined_max: 8, combined: 8, ..Channels::default() });
    // Half of them are for XDP's own use.
    assert!(of("ena", &device, 8).contains("eth1 queues: 8 -> 4\n"));
    device.channels = Some(Channels { combined_max: 1, combined: 1, ..Channels::default() });
    assert!(of("ena", &device, 1).contains("eth1 queues: left alone: the driver can attach"));
}
