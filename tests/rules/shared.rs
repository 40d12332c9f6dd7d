//! Shared subscriptions.

use pelton_broker::counters::Dropped;
use pelton_mqtt::{PacketType, QoS, ReasonCode, SubscribeOptions, Version};

use crate::broker::Broker;
use crate::client::{Client, Got};

fn payloads(client: &mut Client) -> Vec<String> {
    client.take_all().iter().map(Got::payload).collect()
}

#[test]
fn each_message_goes_to_one_member() {
    // covers [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    let broker = Broker::plain();
    for version in Version::ALL {
        let mut members: Vec<Client> = (0..3)
            .map(|n| {
                let mut client = broker.client(version, &format!("m{n}"));
                client.subscribe("$share/group/t/+", QoS::AtLeastOnce);
                client
            })
            .collect();
        // Another group, and one who shares with nobody.
        let mut alone = broker.client(version, "alone");
        alone.subscribe("$share/other/t/#", QoS::AtLeastOnce);
        let mut plain = broker.client(version, "plain");
        plain.subscribe("t/#", QoS::AtLeastOnce);
        let mut publisher = broker.client(version, "p");
        let sent: Vec<String> = (0..30).map(|n| n.to_string()).collect();
        for payload in &sent {
            publisher.say("t/x", payload, QoS::AtLeastOnce);
        }
        assert_eq!(payloads(&mut alone), sent);
        assert_eq!(payloads(&mut plain), sent);
        let mut seen: Vec<usize> = Vec::new();
        for member in &mut members {
            let got = payloads(member);
            assert!(!got.is_empty(), "in turn, nobody is left out");
            seen.extend(got.iter().map(|payload| payload.parse::<usize>().expect("a number")));
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..30), "{seen:?}");
        for client in members.into_iter().chain([alone, plain, publisher]) {
            client.leave();
        }
        broker.wait_online(0);
    }
}

#[test]
fn a_filter_that_is_wrong_is_refused_by_its_code() {
    // covers [MQTT-4.8.2-1] [MQTT-4.8.2-2]
    let broker = Broker::plain();
    let mut client = broker.client(Version::V5, "c");
    for filter in
        ["$share//t", "$share/g+/t", "$share/#/t", "$share/g", "$share/g/", "$share/", "$share/g/a/#/b"]
    {
        let code = client.subscribe_with(filter, SubscribeOptions::new(QoS::AtMostOnce));
        assert_eq!(code, ReasonCode::TopicFilterInvalid, "{filter}");
    }
    // `$share` without a level below it is a filter like any other.
    assert_eq!(client.subscribe_with("$share", SubscribeOptions::new(QoS::AtMostOnce)), ReasonCode::Success);
}

#[test]
fn members_get_messages_at_their_own_qos() {
    // covers [MQTT-4.8.2-3]
    let broker = Broker::plain();
    let mut publisher = broker.client(Version::V5, "p");
    let mut members: Vec<(Client, QoS)> = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .into_iter()
        .map(|qos| {
            let mut client = broker.client(Version::V5, &format!("m{qos:?}"));
            client.subscribe("$share/g/t", qos);
            (client, qos)
        })
        .collect();
    for _ in 0..12 {
        publisher.say("t", "x", QoS::ExactlyOnce);
    }
    let mut count = 0;
    for (member, qos) in &mut members {
        for got in member.take_all() {
            assert_eq!(got.publish().qos, *qos);
            count += 1;
        }
    }
    assert_eq!(count, 12);
}

#[test]
fn retained_messages_are_not_for_groups() {
    let broker = Broker::plain();
    let mut publisher = broker.client(Version::V5, "p");
    publisher.retain("t", "kept", QoS::AtLeastOnce);
    let mut member = broker.client(Version::V5, "m");
    member.subscribe("$share/g/t", QoS::AtLeastOnce);
    member.expect_silence();
    publisher.retain("t", "", QoS::AtLeastOnce);
}

