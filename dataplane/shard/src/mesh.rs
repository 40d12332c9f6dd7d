//! The mesh: for each ordered pair of shards a ring of data chunks and a ring of answers, with their emptied
//! chunks going back, and a ring of connections that are handed over.
//!
//! A shard pushes what its broker staged when there is room, and keeps it staged otherwise; it takes answers
//! whatever its state, and data whenever it is not itself behind. So no shard ever waits for another: a full
//! ring only keeps publishers' packets in front of their connections. Answers are bounded by the requests
//! they answer, and whoever asks drains its answers before it asks more.

use pelton_broker::peers::{Chunk, Item, Outbox, Reply};
use pelton_broker::router::ShardMask;
use rtrb::{Consumer, Producer, RingBuffer};

/// Chunks under way to one shard.
const DATA_SLOTS: usize = 16;
/// Chunks of answers under way to one shard.
const REPLY_SLOTS: usize = 16;
/// Connections on their way to one shard.
const HANDOVER_SLOTS: usize = 256;

/// A connection that is handed to another shard, with the bytes that have been read and not used: its CONNECT
/// and what followed.
#[derive(Debug)]
pub struct HandedOver<H> {
    /// The stream.
    pub stream: H,
    /// Bytes read.
    pub bytes: Vec<u8>,
    /// Bytes queued to it; some may be under way.
    pub unsent: Vec<u8>,
    /// Which listener accepted it.
    pub listener: u16,
}

struct Peer<H> {
    data_out: Producer<Chunk<Item>>,
    /// Chunks of ours that the other has worked through.
    data_back: Consumer<Chunk<Item>>,
    worked_through: u64,
    data_in: Consumer<Chunk<Item>>,
    data_done: Producer<Chunk<Item>>,
    reply_out: Producer<Chunk<Reply>>,
    reply_in: Consumer<Chunk<Reply>>,
    spare_data: Vec<Chunk<Item>>,
    handover_out: Producer<HandedOver<H>>,
    handover_in: Consumer<HandedOver<H>>,
}

/// One shard's ends of the rings to all others.
pub struct Mesh<H> {
    peers: Vec<Option<Peer<H>>>,
    /// Shards that were handed connections since the last exchange.
    handed: ShardMask,
}

/// The meshes of `shards` shards, to be given one to each.
pub fn mesh<H>(shards: u16) -> Vec<Mesh<H>> {
    narrow_mesh(shards, DATA_SLOTS)
}

/// The same with rings for so many chunks of data: where they are few, shards often find them full.
pub fn narrow_mesh<H>(shards: u16, data_slots: usize) -> Vec<Mesh<H>> {
    let n = usize::from(shards);
    let mut meshes: Vec<Mesh<H>> =
        (0..n).map(|_| Mesh { peers: (0..n).map(|_| None).collect(), handed: ShardMask::NONE }).collect();
    for a in 0..n {
        for b in a + 1..n {
            let (at_a, at_b) = pair(data_slots);
            meshes[a].peers[b] = Some(at_a);
            meshes[b].peers[a] = Some(at_b);
        }
    }
    meshes
}

fn pair<H>(data_slots: usize) -> (Peer<H>, Peer<H>) {
    let (data_ab, data_ba) = (RingBuffer::new(data_slots), RingBuffer::new(data_slots));
    // Every chunk under way has a place on its way back: those in the ring, the one being worked through, and
    // the one pushed meanwhile.
    let (back_ab, back_ba) = (RingBuffer::new(data_slots + 2), RingBuffer::new(data_slots + 2));
    let (reply_ab, reply_ba) = (RingBuffer::new(REPLY_SLOTS), RingBuffer::new(REPLY_SLOTS));
    let (hand_ab, hand_ba) = (RingBuffer::new(HANDOVER_SLOTS), RingBuffer::new(HANDOVER_SLOTS));
    let a = Peer {
        data_out: data_ab.0,
        data_back: back_ab.1,
        worked_through: 0,
        data_in: data_ba.1,
        data_done: back_ba.0,
        reply_out: reply_ab.0,
        reply_in: reply_ba.1,
        spare_data: Vec::new(),
        handover_out: hand_ab.0,
        handover_in: hand_ba.1,
    };
    let b = Peer {
        data_out: data_ba.0,
        data_back: back_ba.1,
        worked_through: 0,
        data_in: data_ab.1,
        data_done: back_ab.0,
        reply_out: reply_ba.0,
        reply_in: reply_ab.1,
        spare_data: Vec::new(),
        handover_out: hand_ba.0,
        handover_in: hand_ab.1,
    };
    (a, b)
}

