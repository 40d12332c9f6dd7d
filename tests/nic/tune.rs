//! Settings of a veth pair: shown, made, held against the profile, undone.

use pelton_tests::namespace::is_possible;
use pelton_tests::scratch::Scratch;

use crate::link::{Link, OURS};

#[test]
fn a_pair_is_tuned_and_as_it_was_again() {
    if !is_possible("pelton tune on a veth pair", &["ethtool"]) {
        return;
    }
    let link = Link::new();
    let directory = Scratch::directory();
    let undo = directory.path().join("undo.json").display().to_string();
    // Huge pages are the whole machine's.
    let tune = |what: &str| {
        link.pelton(&format!(
            "tune {what} --interface {OURS} --shards 4 --skip vm.nr_hugepages --undo {undo} --output json"
        ))
    };
    link.ours.run(&format!("ethtool -L {OURS} rx 2 tx 2"));
    link.ours.run(&format!("ethtool -K {OURS} gro on"));
    link.shell(&format!("echo 5 > /sys/class/net/{OURS}/napi_defer_hard_irqs"));
    let look = || {
        link.shell(&format!(
            "ls /sys/class/net/{OURS}/queues | grep -c rx-; ethtool -k {OURS} | grep '^generic-receive-offload'; \
             cat /sys/class/net/{OURS}/napi_defer_hard_irqs /proc/sys/net/ipv4/ip_local_reserved_ports"
        ))
        .out
    };
    let before = look();
    assert_eq!(before, "2\ngeneric-receive-offload: on\n5\n\n");
    let plan = tune("plan").json();
    let line = |setting: &str| {
        let lines = plan["lines"].as_array().expect("it is a list");
        lines.iter().find(|line| line["setting"] == setting).cloned().expect(setting)
    };
    assert_eq!((&line("queues")["now"], &line("queues")["want"]), (&"2".into(), &"4".into()));
    assert_eq!(line("vm.nr_hugepages")["state"], "left alone");
    assert_eq!(line("feature:rx-gro")["verified"], true);
    assert_eq!(look(), before, "a plan changes nothing");
    assert_eq!(tune("check").code, Some(1));

    assert_eq!(tune("apply").code, Some(0));
    assert_eq!(look(), "4\ngeneric-receive-offload: off\n0\n1883\n");
    assert_eq!(tune("check").code, Some(0));
    link.ours.run(&format!("ethtool -K {OURS} gro on"));
    let drift = tune("check");
    assert_eq!((drift.code, &drift.json()["drift"]), (Some(1), &true.into()));
    link.ours.run(&format!("ethtool -K {OURS} gro off"));

    let revert = link.pelton(&format!("tune revert --undo {undo}"));
    assert_eq!(revert.code, Some(0), "{}", revert.err);
    assert_eq!(look(), before, "{}", revert.out);
    let nothing = link.pelton(&format!("tune revert --undo {undo}"));
    assert_eq!((nothing.code, nothing.err.lines().count()), (Some(1), 1), "{}", nothing.err);
}
