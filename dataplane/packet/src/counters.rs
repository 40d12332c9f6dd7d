//! What is counted below TCP.

use pelton_base::counter_set;

counter_set! {
    /// Why a frame went no further than the headers below TCP.
    pub enum PacketDrop {
        /// Shorter than its headers say.
        Truncated = "truncated",
        /// An EtherType nobody here speaks.
        OtherEtherType = "other_ether_type",
        /// More than one VLAN tag.
        StackedVlan = "stacked_vlan",
        /// An IP version that is not the EtherType's, or a header length below the least.
        BadIpHeader = "bad_ip_header",
        /// The IPv4 header checksum is wrong.
        BadIpChecksum = "bad_ip_checksum",
        /// A fragment: TCP forbids fragmentation of what it sends, and reassembly is an attack surface.
        Fragment = "fragment",
        /// More IPv6 extension headers than are followed.
        TooManyExtensions = "too_many_extensions",
        /// A routing or destination header that would have to be acted upon.
        BadExtension = "bad_extension",
        /// A source address that no host has (multicast, broadcast, unspecified).
        BadSource = "bad_source",
    }
}
