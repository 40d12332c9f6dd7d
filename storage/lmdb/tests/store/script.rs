//! Scripts: what a broker may ask of a store, in any order that keeps the contract of `storage/ops`.

use pelton_base::Wall;
use pelton_storage_ops::{
    Batch, Group, MessageHead, OpKind, SessionId, SessionImage, SessionKind, Target, WillImage,
};
use proptest::prelude::*;

/// Sessions of a script.
pub(crate) const SESSIONS: u64 = 5;
/// Shards of a script.
pub(crate) const SHARDS: u16 = 2;

/// A line of a script. Sessions, filters, topics and messages are chosen by small numbers.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    Put(u64, bool),
    End(u64),
    Subscribe(u64, u8, u8, u32),
    Unsubscribe(u64, u8),
    /// A message of some length for several sessions of one shard.
    Enqueue {
        sessions: u8,
        len: u32,
        qos: u8,
        retain: bool,
        sent: bool,
        identifiers: u8,
    },
    /// One for sessions of both shards, as a group.
    Grouped {
        sessions: u8,
        len: u32,
    },
    /// Many small messages for one session.
    Burst(u64, u16),
    /// All that is queued for a session is sent.
    SentAll(u64),
    Sent(u64, u8),
    Released(u64, u8),
    Done(u64, u8),
    /// Several in a row.
    DoneUpTo(u64, u8),
    Received(u64, u16),
    Unreceived(u64, u16),
    Retain(u8, u32),
    Unretain(u8),
    /// End of a batch.
    Cut,
    /// Wait for all that was sent, and compare.
    Settle,
    /// Close and open again, and compare.
    Reopen,
}

fn len() -> impl Strategy<Value = u32> {
    prop_oneof![
        8 => 0..200u32,
        2 => 200..4_000u32,
        1 => 20_000..66_000u32,
        1 => prop_oneof![Just(65_460u32), Just(65_470), Just(65_480), Just(131_000), Just(200_000)],
    ]
}

/// Any line.
pub(crate) fn line() -> impl Strategy<Value = Line> {
    let session = || 0..SESSIONS;
    prop_oneof![
        6 => (session(), any::<bool>()).prop_map(|(s, will)| Line::Put(s, will)),
        1 => session().prop_map(Line::End),
        4 => (session(), 0..6u8, 0..64u8, any::<u32>()).prop_map(|(s, f, o, i)| Line::Subscribe(s, f, o, i)),
        2 => (session(), 0..6u8).prop_map(|(s, f)| Line::Unsubscribe(s, f)),
        20 => (1..32u8, len(), 1..3u8, any::<bool>(), any::<bool>(), 0..4u8).prop_map(
            |(sessions, len, qos, retain, sent, identifiers)| Line::Enqueue {
                sessions, len, qos, retain, sent, identifiers
            }
        ),
        4 => (1..32u8, 0..300u32).prop_map(|(sessions, len)| Line::Grouped { sessions, len }),
        1 => (session(), 1..1_500u16).prop_map(|(s, n)| Line::Burst(s, n)),
        1 => session().prop_map(Line::SentAll),
        6 => (session(), any::<u8>()).prop_map(|(s, n)| Line::Sent(s, n)),
        5 => (session(), any::<u8>()).prop_map(|(s, n)| Line::Released(s, n)),
        8 => (session(), any::<u8>()).prop_map(|(s, n)| Line::Done(s, n)),
        3 => (session(), any::<u8>()).prop_map(|(s, n)| Line::DoneUpTo(s, n)),
        3 => (session(), 1..5u16).prop_map(|(s, p)| Line::Received(s, p)),
        3 => (session(), 1..5u16).prop_map(|(s, p)| Line::Unreceived(s, p)),
        4 => (0..6u8, len()).prop_map(|(t, len)| Line::Retain(t, len)),
        2 => (0..6u8).prop_map(Line::Unretain),
        8 => Just(Line::Cut),
        3 => Just(Line::Settle),
        1 => Just(Line::Reopen),
    ]
}

/// Plays lines into batches.
#[derive(Debug)]
pub(crate) struct Player {
    open: Vec<Batch>,
    /// Per session: the next sequence number, and those queued at some time and not done.
    queues: Vec<(u64, Vec<u64>)>,
    groups: u64,
    messages: u64,
}

impl Player {
    /// Begins a script.
    pub(crate) fn new() -> Self {
        Self {
            open: (0..SHARDS).map(|shard| Batch { shard, ..Batch::default() }).collect(),
            queues: (0..SESSIONS).map(|_| (0, Vec::new())).collect(),
            groups: 0,
            messages: 0,
        }
    }

