//! What a stack is told when it is made: limits, with what happens at them, and times.

use pelton_base::{HashKey, Patience};

/// Limits and times of one stack. Every limit has a counter ([`crate::counters`]).
#[derive(Clone, Debug)]
pub struct Settings {
    /// Connections. At the limit a SYN is dropped.
    pub connections_max: u32,
    /// Half-open connections that are remembered; beyond, SYN cookies.
    pub half_open_max: u32,
    /// TIME-WAIT records; at the limit the oldest goes.
    pub time_wait_max: u32,
    /// Connections that may have loss or reordering state at once; beyond, recovery is by the head alone and what
    /// comes out of order is dropped.
    pub cold_max: u32,
    /// Pairs of Ethernet addresses that connections are reached by.
    pub links_max: u16,
    /// Frames that may be kept for out-of-order data, all connections together; never more than a quarter of the
    /// port's.
    pub reassembly_frames_max: u32,
    /// Out-of-order segments of one connection: as many full ones as a window that has grown holds.
    pub reassembly_segments_max: u16,
    /// The longest segment in either direction, without options; zero for what the link carries. RFC 9293 3.7.1 MUST-14.
    pub segment_bytes_max: u16,
    /// The receive window of a connection: what the peer may have sent and the shard not used.
    pub receive_window_bytes: u32,
    /// What it grows to for a peer that fills it; not at all if that is no more.
    pub receive_window_max_bytes: u32,
    /// By how much the windows of all connections together may have grown.
    pub receive_growth_bytes_max: u64,
    /// The lowest retransmission time-out. Above 250 ms: constrained devices delay ACKs that long.
    pub rto_min_ms: u32,
    /// The retransmission time-out before a round trip has been measured, RFC 6298 2.1.
    pub rto_initial_ms: u32,
    /// The highest, RFC 6298 2.5.
    pub rto_max_ms: u32,
    /// How long data may stay unacknowledged, or the peer's window closed, before the connection is given up
    /// (RFC 9293 3.8.3 MUST-20, MUST-21, SHLD-11, RFC 5482).
    pub user_timeout_ms: u32,
    /// How long an ACK waits to travel with data, RFC 9293 3.8.6.3 MUST-40.
    pub delayed_ack_ms: u32,
    /// The longest the peer is taken to delay its ACK when it has one segment to acknowledge.
    pub peer_ack_delay_ms: u32,
    /// How long any connection must be silent before it is probed; zero for never.
    /// RFC 9293 3.8.4 MUST-24, MUST-25, MUST-27.
    pub keep_alive_idle_ms: u32,
    /// The same for connections whose owner asks for it, RFC 9293 3.8.4 MUST-28.
    pub keep_alive_watched_ms: u32,
    /// The time between such probes.
    pub keep_alive_interval_ms: u32,
    /// Probes without an answer after which the connection is given up.
    pub keep_alive_probes: u8,
    /// How long a connection that this side closed may take to deliver what is left.
    pub linger_ms: u32,
    /// How long FIN-WAIT-2 is kept once nobody owns the connection.
    pub fin_wait_2_ms: u32,
    /// How long TIME-WAIT is kept (twice the maximum segment lifetime), RFC 9293 3.6.1 MUST-13.
    pub time_wait_ms: u32,
    /// How often a SYN-ACK is sent again.
    pub syn_ack_retries: u8,
    /// Challenge ACKs and other answers to what does not fit, per second, all connections together.
    pub challenges_per_second: u32,
    /// Resets to segments of unknown connections, per second.
    pub resets_per_second: u32,
    /// Unknown connections that the other stacks of the interface are asked about, per second.
    pub searches_per_second: u32,
    /// How the window grows and what is left of it at a loss.
    pub congestion: Congestion,
    /// Explicit congestion notification.
    pub ecn: Ecn,
    /// SACK, if the peer offers it.
    pub sack: bool,
    /// Timestamps, if the peer offers them.
    pub timestamps: bool,
    /// Window scaling, if the peer offers it.
    pub window_scaling: bool,
    /// Keys that whoever answers SYNs with cookies in this stack's place has too; `None` to draw them from the seed.
    pub secrets: Option<Secrets>,
}

/// A way to share what a path can carry with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Congestion {
    /// RFC 9438.
    #[default]
    Cubic,
    /// RFC 5681.
    NewReno,
}

/// Whether explicit congestion notification is used, RFC 3168.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ecn {
    /// Not.
    Off,
    /// If the peer asks for it.
    #[default]
    Accept,
    /// That, and it is asked for where a connection is opened from here.
    Ask,
}

