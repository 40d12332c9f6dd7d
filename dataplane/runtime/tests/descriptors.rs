//! Out of file descriptors: those connected are served, those who wait are served when there are some again.
//! Alone in its process, since the limit is the process's.

#[path = "peers/client.rs"]
mod client;

use std::time::Duration;

use client::{Client, connect_packet, start, transport, wait_until};
use pelton_broker::Settings;
use pelton_mqtt::{QoS, Version};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[test]
fn out_of_descriptors() {
    let (fleet, address) = start(1, Settings::default());
    let mut first = Client::connect(address, Version::V311, "first", true);
    first.subscribe("still/here", QoS::AtMostOnce);
    // Both ends of every connection are ours: leave room for clients only, then for one more of them.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let limit = getrlimit(Resource::Nofile);
    let mut waiting = Vec::new();
    setrlimit(Resource::Nofile, Rlimit { current: Some(open + 7), ..limit }).unwrap();
    for _ in 0..7 {
        let Ok(stream) = std::net::TcpStream::connect(address) else { break };
        waiting.push(stream);
    }
    wait_until(&fleet, "out of descriptors", |all| transport(all, "out_of_descriptors") > 0);
    // The one who is in is served as ever.
    first.publish("still/here", QoS::AtMostOnce, 0, b"yes");
    assert_eq!(first.receive_payload(), b"yes");
    setrlimit(Resource::Nofile, limit).unwrap();
    // Those who waited are let in.
    let count = waiting.len() as u64;
    wait_until(&fleet, "all accepted", |all| transport(all, "accepted") == count + 1);
    for mut stream in waiting {
        use std::io::{Read, Write};
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(&connect_packet(Version::V311, "", true)).unwrap();
        let mut connack = [0; 4];
        stream.read_exact(&mut connack).unwrap();
        assert_eq!(connack, [0x20, 2, 0, 0]);
    }
    assert!(fleet.shut_down(Duration::from_secs(5)));
}
