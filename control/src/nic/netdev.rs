//! What the kernel says XDP can do on a device: the `netdev` family of generic netlink, from Linux 6.3 on
//! (Documentation/netlink/specs/netdev.yaml).

use std::io;

use pelton_ebpf_loader::netlink::{self, Answer, Protocol, attribute, cut, half, put, word};

/// What XDP can do on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct XdpFeatures {
    bits: u64,
    /// The most pieces of a frame sent without copies; 0 if it is not said.
    pub(super) zero_copy_segments: u32,
}

/// Names of the bits, as the kernel's specification has them.
const NAMES: [&str; 7] =
    ["basic", "redirect", "ndo-xmit", "xsk-zerocopy", "hw-offload", "rx-sg", "ndo-xmit-sg"];

impl XdpFeatures {
    /// A program in the driver.
    pub(super) const fn native(self) -> bool {
        // Frames for a socket are redirected.
        self.bits & 0b11 == 0b11
    }

    /// Sockets without copies.
    pub(super) const fn zero_copy(self) -> bool {
        self.bits & 0b1000 != 0
    }

    /// Frames in several pieces.
    pub(super) const fn multi_buffer(self) -> bool {
        self.bits & 0b10_0000 != 0
    }

    /// All of them by name.
    pub(super) fn names(self) -> Vec<&'static str> {
        (0..NAMES.len()).filter(|&bit| self.bits >> bit & 1 == 1).map(|bit| NAMES[bit]).collect()
    }
}

/// Bytes of `genlmsghdr`.
const GENERIC: usize = 4;

/// Asks for an interface by its index. None if the kernel does not know the question.
///
/// # Errors
/// No such interface, or what the kernel says.
pub(super) fn xdp_features(index: u32) -> io::Result<Option<XdpFeatures>> {
    const GENL_ID_CTRL: u16 = 0x10;
    const CTRL_CMD_GETFAMILY: u8 = 3;
    const CTRL_ATTR_FAMILY_ID: u16 = 1;
    const CTRL_ATTR_FAMILY_NAME: u16 = 2;
    const NETDEV_CMD_DEV_GET: u8 = 1;
    const NETDEV_A_DEV_IFINDEX: u16 = 1;
    const ENOENT: i32 = 2;
    let family = match ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_NAME, b"netdev\0") {
        Ok(reply) => reply,
        Err(error) if error.raw_os_error() == Some(ENOENT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let family = attribute(&family, CTRL_ATTR_FAMILY_ID).and_then(|id| half(id, 0)).ok_or_else(cut)?;
    let reply = ask(family, NETDEV_CMD_DEV_GET, NETDEV_A_DEV_IFINDEX, &index.to_ne_bytes())?;
    features(&reply).map(Some)
}

fn features(reply: &[u8]) -> io::Result<XdpFeatures> {
    const NETDEV_A_DEV_XDP_FEATURES: u16 = 3;
    const NETDEV_A_DEV_XDP_ZC_MAX_SEGS: u16 = 4;
    let bits = attribute(reply, NETDEV_A_DEV_XDP_FEATURES)
        .and_then(|bits| bits.first_chunk())
        .map(|bits| u64::from_ne_bytes(*bits))
        .ok_or_else(cut)?;
    let segments = attribute(reply, NETDEV_A_DEV_XDP_ZC_MAX_SEGS).and_then(|segments| word(segments, 0));
    Ok(XdpFeatures { bits, zero_copy_segments: segments.unwrap_or(0) })
}

/// Puts a question with one attribute; the attributes of the answer.
fn ask(family: u16, command: u8, kind: u16, value: &[u8]) -> io::Result<Vec<u8>> {
    let mut request = vec![command, 1, 0, 0];
    put(&mut request, kind, value);
    let Answer { mut body, .. } = netlink::ask(Protocol::Generic, family, &request)?;
    if body.len() < GENERIC {
        return Err(cut());
    }
    Ok(body.split_off(GENERIC))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, kind, value);
        bytes
    }

    #[test]
    fn an_answer_is_read_and_a_cut_one_is_an_error() {
        let reply =
            [one(1, &7u32.to_ne_bytes()), one(3, &0b10_1011u64.to_ne_bytes()), one(4, &8u32.to_ne_bytes())];
        let reply = reply.concat();
        let read = features(&reply).unwrap();
        assert!(read.native() && read.zero_copy() && read.multi_buffer());
        assert_eq!(read.zero_copy_segments, 8);
        assert_eq!(read.names(), ["basic", "redirect", "xsk-zerocopy", "rx-sg"]);
        for length in 0..20 {
            assert!(features(&reply[..length]).is_err(), "{length} bytes");
        }
        let basic = features(&one(3, &1u64.to_ne_bytes())).unwrap();
        assert!(!basic.native() && !basic.zero_copy());
    }

    #[test]
    fn this_kernel_answers() {
        // Loopback is interface 1 of every namespace.
        let said = xdp_features(1).unwrap();
        assert!(said.is_none_or(|features| !features.zero_copy()), "{said:?}");
        assert!(xdp_features(0x7fff_0000).is_err() || said.is_none());
    }
}
