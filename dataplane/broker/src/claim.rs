//! Client ids: the home of a client id is where it is decided which connection has it.
//!
//! A connection of any shard claims its id from the home. If another connection has it, that one is ended
//! first (0x8E), and has to be gone for good: everything it published has been worked through by every shard
//! before the new connection gets its CONNACK. So a client's messages stay in order across a reconnect,
//! whichever shards its connections came to.

use hashbrown::HashTable;
use pelton_base::Key;
use pelton_mqtt::ReasonCode;

use crate::broker::Broker;
use crate::counters::Ended;
use crate::link::{NO_SHARD, State};
use crate::peers::{Fence, Item, Reply};

/// A connection that claims a client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimant {
    /// A connection of the home itself.
    Here(Key),
    /// A clean connection of another shard.
    There {
        /// The shard.
        shard: u16,
        /// The connection.
        link: Key,
    },
}

/// A client id held by a connection of another shard, or one that is on its way out. Ids held by a live
/// connection of the home need no record: the session says so.
#[derive(Debug)]
struct Claim {
    client_id: Box<str>,
    hash: u64,
    holder: Claimant,
    /// The holder was told to go.
    kicked: bool,
    waiting: Option<Claimant>,
}

/// The client ids at home here that are held elsewhere.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    claims: HashTable<Claim>,
}

impl Claims {
    fn find(&mut self, hash: u64, client_id: &str) -> Option<&mut Claim> {
        self.claims.find_mut(hash, |claim| claim.hash == hash && *claim.client_id == *client_id)
    }

    fn insert(&mut self, claim: Claim) {
        self.claims.insert_unique(claim.hash, claim, |claim| claim.hash);
    }

    fn remove(&mut self, hash: u64, client_id: &str) -> Option<Claim> {
        let found =
            self.claims.find_entry(hash, |claim| claim.hash == hash && *claim.client_id == *client_id);
        found.ok().map(|entry| entry.remove().0)
    }

    /// How many connections wait for an id.
    pub(crate) fn waiting(&self) -> usize {
        self.claims.iter().filter(|claim| claim.waiting.is_some()).count()
    }

    /// How many ids are held elsewhere or being given back.
    pub(crate) fn len(&self) -> usize {
        self.claims.len()
    }
}

/// A client id to be given back when all shards have come past a fence.
#[derive(Debug)]
pub(crate) struct Release {
    home: u16,
    link: Key,
    client_id: Box<str>,
    fence: Fence,
}

impl Broker {
    /// A connection claims a client id that is at home here.
    pub(crate) fn claim_here(&mut self, client_id: &str, claimant: Claimant) {
        let hash = self.core.sessions.hash(client_id);
        let holder = self.core.sessions.find(client_id).and_then(|key| {
            let connecting = self.core.persist.connecting.get(&key.index).copied();
            connecting.or_else(|| self.core.sessions.get(key).map(|session| session.link()))
        });
        if let Some(holder) = holder.filter(|link| !link.is_none()) {
            self.take_over(holder);
        }
        let Some(claim) = self.claims.find(hash, client_id) else {
            return self.grant(client_id, claimant);
        };
        // What the old connection published may still be on its way to shards that the new one's shard
        // reaches sooner; on one and the same shard the rings keep the order.
        let same_shard = matches!((claim.holder, claimant), (Claimant::Here(_), Claimant::Here(_)));
        let overtaken = if same_shard { claim.waiting.take() } else { claim.waiting.replace(claimant) };
        let kick = !std::mem::replace(&mut claim.kicked, true);
        let holder = claim.holder;
        if let Some(overtaken) = overtaken {
            self.deny(overtaken);
        }
        if same_shard {
            self.grant(client_id, claimant);
        } else if kick && let Claimant::There { shard, link } = holder {
            self.peers.send(shard, Item::Kick { link }, &[]);
        }
    }

