//! What comes from the broker: acknowledgements to publishers, deliveries to subscribers.

use pelton_mqtt::{Ack, DecodeError, PacketType, Publish, QoS};

use super::Run;
use crate::failure::Failure;
use crate::link::Taken;
use crate::sequence::Arrival;
use crate::stamp::Stamp;

impl Run<'_> {
    /// Reads a connection until its socket is empty.
    pub(super) fn read(&mut self, number: usize) -> Result<(), Failure> {
        loop {
            if !self.links[number].is_open() {
                return Ok(());
            }
            let taken = match number.checked_sub(self.publishers.len()) {
                None => self.read_publisher(number)?,
                Some(subscriber) => self.read_subscriber(number, subscriber)?,
            };
            if self.links[number].pending() > 0 {
                self.list_link(number);
            }
            match taken {
                Taken::More => {}
                Taken::Drained => return Ok(()),
                Taken::Ended => {
                    self.links[number].close();
                    self.counts.closed_by_broker += 1;
                }
            }
        }
    }

    fn read_publisher(&mut self, number: usize) -> Result<Taken, DecodeError> {
        let version = self.options.version;
        let (publisher, counts) = (&mut self.publishers[number], &mut self.counts);
        let before = publisher.unacknowledged();
        let taken = self.links[number].read(&mut self.buffer, |header, body, out| {
            let packet = header.packet_type;
            if matches!(packet, PacketType::PubAck | PacketType::PubRec | PacketType::PubComp) {
                let ack = Ack::decode(packet, version, body)?;
                let failed = ack.reason.is_error();
                if !publisher.acknowledged(packet, ack.packet_id.get(), failed, out) {
                    counts.stray_acknowledgements += 1;
                }
            }
            Ok(())
        })?;
        if publisher.unacknowledged() != before {
            self.list_publisher(number);
        }
        Ok(taken)
    }

    fn read_subscriber(&mut self, number: usize, subscriber: usize) -> Result<Taken, DecodeError> {
        let now_ns = self.clock.now_ns();
        let version = self.options.version;
        let Self { topology, publishers, streams, shares, counts, latencies, to_fill, .. } = self;
        let (open_loop, in_time) = (self.rate.is_some(), self.from_ns..self.until_ns);
        let (run, payload_bytes) = (self.number_of_run, self.options.size);
        let mut messages = 0;
        let taken = self.links[number].read(&mut self.buffer, |header, body, out| {
            match header.packet_type {
                PacketType::Publish => {}
                PacketType::PubRel => {
                    let ack = Ack::decode(PacketType::PubRel, version, body)?;
                    answer(PacketType::PubComp, ack.packet_id.get(), out);
                    return Ok(());
                }
                _ => return Ok(()),
            }
            let publish = Publish::decode_from_server(version, header.first, body)?;
            match (publish.qos, publish.packet_id) {
                (QoS::AtLeastOnce, Some(id)) => answer(PacketType::PubAck, id.get(), out),
                (QoS::ExactlyOnce, Some(id)) => answer(PacketType::PubRec, id.get(), out),
                _ => {}
            }
            let stamp = Stamp::read(publish.payload)
                .filter(|stamp| stamp.run == run && publish.payload.len() == payload_bytes);
            let Some((stamp, stream)) =
                stamp.and_then(|stamp| Some((stamp, topology.stream(subscriber, stamp.publisher as usize)?)))
            else {
                counts.foreign += 1;
                return Ok(());
            };
            let origin = stamp.publisher as usize;
            let arrival = if topology.shared {
                shares[origin].arrived(subscriber, stamp.sequence)
            } else {
                streams[stream].arrived(stamp.sequence)
            };
            let publisher = &mut publishers[origin];
            match arrival {
                Arrival::InOrder => publisher.delivered(1),
                Arrival::Skipped(count) => publisher.delivered(count + 1),
                Arrival::Late => {
                    counts.out_of_order += 1;
                    // In a stream it was counted when it was skipped.
                    publisher.delivered(u64::from(topology.shared));
                }
                Arrival::Duplicate => {
                    counts.duplicated += 1;
                    return Ok(());
                }
            }
            if !std::mem::replace(&mut publisher.listed, true) {
                to_fill.push(origin);
            }
            messages += 1;
            if in_time.contains(&if open_loop { stamp.time_ns } else { now_ns }) {
                latencies.record(now_ns.saturating_sub(stamp.time_ns));
            }
            Ok(())
        })?;
        if messages > 0 {
            self.last_arrival_ns = now_ns;
            self.counts.received += messages;
            self.counts.measured += messages;
        }
        Ok(taken)
    }
}

fn answer(packet: PacketType, packet_id: u16, out: &mut Vec<u8>) {
    let [high, low] = packet_id.to_be_bytes();
    out.extend_from_slice(&[packet.first_byte(), 2, high, low]);
}
