//! Deliveries under way to one client: the send window of QoS 1 and 2, in the order the messages were sent
//! (which is the order they are sent again after a reconnect [MQTT-4.6.0-1]), and behind them what is only
//! waiting for its PUBCOMP: kept apart, so that whichever acknowledgement comes is answered at the front.
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

/// A delivery that was sent and not yet acknowledged: PUBACK (QoS 1) or PUBREC (QoS 2) is awaited.
#[derive(Debug)]
pub struct Delivery {
    /// Its packet identifier, in use until the delivery is complete.
    pub packet_id: PacketId,
    /// QoS 2.
    pub exactly_once: bool,
    /// The retain flag it was sent with.
    pub retain: bool,
    /// The clock's tick it was sent at.
    clock: u32,
    /// The message, kept if it may have to be sent again.
    pub message: MessageId,
    /// The shared group it came by, to which it goes back if the client leaves.
    pub group: GroupRef,
    /// Matched subscription identifiers.
    pub identifiers: Option<Box<[u32]>>,
    /// Low half of its sequence number in the session's stored queue.
    pub sequence: u32,
    /// Low half of the number of the operation that stored it under its identifier.
    pub number: u32,
    /// Sent on a former connection.
    pub again: bool,
    /// Its identifier could not be stored yet.
    pub held: bool,
}

/// A QoS 2 delivery that the client has: PUBREL was sent, PUBCOMP is awaited. The message is no longer needed.
#[derive(Clone, Copy, Debug)]
struct Released {
    packet_id: PacketId,
    clock: u32,
    sequence: u32,
}

/// The clock packet identifiers are taken from; one a shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct PacketClock(u32);

impl PacketClock {
    /// A clock that begins at `tick`: identifiers of before a restart, which may be in use, are then far from
    /// those that are given out next.
    pub fn from_tick(tick: u32) -> Self {
        Self(tick)
    }

    /// The next tick, for one publish and all its deliveries.
    #[inline]
    pub fn tick(&mut self) -> Self {
        self.0 = self.0.wrapping_add(1);
        *self
    }

    /// The identifier of this tick.
    #[inline]
    pub fn identifier(self) -> PacketId {
        PacketId::new((self.0 % IDENTIFIERS + 1) as u16).expect("1 to 65,535")
    }
}

/// The window of one session.
#[derive(Debug, Default)]
pub struct Inflight {
    /// Awaiting PUBACK or PUBREC, oldest first.
    sent: VecDeque<Delivery>,
    /// Awaiting PUBCOMP, in the order of their PUBRELs.
    released: VecDeque<Released>,
    /// How many of `sent`, at the end, have not been sent on the present connection: the client came back, and
    /// sending again keeps to its window as well.
    unsent: usize,
    /// No tick of an entry is older.
    floor: u32,
    /// Some entry has an identifier that did not come from the clock within the last 65,535 ticks.
    searched: bool,
}

impl Inflight {
    /// Identifiers in use.
    #[inline]
    pub fn len(&self) -> usize {
        self.sent.len() + self.released.len()
    }

    /// Whether nothing is under way.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Deliveries under way on the present connection.
    #[inline]
    pub fn under_way(&self) -> usize {
        self.len() - self.unsent
    }

    /// Whether something new may be sent to a client with this window [MQTT-4.9.0-1].
    #[inline]
    pub fn is_open(&self, window: u16) -> bool {
        self.unsent == 0 && self.len() < usize::from(window)
    }

