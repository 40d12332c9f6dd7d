//! Sessions that end: what was acknowledged and goes elsewhere is there before they leave storage, and
//! whoever was promised that nothing of them is left is told when that is durable.
//!
//! A message of a shared group that its member did not take goes from one stored queue to another. Where
//! both are on one shard, the two operations are a group: they take effect together or fail together, also
//! on a full medium, which takes every removal. Where the other is on another shard, it has the message
//! before it leaves the first. What storage refused is given again a second later; until then it stays
//! where it was, and the end of its session waits for it.
//!
//! A client that begins anew [MQTT-3.1.2-4] gets its CONNACK when its former session is gone for good: a
//! crash must not bring it back.

use hashbrown::HashMap;
use pelton_base::{HashKey, Key};
use pelton_storage_ops::{OpKind, SessionId};

use crate::broker::Broker;
use crate::claim::Claimant;
use crate::message::{MessageId, Publication};
use crate::peers::{Item, PublishHead, Reply};
use crate::persist::promise::What;
use crate::router::Options;
use crate::settle::Settlement;
use crate::shared::GroupRef;

/// A message of a group that leaves a stored queue for another. Holds its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HandOver {
    pub(crate) from: SessionId,
    pub(crate) sequence: u64,
    pub(crate) group: GroupRef,
    pub(crate) message: MessageId,
    /// The member on another shard that was picked; `None`: the group picks one.
    pub(crate) to: Option<FarMember>,
}

/// A member of a group on another shard.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FarMember {
    pub(crate) shard: u16,
    pub(crate) session: Key,
    pub(crate) options: Options,
    pub(crate) identifier: u32,
}

/// Where a message stands that was handed on.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Storage is awaited. `together`: its end in the first queue is in the same batch.
    Waits { over: HandOver, together: bool },
    /// It is elsewhere, and leaves the first queue: that is not durable yet, and a page may show it still.
    Leaves,
    /// It has left the first queue, but a page that is under way may still show it.
    Left,
}

/// Ends of a client's sessions that are not durable.
#[derive(Debug, Default)]
struct Ending {
    ends: u32,
    /// Of those: not staged, because something of theirs is on its way to elsewhere.
    deferred: u32,
    /// The client's new connection.
    waiter: Option<Claimant>,
}

/// What a queue has on its way to elsewhere.
#[derive(Debug, Default)]
struct Leaving {
    messages: u32,
    /// The end of its session, which waits.
    end: Option<(SessionId, u64)>,
}

/// Sessions that end, and messages on their way from one stored queue to another.
#[derive(Debug)]
pub(crate) struct Endings {
    /// By serial number and sequence number in the first queue.
    handed_on: HashMap<(u64, u64), Way, HashKey>,
    /// By serial number.
    leaving: HashMap<u64, Leaving, HashKey>,
    /// By the hash of the client id.
    clients: HashMap<u64, Ending, HashKey>,
    /// What storage refused.
    refused: Vec<HandOver>,
    /// What goes on from its group's queue when the publish in hand is through.
    pub(crate) later: Vec<HandOver>,
}

impl Endings {
    pub(crate) fn new(key: HashKey) -> Self {
        Self {
            handed_on: HashMap::with_hasher(key),
            leaving: HashMap::with_hasher(key),
            clients: HashMap::with_hasher(key),
            refused: Vec::new(),
            later: Vec::new(),
        }
    }

    /// Whether a message is on its way to elsewhere: it is not to be delivered here if it is read meanwhile.
    #[inline]
    pub(crate) fn is_handed_on(&self, session: SessionId, sequence: u64) -> bool {
        !self.handed_on.is_empty() && self.handed_on.contains_key(&(session.serial, sequence))
    }

    /// The end of a session waits for one thing more.
    pub(crate) fn something_leaves(&mut self, serial: u64) {
        self.leaving.entry(serial).or_default().messages += 1;
    }

    /// How many messages of a queue are on their way to elsewhere.
    pub(crate) fn on_their_way(&self, session: SessionId) -> u32 {
        self.leaving.get(&session.serial).map_or(0, |leaving| leaving.messages)
    }

    /// Whether a new session of a client has to wait: a stored one until what its former ones had is staged
    /// elsewhere (the order of the operations does the rest), another one until they are gone for good.
    pub(crate) fn holds(&self, client_hash: u64, stored: bool) -> bool {
        self.clients.get(&client_hash).is_some_and(|ending| !stored || ending.deferred != 0)
    }

