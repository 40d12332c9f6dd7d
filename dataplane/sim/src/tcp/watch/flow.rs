//! One direction of a connection as its sender sees it, and both together: what was sent and acknowledged, what windows
//! said, how long it was silent.

use pelton_base::Mono;
use pelton_tcp::Seq;

use super::super::duties::{Duties, Promise};
use super::super::repairs::Repairs;
use crate::network::Way;

/// Silence that nobody needs to explain, in milliseconds: a time-out of three seconds (RFC 6298 5.7), or one of 300 ms
/// doubled four times, and some.
pub(super) const SILENCE_MS: u64 = 5_000;
/// A closed window is probed after a time-out, one second at first.
const PROBE_MS: u64 = 2_000;

/// What holds for who sends one way, at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) now: Mono,
    /// When it had no frame or no room last.
    pub(super) hindered: Mono,
    /// How long it may be silent.
    pub(super) silence_ms: u64,
    /// How long what arrives may take to the stack that has the connection.
    pub(super) heard_ms: u64,
    pub(super) promise: Promise,
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
    /// What the peer said to have out of order, and when the sender is sure to have heard of it.
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
    /// When the first of what is not acknowledged was sent for the first time.
    pub(super) first_at: Mono,
    /// The longest time that anything took to be acknowledged: what a time-out comes from.
    pub(super) round_trip_ms: u64,
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

    /// Something was acknowledged.
    pub(super) fn acknowledged(&mut self, ack: Seq, now: Mono) {
        self.round_trip_ms = self.round_trip_ms.max(now.as_ms().saturating_sub(self.first_at.as_ms()));
        (self.una, self.at, self.first_at) = (ack, now, now);
        self.repairs.acknowledged(ack);
        if self.una == self.end {
            self.duplicates = 0;
        }
    }

    /// The peer's window, which was closed, is open: whether it was probed meanwhile.
    pub(super) fn check_probes(&self, terms: Terms) -> Result<(), &'static str> {
        let Terms { now, hindered, silence_ms, .. } = terms;
        let since = self.at.max(self.closed_at).max(hindered);
        let silent_ms = now.as_ms().saturating_sub(since.as_ms());
        let probe_ms = PROBE_MS + silence_ms.saturating_sub(SILENCE_MS);
        // A probe that could not be sent counts: the next comes after twice as long.
        let tried_ms = hindered.as_ms().saturating_sub(self.at.as_ms());
        let longest_ms = self.longest_ms.max(tried_ms);
        if self.waits() && silent_ms > probe_ms.max(3 * longest_ms).max(6 * self.round_trip_ms) {
            return Err("does not probe a closed window");
        }
        Ok(())
    }

    /// Whether the silence before this was no longer than it may be.
    pub(super) fn check_silence(&mut self, terms: Terms) -> Result<(), &'static str> {
        let Terms { now, hindered, silence_ms, .. } = terms;
        if !self.waits() {
            return Ok(());
        }
        // While it could not send its time-outs went on to double.
        let tried_ms = hindered.as_ms().saturating_sub(self.at.as_ms());
        self.longest_ms = self.longest_ms.max(tried_ms);
        let silent_ms = now.as_ms().saturating_sub(self.at.max(hindered).as_ms());
        // A repair in between does not begin a time-out anew: the next is as long as all before it together, and one more.
        let doubled_ms = self.at.as_ms().saturating_sub(self.first_at.as_ms()) + 2 * self.round_trip_ms;
        // RFC 6298 2.3: of one measurement comes three times as much, of two that differ up to five times.
        let most_ms = silence_ms.max(3 * self.longest_ms).max(6 * self.round_trip_ms).max(doubled_ms);
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
