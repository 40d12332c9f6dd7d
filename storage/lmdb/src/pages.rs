//! Walks the pages of an LMDB file as bytes, trusting none of them: every page number, offset and length is
//! looked at before it is followed. LMDB itself follows them blindly, and has no checksums of pages; so this
//! comes before a file whose history is unknown is handed to it.
//!
//! The layout is that of LMDB 0.9 on 64-bit little-endian machines, data format 1, without sorted duplicates.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::check::{Place, Problems};

const MAGIC: u32 = 0xBEEF_C0DE;
const VERSION: u32 = 1;
const HEADER: usize = 16;
const NODE: usize = 8;
const BRANCH: u16 = 1;
const LEAF: u16 = 2;
const OVERFLOW: u16 = 4;
const META: u16 = 8;
/// Node flags: the value is in overflow pages; the value is a database.
const BIG: u16 = 1;
const DATABASE: u16 = 2;
const NO_PAGE: u64 = u64::MAX;
/// LMDB's own limit of a tree's depth.
const DEPTH_MAX: u16 = 32;
/// More pages than this are not left out at the end of a file: a transaction does not have as many.
const LEFT_OUT_MAX: u64 = 1 << 20;

/// What the walk saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageCounts {
    /// Pages up to the last one used.
    pub total: u64,
    /// Pages that hold something.
    pub used: u64,
    /// Pages that are free.
    pub free: u64,
}

/// What a tree says of itself.
#[derive(Clone, Copy, Debug)]
struct Tree {
    flags: u16,
    depth: u16,
    branches: u64,
    leaves: u64,
    overflows: u64,
    entries: u64,
    root: u64,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

impl Tree {
    const BYTES: usize = 48;

    fn read(bytes: &[u8]) -> Self {
        Self {
            flags: u16_at(bytes, 4),
            depth: u16_at(bytes, 6),
            branches: u64_at(bytes, 8),
            leaves: u64_at(bytes, 16),
            overflows: u64_at(bytes, 24),
            entries: u64_at(bytes, 32),
            root: u64_at(bytes, 40),
        }
    }
}

/// The newest of the two meta pages that `transaction` can see.
struct Newest {
    page_bytes: usize,
    free: Tree,
    main: Tree,
    last_page: u64,
}

fn newest(file: &File, transaction: Option<u64>, problems: &mut Problems) -> Option<Newest> {
    let mut first = [0; 512];
    file.read_exact_at(&mut first, 0).ok()?;
    // The page size is in the first meta page only by way of its own contents; a file of ours has pages of 4 KiB
    // up to 64 KiB.
    let page_bytes = u32_at(&first, HEADER + 24) as usize;
    if !page_bytes.is_power_of_two() || !(512..=65_536).contains(&page_bytes) {
        problems.add(Place::Page(0), "the page size is impossible");
        return None;
    }
    let mut best: Option<(u64, Newest)> = None;
    for number in 0..2u64 {
        let mut page = [0; 512];
        if file.read_exact_at(&mut page, number * page_bytes as u64).is_err() {
            problems.add(Place::Page(number), "the meta page is missing");
            continue;
        }
        let body = &page[HEADER..];
        if u16_at(&page, 10) & META == 0 || u32_at(body, 0) != MAGIC || u32_at(body, 4) != VERSION {
            problems.add(Place::Page(number), "this is no meta page");
            continue;
        }
        let id = u64_at(body, 24 + 2 * Tree::BYTES + 8);
        if transaction.is_some_and(|transaction| id > transaction) {
            continue;
        }
        let found = Newest {
            page_bytes,
            free: Tree::read(&body[24..]),
            main: Tree::read(&body[24 + Tree::BYTES..]),
            last_page: u64_at(body, 24 + 2 * Tree::BYTES),
        };
        if best.as_ref().is_none_or(|(newest, _)| id > *newest) {
            best = Some((id, found));
        }
    }
    best.map(|(_, newest)| newest)
}

struct Walk<'a> {
    file: &'a File,
    page_bytes: usize,
    last_page: u64,
    /// Pages there are in the file, a last one that is cut off included.
    file_pages: u64,
    /// One bit for each page: seen in a tree or on the list of free pages.
    seen: Vec<u64>,
    used: u64,
    free: u64,
    /// Look also at the first page of each large value.
    is_deep: bool,
    problems: &'a mut Problems,
}

/// Counts of a tree's pages as they are walked.
#[derive(Default)]
struct Counted {
    branches: u64,
    leaves: u64,
    overflows: u64,
    entries: u64,
}

