//! Which segments there are, how many entries of queues refer to each, and how much waits in them all. Not stored:
//! counted at the start, and kept up with every transaction that took effect.

use crate::layout::row;
use crate::plan::Numbered;

/// What waits for clients: a message for each session it waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Waiting {
    /// Entries of queues that refer to a message.
    pub(crate) messages: i64,
    /// Bytes of their bodies.
    pub(crate) bytes: i64,
}

impl Waiting {
    /// What one entry adds.
    pub(crate) fn of(entry: &row::Entry<'_>) -> Self {
        if entry.has_message() { Self { messages: 1, bytes: i64::from(entry.body) } } else { Self::default() }
    }

    fn negative(self) -> Self {
        Self { messages: -self.messages, bytes: -self.bytes }
    }
}

impl std::ops::AddAssign for Waiting {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
    }
}

/// Counts of references, and the number the next segment gets.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    counts: Numbered<u64, u32>,
    next: u64,
    waiting: Waiting,
}

/// What a transaction does to them, until it has taken effect.
#[derive(Debug, Default)]
pub(crate) struct SegmentChanges {
    changes: Numbered<u64, i64>,
    next: u64,
    waiting: Waiting,
}

impl Segments {
    /// Counts an entry that was found at the start.
    pub(crate) fn count(&mut self, segment: u64, entry: &row::Entry<'_>) {
        let waiting = Waiting::of(entry);
        if waiting.messages != 0 {
            *self.counts.entry(segment).or_default() += 1;
            self.waiting += waiting;
        }
    }

    /// What waits.
    pub(crate) fn waiting(&self) -> Waiting {
        self.waiting
    }

    /// Whether anything refers to it.
    pub(crate) fn is_used(&self, segment: u64) -> bool {
        self.counts.contains_key(&segment)
    }

    /// A segment was found at the start: numbers up to it are taken.
    pub(crate) fn taken_up_to(&mut self, segment: u64) {
        self.next = self.next.max(segment + 1);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.counts.len()
    }

    /// Begins a transaction.
    pub(crate) fn begin(&self, changes: &mut SegmentChanges) {
        changes.changes.clear();
        changes.waiting = Waiting::default();
        changes.next = self.next;
    }

    /// The segments nothing refers to any more once `changes` have taken effect.
    pub(crate) fn freed<'a>(&'a self, changes: &'a SegmentChanges) -> impl Iterator<Item = u64> + 'a {
        changes
            .changes
            .iter()
            .filter(|(segment, change)| self.after(**segment, **change) == 0)
            .map(|(s, _)| *s)
    }

    fn after(&self, segment: u64, change: i64) -> u32 {
        let before = self.counts.get(&segment).copied().unwrap_or(0);
        u32::try_from((i64::from(before) + change).max(0)).expect("references of a segment fit 32 bits")
    }

    /// The transaction has taken effect.
    pub(crate) fn commit(&mut self, changes: &SegmentChanges) {
        self.next = changes.next;
        self.waiting += changes.waiting;
        for (&segment, &change) in &changes.changes {
            match self.after(segment, change) {
                0 => self.counts.remove(&segment),
                after => self.counts.insert(segment, after),
            };
        }
    }
}

impl SegmentChanges {
    /// The number of the next `count` new segments.
    pub(crate) fn take(&mut self, count: u64) -> u64 {
        let first = self.next;
        self.next += count;
        first
    }

    /// Entries that refer to a segment have come.
    pub(crate) fn come(&mut self, segment: u64, waiting: Waiting) {
        *self.changes.entry(segment).or_default() += waiting.messages;
        self.waiting += waiting;
    }

    /// An entry has gone, or refers to its message no more.
    pub(crate) fn gone(&mut self, segment: u64, entry: &row::Entry<'_>) {
        let waiting = Waiting::of(entry);
        if waiting.messages != 0 {
            self.come(segment, waiting.negative());
        }
    }
}
