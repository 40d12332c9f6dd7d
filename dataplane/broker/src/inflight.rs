//! Deliveries under way to one client: the send window of QoS 1 and 2, in the order the messages were sent
//! (which is the order they are sent again after a reconnect [MQTT-4.6.0-1]).
//!
//! Packet identifiers come from a clock of the shard, not of the session: every publish ticks it once, and
//! all its deliveries carry the same identifier where that is free. A thousand subscribers of one message
//! then get the same bytes. An identifier taken from the clock is free for sure while the oldest entry is
//! less than 65,535 ticks old, which is one comparison; otherwise a free one is searched.

use std::collections::VecDeque;

use pelton_mqtt::PacketId;

use crate::message::MessageId;
use crate::shared::GroupRef;

/// How many packet identifiers there are.
const IDENTIFIERS: u32 = 65_535;

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// QoS 1: PUBLISH sent, PUBACK awaited.
    AwaitAck,
    /// QoS 2: PUBLISH sent, PUBREC awaited.
    AwaitRec,
    /// QoS 2: PUBREL sent, PUBCOMP awaited. The message itself is no longer needed.
    AwaitComp,
}

/// One delivery under way.
#[derive(Debug)]
pub struct Delivery {
    /// Its packet identifier, in use until the delivery is complete.
    pub packet_id: PacketId,
    /// Where it stands.
    pub phase: Phase,
    /// The retain flag it was sent with.
    pub retain: bool,
    /// The clock's tick it was sent at; meaningless for deliveries from before this process.
    clock: u32,
    /// The message, kept if it may have to be sent again.
    pub message: MessageId,
    /// The shared group it came by, to which it goes back if the client leaves.
    pub group: GroupRef,
    /// Matched subscription identifiers.
    pub identifiers: Option<Box<[u32]>>,
}

/// The clock packet identifiers are taken from; one a shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketClock(u32);

impl PacketClock {
    /// The next tick, for one publish and all its deliveries.
    #[inline]
    pub fn tick(&mut self) -> Self {
        self.0 = self.0.wrapping_add(1);
        *self
    }

    #[inline]
    fn identifier(self) -> PacketId {
        PacketId::new((self.0 % IDENTIFIERS + 1) as u16).expect("1 to 65,535")
    }
}

/// The window of one session.
#[derive(Debug, Default)]
pub struct Inflight {
    deliveries: VecDeque<Delivery>,
    /// How many, at the end, have not been sent on the present connection: the client came back, and sending
    /// again keeps to its window as well.
    unsent: usize,
    /// Some delivery has an identifier that did not come from the clock within the last 65,535 ticks.
    searched: bool,
}

impl Inflight {
    /// Deliveries under way.
    #[inline]
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Whether nothing is under way.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// Deliveries sent on the present connection.
    #[inline]
    pub fn sent(&self) -> usize {
        self.deliveries.len() - self.unsent
    }

    /// Whether something new may be sent to a client with this window [MQTT-4.9.0-1].
    #[inline]
    pub fn is_open(&self, window: u16) -> bool {
        self.unsent == 0 && self.deliveries.len() < usize::from(window)
    }

    /// The client is back on a new connection: everything is to be sent again.
    pub fn mark_unsent(&mut self) {
        self.unsent = self.deliveries.len();
    }

    /// The oldest delivery that is to be sent again; counts as sent from here on.
    pub fn next_unsent(&mut self) -> Option<(usize, &Delivery)> {
        let position = self.deliveries.len().checked_sub(self.unsent)?;
        let delivery = self.deliveries.get(position)?;
        self.unsent -= 1;
        Some((position, delivery))
    }

    /// A free packet identifier for a delivery at tick `at`.
    ///
    /// # Panics
    /// If all identifiers are in use: a window is bounded by Receive Maximum, which is one below.
    #[inline]
    pub fn identifier(&self, at: PacketClock) -> PacketId {
        match self.deliveries.front() {
            None => at.identifier(),
            Some(_) if self.follows_clock(at) => at.identifier(),
            Some(_) => self.search(at.identifier()),
        }
    }

    /// Whether the clock's identifier is free, so that the delivery shares its bytes with others.
    #[inline]
    pub fn follows_clock(&self, at: PacketClock) -> bool {
        match (self.deliveries.front(), self.deliveries.back()) {
            // The newest may be of this very tick: a publish can reach a session by a shared group as well.
            (Some(oldest), Some(newest)) => {
                !self.searched && at.0.wrapping_sub(oldest.clock) < IDENTIFIERS && newest.clock != at.0
            }
            _ => true,
        }
    }