/// Walks all pages that the newest transaction (no newer than `transaction`) can see. Pages of large values,
/// which are most of a store, are looked at only if `is_deep`.
pub(crate) fn walk(
    file: &File,
    transaction: Option<u64>,
    is_deep: bool,
    problems: &mut Problems,
) -> PageCounts {
    let Some(newest) = newest(file, transaction, problems) else {
        problems.add(Place::File, "there is no meta page to begin from");
        return PageCounts::default();
    };
    let bytes = file.metadata().map_or(0, |about| about.len());
    let file_pages = bytes.div_ceil(newest.page_bytes as u64);
    // Free pages at the end may never have been written, and are not in the file then.
    if newest.last_page < 1 || newest.last_page >= file_pages + LEFT_OUT_MAX {
        problems.add(Place::File, "the number of pages is impossible");
        return PageCounts::default();
    }
    let total = newest.last_page + 1;
    let mut walk = Walk {
        file,
        page_bytes: newest.page_bytes,
        last_page: newest.last_page,
        file_pages,
        seen: vec![0; total.div_ceil(64) as usize],
        used: 2,
        free: 0,
        is_deep,
        problems,
    };
    walk.seen[0] = 3;
    walk.tree(&newest.free, Kind::Free);
    walk.tree(&newest.main, Kind::Main);
    PageCounts { total, used: walk.used, free: walk.free }
}

/// What the values of a tree are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Lists of free pages.
    Free,
    /// Databases.
    Main,
    /// Records.
    Records,
}

