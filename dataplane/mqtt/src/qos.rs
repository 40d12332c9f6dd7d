//! Quality of service, and which side of a connection sent a packet.

/// Quality of service of a publication or a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// At most once: no acknowledgement.
    #[default]
    AtMostOnce = 0,
    /// At least once: PUBACK.
    AtLeastOnce = 1,
    /// Exactly once: PUBREC, PUBREL, PUBCOMP.
    ExactlyOnce = 2,
}

impl QoS {
    /// The QoS of a two-bit field; `None` for 3 and above.
    #[inline]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The two-bit field.
    #[inline]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

/// Which side sent a packet: a few rules of the standard bind only one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// A client, to a server.
    Client,
    /// A server, to a client.
    Server,
    /// Not known, or not to be judged: what either side may send is accepted. For traces and tools.
    Either,
}

impl Sender {
    /// Whether a packet that only `by` may send can have come from this side.
    #[inline]
    pub(crate) const fn may_be(self, by: Self) -> bool {
        !matches!((self, by), (Self::Client, Self::Server) | (Self::Server, Self::Client))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_is_not_a_qos() {
        assert_eq!(QoS::from_bits(2), Some(QoS::ExactlyOnce));
        assert_eq!(QoS::from_bits(3), None);
        assert!(QoS::AtMostOnce < QoS::AtLeastOnce && QoS::AtLeastOnce < QoS::ExactlyOnce);
    }

    #[test]
    fn each_side_is_held_to_its_own_packets() {
        assert!(Sender::Client.may_be(Sender::Client) && Sender::Client.may_be(Sender::Either));
        assert!(!Sender::Client.may_be(Sender::Server) && !Sender::Server.may_be(Sender::Client));
        assert!(Sender::Either.may_be(Sender::Server));
    }
}
