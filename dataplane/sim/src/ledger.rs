//! What was published, subscribed and received: the memory of the oracles.
//!
//! Times are steps of the world, which no two events share. What a client cannot know exactly is kept as an
//! interval: a message is accepted somewhere between its first transmission and its acknowledgement, a
//! subscription stands for sure between SUBACK and the next UNSUBSCRIBE and perhaps a little around it.

use std::collections::BTreeMap;

use pelton_base::Mono;
use pelton_mqtt::{QoS, RawFilter, RetainHandling, TopicName, Version};

use crate::disaster::Crash;

mod doubt;

/// A step of the world.
pub type Step = u64;
/// Names a message; messages count up in the order of their first transmission.
pub type MessageNo = usize;
/// Names a session.
pub type SessionNo = usize;

/// A message that a client published, or may have published as its will.
#[derive(Clone, Debug)]
pub struct Message {
    /// The topic.
    pub topic: String,
    /// The client.
    pub publisher: usize,
    /// The session it was published in.
    pub session: SessionNo,
    /// As published.
    pub qos: QoS,
    /// As published.
    pub retain: bool,
    /// The payload; begins with the message's number unless it is empty.
    pub payload: Vec<u8>,
    /// Message Expiry Interval, in seconds.
    pub expiry: Option<u32>,
    /// User property sent along.
    pub marked: bool,
    /// A will.
    pub will: bool,
    /// First transmission. For a will: its CONNECT.
    pub sent: Step,
    /// The same.
    pub sent_at: Mono,
    /// Its acknowledgement, or another sign that it was accepted.
    pub accepted: Option<Step>,
    /// The same.
    pub accepted_at: Option<Mono>,
    /// The broker refused it.
    pub refused: bool,
    /// Transmissions.
    pub attempts: u32,
}

/// A subscription as it stood with one set of options.
#[derive(Clone, Debug)]
pub struct Subscribed {
    /// The filter; without `$share/…` for a shared one.
    pub filter: String,
    /// The shared group.
    pub group: Option<String>,
    /// As asked.
    pub qos: QoS,
    /// As asked.
    pub no_local: bool,
    /// As asked.
    pub retain_as_published: bool,
    /// As asked.
    pub handling: RetainHandling,
    /// Subscription Identifier, 0 for none.
    pub identifier: u32,
    /// Another subscription of this filter stood when this one was asked for, surely.
    pub replaces: bool,
    /// SUBSCRIBE was sent.
    pub asked: Step,
    /// SUBACK came.
    pub granted: Option<Step>,
    /// UNSUBSCRIBE was sent, or a SUBSCRIBE that replaces it.
    pub dropped: Option<Step>,
    /// Its acknowledgement came.
    pub gone: Option<Step>,
    /// SUBACK refused it.
    pub refused: bool,
}

impl Subscribed {
    /// Whether the filter matches.
    pub fn matches(&self, topic: &str) -> bool {
        let filter = RawFilter::new(&self.filter).and_then(RawFilter::check).expect("a valid filter");
        filter.matches(TopicName::new(topic).expect("a valid topic"))
    }

    /// Stands at every step of the interval.
    pub fn stands(&self, from: Step, to: Step) -> bool {
        !self.refused
            && self.granted.is_some_and(|granted| granted <= from)
            && self.dropped.is_none_or(|dropped| dropped > to)
    }

    /// May stand at some step of the interval.
    pub fn may_stand(&self, from: Step, to: Step) -> bool {
        !self.refused && self.asked <= to && self.gone.is_none_or(|gone| gone >= from)
    }
}

/// What a session received of one message.
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// Live copies without DUP, and QoS 2 copies that were new to the client.
    pub fresh: u32,
    /// Copies with DUP.
    pub resent: u32,
    /// Copies with RETAIN: sent because of a new subscription, or as published.
    pub retained: u32,
    /// How many of those there could be.
    pub retained_times: u32,
    /// QoS of the last copy.
    pub qos: QoS,
    /// When the first copy came.
    pub first_at: Mono,
}

impl Receipt {
    /// Anything at all.
    pub fn any(&self) -> bool {
        self.fresh + self.resent + self.retained != 0
    }
}

