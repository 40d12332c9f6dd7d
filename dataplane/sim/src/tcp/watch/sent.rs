//! A segment leaves: whether its sender may send it.

use pelton_base::Mono;
use pelton_tcp::Seq;
use pelton_tcp::segment::{Flags, Segment};

use super::super::duties::Promise;
use super::SEGMENT_BYTES;
use super::flow::{Flow, HEARD_MS, LATE_MS, Terms, View, Watched};
use crate::network::Way;

/// RFC 6928 2.
const INITIAL_BYTES: u32 = 10 * SEGMENT_BYTES;
/// Of what the sender could know to have arrived, segments that may be sent again all the same.
const NEEDLESS_MAX: u32 = 1;
/// Bytes that may be sent again whatever was sent.
const RESENT_BYTES: u64 = 60 * SEGMENT_BYTES as u64;

impl Watched {
    /// A segment is sent.
    pub(super) fn sent(&mut self, way: Way, segment: &Segment, terms: Terms) -> Result<(), &'static str> {
        let Terms { now, hindered, promise } = terms;
        let Some(View { me, peer, foreign }) = self.view(way) else { return Ok(()) };
        if segment.flags.has(Flags::SYN) {
            if way == Way::Down {
                let options = &segment.options;
                me.answers.push((segment.seq + 1, options.window_scale, options.sack_permitted));
            } else {
                (me.scale, me.sack) = (segment.options.window_scale, segment.options.sack_permitted);
            }
            me.syn_window = u32::from(segment.window);
            if way == Way::Up && !segment.flags.has(Flags::ACK) {
                if me.begun {
                    if !foreign {
                        me.check_silence(terms)?;
                        me.check_doubling(segment.seq, 0, terms)?;
                    }
                } else {
                    me.begun = true;
                    // Earlier ones may have found no room.
                    me.longest_ms = now.as_ms().saturating_sub(me.at.as_ms());
                    (me.una, me.first, me.end) = (segment.seq, segment.seq + 1, segment.seq + 1);
                }
                me.at = now;
            } else if way == Way::Down && !me.begun && me.first_at == Mono(0) {
                me.first_at = now;
            }
            return Ok(());
        }
        me.clock = segment.options.timestamps.map(|(stamp, _)| (stamp, now)).or(me.clock);
        let first_answer = way == Way::Up && me.begun && me.una == me.first;
        if first_answer && !peer.begun && !segment.flags.has(Flags::RST) {
            // Only now is it known which of the answers to SYN, if there were several, the client heard.
            peer.begun = true;
            let heard = peer.answers.iter().find(|answer| answer.0 == segment.ack);
            if heard.is_none() {
                self.orphaned = true;
                return Ok(());
            }
            (peer.scale, peer.sack) = heard.map_or((None, false), |answer| (answer.1, answer.2));
            (peer.first, peer.una, peer.end) = (segment.ack, segment.ack, segment.ack);
            (peer.edge, peer.at) = (segment.ack + me.syn_window, now);
        }
        if !me.begun || !peer.begun {
            return Ok(());
        }
        if segment.flags.has(Flags::RST) {
            // One for a segment of a connection that is not there any more is where that segment says.
            me.reset |= segment.seq == me.end;
            if me.reset && segment.flags.has(Flags::ACK) && !me.over && !foreign {
                me.check_silence(terms)?;
            }
            me.over = true;
            return Ok(());
        }
        let scale = me.scale.filter(|_| peer.scale.is_some()).unwrap_or(0);
        let edge = segment.ack + (u32::from(segment.window) << scale);
        if let Some((ack, before)) = me.said {
            if segment.ack.lt(ack) {
                return Err("acknowledges less than before");
            }
            if !foreign && (edge + ((1 << scale) - 1)).lt(before) {
                return Err("the right edge of its window went back");
            }
        }
        if !foreign {
            let promise = Promise { window: promise.window.min(65_535 << scale), ..promise };
            let before = me.said.map(|(ack, _)| ack);
            me.duties.speaks(segment, edge, before, peer.first, promise, (now, hindered))?;
        }
        me.said = Some((segment.ack, me.said.map_or(edge, |(_, before)| before.max(edge))));
        if segment.sequence_len() == 0 {
            return Ok(());
        }
        if foreign {
            me.end = me.end.max(segment.seq + segment.sequence_len());
            return Ok(());
        }
        me.sent_data(segment, terms)
    }
}