impl<H> Mesh<H> {
    /// The shards this one has rings with.
    pub fn others(&self) -> impl Iterator<Item = u16> + use<H> {
        let there: Vec<u16> =
            (0..self.peers.len() as u16).filter(|&i| self.peers[usize::from(i)].is_some()).collect();
        there.into_iter()
    }

    fn peer(&mut self, shard: u16) -> Option<&mut Peer<H>> {
        self.peers.get_mut(usize::from(shard))?.as_mut()
    }

    /// The next data chunk from `shard`.
    pub fn next_data(&mut self, shard: u16) -> Option<Chunk<Item>> {
        self.peer(shard)?.data_in.pop().ok()
    }

    /// Gives a data chunk back that has been worked through.
    pub fn give_back(&mut self, shard: u16, mut chunk: Chunk<Item>) {
        chunk.clear();
        if let Some(peer) = self.peer(shard) {
            let pushed = peer.data_done.push(chunk);
            debug_assert!(pushed.is_ok(), "every chunk under way has a place on its way back");
        }
    }

    /// The next answers from `shard`.
    pub fn next_replies(&mut self, shard: u16) -> Option<Chunk<Reply>> {
        self.peer(shard)?.reply_in.pop().ok()
    }

    /// The next connection handed over by `shard`.
    pub fn next_handover(&mut self, shard: u16) -> Option<HandedOver<H>> {
        self.peer(shard)?.handover_in.pop().ok()
    }

    /// Hands a connection over; gives it back if there is no room.
    pub fn hand_over(&mut self, shard: u16, connection: HandedOver<H>) -> Result<(), HandedOver<H>> {
        let Some(peer) = self.peer(shard) else { return Err(connection) };
        peer.handover_out.push(connection).map_err(|rtrb::PushError::Full(back)| back)?;
        self.handed = self.handed.and(ShardMask::one(shard));
        Ok(())
    }

    /// Whether `shard` can be handed a connection.
    pub fn takes_handover(&mut self, shard: u16) -> bool {
        self.peer(shard).is_some_and(|peer| !peer.handover_out.is_full())
    }

    /// Pushes what is staged as far as there is room, and takes note of how far the others have come. Returns
    /// the shards that got something, to be woken.
    pub fn exchange(&mut self, outbox: &mut Outbox) -> ShardMask {
        let mut woken = std::mem::take(&mut self.handed);
        for (shard, peer) in self.peers.iter_mut().enumerate() {
            let (shard, Some(peer)) = (shard as u16, peer) else { continue };
            while let Ok(chunk) = peer.data_back.pop() {
                peer.worked_through += 1;
                peer.spare_data.push(chunk);
            }
            outbox.set_taken(shard, peer.worked_through);
            if !outbox.dirty().has(shard) {
                continue;
            }
            if peer.data_out.slots() > 0 {
                let spare = peer.spare_data.pop().unwrap_or_default();
                match outbox.take_data(shard, spare) {
                    Ok(chunk) => {
                        let pushed = peer.data_out.push(chunk);
                        debug_assert!(pushed.is_ok(), "a slot is free");
                        woken = woken.and(ShardMask::one(shard));
                    }
                    Err(spare) => peer.spare_data.push(spare),
                }
            }
            if peer.reply_out.slots() > 0
                && let Ok(chunk) = outbox.take_replies(shard, Chunk::default())
            {
                let pushed = peer.reply_out.push(chunk);
                debug_assert!(pushed.is_ok(), "a slot is free");
                woken = woken.and(ShardMask::one(shard));
            }
        }
        woken
    }

    /// Whether anything has come from any other shard.
    pub fn has_input(&self) -> bool {
        self.peers.iter().flatten().any(|peer| {
            !peer.data_in.is_empty()
                || !peer.reply_in.is_empty()
                || !peer.handover_in.is_empty()
                || !peer.data_back.is_empty()
        })
    }

    /// Whether nothing is under way to this shard, for checks. Chunks on their way back do not count: they are
    /// empty, and are collected whenever the shard has a turn.
    pub fn is_quiet(&self) -> bool {
        self.peers
            .iter()
            .flatten()
            .all(|peer| peer.data_in.is_empty() && peer.reply_in.is_empty() && peer.handover_in.is_empty())
    }
}

impl<H> std::fmt::Debug for Mesh<H> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("shards", &self.peers.len()).finish()
    }
}
