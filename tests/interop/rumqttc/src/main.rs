//! The interop scenario with rumqttc: `HOST PORT VERSION`, `ok STEP` for each step.
//!
//! rumqttc has two modules with the same names for 3.1.1 and 5.0; the scenario is written once over both.
#![forbid(unsafe_code)]

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(5);
const QUIET: Duration = Duration::from_millis(200);

/// What a client saw.
enum Seen {
    Connected(bool),
    Message {
        topic: String,
        payload: String,
        qos: u8,
        retain: bool,
    },
    Subscribed,
    /// One of the client's own publishes is complete.
    Published,
}

/// What the scenario needs of a client.
trait Client: Sized {
    fn start(name: &str, clean: bool, will: Option<(&str, &str)>) -> (Self, Receiver<Seen>);
    fn send_subscribe(&mut self, topic: &str, qos: u8);
    fn send_publish(&mut self, topic: &str, payload: &str, qos: u8, retain: bool);
    fn send_disconnect(&mut self);
}

struct User<C> {
    client: C,
    seen: Receiver<Seen>,
    session_present: bool,
}

impl<C: Client> User<C> {
    fn start(name: &str, clean: bool) -> Self {
        let (client, seen) = C::start(name, clean, None);
        let session_present = loop {
            if let Seen::Connected(present) = seen.recv_timeout(WAIT).expect("CONNACK") {
                break present;
            }
        };
        Self { client, seen, session_present }
    }

    fn subscribe(&mut self, topic: &str, qos: u8) {
        self.client.send_subscribe(topic, qos);
        assert!(matches!(self.seen.recv_timeout(WAIT).expect("SUBACK"), Seen::Subscribed));
    }

    fn publish(&mut self, topic: &str, payload: &str, qos: u8, retain: bool) {
        self.client.send_publish(topic, payload, qos, retain);
        if qos > 0 {
            while !matches!(self.seen.recv_timeout(WAIT).expect("an acknowledgement"), Seen::Published) {}
        }
    }

    fn expect(&mut self, topic: &str, payload: &str) -> (u8, bool) {
        loop {
            match self.seen.recv_timeout(WAIT).expect("a message") {
                Seen::Message { topic: t, payload: p, qos, retain } => {
                    assert_eq!((&*t, &*p), (topic, payload));
                    return (qos, retain);
                }
                _ => continue,
            }
        }
    }

    fn messages(&mut self) -> Vec<String> {
        let mut payloads = Vec::new();
        while let Ok(seen) = self.seen.recv_timeout(QUIET) {
            if let Seen::Message { payload, .. } = seen {
                payloads.push(payload);
            }
        }
        payloads
    }
}

fn step(name: &str) {
    println!("ok {name}");
}

fn scenario<C: Client>(prefix: &str) {
    let (mut a, mut b) = (User::<C>::start("a", true), User::<C>::start("b", true));
    step("connect");
    for qos in 0..=2 {
        let topic = format!("{prefix}/qos{qos}");
        b.subscribe(&topic, qos);
        for n in 0..20 {
            a.publish(&topic, &n.to_string(), qos, false);
        }
        for n in 0..20 {
            assert_eq!(b.expect(&topic, &n.to_string()).0, qos);
        }
        assert!(b.messages().is_empty());
        step(&format!("qos {qos}"));
    }

    let topic = format!("{prefix}/retained");
    a.publish(&topic, "kept", 1, true);
    b.subscribe(&topic, 1);
    assert!(b.expect(&topic, "kept").1);
    a.publish(&topic, "", 1, true);
    b.expect(&topic, "");
    let mut late = User::<C>::start("late", true);
    late.subscribe(&topic, 1);
    assert!(late.messages().is_empty());
    step("retained");

    let topic = format!("{prefix}/will");
    b.subscribe(&topic, 1);
    let itself = std::env::current_exe().expect("this program");
    let args: Vec<String> = std::env::args().skip(1).chain(["mortal".to_owned()]).collect();
    std::process::Command::new(itself).args(args).status().expect("a process that dies");
    b.expect(&topic, "gone");
    step("will");

    let mut members = [User::<C>::start("m1", true), User::<C>::start("m2", true)];
    for member in &mut members {
        member.subscribe(&format!("$share/{prefix}/{prefix}/shared"), 1);
    }
    for n in 0..20 {
        a.publish(&format!("{prefix}/shared"), &n.to_string(), 1, false);
    }
    let mut all = Vec::new();
    for member in &mut members {
        let got = member.messages();
        assert!(!got.is_empty());
        all.extend(got.iter().map(|payload| payload.parse::<u32>().expect("a number")));
    }
    all.sort_unstable();
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    step("shared");

    let topic = format!("{prefix}/resume");
    let mut persistent = User::<C>::start("persistent", false);
    assert!(!persistent.session_present);
    persistent.subscribe(&topic, 2);
    persistent.client.send_disconnect();
    std::thread::sleep(QUIET);
    for qos in [1, 2] {
        a.publish(&topic, &format!("while away {qos}"), qos, false);
    }
    let mut persistent = User::<C>::start("persistent", false);
    assert!(persistent.session_present);
    for qos in [1, 2] {
        assert_eq!(persistent.expect(&topic, &format!("while away {qos}")).0, qos);
    }
    persistent.client.send_disconnect();
    std::thread::sleep(QUIET);
    User::<C>::start("persistent", true).client.send_disconnect();
    step("resume");
}