    /// The client's new connection is told when it has to wait no more.
    pub(crate) fn wait(&mut self, client_hash: u64, waiter: Claimant) {
        if let Some(ending) = self.clients.get_mut(&client_hash) {
            ending.waiter = Some(waiter);
        }
    }
}

impl Broker {
    /// A message goes from one stored queue to another, or to a client that takes it.
    pub(crate) fn hand_over(&mut self, mut over: HandOver) {
        let HandOver { from, sequence, group, message, .. } = over;
        let stored = self.core.messages.get(message);
        let body = [stored.topic, stored.forwarded, stored.payload].concat();
        let publication = stored.over(&body);
        self.in_hand.open(Settlement::leave(from, sequence));
        let first = self.core.persist.number();
        self.core.persist.begin_group();
        match over.to.take() {
            Some(member) => self.give_far(group, &publication, member),
            None => self.give_again(group, &publication),
        }
        self.core.persist.seal(&publication);
        let together = !self.in_hand.is_open() && self.core.persist.number() != first;
        if together {
            self.promise_part(first, false);
            self.core.persist.push(OpKind::Done { session: from, sequence }, &[]);
        }
        self.core.persist.end_group();
        if !self.in_hand.close() {
            // Nobody stores it: a client that keeps nothing has it, or nobody wants it any more.
            self.core.persist.endings.handed_on.insert((from.serial, sequence), Way::Leaves);
            self.take_from_queue(from, sequence);
            self.core.messages.release(message);
            return;
        }
        let endings = &mut self.core.persist.endings;
        endings.handed_on.insert((from.serial, sequence), Way::Waits { over, together });
        endings.something_leaves(from.serial);
    }

    /// Gives a group's message to a member on another shard.
    pub(crate) fn give_far(&mut self, group: GroupRef, publication: &Publication<'_>, member: FarMember) {
        let FarMember { shard, session, options, identifier } = member;
        let head = PublishHead::of(publication);
        let item = Item::GroupDeliver { head, group, session, options, identifier };
        self.await_part(shard, publication);
        self.peers.send(shard, item, &[publication.topic, publication.forwarded, publication.payload]);
    }

    fn give_again(&mut self, group: GroupRef, publication: &Publication<'_>) {
        if group.home == self.me {
            self.give_to_member(group, publication, self.me);
        } else {
            let item = Item::GroupReturn { head: PublishHead::of(publication), group };
            self.await_part(group.home, publication);
            let parts = [publication.topic, publication.forwarded, publication.payload];
            self.peers.send(group.home, item, &parts);
        }
    }

    /// A message that was handed on is stored where it went, or could not be.
    pub(crate) fn handed_over(&mut self, from: SessionId, sequence: u64, is_there: bool) {
        let endings = &mut self.core.persist.endings;
        let Some(way) = endings.handed_on.get_mut(&(from.serial, sequence)) else { return };
        let Way::Waits { over, together } = *way else { return };
        if !is_there {
            // It stays where it was, and is given again when storage may take it.
            endings.refused.push(over);
            self.open_fault();
            return;
        }
        *way = Way::Leaves;
        self.core.messages.release(over.message);
        if together {
            self.has_left(from, sequence);
        } else {
            self.take_from_queue(from, sequence);
        }
        self.let_session_end(from.serial);
    }

    /// A message that is elsewhere leaves the queue it was handed on from.
    fn take_from_queue(&mut self, from: SessionId, sequence: u64) {
        let number = self.core.persist.push(OpKind::Done { session: from, sequence }, &[]);
        self.core.persist.promise(number, u32::MAX, What::Left(from, sequence));
    }

    /// A message is durably gone from the queue it was handed on from.
    pub(crate) fn has_left(&mut self, from: SessionId, sequence: u64) {
        // A page that was read before shows it still.
        let is_reading = self.core.persist.is_reading(from.serial);
        let handed_on = &mut self.core.persist.endings.handed_on;
        match handed_on.get_mut(&(from.serial, sequence)) {
            Some(way) if is_reading => *way = Way::Left,
            _ => _ = handed_on.remove(&(from.serial, sequence)),
        }
    }

    /// No page of a session is under way any more.
    pub(crate) fn forget_what_left(&mut self, serial: u64) {
        let handed_on = &mut self.core.persist.endings.handed_on;
        if !handed_on.is_empty() {
            handed_on.retain(|&(from, _), way| from != serial || !matches!(way, Way::Left));
        }
    }

