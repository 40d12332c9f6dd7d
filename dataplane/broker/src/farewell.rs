//! The end of the process as it was asked for: wills first, on all shards, then connections.
//!
//! Were each shard to end its connections at once, a client here would be gone before the will of a client
//! elsewhere has come. So every shard publishes what wills it has to publish, and says farewell to the others
//! behind them; when all have said so, all wills are here. A will for a shared group goes on from the group's home
//! to its member: the home says a second farewell behind that.

use crate::broker::Broker;
use crate::link::State;
use crate::peers::Item;

/// How often a shard says farewell: a message goes over one shard at most on its way to another.
const TIMES: u8 = 2;

/// Who has said farewell, and how often.
#[derive(Debug)]
pub(crate) struct Farewells {
    /// By shard.
    heard: Box<[u8]>,
    said: u8,
}

impl Farewells {
    pub(crate) fn new(shards: u16) -> Self {
        Self { heard: vec![0; usize::from(shards)].into_boxed_slice(), said: 0 }
    }

    /// A shard has published what it had to, and passed on what came before.
    pub(crate) fn hear(&mut self, from: u16) {
        self.heard[usize::from(from)] += 1;
    }
}

impl Broker {
    /// Publishes the wills of all that are connected, as when their connections end [MQTT-3.1.2-8]; one that is to be
    /// delayed waits for that with its session [MQTT-3.1.3-9]. Nothing is to be heard of clients after this.
    pub fn publish_wills(&mut self) {
        for key in self.core.links.keys() {
            let Some(link) = self.core.links.get(key).filter(|link| link.state() == State::Live) else {
                continue;
            };
            let session_key = link.session;
            let Some(session) = self.core.sessions.get(session_key) else { continue };
            let (ends, stored) = (session.expiry_seconds == 0, session.is_stored());
            let Some(will) = self.core.sessions.will(session_key) else { continue };
            if will.delay_seconds != 0 && !ends {
                continue;
            }
            self.publish_will(session_key);
            if stored {
                // In the same batch: it has none any more.
                self.put_session(session_key);
            }
        }
    }

    /// Says farewell to the other shards when it is time to; whether all have said so to this one, and all that they
    /// published is with the connections here.
    pub fn has_taken_leave(&mut self) -> bool {
        while self.wills.is_empty() && self.fanouts.is_empty() {
            let Farewells { heard, said } = &mut self.farewells;
            let others = heard.iter().enumerate().filter(|&(shard, _)| shard != usize::from(self.me));
            if others.map(|(_, &times)| times).min().is_some_and(|times| times < *said) {
                return false;
            }
            if *said == TIMES {
                return true;
            }
            *said += 1;
            for shard in self.peers.others() {
                self.peers.send(shard, Item::Farewell, &[]);
            }
        }
        false
    }
}