fn argument(n: usize) -> String {
    std::env::args().nth(n).unwrap_or_else(|| {
        eprintln!("usage: HOST PORT VERSION");
        std::process::exit(2);
    })
}

fn client_id(name: &str) -> String {
    format!("rumqttc-{}-{name}", argument(3))
}

macro_rules! client {
    ($name:ident, $module:path, $clean:ident, $qos:expr, $options:expr, $present:expr, $will:expr) => {
        mod $name {
            use super::{Client, Receiver, Seen, channel};
            use $module as mqtt;

            pub(super) struct This(mqtt::Client);

            fn qos(qos: u8) -> mqtt::mqttbytes::QoS {
                $qos(qos)
            }

            impl Client for This {
                fn start(name: &str, clean: bool, will: Option<(&str, &str)>) -> (Self, Receiver<Seen>) {
                    let port = super::argument(2).parse().expect("a port");
                    let mut options =
                        mqtt::MqttOptions::new(super::client_id(name), super::argument(1), port);
                    options.$clean(clean);
                    $options(&mut options, clean);
                    if let Some((topic, payload)) = will {
                        options.set_last_will($will(topic, payload, qos(1)));
                    }
                    let (client, mut connection) = mqtt::Client::new(options, 100);
                    let (seen, receiver) = channel();
                    std::thread::spawn(move || {
                        for event in connection.iter() {
                            let Ok(mqtt::Event::Incoming(packet)) = event else {
                                if event.is_err() {
                                    return;
                                }
                                continue;
                            };
                            let told = match packet {
                                mqtt::Incoming::ConnAck(connack) => Seen::Connected($present(connack)),
                                mqtt::Incoming::SubAck(_) => Seen::Subscribed,
                                mqtt::Incoming::PubAck(_) | mqtt::Incoming::PubComp(_) => Seen::Published,
                                mqtt::Incoming::Publish(message) => Seen::Message {
                                    topic: String::from_utf8(message.topic.into()).expect("a topic"),
                                    payload: String::from_utf8(message.payload.to_vec()).expect("text"),
                                    qos: message.qos as u8,
                                    retain: message.retain,
                                },
                                _ => continue,
                            };
                            if seen.send(told).is_err() {
                                return;
                            }
                        }
                    });
                    (Self(client), receiver)
                }

                fn send_subscribe(&mut self, topic: &str, level: u8) {
                    self.0.subscribe(topic, qos(level)).expect("room");
                }

                fn send_publish(&mut self, topic: &str, payload: &str, level: u8, retain: bool) {
                    self.0.publish(topic, qos(level), retain, payload.to_owned()).expect("room");
                }

                fn send_disconnect(&mut self) {
                    self.0.disconnect().expect("room");
                }
            }
        }
    };
}

client!(
    v311,
    rumqttc,
    set_clean_session,
    |level| rumqttc::qos(level).expect("0 to 2"),
    |_: &mut rumqttc::MqttOptions, _| {},
    |connack: rumqttc::ConnAck| connack.session_present,
    |topic, payload, qos| rumqttc::LastWill::new(topic, payload, qos, false)
);

client!(
    v5,
    rumqttc::v5,
    set_clean_start,
    |level| rumqttc::v5::mqttbytes::qos(level).expect("0 to 2"),
    |options: &mut rumqttc::v5::MqttOptions, clean: bool| {
        let properties = rumqttc::v5::mqttbytes::v5::ConnectProperties {
            session_expiry_interval: Some(if clean { 0 } else { 60 }),
            ..rumqttc::v5::mqttbytes::v5::ConnectProperties::new()
        };
        options.set_connect_properties(properties);
    },
    |connack: rumqttc::v5::mqttbytes::v5::ConnAck| connack.session_present,
    |topic, payload, qos| rumqttc::v5::mqttbytes::v5::LastWill::new(topic, payload, qos, false, None)
);

fn run<C: Client>(prefix: &str) {
    if std::env::args().nth(4).as_deref() == Some("mortal") {
        let (_client, seen) = C::start("mortal", true, Some((&format!("{prefix}/will"), "gone")));
        assert!(matches!(seen.recv_timeout(WAIT), Ok(Seen::Connected(_))));
        std::process::abort();
    }
    scenario::<C>(prefix);
}

fn main() {
    match argument(3).as_str() {
        "5" => run::<v5::This>("rumqttc-5"),
        _ => run::<v311::This>("rumqttc-3.1.1"),
    }
}
