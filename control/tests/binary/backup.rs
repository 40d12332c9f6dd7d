//! Backups of a broker under load, and what is restored from them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pelton_mqtt::Version;

use crate::client::Client;
use crate::place::{Place, away, publish_packet, take_all};
use crate::running::{PATIENCE, Running, run};

/// Messages under way.
const WINDOW: u16 = 50;

/// Publishes numbers until told to stop, and counts those that are acknowledged.
fn publish_numbers(address: SocketAddr, acknowledged: &AtomicU64, stop: &AtomicBool) {
    let mut client = Client::connect(address, Version::V311, "publisher");
    let mut sent = 0u64;
    let mut next = |client: &mut Client| {
        let id = (sent % u64::from(WINDOW)) as u16 + 1;
        client.send(&publish_packet(Version::V311, "numbers", id, sent.to_string().as_bytes()));
        sent += 1;
    };
    (0..WINDOW).for_each(|_| next(&mut client));
    while !stop.load(Ordering::SeqCst) {
        let puback = client.receive().expect("PUBACK");
        assert_eq!(puback[0], 0x40, "{puback:?}");
        acknowledged.fetch_add(1, Ordering::SeqCst);
        next(&mut client);
    }
}

/// Waits for so many acknowledgements more.
fn wait_for_more(acknowledged: &AtomicU64, more: u64) -> u64 {
    let until = std::time::Instant::now() + PATIENCE;
    let wanted = acknowledged.load(Ordering::SeqCst) + more;
    loop {
        let now = acknowledged.load(Ordering::SeqCst);
        if now >= wanted {
            return now;
        }
        assert!(std::time::Instant::now() < until, "{now} of {wanted}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_backup_under_load_has_all_that_was_acknowledged_before_it() {
    let place = Place::new("busy");
    let mut command = place.serve();
    let broker = Running::of(command.env("PELTON__QUEUE__MESSAGES_MAX", "1000000"));
    away(broker.address, "away", "numbers");
    let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (counts, ends, address) = (acknowledged.clone(), stop.clone(), broker.address);
    let publisher = std::thread::spawn(move || publish_numbers(address, &counts, &ends));
    let copies = Place::new("busy-copies");
    let mut before = Vec::new();
    for number in 0..3 {
        before.push(wait_for_more(&acknowledged, 300));
        let copy = copies.0.join(number.to_string());
        std::fs::create_dir_all(&copy).expect("it is ours");
        let file = copy.join("pelton.mdb");
        let file = file.to_str().expect("ASCII");
        let ended = run(&["store", "backup", file, "--data", place.text()]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }
    // It was under load to the end: it goes on.
    wait_for_more(&acknowledged, 100);
    stop.store(true, Ordering::SeqCst);
    publisher.join().expect("all was acknowledged");
    drop(broker);
    for (number, before) in before.into_iter().enumerate() {
        let copy = Place(copies.0.join(number.to_string()));
        let check = run(&["store", "check", "--data", copy.text()]);
        assert_eq!(check.code, Some(0), "{}", check.out);
        let restored = Running::of(&mut copy.serve());
        let taken = take_all(restored.address, "away", "numbers");
        let expected: Vec<Vec<u8>> = (0..taken.len()).map(|n| n.to_string().into_bytes()).collect();
        assert!(taken == expected, "without gaps and in order");
        assert!(taken.len() as u64 >= before, "{} of {before} acknowledged before it", taken.len());
    }
}
