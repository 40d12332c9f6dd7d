//! Retained messages for a new subscription: fetched from their homes page by page, as the client takes
//! them.
//!
//! An exact filter has one home; a wildcard asks all shards, one after the other. While a fetch is under
//! way, live messages go to the client at once, and the topics of those that were to be retained are remembered: the
//! retained message of such a topic is older and is not sent any more. One that was not to be retained takes nobody
//! else's place [MQTT-3.3.1-9]; a retained message of its own publisher is older, would come after it, and is left
//! out as well [MQTT-4.6.0-6].
//!
//! A message is live for a new subscription or retained before it, never both and never neither, whichever way
//! is longer: to the subscription's shard, or to the home of the topic. Before the first page is asked for every
//! shard says how many retained publishes it had taken when it knew of the subscription, and it says so when all
//! of them have been worked through everywhere ([`Sync`]). So they are at their homes by then, and if one of them
//! was live here, it has been. What comes in a page with a higher number is live here for sure, perhaps later.

use hashbrown::HashMap;
use pelton_base::{HashKey, Key};
use smallvec::SmallVec;

use crate::broker::Broker;
use crate::counters::{Dropped, Traffic};
use crate::deliver::{Core, Terms};
use crate::message::{Lazy, Publication};
use crate::peers::{Fence, Item, PublishHead, Reply};
use crate::retained::{PageEnd, Stamp};
use crate::router::{Options, has_wildcard};
use crate::slot::Slot;
use crate::subscribe::WantedRetained;

/// Messages of one page.
const PAGE_MESSAGES: usize = 64;
/// Bytes of one page, beyond which it ends.
pub(crate) const PAGE_BYTES: usize = 64 * 1024;
/// Keys looked at for one page.
const PAGE_LOOKS: usize = 256;
/// Pages of one fetch in one turn.
const PAGES_A_TURN: usize = 16;
/// Topics remembered of one session while it fetches. A session that gets more live messages than that in
/// the meantime may see an older retained message after a newer live one.
const LIVE_TOPICS_MAX: usize = 65_536;

/// A fetch under way.
#[derive(Debug)]
pub(crate) struct Fetch {
    session: Key,
    wanted: WantedRetained,
    /// The shard that is asked.
    source: u16,
    /// The last shard to ask.
    last: u16,
    /// Where its next page begins.
    from: Box<[u8]>,
    /// An answer is on its way.
    asked: bool,
    cut: Cut,
    since: Since,
}

/// From when on what is live takes the place of what a fetch finds, in beginnings of its session's fetches: what was
/// live before a subscription says nothing of what was retained until then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Since {
    /// Of any publisher: when the homes of topics are being asked. Before that, what another publisher has retained
    /// there is not known to be older.
    anybody: u32,
    /// Of the same publisher: when SUBSCRIBE came.
    same: u32,
}

/// For each shard, the number of the last retained publish that is not live for sure for a new subscription.
pub(crate) type Cut = SmallVec<[u64; 4]>;

/// A shard waits until what was staged here has been worked through everywhere.
#[derive(Debug)]
pub(crate) struct Sync {
    fence: Fence,
    shard: u16,
    request: Key,
    stamp: u64,
}

/// Topics of live messages that sessions got while they fetch retained ones.
pub(crate) struct LiveTopics {
    by_session: HashMap<u32, Live, HashKey>,
}

/// What is kept of a session that fetches.
struct Live {
    /// How many subscriptions it fetches for.
    fetches: usize,
    /// How many times it has begun to.
    begun: u32,
    /// Hashes of topics, and of topics with their publishers; and how many fetches had begun when it was last live.
    hashes: HashMap<u64, u32, HashKey>,
}

impl LiveTopics {
    pub(crate) fn new(key: HashKey) -> Self {
        Self { by_session: HashMap::with_hasher(key) }
    }

