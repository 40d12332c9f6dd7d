//! A TAP device against the kernel of this host, in a network namespace of the test's own thread. It takes root; where
//! it cannot run it says so, and with `PELTON_REQUIRE_ROOT=1` that is a failure.

use std::io::Write;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pelton_base::Mono;
use pelton_packet::{Frame, Interface, Parsed, Port, parse, responder};
use pelton_tap::{Attached, TapCounter, TapDrop, TapError, attach};

/// Runs `test` in a thread with a network namespace of its own, one test after the other: a child that a test starts has
/// the descriptors of all the others until it runs its program, and a device is taken as long as anybody has it open.
fn in_namespace(test: impl FnOnce() + Send + 'static) {
    static TURN: Mutex<()> = Mutex::new(());
    // Whoever failed has ended.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = std::thread::spawn(move || {
        // SAFETY: no pointers are passed; it changes the namespace of this thread, which ends with the test.
        let refused = unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0;
        if refused || !std::path::Path::new("/dev/net/tun").exists() {
            return false;
        }
        test();
        true
    })
    .join();
    match outcome {
        Ok(true) => {}
        Ok(false) => {
            let skipped = "SKIPPED (needs root and /dev/net/tun): TAP devices\n";
            assert!(std::env::var("PELTON_REQUIRE_ROOT").as_deref() != Ok("1"), "{skipped}");
            // Not by a macro: what those print of a test that passes is kept from everybody.
            let _ = std::io::stderr().write_all(skipped.as_bytes());
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A command in the namespace of this thread.
fn run(line: &str) -> bool {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).status().is_ok_and(|status| status.success())
}

fn tap(kind: &str) {
    assert!(run(&format!("ip tuntap add dev tap0 mode tap{kind}")));
    assert!(run("ip address add 10.0.0.1/24 dev tap0") && run("ip link set tap0 up"));
}

/// Answers ARP and pings on every port for so long; returns how many frames came.
fn answer(attached: &mut Attached, lasting: Duration) -> usize {
    let interface = Interface { mac: attached.mac, addresses: vec![[10, 0, 0, 2].into()] };
    let (began, mut seen) = (Instant::now(), 0);
    let mut frames: Vec<Frame> = Vec::new();
    while began.elapsed() < lasting {
        for port in &mut attached.ports {
            port.receive(Mono(0), 64, &mut frames);
            for frame in frames.drain(..) {
                seen += 1;
                let mut back = port.take().expect("there are frames");
                back.set_range(0, back.capacity());
                let len = match parse(&frame) {
                    Ok(Parsed::Arp { link, start }) => {
                        responder::arp(&interface, link, &frame[start..], &mut back)
                    }
                    Ok(Parsed::Ip(datagram)) => responder::icmp(&interface, &datagram, &frame, &mut back),
                    Err(_) => None,
                };
                port.put(frame);
                match len {
                    Some(len) => {
                        back.set_range(0, len);
                        port.send(Mono(0), back).expect("the kernel takes it");
                    }
                    None => port.put(back),
                }
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    seen
}

#[test]
fn the_kernel_pings_us_and_no_frame_is_lost() {
    in_namespace(|| {
        tap(" multi_queue");
        let mut attached = attach("tap0", 2, 64, None).expect("we are root");
        assert_eq!((attached.ports.len(), attached.mtu, attached.up), (2, 1500, true));
        let mut ping =
            Command::new("ping").args(["-c", "3", "-i", "0.1", "-W", "2", "10.0.0.2"]).spawn().ok();
        let seen = answer(&mut attached, Duration::from_millis(1_500));
        match ping.as_mut() {
            Some(ping) => {
                assert!(ping.wait().expect("it is our child").success(), "no answer to a ping");
                assert!(seen >= 4, "{seen} frames");
            }
            // Without ping the kernel still asks who has an address, when a packet is to go there.
            None => {
                let socket = std::net::UdpSocket::bind("10.0.0.1:0").expect("the address is ours");
                socket.send_to(b"?", "10.0.0.2:9").expect("it is queued");
                assert!(answer(&mut attached, Duration::from_millis(500)) > 0);
            }
        }
        for port in &attached.ports {
            assert_eq!(port.pool().outstanding(), 0);
        }
        let received: u64 = attached.ports.iter().map(|port| port.counters().get(TapCounter::Received)).sum();
        assert!(received as usize >= seen && received > 0);
    });
}

#[test]
fn a_device_with_one_queue_serves_one_shard() {
    in_namespace(|| {
        tap("");
        let error = attach("tap0", 2, 8, None).expect_err("there is one queue");
        assert!(matches!(error, TapError::OneQueue { queues: 2, .. }), "{error}");
        let attached = attach("tap0", 1, 8, None).expect("one is there");
        let error = attach("tap0", 1, 8, None).expect_err("it is taken");
        assert!(matches!(error, TapError::Busy { .. }), "{error}");
        drop(attached);
        attach("tap0", 1, 8, None).expect("it is free again");
        let error = attach("lo", 1, 8, None).expect_err("it is another kind");
        assert!(matches!(error, TapError::NotTap { .. }), "{error}");
    });
}

#[test]
fn what_is_too_long_down_or_gone_is_counted() {
    in_namespace(|| {
        tap("");
        let mut attached = attach("tap0", 1, 4, Some(1_000)).expect("we are root");
        assert_eq!(attached.mtu, 1_000);
        let port = &mut attached.ports[0];
        let socket = std::net::UdpSocket::bind("10.0.0.1:0").expect("the address is ours");
        // A neighbour that is known needs no ARP.
        assert!(run("ip neighbour add 10.0.0.2 lladdr 02:00:00:00:00:09 dev tap0"));
        let longest = |port: &mut pelton_tap::TapPort| {
            let mut frames = Vec::new();
            port.receive(Mono(0), 64, &mut frames);
            let longest = frames.iter().map(|frame| frame.len()).max().unwrap_or(0);
            frames.into_iter().for_each(|frame| port.put(frame));
            longest
        };
        longest(port);
        for (bytes, came, lost) in [(900, 942, 0), (1_200, 0, 1)] {
            socket.send_to(&vec![7; bytes], "10.0.0.2:9").expect("it is queued");
            assert_eq!((longest(port), port.drops().get(TapDrop::TooLong)), (came, lost));
        }
        // With every frame held nothing is received, and what has come waits.
        let held: Vec<Frame> = std::iter::from_fn(|| port.take()).collect();
        socket.send_to(b"waits", "10.0.0.2:9").expect("it is queued");
        assert_eq!((longest(port), port.drops().get(TapDrop::NoFrame)), (0, 1));
        held.into_iter().for_each(|frame| port.put(frame));
        assert_eq!(longest(port), 14 + 20 + 8 + 5);
        let send = |port: &mut pelton_tap::TapPort| {
            let mut frame = port.take().expect("there are frames");
            frame.fill(&[0; 60]);
            port.send(Mono(0), frame).expect("it is dropped");
        };
        assert!(run("ip link set tap0 down"));
        send(port);
        assert_eq!(port.drops().get(TapDrop::Down), 1);
        assert!(run("ip link delete tap0"));
        longest(port);
        send(port);
        assert!(port.is_gone());
        assert_eq!((port.drops().get(TapDrop::Down), port.counters().get(TapCounter::Gone)), (2, 1));
        assert_eq!(port.pool().outstanding(), 0);
    });
}