/// A session, from the CONNECT that made it to its end.
#[derive(Clone, Debug)]
pub struct SessionRecord {
    /// The client.
    pub client: usize,
    /// Protocol version of the client.
    pub version: Version,
    /// It outlives its connections, by more than a run takes.
    pub persistent: bool,
    /// The CONNECT that made it was sent.
    pub asked: Step,
    /// It ended, or may have.
    pub ended: Option<Step>,
    /// Its subscriptions, past and present.
    pub subscriptions: Vec<Subscribed>,
    /// What it received, by message.
    pub received: BTreeMap<MessageNo, Receipt>,
    /// The last message first received, by publisher, topic, QoS published and received.
    pub last: BTreeMap<(usize, String, QoS, QoS), MessageNo>,
}

/// What came by a shared group: message to the sessions that got it.
pub type GroupReceipts = BTreeMap<MessageNo, Vec<(SessionNo, QoS, bool)>>;

/// Everything there is to know afterwards.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Messages.
    pub messages: Vec<Message>,
    /// Sessions.
    pub sessions: Vec<SessionRecord>,
    /// Group and filter to what came by it.
    pub groups: BTreeMap<(String, String), GroupReceipts>,
    /// Deliveries in all.
    pub deliveries: u64,
    /// Ends of the broker's process.
    pub crashes: Vec<Crash>,
    /// Times at which the disk was full or failed; the last may not be over.
    pub faults: Vec<(Mono, Mono)>,
    /// For how long the machine stood still, all in all.
    pub stood_still_ms: u64,
    /// Jumps of the wall clock, in milliseconds.
    pub jumps: Vec<(Mono, i64)>,
    /// Steps at which losses of power undid what had been acknowledged.
    pub undone_at: Vec<Step>,
}

/// A PUBLISH as a client decoded it.
#[derive(Clone, Debug)]
pub struct Received {
    /// The topic, aliases resolved.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// The QoS.
    pub qos: QoS,
    /// DUP.
    pub dup: bool,
    /// RETAIN.
    pub retain: bool,
    /// Message Expiry Interval.
    pub expiry: Option<u32>,
    /// Subscription identifiers.
    pub identifiers: Vec<u32>,
    /// A user property was there.
    pub marked: bool,
    /// For QoS 2: the client had it already.
    pub known: bool,
    /// When the connection it came by was opened.
    pub connection_at: Mono,
}

/// Something the broker should not have done.
pub type Verdict = Result<(), String>;

macro_rules! require {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}
pub(crate) use require;

impl Ledger {
    /// The number of a message in its payload.
    pub fn number(payload: &[u8]) -> Option<MessageNo> {
        std::str::from_utf8(payload.get(..8)?).ok()?.parse().ok()
    }

    /// A payload for the next message.
    pub fn payload(&self, len: usize) -> Vec<u8> {
        let number = self.messages.len();
        let mut payload = format!("{number:08}").into_bytes();
        payload.extend((8..len).map(|i| (i + number) as u8));
        payload
    }

