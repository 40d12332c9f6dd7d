//! The rings between a socket and the kernel: single producer, single consumer, entries in shared memory.
//!
//! Each side writes its own index and reads the other's. A ring here keeps a copy of both, so that the shared
//! cache line is read once in a batch and written once in a batch: [`Producer::push`] and [`Consumer::pop`]
//! touch entries alone, [`Producer::commit`] and [`Consumer::release`] publish.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::syscall::Mapping;

/// A ring's shared memory.
struct Shared<T> {
    map: Mapping,
    producer: usize,
    consumer: usize,
    flags: usize,
    entries: usize,
    mask: u32,
    of: PhantomData<T>,
}

/// Where the parts of a ring are in its mapping.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offsets {
    pub(crate) producer: usize,
    pub(crate) consumer: usize,
    pub(crate) flags: usize,
    pub(crate) entries: usize,
}

impl<T: Copy> Shared<T> {
    fn new(map: Mapping, offsets: Offsets, count: u32) -> Self {
        assert!(count.is_power_of_two(), "rings have a power of two of entries");
        let end = offsets.entries + count as usize * size_of::<T>();
        for (offset, bytes) in [(offsets.producer, 4), (offsets.consumer, 4), (offsets.flags, 4)] {
            assert!(
                offset.is_multiple_of(4) && offset + bytes <= map.bytes(),
                "an index inside of its mapping"
            );
        }
        assert!(
            offsets.entries.is_multiple_of(align_of::<T>()) && end <= map.bytes(),
            "entries inside of it"
        );
        Self {
            map,
            producer: offsets.producer,
            consumer: offsets.consumer,
            flags: offsets.flags,
            entries: offsets.entries,
            mask: count - 1,
            of: PhantomData,
        }
    }

    #[inline]
    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: inside of the mapping and aligned (`new`), which lives as long as `self`; the kernel's side uses
        // it as an atomic too.
        unsafe { &*self.map.base().add(offset).cast::<AtomicU32>() }
    }

    #[inline]
    fn entry(&self, index: u32) -> *mut T {
        // SAFETY: the mask keeps it inside of the entries, which are inside of the mapping (`new`).
        unsafe { self.map.base().add(self.entries).cast::<T>().add((index & self.mask) as usize) }
    }
}

/// The end of a ring that puts entries in: fill and tx.
pub struct Producer<T: Copy> {
    shared: Shared<T>,
    /// Where the next entry goes.
    next: u32,
    /// What the kernel has been shown.
    committed: u32,
    /// Up to where the kernel had taken entries when that was last read.
    taken: u32,
}

impl<T: Copy> Producer<T> {
    pub(crate) fn new(map: Mapping, offsets: Offsets, count: u32) -> Self {
        let shared = Shared::new(map, offsets, count);
        let next = shared.word(shared.producer).load(Ordering::Relaxed);
        let taken = shared.word(shared.consumer).load(Ordering::Acquire);
        Self { shared, next, committed: next, taken }
    }

    /// Entries in all.
    pub const fn capacity(&self) -> u32 {
        self.shared.mask + 1
    }

    /// How many entries there is room for, at least `wanted` if the kernel has made as much.
    #[inline]
    pub fn room(&mut self, wanted: u32) -> u32 {
        let room = self.capacity() - self.next.wrapping_sub(self.taken);
        if room >= wanted {
            return room;
        }
        // The kernel has read the entries before it says so.
        self.taken = self.shared.word(self.shared.consumer).load(Ordering::Acquire);
        self.capacity() - self.next.wrapping_sub(self.taken)
    }

    /// Entries the kernel has been shown and has not taken.
    pub fn pending(&mut self) -> u32 {
        self.taken = self.shared.word(self.shared.consumer).load(Ordering::Acquire);
        self.committed.wrapping_sub(self.taken)
    }