    fn grant(&mut self, client_id: &str, claimant: Claimant) {
        match claimant {
            Claimant::Here(link) => {
                let waits = self
                    .core
                    .links
                    .get(link)
                    .is_some_and(|link| link.state() == State::Claiming && link.session.is_none());
                if waits {
                    self.establish(link);
                }
            }
            Claimant::There { shard, link } => {
                // It begins with a clean session, and ends with one: what was here is over [MQTT-3.1.2-4].
                if let Some(session) = self.core.sessions.find(client_id) {
                    self.end_session(session);
                }
                let hash = self.core.sessions.hash(client_id);
                self.claims.insert(Claim {
                    client_id: client_id.into(),
                    hash,
                    holder: claimant,
                    kicked: false,
                    waiting: None,
                });
                if self.core.persist.endings.holds(hash, false) {
                    return self.core.persist.endings.wait(hash, claimant);
                }
                self.peers.reply(shard, Reply::Granted { link }, &[]);
            }
        }
    }

    fn deny(&mut self, claimant: Claimant) {
        match claimant {
            Claimant::Here(link) => self.claim_denied(link),
            Claimant::There { shard, link } => self.peers.reply(shard, Reply::Denied { link }, &[]),
        }
    }

    /// A newer connection with the same client id came while this one waited for it.
    pub(crate) fn claim_denied(&mut self, key: Key) {
        if let Some(link) = self.core.links.get_mut(key) {
            // Nothing is held that would have to be given back.
            link.claimed_from = NO_SHARD;
            self.end(key, Ended::TakenOver, None);
        }
    }

    /// The home granted the client id to a connection of this shard.
    pub(crate) fn claim_granted(&mut self, key: Key) {
        match self.core.links.get(key) {
            Some(link) if link.state() == State::Claiming => self.establish(key),
            // The connection has gone while it waited; its release is on its way.
            _ => {}
        }
    }

    /// Ends a connection whose client id goes to another [MQTT-3.1.4-3].
    pub(crate) fn take_over(&mut self, link: Key) {
        self.end(link, Ended::TakenOver, Some(ReasonCode::SessionTakenOver));
    }

    /// A connection has ended: its client id is given back when everything it published is through.
    pub(crate) fn give_back(&mut self, key: Key, client_id: &str) {
        let Some(link) = self.core.links.get_mut(key) else { return };
        let published_far = std::mem::take(&mut link.published_far);
        match std::mem::replace(&mut link.claimed_from, NO_SHARD) {
            home if home != NO_SHARD => {
                let fence = self.peers.fence();
                self.releases.push_back(Release { home, link: key, client_id: client_id.into(), fence });
            }
            _ if published_far && self.peers.shards() > 1 => {
                let fence = self.peers.fence();
                let hash = self.core.sessions.hash(client_id);
                let holder = Claimant::Here(key);
                match self.claims.find(hash, client_id) {
                    // An earlier connection of this shard is behind a fence still; this one's comes later.
                    Some(claim) => claim.holder = holder,
                    None => {
                        let client_id = client_id.into();
                        self.claims.insert(Claim { client_id, hash, holder, kicked: true, waiting: None });
                    }
                }
                self.releases.push_back(Release {
                    home: self.me,
                    link: key,
                    client_id: client_id.into(),
                    fence,
                });
            }
            _ => {}
        }
    }

    /// Gives back the client ids whose fences have been passed, in order.
    pub(crate) fn poll_releases(&mut self) {
        while let Some(release) = self.releases.pop_front_if(|release| self.peers.is_past(&release.fence)) {
            let Release { home, link, client_id, .. } = release;
            if home == self.me {
                self.released(&client_id, Claimant::Here(link));
            } else {
                let item = Item::Release { link, client_id: client_id.len() as u16 };
                self.peers.send(home, item, &[client_id.as_bytes()]);
            }
        }
    }

    /// A client id at home here was given back.
    pub(crate) fn released(&mut self, client_id: &str, by: Claimant) {
        let hash = self.core.sessions.hash(client_id);
        match self.claims.find(hash, client_id) {
            // Claimed and given up before it was granted.
            Some(claim) if claim.waiting == Some(by) => claim.waiting = None,
            Some(claim) if claim.holder == by => {
                if let Some(claim) = self.claims.remove(hash, client_id)
                    && let Some(next) = claim.waiting
                {
                    self.grant(client_id, next);
                }
            }
            _ => {}
        }
    }
}