impl Flow {
    /// Something is sent that takes sequence numbers.
    fn sent_data(&mut self, segment: &Segment, terms: Terms) -> Result<(), &'static str> {
        let Terms { now, hindered, .. } = terms;
        let (start, data_end) = (segment.seq, segment.seq + u32::from(segment.len));
        let end = segment.seq + segment.sequence_len();
        self.repairs.check(now, hindered)?;
        if segment.len != 0 && start.lt(self.end) {
            self.repairs.resent(
                start,
                data_end.min(self.end),
                self.una,
                self.fin.unwrap_or(self.end),
                now,
            )?;
        }
        if self.end.lt(data_end) {
            self.repairs.sent(start.max(self.end), data_end, now);
        }
        // What is before that it may not know to have arrived: an acknowledgement that came with something out of the
        // window is not looked at.
        if self.una == self.end {
            self.first_at = now;
        }
        if self.una == self.end || start.le(self.una) {
            self.check_silence(terms)?;
            // Beside time-outs: a repair that was late, the probe of a silence (RFC 8985 6.2, 7.2).
            self.check_doubling(start, 2, terms)?;
            self.at = now;
        }
        if self.reset {
            return Err("sends after its own reset");
        }
        if self.fin.is_some_and(|fin| fin.lt(data_end) || (segment.flags.has(Flags::FIN) && fin != data_end))
        {
            return Err("sends beyond its FIN");
        }
        if segment.flags.has(Flags::FIN) {
            self.fin = Some(data_end);
        }
        if segment.len > 1 && self.edge.lt(data_end) {
            return Err("sends beyond the peer's window");
        }
        if start.lt(self.end) {
            self.resent += u64::from(segment.len).min(u64::from(self.end.since(start)));
            let direct = terms.promise.direct;
            let heard_ms = if direct { HEARD_MS } else { HEARD_MS + LATE_MS };
            // What is handed from stack to stack is dropped where there is no frame for it.
            let is_heard = |told: Mono| told.plus_ms(heard_ms) <= now && (direct || hindered < told);
            let arrived = |&(left, right, told): &(Seq, Seq, Mono)| {
                is_heard(told) && left.le(start) && data_end.le(right)
            };
            let unheard = |&(left, right, told): &(Seq, Seq, Mono)| {
                !is_heard(told) && left.lt(data_end) && start.lt(right)
            };
            if !direct && segment.len != 0 && (start.lt(self.una) || self.sacked.iter().any(unheard)) {
                self.repairs.crosses(now);
            }
            // RFC 8985 7.3: a silence is probed with the last that was sent.
            let tail = data_end == self.fin.unwrap_or(self.end);
            if segment.len != 0 && !tail && self.sacked.iter().any(arrived) {
                self.needless += 1;
                if self.needless > NEEDLESS_MAX {
                    return Err("sends again what it knows to have arrived");
                }
            }
            // Where what is sent again is too long for the path, and little that is new is not, each acknowledgement of that
            // shows that it was lost once more.
            let shown = u64::from(self.duplicates) * u64::from(SEGMENT_BYTES);
            if self.resent > RESENT_BYTES + shown + 4 * u64::from(self.end.since(self.first)) {
                return Err("sends the same again and again");
            }
        }
        if self.end.lt(end) {
            self.end = end;
            let acked = self.una.since(self.first);
            // Each duplicate says that something has left the network, and so do blocks.
            let allowed = INITIAL_BYTES + acked + (3 + self.duplicates) * SEGMENT_BYTES + self.sacked_bytes();
            if self.end.since(self.una) > allowed {
                return Err("has more under way than it may");
            }
        }
        Ok(())
    }
}
