//! The virtual network: connections between model clients and shards, as two pipes of bytes each.
//!
//! What a client sends is cut into pieces that arrive one after the other, each with its own delay, so that
//! connections overtake each other and packets are cut at any byte. What a shard sends fills a bounded buffer
//! that empties as the client reads. Connections end by FIN, by reset, or because the network silently loses
//! them. Nothing here knows MQTT.
//!
//! Both sides of a connection are here: `client_*` is what a client does; the shards' side is used by
//! [`crate::streams`].

mod outage;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pelton_base::{Mono, Rng};

/// Names a connection for good: numbers are not used again.
pub type ConnId = u64;

/// How a network behaves; drawn from the seed, and made kind for the end of a run.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Longest delay of a piece, in microseconds.
    pub delay_us_max: u64,
    /// Largest piece, in bytes.
    pub piece_bytes_max: u64,
    /// Per mille of pieces that are held up for up to a second.
    pub stall_per_mille: u32,
    /// Smallest and largest buffer towards a client, in bytes.
    pub buffer_bytes: (u64, u64),
}

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the client to a shard.
    Up,
    /// From a shard to the client.
    Down,
}

/// What travels.
#[derive(Clone, Debug)]
enum Piece {
    Open,
    Bytes(Vec<u8>),
    /// The sender sends no more.
    Fin,
    /// The connection is gone.
    Reset,
    /// The shard's side finds out that the network has lost the connection.
    Lost,
}

/// What a client sees of its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient {
    /// Bytes.
    Bytes(Vec<u8>),
    /// The broker closed.
    Closed,
    /// The broker reset.
    Reset,
}

/// What a shard's transport has to look at.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    Opened(ConnId),
    Readable(ConnId),
    Writable(ConnId),
}

/// How far the shard's side of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Not accepted yet, or on its way between shards.
    Between,
    Open,
    /// This side has closed and waits for the client's FIN.
    Lingering,
    Gone,
}

/// The end of a connection as the shard's side reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Reset,
    Lost,
}

#[derive(Debug)]
pub(crate) struct Conn {
    listener_shard: u16,
    pub(crate) owner: Option<u16>,
    pub(crate) token: u64,
    pub(crate) phase: Phase,
    pub(crate) paused: bool,
    pub(crate) blocked: bool,
    /// A notice that it can be read is on its way.
    pub(crate) noticed: bool,
    /// Arrived and not read by the shard.
    pub(crate) arrived: VecDeque<u8>,
    pub(crate) end: Option<End>,
    up: VecDeque<(Mono, Piece)>,
    down: VecDeque<(Mono, Piece)>,
    last_up: Mono,
    last_down: Mono,
    /// Bytes towards the client that it has not read.
    down_bytes: usize,
    buffer_bytes: usize,
    /// Arrived and not read by the client.
    unread: VecDeque<Piece>,
    client_reads: bool,
    client_gone: bool,
    cut: bool,
}

/// The network.
#[derive(Debug)]
pub struct Network {
    conns: BTreeMap<ConnId, Conn>,
    next: ConnId,
    pub(crate) rng: Rng,
    /// How it behaves at present.
    pub weather: Weather,
    now: Mono,
    /// When something arrives, for the world's calendar.
    pub(crate) due: Vec<(Mono, ConnId, Way)>,
    pub(crate) notices: Vec<VecDeque<Notice>>,
    pub(crate) woken: BTreeSet<u16>,
    to_client: VecDeque<(ConnId, ToClient)>,
    /// Shards that accept no more.
    pub(crate) deaf: BTreeSet<u16>,
}

impl Network {
    /// A network between clients and `shards` shards.
    pub fn new(shards: u16, rng: Rng, weather: Weather) -> Self {
        Self {
            conns: BTreeMap::new(),
            next: 1,
            rng,
            weather,
            now: Mono(0),
            due: Vec::new(),
            notices: (0..shards).map(|_| VecDeque::new()).collect(),
            woken: BTreeSet::new(),
            to_client: VecDeque::new(),
            deaf: BTreeSet::new(),
        }
    }

