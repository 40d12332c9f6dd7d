//! The other side of every connection dies at once, and something new listens later.

use std::collections::VecDeque;

use super::{Network, Phase, Piece, Way};

impl Network {
    /// The shards are no more. What they sent is still on its way; then clients find their connections reset:
    /// soon if a system was left to say so, else when something answers again, `silence_ms` from now at the
    /// latest.
    pub(crate) fn lose_shards(&mut self, shards: u16, silence_ms: Option<u64>) {
        self.deaf.extend(0..shards);
        self.notices.iter_mut().for_each(VecDeque::clear);
        self.woken.clear();
        self.conns.retain(|_, conn| !conn.client_gone);
        let ids: Vec<_> = self.conns.keys().copied().collect();
        for id in ids {
            let Some(conn) = self.conns.get_mut(&id) else { continue };
            let was_over = conn.phase == Phase::Gone;
            (conn.phase, conn.owner, conn.end) = (Phase::Gone, None, None);
            (conn.paused, conn.blocked, conn.noticed) = (false, false, false);
            conn.arrived.clear();
            conn.up.clear();
            if was_over {
                continue;
            }
            if let Some(ms) = silence_ms {
                conn.last_down = conn.last_down.max(self.now.plus_ms(self.rng.below(ms + 1)));
            }
            self.send(id, Way::Down, Piece::Reset);
        }
    }

    /// Shards listen again, `shards` of them.
    pub(crate) fn find_shards(&mut self, shards: u16) {
        self.deaf.clear();
        self.notices = (0..shards).map(|_| VecDeque::new()).collect();
        // Whoever is on its way to a shard that is not there any more comes to another.
        self.conns.values_mut().for_each(|conn| conn.listener_shard %= shards);
    }
}
