//! What a broker holds at a moment, thing by thing: for checks that everything that was taken has been given
//! back, and that nothing grows where nothing should.

use pelton_base::counter_set;

use crate::broker::Broker;
use crate::session::Session;

counter_set! {
    /// What can be held.
    pub enum Held {
        /// Connections, those being ended included.
        Links = "links",
        /// Sessions, those whose client is away included.
        Sessions = "sessions",
        /// Subscriptions of sessions.
        Subscriptions = "subscriptions",
        /// Filters of this shard and wildcard filters of others.
        Filters = "filters",
        /// Hashes of exact filters of other shards.
        ExactRoutes = "exact_routes",
        /// Nodes of the wildcard trie besides its root.
        TrieNodes = "trie_nodes",
        /// Shared groups at home here.
        Groups = "groups",
        /// Messages that wait in shared groups.
        GroupQueued = "group_queued",
        /// Messages stored for delivery.
        Messages = "messages",
        /// Bytes of messages stored for delivery.
        MessageBytes = "message_bytes",
        /// Retained messages at home here.
        Retained = "retained",
        /// Client ids held by connections of other shards, or being given back.
        Claims = "claims",
        /// Client ids to be given back behind a fence.
        Releases = "releases",
        /// Publishes that wait for other shards.
        Settlements = "settlements",
        /// Routes that other shards have yet to confirm.
        Barriers = "barriers",
        /// SUBSCRIBEs that wait.
        Subscribes = "subscribes",
        /// Fetches of retained messages.
        Fetches = "fetches",
        /// Fetches that used up their share of a turn.
        HungryFetches = "hungry_fetches",
        /// Sessions that fetch retained messages, with the topics remembered for that.
        LiveTopics = "live_topics",
        /// Fan-outs that go on in later turns.
        FanOuts = "fanouts",
        /// Wills that wait for room.
        DeferredWills = "deferred_wills",
        /// Timers of connections.
        LinkTimers = "link_timers",
        /// Timers of sessions.
        SessionTimers = "session_timers",
        /// Deliveries of QoS 1 and 2 to connected clients that are not complete, or wait for those.
        UnderWay = "under_way",
        /// Bytes queued to connections.
        OutboundBytes = "outbound_bytes",
        /// Logs of shared bytes in use.
        SharedLogs = "shared_logs",
        /// Bytes staged for other shards.
        StagedBytes = "staged_bytes",
    }
}

impl Broker {
    /// How much of a thing is held (walks a table for some).
    pub fn held(&self, what: Held) -> usize {
        let core = &self.core;
        match what {
            Held::Links => core.links.len(),
            Held::Sessions => core.sessions.len(),
            Held::Subscriptions => self.census().subscriptions,
            Held::Filters => self.router.filter_count(),
            Held::ExactRoutes => self.router.exact_route_count(),
            Held::TrieNodes => self.router.node_count() - 1,
            Held::Groups => self.groups.len(),
            Held::GroupQueued => self.groups.queued(),
            Held::Messages => core.messages.len(),
            Held::MessageBytes => core.messages.bytes(),
            Held::Retained => self.retained.len(),
            Held::Claims => self.claims.len(),
            Held::Releases => self.releases.len(),
            Held::Settlements => self.settlements.len(),
            Held::Barriers => self.barriers.len(),
            Held::Subscribes => self.subscribes.len(),
            Held::Fetches => self.fetches.len(),
            Held::HungryFetches => self.hungry.len(),
            Held::LiveTopics => core.live_topics.len(),
            Held::FanOuts => self.fanouts.len(),
            Held::DeferredWills => self.wills.len(),
            Held::LinkTimers => self.link_timers.len(),
            Held::SessionTimers => self.session_timers.len(),
            Held::UnderWay => core.sessions.iter().map(|(_, session)| under_way(session)).sum(),
            Held::OutboundBytes => core.out.total(),
            Held::SharedLogs => core.out.logs.in_use(),
            Held::StagedBytes => self.peers.staged_bytes(),
        }
    }

    /// All that is held, for traces: names and amounts that are not zero.
    pub fn holdings(&self) -> Vec<(&'static str, usize)> {
        Held::ALL.iter().map(|&what| (what.name(), self.held(what))).filter(|&(_, n)| n != 0).collect()
    }
}

fn under_way(session: &Session) -> usize {
    if session.link().is_none() {
        return 0;
    }
    let window = session.window.as_ref();
    let sent = window.map_or(0, |window| window.inflight.len() + window.queue.len());
    sent.max(session.backlog.messages as usize)
}
