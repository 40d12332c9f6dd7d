//! Valid packets of every type and version, made from a seed: some strings, some bytes, some numbers, some bits. A
//! packet takes what it needs in turn, so that a smaller seed is a simpler packet.

use std::cell::Cell;

use pelton_mqtt::{
    Ack, Auth, ConnAck, ConnAckProperties, Connect, ConnectProperties, Disconnect, Filters, Packet, PacketId,
    PacketType, Property, Publish, PublishProperties, QoS, RawFilter, RawTopic, ReasonCode, ReasonCodes,
    RetainHandling, SubAck, Subscribe, SubscribeOptions, Subscription, Subscriptions, TopicName, UnsubAck,
    Unsubscribe, UserProperties, Version, Will,
};

use crate::random::Random;

/// What packets are made from.
#[derive(Clone, Debug)]
pub(crate) struct Seed {
    pub(crate) strings: Vec<String>,
    pub(crate) blobs: Vec<Vec<u8>>,
    pub(crate) numbers: Vec<u32>,
    pub(crate) bits: u64,
}

impl Seed {
    pub(crate) fn random(random: &mut Random) -> Self {
        const STRINGS: [&str; 14] = [
            "",
            "a",
            "a/b",
            "$SYS/x",
            "#",
            "+/a",
            "a/#",
            "a#",
            "$share/g/a",
            "$share/g",
            "ü",
            "\u{FEFF}x",
            "a\tb",
            "a somewhat longer string that is more than a word or two",
        ];
        let strings = (0..8).map(|_| STRINGS[random.below(STRINGS.len())].to_owned()).collect();
        let blobs = (0..4).map(|_| vec![random.byte(); [0, 1, 7, 40, 130][random.below(5)]]).collect();
        const NUMBERS: [u32; 10] = [0, 1, 2, 127, 128, 16_384, 65_535, 65_536, 268_435_455, u32::MAX];
        let numbers = (0..8).map(|_| NUMBERS[random.below(NUMBERS.len())]).collect();
        Self { strings, blobs, numbers, bits: random.word() }
    }
}

/// Takes from a seed, round and round.
struct Picks<'a> {
    seed: &'a Seed,
    at: [Cell<usize>; 4],
}

impl<'a> Picks<'a> {
    fn turn(&self, kind: usize) -> usize {
        self.at[kind].replace(self.at[kind].get() + 1)
    }

    fn flag(&self) -> bool {
        self.seed.bits >> (self.turn(0) % 64) & 1 != 0
    }

    fn number(&self) -> u32 {
        let turn = self.turn(1);
        // Each round is another one, so that a short list still gives different numbers.
        let round = (turn / self.seed.numbers.len().max(1)) as u32;
        self.seed.numbers.get(turn % self.seed.numbers.len().max(1)).copied().unwrap_or(0).wrapping_add(round)
    }

    fn below(&self, bound: usize) -> usize {
        self.number() as usize % bound
    }

    fn text(&self) -> &'a str {
        let turn = self.turn(2);
        self.seed.strings.get(turn % self.seed.strings.len().max(1)).map_or("", |text| {
            // U+0000 is in no packet.
            if text.contains('\0') { "null" } else { text }
        })
    }

    fn bytes(&self) -> &'a [u8] {
        let turn = self.turn(3);
        self.seed.blobs.get(turn % self.seed.blobs.len().max(1)).map_or(&[], Vec::as_slice)
    }

    fn some<T>(&self, value: impl FnOnce() -> T) -> Option<T> {
        self.flag().then(value)
    }

    fn topic(&self) -> TopicName<'a> {
        TopicName::new(self.text()).or_else(|_| TopicName::new("t")).expect("a topic")
    }

    fn filter(&self) -> RawFilter<'a> {
        RawFilter::new(self.text()).expect("a string without U+0000")
    }

    fn id(&self) -> PacketId {
        PacketId::new(self.number() as u16).or(PacketId::new(1)).expect("not 0")
    }

    fn qos(&self) -> QoS {
        QoS::from_bits(self.below(3) as u8).expect("a QoS")
    }

    fn not_zero(&self) -> u32 {
        self.number().max(1)
    }

    fn subscription_id(&self) -> u32 {
        self.number().clamp(1, 268_435_455)
    }

    fn pairs(&self, version: Version) -> Vec<(&'a str, &'a str)> {
        let count = if version.is_v5() { self.below(4) } else { 0 };
        (0..count).map(|_| (self.text(), self.text())).collect()
    }

    fn reason(&self, version: Version, packet_type: PacketType) -> ReasonCode {
        let codes: Vec<_> = ReasonCode::ALL
            .iter()
            .copied()
            .filter(|code| match packet_type {
                _ if version.is_v5() => code.allowed_in(packet_type),
                PacketType::ConnAck => {
                    (0..=5).any(|byte| Some(*code) == pelton_mqtt::ConnectReturnCode::reason(byte))
                }
                PacketType::SubAck => matches!(*code as u8, 0 | 1 | 2 | 0x80),
                _ => *code == ReasonCode::Success,
            })
            .collect();
        codes[self.below(codes.len())]
    }

    /// The properties of a message, in some order.
    fn message_block(&self, in_publish: bool) -> Vec<u8> {
        let mut properties = Vec::new();
        properties.extend(self.some(|| Property::PayloadIsUtf8(self.flag())));
        properties.extend(self.some(|| Property::MessageExpiry(self.number())));
        properties.extend(self.some(|| Property::ContentType(self.text())));
        properties.extend(self.some(|| Property::ResponseTopic(self.topic())));
        properties.extend(self.some(|| Property::CorrelationData(self.bytes())));
        properties
            .extend(self.pairs(Version::V5).into_iter().map(|(name, value)| Property::User(name, value)));
        if in_publish {
            properties.extend(self.some(|| Property::TopicAlias(self.number() as u16 | 1)));
            properties.extend((0..self.below(3)).map(|_| Property::SubscriptionId(self.subscription_id())));
        }
        for index in (1..properties.len()).rev() {
            properties.swap(index, self.below(index + 1));
        }
        let mut block = Vec::new();
        properties.iter().for_each(|property| property.encode(&mut block));
        block
    }
}

