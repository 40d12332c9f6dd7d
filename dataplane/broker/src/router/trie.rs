//! Filters with wildcards, by topic level. Literal children of all nodes stand in one table keyed by (node,
//! level): a node with a million children costs as much to pass as one with two.

use hashbrown::HashTable;
use pelton_base::HashKey;

use super::filters::FilterId;

const ROOT: u32 = 0;
const NIL: u32 = u32::MAX;

struct Node {
    parent: u32,
    /// Literal and `+` children, and filters that end here.
    uses: u32,
    plus: u32,
    /// The filter that ends at this level.
    here: Option<FilterId>,
    /// The filter that goes on with `#` below this level.
    below: Option<FilterId>,
    /// The literal level; empty for `+` nodes too.
    level: Box<[u8]>,
    is_plus: bool,
}

pub(super) struct Trie {
    key: HashKey,
    nodes: Vec<Node>,
    free: Vec<u32>,
    children: HashTable<u32>,
}

impl Trie {
    pub(super) fn new(key: HashKey) -> Self {
        Self { key, nodes: vec![Node::new(NIL, b"", false)], free: Vec::new(), children: HashTable::new() }
    }

    /// How many nodes there are, the root included.
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    pub(super) fn find(&self, text: &str) -> Option<FilterId> {
        let mut node = ROOT;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            match level {
                "#" => return self.nodes[node as usize].below,
                "+" => node = Some(self.nodes[node as usize].plus).filter(|&plus| plus != NIL)?,
                _ => node = self.child(node, level.as_bytes())?,
            }
            if levels.peek().is_none() {
                return self.nodes[node as usize].here;
            }
        }
        None
    }

    /// Puts a filter in; returns the node that carries it.
    pub(super) fn insert(&mut self, text: &str, filter: FilterId) -> u32 {
        let mut node = ROOT;
        for level in text.split('/') {
            match level {
                "#" => {
                    self.nodes[node as usize].below = Some(filter);
                    self.nodes[node as usize].uses += 1;
                    return node;
                }
                "+" => {
                    let plus = self.nodes[node as usize].plus;
                    node = if plus == NIL { self.add(node, b"", true) } else { plus };
                }
                _ => {
                    node = match self.child(node, level.as_bytes()) {
                        Some(child) => child,
                        None => self.add(node, level.as_bytes(), false),
                    };
                }
            }
        }
        self.nodes[node as usize].here = Some(filter);
        self.nodes[node as usize].uses += 1;
        node
    }

    /// Takes a filter out of the node that carries it, and every node nobody needs any more.
    pub(super) fn remove(&mut self, node: u32, filter: FilterId) {
        let entry = &mut self.nodes[node as usize];
        if entry.here == Some(filter) {
            entry.here = None;
        } else {
            debug_assert_eq!(entry.below, Some(filter));
            entry.below = None;
        }
        entry.uses -= 1;
        let mut node = node;
        while node != ROOT && self.nodes[node as usize].uses == 0 {
            let parent = self.nodes[node as usize].parent;
            self.drop_node(node);
            self.nodes[parent as usize].uses -= 1;
            node = parent;
        }
    }

    /// The text of the filter that stands at `node`.
    pub(super) fn text(&self, node: u32, filter: FilterId) -> String {
        let mut levels: Vec<&[u8]> = Vec::new();
        if self.nodes[node as usize].below == Some(filter) {
            levels.push(b"#");
        }
        let mut at = node;
        while at != ROOT {
            let entry = &self.nodes[at as usize];
            levels.push(if entry.is_plus { b"+" } else { &entry.level });
            at = entry.parent;
        }
        levels.reverse();
        String::from_utf8_lossy(&levels.join(&b'/')).into_owned()
    }

    /// Calls `found` for every filter that matches the topic.
    pub(super) fn walk(&self, topic: &[u8], found: &mut impl FnMut(FilterId)) {
        if self.nodes[ROOT as usize].uses == 0 {
            return;
        }
        // [MQTT-4.7.2-1] A filter that starts with a wildcard does not match a topic that starts with `$`.
        let system = topic.first() == Some(&b'$');
        self.walk_from(ROOT, Some(topic), system, found);
    }

    fn walk_from(&self, node: u32, rest: Option<&[u8]>, system: bool, found: &mut impl FnMut(FilterId)) {
        let entry = &self.nodes[node as usize];
        if !system {
            // `a/#` matches `a` too [MQTT-4.7.1-2].
            if let Some(filter) = entry.below {
                found(filter);
            }
        }
        let Some(rest) = rest else {
            if let Some(filter) = entry.here {
                found(filter);
            }
            return;
        };
        let (level, rest) = match rest.iter().position(|&byte| byte == b'/') {
            Some(slash) => (&rest[..slash], Some(&rest[slash + 1..])),
            None => (rest, None),
        };
        if entry.plus != NIL && !system {
            self.walk_from(entry.plus, rest, false, found);
        }
        if let Some(child) = self.child(node, level) {
            self.walk_from(child, rest, false, found);
        }
    }

    #[inline]
    fn child(&self, node: u32, level: &[u8]) -> Option<u32> {
        self.children
            .find(self.key.hash_pair(u64::from(node), level), |&child| {
                let child = &self.nodes[child as usize];
                child.parent == node && *child.level == *level
            })
            .copied()
    }

    fn add(&mut self, parent: u32, level: &[u8], is_plus: bool) -> u32 {
        let node = Node::new(parent, level, is_plus);
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        };
        self.nodes[parent as usize].uses += 1;
        if is_plus {
            self.nodes[parent as usize].plus = index;
        } else {
            let (nodes, key) = (&self.nodes, self.key);
            self.children.insert_unique(key.hash_pair(u64::from(parent), level), index, |&child| {
                let child = &nodes[child as usize];
                key.hash_pair(u64::from(child.parent), &child.level)
            });
        }
        index
    }

    fn drop_node(&mut self, node: u32) {
        let (parent, is_plus) = (self.nodes[node as usize].parent, self.nodes[node as usize].is_plus);
        if is_plus {
            self.nodes[parent as usize].plus = NIL;
        } else {
            let hash = self.key.hash_pair(u64::from(parent), &self.nodes[node as usize].level);
            if let Ok(entry) = self.children.find_entry(hash, |&child| child == node) {
                entry.remove();
            }
        }
        self.nodes[node as usize].level = Box::default();
        self.free.push(node);
    }
}

impl Node {
    fn new(parent: u32, level: &[u8], is_plus: bool) -> Self {
        Self { parent, uses: 0, plus: NIL, here: None, below: None, level: level.into(), is_plus }
    }
}