impl Walk<'_> {
    fn wrong(&mut self, page: u64, what: &'static str) {
        self.problems.add(Place::Page(page), what);
    }

    /// Marks pages as seen. `false` if one was before, or cannot be.
    fn see(&mut self, first: u64, count: u64) -> bool {
        if first < 2 || first.checked_add(count).is_none_or(|end| end > self.last_page + 1) {
            return false;
        }
        for page in first..first + count {
            let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
            if self.seen[word] & bit != 0 {
                return false;
            }
            self.seen[word] |= bit;
        }
        true
    }

    fn tree(&mut self, tree: &Tree, kind: Kind) {
        if tree.root == NO_PAGE {
            if tree.entries != 0 {
                self.problems.add(Place::File, "an empty tree claims entries");
            }
            return;
        }
        if tree.depth == 0 || tree.depth > DEPTH_MAX || (kind != Kind::Free && tree.flags != 0) {
            self.wrong(tree.root, "a tree of impossible depth or kind");
            return;
        }
        let mut counted = Counted::default();
        let before = self.problems.total();
        self.page(tree.root, tree.depth, kind, (None, None), &mut counted);
        if self.problems.total() == before
            && (counted.branches, counted.leaves, counted.overflows, counted.entries)
                != (tree.branches, tree.leaves, tree.overflows, tree.entries)
        {
            self.wrong(tree.root, "the tree is not what its counts say");
        }
    }

    fn page(
        &mut self,
        number: u64,
        depth: u16,
        kind: Kind,
        within: (Option<&[u8]>, Option<&[u8]>),
        counted: &mut Counted,
    ) {
        if !self.see(number, 1) {
            self.wrong(number, "the page is out of range, or used twice");
            return;
        }
        self.used += 1;
        let mut page = vec![0; self.page_bytes];
        if self.file.read_exact_at(&mut page, number * self.page_bytes as u64).is_err() {
            self.wrong(number, "the page cannot be read");
            return;
        }
        let flags = u16_at(&page, 10) & !0xC010;
        let expected = if depth > 1 { BRANCH } else { LEAF };
        if u64_at(&page, 0) != number || flags != expected {
            self.wrong(number, "the page is not the one it should be");
            return;
        }
        let (lower, upper) = (usize::from(u16_at(&page, 12)), usize::from(u16_at(&page, 14)));
        if lower < HEADER || lower > upper || upper > self.page_bytes || lower % 2 != 0 {
            self.wrong(number, "the page's bounds are impossible");
            return;
        }
        if depth > 1 {
            counted.branches += 1
        } else {
            counted.leaves += 1
        }
        let mut nodes = Vec::with_capacity((lower - HEADER) / 2);
        for at in (HEADER..lower).step_by(2) {
            let node = usize::from(u16_at(&page, at));
            let fits = node >= upper && node + NODE <= self.page_bytes;
            let key = fits.then(|| node + NODE..node + NODE + usize::from(u16_at(&page, node + 6)));
            match key {
                Some(key) if key.end <= self.page_bytes => nodes.push((node, key)),
                _ => {
                    self.wrong(number, "an entry lies outside of its page");
                    return;
                }
            }
        }
        if nodes.is_empty() || (depth > 1 && nodes.len() < 2) {
            self.wrong(number, "the page has too few entries");
            return;
        }
        // Keys of free lists are numbers of the machine's order; the others are bytes.
        let order = |key: &[u8]| -> Vec<u8> {
            if kind == Kind::Free { key.iter().rev().copied().collect() } else { key.to_vec() }
        };
        let mut keys: Vec<Vec<u8>> = nodes.iter().map(|(_, key)| order(&page[key.clone()])).collect();
        if depth > 1 {
            // The first key of a branch stands for everything below the second.
            keys[0] = within.0.map(<[u8]>::to_vec).unwrap_or_default();
        }
        let ascending = keys.windows(2).all(|pair| pair[0] < pair[1]);
        let above = within.0.is_none_or(|low| keys[0].as_slice() >= low);
        let below = within.1.is_none_or(|high| keys.last().is_some_and(|last| last.as_slice() < high));
        if !(ascending && above && below) {
            self.wrong(number, "keys are out of order");
            return;
        }
        for (at, (node, key)) in nodes.iter().enumerate() {
            if depth > 1 {
                let child = u64::from(u32_at(&page, *node)) | u64::from(u16_at(&page, node + 4)) << 32;
                let high = keys.get(at + 1).map(Vec::as_slice).or(within.1);
                self.page(child, depth - 1, kind, (Some(&keys[at]), high), counted);
            } else {
                counted.entries += 1;
                self.leaf(number, &page, *node, key.end, kind, counted);
            }
        }
    }

    fn leaf(&mut self, number: u64, page: &[u8], node: usize, at: usize, kind: Kind, counted: &mut Counted) {
        let (len, flags) = (u32_at(page, node) as usize, u16_at(page, node + 4));
        let expected = if kind == Kind::Main { DATABASE } else { 0 };
        if flags & !BIG != expected {
            self.wrong(number, "an entry is of the wrong kind");
            return;
        }
        let mut big = Vec::new();
        let value = if flags & BIG == 0 {
            match page.get(at..at + len) {
                Some(value) => value,
                None => return self.wrong(number, "a value lies outside of its page"),
            }
        } else {
            let Some(first) = page.get(at..at + 8).map(|bytes| u64_at(bytes, 0)) else {
                return self.wrong(number, "a value lies outside of its page");
            };
            let count = (HEADER + len).div_ceil(self.page_bytes) as u64;
            if first.saturating_add(count) > self.file_pages || !self.see(first, count) {
                return self.wrong(first, "pages of a value are out of range, or used twice");
            }
            self.used += count;
            counted.overflows += count;
            if (self.is_deep || kind == Kind::Free) && !self.begins_value(first, count) {
                return self.wrong(first, "pages of a value are not those they should be");
            }
            if kind == Kind::Free {
                big.resize(len, 0);
                let from = first * self.page_bytes as u64 + HEADER as u64;
                if self.file.read_exact_at(&mut big, from).is_err() {
                    return self.wrong(first, "pages of a value cannot be read");
                }
            }
            &big
        };
        match kind {
            Kind::Main if value.len() == Tree::BYTES => self.tree(&Tree::read(value), Kind::Records),
            Kind::Main => self.wrong(number, "a database has a record of the wrong length"),
            Kind::Free => self.free_list(number, value),
            Kind::Records => {}
        }
    }

    /// Whether `count` pages of a value begin with page `first`.
    fn begins_value(&self, first: u64, count: u64) -> bool {
        let mut head = [0; HEADER];
        self.file.read_exact_at(&mut head, first * self.page_bytes as u64).is_ok()
            && (u64_at(&head, 0), u16_at(&head, 10) & !0xC010) == (first, OVERFLOW)
            && u64::from(u32_at(&head, 12)) == count
    }

    fn free_list(&mut self, number: u64, list: &[u8]) {
        let count = if list.len() >= 8 { u64_at(list, 0) } else { u64::MAX };
        if count != (list.len() as u64 / 8).wrapping_sub(1) {
            self.wrong(number, "a list of free pages has the wrong length");
            return;
        }
        for id in list[8..].chunks_exact(8) {
            let page = u64_at(id, 0);
            if self.see(page, 1) {
                self.free += 1;
            } else {
                self.wrong(page, "a free page is out of range, or in use");
            }
        }
    }
}
