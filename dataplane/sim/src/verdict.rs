//! What must hold when everything has come to rest: nobody misses what was promised, every will met its
//! fate, every shard shows the same retained messages, and they are the right ones.

use std::collections::{BTreeMap, BTreeSet};

use pelton_base::Mono;
use pelton_broker::counters::Dropped;
use pelton_broker::settings::QueuePolicy;
use pelton_mqtt::{QoS, RetainHandling};

use crate::client::{Client, WillFate, WillRecord};
use crate::ledger::{Message, MessageNo, Verdict, require};
use crate::world::World;

/// Counted reasons for which a message of QoS 1 or 2 may not reach a session that lives on.
const QUEUE_REASONS: [Dropped; 3] =
    [Dropped::QueueFullOldest, Dropped::QueueFullNewest, Dropped::TooLargeForClient];
/// And those of a shared group's message.
const GROUP_REASONS: [Dropped; 6] = [
    Dropped::QueueFullOldest,
    Dropped::QueueFullNewest,
    Dropped::TooLargeForClient,
    Dropped::NoGroupMember,
    Dropped::GroupQueueFull,
    Dropped::Expired,
];

/// How long the end of a connection may go unnoticed.
const NOTICED_WITHIN_MS: u64 = 30_000;

fn is_promised(message: &Message) -> bool {
    message.accepted.is_some() && !message.will && !message.refused && !message.payload.is_empty()
}

/// Every message that was acknowledged to its publisher has reached every session that was surely subscribed
/// and lives on, but for what was dropped and counted.
///
/// # Errors
/// The messages that are missing.
pub fn deliveries(world: &World) -> Verdict {
    let ledger = &world.stage.ledger;
    let (mut missing, mut expired, mut missing_qos0) = (Vec::new(), Vec::new(), Vec::new());
    for client in &world.clients {
        let Some(number) = client.session() else { continue };
        let session = &ledger.sessions[number];
        let connected = client.connected_since();
        for (no, message) in ledger.messages.iter().enumerate().filter(|(_, m)| is_promised(m)) {
            let Some(accepted) = message.accepted else { continue };
            let stands = session.subscriptions.iter().filter(|s| {
                s.group.is_none()
                    && s.stands(message.sent, accepted)
                    && !(s.no_local && message.publisher == session.client)
                    && s.matches(&message.topic)
            });
            let mut qos = None;
            let mut lasts = false;
            for subscription in stands {
                qos = qos.max(Some(subscription.qos.min(message.qos)));
                lasts |= subscription.dropped.is_none();
            }
            let Some(qos) = qos else { continue };
            if session.received.get(&no).is_some_and(|receipt| receipt.any()) {
                continue;
            }
            let line = (no, session.client, &message.topic, qos);
            if qos == QoS::AtMostOnce {
                // Surely delivered only if the connection and the subscription stood all the time.
                if lasts && connected.is_some_and(|since| since < message.sent_at) && message.expiry.is_none()
                {
                    missing_qos0.push(line);
                }
            } else if message.expiry.is_some() {
                expired.push(line);
            } else {
                missing.push(line);
            }
        }
    }
    let excused = world.cluster.dropped(&QUEUE_REASONS);
    require!(
        missing.len() as u64 <= excused,
        "{} messages are missing, {excused} were dropped and counted; (message, client, topic, qos): {missing:?}",
        missing.len()
    );
    let excused_expired = excused + world.cluster.dropped(&[Dropped::Expired]);
    require!(
        (missing.len() + expired.len()) as u64 <= excused_expired,
        "{} messages that expire are missing, {excused_expired} were dropped and counted: {expired:?}",
        expired.len()
    );
    // A subscription whose SUBACK never came may have raised the QoS, and the message gone to a queue.
    let excused = excused + world.cluster.dropped(&[Dropped::OutboundFull]);
    require!(
        missing_qos0.len() as u64 <= excused,
        "{} messages of QoS 0 are missing on connections that stood, {excused} were dropped and counted: {missing_qos0:?}",
        missing_qos0.len()
    );
    Ok(())
}

