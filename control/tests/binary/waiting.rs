//! What waits in the store: how much it is, and what of it can still be read when a part is damaged.

use pelton_mqtt::Version;
use rustix::process::Signal;

use crate::client::Client;
use crate::place::{Place, away, publish, take_all, wait_for_figure};
use crate::running::{Running, run};

const MESSAGES: &str = "$SYS/broker/pelton/storage/waiting_messages";
const BYTES: &str = "$SYS/broker/pelton/storage/waiting_bytes";

/// Two sessions that are away, the second wants half of what the first wants; four messages of 3 + 9 bytes.
fn filled(broker: &Running) {
    away(broker.address, "all", "a/+");
    away(broker.address, "some", "a/1");
    let mut publisher = Client::connect(broker.address, Version::V5, "p");
    for (id, topic) in ["a/1", "a/2", "a/1", "a/2"].into_iter().enumerate() {
        let number = id as u16 + 1;
        assert_eq!(publish(&mut publisher, topic, number, format!("message-{number}").as_bytes()), 0);
    }
}

#[test]
fn what_waits_is_told_and_still_known_after_a_crash() {
    let place = Place::new("waiting");
    let mut broker = Running::of(&mut place.serve());
    wait_for_figure(broker.address, MESSAGES, "0");
    filled(&broker);
    wait_for_figure(broker.address, MESSAGES, "6");
    wait_for_figure(broker.address, BYTES, "72");
    let status = run(&["status", &broker.address.to_string()]);
    assert!(status.out.contains("stored         6 messages, 72 bytes wait in the store"), "{}", status.out);
    let retained = figure(&status.out, "retained ");
    wait_for_figure(broker.address, "$SYS/broker/store/messages/count", &(6 + retained).to_string());

    broker.signal(Signal::KILL);
    broker.wait();
    let broker = Running::of(&mut place.serve());
    wait_for_figure(broker.address, MESSAGES, "6");
    wait_for_figure(broker.address, BYTES, "72");
    // One that comes and takes its own.
    assert_eq!(take_all(broker.address, "some", "a/1"), [b"message-1", b"message-3"]);
    // What ended its queue waits for the other.
    wait_for_figure(broker.address, MESSAGES, "5");
    wait_for_figure(broker.address, BYTES, "62");
    assert_eq!(take_all(broker.address, "all", "a/2").len(), 5);
    wait_for_figure(broker.address, MESSAGES, "0");
    wait_for_figure(broker.address, BYTES, "0");
}

/// The number that follows these words.
fn figure(text: &str, words: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(words)).expect("it is told");
    let number = line[words.len()..].split_whitespace().next().expect("there is one");
    number.parse().expect("a number")
}

#[test]
fn a_damaged_message_is_named_and_counted_and_the_others_are_delivered() {
    let place = Place::new("damaged-message");
    let mut broker = Running::of(&mut place.serve());
    filled(&broker);
    broker.signal(Signal::TERM);
    broker.wait();
    let file = place.0.join("pelton.mdb");
    let mut bytes = std::fs::read(&file).expect("it is there");
    let text = b"message-3";
    let hits: Vec<usize> =
        (0..bytes.len() - text.len()).filter(|&at| bytes[at..].starts_with(text)).collect();
    assert!(!hits.is_empty());
    hits.into_iter().for_each(|at| bytes[at] = b'M');
    std::fs::write(&file, &bytes).expect("it is ours");

    let check = run(&["store", "check", "--data", place.text()]);
    assert_eq!(check.code, Some(1), "{}", check.out);
    assert!(check.out.starts_with("seg "), "{}", check.out);
    assert!(check.out.contains(": a message is damaged"), "{}", check.out);
    let broker = Running::of(&mut place.serve());
    let taken = take_all(broker.address, "all", "a/2");
    assert_eq!(taken, [b"message-1", b"message-2", b"message-4"]);
    wait_for_figure(broker.address, "$SYS/broker/pelton/storage/messages_damaged", "1");
    wait_for_figure(broker.address, "$SYS/broker/pelton/dropped/damaged", "1");
    assert_eq!(take_all(broker.address, "some", "a/1"), [b"message-1"]);
}