    /// A session fetches for one more subscription; returns how many times it has begun to.
    fn begin(&mut self, session: u32, key: HashKey) -> u32 {
        let new = || Live { fetches: 0, begun: 0, hashes: HashMap::with_hasher(key) };
        let live = self.by_session.entry(session).or_insert_with(new);
        live.fetches += 1;
        live.begun += 1;
        live.begun
    }

    /// A session fetches for one subscription less; whether that was the last.
    fn end(&mut self, session: u32) -> bool {
        let Some(live) = self.by_session.get_mut(&session) else { return true };
        live.fetches -= 1;
        let last = live.fetches == 0;
        if last {
            self.forget(session);
        }
        last
    }

    /// How many sessions fetch.
    pub(crate) fn len(&self) -> usize {
        self.by_session.len()
    }

    #[cold]
    pub(crate) fn note(&mut self, session: u32, key: HashKey, publication: &Publication<'_>) {
        let Some(live) = self.by_session.get_mut(&session) else { return };
        let topic = key.hash(publication.topic);
        let any_publisher = publication.retain.then_some(topic);
        for hash in [Some(with_publisher(key, topic, publication)), any_publisher].into_iter().flatten() {
            if live.hashes.len() < LIVE_TOPICS_MAX || live.hashes.contains_key(&hash) {
                live.hashes.insert(hash, live.begun);
            }
        }
    }

    fn has(&self, session: u32, key: HashKey, publication: &Publication<'_>, since: Since) -> bool {
        let topic = key.hash(publication.topic);
        self.by_session.get(&session).is_some_and(|live| {
            let was_live = |hash, since| live.hashes.get(&hash).is_some_and(|&at| at >= since);
            was_live(topic, since.anybody) || was_live(with_publisher(key, topic, publication), since.same)
        })
    }

    fn forget(&mut self, session: u32) {
        self.by_session.remove(&session);
    }
}

fn with_publisher(key: HashKey, topic: u64, publication: &Publication<'_>) -> u64 {
    key.hash_pair(topic, &publication.client_hash.to_le_bytes())
}

impl Core {
    /// Whether a session can take retained messages now: it is connected, and what it was sent before has
    /// nearly all gone.
    fn takes_retained(&mut self, key: Key) -> bool {
        let Some(session) = self.sessions.get(key) else { return false };
        let link_key = session.link();
        let Some(link) = self.links.get_mut(link_key) else { return false };
        if self.out.queued(link_key.index) >= PAGE_BYTES {
            link.starve(link_key, &mut self.starved);
            return false;
        }
        link.is_live()
            && session.window.as_ref().is_none_or(|window| window.queue.is_empty())
            && session.backlog.is_caught_up()
    }