    #[cold]
    fn search(&self, from: PacketId) -> PacketId {
        let mut candidate = from;
        loop {
            if !self.has(candidate) {
                return candidate;
            }
            candidate = PacketId::new(candidate.get().wrapping_add(1))
                .or(PacketId::new(1))
                .expect("1 is an identifier");
            assert!(candidate != from, "a window leaves identifiers free");
        }
    }

    fn has(&self, id: PacketId) -> bool {
        self.deliveries.iter().any(|delivery| delivery.packet_id == id)
    }

    /// Adds a delivery that was sent at tick `at` under an identifier from [`Inflight::identifier`].
    #[inline]
    pub fn push(
        &mut self,
        at: PacketClock,
        packet_id: PacketId,
        phase: Phase,
        retain: bool,
        message: MessageId,
        group: GroupRef,
        identifiers: Option<Box<[u32]>>,
    ) {
        if self.deliveries.is_empty() {
            self.searched = false;
        }
        if packet_id != at.identifier() {
            self.searched = true;
        }
        self.deliveries.push_back(Delivery {
            packet_id,
            phase,
            retain,
            clock: at.0,
            message,
            group,
            identifiers,
        });
    }

    /// The delivery with this identifier, if it is in one of `phases`.
    #[inline]
    pub fn find(&mut self, id: PacketId) -> Option<(usize, &mut Delivery)> {
        // Clients acknowledge in order [MQTT-4.6.0-2]: the first is nearly always the one.
        if self.deliveries.front().is_some_and(|first| first.packet_id == id) {
            return self.deliveries.front_mut().map(|first| (0, first));
        }
        self.deliveries.iter_mut().enumerate().find(|(_, delivery)| delivery.packet_id == id)
    }

    /// Takes a delivery out: it is complete.
    #[inline]
    pub fn complete(&mut self, position: usize) -> Option<Delivery> {
        if position >= self.sent() {
            self.unsent -= usize::from(position < self.deliveries.len());
        }
        if position == 0 { self.deliveries.pop_front() } else { self.deliveries.remove(position) }
    }

    /// All deliveries, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.iter()
    }

    /// Keeps only the deliveries for which `keep` holds; the others are handed to `gone`, oldest first.
    pub fn retain(&mut self, mut keep: impl FnMut(&Delivery) -> bool, mut gone: impl FnMut(Delivery)) {
        for delivery in std::mem::take(&mut self.deliveries) {
            if keep(&delivery) {
                self.deliveries.push_back(delivery);
            } else {
                gone(delivery);
            }
        }
        self.unsent = self.unsent.min(self.deliveries.len());
    }

    /// Takes every delivery out, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = Delivery> {
        self.unsent = 0;
        std::mem::take(&mut self.deliveries).into_iter()
    }

    /// Bytes of heap held while nothing is under way, to be given back when a connection falls silent.
    pub fn shrink(&mut self) {
        if self.deliveries.is_empty() {
            self.deliveries = VecDeque::new();
        }
    }
}

/// A set of packet identifiers a client has in use towards the broker (QoS 2 publishes not yet released).
/// Clients count up and release in order, so a short queue is searched; a client with many has a bitmap.
#[derive(Debug)]
pub enum PacketIds {
    /// In the order they came.
    Few(VecDeque<u16>),
    /// One bit each, and how many are set.
    Many(Box<[u64; 1024]>, usize),
}

impl Default for PacketIds {
    fn default() -> Self {
        Self::Few(VecDeque::new())
    }
}

impl PacketIds {
    /// Up to so many are searched one by one.
    const FEW: usize = 128;