    /// Sets the time.
    pub fn set_now(&mut self, now: Mono) {
        self.now = now;
    }

    /// How many connections exist in any state.
    pub fn len(&self) -> usize {
        self.conns.len()
    }

    /// Whether there is no connection.
    pub fn is_empty(&self) -> bool {
        self.conns.is_empty()
    }

    /// The connections that exist, for messages on failure.
    pub fn remaining(&self) -> Vec<String> {
        self.conns
            .iter()
            .map(|(id, conn)| {
                format!(
                    "connection {id}: owner {:?}, {:?}, paused {}, client gone {}, end {:?}",
                    conn.owner, conn.phase, conn.paused, conn.client_gone, conn.end
                )
            })
            .collect()
    }

    pub(crate) fn conn(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(&id)
    }

    fn delay(&mut self) -> u64 {
        let mut us = self.rng.below(self.weather.delay_us_max + 1);
        if self.rng.chance(self.weather.stall_per_mille) {
            us += self.rng.below(1_000_000);
        }
        us
    }

    fn send(&mut self, id: ConnId, way: Way, piece: Piece) {
        let delay = self.delay();
        let now = self.now;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.cut && !matches!(piece, Piece::Lost) {
            return;
        }
        let (last, queue) = match way {
            Way::Up => (&mut conn.last_up, &mut conn.up),
            Way::Down => (&mut conn.last_down, &mut conn.down),
        };
        let at = now.plus_us(delay).max(*last);
        *last = at;
        queue.push_back((at, piece));
        self.due.push((at, id, way));
    }

