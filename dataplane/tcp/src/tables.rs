//! Tables that connections point into: the blocks themselves, our own ends, link addresses, IPv6 addresses.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use hashbrown::HashMap;
use pelton_base::mem::prefetch;
use pelton_base::{HashKey, Key};
use pelton_packet::{Link, LinkKey};

use crate::tcb::{Hot, NO_COLD, State};

/// End of a free list.
const NIL: u32 = u32::MAX;

/// The blocks. A freed one is used again first; its generation goes on, so that a stale key finds nothing.
pub(crate) struct Tcbs {
    hot: Vec<Hot>,
    free: u32,
    used: usize,
    max: usize,
}

impl Tcbs {
    /// Room for `max` blocks, reserved (not touched) at once so that none is ever moved.
    pub(crate) fn new(max: u32) -> Self {
        Self { hot: Vec::with_capacity(max as usize), free: NIL, used: 0, max: max as usize }
    }

    pub(crate) const fn len(&self) -> usize {
        self.used
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.used >= self.max
    }

    /// A block in use from now on, all fields but its generation as by default.
    pub(crate) fn take(&mut self) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let (index, generation) = if self.free == NIL {
            self.hot.push(Hot::default());
            (self.hot.len() as u32 - 1, 1)
        } else {
            let index = self.free;
            let hot = &self.hot[index as usize];
            self.free = hot.remote;
            (index, hot.generation.wrapping_add(1))
        };
        self.hot[index as usize] = Hot { generation, cold: NO_COLD, token: u64::MAX, ..Hot::default() };
        self.used += 1;
        Some(index)
    }

    pub(crate) fn put(&mut self, index: u32) {
        let hot = &mut self.hot[index as usize];
        debug_assert!(hot.generation & 1 == 1 && hot.cold == NO_COLD);
        hot.generation = hot.generation.wrapping_add(1);
        hot.state = State::Closed;
        hot.remote = self.free;
        self.free = index;
        self.used -= 1;
    }

    /// Asks for both lines of a block, which will be wanted soon.
    #[inline]
    pub(crate) fn prefetch(&self, index: u32) {
        let hot = &self.hot[index as usize];
        prefetch(&hot.remote);
        prefetch(&hot.cwnd);
    }

    #[inline]
    pub(crate) fn key(&self, index: u32) -> Key {
        Key { index, generation: self.hot[index as usize].generation }
    }

    /// The index of a key that is not stale.
    #[inline]
    pub(crate) fn live(&self, key: Key) -> Option<u32> {
        let hot = self.hot.get(key.index as usize)?;
        hot.is(key).then_some(key.index)
    }

    /// The block of a key that is not stale.
    #[inline]
    pub(crate) fn block(&mut self, key: Key) -> Option<&mut Hot> {
        self.hot.get_mut(key.index as usize).filter(|hot| hot.is(key))
    }
}

impl std::ops::Index<u32> for Tcbs {
    type Output = Hot;

    #[inline]
    fn index(&self, index: u32) -> &Hot {
        &self.hot[index as usize]
    }
}

impl std::ops::IndexMut<u32> for Tcbs {
    #[inline]
    fn index_mut(&mut self, index: u32) -> &mut Hot {
        &mut self.hot[index as usize]
    }
}

/// One of our ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Local {
    pub(crate) address: SocketAddr,
    /// Which listener takes connections to it; `None` for ends of active opens.
    pub(crate) listener: Option<u16>,
    /// Address and port as one word, if it is an IPv4 one.
    word: u64,
    users: u32,
}

/// An IPv4 end as one word; never zero.
#[inline]
pub(crate) const fn end_word(address: u32, port: u16) -> u64 {
    1 << 48 | (address as u64) << 16 | port as u64
}

/// Our ends: one for each address and listening port for good, and those of active opens.
pub(crate) struct Locals {
    entries: Vec<Local>,
    free: Vec<u16>,
    by_address: HashMap<SocketAddr, u16, HashKey>,
}

