//! The binary on an interface that is served past the kernel, in network namespaces: what the rest of the network sees of
//! it, and what it says of itself. Clients of other projects are played over it in `interop`. It takes root.
#![forbid(unsafe_code)]

mod path;
mod xdp;

use std::time::{Duration, Instant};

use pelton_tests::binary::build;
use pelton_tests::namespace::is_possible;
use pelton_tests::tap::{ADDRESSES, OnTap};

#[test]
fn a_host_of_its_own_answers_at_its_addresses() {
    if !is_possible("ARP, neighbours and pings of a broker on a TAP device", &["ping"]) {
        return;
    }
    let broker = OnTap::start(2, &[]);
    let namespace = broker.namespace();
    for address in ADDRESSES {
        // Of all sizes, the largest that one packet holds included.
        for bytes in ["0", "56", "1400"] {
            namespace.run(&format!("ping -n -q -c 3 -i 0.05 -W 2 -s {bytes} {address}"));
        }
        let neighbour = namespace.run(&format!("ip neighbour show {address}"));
        assert!(neighbour.contains("lladdr") && !neighbour.contains("FAILED"), "{neighbour}");
    }
    for other in ["10.77.0.3", "fd77::3"] {
        assert!(!namespace.try_run(&format!("ping -n -q -c 1 -W 1 {other}")).0, "{other} answers");
    }
    // A port that nobody listens on is refused at once, not left in silence.
    let began = Instant::now();
    let refused = namespace.try_run("bash -c exec<>/dev/tcp/10.77.0.2/1884");
    assert!(!refused.0 && refused.1.contains("refused"), "{refused:?}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[test]
fn it_says_what_it_serves_and_what_became_of_frames() {
    if !is_possible("figures of a broker on a TAP device", &["mosquitto_sub"]) {
        return;
    }
    let broker = OnTap::start(2, &[]);
    let pelton = build("pelton", "pelton");
    let status = |place: &str| {
        let output = broker.namespace().command(&pelton).args(["status", place]).output();
        let output = output.expect("the binary that was just built starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut subscriber = broker.command("mosquitto_sub");
    let mut subscriber = subscriber.args(["-h", ADDRESSES[0], "-t", "a"]).spawn().expect("it is installed");
    // The figures are published when the broker starts, and again ten seconds later.
    let until = Instant::now() + Duration::from_secs(25);
    loop {
        // Asked over the device, and over the loopback, which the kernel serves.
        let (there, here) = (status("[fd77::2]:1883"), status("127.0.0.1:1883"));
        assert!(there.contains("kernel sockets, TAP (tap0)") && here.contains("TAP (tap0)"), "{there}");
        let line =
            there.lines().find(|line| line.starts_with("interface")).expect("a line for it").to_owned();
        let segments_in = line.split(", ").find_map(|part| part.strip_suffix(" segments in")?.parse().ok());
        if line.contains(" 1 connections") && segments_in.is_some_and(|count: u64| count > 0) {
            break;
        }
        assert!(Instant::now() < until, "{there}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let _ = subscriber.kill();
    let _ = subscriber.wait();
}
