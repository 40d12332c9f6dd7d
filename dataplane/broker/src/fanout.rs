//! From a publication to its subscribers on this shard: one by one, or, where there are more than one turn
//! may take, by a cursor that goes on in the turns that follow.

use std::ops::ControlFlow;

use pelton_base::Key;

use crate::broker::Broker;
use crate::deliver::{Core, Terms};
use crate::inflight::PacketClock;
use crate::message::{Lazy, MessageId, Publication};
use crate::peers::Settled;
use crate::router::{FilterId, Options, Subscriber, TopicId, Wanted};
use crate::session::Mark;

/// Subscribers that are looked ahead, once for their sessions and once more for their connections.
const AHEAD: usize = 6;
/// Fewer sessions, with their connections, stay in the processor's cache: there is nothing to be asked for.
const LOOKED_AHEAD_MIN: usize = 4_096;

/// A session that gets a publication.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    session: Key,
    options: Options,
    /// Matched subscription identifiers; nearly always none or one.
    identifiers: smallvec::SmallVec<[u32; 2]>,
}

/// A publication on its way to more subscribers than one turn may serve.
#[derive(Debug)]
pub(crate) struct FanOut {
    message: MessageId,
    at: PacketClock,
    targets: Vec<Target>,
    next: usize,
    /// What is settled when all of it is.
    settle: Key,
}

impl Core {
    /// Asks for the session of the subscriber at `at`, and for the connection of one that was asked for before.
    #[inline]
    fn ask_for(&self, subscribers: &[Subscriber], at: usize) {
        if let Some(subscriber) = subscribers.get(at) {
            self.sessions.prefetch(subscriber.session);
        }
        if let Some(subscriber) = at.checked_sub(AHEAD).and_then(|at| subscribers.get(at))
            && let Some(session) = self.sessions.at(subscriber.session)
        {
            let link = session.link();
            self.links.prefetch(link);
            self.out.prefetch(link.index);
        }
    }
}

impl Broker {
    /// Delivers a publication to the subscriptions of this shard; whether there were any.
    #[inline]
    pub(crate) fn route_here(
        &mut self,
        publication: &Publication<'_>,
        topic: TopicId,
        wanted: Wanted,
    ) -> bool {
        match wanted {
            Wanted::Nobody => return false,
            Wanted::By(filter) => self.route_single(publication, filter),
            Wanted::BySeveral => self.route_several(publication, topic),
        }
        true
    }

    #[inline(never)]
    fn route_several(&mut self, publication: &Publication<'_>, topic: TopicId) {
        let filters: smallvec::SmallVec<[FilterId; 8]> = self.router.matched(topic).filters().collect();
        self.route_many(publication, &filters);
    }

    /// One filter matches: no session can be in its list twice.
    #[inline]
    fn route_single(&mut self, publication: &Publication<'_>, filter: FilterId) {
        let (subscribers, has_groups) = self.router.audience(filter);
        let count = subscribers.len() as u32;
        // Nor does anything overtake what waits for a later turn.
        if count > self.deliveries_left || !self.fanouts.is_empty() {
            return self.route_many(publication, &[filter]);
        }
        self.deliveries_left -= count;
        let mut lazy = Lazy::new().to_many(subscribers.len());
        let at = self.core.clock.tick();
        let looks_ahead = subscribers.len() > AHEAD && self.core.sessions.len() >= LOOKED_AHEAD_MIN;
        if looks_ahead {
            (0..2 * AHEAD).for_each(|nth| self.core.ask_for(subscribers, nth));
        }
        for (nth, subscriber) in subscribers.iter().enumerate() {
            if looks_ahead {
                self.core.ask_for(subscribers, nth + 2 * AHEAD);
            }
            let options = subscriber.options;
            // [MQTT-3.8.3-3] No Local.
            if options.no_local() && self.core.is_publisher(subscriber.session, publication) {
                continue;
            }
            let identifier;
            let identifiers: &[u32] = if options.has_identifier() {
                identifier = [self.core.identifier(subscriber.session, subscriber.slot)];
                &identifier
            } else {
                &[]
            };
            let terms = Terms::live(publication, options, identifiers);
            self.core.deliver(publication, &mut lazy, at, subscriber.session, terms);
        }
        if has_groups {
            self.route_groups(publication, filter);
        }
    }