/// Every new subscription that asked for it got the retained message of every topic it matches, where there is
/// no doubt which that is, or a newer message of the topic.
///
/// # Errors
/// The messages that are missing.
pub fn fetches(world: &World) -> Verdict {
    let ledger = &world.stage.ledger;
    let mut by_topic: BTreeMap<&str, Vec<MessageNo>> = BTreeMap::new();
    for (number, message) in ledger.messages.iter().enumerate().filter(|(_, m)| m.retain) {
        by_topic.entry(&message.topic).or_default().push(number);
    }
    // The last one on its topic, retained before all doubt.
    let surely_retained = by_topic.values().filter_map(|numbers| {
        let last = *numbers.last()?;
        let message = &ledger.messages[last];
        let before = numbers.iter().all(|&other| {
            let other = &ledger.messages[other];
            other.accepted.is_some()
                && !other.will
                && other.attempts == 1
                && other.publisher == message.publisher
        });
        (before && is_promised(message) && message.expiry.is_none()).then_some(last)
    });
    let surely_retained: Vec<MessageNo> = surely_retained.collect();
    let mut missing = Vec::new();
    for client in &world.clients {
        let (Some(number), Some(since)) = (client.session(), client.connected_at_step()) else { continue };
        let session = &ledger.sessions[number];
        for subscription in &session.subscriptions {
            let asks = subscription.group.is_none()
                && subscription.granted.is_some()
                && subscription.dropped.is_none()
                && subscription.asked > since
                && subscription.handling == RetainHandling::Send;
            if !asks {
                continue;
            }
            for &no in &surely_retained {
                let message = &ledger.messages[no];
                if message.accepted.is_none_or(|accepted| accepted >= subscription.asked)
                    || (subscription.no_local && message.publisher == client.index)
                    || !subscription.matches(&message.topic)
                {
                    continue;
                }
                // What its publisher sent later takes its place, retained or not; what others sent does only if retained.
                let came = session.received.range(no..).any(|(&other, receipt)| {
                    let other = &ledger.messages[other];
                    let takes_its_place = other.retain || other.publisher == message.publisher;
                    receipt.any() && takes_its_place && other.topic == message.topic
                });
                if !came {
                    missing.push((no, client.index, &message.topic, &subscription.filter));
                }
            }
        }
    }
    let excused = world.cluster.dropped(&QUEUE_REASONS) + world.cluster.dropped(&[Dropped::OutboundFull]);
    require!(
        missing.len() as u64 <= excused,
        "{} retained messages did not come with their subscription, {excused} were dropped and counted; \
         (message, client, topic, filter): {missing:?}",
        missing.len()
    );
    Ok(())
}

/// Every acknowledged message that matched a shared group with a member that stays reached one member, and
/// with QoS 2 no more than one.
///
/// # Errors
/// What is missing, or came twice.
pub fn groups(world: &World) -> Verdict {
    let ledger = &world.stage.ledger;
    let mut members: BTreeMap<(String, String), Vec<(usize, usize)>> = BTreeMap::new();
    for (number, session) in ledger.sessions.iter().enumerate() {
        for (position, subscription) in session.subscriptions.iter().enumerate() {
            if let Some(group) = &subscription.group {
                let key = (group.clone(), subscription.filter.clone());
                members.entry(key).or_default().push((number, position));
            }
        }
    }
    let (mut missing, mut missing_qos1) = (Vec::new(), Vec::new());
    for (group, members) in &members {
        let receipts = ledger.groups.get(group);
        for (no, message) in ledger.messages.iter().enumerate() {
            let came = receipts.and_then(|receipts| receipts.get(&no)).map_or(&[][..], Vec::as_slice);
            if message.qos == QoS::ExactlyOnce && came.iter().all(|(_, qos, _)| *qos == QoS::ExactlyOnce) {
                // A member whose session ends with its connection leaves no trace in the store, and a message on its
                // way from the group's queue to a member's may be in both.
                // What was refused because the disk failed is sent again.
                let crashes = ledger.crashes_since(message.sent);
                let refused =
                    if ledger.is_faulty(message.sent_at, world.stage.now) { message.attempts } else { 0 };
                require!(
                    came.len() <= 1 + crashes + refused as usize,
                    "message {no} of QoS 2 came to several members of {group:?}: {came:?}"
                );
            }
            let Some(accepted) = message.accepted else { continue };
            if !is_promised(message) || message.qos == QoS::AtMostOnce || !came.is_empty() {
                continue;
            }
            if ledger.may_end_with_member(message, members) {
                continue;
            }
            let stays = members.iter().any(|&(session, position)| {
                let session = &ledger.sessions[session];
                let subscription = &session.subscriptions[position];
                session.persistent
                    && session.ended.is_none()
                    && subscription.dropped.is_none()
                    && subscription.stands(message.sent, accepted)
                    && subscription.matches(&message.topic)
            });
            let qos = members.iter().map(|&(session, position)| {
                let subscription = &ledger.sessions[session].subscriptions[position];
                subscription.qos.min(message.qos)
            });
            if stays && qos.min() == Some(QoS::AtLeastOnce) {
                missing_qos1.push((no, group));
            }
            if stays {
                missing.push((no, group, message.qos));
            }
        }
    }
    let excused = world.cluster.dropped(&GROUP_REASONS);
    require!(
        missing_qos1.len() as u64 <= excused,
        "{} messages of QoS 1 came to no member of their group, {excused} were dropped and counted: {missing_qos1:?}",
        missing_qos1.len()
    );
    // QoS 2 under way to a member ends with its session.
    let excused = excused + world.cluster.dropped(&[Dropped::SessionEnded]);
    require!(
        missing.len() as u64 <= excused,
        "{} messages came to no member of their group, {excused} were dropped and counted: {missing:?}",
        missing.len()
    );
    Ok(())
}

