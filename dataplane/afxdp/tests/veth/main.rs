//! The port on a real kernel: two ends of a veth pair in a network namespace of the test's own.
//!
//! Needs root. Without it the tests say that they did not run; with `PELTON_REQUIRE_ROOT` set they fail instead.

mod frames;
mod pair;

use std::time::{Duration, Instant};

use pelton_afxdp::{
    BusyPoll, CatchAll, Device, Hook, Mode, OpenError, Pages, PortCounter, PortDrop, Settings, Sharing, Take,
    XdpPort,
};
use pelton_base::Mono;
use pelton_packet::{Frame, Port};

use crate::frames::{frame_of, sequence_of};
use crate::pair::{Pair, in_namespace};

const NOW: Mono = Mono(0);

/// Sends `count` numbered frames of `bytes` from one port to the other and receives them.
fn carry(from: &mut XdpPort, to: &mut XdpPort, count: u32, bytes: usize) -> Vec<u32> {
    let (mut next, mut got, mut batch) = (0, Vec::new(), Vec::<Frame>::new());
    let deadline = Instant::now() + Duration::from_secs(20);
    while got.len() < count as usize && Instant::now() < deadline {
        for _ in 0..64 {
            if next == count {
                break;
            }
            let Some(mut frame) = from.take() else { break };
            frame_of(next, bytes, &mut frame);
            match from.send(NOW, frame) {
                Ok(()) => next += 1,
                Err(frame) => {
                    from.put(frame);
                    break;
                }
            }
        }
        from.flush(Mono(u64::MAX));
        to.receive(NOW, 64, &mut batch);
        for frame in batch.drain(..) {
            if let Some(number) = sequence_of(&frame) {
                assert_eq!(frame.len(), bytes);
                got.push(number);
            }
            to.put(frame);
        }
        to.flush(NOW);
    }
    got
}

fn small(interface: &str, queues: Vec<u32>) -> Settings {
    Settings { rx_entries: 1024, tx_entries: 512, pages: Pages::Normal, ..Settings::new(interface, queues) }
}

fn steer(interface: &str, hook: Hook, ports: &[&XdpPort]) -> CatchAll {
    let queues = ports.iter().flat_map(|port| port.queues());
    CatchAll::attach(interface, hook, Take::Everything, queues).expect("a program")
}

fn round_trip(hook: Hook, sharing: Sharing) {
    in_namespace(|| {
        let pair = Pair::new(1);
        let mut a = XdpPort::open(&Settings { sharing, ..small(pair.a(), vec![0]) }).expect("port a");
        let mut b = XdpPort::open(&Settings { sharing, ..small(pair.b(), vec![0]) }).expect("port b");
        assert_eq!(a.mode(), Mode::Copy, "veth copies");
        let _a = steer(pair.a(), hook, &[&a]);
        let _b = steer(pair.b(), hook, &[&b]);
        let expected: Vec<u32> = (0..20_000).collect();
        assert_eq!(carry(&mut a, &mut b, 20_000, 64), expected);
        assert_eq!(carry(&mut b, &mut a, 20_000, 1514), expected);
        // Everything is home again but what waits in the fill ring.
        for port in [&mut a, &mut b] {
            port.flush(NOW);
            assert_eq!(port.counters().get(PortCounter::BadDescriptor), 0);
            assert_eq!(port.drops().get(PortDrop::Fragmented), 0);
            assert!(port.pool().outstanding() <= 1024, "{:?}", port.pool());
            assert_eq!(port.counters().get(PortCounter::Sent), 20_000);
        }
    });
}

#[test]
fn frames_cross_a_native_program() {
    round_trip(Hook::Native, Sharing::Best);
}

#[test]
fn frames_cross_a_generic_program() {
    round_trip(Hook::Generic, Sharing::Copy);
}

#[test]
fn queues_of_one_port_share_its_memory() {
    in_namespace(|| {
        let pair = Pair::new(4);
        let mut ports: Vec<XdpPort> = (0..4)
            .map(|queue| XdpPort::open(&small(pair.a(), vec![queue])).expect("a sender for each queue"))
            .collect();
        let mut b = XdpPort::open(&small(pair.b(), vec![0, 1, 2, 3])).expect("port b");
        let _b = steer(pair.b(), Hook::Native, &[&b]);
        for port in &mut ports {
            let expected: Vec<u32> = (0..1_000).collect();
            assert_eq!(carry(port, &mut b, 1_000, 200), expected, "queue by queue");
        }
        // The frames of any queue are sent on the first.
        let _a = steer(pair.a(), Hook::Native, &ports.iter().collect::<Vec<_>>());
        assert_eq!(carry(&mut b, &mut ports[0], 1_000, 200).len(), 1_000);
    });
}