    /// Several filters match: every session gets one copy, by the highest QoS of its subscriptions and with
    /// all their identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4].
    fn route_many(&mut self, publication: &Publication<'_>, filters: &[FilterId]) {
        let mut targets = std::mem::take(&mut self.scratch.targets);
        self.mark = self.mark.wrapping_add(1);
        if self.mark == 0 {
            self.mark = 1;
        }
        for &filter in filters {
            for subscriber in self.router.subscribers(filter) {
                let sessions = &mut self.core.sessions;
                let Some(key) = sessions.key_at(subscriber.session) else { continue };
                let options = subscriber.options;
                if options.no_local() && sessions.get(key).is_some_and(|s| s.serial == publication.publisher)
                {
                    continue;
                }
                let mark = sessions.mark_mut(key.index);
                if mark.publish != self.mark {
                    *mark = Mark { publish: self.mark, position: targets.len() as u32 };
                    targets.push(Target { session: key, options, identifiers: smallvec::SmallVec::new() });
                }
                let target = &mut targets[mark.position as usize];
                target.options = target.options.merge(options);
                if options.has_identifier() {
                    target.identifiers.push(self.core.identifier(key.index, subscriber.slot));
                }
            }
        }
        let at = self.core.clock.tick();
        let at_once = targets.len() as u32 <= self.deliveries_left && self.fanouts.is_empty();
        if at_once || targets.is_empty() || self.core.persist.undivided {
            self.deliveries_left = self.deliveries_left.saturating_sub(targets.len() as u32);
            let mut lazy = Lazy::new().to_many(targets.len());
            for target in targets.drain(..) {
                let terms = Terms::live(publication, target.options, &target.identifiers);
                self.core.deliver(publication, &mut lazy, at, target.session.index, terms);
            }
            self.scratch.targets = targets;
        } else {
            // They get it later, but have to: what is fetched for them meanwhile is older, or the same.
            for target in &targets {
                if self.core.sessions.get(target.session).is_some_and(|session| session.is_fetching()) {
                    self.core.live_topics.note(target.session.index, self.key, publication);
                }
            }
            let message = self.core.messages.store(publication);
            let settle = self.wait_for_part();
            self.fanouts.push_back(FanOut { message, at, targets, next: 0, settle });
        }
        for &filter in filters {
            if !self.router.groups(filter).is_empty() {
                self.route_groups(publication, filter);
            }
        }
    }

    fn route_groups(&mut self, publication: &Publication<'_>, filter: FilterId) {
        let groups: smallvec::SmallVec<[u32; 4]> = self.router.groups(filter).into();
        for group in groups {
            self.publish_to_group(group, publication);
        }
    }

    /// Goes on with what earlier turns left, within this turn's share. Returns whether there is more.
    pub fn poll_deliveries(&mut self) -> bool {
        while let Some(mut fanout) = self.fanouts.pop_front() {
            if self.expand(&mut fanout).is_break() {
                self.fanouts.push_front(fanout);
                return true;
            }
            self.core.messages.release(fanout.message);
            if !fanout.settle.is_none() {
                self.settled(fanout.settle, Settled::Ok { matched: true });
            }
        }
        false
    }

    fn expand(&mut self, fanout: &mut FanOut) -> ControlFlow<()> {
        let end = fanout.targets.len().min(fanout.next + self.deliveries_left as usize);
        if fanout.next == end {
            return ControlFlow::Break(());
        }
        self.deliveries_left -= (end - fanout.next) as u32;
        // The store is borrowed by the deliveries, which may add holders: the message is copied out once a
        // turn, which is little beside thousands of deliveries.
        let stored = self.core.messages.get(fanout.message);
        let body = [stored.topic, stored.forwarded, stored.payload].concat();
        let publication = stored.over(&body);
        let mut lazy = Lazy::stored(fanout.message).to_many(end - fanout.next);
        let first = self.core.persist.number();
        for target in &fanout.targets[fanout.next..end] {
            // The session may have ended since.
            if self.core.sessions.get(target.session).is_some() {
                let terms = Terms::live(&publication, target.options, &target.identifiers);
                self.core.deliver(&publication, &mut lazy, fanout.at, target.session.index, terms);
            }
        }
        self.seal_fanout(&publication, first, fanout.settle);
        fanout.next = end;
        if end == fanout.targets.len() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}
