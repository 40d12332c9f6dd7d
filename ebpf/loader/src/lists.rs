//! Allow and block lists. The kernel's tries know no time: until when a prefix is on a list is kept here.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Map, MapData};
use pelton_base::Mono;

use crate::error::{LoadError, MapError, code};
use crate::prefix::Prefix;

/// A list of prefixes, with times.
pub struct List {
    table: &'static str,
    v4: LpmTrie<MapData, [u8; 4], u32>,
    v6: LpmTrie<MapData, [u8; 16], u32>,
    prefixes: BTreeMap<Prefix, Option<Mono>>,
    ends: BTreeSet<(Mono, Prefix)>,
}

impl List {
    pub(crate) fn new(table: &'static str, v4: Map, v6: Map) -> Result<Self, LoadError> {
        Ok(Self {
            table,
            v4: v4.try_into()?,
            v6: v6.try_into()?,
            prefixes: BTreeMap::new(),
            ends: BTreeSet::new(),
        })
    }

    /// Puts a prefix on the list, until a time or for good. One that is there already gets the new time.
    ///
    /// # Errors
    /// [`MapError::Full`]; then it is not on the list.
    pub fn insert(&mut self, prefix: Prefix, until: Option<Mono>) -> Result<(), MapError> {
        let bits = u32::from(prefix.bits());
        match prefix.address() {
            IpAddr::V4(address) => self.v4.insert(&Key::new(bits, address.octets()), 1, 0),
            IpAddr::V6(address) => self.v6.insert(&Key::new(bits, address.octets()), 1, 0),
        }
        .map_err(|error| MapError::of(self.table, &error))?;
        if let Some(Some(before)) = self.prefixes.insert(prefix, until) {
            self.ends.remove(&(before, prefix));
        }
        if let Some(until) = until {
            self.ends.insert((until, prefix));
        }
        Ok(())
    }

    /// Takes a prefix off; whether it was there. Prefixes inside of it, or around it, are others.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn remove(&mut self, prefix: Prefix) -> Result<bool, MapError> {
        const ENOENT: i32 = 2;
        let bits = u32::from(prefix.bits());
        let removed = match prefix.address() {
            IpAddr::V4(address) => self.v4.remove(&Key::new(bits, address.octets())),
            IpAddr::V6(address) => self.v6.remove(&Key::new(bits, address.octets())),
        };
        if let Err(error) = removed
            && code(&error) != Some(ENOENT)
        {
            return Err(MapError::of(self.table, &error));
        }
        let was = self.prefixes.remove(&prefix);
        if let Some(Some(until)) = was {
            self.ends.remove(&(until, prefix));
        }
        Ok(was.is_some())
    }

    /// Takes off what has been on the list long enough; returns how many.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn expire(&mut self, now: Mono) -> Result<usize, MapError> {
        let mut expired = 0;
        while let Some(&(until, prefix)) = self.ends.first()
            && until <= now
        {
            self.remove(prefix)?;
            expired += 1;
        }
        Ok(expired)
    }

    /// When the next prefix comes off.
    pub fn next_timeout(&self) -> Option<Mono> {
        self.ends.first().map(|&(until, _)| until)
    }

    /// What is on the list, and until when.
    pub fn iter(&self) -> impl Iterator<Item = (Prefix, Option<Mono>)> {
        self.prefixes.iter().map(|(&prefix, &until)| (prefix, until))
    }
}