    /// Checks a delivery against all that is known, and takes note of it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn receive(&mut self, session_no: SessionNo, got: &Received, step: Step, now: Mono) -> Verdict {
        self.deliveries += 1;
        // After a crash messages may come again that need not say so.
        let is_calm = self.crashes.is_empty() && self.faults.is_empty();
        let session = &mut self.sessions[session_no];
        if got.payload.is_empty() {
            let wanted = session.subscriptions.iter().any(|s| !s.refused && s.matches(&got.topic));
            require!(wanted, "an empty message of {} was not asked for", got.topic);
            return Ok(());
        }
        let number = Self::number(&got.payload);
        let Some(number) = number.filter(|&number| number < self.messages.len()) else {
            return Err(format!("a payload nobody published: {:?}", got.payload));
        };
        let message = &self.messages[number];
        let what = format!("message {number} (client {}, {:?})", message.publisher, message.qos);
        require!(message.topic == got.topic, "{what} came on {} instead of {}", got.topic, message.topic);
        require!(message.payload == got.payload, "{what} came with another payload");
        require!(!message.refused, "{what} was refused to its publisher and delivered");
        require!(got.qos <= message.qos, "{what} came with a higher QoS");
        if session.version.is_v5() {
            require!(got.marked == message.marked, "{what} came without its user property, or with one");
        }
        check_expiry(message, got, &what, |from, to| elapsed_ms(&self.jumps, from, to), now)?;
        // The message was matched somewhere in this interval; for QoS 1 and 2 everywhere before its PUBACK or
        // PUBREC.
        let until = match (message.qos, message.will) {
            (QoS::AtMostOnce, _) | (_, true) => step,
            _ => message.accepted.unwrap_or(step).min(step),
        };
        // A group may have kept it for whoever joins.
        let grouped = session.subscriptions.iter().any(|s| s.group.is_some());
        let until = if grouped { step } else { until };
        let possible: Vec<&Subscribed> = session
            .subscriptions
            .iter()
            .filter(|s| s.matches(&got.topic) && s.may_stand(message.sent, until))
            .collect();
        let shared: Vec<(String, String)> =
            possible.iter().filter_map(|s| s.group.clone().map(|group| (group, s.filter.clone()))).collect();
        if let Some(group) = shared.first() {
            let qos = possible.iter().map(|s| s.qos).max().unwrap_or_default();
            require!(got.qos <= qos, "{what} came by a group with {:?}", got.qos);
            if got.qos != QoS::ExactlyOnce || !got.known {
                let receipts = self.groups.entry(group.clone()).or_default().entry(number).or_default();
                receipts.push((session_no, got.qos, got.dup));
            }
            return Ok(());
        }
        let live = judge_live(session, session_no, message, got, &possible, &what, until);
        // A publisher that sends QoS 1 again may be matched again.
        let allowed = if message.qos == QoS::AtLeastOnce { message.attempts } else { 1 };
        // After a crash, or by another connection when the disk has failed, what was sent with QoS 1 comes again,
        // and its DUP flag may be forgotten; a QoS 2 publish
        // that was not acknowledged, or refused, is routed again. QoS 2 comes once all the same, but where
        // acknowledged transactions are undone, and to whom nothing is stored for.
        let crashes = self.crashes.iter().filter(|crash| crash.step >= message.sent).count() as u32;
        let undone = self.undone_at.iter().filter(|&&step| step >= message.sent).count() as u32;
        let faults = self.faults.iter().filter(|&&(_, until)| until >= message.sent_at).count() as u32;
        let refused = !session.persistent && faults != 0;
        // By a subscription of a lower QoS that stood before.
        let came_lower = session.received.get(&number).is_some_and(|r| r.any() && r.qos != QoS::ExactlyOnce);
        let allowed = match got.qos {
            _ if crashes == 0 && self.faults.is_empty() => allowed,
            QoS::ExactlyOnce if !message.will && !refused && !came_lower => allowed + undone,
            // With every connection, as long as the disk fails.
            _ if faults != 0 => 1 << 20,
            _ => message.attempts.max(1) * (1 + crashes),
        };
        let is_new = !got.dup || (got.qos == QoS::ExactlyOnce && !got.known);
        let keeps = possible.iter().any(|s| s.retain_as_published);
        if got.retain {
            let asked = asked_retained(session, got, step);
            match judge_retained(session, message, got, &asked, &what) {
                Err(why) if !keeps || live.is_err() => return Err(why),
                _ => {}
            }
            let times = asked.len() as u32 * message.attempts.max(1) + if keeps { allowed } else { 0 };
            let times = times * (1 + crashes + faults);
            let receipt = session.received.entry(number).or_default();
            if !receipt.any() {
                receipt.first_at = now;
            }
            receipt.qos = got.qos;
            receipt.resent += u32::from(got.dup);
            receipt.retained += u32::from(is_new);
            // A copy of before may have been either.
            let times = times.max(receipt.retained_times);
            receipt.retained_times = times;
            require!(
                receipt.retained <= times,
                "{what} came {} times with RETAIN, and could come {times} times",
                receipt.retained
            );
            return if is_calm { judge_copies(session, message, number, &what, step) } else { Ok(()) };
        }
        live?;
        let receipt = session.received.entry(number).or_default();
        let first = !receipt.any();
        receipt.qos = got.qos;
        if first {
            receipt.first_at = now;
        }
        receipt.resent += u32::from(got.dup);
        if is_new {
            receipt.fresh += 1;
            require!(
                receipt.fresh <= allowed,
                "{what} on {} came {} times as new, published {} times",
                got.topic,
                receipt.fresh,
                message.attempts
            );
        }
        if is_calm {
            judge_copies(session, message, number, &what, step)?;
        }
        // One that was sent again has no place of its own in the order: some saw it the first time.
        if first && !message.will && message.attempts == 1 {
            let key = (message.publisher, got.topic.clone(), message.qos, got.qos);
            let last = session.last.insert(key, number);
            require!(last.is_none_or(|last| last < number), "{what} came after {last:?}: out of order");
        }
        Ok(())
    }
}