    /// Delivers one retained message.
    fn deliver_retained(
        &mut self,
        session: Key,
        (options, identifier): (Options, u32),
        (cut, since): (&Cut, Since),
        (publication, stamp): (&Publication<'_>, Stamp),
    ) {
        if publication.is_expired(self.wall) {
            self.tally.dropped.add(Dropped::Expired);
            return;
        }
        // [MQTT-3.8.3-3] By client id: its connection, and perhaps its session, is another since then.
        if options.no_local()
            && self
                .sessions
                .get(session)
                .is_some_and(|session| self.key.hash(&session.client_id) == publication.client_hash)
        {
            return;
        }
        let comes_live = cut.get(stamp.shard()).is_some_and(|&last| stamp.number() > last);
        if comes_live || self.live_topics.has(session.index, self.key, publication, since) {
            self.tally.dropped.add(Dropped::Superseded);
            return;
        }
        let identifiers = [identifier];
        let terms = Terms {
            // [MQTT311-3.3.1-8] Sent because of a new subscription: the flag is set.
            retain: true,
            is_retained: true,
            identifiers: if identifier == 0 { &[] } else { &identifiers },
            ..Terms::live(publication, options, &[])
        };
        self.tally.traffic.add(Traffic::RetainedSent);
        let at = self.clock.tick();
        self.deliver(publication, &mut Lazy::new(), at, session.index, terms);
        self.persist.seal(publication);
    }
}

impl Broker {
    /// Begins to send a session the retained messages of a new subscription [MQTT-3.3.1-9]; `waited`: what
    /// [`Broker::begin_fetching`] said, if it had to wait.
    pub(crate) fn fetch_retained(
        &mut self,
        session: Key,
        wanted: WantedRetained,
        cut: Cut,
        waited: Option<u32>,
    ) {
        let shards = self.peers.shards();
        let (source, last) = if has_wildcard(&wanted.filter) {
            (0, shards - 1)
        } else {
            let home = Slot::of(self.key, wanted.filter.as_bytes()).shard(shards);
            if home == self.me {
                // The common case: one topic, here.
                if let Some((publication, stamp)) = self.retained.get_stamped(wanted.filter.as_bytes()) {
                    let terms = (wanted.options, wanted.identifier);
                    let since = Since { anybody: u32::MAX, same: waited.unwrap_or(u32::MAX) };
                    self.core.deliver_retained(session, terms, (&cut, since), (&publication, stamp));
                }
                return;
            }
            (home, home)
        };
        let Some(entry) = self.core.sessions.get_mut(session) else { return };
        entry.set_fetching(true);
        let begun = self.core.live_topics.begin(session.index, self.key);
        let since = Since { anybody: begun, same: waited.unwrap_or(begun) };
        let fetch = Fetch { session, wanted, source, last, from: Box::default(), asked: false, cut, since };
        let key = self.fetches.insert(fetch);
        self.go_on_fetching(key);
    }

    /// A session has room again: its fetches go on.
    pub(crate) fn fetch_more(&mut self, session: Key) {
        if self.core.sessions.get(session).is_none_or(|session| !session.is_fetching()) {
            return;
        }
        let mine: Vec<Key> =
            self.fetches.iter().filter(|(_, fetch)| fetch.session == session).map(|(key, _)| key).collect();
        for key in mine {
            self.go_on_fetching(key);
        }
    }

    fn go_on_fetching(&mut self, key: Key) {
        for _ in 0..PAGES_A_TURN {
            let Some(fetch) = self.fetches.get(key) else { return };
            if fetch.asked || !self.core.takes_retained(fetch.session) {
                return;
            }
            if fetch.source != self.me {
                let (source, filter, from) = (fetch.source, fetch.wanted.filter.clone(), fetch.from.clone());
                let item = Item::RetainedQuery {
                    request: key,
                    filter: filter.len() as u16,
                    from: from.len() as u16,
                };
                self.peers.send(source, item, &[filter.as_bytes(), &from]);
                if let Some(fetch) = self.fetches.get_mut(key) {
                    fetch.asked = true;
                }
                return;
            }
            let (session, terms) = (fetch.session, (fetch.wanted.options, fetch.wanted.identifier));
            let (mut messages, mut bytes) = (0, 0);
            let end =
                self.retained.page(&fetch.wanted.filter, &fetch.from, PAGE_LOOKS, |publication, stamp| {
                    self.core.deliver_retained(
                        session,
                        terms,
                        (&fetch.cut, fetch.since),
                        (&publication, stamp),
                    );
                    messages += 1;
                    bytes += publication.bytes();
                    messages < PAGE_MESSAGES && bytes < PAGE_BYTES
                });
            self.page_ended(key, end);
        }
        // The turn's share is used up; the rest follows in the next.
        if self.fetches.get(key).is_some() {
            self.hungry.push(key);
        }
    }

    /// A page of a fetch is through.
    fn page_ended(&mut self, key: Key, end: PageEnd) {
        let Some(fetch) = self.fetches.get_mut(key) else { return };
        fetch.asked = false;
        match end {
            PageEnd::More(from) => fetch.from = from,
            PageEnd::Complete if fetch.source < fetch.last => {
                fetch.source += 1;
                fetch.from = Box::default();
            }
            PageEnd::Complete => self.end_fetch(key),
        }
    }

