//! What came from another shard, record by record.

use pelton_base::Key;
use pelton_mqtt::QoS;
use pelton_storage_ops::Group;

use crate::broker::Broker;
use crate::claim::Claimant;
use crate::counters::{Ended, Traffic};
use crate::message::Publication;
use crate::peers::{Chunk, Item, Reader, Reply, Settled};
use crate::retained::Stamp;
use crate::shared::{GroupRef, Joining};
use crate::slot::Slot;

impl Broker {
    /// Whether a data chunk can be taken now. Only what this shard itself is still working on can stand
    /// against it, never what another shard does.
    pub fn takes_chunks(&self) -> bool {
        self.deliveries_left != 0 && self.fanouts.is_empty()
    }

    /// Publishes and requests of shard `from`, in order.
    pub fn handle_chunk(&mut self, from: u16, chunk: &Chunk<Item>) {
        let mut bytes = Reader::new(&chunk.bytes);
        for &item in &chunk.records {
            self.handle_item(from, item, &mut bytes);
        }
    }

    fn handle_item(&mut self, from: u16, item: Item, bytes: &mut Reader<'_>) {
        match item {
            Item::Publish { head, settle, set_retained, stamp } => {
                let publication = bytes.publication(&head);
                self.core.tally.traffic.add(Traffic::MeshIn);
                let stamp = set_retained.then(|| Stamp::new(from, stamp));
                self.take_far_publish(from, &publication, settle, stamp);
            }
            Item::Group { id, parts } => self.core.persist.arriving = Some(Group { id, parts }),
            Item::Settle { settle } => self.arriving_settle = settle,
            Item::ExactRoute { hash, add: true, barrier } => {
                self.router.add_exact_route(hash, from);
                self.route_is_there(from, barrier);
            }
            Item::ExactRoute { hash, add: false, .. } => self.router.remove_exact_route(hash, from),
            Item::WildRoute { filter, add, barrier } => {
                let text = bytes.text(filter);
                if add {
                    self.router.add_wild_route(text, from);
                    self.route_is_there(from, barrier);
                } else {
                    self.router.remove_wild_route(text, from);
                }
            }
            Item::Claim { link, client_id } => {
                self.claim_here(bytes.text(client_id), Claimant::There { shard: from, link });
            }
            Item::Release { link, client_id } => {
                self.released(bytes.text(client_id), Claimant::There { shard: from, link });
            }
            Item::Kick { link } => self.take_over(link),
            Item::Join { request, session, options, identifier, persistent, group, filter } => {
                let joining = Joining { shard: from, session, options, identifier, persistent };
                let (name, text) = (bytes.text(group), bytes.text(filter));
                self.join_from_far(request, name, text, joining);
            }
            Item::Leave { group, session } => self.leave_group(group, from, session),
            Item::Presence { group, session, online } => self.set_presence(group, from, session, online),
            Item::GroupDeliver { head, group, session, options, identifier } => {
                let publication = bytes.publication(&head);
                let settle = std::mem::replace(&mut self.arriving_settle, Key::NONE);
                self.take_far_part(from, settle, &publication, |broker| {
                    broker.deliver_to_member(group, &publication, session, options, identifier);
                });
            }
            Item::GroupReturn { head, group } => {
                let publication = bytes.publication(&head);
                let settle = std::mem::replace(&mut self.arriving_settle, Key::NONE);
                self.take_far_part(from, settle, &publication, |broker| {
                    broker.give_to_member(group, &publication, from);
                });
            }
            Item::GroupAcked { group, session, count } => self.member_acked(group, from, session, count),
            Item::Sync { request } => self.sync(from, request),
            Item::Farewell => self.farewells.hear(from),
            Item::RetainedQuery { request, filter, from: start } => {
                let text = bytes.text(filter);
                let start = bytes.take(usize::from(start));
                self.answer_query(from, request, text, start);
            }
        }
    }

    /// A route is in place: whoever waits for it is told.
    fn route_is_there(&mut self, from: u16, barrier: Key) {
        if !barrier.is_none() {
            self.peers.reply(from, Reply::RouteDone { barrier }, &[]);
        }
    }