#[test]
fn a_full_receiver_loses_what_the_kernel_counts() {
    in_namespace(|| {
        let pair = Pair::new(1);
        let mut a = XdpPort::open(&small(pair.a(), vec![0])).expect("port a");
        let b = XdpPort::open(&Settings { rx_entries: 64, ..small(pair.b(), vec![0]) }).expect("port b");
        let _b = steer(pair.b(), Hook::Native, &[&b]);
        for number in 0..400 {
            let mut frame = a.take().expect("a frame");
            frame_of(number, 64, &mut frame);
            a.send(NOW, frame).expect("room");
            a.flush(NOW);
        }
        let kernel = b.kernel_counts();
        let lost = kernel.rx_fill_ring_empty + kernel.rx_ring_full + kernel.rx_dropped;
        assert!(b.has_input() && lost >= 300, "64 fit: {kernel:?}");
        let figures = b.figures();
        let shown = figures.iter().find(|(name, _)| *name == "afxdp_kernel_rx_fill_ring_empty");
        assert_eq!(shown.map(|(_, count)| *count), Some(kernel.rx_fill_ring_empty));
    });
}

#[test]
fn a_queue_is_free_again_after_its_port_is_gone() {
    in_namespace(|| {
        let pair = Pair::new(1);
        for _ in 0..3 {
            let port = XdpPort::open(&small(pair.a(), vec![0])).expect("the queue is free, soon");
            drop(port);
        }
    });
}

#[test]
fn an_interface_is_known_and_its_queues_are_tried_out() {
    in_namespace(|| {
        let pair = Pair::new(4);
        let device = Device::of(pair.a()).expect("it is there");
        assert_eq!((device.mtu, device.up, device.queues), (1500, true, 4));
        assert!(device.addresses.is_empty() && device.mac.0 != [0; 6], "{device:?}");
        let said = Device::of("nosuch0").expect_err("it is not there").to_string();
        assert!(said.contains("`nosuch0`"), "{said}");
        let mut port = XdpPort::open(&small(pair.a(), vec![0, 1, 2, 3])).expect("port");
        port.try_out(pair.a(), device.mac).expect("it sends");
        let before = port.pool().outstanding();
        assert_eq!(before, 4 * 1024, "what is in the fill rings");
        pair.take_down();
        assert!(matches!(XdpPort::open(&small(pair.b(), vec![0])), Err(OpenError::Down { .. })));
    });
}

#[test]
fn what_is_missing_is_said() {
    in_namespace(|| {
        let pair = Pair::new(1);
        let said = |settings: &Settings| XdpPort::open(settings).expect_err("refused").to_string();
        let settings = small(pair.a(), vec![0]);
        assert!(said(&Settings { interface: "nosuch0".into(), ..settings.clone() }).contains("`nosuch0`"));
        assert!(said(&Settings { queues: vec![7], ..settings.clone() }).contains("ethtool -l"));
        assert!(said(&Settings { sharing: Sharing::ZeroCopy, ..settings.clone() }).contains("copy mode"));
        assert!(said(&Settings { mtu: 9000, ..settings.clone() }).contains("MTU 9000"));
        let huge = Settings { pages: Pages::Huge, frames: 1 << 24, ..settings.clone() };
        assert!(matches!(XdpPort::open(&huge), Err(OpenError::NoHugePages { pages: 16_384 })));
        let held = XdpPort::open(&settings).expect("port");
        assert!(said(&settings).contains("already"));
        drop(held);
    });
}

#[test]
fn only_what_is_asked_for_is_taken() {
    in_namespace(|| {
        let pair = Pair::new(1);
        let mut a = XdpPort::open(&small(pair.a(), vec![0])).expect("port a");
        let mut b = XdpPort::open(&small(pair.b(), vec![0])).expect("port b");
        let _b = CatchAll::attach(pair.b(), Hook::Native, Take::TcpOverIpv4, b.queues()).expect("a program");
        // By type, protocol and length: TCP over IPv4, UDP, another type, too short for an IPv4 header.
        for (number, (kind, protocol, len)) in
            [(0x0800u16, 6, 60), (0x0800, 17, 60), (0x86dd, 6, 60), (0x0800, 6, 33)].into_iter().enumerate()
        {
            let mut frame = a.take().expect("a frame");
            frame_of(number as u32, len, &mut frame);
            frame[12..14].copy_from_slice(&kind.to_be_bytes());
            frame[23] = protocol;
            a.send(NOW, frame).expect("room");
        }
        a.flush(NOW);
        let mut got = Vec::new();
        b.receive(NOW, 64, &mut got);
        assert_eq!(got.iter().map(|frame| (frame.len(), frame[23])).collect::<Vec<_>>(), [(60, 6)]);
    });
}