/// What has to be known to answer SYNs with cookies in a stack's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secrets {
    /// The key of cookies.
    pub cookie: HashKey,
    /// The key of what time stamps are offset by.
    pub stamps: HashKey,
}

/// What a SYN-ACK of a stack offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynAck {
    /// The largest segment that is taken over IPv4.
    pub mss_v4: u16,
    /// The largest segment that is taken over IPv6.
    pub mss_v6: u16,
    /// The window, not scaled.
    pub window: u16,
    /// The shift of the windows behind it; `None` if scaling is not agreed to.
    pub scale: Option<u8>,
    /// SACK is agreed to.
    pub sack: bool,
    /// Time stamps are agreed to.
    pub timestamps: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections_max: 1 << 20,
            half_open_max: 1 << 14,
            time_wait_max: 1 << 16,
            cold_max: 1 << 16,
            links_max: 4096,
            reassembly_frames_max: 1_024,
            reassembly_segments_max: 512,
            segment_bytes_max: 0,
            receive_window_bytes: 65_535,
            receive_window_max_bytes: 8 * 65_535,
            receive_growth_bytes_max: 64 << 20,
            rto_min_ms: 300,
            rto_initial_ms: 1_000,
            rto_max_ms: 60_000,
            user_timeout_ms: 300_000,
            delayed_ack_ms: 25,
            peer_ack_delay_ms: 260,
            keep_alive_idle_ms: 0,
            keep_alive_watched_ms: 7_200_000,
            keep_alive_interval_ms: 75_000,
            keep_alive_probes: 9,
            linger_ms: 5_000,
            fin_wait_2_ms: 10_000,
            time_wait_ms: 60_000,
            syn_ack_retries: 5,
            challenges_per_second: 1_000,
            resets_per_second: 1_000,
            searches_per_second: 10_000,
            congestion: Congestion::Cubic,
            ecn: Ecn::Accept,
            sack: true,
            timestamps: true,
            window_scaling: true,
            secrets: None,
        }
    }
}

impl Settings {
    /// Takes these times over.
    pub const fn with_patience(mut self, patience: Patience) -> Self {
        self.user_timeout_ms = patience.user_timeout_ms;
        self.keep_alive_watched_ms = patience.keep_alive_idle_ms;
        self.keep_alive_interval_ms = patience.keep_alive_interval_ms;
        self.keep_alive_probes = patience.keep_alive_probes;
        self
    }

    /// How long a connection must be silent before it is probed; zero for never.
    #[inline]
    pub(crate) const fn keep_alive_ms(&self, watched: bool) -> u32 {
        if watched { self.keep_alive_watched_ms } else { self.keep_alive_idle_ms }
    }

    /// The longest segment that is taken on a link of this MTU: without headers of fixed length, options not counted
    /// (RFC 9293 3.7.1 MUST-67, 3.7.3 SHLD-6, RFC 6691, RFC 8200 8.3).
    pub(crate) const fn own_mss(&self, mtu: u16, v4: bool) -> u16 {
        let of_link = mtu - if v4 { 40 } else { 60 };
        match self.segment_bytes_max {
            0 => of_link,
            most if most < of_link => most,
            _ => of_link,
        }
    }

    /// What a SYN-ACK offers on a link of this MTU.
    pub const fn syn_ack(&self, mtu: u16) -> SynAck {
        let window = self.receive_window_bytes;
        SynAck {
            mss_v4: self.own_mss(mtu, true),
            mss_v6: self.own_mss(mtu, false),
            window: if window > 65_535 { 65_535 } else { window as u16 },
            scale: if self.window_scaling { Some(self.receive_scale()) } else { None },
            sack: self.sack,
            timestamps: self.timestamps,
        }
    }

    /// Entries that the table of tuples may come to have, but for connections that moved away.
    pub(crate) const fn entries_max(&self) -> usize {
        self.connections_max as usize + self.half_open_max as usize + self.time_wait_max as usize
    }

    /// The shift with which the receive window fits the header however it grows, RFC 7323 2.2: it is agreed on once.
    pub(crate) const fn receive_scale(&self) -> u8 {
        let (first, most) = (self.receive_window_bytes, self.receive_window_max_bytes);
        let widest = if first > most { first } else { most };
        let mut shift = 0;
        while shift < 14 && widest >> shift > 65_535 {
            shift += 1;
        }
        shift
    }
}
