//! Clients of other projects against the binary: each plays the scenario of its script, in every version it
//! speaks. A client that is not installed is named loudly; with `PELTON_REQUIRE_INTEROP=1` (as in `.ci/run`)
//! that is a failure.
#![forbid(unsafe_code)]

mod client;

use client::{Client, play, play_over_tap};
use pelton_tests::namespace::is_possible;
use pelton_tests::tap::{ADDRESSES, OnTap};

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
        play_over_tap(client, &two, ADDRESSES[number % 2], ALL);
        if number < 2 {
            play_over_tap(client, &one, ADDRESSES[0], &["5"]);
            play_over_tap(client, &one, ADDRESSES[1], &["3.1.1"]);
        }
    }
}
