//! What the program tells: counters by reason, some of what it dropped, segments that routers called too big.

use std::fmt;
use std::net::SocketAddr;

use pelton_ebpf_classifier::layout::{Event, PmtuKey, PmtuValue};
use pelton_ebpf_classifier::{Action, Reason};

use crate::address::socket_from_map;
use crate::error::MapError;
use crate::steering::Steering;

/// Frames by what became of them, all CPUs together, since the program was loaded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Counts([u64; Reason::COUNT]);

impl Counts {
    /// Frames with this fate.
    pub const fn get(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// All of them, in order; names and sentences are the reason's.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.iter().copied().zip(self.0)
    }

    /// Frames that were dropped.
    pub fn dropped(&self) -> u64 {
        self.iter().filter(|(reason, _)| reason.action() == Action::Drop).map(|(_, count)| count).sum()
    }
}

impl fmt::Debug for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(
                self.iter().filter(|&(_, count)| count != 0).map(|(reason, count)| (reason.name(), count)),
            )
            .finish()
    }
}

/// A frame that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// When, by the system's monotonic clock.
    pub time_ns: u64,
    /// Why.
    pub reason: Reason,
    /// Whence.
    pub source: SocketAddr,
    /// Whereto.
    pub destination: SocketAddr,
    /// Its TCP flags; zero if it was dropped before they were looked at.
    pub flags: u8,
    /// Bytes of the frame.
    pub frame_bytes: u32,
}

/// A router says that a segment was too big. To be believed only if it is under way (RFC 5927 4.1): its checksum was
/// not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooBig {
    /// Who sent the segment.
    pub local: SocketAddr,
    /// Whom it was for.
    pub remote: SocketAddr,
    /// The largest packet the router's link carries; zero from routers that do not say (RFC 1191 5).
    pub mtu_bytes: u32,
    /// The sequence number of the segment.
    pub sequence: u32,
}

impl Steering {
    /// What became of the frames so far.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn counts(&self) -> Result<Counts, MapError> {
        let mut counts = [0; Reason::COUNT];
        for (index, count) in counts.iter_mut().enumerate() {
            let values =
                self.counters.get(&(index as u32), 0).map_err(|error| MapError::of("counters", &error))?;
            *count = values.iter().sum();
        }
        Ok(Counts(counts))
    }

    /// The next drop that was told about, if there is one; as many are as the policy says.
    pub fn next_dropped(&mut self) -> Option<Dropped> {
        loop {
            let event = Event::from_bytes(&self.events.next()?);
            // The program writes whole events with reasons it has.
            let Some((event, reason)) =
                event.and_then(|event| Some((event, Reason::at(event.reason.into())?)))
            else {
                continue;
            };
            return Some(Dropped {
                time_ns: event.time_ns,
                reason,
                source: socket_from_map(event.source, event.source_port),
                destination: socket_from_map(event.destination, event.destination_port),
                flags: event.flags,
                frame_bytes: event.len,
            });
        }
    }

    /// Appends the segments that were called too big since the last time. There is nothing new unless the count of
    /// [`Reason::PassTooBig`] has grown.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn take_too_big(&mut self, into: &mut Vec<TooBig>) -> Result<(), MapError> {
        let keys: Vec<[u8; PmtuKey::BYTES]> = self.pmtu.keys().filter_map(Result::ok).collect();
        for key in keys {
            // One that went meanwhile had to make room for another.
            let Ok(value) = self.pmtu.get(&key, 0) else { continue };
            let _ = self.pmtu.remove(&key);
            let (key, value) = (PmtuKey::from_bytes(&key), PmtuValue::from_bytes(&value));
            into.push(TooBig {
                local: socket_from_map(key.local, key.local_port),
                remote: socket_from_map(key.remote, key.remote_port),
                mtu_bytes: value.mtu,
                sequence: value.sequence,
            });
        }
        Ok(())
    }
}
