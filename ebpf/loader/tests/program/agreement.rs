//! The program in the kernel, the classifier run natively, and the parser the TCP stack uses: on the same frames, made from
//! a seed, all three agree.
//!
//! PELTON_XDP_FRAMES is how many (100,000 if unset), PELTON_XDP_SEED from which seed.

use std::net::SocketAddr;

use pelton_base::HashKey;
use pelton_ebpf_classifier::frame::SliceFrame;
use pelton_ebpf_classifier::layout::OVER_COOKIE;
use pelton_ebpf_classifier::{Limit, Scratch, steer};
use pelton_ebpf_loader::{
    Action, Cookies, Frames, Over, Policy, Prefix, Rate, Reason, Service, Steering, Verdict,
};
use pelton_packet::parse::TCP;
use pelton_packet::{PacketDrop, Parsed, parse};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::time::{ClockId, clock_gettime};

use crate::kernel::load;
use crate::model::Model;
use crate::mutator::Mutator;

const STEERED: [&str; 3] = ["10.0.0.1:1883", "[2001:db8::1]:1883", "10.1.0.7:1883"];
const PASSED: [&str; 2] = ["10.0.0.1:8883", "[2001:db8::1]:8883"];
const ALLOWED: [&str; 2] = ["10.1.5.0/24", "2001:db8:1::/48"];
const BLOCKED: [&str; 4] = ["10.1.0.0/16", "10.2.0.7/32", "2001:db8:1::/48", "2001:db8:2::/64"];

