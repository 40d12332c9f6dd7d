//! The decision about a frame, in order: headers, service, fragments, lists, sanity, SYNs, the socket of its queue.

use crate::answer;
use crate::frame::Frame;
use crate::layout::{Address, Event, Limit, OVER_COOKIE, PmtuKey, PmtuValue, Policy, Service, ServiceKey};
use crate::packet::{self, ICMP, ICMPV6, Packet, TCP};
use crate::reason::{Action, Reason};
use crate::scratch::Scratch;
use crate::segment::{self, Header, Ports, flags};
use crate::too_big;

/// What is looked up and noted: maps in the program, plain collections in tests.
pub trait Tables {
    /// What is to be done for a service, if it is one.
    fn service(&self, key: &ServiceKey) -> Option<Service>;

    /// Whether a source is on the allow list: neither the block list nor limits touch it.
    fn is_allowed(&self, v6: bool, source: &Address) -> bool;

    /// Whether a source is on the block list.
    fn is_blocked(&self, v6: bool, source: &Address) -> bool;

    /// Limits, and what answers need. None: SYNs pass, there are no events.
    fn policy(&self) -> Option<&Policy>;

    /// The kernel's monotonic clock.
    fn now_ns(&self) -> u64;

    /// Takes a token from the bucket of a prefix, which is made if there is none.
    fn take_of_prefix(&self, prefix: &Address, limit: &Limit, now_ns: u64) -> bool;

    /// Takes a token from the bucket for all SYNs.
    fn take_of_all(&self, limit: &Limit, now_ns: u64) -> bool;

    /// Takes a token from the bucket of events.
    fn take_of_events(&self, limit: &Limit, now_ns: u64) -> bool;

    /// Notes that a segment was too big.
    fn too_big(&self, key: &PmtuKey, value: &PmtuValue);

    /// Tells about a frame that was dropped.
    fn tell(&self, event: Event);
}

/// Decides about a frame. One that is answered has become its answer. `scratch` is left as it is.
///
/// [`Reason::Redirect`] is a wish: whether the queue has a socket is for the caller to find out, who makes it
/// [`Reason::DropNoSocket`] if it has none.
#[inline(always)]
pub fn steer<F: Frame, T: Tables>(frame: &mut F, tables: &T, scratch: &mut Scratch) -> Reason {
    if let Err(reason) = packet::parse(frame, &mut scratch.packet) {
        return reason;
    }
    match scratch.packet.protocol {
        TCP => {}
        ICMP | ICMPV6 => return icmp(frame, &scratch.packet, tables),
        _ => return Reason::PassOther,
    }
    let Some(ports) = segment::ports(frame, &scratch.packet) else { return Reason::PassMalformed };
    match tables.service(&ServiceKey::new(scratch.packet.destination, ports.destination)) {
        None => return Reason::PassOther,
        Some(Service { armed: 0 }) => return Reason::PassService,
        Some(_) => {}
    }
    let len = frame.len() as u32;
    let mut flags = 0;
    let reason = match for_service(frame, &ports, tables, scratch, &mut flags) {
        Ok(reason) | Err(reason) => reason,
    };
    if let Action::Drop = reason.action() {
        tell(tables, &scratch.packet, &Dropped { reason, ports, flags, len });
    }
    reason
}

#[inline(never)]
fn icmp<T: Tables>(frame: &impl Frame, packet: &Packet, tables: &T) -> Reason {
    let (mut key, mut value) = (PmtuKey::EMPTY, PmtuValue::EMPTY);
    if too_big::read(frame, packet, &mut key, &mut value).is_some()
        && tables.service(&ServiceKey::new(key.local, key.local_port)).is_some()
    {
        tables.too_big(&key, &value);
        return Reason::PassTooBig;
    }
    Reason::PassOther
}

/// A segment for a service of the broker. An error is a drop.
#[inline(always)]
fn for_service<F: Frame, T: Tables>(
    frame: &mut F,
    ports: &Ports,
    tables: &T,
    scratch: &mut Scratch,
    seen: &mut u8,
) -> Result<Reason, Reason> {
    let packet = &scratch.packet;
    if packet.first_fragment {
        return Err(Reason::DropFragment);
    }
    let listed = listed(packet, tables);
    if let Listed::Blocked = listed {
        return Err(Reason::DropBlocked);
    }
    let header = segment::header(frame, packet)?;
    *seen = header.flags;
    if !segment::source_is_sane(packet, ports) {
        return Err(Reason::DropSource);
    }
    if !segment::flags_are_sane(header.flags) {
        return Err(Reason::DropFlags);
    }
    if let Listed::Not = listed
        && header.flags & (flags::SYN | flags::ACK) == flags::SYN
    {
        return syn(frame, ports, &header, tables, scratch);
    }
    Ok(Reason::Redirect)
}

/// Which list a source is on. The allow list counts first.
enum Listed {
    Not,
    Allowed,
    Blocked,
}

#[inline(never)]
fn listed<T: Tables>(packet: &Packet, tables: &T) -> Listed {
    if tables.is_allowed(packet.v6, &packet.source) {
        Listed::Allowed
    } else if tables.is_blocked(packet.v6, &packet.source) {
        Listed::Blocked
    } else {
        Listed::Not
    }
}

/// A SYN: let through, answered here, or dropped.
#[inline(never)]
fn syn<F: Frame, T: Tables>(
    frame: &mut F,
    ports: &Ports,
    header: &Header,
    tables: &T,
    scratch: &mut Scratch,
) -> Result<Reason, Reason> {
    let Some(policy) = tables.policy() else { return Ok(Reason::Redirect) };
    let now_ns = tables.now_ns();
    if policy.prefix.interval_ns != 0
        && !tables.take_of_prefix(&prefix(&scratch.packet), &policy.prefix, now_ns)
    {
        return Err(Reason::DropSynPrefix);
    }
    if policy.all.interval_ns == 0 || tables.take_of_all(&policy.all, now_ns) {
        return Ok(Reason::Redirect);
    }
    if policy.over == OVER_COOKIE {
        answer::with_cookie(frame, ports, header, policy, now_ns, scratch)?;
        return Ok(Reason::Cookie);
    }
    Err(Reason::DropSynAll)
}

/// Whose SYNs are counted together: the /24 of an IPv4 address, the /56 of an IPv6 address, which is what one customer
/// is commonly given (RFC 6177).
#[inline(always)]
pub fn prefix(packet: &Packet) -> Address {
    let mut prefix = packet.source;
    if packet.v6 {
        let mut at = 7;
        while at < 16 {
            prefix[at] = 0;
            at += 1;
        }
    } else {
        prefix[15] = 0;
    }
    prefix
}

/// A frame that was dropped.
struct Dropped {
    reason: Reason,
    ports: Ports,
    flags: u8,
    len: u32,
}

#[inline(never)]
fn tell<T: Tables>(tables: &T, packet: &Packet, dropped: &Dropped) {
    let Some(policy) = tables.policy() else { return };
    let now_ns = tables.now_ns();
    if tables.take_of_events(&policy.events, now_ns) {
        tables.tell(Event {
            time_ns: now_ns,
            source: packet.source,
            destination: packet.destination,
            source_port: dropped.ports.source,
            destination_port: dropped.ports.destination,
            len: dropped.len,
            reason: dropped.reason as u8,
            flags: dropped.flags,
            pad: [0; 6],
        });
    }
}

#[cfg(test)]
mod tests;