    /// Puts an entry in, to be shown by [`Producer::commit`]; `false` if the ring is full.
    #[inline]
    pub fn push(&mut self, entry: T) -> bool {
        if self.room(1) == 0 {
            return false;
        }
        // SAFETY: inside of the entries (`entry`), and between the kernel's index and ours: not the kernel's now.
        unsafe { self.shared.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows the kernel what was put in; `false` if that was nothing.
    #[inline]
    pub fn commit(&mut self) -> bool {
        if self.committed == self.next {
            return false;
        }
        // The kernel reads the entries after this.
        self.shared.word(self.shared.producer).store(self.next, Ordering::Release);
        self.committed = self.next;
        true
    }

    /// Whether the kernel wants to be called for it to look at the ring.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.shared.word(self.shared.flags).load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }
}

/// The end of a ring that takes entries out: rx and completion.
pub struct Consumer<T: Copy> {
    shared: Shared<T>,
    /// The next entry to take.
    next: u32,
    /// Up to where we have told the kernel that entries were taken.
    released: u32,
    /// Up to where the kernel had put entries when that was last read.
    filled: u32,
}

impl<T: Copy> Consumer<T> {
    pub(crate) fn new(map: Mapping, offsets: Offsets, count: u32) -> Self {
        let shared = Shared::new(map, offsets, count);
        let next = shared.word(shared.consumer).load(Ordering::Relaxed);
        let filled = shared.word(shared.producer).load(Ordering::Acquire);
        Self { shared, next, released: next, filled }
    }

    /// Takes an entry out.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        if self.next == self.filled {
            // The kernel has written the entries before it says so.
            self.filled = self.shared.word(self.shared.producer).load(Ordering::Acquire);
            if self.next == self.filled {
                return None;
            }
        }
        // SAFETY: inside of the entries (`entry`), and below the kernel's index: written, and ours until released.
        let entry = unsafe { self.shared.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Whether there is something to take.
    pub fn is_empty(&self) -> bool {
        self.next == self.shared.word(self.shared.producer).load(Ordering::Acquire)
    }

    /// Tells the kernel that what was taken out may be written over.
    #[inline]
    pub fn release(&mut self) {
        if self.released != self.next {
            // Our reads of the entries come before this.
            self.shared.word(self.shared.consumer).store(self.next, Ordering::Release);
            self.released = self.next;
        }
    }
}

impl<T: Copy> std::fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Producer({} of {} taken)", self.taken, self.next)
    }
}

impl<T: Copy> std::fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Consumer({} of {} taken)", self.next, self.filled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both ends of a ring over one piece of memory, as the kernel and the socket have them.
    fn ends(count: u32) -> (Producer<u64>, Consumer<u64>) {
        let offsets = Offsets { producer: 0, consumer: 64, flags: 128, entries: 192 };
        let map = Mapping::anonymous(192 + count as usize * 8);
        let other = map.alias();
        (Producer::new(map, offsets, count), Consumer::new(other, offsets, count))
    }

    #[test]
    fn entries_cross_in_order_and_a_full_ring_says_so() {
        let (mut producer, mut consumer) = ends(4);
        for entry in 0..4 {
            assert!(producer.push(entry));
        }
        assert!(!producer.push(4), "full");
        assert_eq!(consumer.pop(), None, "not shown yet");
        assert!(producer.commit());
        assert!(!producer.commit(), "nothing new");
        assert_eq!((consumer.pop(), consumer.pop()), (Some(0), Some(1)));
        assert!(!producer.push(4), "taken, but not released");
        consumer.release();
        assert!(producer.push(4) && producer.push(5) && !producer.push(6));
        producer.commit();
        assert_eq!(producer.pending(), 4);
        let rest: Vec<_> = std::iter::from_fn(|| consumer.pop()).collect();
        assert_eq!(rest, [2, 3, 4, 5]);
    }

    #[test]
    fn indexes_run_over_the_end_of_their_range() {
        let offsets = Offsets { producer: 0, consumer: 64, flags: 128, entries: 192 };
        let map = Mapping::anonymous(192 + 4 * 8);
        let other = map.alias();
        let start = u32::MAX - 1;
        for offset in [0, 64] {
            // SAFETY: inside of the mapping made above, aligned, and nothing else uses it yet.
            unsafe { map.base().add(offset).cast::<u32>().write(start) };
        }
        let (mut producer, mut consumer) =
            (Producer::<u64>::new(map, offsets, 4), Consumer::<u64>::new(other, offsets, 4));
        for round in 0..10u64 {
            assert_eq!(producer.room(4), 4);
            assert!(producer.push(round) && producer.push(round + 100));
            producer.commit();
            assert_eq!(
                (consumer.pop(), consumer.pop(), consumer.pop()),
                (Some(round), Some(round + 100), None)
            );
            consumer.release();
        }
    }

    #[test]
    fn the_other_side_is_another_thread() {
        let (mut producer, mut consumer) = ends(8);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut next = 0u64;
                while next < 100_000 {
                    if producer.push(next) {
                        next += 1;
                    } else {
                        std::thread::yield_now();
                    }
                    producer.commit();
                }
            });
            let mut expected = 0;
            while expected < 100_000 {
                match consumer.pop() {
                    Some(entry) => {
                        assert_eq!(entry, expected);
                        expected += 1;
                        consumer.release();
                    }
                    None => std::thread::yield_now(),
                }
            }
        });
    }
}