/// Every will was published or not, as the standard says.
///
/// # Errors
/// The first that was not.
pub fn wills(world: &World) -> Verdict {
    let ledger = &world.stage.ledger;
    let Some(observer) = world.clients[0].session() else {
        // More wills at once than its queue takes, where that ends the connection.
        let policy = world.stage.plan.settings.queue_policy;
        require!(policy == QueuePolicy::Disconnect, "the observer lost its session");
        return Ok(());
    };
    let dropped =
        world.cluster.dropped(&[Dropped::OutboundFull, Dropped::QueueFullNewest, Dropped::QueueFullOldest]);
    let received = &ledger.sessions[observer].received;
    for client in &world.clients {
        for record in &client.wills {
            let receipt = received.get(&record.message);
            let what = format!(
                "the will of client {} (message {}, delay {} s)",
                client.index, record.message, record.delay_seconds
            );
            match (fate(world, record), receipt) {
                (WillFate::Published(due), Some(receipt)) => require!(
                    due <= receipt.first_at,
                    "{what} came at {:?}, before it was due at {due:?}",
                    receipt.first_at
                ),
                (WillFate::Published(_), None) => {
                    let excused = dropped != 0 || is_excused(world, record);
                    require!(excused, "{what} was not published");
                }
                (WillFate::Discarded | WillFate::Open, Some(_)) => {
                    return Err(format!("{what} was published: {:?}", record.fate));
                }
                (WillFate::Discarded | WillFate::Open, None) | (WillFate::Unknown, _) => {}
            }
        }
    }
    Ok(())
}

/// Wills that the broker may still publish because their delay is not over, each with its client, as far as it is known
/// when their connections ended.
pub(crate) fn delayed_wills(world: &World) -> Vec<(usize, MessageNo)> {
    let network = world.stage.network.borrow();
    let received = world.clients[0].session().map(|session| &world.stage.ledger.sessions[session].received);
    let is_delayed = |record: &&WillRecord| {
        let came = received.is_some_and(|received| received.contains_key(&record.message));
        let ended = network.ended_at_shard(record.conn);
        !came && ended.is_some_and(|ended| record.is_delayed(ended, world.stage.now))
    };
    let of = |client: &Client| -> Vec<_> {
        client.wills.iter().filter(is_delayed).map(|record| (client.index, record.message)).collect()
    };
    world.clients.iter().flat_map(of).collect()
}

/// Nobody is lost while everything rests: no will comes.
///
/// # Errors
/// A will that the observer got.
pub fn no_wills_since(world: &World, rest: Mono) -> Verdict {
    let ledger = &world.stage.ledger;
    let Some(observer) = world.clients[0].session().filter(|_| ledger.jumps.is_empty()) else {
        return Ok(());
    };
    let came = ledger.sessions[observer]
        .received
        .iter()
        .find(|(number, receipt)| ledger.messages[**number].will && receipt.first_at > rest);
    require!(came.is_none(), "a will came when everything had been at rest since {rest:?}: {came:?}");
    Ok(())
}

/// What must become of a will. Where the clock jumps, who can say when a delay is over?
fn fate(world: &World, record: &WillRecord) -> WillFate {
    let is_timed = record.delay_seconds != 0 && !world.stage.ledger.jumps.is_empty();
    if is_timed { WillFate::Unknown } else { record.fate }
}

