//! What happens because time passes: connections that fell silent or never said CONNECT, sessions and
//! retained messages that expire, delayed wills.

use pelton_base::{Key, Mono, Wall};
use pelton_mqtt::ReasonCode;
use pelton_storage_ops::OpKind;

use crate::broker::Broker;
use crate::counters::{Dropped, Ended, Traffic};
use crate::link::{Hold, State};

/// Timers looked at in one turn.
const TIMERS_A_TURN: usize = 256;
/// Retained messages expired in one turn.
const RETAINED_A_TURN: usize = 256;
/// How long a session's timer sleeps at most: wall time may jump, the wheel runs on monotonic time.
const SESSION_LOOK_MS: u64 = 3_600_000;

impl Broker {
    /// Fires what is due, within one turn's share. Returns whether there is more.
    pub fn poll_timers(&mut self) -> bool {
        let mut due = std::mem::take(&mut self.scratch.due);
        due.clear();
        let mut more = self.link_timers.expire(self.core.mono, TIMERS_A_TURN, &mut due);
        for index in due.drain(..) {
            self.link_timer(index);
        }
        more |= self.session_timers.expire(self.core.mono, TIMERS_A_TURN, &mut due);
        for index in due.drain(..) {
            self.session_timer(index);
        }
        self.scratch.due = due;
        let persist = &mut self.core.persist;
        let (expired, _) = self.retained.expire(self.core.wall, RETAINED_A_TURN, |topic| {
            if persist.is_on() && !crate::retained::is_own(topic) {
                let kind = OpKind::EndRetained { topic: topic.len() as u16 };
                persist.push(kind, &[topic]);
            }
        });
        self.core.tally.dropped.add_n(Dropped::Expired, expired as u64);
        self.poll_fetches();
        more || expired == RETAINED_A_TURN
    }

    /// When there is something to do if nothing comes in before.
    pub fn next_timeout(&self) -> Option<Mono> {
        let retained = self.retained.next_expiry().map(|at| self.core.mono.plus_ms(at.since(self.core.wall)));
        let probe = self.core.persist.fault.next_probe();
        [self.link_timers.next_deadline(), self.session_timers.next_deadline(), retained, probe]
            .into_iter()
            .flatten()
            .min()
    }

    fn link_timer(&mut self, index: u32) {
        let Some(key) = self.core.links.key_at(index) else { return };
        let Some(link) = self.core.links.get_mut(key) else { return };
        match link.state() {
            State::New => {
                self.end(key, Ended::ConnectTimeout, None);
            }
            State::Live => {
                // A connection held by us cannot be heard.
                if link.hold().is_some_and(|hold| hold != Hold::Access) {
                    link.set_heard(self.core.mono_ms);
                }
                // A packet may have come at the end of its millisecond.
                let silent_ms = link.silent_ms(index, self.core.mono_ms, &mut self.core.out);
                let Some(left_ms) =
                    (link.silence_ms_max + 1).checked_sub(silent_ms).filter(|&left| left != 0)
                else {
                    // [MQTT-3.1.2-22]
                    self.end(key, Ended::KeepAlive, Some(ReasonCode::KeepAliveTimeout));
                    return;
                };
                link.shrink();
                self.link_timers.set(index, self.core.mono.plus_ms(u64::from(left_ms)));
                if let Some(session) = self.session_of(key) {
                    session.shrink();
                }
            }
            State::Claiming | State::Ending => {}
        }
    }

    /// Arms the timer of an offline session for what comes first, its will or its end.
    pub(crate) fn arm_session(&mut self, session_key: Key) {
        let Some(session) = self.core.sessions.get(session_key) else { return };
        let will_due = self.core.sessions.will(session_key).map_or(Wall::NEVER, |will| will.due);
        let next = session.expires().min(will_due);
        if next == Wall::NEVER {
            self.session_timers.clear(session_key.index);
            return;
        }
        let ahead = next.since(self.core.wall).min(SESSION_LOOK_MS);
        self.session_timers.set(session_key.index, self.core.mono.plus_ms(ahead));
    }

    fn session_timer(&mut self, index: u32) {
        let Some(key) = self.core.sessions.key_at(index) else { return };
        let Some(session) = self.core.sessions.get(key) else { return };
        if !session.link().is_none() {
            return;
        }
        if session.expires() <= self.core.wall {
            // [MQTT-3.1.2-23] The session is deleted; its will is published if it has not been.
            self.core.tally.traffic.add(Traffic::SessionsExpired);
            self.end_session(key);
            return;
        }
        if self.core.sessions.will(key).is_some_and(|will| will.due <= self.core.wall) {
            self.publish_will(key);
            self.put_session(key);
        }
        self.arm_session(key);
    }
}
