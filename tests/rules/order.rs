//! Order: of messages, of acknowledgements.

use pelton_mqtt::{PacketType, Publish, QoS, Version};

use crate::broker::Broker;
use crate::client::{Client, id, message};

const COUNT: u32 = 300;

#[test]
fn messages_of_a_publisher_keep_their_order() {
    // covers [MQTT-4.6.0-5] [MQTT-4.6.0-6] [MQTT-4.2.0-1] [MQTT311-4.6.0-5] [MQTT311-4.6.0-6] [MQTT311-7.1.1-1]
    let broker = Broker::plain();
    for version in Version::ALL {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let mut subscribers: Vec<Client> = ["t", "+", "#"]
                .iter()
                .map(|filter| {
                    let mut client = broker.client(version, &format!("s{filter}"));
                    client.subscribe(filter, qos);
                    client
                })
                .collect();
            let mut publisher = broker.client(version, "p");
            for n in 0..COUNT {
                let packet_id = (qos != QoS::AtMostOnce).then(|| id(n as u16 + 1));
                publisher.put_publish(&Publish { qos, packet_id, ..message("t", &n.to_string()) });
            }
            for subscriber in &mut subscribers {
                let mut next = 0;
                while next < COUNT {
                    let got = subscriber.receive();
                    if got.packet_type() == PacketType::PubRel {
                        continue;
                    }
                    assert_eq!(got.payload(), next.to_string());
                    next += 1;
                    match qos {
                        QoS::AtMostOnce => {}
                        QoS::AtLeastOnce => {
                            subscriber.acknowledge(PacketType::PubAck, got.publish().packet_id)
                        }
                        QoS::ExactlyOnce => {
                            subscriber.acknowledge(PacketType::PubRec, got.publish().packet_id)
                        }
                    }
                }
            }
            for client in subscribers.into_iter().chain([publisher]) {
                client.vanish();
            }
            broker.wait_online(0);
        }
    }
}

#[test]
fn acknowledgements_come_in_the_order_of_the_publishes() {
    // covers [MQTT-4.6.0-2] [MQTT-4.6.0-3] [MQTT311-4.6.0-2] [MQTT311-4.6.0-3]
    let broker = Broker::plain();
    for version in Version::ALL {
        // Subscribers on both shards, and topics nobody wants: some are settled at once, some later.
        let mut subscribers: Vec<Client> = (0..4)
            .map(|n| {
                let mut client = broker.client(version, &format!("s{n}"));
                client.subscribe(&format!("t/{n}"), QoS::AtMostOnce);
                client
            })
            .collect();
        let mut publisher = broker.client(version, "p");
        for n in 0..COUNT as u16 {
            let qos = if n % 3 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
            let topic = format!("t/{}", n % 6);
            publisher.put_publish(&Publish { qos, packet_id: Some(id(n + 1)), ..message(&topic, "x") });
        }
        for n in 0..COUNT as u16 {
            let kind = if n % 3 == 0 { PacketType::PubRec } else { PacketType::PubAck };
            assert_eq!(publisher.receive().ack(kind).packet_id, id(n + 1));
        }
        for client in subscribers.drain(..).chain([publisher]) {
            client.vanish();
        }
        broker.wait_online(0);
    }
}

#[test]
fn pubrel_comes_in_the_order_of_the_pubrecs() {
    // covers [MQTT311-4.6.0-4] [MQTT-4.3.3-4]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut subscriber = broker.client(version, "s");
        subscriber.subscribe("t", QoS::ExactlyOnce);
        let mut publisher = broker.client(version, "p");
        let mut ids = Vec::new();
        for _ in 0..20 {
            publisher.say("t", "x", QoS::ExactlyOnce);
            ids.push(subscriber.receive().publish().packet_id);
        }
        // Received in another order than sent.
        ids.rotate_left(7);
        ids.swap(2, 11);
        for packet_id in &ids {
            subscriber.acknowledge(PacketType::PubRec, *packet_id);
        }
        for packet_id in ids {
            assert_eq!(Some(subscriber.receive().ack(PacketType::PubRel).packet_id), packet_id);
        }
        subscriber.leave();
        publisher.leave();
    }
}

#[test]
fn what_is_sent_again_comes_in_its_order_and_before_what_is_new() {
    // covers [MQTT-4.6.0-1] [MQTT311-4.6.0-1] [MQTT-4.4.0-1] [MQTT-4.6.0-5]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut client = Client::connect(&broker, version, "c", false);
        client.subscribe("t", QoS::AtLeastOnce);
        let mut publisher = broker.client(version, "p");
        for n in 0..10 {
            publisher.say("t", &n.to_string(), QoS::AtLeastOnce);
        }
        // Three of them are acknowledged, not the first.
        let mut left = Vec::new();
        for n in 0..10 {
            let got = client.receive();
            if [2, 3, 7].contains(&n) {
                client.acknowledge(PacketType::PubAck, got.publish().packet_id);
            } else {
                left.push((got.publish().packet_id, n.to_string(), true));
            }
        }
        client.expect_silence();
        client.vanish();
        broker.wait_online(1);
        for n in 10..14 {
            publisher.say("t", &n.to_string(), QoS::AtLeastOnce);
        }
        let (mut client, _) = Client::connect_as(&broker, &Client::hello(version, "c", false));
        for expected in left {
            let got = client.take();
            assert_eq!((got.publish().packet_id, got.payload(), got.publish().dup), expected);
        }
        for n in 10..14 {
            let got = client.take();
            assert_eq!((got.payload(), got.publish().dup), (n.to_string(), false));
        }
        client.expect_silence();
        client.leave();
        publisher.leave();
        Client::connect(&broker, version, "c", true).leave();
        broker.wait_online(0);
    }
}
