//! What a client makes of the end of the broker's process: it finds out late, and what is not acknowledged is
//! open.

use pelton_base::Mono;
use pelton_mqtt::ReasonCode;

use super::{Client, Stand, WillFate};
use crate::ledger::{Step, Verdict};
use crate::stage::Stage;

/// The end of the broker's process, as a connection has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crashed {
    at: Mono,
    /// What was acknowledged on this connection may be undone.
    pub(super) forgets: bool,
}

impl Crashed {
    /// The fate of the will of a session that was cut off: its delay runs from the next start.
    pub(super) fn will_is_due(&self, stage: &Stage, delay_seconds: u32) -> WillFate {
        match delay_seconds {
            0 => WillFate::Published(Mono(0)),
            // Who can say when?
            _ if !stage.ledger.jumps.is_empty() => WillFate::Unknown,
            seconds => WillFate::Published(self.at.plus_ms(u64::from(seconds) * 1_000)),
        }
    }
}

impl Client {
    /// The client does nothing before this instant: it has nothing to do it with.
    pub(crate) fn cannot_act_before(&self, stage: &Stage) -> Option<Mono> {
        stage.plan.disasters?;
        (self.link.is_none() && stage.now < self.not_before).then_some(self.not_before)
    }

    /// The broker's process has ended. The client is not told.
    pub(crate) fn broker_died(&mut self, stage: &Stage) {
        if let Some(link) = &mut self.link {
            link.disturbed = true;
            link.crashed.get_or_insert(Crashed { at: stage.now, forgets: false });
            if link.stand == Stand::Leaving
                && let Some(will) = link.will
            {
                // Whether DISCONNECT was heard, and what came of it was stored, is not known.
                self.wills[will].fate = WillFate::Unknown;
            }
        }
        let stored = stage.ledger.stored_until(stage.now);
        for record in &mut self.wills {
            match record.fate {
                // Nothing is stored of a session that ends with its connection.
                WillFate::Published(_) if self.profile.expiry_seconds == 0 => record.fate = WillFate::Unknown,
                // DISCONNECT is not acknowledged.
                WillFate::Discarded if record.decided_at >= stored => record.fate = WillFate::Unknown,
                WillFate::Published(_) | WillFate::Discarded | WillFate::Open | WillFate::Unknown => {}
            }
        }
    }

    /// The broker has forgotten what was stored from a step on.
    pub(crate) fn broker_forgot(&mut self, stage: &mut Stage, from: Step) {
        self.unsure = true;
        // The broker may use their identifiers again, and knows nothing of their PUBREL.
        self.inbound.clear();
        if let Some(crash) = self.link.as_mut().and_then(|link| link.crashed.as_mut()) {
            crash.forgets = true;
        }
        self.wills.iter_mut().for_each(|record| record.fate = WillFate::Unknown);
        // A session that was made since is not there, or the one before it is there instead.
        let is_new = |session: usize| stage.ledger.sessions[session].asked >= from;
        self.doubtful |= self.session.is_some_and(is_new);
    }

    /// Whether the disk fails, or did a moment ago.
    pub(super) fn refusal_is_excused(&self, stage: &Stage) -> bool {
        self.link.as_ref().is_some_and(|link| stage.ledger.is_faulty(link.opened_at, stage.now))
    }

    /// CONNECT was refused, because the session could not be stored: it is not there any more, or was never.
    pub(super) fn connect_refused(&mut self, stage: &mut Stage, reason: ReasonCode) -> Verdict {
        let expected = if self.profile.version.is_v5() {
            ReasonCode::QuotaExceeded
        } else {
            ReasonCode::ServerUnavailable
        };
        if reason != expected {
            return Err(format!("CONNECT was refused while the disk fails: {reason:?}"));
        }
        self.end_session(stage);
        self.doubtful = true;
        if let Some(link) = &mut self.link {
            link.disturbed = true;
        }
        Ok(())
    }
}