/// Calls `examine` with a valid packet of this type and version; with none for AUTH before version 5.
pub(crate) fn with_packet<R>(
    seed: &Seed,
    packet_type: PacketType,
    version: Version,
    examine: impl FnOnce(Packet<'_>) -> R,
) -> Option<R> {
    let picks = &Picks { seed, at: Default::default() };
    let v5 = version.is_v5();
    let pairs = picks.pairs(version);
    let user_properties = UserProperties::new(&pairs);
    let reason_string = if v5 { picks.some(|| picks.text()) } else { None };
    let block = if v5 { picks.message_block(packet_type == PacketType::Publish) } else { Vec::new() };
    let message = PublishProperties::new(&block).expect("a block that is right");
    let ack = || {
        let reason = picks.reason(version, packet_type);
        Ack { packet_id: picks.id(), reason, reason_string, user_properties }
    };
    let count = 1 + picks.below(4);
    let subscriptions: Vec<_> = (0..count)
        .map(|_| {
            let filter = picks.filter();
            let options = SubscribeOptions {
                qos: picks.qos(),
                no_local: v5 && picks.flag() && !filter.is_shared(),
                retain_as_published: v5 && picks.flag(),
                retain_handling: match if v5 { picks.below(3) } else { 0 } {
                    0 => RetainHandling::Send,
                    1 => RetainHandling::SendIfNew,
                    _ => RetainHandling::DoNotSend,
                },
            };
            Subscription { filter, options }
        })
        .collect();
    let filters: Vec<_> = subscriptions.iter().map(|subscription| subscription.filter).collect();
    let codes = match packet_type {
        PacketType::UnsubAck if !v5 => 0,
        _ => count,
    };
    let reasons: Vec<_> = match packet_type {
        PacketType::SubAck | PacketType::UnsubAck => {
            (0..codes).map(|_| picks.reason(version, packet_type)).collect()
        }
        _ => Vec::new(),
    };
    let packet = match packet_type {
        PacketType::Connect => {
            let clean_start = picks.flag();
            let may_be_empty = v5 || (version == Version::V311 && clean_start);
            let client_id = match picks.text() {
                "" if !may_be_empty => "c",
                text => text,
            };
            let will = picks.some(|| Will {
                topic: picks.topic(),
                payload: picks.bytes(),
                qos: picks.qos(),
                retain: picks.flag(),
                delay_interval: if v5 { picks.number() } else { 0 },
                properties: message,
            });
            let user_name = picks.some(|| picks.text());
            let password = if v5 || user_name.is_some() { picks.some(|| picks.bytes()) } else { None };
            let authentication_method = picks.some(|| picks.text());
            let properties = ConnectProperties {
                session_expiry: picks.some(|| picks.number()),
                receive_maximum: picks.some(|| picks.number() as u16 | 1),
                maximum_packet_size: picks.some(|| picks.not_zero()),
                topic_alias_maximum: picks.some(|| picks.number() as u16),
                request_response_information: picks.some(|| picks.flag()),
                request_problem_information: picks.some(|| picks.flag()),
                authentication_method,
                authentication_data: authentication_method.and_then(|_| picks.some(|| picks.bytes())),
                user_properties,
            };
            Packet::Connect(Connect {
                version,
                bridge: !v5 && picks.flag(),
                clean_start,
                keep_alive: picks.number() as u16,
                client_id,
                will,
                user_name,
                password,
                properties: if v5 { properties } else { ConnectProperties::default() },
            })
        }
        PacketType::ConnAck => {
            let reason = picks.reason(version, packet_type);
            let properties = ConnAckProperties {
                session_expiry: picks.some(|| picks.number()),
                receive_maximum: picks.some(|| picks.number() as u16 | 1),
                maximum_qos: picks.some(|| QoS::from_bits(u8::from(picks.flag())).expect("0 or 1")),
                retain_available: picks.some(|| picks.flag()),
                maximum_packet_size: picks.some(|| picks.not_zero()),
                assigned_client_id: picks.some(|| picks.text()),
                topic_alias_maximum: picks.some(|| picks.number() as u16),
                reason_string,
                user_properties,
                wildcard_subscription_available: picks.some(|| picks.flag()),
                subscription_ids_available: picks.some(|| picks.flag()),
                shared_subscription_available: picks.some(|| picks.flag()),
                server_keep_alive: picks.some(|| picks.number() as u16),
                response_information: picks.some(|| picks.text()),
                server_reference: picks.some(|| picks.text()),
                authentication_method: picks.some(|| picks.text()),
                authentication_data: picks.some(|| picks.bytes()),
            };
            Packet::ConnAck(ConnAck {
                session_present: version != Version::V31 && reason == ReasonCode::Success && picks.flag(),
                reason,
                properties: if v5 { properties } else { ConnAckProperties::default() },
            })
        }
        PacketType::Publish => {
            let qos = picks.qos();
            let topic = match message.topic_alias() {
                Some(_) if picks.flag() => RawTopic::new(b""),
                _ => RawTopic::from(picks.topic()),
            };
            Packet::Publish(Publish {
                dup: qos != QoS::AtMostOnce && picks.flag(),
                qos,
                retain: picks.flag(),
                topic,
                packet_id: (qos != QoS::AtMostOnce).then(|| picks.id()),
                properties: message,
                payload: picks.bytes(),
            })
        }
        PacketType::PubAck => Packet::PubAck(ack()),
        PacketType::PubRec => Packet::PubRec(ack()),
        PacketType::PubRel => Packet::PubRel(ack()),
        PacketType::PubComp => Packet::PubComp(ack()),
        PacketType::Subscribe => Packet::Subscribe(Subscribe {
            packet_id: picks.id(),
            subscription_id: if v5 { picks.some(|| picks.subscription_id()) } else { None },
            user_properties,
            subscriptions: Subscriptions::new(&subscriptions),
        }),
        PacketType::SubAck => Packet::SubAck(SubAck {
            packet_id: picks.id(),
            reason_string,
            user_properties,
            reasons: ReasonCodes::new(&reasons),
        }),
        PacketType::Unsubscribe => Packet::Unsubscribe(Unsubscribe {
            packet_id: picks.id(),
            user_properties,
            filters: Filters::new(&filters),
        }),
        PacketType::UnsubAck => Packet::UnsubAck(UnsubAck {
            packet_id: picks.id(),
            reason_string,
            user_properties,
            reasons: ReasonCodes::new(&reasons),
        }),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(Disconnect {
            reason: picks.reason(version, packet_type),
            session_expiry: if v5 { picks.some(|| picks.number()) } else { None },
            reason_string,
            user_properties,
            server_reference: if v5 { picks.some(|| picks.text()) } else { None },
        }),
        PacketType::Auth if !v5 => return None,
        PacketType::Auth => Packet::Auth(Auth {
            reason: picks.reason(version, packet_type),
            authentication_method: Some(picks.text()),
            authentication_data: picks.some(|| picks.bytes()),
            reason_string,
            user_properties,
        }),
    };
    Some(examine(packet))
}

/// The bytes of a valid packet of a random type, and its version.
pub(crate) fn random_packet(random: &mut Random) -> (Version, Vec<u8>) {
    let seed = Seed::random(random);
    loop {
        let version = Version::ALL[random.below(3)];
        let packet_type = PacketType::ALL[random.below(15)];
        let bytes = with_packet(&seed, packet_type, version, |packet| {
            let mut out = Vec::new();
            packet.encode(version, &mut out);
            out
        });
        if let Some(bytes) = bytes {
            return (version, bytes);
        }
    }
}
