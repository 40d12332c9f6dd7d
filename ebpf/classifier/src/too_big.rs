//! ICMP errors that say a segment of the broker was too big for a link: RFC 1191 4, RFC 4443 3.2. The checksum is
//! not verified here; who reads the map believes an entry only if its sequence number is under way (RFC 5927 4.1).

use crate::frame::Frame;
use crate::layout::{PmtuKey, PmtuValue, mapped};
use crate::packet::{ICMP, ICMPV6, Packet, TCP};

/// The segment and what was said about it, if that is what the packet is. `key` and `value` count only then.
#[inline(never)]
pub fn read(frame: &impl Frame, packet: &Packet, key: &mut PmtuKey, value: &mut PmtuValue) -> Option<()> {
    if packet.first_fragment {
        return None;
    }
    let start = packet.start as usize;
    let message: [u8; 8] = frame.get(start)?;
    let quoted = start + 8;
    let segment = match (packet.v6, packet.protocol) {
        (false, ICMP) if message[0] == 3 && message[1] == 4 => {
            let [version, _] = frame.get(quoted)?;
            let [_, protocol] = frame.get(quoted + 8)?;
            let header_bytes = ((version & 0xf) as usize) * 4;
            if version >> 4 != 4 || header_bytes < 20 || protocol != TCP {
                return None;
            }
            key.local = mapped(frame.get(quoted + 12)?);
            key.remote = mapped(frame.get(quoted + 16)?);
            value.mtu = u16::from_be_bytes([message[6], message[7]]) as u32;
            quoted + header_bytes
        }
        (true, ICMPV6) if message[0] == 2 => {
            let [version, _] = frame.get(quoted)?;
            let [protocol, _] = frame.get(quoted + 6)?;
            // The broker sends no extension headers.
            if version >> 4 != 6 || protocol != TCP {
                return None;
            }
            key.local = frame.get(quoted + 8)?;
            key.remote = frame.get(quoted + 24)?;
            value.mtu = u32::from_be_bytes([message[4], message[5], message[6], message[7]]);
            quoted + 40
        }
        _ => return None,
    };
    if segment + 8 > packet.end as usize {
        return None;
    }
    key.local_port = frame.get(segment)?;
    key.remote_port = frame.get(segment + 2)?;
    value.sequence = u32::from_be_bytes(frame.get(segment + 4)?);
    Some(())
}
