//! A fleet that serves one end of a veth pair by AF_XDP: clients are the kernel's, at the other end.

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pelton_afxdp::{CatchAll, Hook, Take};
use pelton_base::HashKey;
use pelton_broker::Settings;
use pelton_mqtt::{QoS, Version};
use pelton_runtime::{
    Fleet, Idle, InterfaceKind, InterfacePlan, Pages, Plan, Rung, StartError, Steered, Steering, XdpPlan,
};
use pelton_sockets::Bind;

use crate::client::{Client, wait_until};
use crate::figure;
use crate::namespace::{Far, in_namespace, run};

/// All TCP over IPv4 to the sockets; it counts how often it is at work.
#[derive(Debug, Default)]
struct All(Arc<AtomicU32>);

struct Attached(#[expect(dead_code, reason = "held")] CatchAll, Arc<AtomicU32>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Steering for All {
    fn steer(&self, steered: &Steered<'_>) -> Result<Box<dyn Any + Send + Sync>, String> {
        let services: Vec<String> = steered.services.iter().map(ToString::to_string).collect();
        assert_eq!(services, ["10.9.0.1:1883", "[fd09::1]:1883"]);
        let sockets = steered.sockets.iter().copied();
        let program = CatchAll::attach(steered.interface, steered.hook, Take::TcpOverIpv4, sockets)
            .map_err(|error| error.to_string())?;
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Attached(program, self.0.clone())))
    }
}

/// Refuses native programs.
#[derive(Debug)]
struct GenericAlone(All);

impl Steering for GenericAlone {
    fn steer(&self, steered: &Steered<'_>) -> Result<Box<dyn Any + Send + Sync>, String> {
        match steered.hook {
            Hook::Native => Err("the driver has no hook".into()),
            Hook::Generic => self.0.steer(steered),
        }
    }
}

fn plan(shards: u16, rungs: &[Rung], steering: Arc<dyn Steering>, required: bool) -> Plan {
    let interface = InterfacePlan {
        name: "v0".into(),
        kind: InterfaceKind::Xdp {
            plan: XdpPlan {
                rungs: rungs.to_vec(),
                rx_entries: 1024,
                tx_entries: 1024,
                pages: Pages::Normal,
                busy_poll: None,
                steering,
            },
            required,
        },
        addresses: Vec::new(),
        listen_ports: Vec::new(),
        mtu: None,
        frames: 0,
        tcp: pelton_tcp::Settings { connections_max: 1_000, ..pelton_tcp::Settings::default() },
    };
    Plan {
        binds: vec![Bind { address: SocketAddr::from(([0; 4], 1883)) }],
        interfaces: vec![interface],
        shards,
        cores: Vec::new(),
        idle: Idle { spin_us: 0 },
        patience: pelton_base::Patience::default(),
        settings: Arc::new(Settings::default()),
        key: HashKey::new(1, 2),
        seed: 3,
    }
}

const FAR: &str = "10.9.0.1:1883";
const NEAR: &str = "127.0.0.1:1883";

/// Clients at the far end and one on loopback hear each other.
fn serve(fleet: &Fleet, far: &Far) {
    const CLIENTS: usize = 6;
    const MESSAGES: u32 = 100;
    let mut near = Client::connect(NEAR.parse().expect("an address"), Version::V311, "near", true);
    near.subscribe("t/#", QoS::AtMostOnce);
    let connected: Vec<Client> = far.run(|| {
        let mut clients: Vec<Client> = (0..CLIENTS)
            .map(|n| {
                // Every second one has a session that belongs to a shard.
                let place = FAR.parse().expect("an address");
                Client::connect(place, Version::V311, &format!("c{n}"), n % 2 == 0)
            })
            .collect();
        clients.iter_mut().for_each(|client| client.subscribe("t/#", QoS::AtMostOnce));
        for number in 0..MESSAGES {
            let payload = vec![number as u8; 1 + (number as usize * 977) % 6_000];
            clients[number as usize % CLIENTS].publish("t/x", QoS::AtMostOnce, 0, &payload);
        }
        clients
    });
    let mut clients = connected;
    for client in clients.iter_mut().chain([&mut near]) {
        let mut sizes: Vec<usize> = (0..MESSAGES).map(|_| client.receive_payload().len()).collect();
        sizes.sort_unstable();
        let mut expected: Vec<usize> = (0..MESSAGES).map(|n| 1 + (n as usize * 977) % 6_000).collect();
        expected.sort_unstable();
        assert_eq!(sizes, expected);
    }
    // What is not the broker's stays with the kernel.
    assert!(far.run(|| run("ping -q -c 1 -W 2 10.9.0.1") || !run("ping -V")), "ping");
    let snapshots = fleet.snapshots(Duration::from_secs(1));
    for lost in ["bad_checksum", "malformed", "afxdp_fragmented", "afxdp_kernel_rx_ring_full"] {
        assert_eq!(figure(&snapshots, lost), 0, "{lost}: {snapshots:#?}");
    }
    drop(clients);
    drop(near);
    wait_until(fleet, "all gone", |all| all.iter().all(|shard| shard.connections == 0));
}