    fn send_bytes(&mut self, id: ConnId, way: Way, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // A long message in the smallest pieces would be most of a run.
            let piece_max = self.weather.piece_bytes_max.max(bytes.len() as u64 / 16);
            let len = self.rng.between(1, piece_max).min(bytes.len() as u64) as usize;
            self.send(id, way, Piece::Bytes(bytes[..len].to_vec()));
            bytes = &bytes[len..];
        }
    }

    // ---- the client's side -------------------------------------------------------------------------------

    /// A client connects to a shard's listener.
    pub fn client_connect(&mut self, shard: u16) -> ConnId {
        let id = self.next;
        self.next += 1;
        let (low, high) = self.weather.buffer_bytes;
        let buffer_bytes = self.rng.between(low, high) as usize;
        self.conns.insert(
            id,
            Conn {
                listener_shard: shard,
                owner: None,
                token: u64::MAX,
                phase: Phase::Between,
                paused: false,
                blocked: false,
                noticed: false,
                arrived: VecDeque::new(),
                end: None,
                up: VecDeque::new(),
                down: VecDeque::new(),
                last_up: Mono(0),
                last_down: Mono(0),
                down_bytes: 0,
                buffer_bytes,
                unread: VecDeque::new(),
                client_reads: true,
                client_gone: false,
                cut: false,
            },
        );
        self.send(id, Way::Up, Piece::Open);
        id
    }

    /// Whether the client's side of a connection is open.
    pub fn is_open(&self, id: ConnId) -> bool {
        self.conns.get(&id).is_some_and(|conn| !conn.client_gone)
    }

    /// A client sends.
    pub fn client_send(&mut self, id: ConnId, bytes: &[u8]) {
        self.send_bytes(id, Way::Up, bytes);
    }

    /// A client closes: everything it sent arrives before its FIN; it reads no more.
    pub fn client_close(&mut self, id: ConnId) {
        self.send(id, Way::Up, Piece::Fin);
        self.forget_client(id);
    }

    /// A client resets: of what has not arrived, an end is lost.
    pub fn client_reset(&mut self, id: ConnId) {
        self.lose_tail(id);
        self.send(id, Way::Up, Piece::Reset);
        self.forget_client(id);
    }

    /// The network loses a connection. The client is told nothing, the shard's side after `found_ms`.
    pub fn cut(&mut self, id: ConnId, found_ms: u64) {
        self.lose_tail(id);
        let at = self.now.plus_ms(found_ms);
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.cut = true;
            conn.down.clear();
            conn.up.push_back((at.max(conn.last_up), Piece::Lost));
            self.due.push((at.max(conn.last_up), id, Way::Up));
        }
        self.forget_client(id);
    }

    fn lose_tail(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let keep = self.rng.below(conn.up.len() as u64 + 1) as usize;
        // The handshake is not lost: a connection that never was is of no interest.
        let keep = keep.max(usize::from(matches!(conn.up.front(), Some((_, Piece::Open)))));
        conn.up.truncate(keep);
        if let Some((_, Piece::Bytes(bytes))) = conn.up.back_mut() {
            let len = self.rng.below(bytes.len() as u64 + 1) as usize;
            bytes.truncate(len);
        }
    }

    fn forget_client(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.client_gone = true;
        conn.unread.clear();
        conn.down.clear();
        conn.down_bytes = 0;
        self.made_room(id);
        self.drop_if_over(id);
    }

    /// A client stops or goes on reading.
    pub fn client_reads(&mut self, id: ConnId, reads: bool) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.client_reads = reads;
        if reads {
            self.hand_to_client(id);
        }
    }

    /// What has come for clients since the last call.
    pub fn next_for_client(&mut self) -> Option<(ConnId, ToClient)> {
        self.to_client.pop_front()
    }

    // ---- time --------------------------------------------------------------------------------------------

    /// What was to arrive by now arrives.
    pub fn arrive(&mut self, id: ConnId, way: Way) {
        match way {
            Way::Up => self.arrive_up(id),
            Way::Down => {
                let now = self.now;
                let Some(conn) = self.conns.get_mut(&id) else { return };
                while let Some(&(at, _)) = conn.down.front() {
                    if at > now {
                        break;
                    }
                    if let Some((_, piece)) = conn.down.pop_front()
                        && !conn.client_gone
                    {
                        conn.unread.push_back(piece);
                    }
                }
                self.hand_to_client(id);
            }
        }
    }

    fn arrive_up(&mut self, id: ConnId) {
        let now = self.now;
        while let Some(conn) = self.conns.get_mut(&id) {
            let Some(&(at, _)) = conn.up.front() else { return };
            if at > now {
                return;
            }
            let Some((_, piece)) = conn.up.pop_front() else { return };
            match piece {
                Piece::Open => {
                    let shard = conn.listener_shard;
                    if self.deaf.contains(&shard) {
                        conn.phase = Phase::Gone;
                        self.send(id, Way::Down, Piece::Reset);
                        self.drop_if_over(id);
                        return;
                    }
                    conn.owner = Some(shard);
                    conn.phase = Phase::Open;
                    self.notices[usize::from(shard)].push_back(Notice::Opened(id));
                    self.woken.insert(shard);
                }
                _ if conn.phase == Phase::Gone => {
                    // The shard's side has closed for good: what still comes is answered by a reset.
                    if matches!(piece, Piece::Bytes(_)) && !conn.client_gone {
                        self.send(id, Way::Down, Piece::Reset);
                    }
                    self.drop_if_over(id);
                }
                Piece::Bytes(bytes) => {
                    conn.arrived.extend(bytes);
                    self.notice_readable(id);
                }
                Piece::Fin => {
                    conn.end.get_or_insert(End::Fin);
                    self.notice_readable(id);
                }
                Piece::Reset | Piece::Lost => {
                    let end = if matches!(piece, Piece::Reset) { End::Reset } else { End::Lost };
                    if conn.end != Some(End::Fin) || conn.phase == Phase::Lingering {
                        conn.end = Some(end);
                    }
                    if self.rng.chance(500)
                        && let Some(conn) = self.conns.get_mut(&id)
                        && conn.end != Some(End::Fin)
                    {
                        conn.arrived.clear();
                    }
                    self.notice_readable(id);
                    self.made_room(id);
                }
            }
        }
    }

    pub(crate) fn notice_readable(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(owner) = conn.owner else { return };
        if conn.noticed || conn.phase == Phase::Between || (conn.paused && conn.phase == Phase::Open) {
            return;
        }
        conn.noticed = true;
        self.notices[usize::from(owner)].push_back(Notice::Readable(id));
        self.woken.insert(owner);
    }

    fn hand_to_client(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.client_gone || !conn.client_reads {
            return;
        }
        let mut over = false;
        while let Some(piece) = conn.unread.pop_front() {
            match piece {
                Piece::Bytes(bytes) => {
                    conn.down_bytes -= bytes.len();
                    self.to_client.push_back((id, ToClient::Bytes(bytes)));
                }
                Piece::Fin => {
                    self.to_client.push_back((id, ToClient::Closed));
                    over = true;
                }
                Piece::Reset => {
                    self.to_client.push_back((id, ToClient::Reset));
                    over = true;
                }
                Piece::Open | Piece::Lost => {}
            }
        }
        self.made_room(id);
        if over {
            // A client closes when the broker has.
            self.client_close(id);
        }
    }

    fn made_room(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.blocked
            && (conn.down_bytes * 2 <= conn.buffer_bytes || conn.client_gone && conn.end.is_some())
            && let Some(owner) = conn.owner
        {
            conn.blocked = false;
            if conn.phase == Phase::Open {
                self.notices[usize::from(owner)].push_back(Notice::Writable(id));
                self.woken.insert(owner);
            }
        }
    }

    // ---- the shards' side --------------------------------------------------------------------------------

    /// Takes bytes from a shard towards the client, as many as the buffer has room for; `None` if the
    /// connection is gone.
    pub(crate) fn shard_send(
        &mut self,
        id: ConnId,
        slices: &mut dyn Iterator<Item = &[u8]>,
    ) -> Option<usize> {
        let conn = self.conns.get_mut(&id)?;
        if conn.phase != Phase::Open || matches!(conn.end, Some(End::Reset | End::Lost)) {
            return None;
        }
        let mut room = conn.buffer_bytes.saturating_sub(conn.down_bytes);
        let discards = conn.client_gone;
        let mut taken = 0;
        let mut bytes = Vec::new();
        for slice in slices {
            if room == 0 {
                break;
            }
            let len = slice.len().min(room);
            bytes.extend_from_slice(&slice[..len]);
            room -= len;
            taken += len;
        }
        if !discards || conn.cut {
            // A cut connection's buffer fills up; a client that has closed throws away what comes.
            conn.down_bytes += taken;
        }
        if !discards {
            self.send_bytes(id, Way::Down, &bytes);
        }
        Some(taken)
    }

    /// The shard's side is closed for good.
    pub(crate) fn shard_closed(&mut self, id: ConnId, reset: bool) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let said = conn.phase == Phase::Lingering;
        conn.phase = Phase::Gone;
        conn.owner = None;
        conn.arrived.clear();
        if reset {
            conn.down.clear();
            self.send(id, Way::Down, Piece::Reset);
        } else if !said {
            self.send(id, Way::Down, Piece::Fin);
        }
        self.drop_if_over(id);
    }

    /// The shard's side sends no more, and waits for the client to close.
    pub(crate) fn shard_lingers(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.phase = Phase::Lingering;
        self.send(id, Way::Down, Piece::Fin);
        self.notice_readable(id);
    }

    /// Forgets a connection that has ended on both sides.
    fn drop_if_over(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get(&id)
            && conn.phase == Phase::Gone
            && conn.client_gone
        {
            self.conns.remove(&id);
        }
    }
}