    /// Ends the batches that are open.
    pub(crate) fn cut(&mut self) -> Vec<Batch> {
        let mut batches = Vec::new();
        for open in &mut self.open {
            let next = Batch { shard: open.shard, first: open.end(), ..Batch::default() };
            let batch = std::mem::replace(open, next);
            if !batch.is_empty() {
                batches.push(batch);
            }
        }
        batches
    }

    /// Operations were added to batches behind the player's back.
    pub(crate) fn skip(&mut self, batches: &[Batch]) {
        for batch in batches {
            self.open[usize::from(batch.shard)].first = batch.end();
        }
    }

    /// A new process numbers its operations from 0.
    pub(crate) fn restart(&mut self) {
        self.open.iter_mut().for_each(|open| open.first = 0);
    }

    /// Plays a line that is an operation.
    pub(crate) fn play(&mut self, line: &Line) {
        match *line {
            Line::Put(number, with_will) => {
                let bytes = image(number, self.messages, with_will);
                let kind = OpKind::PutSession { session: session(number), image: bytes.len() as u32 };
                self.shard(number).push(kind, None, &[&bytes]);
            }
            Line::End(number) => {
                self.shard(number).push(OpKind::EndSession { session: session(number) }, None, &[]);
            }
            Line::Subscribe(number, filter, options, identifier) => {
                let filter = name(filter);
                let kind = OpKind::PutSubscription {
                    session: session(number),
                    filter: filter.len() as u16,
                    options,
                    identifier,
                };
                self.shard(number).push(kind, None, &[filter.as_bytes()]);
            }
            Line::Unsubscribe(number, filter) => {
                let filter = name(filter);
                let kind = OpKind::EndSubscription { session: session(number), filter: filter.len() as u16 };
                self.shard(number).push(kind, None, &[filter.as_bytes()]);
            }
            Line::Enqueue { sessions, len, qos, retain, sent, identifiers } => {
                let shard = u64::from(sessions) % u64::from(SHARDS);
                let template = Target {
                    session: session(0),
                    sequence: 0,
                    qos,
                    retain,
                    packet_id: if sent { 9 } else { 0 },
                    identifiers,
                };
                self.enqueue(shard as u16, sessions, len, template, None);
            }
            Line::Grouped { sessions, len } => {
                self.groups += 1;
                let group = Some(Group { id: self.groups, parts: SHARDS });
                let template = Target {
                    session: session(0),
                    sequence: 0,
                    qos: 1,
                    retain: false,
                    packet_id: 0,
                    identifiers: 0,
                };
                for shard in 0..SHARDS {
                    if !self.enqueue(shard, sessions, len, template, group) {
                        self.open[usize::from(shard)].push(OpKind::Nothing, group, &[]);
                    }
                }
            }
            Line::Burst(number, count) => {
                let template = Target {
                    session: session(0),
                    sequence: 0,
                    qos: 1,
                    retain: false,
                    packet_id: 0,
                    identifiers: 0,
                };
                let shard = (number % u64::from(SHARDS)) as u16;
                for at in 0..count {
                    self.enqueue(shard, 1 << number, u32::from(at % 6) + 1, template, None);
                }
            }
            Line::SentAll(number) => {
                for nth in 0..self.queues[number as usize].1.len() {
                    let sequence = self.queues[number as usize].1[nth];
                    let kind = OpKind::Sent { session: session(number), sequence, packet_id: nth as u16 | 1 };
                    self.shard(number).push(kind, None, &[]);
                }
            }
            Line::Sent(number, nth) => self.change(number, nth, |session, sequence| OpKind::Sent {
                session,
                sequence,
                packet_id: u16::from(nth) + 1,
            }),
            Line::Released(number, nth) => {
                self.change(number, nth, |session, sequence| OpKind::Released { session, sequence });
            }
            Line::Done(number, nth) => self.done(number, nth),
            Line::DoneUpTo(number, count) => (0..count % 16).for_each(|_| self.done(number, 0)),
            Line::Received(number, packet_id) => {
                let kind = OpKind::Received { session: session(number), packet_id };
                self.shard(number).push(kind, None, &[]);
            }
            Line::Unreceived(number, packet_id) => {
                let kind = OpKind::Unreceived { session: session(number), packet_id };
                self.shard(number).push(kind, None, &[]);
            }
            Line::Retain(topic, len) => {
                self.messages += 1;
                let (head, body) = message(&name(topic), len, self.messages);
                self.open[0].push(OpKind::PutRetained { message: head }, None, &[&body]);
            }
            Line::Unretain(topic) => {
                let topic = name(topic);
                let kind = OpKind::EndRetained { topic: topic.len() as u16 };
                self.open[0].push(kind, None, &[topic.as_bytes()]);
            }
            Line::Cut | Line::Settle | Line::Reopen => unreachable!("not an operation"),
        }
    }