#[test]
fn a_shard_serves_an_interface_by_af_xdp_and_loopback_by_sockets() {
    in_namespace(|| {
        let far = Far::new(1);
        let at_work = Arc::new(AtomicU32::new(0));
        let steering = Arc::new(All(at_work.clone()));
        // On veth nothing goes without copies: the next rung is taken, and it is said why.
        let rungs = [Rung::ZeroCopy, Rung::Copy];
        let fleet = Fleet::start(&plan(1, &rungs, steering, true)).expect("it holds");
        let served = &fleet.interfaces()[0];
        assert_eq!((served.rung, served.mtu), ("AF_XDP copy", 1500));
        assert_eq!(served.refused[0].rung, "AF_XDP zero-copy");
        assert!(served.refused[0].why.contains("copy mode"), "{:?}", served.refused);
        serve(&fleet, &far);
        assert_eq!(at_work.load(Ordering::Relaxed), 1);
        assert!(fleet.shut_down(Duration::from_secs(10)));
        assert_eq!(at_work.load(Ordering::Relaxed), 0, "the program ends with the fleet");
    });
}

#[test]
fn several_shards_have_queues_and_connections_move_between_them() {
    in_namespace(|| {
        let far = Far::new(4);
        let fleet = Fleet::start(&plan(2, &[Rung::Copy], Arc::new(All::default()), true)).expect("it holds");
        serve(&fleet, &far);
        assert!(fleet.shut_down(Duration::from_secs(10)));
    });
}

#[test]
fn connections_go_on_when_their_frames_come_by_another_queue() {
    const CLIENTS: usize = 12;
    in_namespace(|| {
        let far = Far::new(4);
        let fleet = Fleet::start(&plan(2, &[Rung::Copy], Arc::new(All::default()), true)).expect("it holds");
        let mut clients: Vec<Client> = far.run(|| {
            let place = FAR.parse().expect("an address");
            let mut clients: Vec<Client> =
                (0..CLIENTS).map(|n| Client::connect(place, Version::V311, &format!("c{n}"), true)).collect();
            clients.iter_mut().for_each(|client| client.subscribe("t/#", QoS::AtMostOnce));
            clients
        });
        let shares: Vec<usize> =
            fleet.snapshots(Duration::from_secs(1)).iter().map(|shard| shard.connections).collect();
        assert!(shares.iter().all(|&share| share > 0), "{shares:?}");
        // The sender's queues become fewer, and with them the queues its frames come in by.
        assert!(far.run(|| run("ethtool -L v1 tx 1")));
        for round in 0..20u8 {
            for client in &mut clients {
                client.publish("t/x", QoS::AtMostOnce, 0, &[round; 3_000]);
            }
            for client in &mut clients {
                for _ in 0..CLIENTS {
                    assert_eq!(client.receive_payload(), [round; 3_000]);
                }
            }
        }
        let snapshots = fleet.snapshots(Duration::from_secs(1));
        // All that the other shard had were found there, each by the first segment that came here.
        assert_eq!(figure(&snapshots, "found"), shares[1] as u64, "{snapshots:#?}");
        assert_eq!(figure(&snapshots, "resets_out"), 0);
        drop(clients);
        wait_until(&fleet, "all gone", |all| all.iter().all(|shard| shard.connections == 0));
        assert!(fleet.shut_down(Duration::from_secs(10)));
    });
}

#[test]
fn the_generic_rung_is_the_last() {
    in_namespace(|| {
        let far = Far::new(1);
        // Frames longer than the link's come where the kernel has joined segments.
        assert!(far.run(|| run("ethtool -K v1 tso off gso off")));
        let rungs = [Rung::ZeroCopy, Rung::Copy, Rung::Generic];
        let steering = Arc::new(GenericAlone(All::default()));
        let fleet = Fleet::start(&plan(1, &rungs, steering, true)).expect("it holds");
        let served = &fleet.interfaces()[0];
        assert_eq!((served.rung, served.refused.len()), ("AF_XDP generic", 2));
        assert_eq!(served.refused[1].why, "the driver has no hook");
        serve(&fleet, &far);
        assert!(fleet.shut_down(Duration::from_secs(10)));
    });
}

/// What is said of an interface that cannot be served. A program that another test starts at this moment may have the
/// listeners of the start before, until it is that program.
fn refused(plan: &Plan) -> String {
    for _ in 0..50 {
        match Fleet::start(plan) {
            Err(StartError::Interface(error)) => return error.to_string(),
            Err(StartError::Bind(_)) => std::thread::sleep(Duration::from_millis(50)),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it is served"),
        }
    }
    panic!("the port is not free again");
}

#[test]
fn without_a_rung_the_kernels_sockets_serve_unless_they_will_not_do() {
    in_namespace(|| {
        let far = Far::new(1);
        let steering = || Arc::new(GenericAlone(All::default()));
        let fleet = Fleet::start(&plan(1, &[Rung::Copy], steering(), false)).expect("sockets serve");
        assert_eq!(fleet.interfaces()[0].rung, "kernel sockets");
        serve(&fleet, &far);
        assert!(fleet.shut_down(Duration::from_secs(10)));
        let said = refused(&plan(1, &[Rung::Copy], steering(), true));
        assert!(said.contains("AF_XDP copy: the driver has no hook"), "{said}");
        // More shards than queues.
        let said = refused(&plan(2, &[Rung::Copy], Arc::new(All::default()), true));
        assert!(said.contains("ethtool -L v0 combined 2"), "{said}");
    });
}
