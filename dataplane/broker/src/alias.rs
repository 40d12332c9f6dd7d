//! Topic aliases of one v5 connection, both directions. They live and die with the connection
//! [MQTT-3.3.2-7].

use hashbrown::HashMap;
use pelton_base::HashKey;

/// Aliases the client set: alias number to topic.
#[derive(Debug, Default)]
pub(crate) struct AliasesIn {
    topics: Vec<Option<Box<[u8]>>>,
}

impl AliasesIn {
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Sets or replaces an alias. `alias` is within the announced maximum.
    pub(crate) fn set(&mut self, alias: u16, topic: &[u8]) {
        let index = usize::from(alias) - 1;
        if self.topics.len() <= index {
            self.topics.resize_with(index + 1, || None);
        }
        // A client may repeat the topic with its alias every time.
        if self.topics[index].as_deref() != Some(topic) {
            self.topics[index] = Some(topic.into());
        }
    }

    pub(crate) fn get(&self, alias: u16) -> Option<&[u8]> {
        self.topics.get(usize::from(alias).checked_sub(1)?)?.as_deref()
    }
}

/// Aliases the broker set: topic to alias number. The first topics of a connection get them for good: a
/// client with more topics than aliases would otherwise be sent a new alias with nearly every message.
#[derive(Debug)]
pub(crate) struct AliasesOut {
    by_topic: HashMap<Box<[u8]>, u16, HashKey>,
    maximum: u16,
}

/// How to name a topic in an outgoing PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// By its name alone.
    Name,
    /// By its name, setting an alias.
    NameAndAlias(u16),
    /// By the alias alone.
    Alias(u16),
}

impl AliasesOut {
    /// A shorter topic costs no more than its alias (property identifier and two bytes).
    const WORTH_IT_BYTES: usize = 4;

    pub(crate) fn new(maximum: u16, key: HashKey) -> Self {
        Self { by_topic: HashMap::with_hasher(key), maximum }
    }

    /// How to name the topic; remembers the alias if one is set.
    pub(crate) fn name(&mut self, topic: &[u8]) -> Naming {
        if topic.len() < Self::WORTH_IT_BYTES {
            return Naming::Name;
        }
        if let Some(&alias) = self.by_topic.get(topic) {
            return Naming::Alias(alias);
        }
        let next = self.by_topic.len() as u16 + 1;
        // [MQTT-3.1.2-26] [MQTT-3.3.2-11]
        if next > self.maximum {
            return Naming::Name;
        }
        self.by_topic.insert(topic.into(), next);
        Naming::NameAndAlias(next)
    }

    /// The alias just set is not sent after all.
    pub(crate) fn forget(&mut self, topic: &[u8]) {
        self.by_topic.remove(topic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_topics_get_the_aliases() {
        let mut aliases = AliasesOut::new(2, HashKey::new(1, 2));
        assert_eq!(aliases.name(b"topic/one"), Naming::NameAndAlias(1));
        assert_eq!(aliases.name(b"topic/two"), Naming::NameAndAlias(2));
        assert_eq!(aliases.name(b"topic/three"), Naming::Name);
        assert_eq!(aliases.name(b"topic/one"), Naming::Alias(1));
        assert_eq!(aliases.name(b"a/b"), Naming::Name, "too short to be worth it");
    }

    #[test]
    fn an_incoming_alias_can_be_set_anew() {
        // covers [MQTT-3.3.2-12]
        let mut aliases = AliasesIn::default();
        assert_eq!(aliases.get(3), None);
        aliases.set(3, b"one");
        aliases.set(3, b"two");
        assert_eq!(aliases.get(3), Some(&b"two"[..]));
        assert_eq!(aliases.get(0), None);
    }
}
