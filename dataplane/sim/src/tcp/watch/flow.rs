//! One direction of a connection as its sender sees it, and both together: what was sent and acknowledged, what windows
//! said, how long it was silent.

use pelton_base::Mono;
use pelton_tcp::Seq;

use super::super::duties::{Duties, Promise};
use super::super::repairs::Repairs;
use crate::network::Way;

/// Silence that nobody needs to explain, in milliseconds: a time-out of three seconds (RFC 6298 5.7), or one of 300 ms
/// doubled four times, and some.
const SILENCE_MS: u64 = 5_000;
/// The first time-out of several, unless round trips are longer (RFC 6298 2.1).
const FIRST_MS: u64 = 1_000;
/// How late a turn of a shard may be.
pub(super) const LATE_MS: u64 = 120;
/// How long a segment may be on its way from the stack that received it to that which has the connection, and is away for
/// 10 ms at most.
pub(super) const HEARD_MS: u64 = 12;
/// A closed window is probed after a time-out, one second at first.
const PROBE_MS: u64 = 2_000;

/// What holds for who sends one way, at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) now: Mono,
    /// When it had no frame or no room last.
    pub(super) hindered: Mono,
    pub(super) promise: Promise,
}

/// What was sent again and again, while nobody said anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alone {
    /// Where it begins.
    start: Seq,
    /// When it was sent last.
    at: Mono,
    /// How often again.
    times: u32,
    /// How long that took the last time.
    waited_ms: u64,
}

/// One direction, from its sender's view.
#[derive(Debug, Default)]
pub(super) struct Flow {
    pub(super) begun: bool,
    /// It has ended, or may have.
    pub(super) over: bool,
    /// A reset was sent that ends it.
    pub(super) reset: bool,
    pub(super) first: Seq,
    /// What the sender was told that arrived.
    pub(super) una: Seq,
    /// The end of what was sent.
    pub(super) end: Seq,
    pub(super) fin: Option<Seq>,
    /// The peer's right edge, as the sender was told.
    pub(super) edge: Seq,
    pub(super) window_closed: bool,
    /// Since when.
    pub(super) closed_at: Mono,
    /// The window as the peer's last segment said, and the latest of its time stamps.
    pub(super) window: u16,
    pub(super) stamp: Option<u32>,
    /// The sender's own latest time stamp, and when it was sent.
    pub(super) clock: Option<(u32, Mono)>,
    /// What the peer said to have out of order, and when the sender was told.
    pub(super) sacked: Vec<(Seq, Seq, Mono)>,
    /// The sender's own acknowledgement, and the right edge of its window.
    pub(super) said: Option<(Seq, Seq)>,
    /// Its shift, as it offered it.
    pub(super) scale: Option<u8>,
    /// The answers to a SYN, each with its number and its shift: several stacks may answer, each in its own way.
    pub(super) answers: Vec<(Seq, Option<u8>, bool)>,
    /// It offered SACK.
    pub(super) sack: bool,
    pub(super) syn_window: u32,
    /// Bytes that it was given to send.
    pub(super) queued: u32,
    /// The last time that it sent the first of what is not acknowledged, or was told that something was.
    pub(super) at: Mono,
    pub(super) longest_ms: u64,
    /// The last time that it was told anything.
    pub(super) told_at: Mono,
    pub(super) alone: Alone,
    /// When the first of what is not acknowledged was sent for the first time.
    pub(super) first_at: Mono,
    /// The same, of what was acknowledged last.
    pub(super) last_first_at: Mono,
    /// The longest time that anything took to be acknowledged: what a time-out comes from.
    pub(super) round_trip_ms: u64,
    /// A round trip was measured.
    pub(super) measured: bool,
    pub(super) resent: u64,
    /// Acknowledgements of what had been acknowledged.
    pub(super) duplicates: u32,
    pub(super) needless: u32,
    pub(super) duties: Duties,
    pub(super) repairs: Repairs,
}

impl Flow {
    /// Whether something waits.
    pub(super) fn waits(&self) -> bool {
        self.begun && !self.over && (self.una.lt(self.end) || self.end.lt(self.first + self.queued))
    }

    /// Bytes that the peer said to have out of order.
    pub(super) fn sacked_bytes(&self) -> u32 {
        let mut blocks: Vec<(u32, u32)> =
            self.sacked.iter().map(|block| (block.0.since(self.una), block.1.since(self.una))).collect();
        blocks.sort_unstable();
        let (mut bytes, mut reached) = (0, 0);
        for (left, right) in blocks {
            bytes += right.saturating_sub(left.max(reached));
            reached = reached.max(right);
        }
        bytes
    }

    /// A time stamp comes back with what acknowledges something: the sender takes the time that it was away for a round
    /// trip (RFC 7323 4.1), which it is not where the peer has long sent the stamp of something older.
    pub(super) fn echoed(&mut self, echo: u32, now: Mono) {
        let Some((stamp, at)) = self.clock else { return };
        let away_ms = now.as_ms().saturating_sub(at.as_ms()) + u64::from(stamp.wrapping_sub(echo));
        if Seq(echo).le(Seq(stamp)) && !self.window_closed {
            self.round_trip_ms = self.round_trip_ms.max(away_ms);
        }
    }

