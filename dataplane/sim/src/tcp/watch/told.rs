//! A segment arrives: what its receiver, who sends the other way, is told by it, and owes for it.

use pelton_tcp::Seq;
use pelton_tcp::segment::{Flags, Segment};

use super::flow::{HEARD_MS, Terms, View, Watched};
use crate::network::Way;

/// How long shards' turns make a repair wait.
const TURNS_MS: u64 = 75;

impl Watched {
    /// A segment reaches who sends this way.
    pub(super) fn told(&mut self, way: Way, segment: &Segment, terms: Terms) -> Result<(), &'static str> {
        let Terms { now, hindered, promise } = terms;
        let Some(View { me, peer, foreign }) = self.view(way) else { return Ok(()) };
        me.told_at = now;
        if segment.flags.has(Flags::SYN) {
            if way == Way::Up && segment.ack == me.first && me.una.lt(me.first) {
                me.acknowledged(segment.ack, now);
                me.edge = segment.ack + u32::from(segment.window);
            }
            return Ok(());
        }
        if segment.flags.has(Flags::RST) {
            me.over |= !peer.begun || me.said.is_none_or(|(ack, _)| ack == segment.seq);
            return Ok(());
        }
        if !me.begun || !peer.begun || !segment.flags.has(Flags::ACK) {
            return Ok(());
        }
        let reached = me.duties.reached.or(me.said.map(|(ack, _)| ack));
        if let Some(said) = me.said
            && !foreign
            && segment.len != 0
            && me.fin.is_none()
            // RFC 5961 5.2: what acknowledges less may be dropped, and not even answered.
            && me.una.le(segment.ack)
            && segment.ack.le(me.end)
        {
            me.duties.arrives(segment, said, promise, now);
        }
        let mut checked = if foreign { Ok(()) } else { me.check_probes(terms) };
        if way == Way::Down && !me.measured && segment.ack == me.first && me.una == me.first {
            me.acknowledged(segment.ack, now);
        }
        let advances = me.una.lt(segment.ack) && segment.ack.le(me.end);
        if advances {
            if !foreign {
                checked = checked.and(me.repairs.check(now, hindered));
            }
            if let Some((_, echo)) = segment.options.timestamps {
                me.echoed(echo, now);
            }
            me.acknowledged(segment.ack, now);
            // RFC 2018 8, RFC 6675 5.1: a peer that asks for what it said to have has thrown that away.
            let thrown_away =
                me.sacked.iter().any(|block| block.0.le(segment.ack) && segment.ack.lt(block.1));
            me.sacked.retain(|block| !thrown_away && segment.ack.lt(block.1));
        }
        let again = segment.len != 0 && reached.is_some_and(|reached| segment.seq.lt(reached));
        if again && !advances && !promise.direct && segment.ack == me.una {
            // Only now it may have come to the stack that has the connection.
            me.told_again(now);
        }
        me.duplicates += u32::from(segment.ack == me.una);
        let scale = peer.scale.filter(|_| me.scale.is_some()).unwrap_or(0);
        me.edge = me.edge.max(segment.ack + (u32::from(segment.window) << scale));
        if me.window_closed && segment.window != 0 {
            // What probed the window may have been refused by it: all is sent again.
            me.sacked.clear();
            me.repairs.excuse(me.end);
            me.first_at = now;
        }
        if segment.window == 0 && !me.window_closed {
            me.closed_at = now;
        }
        me.window_closed = segment.window == 0;
        let mut news = false;
        for &(left, right) in segment.options.sack.as_slice() {
            let under_way = me.una.lt(left) && left.lt(right) && right.le(me.end);
            let known = me.sacked.iter().any(|block| block.0.le(left) && right.le(block.1));
            if under_way && !known {
                me.sacked.push((left, right, now));
                me.repairs.arrived(left, right);
                news |= me.una.lt(left);
            }
        }
        let sacks = me.sack && peer.sack;
        if segment.ack == me.una && !sacks {
            me.repairs.something_arrived(now);
        }
        let stamp = segment.options.timestamps.map(|(stamp, _)| stamp);
        let newer = stamp.zip(me.stamp).is_none_or(|(stamp, before)| Seq(before).le(Seq(stamp)));
        // Only what the sender must take for what it is: the peer's latest, behind all that it sent.
        let shows = !advances
            && segment.ack == me.una
            && me.una.lt(me.end)
            && segment.len == 0
            && !segment.flags.has(Flags::FIN)
            && segment.window != 0
            && reached == Some(segment.seq)
            && newer
            && me.fin.is_none()
            && if sacks { news } else { segment.window == me.window };
        if shows && !foreign {
            let waited_ms = now.as_ms().saturating_sub(me.first_at.as_ms());
            let turns_ms = if way == Way::Down { TURNS_MS } else { 0 };
            let wait_ms = waited_ms.max(me.round_trip_ms) + HEARD_MS + turns_ms;
            me.repairs.shown(me.una, wait_ms, now, hindered);
        }
        if newer {
            me.stamp = stamp.or(me.stamp);
        }
        // Of what is all old nothing but an ACK comes (RFC 9293 3.10.7.4 first).
        let old = reached.is_some_and(|reached| (segment.seq + u32::from(segment.len)).le(reached));
        if segment.len == 0 || !old {
            me.window = segment.window;
        }
        checked
    }
}
