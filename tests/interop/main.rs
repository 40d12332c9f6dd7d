//! Clients of other projects against the binary: each plays the scenario of its script, in every version it
//! speaks. A client that is not installed is named loudly; with `PELTON_REQUIRE_INTEROP=1` (as in `.ci/run`)
//! that is a failure.
#![forbid(unsafe_code)]

mod client;

use client::{Client, play, play_from};
use pelton_tests::namespace::is_possible;
use pelton_tests::tap::{ADDRESSES, OnTap};
use pelton_tests::xdp::{self, Link, OnXdp};

const ALL: &[&str] = &["3.1.1", "5"];

fn clients() -> [Client; 6] {
    [
        Client::program("mosquitto", "mosquitto_sub", &["bash", "mosquitto.sh"]),
        Client::python("paho", "paho.mqtt.client", "paho_client.py"),
        Client::python("gmqtt", "gmqtt", "gmqtt_client.py"),
        Client::python("aiomqtt", "aiomqtt", "aiomqtt_client.py"),
        Client::node("MQTT.js", "mqtt", "mqttjs.mjs"),
        Client::cargo("rumqttc", "pelton-interop-rumqttc"),
    ]
}

#[test]
fn mosquitto() {
    play(&clients()[0], &["3.1", "3.1.1", "5"]);
}

#[test]
fn paho() {
    play(&clients()[1], ALL);
}

#[test]
fn gmqtt() {
    play(&clients()[2], ALL);
}

#[test]
fn aiomqtt() {
    play(&clients()[3], ALL);
}

#[test]
fn mqttjs() {
    play(&clients()[4], ALL);
}

#[test]
fn rumqttc() {
    play(&clients()[5], ALL);
}

/// All of them again, past the kernel: our TCP on a TAP device, both kinds of addresses, connections that stay and
/// connections that move to the shard of their session.
#[test]
fn over_tap() {
    if !is_possible("clients of other projects over a TAP device", &[]) {
        return;
    }
    let (one, two) = (OnTap::start(1, &[]), OnTap::start(2, &[]));
    for (number, client) in clients().iter().enumerate() {
        if !client.is_installed() {
            continue;
        }
        play_from(client, two.namespace(), ADDRESSES[number % 2], ALL);
        if number < 2 {
            play_from(client, one.namespace(), ADDRESSES[0], &["5"]);
            play_from(client, one.namespace(), ADDRESSES[1], &["3.1.1"]);
        }
    }
}

/// And by AF_XDP: in the driver with one and with four queues, and behind it.
#[test]
fn over_xdp() {
    if !is_possible("clients of other projects over AF_XDP", &["ethtool"]) {
        return;
    }
    for (mode, queues, shards) in [("copy", 1, 1), ("copy", 4, 2), ("generic", 1, 1)] {
        let broker = OnXdp::start(Link::new(queues), mode, shards, &[]);
        for (number, client) in clients().iter().enumerate().filter(|(_, client)| client.is_installed()) {
            play_from(client, &broker.link().far, xdp::ADDRESSES[number % 2], ALL);
        }
    }
}
