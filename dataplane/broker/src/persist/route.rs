//! A publish with promises: what it stages here, what other shards are asked for, and when it is settled.
//!
//! The origin opens a record when the first part has to be waited for: this shard's own operations, another
//! shard's answer, a fan-out that takes several turns, a group's member elsewhere. A target shard does the
//! same, and answers its origin when its own parts are settled.
//!
//! Parts of one QoS 2 publish carry a group, so that after a crash either all sessions have the message and
//! its identifier is known, or neither: the client sends it again, and nobody gets it twice. QoS 1 needs no
//! such thing: a publish that was not acknowledged comes again, and may.

use pelton_base::Key;
use pelton_mqtt::{PacketId, QoS, ReasonCode};
use pelton_storage_ops::{OpKind, SessionId};

use crate::broker::Broker;
use crate::counters::Traffic;
use crate::message::{Publication, Publisher};
use crate::peers::{Item, Reply, Settled};
use crate::persist::promise::What;
use crate::publish::Taken;
use crate::retained::Stamp;
use crate::router::{ShardMask, TopicId};
use crate::settle::Settlement;
use crate::slot::Slot;

/// What has to land in storage together with a publication, on whatever shards that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Along {
    /// Nothing: its parts land one by one.
    Nothing,
    /// The publisher's session has taken this QoS 2 identifier.
    Received(SessionId, PacketId),
    /// What this shard stages from now on: a session is not to be stored without its will where the will is not
    /// stored with those it is for. Not for QoS 0, of which others store no part.
    WhatFollows,
}

/// The record of the publish in hand.
#[derive(Debug, Default)]
pub(crate) struct InHand {
    /// What to open the record with; `None`: nobody waits.
    template: Option<Settlement>,
    /// The record, once it is open.
    record: Option<Key>,
}

impl InHand {
    /// Something begins whose parts are waited for with `settlement`.
    pub(crate) fn open(&mut self, settlement: Settlement) {
        *self = Self { template: Some(settlement), record: None };
    }

    /// Whether some part is waited for.
    pub(crate) fn is_open(&self) -> bool {
        self.record.is_some()
    }

    /// All parts are known; whether any is waited for.
    pub(crate) fn close(&mut self) -> bool {
        std::mem::take(self).record.is_some()
    }
}

impl Broker {
    /// Whether a publication's promises concern storage.
    #[inline]
    pub(crate) fn is_stored(&self, publication: &Publication<'_>) -> bool {
        self.core.persist.is_on() && (publication.qos != QoS::AtMostOnce || publication.retain)
    }

    /// One part more that the publish in hand waits for; `Key::NONE` if nobody waits.
    pub(crate) fn wait_for_part(&mut self) -> Key {
        if let Some(record) = self.in_hand.record {
            if let Some(settlement) = self.settlements.get_mut(record) {
                settlement.waits_for += 1;
            }
            return record;
        }
        let Some(template) = self.in_hand.template.take() else { return Key::NONE };
        let record = self.settlements.insert(template.waits(1, false));
        self.in_hand.record = Some(record);
        record
    }

    /// As [`Broker::distribute`], with a storage behind.
    #[inline(never)]
    pub(crate) fn distribute_stored(
        &mut self,
        publication: &Publication<'_>,
        topic: TopicId,
        settlement: Option<Settlement>,
        along: Along,
    ) -> Taken {
        let mut shards = self.router.matched(topic).shards;
        let home = Slot::of(self.key, publication.topic).shard(self.peers.shards());
        if publication.retain && home != self.me {
            shards = shards.and(ShardMask::one(home));
        }
        let group = match along {
            Along::Nothing => None,
            Along::WhatFollows if shards.is_empty() => None,
            _ => Some(self.core.persist.new_group(shards.count() as u16 + 1)),
        };
        self.in_hand = InHand { template: settlement, record: None };
        self.core.persist.group = group;
        self.core.persist.undivided = along != Along::Nothing;
        let first = self.core.persist.number();
        match along {
            Along::Received(session, packet_id) => {
                self.core.persist.push(OpKind::Received { session, packet_id: packet_id.get() }, &[]);
            }
            Along::WhatFollows if group.is_some() => {
                self.core.persist.push(OpKind::Nothing, &[]);
            }
            Along::WhatFollows | Along::Nothing => {}
        }
        let stamp = self.next_stamp(publication);
        let retained = (publication.retain && home == self.me).then(|| Stamp::new(self.me, stamp));
        let matched = self.route_stored(publication, topic, retained);
        self.promise_part(first, along != Along::Nothing || publication.retain);
        self.core.persist.group = None;
        self.core.persist.undivided = false;
        for shard in shards.iter() {
            let settle = self.wait_for_part();
            if let Some(group) = group {
                self.peers.send(shard, Item::Group { id: group.id, parts: group.parts }, &[]);
            }
            let set_retained = publication.retain && home == shard;
            self.peers.publish(shard, publication, settle, set_retained, stamp);
        }
        self.core.tally.traffic.add_n(Traffic::MeshOut, u64::from(shards.count()));
        if !matched && shards.is_empty() && publication.publisher != Publisher::NOBODY {
            self.core.tally.traffic.add(Traffic::NoSubscribers);
        }
        let taken = self.taken(matched, !shards.is_empty());
        self.give_later();
        taken
    }

