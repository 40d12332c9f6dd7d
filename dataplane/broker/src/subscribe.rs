//! SUBSCRIBE: every filter decided by itself, routes announced to the other shards, SUBACK when any message
//! any shard accepts from then on is matched, then the retained messages.

use pelton_base::Key;
use pelton_mqtt::{
    PacketId, RawFilter, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeOptions, TopicFilter,
};
use smallvec::SmallVec;

use crate::access::{Action, Decision};
use crate::broker::{Broker, Handled};
use crate::counters::{Ended, Traffic};
use crate::fetch::Cut;
use crate::link::Hold;
use crate::peers::Item;
use crate::router::{FilterId, Options, Subscriber};
use crate::session::{Membership, Subscription};
use crate::shared::{GroupRef, Joining, home_of};

/// A route that other shards have yet to confirm.
#[derive(Debug)]
pub(crate) struct Barrier {
    filter: FilterId,
    /// Barriers count up: a filter can have gone and come again while its first barrier stood.
    number: u64,
    waits_for: u16,
    waiters: Vec<Waiter>,
}

/// Who waits for a barrier.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Waiter {
    /// A SUBSCRIBE of this shard.
    Subscribe(Key),
    /// A session of another shard joined a group.
    Join { shard: u16, request: Key, group: GroupRef },
}

/// A SUBSCRIBE that waits for routes or groups.
#[derive(Debug)]
pub(crate) struct PendingSubscribe {
    link: Key,
    session: Key,
    packet_id: PacketId,
    codes: SmallVec<[ReasonCode; 4]>,
    /// The filters, if they have to be stored, with what they stood with before.
    stored: Vec<(Box<str>, Option<Granting>)>,
    waits_for: u16,
    /// Filters whose retained messages are sent after SUBACK.
    fetches: Vec<WantedRetained>,
    /// What of them is live; empty if nothing is to be fetched.
    cut: Cut,
    /// It waits to be answered, and what is live since then is remembered.
    waited: Option<u32>,
}

/// Options and identifier of a subscription.
type Granting = (Options, u32);

/// Retained messages a new subscription asks for.
#[derive(Debug)]
pub(crate) struct WantedRetained {
    pub(crate) filter: Box<str>,
    pub(crate) options: Options,
    pub(crate) identifier: u32,
}

/// One entry of a SUBSCRIBE as it was decided.
struct Granted<'a> {
    filter: TopicFilter<'a>,
    options: Options,
    asked: SubscribeOptions,
    identifier: u32,
}