    /// The client is back on a new connection: everything is to be sent again. Returns the identifiers whose
    /// PUBREL is to be sent again, in order; the deliveries follow by [`Inflight::next_unsent`].
    pub fn come_back(&mut self) -> impl Iterator<Item = PacketId> + '_ {
        self.unsent = self.sent.len();
        self.released.iter().map(|released| released.packet_id)
    }

    /// Whether some delivery is to be sent again.
    #[inline]
    pub fn has_unsent(&self) -> bool {
        self.unsent != 0
    }

    /// Deliveries that are to be sent, for the first time or again.
    #[inline]
    pub fn unsent(&self) -> usize {
        self.unsent
    }

    /// The delivery that is to be sent next.
    pub fn peek_unsent(&self) -> Option<&Delivery> {
        if self.unsent == 0 { None } else { self.sent.get(self.sent.len() - self.unsent) }
    }

    /// The delivery with this low half of its sequence number, if it is not sent yet.
    pub fn unsent_mut(&mut self, sequence: u32) -> Option<&mut Delivery> {
        let sent = self.sent.len() - self.unsent;
        self.sent.iter_mut().skip(sent).find(|delivery| delivery.sequence == sequence)
    }

    /// Adds a delivery that is not sent yet: what stands before it has been, or is not either.
    pub fn push_unsent(&mut self, at: PacketClock, delivery: Delivery) {
        self.push(at, delivery);
        self.unsent += 1;
    }

    /// Adds a delivery that was released on a former connection.
    pub fn push_released(&mut self, packet_id: PacketId, sequence: u32) {
        self.searched = true;
        self.released.push_back(Released { packet_id, clock: 0, sequence });
    }

    /// Low halves of the sequence numbers of all that is under way.
    pub fn sequences(&self) -> impl Iterator<Item = u32> + '_ {
        let sent = self.sent.iter().map(|delivery| delivery.sequence);
        sent.chain(self.released.iter().map(|released| released.sequence))
    }

    /// The oldest delivery that is to be sent again; counts as sent from here on.
    pub fn next_unsent(&mut self) -> Option<(usize, &Delivery)> {
        let position = self.sent.len() - self.unsent;
        let delivery = self.sent.get(position)?;
        self.unsent -= 1;
        Some((position, delivery))
    }

    /// A free packet identifier for a delivery at tick `at` [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1].
    ///
    /// # Panics
    /// If all identifiers are in use: a window is bounded by Receive Maximum, which is one below.
    #[inline]
    pub fn identifier(&mut self, at: PacketClock) -> PacketId {
        if self.follows_clock(at) { at.identifier() } else { self.search(at.identifier()) }
    }

    /// Whether the clock's identifier is free, so that the delivery shares its bytes with others.
    #[inline]
    pub fn follows_clock(&mut self, at: PacketClock) -> bool {
        if self.is_empty() {
            return true;
        }
        // The newest may be of this very tick: a publish can reach a session by a shared group as well.
        if self.searched || self.sent.back().is_some_and(|newest| newest.clock == at.0) {
            return false;
        }
        at.0.wrapping_sub(self.floor) < IDENTIFIERS || self.raise_floor(at)
    }

    /// The floor is a bound from when the oldest entry was another; looked at anew at most once in 65,535
    /// ticks unless an entry really is that old.
    #[cold]
    fn raise_floor(&mut self, at: PacketClock) -> bool {
        let clocks = self.sent.iter().map(|delivery| delivery.clock);
        let clocks = clocks.chain(self.released.iter().map(|released| released.clock));
        let age = clocks.map(|clock| at.0.wrapping_sub(clock)).max().unwrap_or(0);
        self.floor = at.0.wrapping_sub(age);
        age < IDENTIFIERS
    }

    #[cold]
    fn search(&self, from: PacketId) -> PacketId {
        let mut candidate = from;
        while self.has(candidate) {
            let next = PacketId::new(candidate.get().wrapping_add(1)).or(PacketId::new(1));
            candidate = next.expect("1 is an identifier");
            assert!(candidate != from, "a window leaves identifiers free");
        }
        candidate
    }

    fn has(&self, id: PacketId) -> bool {
        self.sent.iter().any(|delivery| delivery.packet_id == id)
            || self.released.iter().any(|released| released.packet_id == id)
    }

    /// Adds a delivery that was sent at tick `at` under an identifier from [`Inflight::identifier`].
    #[inline]
    pub fn push(&mut self, at: PacketClock, delivery: Delivery) {
        if self.is_empty() {
            self.searched = false;
            self.floor = at.0;
        }
        self.searched |= delivery.packet_id != at.identifier();
        self.sent.push_back(Delivery { clock: at.0, ..delivery });
    }

    /// The delivery with this identifier that awaits PUBACK or PUBREC.
    #[inline]
    pub fn find(&mut self, id: PacketId) -> Option<(usize, &mut Delivery)> {
        // Clients acknowledge in order [MQTT-4.6.0-2] [MQTT-4.6.0-3]: the first is nearly always the one.
        if self.sent.front().is_some_and(|first| first.packet_id == id) {
            return self.sent.front_mut().map(|first| (0, first));
        }
        self.sent.iter_mut().enumerate().find(|(_, delivery)| delivery.packet_id == id)
    }

    /// Takes a delivery out: it is complete.
    #[inline]
    pub fn complete(&mut self, position: usize) -> Option<Delivery> {
        if position >= self.sent.len() - self.unsent {
            // Acknowledged before it was sent again: a late answer to the connection before.
            self.unsent -= usize::from(position < self.sent.len());
        }
        if position == 0 { self.sent.pop_front() } else { self.sent.remove(position) }
    }

    /// The client has a QoS 2 delivery: from here on only PUBREL is sent for it [MQTT-4.3.3-6].
    #[inline]
    pub fn release(&mut self, position: usize) -> Option<Delivery> {
        let delivery = self.complete(position)?;
        self.released.push_back(Released {
            packet_id: delivery.packet_id,
            clock: delivery.clock,
            sequence: delivery.sequence,
        });
        Some(delivery)
    }

    /// Whether a PUBREL was sent for this identifier and PUBCOMP is awaited [MQTT-4.3.3-5].
    pub fn is_released(&self, id: PacketId) -> bool {
        self.released.iter().any(|released| released.packet_id == id)
    }

    /// PUBCOMP: a QoS 2 delivery is complete. The low half of its sequence number, if it was awaited.
    #[inline]
    pub fn finish(&mut self, id: PacketId) -> Option<u32> {
        let position = match self.released.front() {
            Some(first) if first.packet_id == id => 0,
            _ => self.released.iter().position(|released| released.packet_id == id)?,
        };
        self.released.remove(position).map(|released| released.sequence)
    }

    /// Deliveries that await PUBACK or PUBREC, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Delivery> {
        self.sent.iter()
    }

    /// Keeps only the deliveries for which `keep` holds; the others are handed to `gone`, oldest first.
    pub fn retain(&mut self, mut keep: impl FnMut(&Delivery) -> bool, mut gone: impl FnMut(Delivery)) {
        let sent = std::mem::take(&mut self.sent);
        let first_unsent = sent.len() - self.unsent;
        for (position, delivery) in sent.into_iter().enumerate() {
            if keep(&delivery) {
                self.sent.push_back(delivery);
            } else {
                self.unsent -= usize::from(position >= first_unsent);
                gone(delivery);
            }
        }
    }

    /// Takes every delivery out, oldest first.
    pub fn drain(&mut self) -> impl Iterator<Item = Delivery> {
        self.unsent = 0;
        self.released.clear();
        std::mem::take(&mut self.sent).into_iter()
    }
}

