//! UNSUBSCRIBE (5.0 and 3.1.1 section 3.10).

use crate::error::{DecodeError, Violation};
use crate::fixed_header::PacketType;
use crate::packet_id::PacketId;
use crate::properties::{self, Property, UserProperties, Walk};
use crate::text;
use crate::topic::RawFilter;
use crate::version::Version;
use crate::wire::{self, Body, Reader, Sink};

/// A request to end subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Packet identifier.
    pub packet_id: PacketId,
    /// User properties; none before version 5.
    pub user_properties: UserProperties<'a>,
    /// The filters, at least one.
    pub filters: Filters<'a>,
}

impl<'a> Unsubscribe<'a> {
    /// An UNSUBSCRIBE without properties.
    pub const fn new(packet_id: PacketId, filters: &'a [RawFilter<'a>]) -> Self {
        Self { packet_id, user_properties: UserProperties::NONE, filters: Filters::new(filters) }
    }

    /// Decodes the body.
    ///
    /// # Errors
    /// Every rule of section 3.10 but the grammar of filters, see [`RawFilter::check`].
    pub fn decode(version: Version, body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id()?;
        let mut user_properties = UserProperties::NONE;
        if version.is_v5() {
            let block = properties::block(&mut reader)?;
            let mut walk = Walk::new(block);
            while let Some(property) = walk.next()? {
                // 5.0 section 2.2.2.2, table 2-4: nothing else.
                if !matches!(property, Property::User(..)) {
                    return Err(Violation::PropertyNotAllowed.into());
                }
            }
            user_properties = UserProperties::of_block(block, walk.seen);
        }
        let payload = reader.rest();
        // [MQTT-3.10.3-2] [MQTT311-3.10.3-2]
        if payload.is_empty() {
            return Err(Violation::UnsubscribeEmpty.into());
        }
        while !reader.is_empty() {
            // [MQTT-3.10.3-1] [MQTT311-3.10.3-1]
            reader.string()?;
        }
        Ok(Self { packet_id, user_properties, filters: Filters(Source::Payload(payload)) })
    }

    /// The length of [`Unsubscribe::encode`].
    pub fn encoded_len(&self, version: Version) -> usize {
        wire::encoded_len(self, version)
    }

    /// Appends the packet.
    ///
    /// # Panics
    /// If a string is longer than 65,535 bytes.
    pub fn encode(&self, version: Version, out: &mut Vec<u8>) {
        wire::encode(self, version, out);
    }
}

impl Body for Unsubscribe<'_> {
    fn first_byte(&self) -> u8 {
        PacketType::Unsubscribe.first_byte()
    }

    fn write<S: Sink>(&self, version: Version, sink: &mut S) {
        sink.u16(self.packet_id.get());
        if version.is_v5() {
            properties::write(sink, |put| self.user_properties.each(put));
        }
        for filter in self.filters {
            sink.string(filter.as_str());
        }
    }
}

/// The filters of an UNSUBSCRIBE. Decoded, they are a view of the packet's bytes; to encode, they are made from a
/// slice.
#[derive(Clone, Copy)]
pub struct Filters<'a>(Source<'a>);

#[derive(Clone, Copy)]
enum Source<'a> {
    /// A payload that has been validated.
    Payload(&'a [u8]),
    List(&'a [RawFilter<'a>]),
}

impl<'a> Filters<'a> {
    /// These, in this order.
    pub const fn new(list: &'a [RawFilter<'a>]) -> Self {
        Self(Source::List(list))
    }

    /// The filters, in order.
    pub fn iter(self) -> FilterIter<'a> {
        FilterIter(self.0)
    }
}

impl<'a> IntoIterator for Filters<'a> {
    type Item = RawFilter<'a>;
    type IntoIter = FilterIter<'a>;

    fn into_iter(self) -> FilterIter<'a> {
        self.iter()
    }
}

impl PartialEq for Filters<'_> {
    /// The same filters in the same order, wherever they are kept.
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Filters<'_> {}

impl std::fmt::Debug for Filters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Iterator over [`Filters`].
#[derive(Clone)]
pub struct FilterIter<'a>(Source<'a>);

impl<'a> Iterator for FilterIter<'a> {
    type Item = RawFilter<'a>;

    fn next(&mut self) -> Option<RawFilter<'a>> {
        match &mut self.0 {
            Source::List(list) => {
                let (first, rest) = list.split_first()?;
                *list = rest;
                Some(*first)
            }
            Source::Payload(payload) => {
                let mut reader = Reader::new(payload);
                let filter = RawFilter::well_formed(text::checked(reader.binary().ok()?));
                *payload = reader.rest();
                Some(filter)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{decoded, golden, packet, refused};
    use crate::packet::Packet;

    /// The standard's own example: a/b and c/d, packet identifier 10.
    #[test]
    fn the_example_of_the_standard() {
        let filters = [RawFilter::new("a/b").unwrap(), RawFilter::new("c/d").unwrap()];
        let unsubscribe = Unsubscribe::new(PacketId::new(10).unwrap(), &filters);
        let payload = b"\0\x03a/b\0\x03c/d";
        golden(Version::V31, Packet::Unsubscribe(unsubscribe), &packet(0xA2, &[&[0, 10], payload]));
        golden(Version::V311, Packet::Unsubscribe(unsubscribe), &packet(0xA2, &[&[0, 10], payload]));
        golden(Version::V5, Packet::Unsubscribe(unsubscribe), &packet(0xA2, &[&[0, 10, 0], payload]));
        let with_user = Unsubscribe { user_properties: UserProperties::new(&[("k", "")]), ..unsubscribe };
        let bytes = packet(0xA2, &[&[0, 10, 6], b"\x26\0\x01k\0\0", payload]);
        golden(Version::V5, Packet::Unsubscribe(with_user), &bytes);
    }

    /// covers [MQTT-3.10.3-1] [MQTT-3.10.3-2] [MQTT311-3.10.3-1] [MQTT311-3.10.3-2]
    #[test]
    fn what_is_refused() {
        assert_eq!(refused(Version::V311, &[0xA2, 2, 0, 10]), Violation::UnsubscribeEmpty);
        assert_eq!(refused(Version::V5, &[0xA2, 3, 0, 10, 0]), Violation::UnsubscribeEmpty);
        assert_eq!(refused(Version::V311, &[0xA2, 5, 0, 0, 0, 1, b'a']), Violation::PacketIdZero);
        assert_eq!(refused(Version::V311, &[0xA2, 4, 0, 1, 0, 1]), Violation::Truncated);
        assert_eq!(refused(Version::V311, &[0xA2, 5, 0, 1, 0, 1, 0xFF]), Violation::StringNotUtf8);
        assert_eq!(
            refused(Version::V5, &[0xA2, 8, 0, 1, 2, 0x0B, 1, 0, 1, b'a']),
            Violation::PropertyNotAllowed
        );
    }

    #[test]
    fn lists_are_equal_by_their_filters() {
        let list = [RawFilter::new("a").unwrap(), RawFilter::new("b").unwrap()];
        let bytes = packet(0xA2, &[&[0, 10], b"\0\x01a\0\x01b"]);
        let Packet::Unsubscribe(decoded) = decoded(Version::V311, &bytes) else { panic!("not UNSUBSCRIBE") };
        assert_eq!(decoded.filters, Filters::new(&list));
        assert_ne!(decoded.filters, Filters::new(&list[..1]));
        assert_ne!(decoded.filters, Filters::new(&[list[1], list[0]]));
        assert_eq!(format!("{:?}", decoded.filters), format!("{list:?}"));
    }
}