impl Locals {
    pub(crate) fn new(key: HashKey) -> Self {
        Self { entries: Vec::new(), free: Vec::new(), by_address: HashMap::with_hasher(key) }
    }

    pub(crate) fn find(&self, address: SocketAddr) -> Option<u16> {
        match self.entries.first() {
            // The first may be an end that was opened from here and left.
            Some(first) if first.users > 0 && first.address == address => Some(0),
            _ => self.by_address.get(&address).copied(),
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u16) -> &Local {
        &self.entries[usize::from(index)]
    }

    /// Address and port of an IPv4 end.
    #[inline]
    pub(crate) fn v4(&self, index: u16) -> (u32, u16) {
        let word = self.entries[usize::from(index)].word;
        ((word >> 16) as u32, word as u16)
    }

    /// Whether an end is this one, see [`end_word`].
    #[inline]
    pub(crate) fn is(&self, index: u16, word: u64) -> bool {
        self.entries[usize::from(index)].word == word
    }

    /// Whether an IPv4 end is the first of all, and connections to it are taken. Most hosts listen at one.
    #[inline]
    pub(crate) fn is_first_listener(&self, word: u64) -> bool {
        self.entries
            .first()
            .is_some_and(|first| first.word == word && first.users > 0 && first.listener.is_some())
    }

    pub(crate) fn listen(&mut self, address: SocketAddr, listener: u16) -> Option<u16> {
        let index = self.enter(address)?;
        self.entries[usize::from(index)].listener = Some(listener);
        Some(index)
    }

    /// The end with one user more, made if it is new.
    pub(crate) fn enter(&mut self, address: SocketAddr) -> Option<u16> {
        if let Some(index) = self.find(address) {
            self.entries[usize::from(index)].users += 1;
            return Some(index);
        }
        let word = match address.ip() {
            IpAddr::V4(ip) => end_word(ip.to_bits(), address.port()),
            IpAddr::V6(_) => 0,
        };
        let entry = Local { address, listener: None, word, users: 1 };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[usize::from(index)] = entry;
                index
            }
            None => {
                let index = u16::try_from(self.entries.len()).ok()?;
                self.entries.push(entry);
                index
            }
        };
        self.by_address.insert(address, index);
        Some(index)
    }

    pub(crate) fn hold(&mut self, index: u16) {
        self.entries[usize::from(index)].users += 1;
    }

    pub(crate) fn leave(&mut self, index: u16) {
        let entry = &mut self.entries[usize::from(index)];
        entry.users -= 1;
        if entry.users == 0 {
            self.by_address.remove(&entry.address);
            self.free.push(index);
        }
    }

    /// Accepts no more at an end. It keeps its place, since half-open connections name it.
    pub(crate) fn unlisten(&mut self, index: u16) {
        self.entries[usize::from(index)].listener = None;
    }

    pub(crate) fn stop_listening(&mut self) {
        for entry in &mut self.entries {
            entry.listener = None;
        }
    }
}

/// How peers are reached on the link: few pairs of addresses (a router or two, some neighbours), counted.
pub(crate) struct Links {
    entries: Vec<(Link, u32)>,
    keys: Vec<LinkKey>,
    free: Vec<u16>,
    by_link: HashMap<Link, u16, HashKey>,
    max: u16,
}

impl Links {
    pub(crate) fn new(max: u16, key: HashKey) -> Self {
        Self {
            entries: Vec::new(),
            keys: Vec::new(),
            free: Vec::new(),
            by_link: HashMap::with_hasher(key),
            max,
        }
    }

    #[inline]
    pub(crate) fn get(&self, index: u16) -> Link {
        self.entries[usize::from(index)].0
    }

    /// Whether a frame came by the link that a connection's go out on.
    #[inline]
    pub(crate) fn arrives(&self, index: u16, key: LinkKey) -> bool {
        self.keys[usize::from(index)] == key
    }