#[test]
fn what_a_member_had_under_way_at_qos_1_goes_to_another() {
    let broker = Broker::plain();
    let mut first = broker.client(Version::V5, "first");
    first.subscribe("$share/g/t", QoS::AtLeastOnce);
    let mut publisher = broker.client(Version::V5, "p");
    for n in 0..3 {
        publisher.say("t", &n.to_string(), QoS::AtLeastOnce);
        first.expect(PacketType::Publish);
    }
    let mut second = broker.client(Version::V5, "second");
    second.subscribe("$share/g/t", QoS::AtLeastOnce);
    first.vanish();
    broker.wait_online(2);
    assert_eq!(payloads(&mut second), ["0", "1", "2"]);
}

#[test]
fn qos_2_under_way_stays_with_its_member() {
    // covers [MQTT-4.8.2-4] [MQTT-4.8.2-5]
    let broker = Broker::plain();
    let hello = Client::hello(Version::V5, "first", false);
    let (mut first, _) = Client::connect_as(&broker, &hello);
    first.subscribe("$share/g/t", QoS::ExactlyOnce);
    let mut publisher = broker.client(Version::V5, "p");
    publisher.say("t", "x", QoS::ExactlyOnce);
    let packet_id = first.receive().publish().packet_id;
    let mut second = broker.client(Version::V5, "second");
    second.subscribe("$share/g/t", QoS::ExactlyOnce);
    first.vanish();
    broker.wait_online(2);
    second.expect_silence();
    // It is back: the delivery goes on.
    let (mut first, _) = Client::connect_as(&broker, &hello);
    let again = first.receive();
    assert_eq!((again.publish().packet_id, again.publish().dup), (packet_id, true));
    first.vanish();
    broker.wait_online(2);
    // Its session ends: nobody gets it.
    Client::connect(&broker, Version::V5, "first", true).leave();
    broker.wait_online(2);
    second.expect_silence();
    broker.wait_dropped(Dropped::SessionEnded, 1);
}

#[test]
fn a_message_a_member_refuses_is_given_to_nobody_else() {
    // covers [MQTT-4.8.2-6]
    let broker = Broker::plain();
    let mut first = broker.client(Version::V5, "first");
    first.subscribe("$share/g/t", QoS::ExactlyOnce);
    let mut publisher = broker.client(Version::V5, "p");
    let mut refused = Vec::new();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        publisher.say("t", "x", qos);
        refused.push(first.receive().publish().packet_id.expect("above QoS 0"));
    }
    let mut second = broker.client(Version::V5, "second");
    second.subscribe("$share/g/t", QoS::ExactlyOnce);
    first.acknowledge_with(PacketType::PubAck, refused[0], ReasonCode::UnspecifiedError);
    first.acknowledge_with(PacketType::PubRec, refused[1], ReasonCode::UnspecifiedError);
    first.expect_silence();
    second.expect_silence();
    first.leave();
    broker.wait_online(2);
    second.expect_silence();
    broker.wait_dropped(Dropped::RefusedByClient, 2);
}

#[test]
fn a_group_whose_members_are_all_away_stores() {
    let broker = Broker::plain();
    for version in [Version::V311, Version::V5] {
        let (mut member, _) = Client::connect_as(&broker, &Client::hello(version, "m", false));
        member.subscribe("$share/g/t", QoS::AtLeastOnce);
        member.leave();
        let mut publisher = broker.client(version, "p");
        for n in 0..5 {
            publisher.say("t", &n.to_string(), QoS::AtLeastOnce);
        }
        let (mut member, _) = Client::connect_as(&broker, &Client::hello(version, "m", false));
        assert_eq!(payloads(&mut member), ["0", "1", "2", "3", "4"]);
        member.leave();
        publisher.leave();
        Client::connect(&broker, version, "m", true).leave();
        broker.wait_online(0);
    }
}
