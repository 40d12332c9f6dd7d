//! A port that ends in two queues of IP packets: what packetdrill sends and what it sniffs. The Ethernet header that
//! our stack wants is put on and taken off here.

use std::collections::VecDeque;

use pelton_base::Mono;
use pelton_packet::{Frame, FramePool, Link, MacAddress, Port, PortCaps};

use crate::order::as_linux;
use crate::push::Pushes;

/// The address of our stack on the link.
pub(crate) const US: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
/// The address of packetdrill.
pub(crate) const THEM: MacAddress = MacAddress([2, 0, 0, 0, 0, 2]);

/// How our stack reaches packetdrill.
pub(crate) const LINK: Link = Link { source: US, destination: THEM, vlan: None };

const ETHERNET_BYTES: usize = 14;
const FRAMES: u32 = 1024;
/// A script may have segments as big as if a device had put them together.
const FRAME_BYTES: u16 = 32_768;

/// The port.
pub(crate) struct Wire {
    pool: FramePool,
    mtu: u16,
    arriving: VecDeque<Vec<u8>>,
    leaving: VecDeque<(Mono, Vec<u8>)>,
    pushes: Pushes,
}

impl Wire {
    pub(crate) fn new(mtu: u16) -> Self {
        Self {
            pool: FramePool::new(FRAMES, FRAME_BYTES),
            mtu,
            arriving: VecDeque::new(),
            leaving: VecDeque::new(),
            pushes: Pushes::default(),
        }
    }

    /// An IP packet of packetdrill's.
    pub(crate) fn arrives(&mut self, packet: &[u8]) {
        let ethertype: [u8; 2] =
            if packet.first().is_some_and(|byte| byte >> 4 == 6) { [0x86, 0xdd] } else { [8, 0] };
        let mut frame = Vec::with_capacity(ETHERNET_BYTES + packet.len());
        frame.extend_from_slice(&US.0);
        frame.extend_from_slice(&THEM.0);
        frame.extend_from_slice(&ethertype);
        frame.extend_from_slice(packet);
        self.arriving.push_back(frame);
    }

    /// So much is written to a connection.
    pub(crate) fn written(&mut self, local_port: u16, remote_port: u16, len: usize) {
        self.pushes.written(local_port, remote_port, len);
    }

    /// The next IP packet that left our stack, and when.
    pub(crate) fn sniff(&mut self) -> Option<(Mono, Vec<u8>)> {
        self.leaving.pop_front()
    }
}

impl Port for Wire {
    fn caps(&self) -> PortCaps {
        PortCaps { mtu: self.mtu, headroom: 0, frames: FRAMES }
    }

    fn take(&mut self) -> Option<Frame> {
        self.pool.take()
    }

    fn frames_free(&self) -> u32 {
        self.pool.available() as u32
    }

    fn put(&mut self, frame: Frame) {
        self.pool.put(frame);
    }

    fn receive(&mut self, _now: Mono, limit: usize, into: &mut Vec<Frame>) -> usize {
        let mut received = 0;
        while received < limit
            && let Some(bytes) = self.arriving.pop_front()
        {
            if bytes.len() > usize::from(FRAME_BYTES) {
                continue;
            }
            let Some(mut frame) = self.pool.take() else {
                self.arriving.push_front(bytes);
                break;
            };
            frame.fill(&bytes);
            into.push(frame);
            received += 1;
        }
        received
    }

    fn send(&mut self, now: Mono, frame: Frame) -> Result<(), Frame> {
        let ordered = as_linux(&frame);
        let mut packet = ordered.as_deref().unwrap_or(&frame)[ETHERNET_BYTES..].to_vec();
        self.pool.put(frame);
        self.pushes.leaves(now, self.leaving.back_mut(), &mut packet);
        self.leaving.push_back((now, packet));
        Ok(())
    }

    fn flush(&mut self, _now: Mono) {}
}