    fn take_far_publish(
        &mut self,
        from: u16,
        publication: &Publication<'_>,
        settle: Key,
        retained: Option<Stamp>,
    ) {
        if self.core.persist.is_on() && (publication.qos != QoS::AtMostOnce || retained.is_some()) {
            return self.take_far_stored(from, publication, settle, retained);
        }
        if let Some(stamp) = retained {
            debug_assert_eq!(Slot::of(self.key, publication.topic).shard(self.peers.shards()), self.me);
            self.set_retained(publication, stamp);
        }
        let topic = self.router.topic(publication.topic);
        let wanted = self.router.matched(topic).wanted();
        let matched = self.route_here(publication, topic, wanted);
        if !settle.is_none() {
            self.peers.reply(from, Reply::Settled { settle, result: Settled::Ok { matched } }, &[]);
        }
    }

    /// Answers of shard `from`, in order.
    pub fn handle_replies(&mut self, from: u16, chunk: &Chunk<Reply>) {
        let mut bytes = Reader::new(&chunk.bytes);
        for &reply in &chunk.records {
            match reply {
                Reply::Settled { settle, result } => self.settled(settle, result),
                Reply::RouteDone { barrier } => self.route_done(barrier),
                Reply::Granted { link } => self.claim_granted(link),
                Reply::Denied { link } => self.claim_denied(link),
                Reply::Joined { request, group, filter } => {
                    let text = bytes.text(filter);
                    self.joined(request, group, text);
                }
                Reply::Synced { request, stamp } => self.synced(from, request, stamp),
                Reply::Retained { request, head, stamp } => {
                    let publication = bytes.publication(&head);
                    self.take_retained(request, &publication, stamp);
                }
                Reply::RetainedEnd { request, next } => {
                    let next = bytes.take(usize::from(next));
                    self.take_retained_end(request, next);
                }
            }
        }
    }

    fn join_from_far(&mut self, request: Key, name: &str, text: &str, joining: Joining) {
        let shard = joining.shard;
        let (group, filter, first) = self.join_group(name, text, joining);
        if first {
            self.announce(filter);
        }
        // What waited for a member has one.
        self.drain_group(group);
        let waiter = crate::subscribe::Waiter::Join { shard, request, group };
        if !self.wait_for_routes(filter, waiter) {
            self.reply_joined(shard, request, group);
        }
    }

    /// Every shard's publishes reach the group: the one who joined is told.
    pub(crate) fn reply_joined(&mut self, shard: u16, request: Key, group: GroupRef) {
        // The group may have gone in the meantime, if its member left while it waited.
        let filter = self.group_filter(group).unwrap_or_default();
        let reply = Reply::Joined { request, group, filter: filter.len() as u16 };
        self.peers.reply(shard, reply, &[filter.as_bytes()]);
    }

    /// A connection of this shard was handed to it by another: CONNECT and what followed come next.
    pub fn handle_attached(&mut self) -> Option<Key> {
        let link = self.handle_opened();
        // Counted where it was accepted.
        self.core.tally.accepted -= 1;
        link
    }

    /// What was queued to a connection when another shard handed it to this one. A transport may have sent some of it.
    pub fn queue_again(&mut self, key: Key, unsent: &[u8]) {
        if !unsent.is_empty() {
            self.core.out.append(key.index, |bytes| bytes.extend_from_slice(unsent));
        }
    }

    /// A connection of this shard is being handed to another: it is forgotten here. Returns what is queued to it.
    pub fn handle_detached(&mut self, key: Key) -> Vec<u8> {
        let (queue, logs) = self.core.out.queue(key.index);
        let unsent = queue.slices(logs).flatten().copied().collect();
        self.link_timers.clear(key.index);
        self.core.out.discard(key.index);
        self.core.links.remove(key, &mut self.core.out);
        unsent
    }

    /// A connection could not be handed over: its stream is gone.
    pub fn hand_over_failed(&mut self, key: Key) {
        self.end(key, Ended::NetworkLost, None);
    }
}
