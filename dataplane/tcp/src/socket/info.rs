//! What the stack knows of a connection, for those who look on.

use pelton_base::StreamId;
use pelton_packet::Port;

use crate::stack::Tcp;
use crate::tcb::{Facts, State};

/// What a connection does about losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing: all is in order.
    Open,
    /// Something arrived out of order, which may yet be harmless.
    Disorder,
    /// The peer said that the path is congested, and the window comes down, RFC 3168 6.1.2.
    Reducing,
    /// It recovers from a loss that acknowledgements showed, RFC 5681 3.2.
    Recovery,
    /// It recovers from a retransmission time-out, RFC 6298 5.4.
    Loss,
}

/// What the stack knows of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The state, RFC 9293 3.3.2.
    pub state: State,
    /// What it does about losses.
    pub phase: Phase,
    /// The congestion window.
    pub cwnd_bytes: u32,
    /// Where slow start ends.
    pub ssthresh_bytes: u32,
    /// What the peer's window lets under way.
    pub send_window_bytes: u32,
    /// What the peer may still send.
    pub receive_window_bytes: u32,
    /// Data that a full segment carries.
    pub segment_bytes: u32,
    /// Data that a full segment of the peer's carries.
    pub peer_segment_bytes: u32,
    /// How long ago data came, or the connection was opened.
    pub data_received_ms: u32,
    /// Sent and not acknowledged.
    pub in_flight_bytes: u32,
    /// Of these, what the peer has out of order.
    pub sacked_bytes: u32,
    /// Of these, what is taken for lost and was not sent again.
    pub lost_bytes: u32,
    /// Of these, what was sent again.
    pub resent_bytes: u32,
    /// The smoothed round trip time; zero while not measured.
    pub srtt_us: u32,
    /// Its variation.
    pub rttvar_us: u32,
    /// The retransmission time-out as it stands.
    pub rto_ms: u32,
    /// Time-outs in a row.
    pub backoff: u8,
    /// Probes of a silent peer in a row.
    pub probes: u8,
    /// SACK was agreed on.
    pub sack: bool,
    /// Timestamps were agreed on.
    pub timestamps: bool,
    /// The shift of the peer's windows, and of ours.
    pub scales: (u8, u8),
}

impl<P: Port> Tcp<P> {
    pub(super) fn info(&self, stream: StreamId) -> Option<Info> {
        let hot = &self.tcbs[self.place(stream)?];
        let flight = self.cold.get(hot.cold).map(|cold| &cold.flight);
        let sacked_bytes = flight.map_or(0, |flight| flight.sacked_bytes());
        let phase = if hot.facts.has(Facts::LOSS) {
            Phase::Loss
        } else if hot.facts.has(Facts::RECOVERY) {
            Phase::Recovery
        } else if self.cold.get(hot.cold).is_some_and(|cold| cold.prr.is_some()) {
            Phase::Reducing
        } else if hot.dup_acks > 0 || sacked_bytes > 0 {
            Phase::Disorder
        } else {
            Phase::Open
        };
        Some(Info {
            state: hot.state,
            phase,
            cwnd_bytes: hot.cwnd,
            ssthresh_bytes: hot.ssthresh,
            send_window_bytes: hot.snd_wnd(),
            receive_window_bytes: hot.rcv_edge.since(hot.rcv_nxt),
            segment_bytes: hot.payload_max(),
            peer_segment_bytes: u32::from(self.own_mss(!hot.facts.has(Facts::V6)))
                - (u32::from(hot.mss) - hot.payload_max()),
            data_received_ms: 0,
            in_flight_bytes: hot.flight(),
            sacked_bytes,
            lost_bytes: flight.map_or(0, |flight| flight.lost_bytes()),
            resent_bytes: flight.map_or(0, |flight| flight.resent_bytes()),
            srtt_us: hot.srtt_us,
            rttvar_us: hot.rttvar_us,
            rto_ms: hot.rto_ms(&self.settings),
            backoff: hot.backoff,
            probes: hot.probes,
            sack: hot.facts.has(Facts::SACK),
            timestamps: hot.facts.has(Facts::TIMESTAMPS),
            scales: (hot.send_scale(), hot.receive_scale()),
        })
    }
}