    fn shard(&mut self, number: u64) -> &mut Batch {
        &mut self.open[(number % u64::from(SHARDS)) as usize]
    }

    fn enqueue(&mut self, shard: u16, sessions: u8, len: u32, like: Target, group: Option<Group>) -> bool {
        let numbers: Vec<u64> = (0..SESSIONS)
            .filter(|number| sessions >> number & 1 != 0 && number % u64::from(SHARDS) == u64::from(shard))
            .collect();
        if numbers.is_empty() {
            return false;
        }
        self.messages += 1;
        let (head, body) = message(&name((self.messages % 6) as u8), len, self.messages);
        let batch = &mut self.open[usize::from(shard)];
        for &number in &numbers {
            let (next, queued) = &mut self.queues[number as usize];
            batch.targets.push(Target { session: session(number), sequence: *next, ..like });
            for at in 0..like.identifiers {
                batch.identifiers.push(self.messages as u32 * 16 + u32::from(at));
            }
            queued.push(*next);
            // Numbers are left out now and then: those of messages that were not stored.
            *next += 1 + u64::from(len.is_multiple_of(7));
        }
        batch.push(OpKind::Enqueue { message: head, targets: numbers.len() as u32 }, group, &[&body]);
        true
    }

    fn change(&mut self, number: u64, nth: u8, kind: impl FnOnce(SessionId, u64) -> OpKind) {
        let queued = &self.queues[number as usize].1;
        // Now and then one that is not there.
        let sequence = match queued.len() {
            0 => 3,
            len => queued[usize::from(nth) % len],
        };
        self.shard(number).push(kind(session(number), sequence), None, &[]);
    }

    fn done(&mut self, number: u64, nth: u8) {
        self.change(number, nth, |session, sequence| OpKind::Done { session, sequence });
        let queued = &mut self.queues[number as usize].1;
        if !queued.is_empty() {
            let at = usize::from(nth) % queued.len();
            queued.remove(at);
        }
    }
}

/// A session of a script.
pub(crate) fn session(number: u64) -> SessionId {
    SessionId { slot: (number * 300 % 1024) as u16, serial: number + 1 }
}

/// Filters and topics of a script.
fn name(number: u8) -> String {
    match number {
        0 => "a".to_owned(),
        1 => "a/b".to_owned(),
        2 => "a/b/c".to_owned(),
        3 => format!("long/{}", "x".repeat(600)),
        4 => format!("long/{}y", "x".repeat(600)),
        _ => "größe/ü".to_owned(),
    }
}

fn image(number: u64, version: u64, with_will: bool) -> Vec<u8> {
    let will = with_will.then(|| WillImage {
        qos: 1,
        retain: true,
        delay_seconds: 5,
        expiry_seconds: None,
        due: Wall::NEVER,
        topic: b"will".to_vec(),
        forwarded: Vec::new(),
        payload: vec![b'w'; 50],
    });
    let image = SessionImage {
        kind: SessionKind::Client,
        client_id: format!("client-{number}"),
        expiry_seconds: version as u32,
        expires: Wall::NEVER,
        will,
    };
    let mut bytes = Vec::new();
    image.encode(&mut bytes);
    bytes
}

fn message(topic: &str, len: u32, number: u64) -> (MessageHead, Vec<u8>) {
    let mut body = topic.as_bytes().to_vec();
    let forwarded = (number % 3) as usize * 5;
    body.extend(std::iter::repeat_n(0xF0, forwarded));
    body.extend((0..len).map(|at| (u64::from(at).wrapping_mul(31) + number) as u8));
    let head = MessageHead {
        topic: topic.len() as u16,
        forwarded: forwarded as u32,
        payload: len,
        qos: (number % 3) as u8,
        retain: number.is_multiple_of(2),
        expires: if number.is_multiple_of(4) { Wall(number) } else { Wall::NEVER },
        publisher: number,
        client_hash: number << 40,
    };
    (head, body)
}