impl Delivery {
    /// A delivery under `packet_id`; its tick is set when it is pushed.
    #[inline]
    pub fn new(
        packet_id: PacketId,
        exactly_once: bool,
        retain: bool,
        message: MessageId,
        group: GroupRef,
    ) -> Self {
        Self {
            packet_id,
            exactly_once,
            retain,
            clock: 0,
            message,
            group,
            identifiers: None,
            sequence: 0,
            number: 0,
            again: false,
            held: false,
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
        window.push(at, Delivery::new(packet_id, true, false, MessageId::NONE, GroupRef::NONE));
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
            } else if round % 1000 == 500 && window.sent.len() > 50 {
                // Released identifiers are in use as well.
                window.release(1).unwrap();
            } else if round % 1000 == 700 && window.released.len() > 20 {
                let done = window.released[7].packet_id;
                assert!(window.finish(done).is_some());
                seen.remove(&done.get());
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

    #[test]
    fn sent_again_within_the_window() {
        // covers [MQTT-4.4.0-1] [MQTT-4.6.0-1]
        let mut clock = PacketClock::default();
        let mut window = Inflight::default();
        let ids: Vec<PacketId> = (0..4).map(|_| push(&mut window, clock.tick())).collect();
        window.release(0).unwrap();
        assert_eq!(window.come_back().collect::<Vec<_>>(), [ids[0]]);
        assert!(!window.is_open(10), "nothing new overtakes what is sent again");
        assert_eq!(window.under_way(), 1);
        assert_eq!(window.next_unsent().map(|(_, delivery)| delivery.packet_id), Some(ids[1]));
        let (position, _) = window.find(ids[3]).unwrap();
        window.complete(position);
        assert_eq!(window.next_unsent().map(|(_, delivery)| delivery.packet_id), Some(ids[2]));
        assert!(window.next_unsent().is_none() && window.is_open(10));
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
