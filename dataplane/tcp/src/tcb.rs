//! The state of a connection. What every segment touches is in 128 bytes, two cache lines ([`Hot`]); what only loss,
//! reordering and bulk need is in [`Cold`], which a connection has while it needs it.

use pelton_base::Key;

use crate::input::QUICK_ACKS;
use crate::seq::Seq;

/// The state of a connection, RFC 9293 3.3.2. LISTEN has no block; SYN-RECEIVED of a passive open and TIME-WAIT have
/// records of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No connection.
    #[default]
    Closed,
    /// An active open waits for the peer's SYN.
    SynSent,
    /// Both have sent a SYN at once; ours is not acknowledged.
    SynReceived,
    /// Open.
    Established,
    /// The peer has closed its direction.
    CloseWait,
    /// This side has closed; the FIN is not acknowledged.
    FinWait1,
    /// This side has closed; the peer may still send.
    FinWait2,
    /// Both have closed at once; our FIN is not acknowledged.
    Closing,
    /// Both have closed, the peer first; our FIN is not acknowledged.
    LastAck,
}

impl State {
    /// Whether the peer may still send data.
    #[inline]
    pub(crate) const fn receives(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// Whether this side may still send data (or has data under way that its FIN follows).
    #[inline]
    pub(crate) const fn sends(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait | Self::FinWait1 | Self::Closing | Self::LastAck)
    }
}

/// Yes-or-no facts on a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(u64);