    /// The end of a message could not be written together with its new place: it is not tried again by itself.
    pub(crate) fn is_with_hand_over(&self, session: SessionId, sequence: u64) -> bool {
        let way = self.core.persist.endings.handed_on.get(&(session.serial, sequence));
        matches!(way, Some(Way::Waits { together: true, .. }))
    }

    /// Asks storage whether it takes again what it refused, by an operation that a full one does not take.
    pub(crate) fn ask_for_room(&mut self) {
        if self.core.persist.endings.refused.is_empty() {
            return;
        }
        self.core.persist.begin_group();
        let number = self.core.persist.push(OpKind::Nothing, &[]);
        self.core.persist.end_group();
        self.core.persist.promise(number, u32::MAX, What::Room);
    }

    /// Storage takes again what it refused.
    pub(crate) fn hand_over_again(&mut self) {
        for over in std::mem::take(&mut self.core.persist.endings.refused) {
            let endings = &mut self.core.persist.endings;
            endings.handed_on.remove(&(over.from.serial, over.sequence));
            // Counted again if it has to wait again; in between nothing may end.
            let leaving = endings.leaving.get(&over.from.serial).map_or(0, |leaving| leaving.messages);
            debug_assert_ne!(leaving, 0, "what is handed on is counted");
            self.hand_over(over);
            self.let_session_end(over.from.serial);
        }
    }

    /// One message, or will, less that the end of a session waits for.
    pub(crate) fn let_session_end(&mut self, serial: u64) {
        let leaving = &mut self.core.persist.endings.leaving;
        let Some(left) = leaving.get_mut(&serial) else { return };
        left.messages -= 1;
        if left.messages != 0 {
            return;
        }
        if let Some((session, client_hash)) = leaving.remove(&serial).and_then(|left| left.end) {
            self.stage_end(session, client_hash);
            if let Some(ending) = self.core.persist.endings.clients.get_mut(&client_hash) {
                ending.deferred -= 1;
            }
            self.go_on_connecting(client_hash);
        }
    }

    /// A client's session leaves storage, when nothing of it is on its way to elsewhere any more.
    pub(crate) fn end_stored(&mut self, session: SessionId, client_hash: u64) {
        let endings = &mut self.core.persist.endings;
        let ending = endings.clients.entry(client_hash).or_default();
        ending.ends += 1;
        match endings.leaving.get_mut(&session.serial) {
            Some(leaving) => {
                ending.deferred += 1;
                leaving.end = Some((session, client_hash));
            }
            None => self.stage_end(session, client_hash),
        }
    }

    fn stage_end(&mut self, session: SessionId, client_hash: u64) {
        let number = self.core.persist.push(OpKind::EndSession { session }, &[]);
        self.core.persist.promise(number, u32::MAX, What::Ended(client_hash));
    }

    /// The end of a client's session is durable.
    pub(crate) fn session_is_gone(&mut self, client_hash: u64) {
        if let Some(ending) = self.core.persist.endings.clients.get_mut(&client_hash) {
            ending.ends -= 1;
        }
        self.go_on_connecting(client_hash);
    }

    /// The client's new connection goes on if it has waited long enough.
    fn go_on_connecting(&mut self, client_hash: u64) {
        let clients = &mut self.core.persist.endings.clients;
        let Some(ending) = clients.get_mut(&client_hash) else { return };
        let (gone, is_staged) = (ending.ends == 0, ending.deferred == 0);
        let waiter = ending.waiter.take();
        if gone {
            clients.remove(&client_hash);
        }
        match waiter {
            Some(Claimant::Here(link)) if gone || (is_staged && self.will_be_stored(link)) => {
                self.former_session_is_gone(link);
            }
            Some(Claimant::There { shard, link }) if gone => {
                self.peers.reply(shard, Reply::Granted { link }, &[]);
            }
            Some(waiter) => self.core.persist.endings.wait(client_hash, waiter),
            None => {}
        }
    }

    /// Whether the session a connection waits for outlives it.
    fn will_be_stored(&self, link: Key) -> bool {
        let extra = self.core.links.get(link).and_then(|link| link.extra.as_ref());
        let request = extra.and_then(|extra| extra.connect.as_ref());
        request
            .and_then(|request| self.core.sessions.get(request.session))
            .is_some_and(|session| session.is_persistent())
    }
}
