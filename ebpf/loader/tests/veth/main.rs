//! The program on an interface, with the kernel's own TCP as client: veth pairs in network namespaces made for it, never an
//! interface of the machine. This needs root; where it is missing the tests say so and do nothing, or fail if
//! PELTON_REQUIRE_ROOT is set. VLAN tags are not tested here, for kernels without VLAN devices, but on frames in memory.

mod namespace;
mod traffic;

use std::net::{TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use pelton_base::{HashKey, Mono};
use pelton_ebpf_loader::{
    AttachError, Attached, Cookies, Frames, Mode, OnExit, Over, Policy, Rate, Reason, Service, Steering,
    attached,
};

use crate::namespace::{BpfFs, Network, OURS, is_permitted};
use crate::traffic::{connects, datagram, echo, is_silent, pings, streams};

const SERVICES: [&str; 2] = ["10.77.0.1:1883", "[fd77::1]:1883"];
const MODES: [Mode; 2] = [Mode::Native, Mode::Generic];

fn steered() -> Steering {
    let mut steering = Steering::load(Frames::InOnePiece).unwrap();
    for service in SERVICES {
        steering.set_service(service.parse().unwrap(), Service::Steered).unwrap();
    }
    steering
}

/// A program goes with the last descriptor of its link. A child that another test is starting at that moment has one as
/// well, until it becomes the program that it is to be.
fn assert_gone() {
    let begun = Instant::now();
    while attached(OURS).unwrap().is_some() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", attached(OURS));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn count(steering: &Steering, reason: Reason) -> u64 {
    steering.counts().unwrap().get(reason)
}

#[test]
fn other_traffic_is_the_kernel_s_and_a_service_without_a_socket_is_silent() {
    if !is_permitted() {
        return;
    }
    for mode in MODES {
        let network = Network::new();
        network.as_broker(|| {
            let mut steering = steered();
            assert_eq!(attached(OURS).unwrap(), None);
            steering.attach(OURS, mode, OnExit::Detach).unwrap();
            let found = attached(OURS).unwrap().unwrap();
            assert!(found.is_ours() && found.mode == Some(mode), "{found}");

            for address in ["0.0.0.0:1884", "[fd77::1]:1884", "0.0.0.0:1883", "[fd77::1]:1883"] {
                echo(TcpListener::bind(address).unwrap());
            }
            network.as_client(|| {
                assert!(pings([10, 77, 0, 1].into(), 56), "{mode:?}");
                assert!(pings([10, 77, 0, 1].into(), 4000), "{mode:?}: fragments");
                for other in ["10.77.0.1:1884", "[fd77::1]:1884"] {
                    assert!(streams(other, 200_000), "{mode:?}: {other}");
                }
            });
            let at = UdpSocket::bind("10.77.0.1:1883").unwrap();
            let from = network.as_client(|| UdpSocket::bind("10.77.0.2:0").unwrap());
            assert!(
                datagram(&from, "10.77.0.1:1883".parse().unwrap(), &at, 5000),
                "{mode:?}: UDP, fragmented"
            );
            assert!(count(&steering, Reason::PassFragment) >= 4);
            assert_eq!(steering.counts().unwrap().dropped(), 0);

            // The kernel listens, too, and is not asked.
            for (number, service) in SERVICES.iter().enumerate() {
                assert!(network.as_client(|| is_silent(service)), "{mode:?}: {service}");
                assert!(count(&steering, Reason::DropNoSocket) > number as u64, "{mode:?}: {service}");
            }
            // Until it is left to it.
            for service in SERVICES {
                steering.set_service(service.parse().unwrap(), Service::Passed).unwrap();
                assert!(network.as_client(|| streams(service, 10_000)), "{mode:?}: {service}");
            }
            assert!(count(&steering, Reason::PassService) > 4);

            steering.detach().unwrap();
            assert_gone();
        });
    }
}

#[test]
fn a_blocked_prefix_is_dropped_until_its_time_is_over() {
    if !is_permitted() {
        return;
    }
    for mode in MODES {
        let network = Network::new();
        network.as_broker(|| {
            let mut steering = steered();
            for service in SERVICES {
                steering.set_service(service.parse().unwrap(), Service::Steered).unwrap();
            }
            let told = Rate { per_second: 1_000, burst: 100 };
            steering.set_policy(&Policy { events: told, ..Policy::OPEN }).unwrap();
            steering.attach(OURS, mode, OnExit::Detach).unwrap();
            for (service, prefix) in [(SERVICES[0], "10.77.0.0/30"), (SERVICES[1], "fd77::/64")] {
                let prefix = prefix.parse().unwrap();
                let blocked = count(&steering, Reason::DropBlocked);
                steering.blocked().insert(prefix, Some(Mono::from_ms(50))).unwrap();
                assert!(network.as_client(|| is_silent(service)));
                assert!(count(&steering, Reason::DropBlocked) > blocked, "{mode:?}: {prefix}");
                let event = steering.next_dropped().expect("it is told");
                assert_eq!(
                    (event.reason, event.destination),
                    (Reason::DropBlocked, service.parse().unwrap())
                );
                assert!(prefix == pelton_ebpf_loader::Prefix::new(event.source.ip(), prefix.bits()).unwrap());

                // The allow list counts first.
                let blocked = count(&steering, Reason::DropBlocked);
                steering.allowed().insert(event.source.ip().into(), None).unwrap();
                assert!(network.as_client(|| is_silent(service)));
                assert_eq!(count(&steering, Reason::DropBlocked), blocked);
                assert!(steering.allowed().remove(event.source.ip().into()).unwrap());

                assert_eq!(steering.blocked().expire(Mono::from_ms(49)).unwrap(), 0);
                assert_eq!(steering.blocked().next_timeout(), Some(Mono::from_ms(50)));
                assert_eq!(steering.blocked().expire(Mono::from_ms(50)).unwrap(), 1);
                assert!(network.as_client(|| is_silent(service)));
                assert_eq!(count(&steering, Reason::DropBlocked), blocked);
                while steering.next_dropped().is_some() {}
            }
            assert!(network.as_client(|| pings([10, 77, 0, 1].into(), 56)));
        });
    }
}

fn cookies() -> Policy {
    let terms = Cookies {
        key: HashKey::new(1, 2),
        stamps: HashKey::new(3, 4),
        clock_offset_ns: 0,
        mss_v4: 1460,
        mss_v6: 1440,
        window: 65_535,
        scale: Some(2),
        sack: true,
        timestamps: true,
    };
    let none = Rate { per_second: 0, burst: 0 };
    Policy { prefix: None, all: Some(none), over: Over::Cookie(terms), events: none }
}

#[test]
fn syns_are_answered_where_they_come_in() {
    if !is_permitted() {
        return;
    }
    for mode in MODES {
        let network = Network::new();
        network.as_broker(|| {
            let _passes = network.takes_frames_from_xdp();
            let mut steering = steered();
            steering.set_policy(&cookies()).unwrap();
            steering.attach(OURS, mode, OnExit::Detach).unwrap();
            for (number, service) in SERVICES.iter().enumerate() {
                // The client's kernel takes the answer: checksum, sequence number, options.
                assert!(
                    network.as_client(|| connects(service)),
                    "{mode:?}: {service}: {:?}",
                    steering.counts()
                );
                assert!(count(&steering, Reason::Cookie) > number as u64);
                // Its ACK finds no socket here.
                assert!(count(&steering, Reason::DropNoSocket) > number as u64);
            }
            assert_eq!(count(&steering, Reason::DropSynChecksum), 0);
        });
    }
}

#[test]
fn syns_are_limited_by_prefix_and_in_all() {
    if !is_permitted() {
        return;
    }
    let network = Network::new();
    network.as_broker(|| {
        let mut steering = steered();
        steering.attach(OURS, Mode::Native, OnExit::Detach).unwrap();
        let none = Rate { per_second: 0, burst: 0 };
        for (policy, reason) in [
            (Policy { prefix: Some(none), ..Policy::OPEN }, Reason::DropSynPrefix),
            (Policy { all: Some(none), ..Policy::OPEN }, Reason::DropSynAll),
            (
                Policy { prefix: Some(Rate { per_second: 1, burst: 1_000 }), ..Policy::OPEN },
                Reason::DropNoSocket,
            ),
        ] {
            steering.set_policy(&policy).unwrap();
            let before = steering.counts().unwrap();
            assert!(network.as_client(|| is_silent(SERVICES[0])));
            let after = steering.counts().unwrap();
            assert!(after.get(reason) > before.get(reason), "{reason:?}: {after:?}");
            assert_eq!(after.dropped() - before.dropped(), after.get(reason) - before.get(reason));
        }
    });
}

#[test]
fn another_program_is_found_and_stays() {
    if !is_permitted() {
        return;
    }
    for theirs in MODES {
        for ours in MODES {
            let network = Network::new();
            network.as_broker(|| {
                let mut other = Steering::load(Frames::InOnePiece).unwrap();
                other.attach(OURS, theirs, OnExit::Detach).unwrap();
                let there = attached(OURS).unwrap();
                let refused = steered().attach(OURS, ours, OnExit::Detach).unwrap_err();
                let AttachError::Occupied { found, .. } = refused else { panic!("{refused}") };
                assert_eq!(Some(found), there);
                assert_eq!(attached(OURS).unwrap(), there);
            });
        }
    }
    let network = Network::new();
    network.as_broker(|| {
        let mut steering = steered();
        let missing = steering.attach("no-such-one", Mode::Native, OnExit::Detach).unwrap_err();
        assert!(matches!(missing, AttachError::NoInterface(_)), "{missing}");
        let no_native = steering.attach("lo", Mode::Native, OnExit::Detach).unwrap_err();
        assert!(matches!(no_native, AttachError::NoNativeMode(_)), "{no_native}");
    });
}

#[test]
fn a_program_that_is_held_stays_and_the_next_one_takes_its_place() {
    if !is_permitted() {
        return;
    }
    let files = BpfFs::new();
    let pin = files.0.join("link");
    let hold = || OnExit::Hold { pin: pin.clone() };
    let network = Network::new();
    network.as_broker(|| {
        let mut first = steered();
        first.attach(OURS, Mode::Native, hold()).unwrap();
        let held = attached(OURS).unwrap();
        drop(first);
        assert_eq!(attached(OURS).unwrap(), held);
        echo(TcpListener::bind("10.77.0.1:1883").unwrap());
        assert!(network.as_client(|| is_silent(SERVICES[0])), "held, it drops");

        let _passes = network.takes_frames_from_xdp();
        let mut second = steered();
        second.set_policy(&cookies()).unwrap();
        second.attach(OURS, Mode::Native, hold()).unwrap();
        let taken: Attached = attached(OURS).unwrap().unwrap();
        assert_ne!(Some(taken.program_id), held.map(|held| held.program_id));
        assert!(network.as_client(|| connects(SERVICES[0])), "the second answers");
        drop(second);
        assert!(attached(OURS).unwrap().is_some());

        // In another mode there is a gap, and it is the new program's.
        let mut third = steered();
        third.attach(OURS, Mode::Generic, hold()).unwrap();
        assert_eq!(attached(OURS).unwrap().unwrap().mode, Some(Mode::Generic));
        third.detach().unwrap();
        assert_gone();
        assert!(!pin.exists());
        assert!(network.as_client(|| connects(SERVICES[0])), "the kernel has it again");
    });
}