macro_rules! facts {
    ($($(#[doc = $doc:literal])+ $name:ident = $bit:literal,)+) => {
        impl Facts {
            $($(#[doc = $doc])+ pub(crate) const $name: Self = Self(1 << $bit);)+
        }

        const _: () = assert!((0 $(| 1_u64 << $bit)+).count_ones() == 0 $(+ { let _ = $bit; 1 })+, "a bit for each fact");
    };
}

facts! {
    /// The peer is an IPv6 host.
    V6 = 0,
    /// Timestamps were agreed on.
    TIMESTAMPS = 1,
    /// SACK was agreed on.
    SACK = 2,
    /// An ACK must leave at the end of the turn.
    ACK_NOW = 3,
    /// It stands in the list of those that are looked at at the end of the turn.
    LISTED = 4,
    /// It stands in the queue of delayed ACKs, or among those that may come to it at the end of the turn.
    ACK_DELAYED = 5,
    /// A data segment came that was not acknowledged.
    ACK_OWED = 6,
    /// The shard is to be told to transmit.
    SERVICE = 7,
    /// The shard named the connection.
    BOUND = 8,
    /// The shard has queued more than could be sent.
    BLOCKED = 9,
    /// The shard has closed it: the FIN follows what is queued.
    APP_CLOSED = 10,
    /// The FIN has been sent (and is the last of what is under way).
    FIN_SENT = 11,
    /// Nobody owns it any more: the shard was told that it is gone.
    ORPHAN = 12,
    /// Something under way was sent more than once: its acknowledgement measures nothing (Karn).
    RETRANSMITTED = 13,
    /// The first segment under way is to be sent again.
    RESEND_HEAD = 14,
    /// Recovery from a loss that acknowledgements showed.
    RECOVERY = 15,
    /// Recovery from a retransmission time-out.
    LOSS = 16,
    /// The timer of the wheel is armed.
    WHEEL = 17,
    /// `linger_at` counts.
    LINGER = 18,
    /// The shard does not want data now.
    PAUSED = 19,
    /// What is sent next is a tail loss probe.
    TAIL_PROBE = 20,
    /// What is sent next is a probe of the closed window.
    WINDOW_PROBE = 21,
    /// The peer has closed its direction, and the shard is told when what is under way has arrived.
    PEER_CLOSED = 22,
    /// The close was [`Ending::Graceful`](pelton_base::Ending::Graceful): what still comes is thrown away.
    GRACEFUL = 23,
    /// A tail loss probe has been sent since the last acknowledgement.
    PROBED = 24,
    /// The owner closes this side itself, whatever the peer does: the connection may be half open.
    HALF_OPEN = 25,
    /// Two data segments or more came that were not acknowledged.
    PAIR_OWED = 30,
    /// The FIN could not leave; it is tried again.
    FIN_STARVED = 26,
    /// The shard is to take what was acknowledged off its queue when there is time.
    CONSUME = 27,
    /// It waits for a frame or a place in the port's queue.
    WAITING = 28,
    /// The shard was told of the connection.
    ANNOUNCED = 29,
    /// Its owner asks to be told if a silent peer is gone.
    WATCHED = 32,
    /// Explicit congestion notification was agreed on.
    ECN = 33,
    /// A packet came that a router has marked, and the peer has not said yet that it slowed down.
    ECN_ECHO = 34,
    /// The peer is to be told that this side has slowed down.
    CWR_OWED = 35,
    /// It came from another stack, and stays.
    HANDED = 36,
    /// All up to the end of a tail loss probe is acknowledged, and what comes next shows whether it was needed.
    PROBE_ACKED = 37,
    /// The peer sends in bulk: its window may have grown.
    BULK = 38,
}

impl Facts {
    #[inline]
    pub(crate) const fn has(self, fact: Self) -> bool {
        self.0 & fact.0 != 0
    }

    #[inline]
    pub(crate) const fn set(&mut self, fact: Self) {
        self.0 |= fact.0;
    }

    #[inline]
    pub(crate) const fn clear(&mut self, fact: Self) {
        self.0 &= !fact.0;
    }

    #[inline]
    pub(crate) const fn put(&mut self, fact: Self, value: bool) {
        if value {
            self.set(fact);
        } else {
            self.clear(fact);
        }
    }

    /// Clears a fact; whether it was set.
    #[inline]
    pub(crate) const fn take(&mut self, fact: Self) -> bool {
        let was = self.has(fact);
        self.clear(fact);
        was
    }

    /// Those of `facts` that are set.
    pub(crate) const fn only(self, facts: Self) -> Self {
        Self(self.0 & facts.0)
    }

    #[inline]
    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the timer of a connection is for. Only one of these is wanted at a time (RFC 6298, RFC 8985 7.2,
/// RFC 9293 3.8.6.1 MUST-36).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Timer {
    #[default]
    None,
    /// Retransmission.
    Retransmit,
    /// Tail loss probe.
    TailProbe,
    /// A segment is lost if nothing is heard of it until then.
    Reorder,
    /// Probe of a closed window.
    Persist,
}

/// Whoever has full segments to send does not pause longer than this of its own will.
const BULK_PAUSE_MS: u32 = 2;

/// No cold state.
pub(crate) const NO_COLD: u32 = u32::MAX;

/// What segments touch. Times are the stack's clock cut to 32 bits, in milliseconds or microseconds.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(crate) struct Hot {
    // The first line: what comes in.
    /// IPv4 address, or the place of the IPv6 address in its table.
    pub(crate) remote: u32,
    pub(crate) remote_port: u16,
    /// Which of our addresses and ports.
    pub(crate) local: u16,
    pub(crate) facts: Facts,
    /// Odd while in use.
    pub(crate) generation: u32,
    pub(crate) state: State,
    /// Window scales: the peer's in the low half, ours in the high half.
    pub(crate) scales: u8,
    pub(crate) dup_acks: u8,
    pub(crate) backoff: u8,
    pub(crate) rcv_nxt: Seq,
    /// The right edge of the window that was advertised; never goes back.
    pub(crate) rcv_edge: Seq,
    pub(crate) snd_una: Seq,
    /// The next sequence number to be sent for the first time.
    pub(crate) snd_max: Seq,
    /// The peer's window, as its segments say it: [`Hot::snd_wnd`] is that in bytes.
    pub(crate) window: u16,
    /// The biggest that it has offered.
    pub(crate) window_max: u16,
    /// Sequence number of the segment that last set `window`.
    pub(crate) snd_wl1: Seq,
    pub(crate) ts_recent: u32,
    pub(crate) last_rx_ms: u32,
    /// The shard's name for it.
    pub(crate) token: u64,
    // The second line: what goes out.
    /// The biggest segment to the peer, timestamps counted as part of it.
    pub(crate) mss: u16,
    pub(crate) link: u16,
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
    /// Smoothed round trip time; zero while not measured.
    pub(crate) srtt_us: u32,
    pub(crate) rttvar_us: u32,
    /// Bytes handed to the shard and not used by it.
    pub(crate) held: u32,
    /// What our clock is offset by in time stamps.
    pub(crate) ts_offset: u32,
    pub(crate) cold: u32,
    /// Sequence number of the first byte in the shard's queue.
    pub(crate) queue_seq: Seq,
    pub(crate) timer_at_ms: u32,
    /// Recovery ends when this is acknowledged.
    pub(crate) recover: Seq,
    /// When something was last sent that is under way.
    pub(crate) sent_us: u32,
    /// Since when nothing has been acknowledged that should be.
    pub(crate) stalled_ms: u32,
    pub(crate) linger_at_ms: u32,
    /// When it comes up in the list of those to be looked at soon, where it stands in it.
    pub(crate) fires_at_ms: u32,
    pub(crate) timer: Timer,
    /// Keep-alive probes since something came.
    pub(crate) probes: u8,
    /// Segments taken at once since the start, up to a few: those are acknowledged at once.
    pub(crate) quick_acks: u8,
    /// In which half second it was last challenged, mixed into a byte; zero if never.
    pub(crate) challenged: u8,
}

const _: () = assert!(size_of::<Hot>() == 128, "a connection's hot state is two cache lines");

impl Hot {
    /// Whether it is the block of a key that is not stale.
    #[inline]
    pub(crate) const fn is(&self, key: Key) -> bool {
        self.generation == key.generation && key.generation & 1 == 1
    }

    /// Whether data goes to the shard: it knows the connection, and did not close it before the peer did.
    #[inline]
    pub(crate) const fn is_heard(&self) -> bool {
        let deaf =
            self.facts.has(Facts::APP_CLOSED) && !self.facts.has(Facts::PEER_CLOSED.or(Facts::HALF_OPEN));
        self.facts.has(Facts::BOUND) && !deaf
    }

    /// Bytes of sequence space under way.
    #[inline]
    pub(crate) const fn flight(&self) -> u32 {
        self.snd_max.since(self.snd_una)
    }

    /// Bytes that the peer takes, from the first that it has not acknowledged.
    #[inline]
    pub(crate) const fn snd_wnd(&self) -> u32 {
        (self.window as u32) << self.send_scale()
    }

    /// The biggest that this has been.
    #[inline]
    pub(crate) const fn snd_wnd_max(&self) -> u32 {
        (self.window_max as u32) << self.send_scale()
    }

    #[inline]
    pub(crate) const fn send_scale(&self) -> u8 {
        self.scales & 0xf
    }

    #[inline]
    pub(crate) const fn receive_scale(&self) -> u8 {
        self.scales >> 4
    }

    /// Bytes of data a full segment carries.
    #[inline]
    pub(crate) const fn payload_max(&self) -> u32 {
        let options = if self.facts.has(Facts::TIMESTAMPS) { crate::segment::TIMESTAMP_BYTES } else { 0 };
        self.mss as u32 - options as u32
    }

    /// A segment with `len` bytes of data came. After a pause longer than an ACK may be delayed, the first is
    /// acknowledged at once: nothing has come on its heels for a while, and it may be all that a peer that recovers from
    /// a loss may send. A full one is after a shorter pause: its sender has more, and what made it wait may be an ACK
    /// that was lost (what comes then is its tail loss probe, RFC 8985 7.3).
    #[inline]
    pub(crate) fn hear(&mut self, now_ms: u32, len: u32, pause_ms: u32) {
        let pause_ms = if len >= self.payload_max() { pause_ms.min(BULK_PAUSE_MS) } else { pause_ms };
        if now_ms.wrapping_sub(self.last_rx_ms) > pause_ms {
            self.quick_acks = self.quick_acks.min(QUICK_ACKS - 1);
        }
        self.last_rx_ms = now_ms;
    }

    #[inline]
    pub(crate) const fn recovering(&self) -> bool {
        self.facts.has(Facts::RECOVERY.or(Facts::LOSS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_are_where_they_should_be() {
        assert_eq!(std::mem::offset_of!(Hot, mss), 64);
        assert_eq!(size_of::<Timer>(), 1);
    }
}