    fn end_fetch(&mut self, key: Key) {
        if let Some(fetch) = self.fetches.remove(key) {
            self.fetched(fetch.session);
        }
    }

    fn fetched(&mut self, key: Key) {
        if let Some(session) = self.core.sessions.get_mut(key)
            && self.core.live_topics.end(key.index)
        {
            session.set_fetching(false);
        }
    }

    /// A SUBSCRIBE will fetch retained messages, when it is answered. Asks the other shards how far they are; returns
    /// what is known of this one, and how many were asked.
    pub(crate) fn ask_how_far(&mut self, request: Key) -> (Cut, u16) {
        let shards = self.peers.shards();
        for shard in self.peers.others() {
            self.peers.send(shard, Item::Sync { request }, &[]);
        }
        let mut cut: Cut = std::iter::repeat_n(0, usize::from(shards)).collect();
        cut[usize::from(self.me)] = self.last_stamp;
        (cut, shards - 1)
    }

    /// It has to wait: what is live from here on is remembered. Returns from when on.
    pub(crate) fn begin_fetching(&mut self, session: Key) -> Option<u32> {
        let entry = self.core.sessions.get_mut(session)?;
        entry.set_fetching(true);
        Some(self.core.live_topics.begin(session.index, self.key))
    }

    /// The fetches of a SUBSCRIBE that had to wait have begun.
    pub(crate) fn began_fetching(&mut self, session: Key) {
        self.fetched(session);
    }

    /// The number of a retained publish that was taken here; 0 for others.
    pub(crate) fn next_stamp(&mut self, publication: &Publication<'_>) -> u64 {
        if !publication.retain {
            return 0;
        }
        self.last_stamp += 1;
        self.last_stamp
    }

    /// Another shard will fetch retained messages.
    pub(crate) fn sync(&mut self, shard: u16, request: Key) {
        let sync = Sync { fence: self.peers.fence(), shard, request, stamp: self.last_stamp };
        self.syncs.push_back(sync);
    }

    /// Tells other shards that what was staged here when they asked has been worked through everywhere.
    pub(crate) fn poll_syncs(&mut self) {
        while let Some(sync) = self.syncs.pop_front_if(|sync| self.peers.is_past(&sync.fence)) {
            let Sync { shard, request, stamp, .. } = sync;
            self.peers.reply(shard, Reply::Synced { request, stamp }, &[]);
        }
    }

    /// The session's client is gone: what it was still to be sent of the retained set is not.
    pub(crate) fn end_fetches(&mut self, session_key: Key) {
        let Some(session) = self.core.sessions.get_mut(session_key) else { return };
        if !session.is_fetching() {
            return;
        }
        session.set_fetching(false);
        self.core.live_topics.forget(session_key.index);
        for key in self.fetches.keys() {
            if self.fetches.get(key).is_some_and(|fetch| fetch.session == session_key) {
                self.fetches.remove(key);
            }
        }
    }

    /// Fetches that used up their share of an earlier turn.
    pub(crate) fn poll_fetches(&mut self) {
        for key in std::mem::take(&mut self.hungry) {
            self.go_on_fetching(key);
        }
    }

    /// Another shard wants a page of the retained messages at home here. Everything it had staged before it
    /// asked has been worked through: rings keep order. What the other shards had, it has waited for.
    pub(crate) fn answer_query(&mut self, to: u16, request: Key, filter: &str, from: &[u8]) {
        let (mut messages, mut bytes) = (0, 0);
        let end = self.retained.page(filter, from, PAGE_LOOKS, |publication, stamp| {
            let head = PublishHead::of(&publication);
            self.peers.reply(
                to,
                Reply::Retained { request, head, stamp },
                &[publication.topic, publication.forwarded, publication.payload],
            );
            messages += 1;
            bytes += publication.bytes();
            messages < PAGE_MESSAGES && bytes < PAGE_BYTES
        });
        let next = match &end {
            PageEnd::More(next) => &**next,
            PageEnd::Complete => b"",
        };
        self.peers.reply(to, Reply::RetainedEnd { request, next: next.len() as u16 }, &[next]);
    }