    /// This shard's part of a publish of another shard.
    pub(crate) fn take_far_stored(
        &mut self,
        from: u16,
        publication: &Publication<'_>,
        settle: Key,
        retained: Option<Stamp>,
    ) {
        let group = self.core.persist.arriving.take();
        self.in_hand =
            InHand { template: (!settle.is_none()).then(|| Settlement::answer(from, settle)), record: None };
        self.core.persist.group = group;
        self.core.persist.undivided = group.is_some();
        let first = self.core.persist.number();
        let topic = self.router.topic(publication.topic);
        let matched = self.route_stored(publication, topic, retained);
        if group.is_some() && self.core.persist.number() == first {
            self.core.persist.push(OpKind::Nothing, &[]);
        }
        self.promise_part(first, retained.is_some() || group.is_some());
        self.core.persist.group = None;
        self.core.persist.undivided = false;
        if let Taken::Settled { matched } = self.taken(matched, false)
            && !settle.is_none()
        {
            self.peers.reply(from, Reply::Settled { settle, result: Settled::Ok { matched } }, &[]);
        }
        self.give_later();
    }

    /// A message of a group for one member here, or of one that comes back to a group here.
    pub(crate) fn take_far_part(
        &mut self,
        from: u16,
        settle: Key,
        publication: &Publication<'_>,
        take: impl FnOnce(&mut Self),
    ) {
        self.in_hand =
            InHand { template: (!settle.is_none()).then(|| Settlement::answer(from, settle)), record: None };
        let first = self.core.persist.number();
        take(self);
        self.core.persist.seal(publication);
        self.promise_part(first, true);
        if let Taken::Settled { matched } = self.taken(true, false)
            && !settle.is_none()
        {
            self.peers.reply(from, Reply::Settled { settle, result: Settled::Ok { matched } }, &[]);
        }
    }

    fn route_stored(
        &mut self,
        publication: &Publication<'_>,
        topic: TopicId,
        retained: Option<Stamp>,
    ) -> bool {
        if let Some(stamp) = retained {
            self.set_retained(publication, stamp);
        }
        let wanted = self.router.matched(topic).wanted();
        let matched = self.route_here(publication, topic, wanted);
        self.core.persist.seal(publication);
        matched
    }

    /// What was staged from `first` on is a part to wait for. It can be settled early only if all of it is
    /// deliveries.
    pub(crate) fn promise_part(&mut self, first: u64, more: bool) {
        let end = self.core.persist.number();
        if first == end || (self.in_hand.template.is_none() && self.in_hand.record.is_none()) {
            return;
        }
        let settle = self.wait_for_part();
        let left = match self.core.persist.batch.ops.last().map(|op| op.kind) {
            Some(OpKind::Enqueue { targets, .. }) if !more && end - first == 1 => targets,
            _ => u32::MAX,
        };
        self.core.persist.promise(first, left, What::Settle(settle));
    }

    /// How far the publish in hand has come.
    fn taken(&mut self, matched: bool, far: bool) -> Taken {
        let in_hand = std::mem::take(&mut self.in_hand);
        match in_hand.record {
            Some(record) => {
                if let Some(settlement) = self.settlements.get_mut(record) {
                    settlement.matched |= matched;
                }
                Taken::Waits(record)
            }
            None if far => Taken::Waits(Key::NONE),
            None => Taken::Settled { matched },
        }
    }

    /// The part of a fan-out that one turn has made.
    pub(crate) fn seal_fanout(&mut self, publication: &Publication<'_>, first: u64, settle: Key) {
        self.core.persist.seal(publication);
        if settle.is_none() || self.core.persist.number() == first {
            return;
        }
        if let Some(settlement) = self.settlements.get_mut(settle) {
            settlement.waits_for += 1;
        }
        self.core.persist.promise(first, u32::MAX, What::Settle(settle));
    }

    /// Storage does not take what a publisher would be promised: v5 is told, v3 waits.
    pub(crate) fn storage_refuses(&self, publication: &Publication<'_>) -> Option<ReasonCode> {
        (self.is_stored(publication) && self.core.persist.fault.is_open())
            .then_some(ReasonCode::QuotaExceeded)
    }
}
