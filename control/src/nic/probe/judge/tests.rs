use pelton_afxdp::ethtool::{Channels, Feature};
use pelton_ebpf_loader::{Attached, Mode};

use super::super::super::host::HugePages;
use super::super::super::profile::Profile;
use super::*;

fn host() -> Host {
    Host {
        kernel: "6.2.0".into(),
        cores: 2,
        lacks: Vec::new(),
        af_xdp: Some(true),
        huge_pages: HugePages { total: 64, free: 64, kib: 2048 },
        bpf_fs: true,
    }
}

/// An ice with four of eight queues, on a kernel that does not tell of XDP.
fn device() -> Device {
    Device {
        name: "eth1".into(),
        index: 3,
        ethernet: true,
        driver: "ice".into(),
        bus: "0000:3b:00.0".into(),
        mac: "02:00:00:00:00:01".into(),
        mtu: 1500,
        up: true,
        carrier: Some(true),
        speed: Some(25_000),
        numa_node: Some(0),
        rx_queues: 4,
        tx_queues: 4,
        channels: Some(Channels { combined_max: 8, combined: 4, ..Channels::default() }),
        rings: None,
        coalescing: None,
        features: Vec::new(),
        xdp: None,
        attached: None,
        profile: Profile::named("ice").unwrap(),
    }
}

fn missing<'a>(judgement: &'a Judgement, rung: &str) -> &'a [Missing] {
    &judgement.stands.iter().find(|stand| stand.rung == rung).unwrap().missing
}

#[test]
fn a_host_and_a_device_in_order_reach_the_top() {
    let judgement = judge(&host(), &device(), 4);
    assert_eq!(judgement.best(), ZERO_COPY);
    assert!(judgement.stands[0].believed, "the kernel did not say it");
    assert!(judgement.notes.is_empty(), "{:?}", judgement.notes);
}

#[test]
fn each_thing_that_stands_in_the_way_is_said_with_what_to_type() {
    let foreign = Attached { program_id: 7, name: Some("other".into()), mode: Some(Mode::Native) };
    for (device, rung, words) in [
        (Device { up: false, ..device() }, SOCKETS, ["it is down", "ip link set eth1 up"]),
        (Device { carrier: Some(false), ..device() }, SOCKETS, ["no link", "cable"]),
        (Device { mtu: 9000, ..device() }, SOCKETS, ["MTU 9000", "ip link set eth1 mtu 3046"]),
        (Device { mtu: 3500, ..device() }, SOCKETS, ["MTU 3500", "ip link set eth1 mtu 3046"]),
        (Device { attached: Some(foreign), ..device() }, SOCKETS, ["7 (other)", "xdp off"]),
        (
            Device { rx_queues: 2, ..device() },
            SOCKETS,
            ["2 receive queues for 4", "ethtool -L eth1 combined 4"],
        ),
        (
            Device { rx_queues: 1, channels: None, ..device() },
            SOCKETS,
            ["1 receive queues for 4", "--shards 1"],
        ),
    ] {
        let judgement = judge(&host(), &device, 4);
        assert_eq!(judgement.best(), rung, "{device:?}");
        let found = missing(&judgement, COPY);
        assert!(
            found.iter().any(|missing| missing.what.contains(words[0]) && missing.fix.contains(words[1])),
            "{words:?}: {found:?}"
        );
    }
    // What stands in the way is said once.
    for mtu in [3500, 9000] {
        let judgement = judge(&host(), &Device { mtu, ..device() }, 4);
        assert_eq!(missing(&judgement, COPY).len(), 1, "{judgement:?}");
    }
    // A frame in pieces is taken by a newer kernel's driver; what a frame holds is more.
    let newer = Host { kernel: "6.3.1".into(), ..host() };
    assert_eq!(judge(&newer, &Device { mtu: 3500, ..device() }, 4).best(), ZERO_COPY);
}

#[test]
fn queues_that_are_not_combined_are_set_apart() {
    let channels = Some(Channels { rx_max: 4, tx_max: 4, rx: 2, tx: 2, ..Channels::default() });
    let judgement = judge(&host(), &Device { rx_queues: 2, channels, ..device() }, 4);
    let found = missing(&judgement, GENERIC);
    assert!(found[0].fix.contains("ethtool -L eth1 rx 4 tx 4"), "{found:?}");
}

#[test]
fn an_old_kernel_and_a_driver_without_it_are_told_apart() {
    let old = Host { kernel: "5.4.0".into(), ..host() };
    let judgement = judge(&old, &device(), 4);
    assert_eq!(judgement.best(), SOCKETS);
    assert!(missing(&judgement, COPY)[0].fix.contains("kernel 5.5"), "{judgement:?}");
    assert!(missing(&judgement, GENERIC).is_empty());

    let veth = Device { driver: "veth".into(), profile: Profile::named("veth").unwrap(), ..device() };
    let judgement = judge(&host(), &veth, 4);
    assert_eq!(judgement.best(), COPY);
    assert!(missing(&judgement, ZERO_COPY)[0].fix.contains("next rung"), "{judgement:?}");
}

#[test]
fn a_driver_that_keeps_queues_for_itself_is_seen() {
    let ena = Device { driver: "ena".into(), profile: Profile::named("ena").unwrap(), ..device() };
    assert_eq!(judge(&host(), &ena, 4).best(), COPY);
    let all = Device { rx_queues: 8, ..ena };
    let judgement = judge(&host(), &all, 8);
    assert_eq!(judgement.best(), SOCKETS);
    let found = missing(&judgement, COPY);
    assert!(found.iter().any(|missing| missing.fix.contains("ethtool -L eth1 combined 4")), "{found:?}");
    assert!(missing(&judgement, GENERIC).is_empty());
}

#[test]
fn what_is_only_worth_a_look_is_a_note() {
    let host = Host { huge_pages: HugePages { total: 10, free: 2, kib: 2048 }, ..host() };
    let lro = Feature { name: "rx-lro".into(), on: true, fixed: false };
    let judgement = judge(&host, &Device { features: vec![lro], ..device() }, 2);
    assert_eq!(judgement.best(), ZERO_COPY);
    let fixes: Vec<&str> = judgement.notes.iter().map(|note| note.fix.as_str()).collect();
    assert_eq!(fixes[0], "sysctl vm.nr_hugepages=28", "{fixes:?}");
    assert!(fixes[1].contains("lro off") && fixes[2].contains("combined 2"), "{fixes:?}");
}

#[test]
fn what_is_no_ethernet_is_the_kernels() {
    let judgement = judge(&host(), &Device { ethernet: false, ..device() }, 4);
    assert_eq!(judgement.best(), SOCKETS);
    assert_eq!(judgement.stands.len(), 2);
}