    /// A message of a page that was asked for.
    pub(crate) fn take_retained(&mut self, request: Key, publication: &Publication<'_>, stamp: Stamp) {
        let Some(fetch) = self.fetches.get(request) else { return };
        let terms = (fetch.wanted.options, fetch.wanted.identifier);
        self.core.deliver_retained(fetch.session, terms, (&fetch.cut, fetch.since), (publication, stamp));
    }

    /// The page that was asked for is complete.
    pub(crate) fn take_retained_end(&mut self, request: Key, next: &[u8]) {
        let end = if next.is_empty() { PageEnd::Complete } else { PageEnd::More(next.into()) };
        self.page_ended(request, end);
        self.go_on_fetching(request);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Publisher;
    use pelton_base::Wall;
    use pelton_mqtt::QoS;

    const KEY: HashKey = HashKey::new(1, 2);

    fn publication(topic: &str, client_hash: u64) -> Publication<'_> {
        Publication {
            topic: topic.as_bytes(),
            forwarded: b"",
            payload: b"x",
            qos: QoS::AtLeastOnce,
            retain: true,
            expires: Wall::NEVER,
            publisher: Publisher::NOBODY,
            client_hash,
            wire: None,
        }
    }

    /// A fetch for a subscription that waited since `same` begins.
    fn begin(live: &mut LiveTopics, same: u32) -> Since {
        Since { anybody: live.begin(1, KEY), same }
    }

    #[test]
    fn what_was_live_before_a_subscription_supersedes_nothing_of_it() {
        let mut live = LiveTopics::new(KEY);
        let asked = live.begin(1, KEY);
        let first = begin(&mut live, asked);
        live.end(1);
        live.note(1, KEY, &publication("a", 7));
        assert!(live.has(1, KEY, &publication("a", 8), first), "whoever retained it, it is older");
        // The first goes on as long as its client does not read. It is unsubscribed from; something newer is
        // retained; and there is another subscription.
        let asked = live.begin(1, KEY);
        let second = begin(&mut live, asked);
        live.end(1);
        assert!(
            !live.has(1, KEY, &publication("a", 7), second)
                && !live.has(1, KEY, &publication("a", 8), second)
        );
        assert!(live.has(1, KEY, &publication("a", 8), first));
        live.note(1, KEY, &publication("a", 7));
        assert!(live.has(1, KEY, &publication("a", 8), second));
    }

    // covers [MQTT-3.3.1-9]
    #[test]
    fn what_was_not_to_be_retained_takes_nobody_elses_place() {
        let mut live = LiveTopics::new(KEY);
        let asked = live.begin(1, KEY);
        let since = begin(&mut live, asked);
        live.note(1, KEY, &Publication { retain: false, ..publication("a", 7) });
        assert!(!live.has(1, KEY, &publication("a", 8), since), "somebody else retained it");
        assert!(live.has(1, KEY, &publication("a", 7), since), "the same publisher sent it before");
    }

    #[test]
    fn while_a_subscription_waits_only_its_publisher_is_known_to_be_newer() {
        let mut live = LiveTopics::new(KEY);
        let asked = live.begin(1, KEY);
        live.note(1, KEY, &publication("a", 7));
        let since = begin(&mut live, asked);
        assert!(live.has(1, KEY, &publication("a", 7), since));
        assert!(!live.has(1, KEY, &publication("a", 8), since), "this may be the newer one");
        assert!(!live.end(1) && live.end(1));
        assert_eq!(live.len(), 0);
    }
}
