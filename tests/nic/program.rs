//! Programs on interfaces: one that a broker left is taken away, no other.

use std::fs::File;

use pelton_afxdp::{CatchAll, Hook, Take};
use pelton_tests::namespace::is_possible;
use pelton_tests::scratch::Scratch;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::link::{Link, OURS};

/// Serves until killed, with a program that outlives it; then what is said before, between and after.
const LEFT_BEHIND: &str = "\
mount -t bpf bpf /sys/fs/bpf || exit 9
$PELTON serve -c CONFIG --bind 127.0.0.1:0 --shards 1 2>DIRECTORY/log & broker=$!
for i in $(seq 200); do grep -q 'datapath: ' DIRECTORY/log && break; sleep 0.1; done
echo served; $PELTON xdp status INTERFACE
echo refused; $PELTON xdp detach INTERFACE 2>&1; echo code $?
kill -9 $broker; wait $broker 2>/dev/null
echo left; $PELTON xdp status INTERFACE
echo taken; $PELTON xdp detach INTERFACE; echo code $?
echo gone; $PELTON xdp status INTERFACE
echo again; $PELTON xdp detach INTERFACE; echo code $?
cat DIRECTORY/log >&2
";

#[test]
fn what_a_broker_left_is_taken_away_and_what_it_has_is_not() {
    if !is_possible("pelton xdp after a broker that was killed", &[]) {
        return;
    }
    let link = Link::new();
    let directory = Scratch::directory();
    let config = directory.path().join("pelton.toml");
    let text = format!(
        "[[interface]]\nname = \"{OURS}\"\nmode = \"copy\"\nrequire = true\non_exit = \"hold\"\nports = [1883]\n\
         [storage]\npolicy = \"memory\"\n"
    );
    std::fs::write(&config, text).expect("the folder is ours");
    let script = LEFT_BEHIND
        .replace("CONFIG", &config.display().to_string())
        .replace("DIRECTORY", &directory.path().display().to_string())
        .replace("INTERFACE", OURS);
    let ended = link.shell(&script);
    let (out, err) = (&ended.out, &ended.err);
    let part = |from: &str, to: &str| {
        let behind = out.split(&format!("{from}\n")).nth(1).unwrap_or_else(|| panic!("{from}: {out} {err}"));
        behind.split(&format!("{to}\n")).next().unwrap_or_default().to_owned()
    };
    let served = part("served", "refused");
    assert!(served.contains("(pelton_steer), native, of a broker, of process "), "{served} {err}");
    let refused = part("refused", "left");
    assert!(refused.contains("stop that one first") && refused.ends_with("code 1\n"), "{refused}");
    let left = part("left", "taken");
    assert!(left.contains("left by a broker, held by /sys/fs/bpf/pelton/veth0"), "{left} {err}");
    let taken = part("taken", "gone");
    assert!(taken.contains("gone; the kernel has all frames again\ncode 0"), "{taken}");
    assert_eq!(part("gone", "again"), format!("{OURS}: none\n"));
    assert!(out.ends_with("no program is attached\ncode 0\n"), "{out}");
}

#[test]
fn a_program_of_somebody_else_is_left_alone() {
    if !is_possible("pelton xdp beside a program of somebody else", &[]) {
        return;
    }
    let link = Link::new();
    let namespace = File::open(format!("/run/netns/{}", link.ours.name())).expect("it is there");
    // The thread alone goes there, and ends.
    let attached = std::thread::spawn(move || {
        use std::os::fd::AsFd;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
        CatchAll::attach(OURS, Hook::Native, Take::TcpOverIpv4, std::iter::empty()).expect("veth takes it")
    });
    let attached = attached.join().expect("it was attached");
    let status = link.pelton(&format!("xdp status {OURS}"));
    assert!(status.out.contains("not ours"), "{}", status.out);
    let refused = link.pelton(&format!("xdp detach {OURS}"));
    assert_eq!(refused.code, Some(1));
    assert!(refused.err.contains("not ours and is left alone"), "{}", refused.err);
    assert_eq!(refused.err.lines().count(), 1);
    let answer = link.pelton(&format!("probe {OURS} --shards 1 --output json")).json();
    assert_eq!(answer["interfaces"][0]["reaches"], "kernel sockets", "{answer}");
    assert!(answer.to_string().contains("another XDP program is attached"), "{answer}");
    assert!(link.pelton(&format!("xdp status {OURS}")).out.contains("not ours"), "it is still there");
    drop(attached);
    assert!(link.pelton(&format!("xdp status {OURS}")).out.contains(": none"));
}