fn from_env(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn tables(steering: &mut Steering) -> Model {
    let mut model = Model::default();
    for (services, service, armed) in [(&STEERED[..], Service::Steered, 1), (&PASSED[..], Service::Passed, 0)]
    {
        for address in services {
            let address: SocketAddr = address.parse().unwrap();
            steering.set_service(address, service).unwrap();
            model.set_service(address, armed);
        }
    }
    for prefix in ALLOWED {
        let prefix: Prefix = prefix.parse().unwrap();
        steering.allowed().insert(prefix, None).unwrap();
        model.allowed.insert(prefix);
    }
    for prefix in BLOCKED {
        let prefix: Prefix = prefix.parse().unwrap();
        steering.blocked().insert(prefix, None).unwrap();
        model.blocked.insert(prefix);
    }
    model
}

/// Cookies for every SYN; where the clock stood at the beginning.
fn cookies(steering: &mut Steering, model: &mut Model) {
    let terms = Cookies {
        key: HashKey::new(3, 4),
        stamps: HashKey::new(5, 6),
        clock_offset_ns: monotonic_ns() - 1_000_000_000,
        mss_v4: 1460,
        mss_v6: 1440,
        window: 65_535,
        scale: Some(3),
        sack: true,
        timestamps: true,
    };
    steering
        .set_policy(&Policy {
            prefix: None,
            all: Some(Rate { per_second: 0, burst: 0 }),
            over: Over::Cookie(terms),
            events: Rate { per_second: 0, burst: 0 },
        })
        .unwrap();
    model.policy = Some(pelton_ebpf_classifier::Policy {
        all: Limit::new(0, 0),
        cookie_key: [3, 4],
        stamp_key: [5, 6],
        clock_offset_ns: terms.clock_offset_ns,
        over: OVER_COOKIE,
        mss_v4: 1460,
        mss_v6: 1440,
        window: 65_535,
        scale: 3,
        scaling: 1,
        sack: 1,
        timestamps: 1,
        ..pelton_ebpf_classifier::Policy::OPEN
    });
}

/// What the classifier says natively, and the frame as it leaves it.
fn natively(model: &Model, frame: &[u8], room: &mut Vec<u8>) -> Reason {
    room.clear();
    room.extend_from_slice(frame);
    room.resize(frame.len() + 100, 0);
    let mut slice = SliceFrame::new(room, frame.len());
    let reason = steer(&mut slice, model, &mut Scratch::default());
    let len = slice.bytes().len();
    room.truncate(len);
    reason
}

#[test]
fn the_kernel_the_classifier_and_the_parser_agree() {
    let Some(mut steering) = load(Frames::InOnePiece) else { return };
    let frames = from_env("PELTON_XDP_FRAMES", 100_000);
    let seed = from_env("PELTON_XDP_SEED", 1);
    let mut model = tables(&mut steering);
    // A socket that is not bound: enough to be redirected to.
    let socket = socket_with(AddressFamily::XDP, SocketType::RAW, SocketFlags::CLOEXEC, None).unwrap();
    let mut mutator = Mutator::new(seed);
    let (mut out, mut room) = (Vec::new(), Vec::new());
    let mut expected = [0_u64; Reason::COUNT];
    for number in 0..frames {
        if number == frames / 3 {
            steering.set_socket(0, &socket).unwrap();
        } else if number == 2 * frames / 3 {
            cookies(&mut steering, &mut model);
        }
        let frame = mutator.frame();
        let what = || format!("frame {number} of seed {seed}: {frame:02x?}");

        let before = monotonic_ns();
        let verdict = steering.run_on(&frame, &mut out).unwrap();
        let after = monotonic_ns();
        model.now_ns = before;
        let mut reason = natively(&model, &frame, &mut room);
        // Answers carry the time: one of the milliseconds it took.
        while reason == Reason::Cookie && room != out && model.now_ns < after {
            model.now_ns += 1_000_000;
            natively(&model, &frame, &mut room);
        }
        assert_eq!(room, out, "{reason:?}: {}", what());
        parser_agrees(&frame, reason, &model).unwrap_or_else(|why| panic!("{why}, {reason:?}: {}", what()));
        let wanted = match reason.action() {
            Action::Pass => Verdict::Pass,
            Action::Drop => Verdict::Drop,
            Action::Answer => Verdict::Transmit,
            Action::Redirect if number < frames / 3 => {
                reason = Reason::DropNoSocket;
                Verdict::Drop
            }
            Action::Redirect => Verdict::Redirect,
        };
        assert_eq!(verdict, wanted, "{reason:?}: {}", what());
        expected[reason as usize] += 1;
        if number % 16 == 0 || number + 1 == frames {
            let counts = steering.counts().unwrap();
            for &reason in Reason::ALL {
                assert_eq!(counts.get(reason), expected[reason as usize], "{reason:?} until {}", what());
            }
        }
    }
    println!("{frames} frames: {:?}", steering.counts().unwrap());
    // What is not reached is not tested. SYNs are limited elsewhere.
    let elsewhere = [Reason::DropSynPrefix, Reason::DropSynAll];
    for reason in Reason::ALL.iter().filter(|reason| !elsewhere.contains(reason)) {
        assert!(frames < 10_000 || expected[*reason as usize] > 0, "no frame came to {reason:?}");
    }
    let mut too_big = Vec::new();
    steering.take_too_big(&mut too_big).unwrap();
    assert_eq!(too_big.len(), model.too_big.borrow().len());
}

/// Whether the stack's parser sees the same in a frame.
fn parser_agrees(frame: &[u8], reason: Reason, model: &Model) -> Result<(), &'static str> {
    let mut packet = pelton_ebpf_classifier::packet::Packet::EMPTY;
    let mut bytes = frame.to_vec();
    let len = bytes.len();
    let classified = pelton_ebpf_classifier::packet::parse(&SliceFrame::new(&mut bytes, len), &mut packet);
    match parse(frame) {
        Ok(Parsed::Ip(datagram)) => {
            classified.map_err(|_| "the parser takes it, the classifier does not")?;
            let places = (datagram.header, datagram.start, datagram.start + datagram.len, datagram.protocol);
            if places != (packet.header, packet.start, packet.end, packet.protocol) {
                return Err("they see different places");
            }
            let source = if packet.v6 {
                packet.source.into()
            } else {
                std::net::IpAddr::from([
                    packet.source[12],
                    packet.source[13],
                    packet.source[14],
                    packet.source[15],
                ])
            };
            if source != datagram.source || packet.first_fragment {
                return Err("they see different packets");
            }
            // A segment for a service is never left to the kernel.
            let ports = pelton_ebpf_classifier::segment::ports(&SliceFrame::new(&mut bytes, len), &packet);
            let armed = ports
                .map(|ports| pelton_ebpf_classifier::ServiceKey::new(packet.destination, ports.destination))
                .and_then(|key| model.services.get(&key))
                .is_some_and(|service| service.armed == 1);
            if datagram.protocol == TCP && armed && reason.action() == Action::Pass {
                return Err("a segment for a service passes");
            }
            Ok(())
        }
        Ok(Parsed::Arp { .. }) => classified.err().map(drop).ok_or("ARP is no packet"),
        // What the program leaves to the stack to find out. The latter counts these.
        Err(
            PacketDrop::BadIpChecksum
            | PacketDrop::BadSource
            | PacketDrop::BadExtension
            | PacketDrop::StackedVlan,
        ) => Ok(()),
        Err(PacketDrop::Fragment) if packet.first_fragment => Ok(()),
        Err(_) => match reason.action() {
            Action::Pass | Action::Drop => Ok(()),
            Action::Redirect | Action::Answer => Err("the stack cannot take what is steered to it"),
        },
    }
}