    /// The link with one user more; `None` at the limit.
    pub(crate) fn enter(&mut self, link: Link) -> Option<u16> {
        if let Some((first, users)) = self.entries.first_mut()
            && *users > 0
            && *first == link
        {
            *users += 1;
            return Some(0);
        }
        if let Some(&index) = self.by_link.get(&link) {
            self.entries[usize::from(index)].1 += 1;
            return Some(index);
        }
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[usize::from(index)] = (link, 1);
                self.keys[usize::from(index)] = link.reverse().key();
                index
            }
            None if self.entries.len() < usize::from(self.max) => {
                self.entries.push((link, 1));
                self.keys.push(link.reverse().key());
                self.entries.len() as u16 - 1
            }
            None => return None,
        };
        self.by_link.insert(link, index);
        Some(index)
    }

    pub(crate) fn leave(&mut self, index: u16) {
        let (link, users) = &mut self.entries[usize::from(index)];
        *users -= 1;
        if *users == 0 {
            self.by_link.remove(link);
            self.free.push(index);
        }
    }

    /// Links in use.
    pub(crate) fn len(&self) -> usize {
        self.by_link.len()
    }
}

/// Addresses of IPv6 peers: only they pay for their length.
#[derive(Default)]
pub(crate) struct Remotes {
    v6: Vec<Ipv6Addr>,
    free: Vec<u32>,
}

impl Remotes {
    /// The word that stands for an address in a block, and whether it is an IPv6 one.
    pub(crate) fn enter(&mut self, address: IpAddr) -> (u32, bool) {
        match address {
            IpAddr::V4(address) => (u32::from_be_bytes(address.octets()), false),
            IpAddr::V6(address) => {
                let index = match self.free.pop() {
                    Some(index) => {
                        self.v6[index as usize] = address;
                        index
                    }
                    None => {
                        self.v6.push(address);
                        self.v6.len() as u32 - 1
                    }
                };
                (index, true)
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, word: u32, v6: bool) -> IpAddr {
        if v6 { IpAddr::V6(self.v6[word as usize]) } else { IpAddr::V4(word.into()) }
    }

    pub(crate) fn leave(&mut self, word: u32, v6: bool) {
        if v6 {
            self.free.push(word);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.v6.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelton_packet::MacAddress;

    #[test]
    fn a_stale_key_finds_nothing() {
        let mut tcbs = Tcbs::new(2);
        let first = tcbs.take().unwrap();
        let key = tcbs.key(first);
        tcbs.put(first);
        assert_eq!(tcbs.live(key), None);
        assert_eq!(tcbs.take(), Some(first));
        assert_eq!(tcbs.live(key), None);
        assert!(tcbs.take().is_some());
        assert_eq!(tcbs.take(), None, "at the limit");
    }

    #[test]
    fn an_end_that_was_left_is_not_found() {
        let mut locals = Locals::new(HashKey::new(1, 2));
        let [a, b] = [1, 2].map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        let first = locals.enter(a).unwrap();
        locals.leave(first);
        assert_eq!(locals.find(a), None);
        let (again, other) = (locals.enter(a).unwrap(), locals.enter(b).unwrap());
        assert_ne!(again, other, "an entry for each");
        assert_eq!((locals.get(again).address, locals.get(other).address), (a, b));
    }

    #[test]
    fn links_are_counted_and_bounded() {
        let mut links = Links::new(2, HashKey::new(1, 2));
        let link = |n| Link { source: MacAddress([n; 6]), ..Link::default() };
        let (a, b) = (links.enter(link(1)).unwrap(), links.enter(link(2)).unwrap());
        assert_eq!(links.enter(link(1)), Some(a));
        assert_eq!(links.enter(link(3)), None);
        links.leave(a);
        assert_eq!(links.enter(link(3)), None, "still used once");
        links.leave(a);
        let c = links.enter(link(3)).unwrap();
        assert_eq!((links.get(c), links.get(b)), (link(3), link(2)));
        assert_eq!(links.enter(link(1)), None);
    }
}
