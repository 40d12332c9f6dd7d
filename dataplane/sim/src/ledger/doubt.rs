//! What is not certain any more after a disaster.

use pelton_base::Mono;
use pelton_mqtt::QoS;

use super::{Ledger, Message, SessionNo, Step, elapsed_ms};
use crate::disaster::Crash;

/// What is said to the broker, acknowledged or not, is stored after so long at the latest, if the disk is well.
const STORED_WITHIN_MS: u64 = 5_000;

impl Ledger {
    /// The disk fails from here on. Returns the number of the fault; there is one at a time.
    pub(crate) fn fault_begins(&mut self, now: Mono) -> usize {
        self.fault_ends(now);
        self.faults.push((now, Mono::NEVER));
        self.faults.len()
    }

    /// The disk is well from here on; whether it was not.
    pub(crate) fn fault_ends(&mut self, now: Mono) -> bool {
        match self.faults.last_mut() {
            Some((_, until)) if *until == Mono::NEVER => {
                *until = now;
                true
            }
            _ => false,
        }
    }

    /// While the machine stands still nothing is stored.
    const fn stored_within_ms(&self) -> u64 {
        STORED_WITHIN_MS + self.stood_still_ms
    }

    /// Whether the disk failed at some time of the interval, or was put right shortly before.
    pub fn is_faulty(&self, from: Mono, to: Mono) -> bool {
        self.faults
            .iter()
            .any(|&(begins, ends)| begins <= to && ends.plus_ms(self.stored_within_ms()) >= from)
    }

    /// All that the broker had learnt by then was stored, if it ends now.
    pub(crate) fn stored_until(&self, now: Mono) -> Mono {
        let within_ms = self.stored_within_ms();
        let before = |at: Mono| Mono(at.0.saturating_sub(within_ms * 1_000_000));
        let mut stored = before(now);
        for &(begins, ends) in self.faults.iter().rev() {
            if ends.plus_ms(within_ms) >= stored {
                stored = stored.min(before(begins));
            }
        }
        stored
    }

    /// The least and the most that the wall clock advanced, in milliseconds.
    pub fn elapsed_ms(&self, from: Mono, to: Mono) -> (u64, u64) {
        elapsed_ms(&self.jumps, from, to)
    }

    /// Ends of processes from a step on.
    pub fn crashes_since(&self, step: Step) -> usize {
        self.crashes.iter().filter(|crash| crash.step >= step).count()
    }

    /// Whether some member of a group may have had a message when the process ended that its session ended with: what
    /// such a member is given is stored nowhere, whoever else is in the group.
    pub(crate) fn may_end_with_member(&self, message: &Message, members: &[(SessionNo, usize)]) -> bool {
        let crashes = self.crashes.iter().filter(|crash| crash.step >= message.sent);
        let mut crashes = crashes.map(|crash| crash.step);
        crashes.any(|crash| {
            members.iter().any(|&(session, position)| {
                let session = &self.sessions[session];
                let subscription = &session.subscriptions[position];
                !session.persistent
                    && session.asked <= crash
                    && session.ended.is_none_or(|ended| ended >= crash)
                    && subscription.may_stand(message.sent, crash)
                    && subscription.matches(&message.topic)
            })
        })
    }

    /// The broker's process ended.
    pub(crate) fn crashed(&mut self, step: Step, now: Mono) {
        self.crashes.push(Crash { step, at: now });
        let stored = self.stored_until(now);
        for message in &mut self.messages {
            // No acknowledgement speaks of QoS 0: what it retained may be gone.
            if message.qos == QoS::AtMostOnce && message.accepted_at.is_some_and(|at| at >= stored) {
                (message.accepted, message.accepted_at) = (None, None);
            }
        }
    }

    /// What was acknowledged from a step on may never have been.
    pub(crate) fn undo(&mut self, from: Step) {
        let now = self.crashes.last().map_or(from, |crash| crash.step);
        self.undone_at.push(now);
        for message in
            self.messages.iter_mut().filter(|message| message.accepted.is_some_and(|at| at >= from))
        {
            (message.accepted, message.accepted_at) = (None, None);
        }
        for subscription in self.sessions.iter_mut().flat_map(|session| &mut session.subscriptions) {
            subscription.granted.take_if(|at| *at >= from);
            subscription.gone.take_if(|at| *at >= from);
        }
    }
}
