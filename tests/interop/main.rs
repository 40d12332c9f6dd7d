//! Clients of other projects against the binary: each plays the scenario of its script, in every version it
//! speaks. A client that is not installed is named loudly; with `PELTON_REQUIRE_INTEROP=1` (as in `.ci/run`)
//! that is a failure.
#![forbid(unsafe_code)]

mod client;

use client::{Client, play};

const ALL: &[&str] = &["3.1.1", "5"];

#[test]
fn mosquitto() {
    play(&Client::program("mosquitto", "mosquitto_sub", &["bash", "mosquitto.sh"]), &["3.1", "3.1.1", "5"]);
}

#[test]
fn paho() {
    play(&Client::python("paho", "paho.mqtt.client", "paho_client.py"), ALL);
}

#[test]
fn gmqtt() {
    play(&Client::python("gmqtt", "gmqtt", "gmqtt_client.py"), ALL);
}

#[test]
fn aiomqtt() {
    play(&Client::python("aiomqtt", "aiomqtt", "aiomqtt_client.py"), ALL);
}

#[test]
fn mqttjs() {
    play(&Client::node("MQTT.js", "mqtt", "mqttjs.mjs"), ALL);
}

#[test]
fn rumqttc() {
    play(&Client::cargo("rumqttc", "pelton-interop-rumqttc"), ALL);
}
