//! How far an interface gets, and what is missing.

use pelton_tests::namespace::is_possible;
use serde_json::Value;

use crate::link::{Link, OURS};

/// The fixes that are said for a rung.
fn fixes(answer: &Value, rung: &str) -> Vec<String> {
    let rungs = answer["interfaces"][0]["rungs"].as_array().expect("they are listed");
    let found = rungs.iter().find(|known| known["rung"] == rung).expect("every rung is listed");
    let missing = found["missing"].as_array().expect("it is a list");
    missing.iter().map(|missing| missing["fix"].as_str().expect("there is one").to_owned()).collect()
}

#[test]
fn a_pair_in_order_reaches_copies_and_says_why_not_more() {
    if !is_possible("what pelton probe says of a veth pair", &[]) {
        return;
    }
    let link = Link::new();
    let probe = |more: &str| link.pelton(&format!("probe {OURS} --shards 4 --output json{more}")).json();
    let answer = probe("");
    assert_eq!(answer["interfaces"][0]["reaches"], "AF_XDP copy", "{answer}");
    assert_eq!(answer["interfaces"][0]["driver"], "veth");
    assert!(fixes(&answer, "AF_XDP zero-copy")[0].contains("next rung"), "{answer}");

    // Each trouble, its fix as it stands there, and the rung is back.
    let ours = &link.ours;
    for (break_it, rung) in [
        (format!("ip link set {OURS} down"), "kernel sockets"),
        (format!("ip link set {OURS} mtu 9000"), "kernel sockets"),
        (format!("ethtool -L {OURS} rx 2 tx 2"), "kernel sockets"),
    ] {
        if break_it.starts_with("ethtool") && !is_possible("queues of a veth pair", &["ethtool"]) {
            continue;
        }
        ours.run(&break_it);
        let answer = probe("");
        assert_eq!(answer["interfaces"][0]["reaches"], rung, "{break_it}: {answer}");
        let fixes = fixes(&answer, "AF_XDP generic");
        assert_eq!(fixes.len(), 1, "{break_it}: {fixes:?}");
        let fix = fixes[0].split(", or").next().unwrap_or_default();
        ours.run(fix);
        let answer = probe("");
        assert_eq!(answer["interfaces"][0]["reaches"], "AF_XDP copy", "{fix}: {answer}");
    }
    // The driver's own condition: it cannot send to more queues than there are.
    if is_possible("queues of a veth pair", &["ethtool"]) {
        ours.run(&format!("ethtool -L {OURS} rx 2 tx 2"));
        let answer = link.pelton(&format!("probe {OURS} --shards 2 --output json")).json();
        assert!(fixes(&answer, "AF_XDP copy")[0].contains("fewer receive queues"), "{answer}");
        link.theirs.run("ethtool -L veth1 tx 2");
        let answer = link.pelton(&format!("probe {OURS} --shards 2 --output json")).json();
        assert_eq!(answer["interfaces"][0]["reaches"], "AF_XDP copy", "{answer}");
    }
    link.theirs.run("ip link set veth1 down");
    assert!(fixes(&probe(""), "AF_XDP generic")[0].contains("other end"));

    let nobody = link.pelton("probe no-such-0");
    assert_eq!((nobody.code, nobody.err.lines().count()), (Some(1), 1), "{}", nobody.err);
    assert!(nobody.err.contains("ip link"), "{}", nobody.err);
}

#[test]
fn it_is_said_what_an_interface_is_and_can() {
    if !is_possible("what pelton nic says of a veth pair", &[]) {
        return;
    }
    let link = Link::new();
    let ask =
        |what: &str| link.pelton(&format!("nic {what} {OURS} --output json")).json()["interfaces"][0].clone();
    let status = ask("status");
    assert_eq!(status["driver"], "veth");
    assert_eq!(
        (&status["receive_queues"], &status["up"], &status["link"]),
        (&4.into(), &true.into(), &true.into())
    );
    let station = link.ours.run(&format!("cat /sys/class/net/{OURS}/address"));
    assert_eq!(status["station"], station.trim_end());
    let features = ask("features");
    let on = |name: &str| {
        let all = features["features"].as_array().expect("it is a list");
        all.iter().find(|feature| feature["name"] == name).map(|feature| feature["on"].clone())
    };
    assert_eq!(on("rx-gro"), Some(false.into()), "{features}");
    assert_eq!(on("tx-scatter-gather"), Some(true.into()), "{features}");
    assert_eq!(features["profile"]["family"], "veth");
    let queues = ask("queues");
    assert_eq!((&queues["receive_max"], &queues["napi_defer_hard_irqs"]), (&4.into(), &"0".into()));
    // Without a name all of the namespace, loopback too.
    let all = link.pelton("nic status --output json").json();
    assert!(all["interfaces"].as_array().is_some_and(|all| all.len() >= 2), "{all}");
}

#[test]
fn without_privilege_it_is_said_and_nothing_is_set() {
    if !is_possible("pelton probe and tune without privilege", &["setpriv"]) {
        return;
    }
    let link = Link::new();
    let ask = |arguments: &str| link.shell(&format!("setpriv --bounding-set=-all $PELTON {arguments}"));
    let answer = ask(&format!("probe {OURS} --shards 4 --output json")).json();
    assert_eq!(answer["lacks"].as_array().map(Vec::len), Some(3), "{answer}");
    assert_eq!(answer["interfaces"][0]["reaches"], "kernel sockets");
    for rung in ["AF_XDP copy", "AF_XDP generic"] {
        assert!(fixes(&answer, rung)[0].contains("setcap"), "{answer}");
    }
    // What can be seen is seen.
    assert_eq!(ask(&format!("nic status {OURS} --output json")).json()["interfaces"][0]["driver"], "veth");
    link.shell(&format!("echo 5 > /sys/class/net/{OURS}/napi_defer_hard_irqs"));
    let directory = pelton_tests::scratch::Scratch::directory();
    let undo = directory.path().join("undo.json");
    let skip = "--skip vm.nr_hugepages --skip net.ipv4.ip_local_reserved_ports";
    let applied = ask(&format!("tune apply --interface {OURS} --shards 4 {skip} --undo {}", undo.display()));
    assert_eq!(applied.code, Some(1), "{}", applied.out);
    let line = format!("{OURS} napi_defer_hard_irqs: not set: not permitted: run as root\n");
    assert!(applied.out.contains(&line), "{}", applied.out);
    assert_eq!(link.shell(&format!("cat /sys/class/net/{OURS}/napi_defer_hard_irqs")).out, "5\n");
    assert!(!undo.exists(), "there is nothing to undo");
}