    /// The peer sends again what came with its last acknowledgement, so that this may not have been heard before.
    pub(super) fn told_again(&mut self, now: Mono) {
        let away_ms = now.as_ms().saturating_sub(self.last_first_at.as_ms());
        if !self.window_closed {
            self.round_trip_ms = self.round_trip_ms.max(away_ms);
        }
    }

    /// Something was acknowledged.
    pub(super) fn acknowledged(&mut self, ack: Seq, now: Mono) {
        // What probed a closed window waited for that, and was sent again (RFC 6298 3).
        if !self.window_closed {
            self.round_trip_ms = self.round_trip_ms.max(now.as_ms().saturating_sub(self.first_at.as_ms()));
        }
        self.measured = true;
        self.last_first_at = self.first_at;
        (self.una, self.at, self.first_at) = (ack, now, now);
        self.repairs.acknowledged(ack);
        if self.una == self.end {
            self.duplicates = 0;
        }
    }

    /// Whether the peer's window was probed in time, so far, while it was closed or too little for all there is to send.
    pub(super) fn check_probes(&self, terms: Terms) -> Result<(), &'static str> {
        let Terms { now, hindered, .. } = terms;
        if !self.waits() || !(self.window_closed || self.una == self.end) {
            return Ok(());
        }
        let since = self.at.max(self.closed_at).max(hindered);
        let silent_ms = now.as_ms().saturating_sub(since.as_ms());
        // A probe that could not be sent counts: the next comes after twice as long.
        let tried_ms = hindered.as_ms().saturating_sub(self.at.as_ms());
        let longest_ms = self.longest_ms.max(tried_ms);
        if silent_ms > PROBE_MS.max(3 * longest_ms).max(6 * self.round_trip_ms) {
            return Err("does not probe a closed window");
        }
        Ok(())
    }

    /// The first of what is not acknowledged is sent, from `start` on: whether that took twice as long as the last time, if
    /// nothing but time-outs can be why. `others`: how often something else may be, at most.
    pub(super) fn check_doubling(
        &mut self,
        start: Seq,
        others: u32,
        terms: Terms,
    ) -> Result<(), &'static str> {
        let Terms { now, hindered, promise } = terms;
        let alone = self.alone;
        if alone.start != start || alone.at <= self.told_at || alone.at <= hindered {
            self.alone = Alone { start, at: now, times: 0, waited_ms: 0 };
            return Ok(());
        }
        if alone.at == now {
            return Ok(());
        }
        let waited_ms = now.as_ms().saturating_sub(alone.at.as_ms());
        self.alone = Alone { start, at: now, times: alone.times + 1, waited_ms };
        let late_ms = if promise.direct { 0 } else { LATE_MS };
        let least_ms = (alone.waited_ms * 7 / 4).min(promise.rto_max_ms * 7 / 8);
        if alone.times > others && waited_ms + 2 * late_ms < least_ms {
            return Err("does not wait twice as long after each time-out");
        }
        Ok(())
    }

    /// Whether the silence before this was no longer than it may be.
    pub(super) fn check_silence(&mut self, terms: Terms) -> Result<(), &'static str> {
        let Terms { now, hindered, .. } = terms;
        if !self.waits() {
            return Ok(());
        }
        // While it could not send its time-outs went on to double.
        let tried_ms = hindered.as_ms().saturating_sub(self.at.as_ms());
        self.longest_ms = self.longest_ms.max(tried_ms);
        let silent_ms = now.as_ms().saturating_sub(self.at.max(hindered).as_ms());
        // A repair in between does not begin a time-out anew: the next is as long as all before it together, and one more.
        let first_ms = FIRST_MS.max(2 * self.round_trip_ms);
        let doubled_ms = self.at.as_ms().saturating_sub(self.first_at.as_ms()) + first_ms;
        // RFC 6298 2.3: of one measurement comes three times as much, of two that differ up to five times.
        let most_ms = SILENCE_MS.max(3 * self.longest_ms).max(6 * self.round_trip_ms).max(doubled_ms);
        if silent_ms > most_ms {
            return Err("was silent for too long while something waited");
        }
        self.longest_ms = self.longest_ms.max(now.as_ms().saturating_sub(self.at.as_ms()));
        Ok(())
    }
}

/// Both directions.
#[derive(Debug, Default)]
pub(super) struct Watched {
    pub(super) up: Flow,
    pub(super) down: Flow,
    pub(super) foreign: bool,
    /// Its shard's process has ended: what it said is nothing to the next.
    pub(super) orphaned: bool,
}

/// A connection from one side's view.
pub(super) struct View<'a> {
    /// What this side sends.
    pub(super) me: &'a mut Flow,
    pub(super) peer: &'a mut Flow,
    /// This side is the other implementation.
    pub(super) foreign: bool,
}

impl Watched {
    /// Both directions, that of who sends `way` first.
    pub(super) const fn flows(&mut self, way: Way) -> (&mut Flow, &mut Flow) {
        match way {
            Way::Up => (&mut self.up, &mut self.down),
            Way::Down => (&mut self.down, &mut self.up),
        }
    }

    /// What there is to be said of who sends `way`, if anything is.
    pub(super) fn view(&mut self, way: Way) -> Option<View<'_>> {
        let foreign = self.foreign && way == Way::Up;
        let is_judged = !self.orphaned;
        let (me, peer) = self.flows(way);
        is_judged.then_some(View { me, peer, foreign })
    }
}
