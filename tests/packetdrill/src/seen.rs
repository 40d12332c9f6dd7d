//! `struct tcp_info`, as Linux lays it out, filled with what our stack knows; the rest is zero.

use pelton_tcp::{Info, Phase, State};

const OPTION_TIMESTAMPS: u8 = 1;
const OPTION_SACK: u8 = 2;
const OPTION_WINDOW_SCALE: u8 = 4;
/// What Linux says where slow start has no end.
const NO_END: u32 = 0x7fff_ffff;
/// `TCP_CLOSE`, of a connection that is over.
const CLOSED: u8 = 7;

/// The bytes of a `struct tcp_info` of a connection, or of one that is over, up to the last that is known.
pub(crate) fn tcp_info(info: Option<Info>) -> Vec<u8> {
    let Some(info) = info else { return vec![CLOSED] };
    let size = info.segment_bytes.max(1);
    let segments = |bytes: u32| bytes.div_ceil(size);
    let option = |agreed: bool, bit: u8| if agreed { bit } else { 0 };
    let phase = match info.phase {
        Phase::Open => 0,
        Phase::Disorder => 1,
        Phase::Reducing => 2,
        Phase::Recovery => 3,
        Phase::Loss => 4,
    };
    let options = option(info.timestamps, OPTION_TIMESTAMPS)
        | option(info.sack, OPTION_SACK)
        | option(info.scales != (0, 0), OPTION_WINDOW_SCALE);
    let scales = info.scales.0 | info.scales.1 << 4;
    let head = [state(info.state), phase, info.backoff, info.probes, info.backoff, options, scales, 0];
    let ssthresh = if info.ssthresh_bytes == u32::MAX { NO_END } else { info.ssthresh_bytes / size };
    let words = [
        info.rto_ms * 1_000,
        0, // ato
        size,
        0, // rcv_mss
        segments(info.in_flight_bytes),
        segments(info.sacked_bytes),
        // Linux goes on counting as lost what was sent again.
        segments(info.lost_bytes + info.resent_bytes),
        segments(info.resent_bytes),
        0, // fackets
        0, // last_data_sent
        0, // last_ack_sent
        info.data_received_ms,
        0, // last_ack_recv
        0, // pmtu
        0, // rcv_ssthresh
        info.srtt_us,
        info.rttvar_us,
        ssthresh,
        info.cwnd_bytes / size,
        info.peer_segment_bytes,
        3, // reordering: where Linux begins
    ];
    head.into_iter().chain(words.into_iter().flat_map(u32::to_ne_bytes)).collect()
}

/// As Linux numbers them.
const fn state(state: State) -> u8 {
    match state {
        State::Established => 1,
        State::SynSent => 2,
        State::SynReceived => 3,
        State::FinWait1 => 4,
        State::FinWait2 => 5,
        State::Closed => CLOSED,
        State::CloseWait => 8,
        State::LastAck => 9,
        State::Closing => 11,
    }
}