/// Whether a will that was due need not have been seen: with QoS 0 nobody is sure to get it across a crash, and
/// while the disk fails there is nobody to be told that it was not taken.
fn is_excused(world: &World, record: &WillRecord) -> bool {
    let ledger = &world.stage.ledger;
    let message = &ledger.messages[record.message];
    let delay_ms = u64::from(record.delay_seconds) * 1_000;
    // The broker may notice an end half a minute later, and, told by nobody, that much earlier than its client.
    let from = Mono(record.decided_at.0.saturating_sub(NOTICED_WITHIN_MS * 1_000_000));
    let until = record.decided_at.plus_ms(NOTICED_WITHIN_MS + delay_ms + ledger.stood_still_ms);
    (message.qos == QoS::AtMostOnce && !ledger.crashes.is_empty()) || ledger.is_faulty(from, until)
}

/// A topic's retained message as a fresh subscriber sees it.
pub type View = BTreeMap<String, MessageNo>;

/// What a probe that subscribed to everything got.
///
/// # Errors
/// If it got two messages of one topic.
pub fn retained_view(world: &World, probe: usize) -> Result<View, String> {
    let ledger = &world.stage.ledger;
    let Some(session) = world.clients[probe].session() else {
        return Err("a probe lost its session".to_owned());
    };
    let mut view = View::new();
    for (&number, receipt) in &ledger.sessions[session].received {
        let topic = ledger.messages[number].topic.clone();
        require!(receipt.retained == 1, "a probe got message {number} as {receipt:?}");
        let other = view.insert(topic, number);
        require!(other.is_none(), "a probe got messages {other:?} and {number} of one topic");
    }
    Ok(view)
}

/// Every shard shows the same, and what it shows can be what was published last.
///
/// # Errors
/// The first topic of which that is not so.
pub fn retained(world: &World, views: &[View]) -> Verdict {
    let ledger = &world.stage.ledger;
    let mut by_topic: BTreeMap<&str, Vec<MessageNo>> = BTreeMap::new();
    for (number, message) in ledger.messages.iter().enumerate() {
        if message.retain && message.attempts != 0 {
            by_topic.entry(&message.topic).or_default().push(number);
        }
    }
    // A page of retained messages may be more than a probe's queue or buffer takes.
    let dropped =
        world.cluster.dropped(&[Dropped::OutboundFull, Dropped::QueueFullNewest, Dropped::QueueFullOldest]);
    let mut records: BTreeMap<MessageNo, &WillRecord> = BTreeMap::new();
    for client in &world.clients {
        records.extend(client.wills.iter().map(|record| (record.message, record)));
    }
    for (topic, numbers) in &by_topic {
        let mut may: BTreeSet<Option<MessageNo>> = BTreeSet::new();
        let mut certain = false;
        for &number in numbers {
            let message = &ledger.messages[number];
            let record = records.get(&number);
            let fate = record.map(|record| fate(world, record));
            if matches!(fate, Some(WillFate::Discarded | WillFate::Open)) {
                continue;
            }
            certain |= message.accepted.is_some()
                || (matches!(fate, Some(WillFate::Published(_)))
                    && record.is_some_and(|record| !is_excused(world, record)));
            let superseded = numbers.iter().any(|&other| {
                let later = &ledger.messages[other];
                let by_same = later.publisher == message.publisher && other > number && message.attempts == 1;
                // QoS 0 was taken by its publisher's shard; to the home of its topic it may be on its way still.
                let after = message.qos != QoS::AtMostOnce
                    && message.accepted.is_some_and(|accepted| later.sent > accepted);
                later.accepted.is_some() && !message.will && (by_same || after)
            });
            if superseded {
                continue;
            }
            let may_be_expired = message.expiry.is_some_and(|seconds| {
                ledger.elapsed_ms(message.sent_at, world.stage.now).1 >= u64::from(seconds) * 1_000
            });
            if message.payload.is_empty() || may_be_expired {
                may.insert(None);
            }
            if !message.payload.is_empty() {
                may.insert(Some(number));
            }
        }
        if !certain {
            may.insert(None);
        }
        for (shard, view) in views.iter().enumerate() {
            let shown = view.get(*topic).copied();
            if shown.is_none() && dropped != 0 {
                continue;
            }
            require!(
                may.contains(&shown),
                "shard {shard} shows message {shown:?} retained on {topic}, and it can only be one of {may:?}; held: {:?}",
                world.cluster.retained(topic)
            );
        }
    }
    for (shard, view) in views.iter().enumerate() {
        let expires = |number: &MessageNo| ledger.messages[*number].expiry.is_some();
        let odd = view.iter().find(|(topic, number)| {
            !expires(number) && dropped == 0 && views[0].get(*topic) != Some(*number)
        });
        require!(odd.is_none(), "shards 0 and {shard} show different retained messages: {odd:?}");
    }
    Ok(())
}