/// The subscriptions that asked for the retained message of a topic. A fetch goes on while the connection
/// lasts; a copy that waits in the session comes later.
fn asked_retained<'a>(session: &'a SessionRecord, got: &Received, step: Step) -> Vec<&'a Subscribed> {
    let asks = |s: &&Subscribed| {
        s.group.is_none()
            && !s.refused
            && s.matches(&got.topic)
            && s.asked <= step
            && match s.handling {
                RetainHandling::Send => true,
                RetainHandling::SendIfNew => !s.replaces,
                RetainHandling::DoNotSend => false,
            }
    };
    session.subscriptions.iter().filter(asks).collect()
}

/// A message is live for a subscription or retained before it, not both: of one that was published once there is a
/// copy for each subscription that asked for it at most, or one more where another did not ask.
fn judge_copies(
    session: &SessionRecord,
    message: &Message,
    number: MessageNo,
    what: &str,
    step: Step,
) -> Verdict {
    let Some(receipt) = session.received.get(&number) else { return Ok(()) };
    if message.attempts > 1 || message.payload.is_empty() {
        return Ok(());
    }
    let mine =
        |s: &&Subscribed| s.group.is_none() && !s.refused && s.matches(&message.topic) && s.asked <= step;
    let (asked, others) =
        session.subscriptions.iter().filter(mine).fold((0, 0), |(asked, others), s| match s.handling {
            RetainHandling::Send => (asked + 1, others),
            RetainHandling::SendIfNew if !s.replaces => (asked + 1, others),
            RetainHandling::SendIfNew | RetainHandling::DoNotSend => (asked, 1),
        });
    let copies = receipt.fresh + receipt.retained;
    let most = u32::max(asked + others, 1);
    require!(
        copies <= most,
        "{what} came {copies} times, {} of them with RETAIN, and was asked for {most} times",
        receipt.retained
    );
    Ok(())
}

/// Whether a delivery can be one that a new subscription asked for.
fn judge_retained(
    session: &SessionRecord,
    message: &Message,
    got: &Received,
    asked: &[&Subscribed],
    what: &str,
) -> Verdict {
    require!(message.retain, "{what} came with RETAIN, and was published without");
    require!(!asked.is_empty(), "{what} on {} came as retained, and nobody asked for it", got.topic);
    let fits = |s: &&Subscribed| {
        got.qos == message.qos.min(s.qos)
            && (!session.version.is_v5()
                || got.identifiers.iter().copied().eq((s.identifier != 0).then_some(s.identifier)))
    };
    require!(
        asked.iter().any(fits),
        "{what} came as retained with {:?} and identifiers {:?}, as none of its subscriptions asks",
        got.qos,
        got.identifiers
    );
    Ok(())
}