impl Broker {
    pub(crate) fn handle_subscribe(&mut self, key: Key, body: &[u8]) -> Handled {
        let Some(link) = self.core.links.get(key) else { return Handled::Ended };
        let (version, session) = (link.version, link.session);
        let subscribe = match Subscribe::decode(version, body) {
            Ok(subscribe) => subscribe,
            Err(error) => return self.end_malformed(key, error),
        };
        let identifier = subscribe.subscription_id.unwrap_or(0);
        let mut codes = SmallVec::new();
        let mut granted: SmallVec<[Granted<'_>; 4]> = SmallVec::new();
        let mut room = self.room_for_subscriptions(key, subscribe.subscriptions.iter().count());
        // [MQTT-3.8.4-5] [MQTT-3.9.3-1] One after the other, a code each, in their order.
        // Decided first, carried out afterwards: a decision may be pending, and then nothing has happened yet.
        for entry in subscribe.subscriptions {
            match self.decide_filter(key, entry.filter, entry.options, identifier, &mut room) {
                Ok(grant) => {
                    codes.push(ReasonCode::granted(grant.options.qos()));
                    granted.push(grant);
                }
                Err(Some(reason)) => codes.push(reason),
                Err(None) => return Handled::Hold(Hold::Access),
            }
        }
        self.forget_question(key);
        let mut pending = PendingSubscribe {
            link: key,
            session,
            packet_id: subscribe.packet_id,
            codes,
            stored: Vec::new(),
            waits_for: 0,
            fetches: Vec::new(),
            cut: Cut::new(),
            waited: None,
        };
        // The record exists only if it has to wait; until then its place is foretold.
        let place = self.subscribes.next_key();
        let stored = self.core.sessions.get(session).is_some_and(|session| session.is_stored());
        let first = self.core.persist.number();
        for grant in granted {
            // Devices subscribe anew whenever they connect: what is stored as it is asked for stands, whatever
            // storage can take now.
            if stored && !self.is_subscribed_so(session, &grant) {
                self.put_subscription(session, grant.filter, grant.options, grant.identifier);
                let before = self.slot_in(session, grant.filter).and_then(|slot| {
                    let before = self.core.sessions.get(session)?.subscriptions.get(slot)?;
                    Some((before.options(), before.identifier()))
                });
                pending.stored.push((grant.filter.as_str().into(), before));
            }
            match grant.filter.shared() {
                Some(shared) => {
                    self.subscribe_shared(&mut pending, place, &grant, shared.group, shared.filter.as_str())
                }
                None => self.subscribe_own(&mut pending, place, &grant),
            }
        }
        if !pending.fetches.is_empty() {
            let (cut, asked) = self.ask_how_far(place);
            pending.cut = cut;
            pending.waits_for += asked;
        }
        if stored {
            pending.waits_for += u16::from(self.promise_suback(first, place));
        }
        if pending.waits_for == 0 {
            self.finish_subscribe(pending);
        } else {
            if let Some(link) = self.core.links.get_mut(key) {
                link.set_hold(Some(Hold::Subscribe), key, &mut self.core.out);
            }
            if !pending.cut.is_empty() {
                pending.waited = self.begin_fetching(session);
            }
            let inserted = self.subscribes.insert(pending);
            debug_assert_eq!(inserted, place);
        }
        Handled::Done
    }

    /// How many filters a session may still add, if so many more could be too many; a filter it has is none more.
    fn room_for_subscriptions(&mut self, key: Key, more: usize) -> Option<usize> {
        let count = self.session_of(key).map_or(0, |session| session.subscriptions.len());
        let room = usize::from(self.core.settings.subscriptions_max).saturating_sub(count);
        (more > room).then_some(room)
    }

    /// Whether a filter is granted; if not, why, or `None` while the decision is pending.
    fn decide_filter<'a>(
        &mut self,
        key: Key,
        raw: RawFilter<'a>,
        asked: SubscribeOptions,
        identifier: u32,
        room: &mut Option<usize>,
    ) -> Result<Granted<'a>, Option<ReasonCode>> {
        let settings = self.core.settings.clone();
        let filter = raw.check().map_err(|_| Some(ReasonCode::TopicFilterInvalid))?;
        if !self.is_within_limits(filter.as_str()) {
            return Err(Some(ReasonCode::TopicFilterInvalid));
        }
        if filter.shared().is_some() && !settings.shared_available {
            return Err(Some(ReasonCode::SharedSubscriptionsNotSupported));
        }
        // [MQTT311-3.8.3-2]
        if filter.has_wildcards() && !settings.wildcard_available {
            return Err(Some(ReasonCode::WildcardSubscriptionsNotSupported));
        }
        if !settings.access.is_open() {
            match self.decide(key, Action::Subscribe, filter.matched_part().as_bytes()) {
                Decision::Allow => {}
                Decision::Deny(reason) => return Err(Some(reason)),
                Decision::Pending => return Err(None),
            }
        }
        if let Some(room) = room
            && self.subscription_slot(key, filter).is_none()
        {
            *room = room.checked_sub(1).ok_or(Some(ReasonCode::QuotaExceeded))?;
        }
        // [MQTT-3.2.2-10] [MQTT-3.8.4-7]
        let options = Options::new(asked.qos.min(settings.qos_max), asked, identifier != 0);
        Ok(Granted { filter, options, asked, identifier })
    }

    /// The position of a filter among the subscriptions of a connection's session.
    pub(crate) fn subscription_slot(&self, key: Key, filter: TopicFilter<'_>) -> Option<usize> {
        self.slot_in(self.core.links.get(key)?.session, filter)
    }

    /// The position of a filter among the subscriptions of a session.
    pub(crate) fn slot_in(&self, session_key: Key, filter: TopicFilter<'_>) -> Option<usize> {
        let session = self.core.sessions.get(session_key)?;
        if filter.shared().is_some() {
            return session.subscriptions.iter().position(
                |subscription| matches!(subscription, Subscription::Group(m) if *m.text == *filter.as_str()),
            );
        }
        let wanted = self.router.find_filter(filter.as_str())?;
        // The shorter list is searched: a popular filter has many subscribers, a bridge many filters.
        let subscribers = self.router.subscribers(wanted);
        if subscribers.len() < session.subscriptions.len() {
            return subscribers
                .iter()
                .find(|subscriber| subscriber.session == session_key.index)
                .map(|subscriber| usize::from(subscriber.slot));
        }
        session.subscriptions.iter().position(
            |subscription| matches!(subscription, Subscription::Filter { filter, .. } if *filter == wanted),
        )
    }

    /// Whether a session has a subscription with the same options and identifier.
    fn is_subscribed_so(&self, session: Key, grant: &Granted<'_>) -> bool {
        let Some(slot) = self.slot_in(session, grant.filter) else { return false };
        self.core.sessions.get(session).is_some_and(|session| {
            let has = &session.subscriptions[slot];
            (has.options().bits(), has.identifier()) == (grant.options.bits(), grant.identifier)
        })
    }

    fn subscribe_own(&mut self, pending: &mut PendingSubscribe, place: Key, grant: &Granted<'_>) {
        let text = grant.filter.as_str();
        let slot = self.subscription_slot(pending.link, grant.filter);
        let Some(session) = self.core.sessions.get_mut(pending.session) else { return };
        let filter = self.router.filter(text);
        match slot {
            // [MQTT-3.8.4-3] [MQTT-3.8.4-4] The same filter again: replaced, without a gap.
            Some(slot) => {
                let subscription = &mut session.subscriptions[slot];
                subscription.replace(grant.options, grant.identifier);
                if let &mut Subscription::Filter { filter, position, .. } = subscription {
                    self.router.subscriber_mut(filter, position).options = grant.options;
                }
            }
            None => {
                let slot = session.subscriptions.len() as u16;
                let subscriber = Subscriber { session: pending.session.index, slot, options: grant.options };
                let (position, first) = self.router.add(filter, subscriber);
                let (options, identifier) = (grant.options, grant.identifier);
                let subscription = Subscription::Filter { filter, position, identifier, options };
                self.core.census.subscribed(&subscription);
                session.subscriptions.push(subscription);
                if first {
                    self.announce(filter);
                }
            }
        }
        pending.waits_for += u16::from(self.wait_for_routes(filter, Waiter::Subscribe(place)));
        // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]
        let wanted = match grant.asked.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => slot.is_none(),
            RetainHandling::DoNotSend => false,
        };
        if wanted {
            pending.fetches.push(WantedRetained {
                filter: text.into(),
                options: grant.options,
                identifier: grant.identifier,
            });
        }
    }

    fn subscribe_shared(
        &mut self,
        pending: &mut PendingSubscribe,
        place: Key,
        grant: &Granted<'_>,
        name: &str,
        text: &str,
    ) {
        let slot = self.subscription_slot(pending.link, grant.filter);
        let Some(session) = self.core.sessions.get_mut(pending.session) else { return };
        let persistent = session.is_persistent();
        let slot = match slot {
            Some(slot) => {
                let subscription = &mut session.subscriptions[slot];
                subscription.replace(grant.options, grant.identifier);
                slot
            }
            None => {
                let membership = Membership {
                    group: GroupRef::NONE,
                    text: grant.filter.as_str().into(),
                    identifier: grant.identifier,
                    options: grant.options,
                };
                let subscription = Subscription::Group(Box::new(membership));
                self.core.census.subscribed(&subscription);
                session.subscriptions.push(subscription)
            }
        };
        let home = home_of(self.key, name, text, self.peers.shards());
        if home != self.me {
            let item = Item::Join {
                request: place,
                session: pending.session,
                options: grant.options,
                identifier: grant.identifier,
                persistent,
                group: name.len() as u16,
                filter: text.len() as u16,
            };
            self.peers.send(home, item, &[name.as_bytes(), text.as_bytes()]);
            pending.waits_for += 1;
            return;
        }
        let joining = Joining {
            shard: self.me,
            session: pending.session,
            options: grant.options,
            identifier: grant.identifier,
            persistent,
        };
        let (group, filter, first) = self.join_group(name, text, joining);
        if let Some(session) = self.core.sessions.get_mut(pending.session)
            && let Subscription::Group(membership) = &mut session.subscriptions[slot]
        {
            membership.group = group;
        }
        if first {
            self.announce(filter);
        }
        self.drain_group(group);
        pending.waits_for += u16::from(self.wait_for_routes(filter, Waiter::Subscribe(place)));
    }

    /// Tells the other shards that this one wants a filter, behind a barrier.
    pub(crate) fn announce(&mut self, filter: FilterId) {
        let others = self.peers.shards() - 1;
        if others == 0 {
            return;
        }
        self.last_barrier += 1;
        let number = self.last_barrier;
        let barrier =
            self.barriers.insert(Barrier { filter, number, waits_for: others, waiters: Vec::new() });
        self.tell_route(filter, true, barrier);
    }

    pub(crate) fn tell_route(&mut self, filter: FilterId, add: bool, barrier: Key) {
        match self.router.exact_hash(filter) {
            Some(hash) => {
                for shard in self.peers.others() {
                    self.peers.send(shard, Item::ExactRoute { hash, add, barrier }, &[]);
                }
            }
            None => {
                let text = self.router.text(filter);
                let item = Item::WildRoute { filter: text.len() as u16, add, barrier };
                for shard in self.peers.others() {
                    self.peers.send(shard, item, &[text.as_bytes()]);
                }
            }
        }
    }

    /// Forgets a filter if nobody here wants it any more, and tells the other shards.
    pub(crate) fn release_filter(&mut self, filter: FilterId) {
        if self.router.is_wanted_here(filter) {
            return;
        }
        if self.peers.shards() > 1 && self.router.must_tell(filter) {
            self.tell_route(filter, false, Key::NONE);
        }
        self.router.release(filter);
    }

    /// Puts `waiter` behind the barriers of a filter; whether there is one.
    pub(crate) fn wait_for_routes(&mut self, filter: FilterId, waiter: Waiter) -> bool {
        let newest = self
            .barriers
            .iter()
            .filter(|(_, barrier)| barrier.filter == filter)
            .max_by_key(|(_, barrier)| barrier.number)
            .map(|(key, _)| key);
        match newest.and_then(|key| self.barriers.get_mut(key)) {
            Some(barrier) => {
                barrier.waiters.push(waiter);
                true
            }
            None => false,
        }
    }

    /// Another shard has the route in place.
    pub(crate) fn route_done(&mut self, key: Key) {
        let Some(barrier) = self.barriers.get_mut(key) else { return };
        barrier.waits_for -= 1;
        if barrier.waits_for != 0 {
            return;
        }
        let Some(barrier) = self.barriers.remove(key) else { return };
        for waiter in barrier.waiters {
            match waiter {
                Waiter::Subscribe(place) => self.subscribe_came_closer(place),
                Waiter::Join { shard, request, group } => self.reply_joined(shard, request, group),
            }
        }
    }

    /// A group's home has the session as a member.
    pub(crate) fn joined(&mut self, place: Key, group: GroupRef, text: &str) {
        let Some(pending) = self.subscribes.get(place) else { return };
        let (link, session_key) = (pending.link, pending.session);
        match self.core.sessions.get_mut(session_key) {
            Some(session) => {
                let online = !session.link().is_none();
                let mut is_member = false;
                for subscription in session.subscriptions.iter_mut() {
                    if let Subscription::Group(membership) = subscription
                        && *membership.text == *text
                    {
                        membership.group = group;
                        is_member = true;
                    }
                }
                if !is_member {
                    // Another connection of the session has unsubscribed meanwhile, when there was no group yet
                    // to be told of it.
                    self.tell_leave(group, session_key);
                } else if !online || self.core.links.get(link).is_none() {
                    // The client left while its group was being joined, as a member that is connected.
                    self.tell_presence(group, session_key, online);
                }
            }
            None => self.tell_leave(group, session_key),
        }
        self.subscribe_came_closer(place);
    }

    /// The subscriptions of a SUBSCRIBE are stored, or could not be: then they do not stand, or as they stood before.
    pub(crate) fn subscribe_is_stored(&mut self, place: Key, failed: bool) {
        if failed && let Some(pending) = self.subscribes.get_mut(place) {
            for code in &mut pending.codes {
                if !code.is_error() {
                    *code = ReasonCode::QuotaExceeded;
                }
            }
            pending.fetches.clear();
            // By its session: the connection may have gone.
            let session = pending.session;
            for (text, before) in std::mem::take(&mut pending.stored) {
                let Ok(filter) = TopicFilter::new(&text) else { continue };
                let Some(slot) = self.slot_in(session, filter) else { continue };
                match before {
                    Some((options, identifier)) => self.put_back(session, slot, filter, options, identifier),
                    None => {
                        self.drop_subscription(session, slot);
                        self.end_subscription(session, filter);
                    }
                }
            }
        }
        self.subscribe_came_closer(place);
    }

    /// A subscription goes on with the options that it had before, which its client was granted; storage follows
    /// when it can.
    fn put_back(
        &mut self,
        session_key: Key,
        slot: usize,
        filter: TopicFilter<'_>,
        options: Options,
        identifier: u32,
    ) {
        self.core.persist.fault.keep_subscription(session_key, filter.as_str());
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        let persistent = session.is_persistent();
        let subscription = &mut session.subscriptions[slot];
        subscription.replace(options, identifier);
        if let &mut Subscription::Filter { filter, position, .. } = subscription {
            self.router.subscriber_mut(filter, position).options = options;
        }
        let Some(shared) = filter.shared() else { return };
        let (name, text) = (shared.group, shared.filter.as_str());
        let home = home_of(self.key, name, text, self.peers.shards());
        if home == self.me {
            let joining = Joining { shard: self.me, session: session_key, options, identifier, persistent };
            self.join_group(name, text, joining);
            return;
        }
        // It is a member already: nobody waits for the answer.
        let request = Key::NONE;
        let (group, filter) = (name.len() as u16, text.len() as u16);
        let item =
            Item::Join { request, session: session_key, options, identifier, persistent, group, filter };
        self.peers.send(home, item, &[name.as_bytes(), text.as_bytes()]);
    }

    /// A session found at the start is a member of a shared group.
    pub(crate) fn load_membership(
        &mut self,
        session: Key,
        written: &str,
        name: &str,
        text: &str,
        options: Options,
        identifier: u32,
    ) {
        let Some(entry) = self.core.sessions.get_mut(session) else { return };
        let membership = Membership { group: GroupRef::NONE, text: written.into(), identifier, options };
        let subscription = Subscription::Group(Box::new(membership));
        self.core.census.subscribed(&subscription);
        entry.subscriptions.push(subscription);
        let home = home_of(self.key, name, text, self.peers.shards());
        let persistent = true;
        if home != self.me {
            let request = self.subscribes.insert(PendingSubscribe {
                link: Key::NONE,
                session,
                packet_id: PacketId::new(1).expect("1 is an identifier"),
                codes: SmallVec::new(),
                stored: Vec::new(),
                waits_for: 1,
                fetches: Vec::new(),
                cut: Cut::new(),
                waited: None,
            });
            let (group, filter) = (name.len() as u16, text.len() as u16);
            let item = Item::Join { request, session, options, identifier, persistent, group, filter };
            self.peers.send(home, item, &[name.as_bytes(), text.as_bytes()]);
            return;
        }
        let joining = Joining { shard: self.me, session, options, identifier, persistent };
        let (group, filter, first) = self.join_group(name, text, joining);
        self.set_presence(group, self.me, session, false);
        if let Some(entry) = self.core.sessions.get_mut(session)
            && let Some(Subscription::Group(membership)) = entry.subscriptions.last_mut()
        {
            membership.group = group;
        }
        if first && self.peers.shards() > 1 {
            self.tell_route(filter, true, Key::NONE);
        }
    }

    /// Another shard has said how far it was when it knew of a SUBSCRIBE.
    pub(crate) fn synced(&mut self, from: u16, place: Key, stamp: u64) {
        if let Some(pending) = self.subscribes.get_mut(place) {
            pending.cut[usize::from(from)] = stamp;
        }
        self.subscribe_came_closer(place);
    }

    fn subscribe_came_closer(&mut self, place: Key) {
        let Some(pending) = self.subscribes.get_mut(place) else { return };
        pending.waits_for -= 1;
        if pending.waits_for == 0
            && let Some(pending) = self.subscribes.remove(place)
        {
            self.finish_subscribe(pending);
        }
    }

    /// Routes and groups stand: SUBACK, then the retained messages.
    fn finish_subscribe(&mut self, pending: PendingSubscribe) {
        let Some(link) = self.core.links.get_mut(pending.link) else { return };
        if !link.is_live() || link.session != pending.session {
            return;
        }
        let version = link.version;
        if link.hold() == Some(Hold::Subscribe) {
            link.set_hold(None, pending.link, &mut self.core.out);
            self.effects.resumed.push(pending.link);
        }
        let codes = pending.codes;
        // Before v5 the codec sends every refusal as 0x80 [MQTT311-3.9.3-2].
        // [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-2.2.1-6] Without reason string and user properties [MQTT-3.9.2-1]
        // [MQTT-3.9.2-2].
        let suback = SubAck::new(pending.packet_id, &codes);
        // [MQTT-3.1.2-24] An answer the client does not take: it cannot go on without one.
        if suback.encoded_len(version) > self.packet_bytes_max_of(pending.link) {
            self.end(pending.link, Ended::PacketTooLarge, Some(ReasonCode::PacketTooLarge));
            return;
        }
        self.core.tally.traffic.add(Traffic::ControlOut);
        self.core.out.append(pending.link.index, |bytes| suback.encode(version, bytes));
        for wanted in pending.fetches {
            self.fetch_retained(pending.session, wanted, pending.cut.clone(), pending.waited);
        }
        if pending.waited.is_some() {
            self.began_fetching(pending.session);
        }
    }
}