    /// How many are in the set.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Self::Few(ids) => ids.len(),
            Self::Many(_, count) => *count,
        }
    }

    /// Whether none is in the set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether `id` is in the set.
    #[inline]
    pub fn has(&self, id: PacketId) -> bool {
        match self {
            Self::Few(ids) => {
                let (a, b) = ids.as_slices();
                a.contains(&id.get()) || b.contains(&id.get())
            }
            Self::Many(bits, _) => bits[usize::from(id.get()) / 64] & (1 << (id.get() % 64)) != 0,
        }
    }

    /// Adds `id`; whether it is new.
    #[inline]
    pub fn insert(&mut self, id: PacketId) -> bool {
        if self.has(id) {
            return false;
        }
        if let Self::Few(ids) = self
            && ids.len() >= Self::FEW
        {
            let mut bits = Box::new([0; 1024]);
            for id in &*ids {
                bits[usize::from(*id) / 64] |= 1 << (id % 64);
            }
            *self = Self::Many(bits, ids.len());
        }
        match self {
            Self::Few(ids) => ids.push_back(id.get()),
            Self::Many(bits, count) => {
                bits[usize::from(id.get()) / 64] |= 1 << (id.get() % 64);
                *count += 1;
            }
        }
        true
    }

    /// Takes `id` out; whether it was there.
    #[inline]
    pub fn remove(&mut self, id: PacketId) -> bool {
        match self {
            Self::Few(ids) => {
                if ids.front() == Some(&id.get()) {
                    ids.pop_front();
                    return true;
                }
                match ids.iter().position(|&other| other == id.get()) {
                    Some(position) => {
                        ids.remove(position);
                        true
                    }
                    None => false,
                }
            }
            Self::Many(bits, count) => {
                let word = &mut bits[usize::from(id.get()) / 64];
                let bit = 1 << (id.get() % 64);
                let there = *word & bit != 0;
                *word &= !bit;
                *count -= usize::from(there);
                if *count == 0 {
                    *self = Self::default();
                }
                there
            }
        }
    }

    /// All of them, in no order.
    pub fn iter(&self) -> Box<dyn Iterator<Item = u16> + '_> {
        match self {
            Self::Few(ids) => Box::new(ids.iter().copied()),
            Self::Many(bits, _) => {
                Box::new((1..=u16::MAX).filter(|id| bits[usize::from(*id) / 64] & (1 << (id % 64)) != 0))
            }
        }
    }

    /// Gives back the memory of an empty set.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn id(n: u16) -> PacketId {
        PacketId::new(n).unwrap()
    }

    fn push(window: &mut Inflight, at: PacketClock) -> PacketId {
        let packet_id = window.identifier(at);
        window.push(at, packet_id, Phase::AwaitAck, false, MessageId::NONE, GroupRef::NONE, None);
        packet_id
    }

    #[test]
    fn identifiers_never_meet_an_old_one() {
        // covers [MQTT-2.2.1-4]
        let mut clock = PacketClock::default();
        let mut window = Inflight::default();
        let stuck = push(&mut window, clock.tick());
        let mut seen = BTreeSet::from([stuck.get()]);
        // The client leaves the first unacknowledged while the clock goes round more than once.
        for round in 0..200_000u32 {
            let at = clock.tick();
            if round % 1000 == 0 && window.len() < 100 {
                let packet_id = push(&mut window, at);
                assert!(seen.insert(packet_id.get()), "identifier {packet_id:?} is in use");
            } else if round % 1000 == 500 && window.len() > 50 {
                let done = window.complete(1).unwrap();
                seen.remove(&done.packet_id.get());
            }
        }
    }

    #[test]
    fn acknowledged_in_any_order() {
        let mut clock = PacketClock::default();
        let mut window = Inflight::default();
        let ids: Vec<PacketId> = (0..5).map(|_| push(&mut window, clock.tick())).collect();
        let (position, _) = window.find(ids[2]).unwrap();
        window.complete(position);
        assert!(window.find(ids[2]).is_none());
        assert_eq!(window.find(ids[0]).unwrap().0, 0);
        assert_eq!(window.find(ids[4]).unwrap().0, 3);
        assert_eq!(window.len(), 4);
    }

    proptest! {
        /// The set agrees with a sorted set, few or many.
        #[test]
        fn packet_ids_agree_with_a_set(steps in proptest::collection::vec((1..400u16, any::<bool>()), 0..1500)) {
            let mut ids = PacketIds::default();
            let mut model = BTreeSet::new();
            for (n, insert) in steps {
                if insert {
                    prop_assert_eq!(ids.insert(id(n)), model.insert(n));
                } else {
                    prop_assert_eq!(ids.remove(id(n)), model.remove(&n));
                }
                prop_assert_eq!(ids.len(), model.len());
                prop_assert_eq!(ids.has(id(n)), model.contains(&n));
            }
            prop_assert_eq!(ids.iter().collect::<BTreeSet<_>>(), model);
        }
    }
}