/// Whether a delivery can be a live one.
fn judge_live(
    session: &SessionRecord,
    session_no: SessionNo,
    message: &Message,
    got: &Received,
    possible: &[&Subscribed],
    what: &str,
    until: Step,
) -> Verdict {
    require!(!possible.is_empty(), "{what} on {} came without a subscription", got.topic);
    let stand: Vec<&Subscribed> = possible
        .iter()
        .copied()
        .filter(|s| s.stands(message.sent, until))
        .filter(|s| !(s.no_local && message.publisher == session.client))
        .collect();
    let may: Vec<&Subscribed> =
        possible.iter().copied().filter(|s| !(s.no_local && message.session == session_no)).collect();
    require!(!may.is_empty(), "{what} came back to its publisher in spite of No Local");
    let lowest = stand.iter().map(|s| s.qos).max().unwrap_or_default().min(message.qos);
    let highest = may.iter().map(|s| s.qos).max().unwrap_or_default().min(message.qos);
    require!(
        (lowest..=highest).contains(&got.qos),
        "{what} came with {:?}, not in {lowest:?}..={highest:?}",
        got.qos
    );
    if session.version.is_v5() {
        let missing = stand.iter().find(|s| s.identifier != 0 && !got.identifiers.contains(&s.identifier));
        require!(missing.is_none(), "{what} came without identifier of {missing:?}: {:?}", got.identifiers);
        let odd = got.identifiers.iter().find(|id| !may.iter().any(|s| s.identifier == **id));
        require!(odd.is_none(), "{what} came with identifier {odd:?} that no subscription has");
    }
    if got.retain {
        require!(message.retain, "{what} came with RETAIN, and was published without");
    } else {
        let kept = stand.iter().any(|s| s.retain_as_published);
        require!(!(kept && message.retain), "{what} lost RETAIN in spite of Retain As Published");
    }
    require!(!(got.dup && got.qos == QoS::AtMostOnce), "{what} came with DUP and QoS 0");
    Ok(())
}

/// The least and the most that the wall clock can be said to have advanced, in milliseconds: it jumped in between,
/// and who looked at it when is not known.
fn elapsed_ms(jumps: &[(Mono, i64)], from: Mono, to: Mono) -> (u64, u64) {
    let ms = to.since(from) / 1_000_000;
    let jumps = || jumps.iter().filter(|&&(at, _)| from <= at && at <= to).map(|&(_, ms)| ms);
    let back: i64 = jumps().filter(|ms| *ms < 0).sum();
    let forward: i64 = jumps().filter(|ms| *ms > 0).sum();
    (ms.saturating_add_signed(back), ms.saturating_add_signed(forward))
}

fn check_expiry(
    message: &Message,
    got: &Received,
    what: &str,
    elapsed_ms: impl Fn(Mono, Mono) -> (u64, u64),
    now: Mono,
) -> Verdict {
    let Some(expiry) = message.expiry else {
        require!(got.expiry.is_none(), "{what} came with an expiry, and has none");
        return Ok(());
    };
    // When it was taken the clock had not been set back yet, maybe.
    let (least, most) = elapsed_ms(message.sent_at, now);
    let set_back_ms = (now.since(message.sent_at) / 1_000_000).saturating_sub(least);
    // What the session had before its connection was opened was sent after that.
    if let Some(accepted) = message.accepted_at.filter(|&at| at < got.connection_at && !got.dup) {
        let waited_ms = (got.connection_at.since(accepted) / 1_000_000).saturating_sub(set_back_ms);
        require!(
            waited_ms < u64::from(expiry) * 1_000 + 5,
            "{what} expired after {expiry} s and came after {waited_ms} ms"
        );
    }
    let Some(left) = got.expiry else { return Ok(()) };
    // Where the clock was set back there may be more left than there was.
    require!(
        left <= expiry || set_back_ms != 0,
        "{what} came with an expiry of {left} s, more than {expiry}"
    );
    require!(
        u64::from(left) * 1_000 + most + 1_000 >= u64::from(expiry) * 1_000,
        "{what} has {left} s left of {expiry} after {most} ms"
    );
    if let Some(accepted) = message.accepted_at.filter(|&at| at < got.connection_at) {
        let waited_ms = (got.connection_at.since(accepted) / 1_000_000).saturating_sub(set_back_ms);
        require!(
            u64::from(left) * 1_000 <= (u64::from(expiry) * 1_000).saturating_sub(waited_ms) + 1_005
                || set_back_ms != 0,
            "{what} has {left} s left of {expiry} after waiting {waited_ms} ms"
        );
    }
    Ok(())
}