#[test]
fn a_port_whose_queues_cannot_be_polled_does_without_and_says_why() {
    in_namespace(|| {
        let pair = Pair::new(2);
        let poll = |poll_us| Some(BusyPoll { poll_us, budget: 16 });
        let settings = |busy_poll| Settings { busy_poll, ..small(pair.a(), vec![0, 1]) };
        // More than a time can be.
        for (busy_poll, polled) in [(None, false), (poll(u32::MAX), false), (poll(20), true)] {
            let mut a = XdpPort::open(&settings(busy_poll)).expect("port a");
            let mut b = XdpPort::open(&small(pair.b(), vec![0, 1])).expect("port b");
            assert_eq!(a.is_busy_polled(), polled);
            assert_eq!(a.busy_poll_refused().is_some(), busy_poll.is_some() && !polled);
            let _a = steer(pair.a(), Hook::Native, &[&a]);
            let _b = steer(pair.b(), Hook::Native, &[&b]);
            let before = a.counters().get(PortCounter::RxCalls);
            assert_eq!(carry(&mut b, &mut a, 500, 64), (0..500).collect::<Vec<u32>>());
            assert_eq!(a.counters().get(PortCounter::RxCalls) > before, polled);
        }
    });
}

/// Sends numbered frames by one flush.
fn send(from: &mut XdpPort, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let mut frame = from.take().expect("a frame");
        frame_of(number, 64, &mut frame);
        from.send(NOW, frame).expect("room in the ring");
    }
    from.flush(NOW);
}

/// Takes at most `limit` frames that have come; their numbers.
fn take(to: &mut XdpPort, limit: usize) -> Vec<u32> {
    let mut batch = Vec::new();
    to.receive(NOW, limit, &mut batch);
    let numbers = batch.iter().filter_map(sequence_of).collect();
    batch.into_iter().for_each(|frame| to.put(frame));
    numbers
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn all_leaves_at_one_flush_and_what_came_ends_a_sleep() {
    in_namespace(|| {
        let pair = Pair::new(1);
        let mut a = XdpPort::open(&small(pair.a(), vec![0])).expect("port a");
        let mut b = XdpPort::open(&small(pair.b(), vec![0])).expect("port b");
        let _b = steer(pair.b(), Hook::Native, &[&b]);
        assert_eq!(b.next_timeout(), None);
        send(&mut a, 0..400);
        assert_eq!(a.counters().get(PortCounter::Sent), 400);
        let mut got = Vec::new();
        until("all come", || {
            if b.has_input() {
                assert_eq!(b.next_timeout(), Some(Mono(0)));
            }
            got.extend(take(&mut b, 64));
            got.len() == 400
        });
        assert_eq!(b.next_timeout(), None);
    });
}

#[test]
fn queues_take_turns_and_what_found_no_frame_is_counted() {
    in_namespace(|| {
        let pair = Pair::new(2);
        let mut a = [0, 1].map(|queue| XdpPort::open(&small(pair.a(), vec![queue])).expect("port a"));
        let few = Settings { rx_entries: 256, ..small(pair.b(), vec![0, 1]) };
        let mut b = XdpPort::open(&few).expect("port b");
        let _b = steer(pair.b(), Hook::Native, &[&b]);
        for (port, numbers) in a.iter_mut().zip([0..200, 1_000..1_200]) {
            send(port, numbers);
        }
        // More than the limit waits in each queue; neither waits for the other to be empty.
        std::thread::sleep(Duration::from_millis(200));
        until("frames of both queues", || take(&mut b, 16).iter().any(|number| *number < 200));
        let mut next = Vec::new();
        until("frames of both queues", || {
            next.extend(take(&mut b, 16));
            next.len() >= 32
        });
        assert!(next.iter().any(|number| *number < 200) && next.iter().any(|number| *number >= 1_000));
        until("no more", || take(&mut b, 64).is_empty() && !b.has_input());
        assert_eq!(b.drops().get(PortDrop::FillRingEmpty), 0);
        send(&mut a[0], 0..500);
        until("some find no frame", || b.drops().get(PortDrop::FillRingEmpty) > 100);
        let taken = b.counters().get(PortCounter::Received);
        until("no more", || take(&mut b, 64).is_empty() && !b.has_input());
        assert!(b.counters().get(PortCounter::Received) > taken);
        assert_eq!(carry(&mut a[0], &mut b, 200, 64), (0..200).collect::<Vec<u32>>());
    });
}

#[test]
fn a_queue_that_keeps_what_it_was_given_is_said() {
    in_namespace(|| {
        let pair = Pair::new(1);
        let mut port = XdpPort::open(&small(pair.b(), vec![0])).expect("port");
        pair.take_down();
        let tried = port.try_out(pair.b(), pelton_packet::MacAddress([2, 0, 0, 0, 0, 1]));
        assert!(matches!(tried, Err(OpenError::Silent { queue: 0, .. })), "{tried:?}");
    });
}
