//! Disks that are full or fail, and maps that are too small: what failed is named, what was acknowledged stays,
//! readers go on, and all is well again by itself.

use std::path::Path;

use pelton_storage_lmdb::{Health, Options, StoreEvent, check};
use pelton_storage_ops::reference::ReferenceStore;
use pelton_storage_ops::{Batch, Failure};

use crate::client::{Client, options, told_by_reference, told_by_store};
use crate::recorder::Recorder;
use crate::scratch::Scratch;
use crate::script::{Line, Player};

fn enqueue(len: u32) -> Line {
    // For session 1, of shard 1.
    Line::Enqueue { sessions: 0b11, len, qos: 1, retain: false, sent: false, identifiers: 1 }
}

/// A store and the reference, with a session and three messages in its queue.
struct Pair {
    client: Client,
    reference: ReferenceStore,
    player: Player,
}

impl Pair {
    fn new(directory: &Path, options: Options) -> Self {
        let client = Client::open(directory, options);
        let mut pair = Self { client, reference: ReferenceStore::default(), player: Player::new() };
        let failed = pair.play(&[Line::Put(1, true), enqueue(100), enqueue(2_000), enqueue(300)]);
        assert_eq!(failed, []);
        pair
    }

    fn batch(&mut self, lines: &[Line]) -> Batch {
        lines.iter().for_each(|line| self.player.play(line));
        let mut batches = self.player.cut();
        assert_eq!(batches.len(), 1);
        batches.remove(0)
    }

    /// Gives both stores the same; the store must do what the reference does.
    fn play(&mut self, lines: &[Line]) -> Vec<(u64, Failure)> {
        let batch = self.batch(lines);
        self.client.send(batch.clone());
        self.reference.apply(batch);
        let told = self.client.settle().remove(1);
        let (_, expected) = self.reference.commit().remove(0);
        assert!(told.returned == expected.returned, "the batch comes back");
        assert_eq!((told.until, &told.failed), (expected.until, &expected.failed));
        self.compare();
        told.failed
    }

    fn compare(&mut self) {
        assert_eq!(told_by_store(&mut self.client), told_by_reference(&self.reference));
    }

    fn is(&self, health: Health, errno: i32) {
        let status = self.client.engine.status();
        assert_eq!((status.health, status.errno), (health, errno));
    }

    fn finish(self, directory: &Path) {
        self.client.close();
        assert_eq!(check(directory).expect("checked").problems, []);
    }
}

#[test]
fn a_full_disk_refuses_what_is_new_and_forgets_what_is_over() {
    let scratch = Scratch::new();
    let mut pair = Pair::new(scratch.path(), options(2));
    let file = scratch.path().join("pelton.mdb");
    let recorder = Recorder::arm(&file);
    let bytes = std::fs::metadata(&file).expect("the file").len();
    recorder.set_full(Some(bytes + (64 << 10)));
    pair.reference.set_fault(Some(Failure::Full));
    let failed = pair.play(&[enqueue(200_000), Line::Done(1, 0)]);
    assert_eq!(failed.iter().map(|(_, failure)| *failure).collect::<Vec<_>>(), [Failure::Full]);
    pair.is(Health::Full, libc::ENOSPC);
    let failed = pair.play(&[enqueue(200_000), Line::Sent(1, 0)]);
    assert_eq!(failed.len(), 1);
    recorder.set_full(None);
    pair.reference.set_fault(None);
    assert_eq!(pair.play(&[enqueue(200_000), Line::Done(1, 0)]), []);
    pair.is(Health::Well, 0);
    drop(recorder);
    pair.finish(scratch.path());
}

#[test]
fn a_disk_that_cannot_make_durable_fails_everything_for_as_long() {
    let scratch = Scratch::new();
    let mut pair = Pair::new(scratch.path(), options(2));
    let recorder = Recorder::arm(&scratch.path().join("pelton.mdb"));
    recorder.set_sync_fails(libc::EIO);
    pair.reference.set_fault(Some(Failure::Failed));
    for _ in 0..3 {
        assert_eq!(pair.play(&[enqueue(50), Line::Sent(1, 0)]).len(), 2);
        pair.is(Health::Failing, libc::EIO);
    }
    recorder.set_sync_fails(0);
    pair.reference.set_fault(None);
    assert_eq!(pair.play(&[enqueue(50), Line::Sent(1, 0)]), []);
    pair.is(Health::Well, 0);
    drop(recorder);
    pair.finish(scratch.path());
}

#[test]
fn a_meta_page_that_could_not_be_written_is_written_after_opening_again() {
    let scratch = Scratch::new();
    let mut pair = Pair::new(scratch.path(), options(2));
    let recorder = Recorder::arm(&scratch.path().join("pelton.mdb"));
    recorder.set_meta_fails(libc::EIO);
    pair.reference.set_fault(Some(Failure::Failed));
    assert_eq!(pair.play(&[enqueue(50), Line::Done(1, 0)]).len(), 2);
    // LMDB takes no transaction any more, and opening it again is no cure yet.
    assert_eq!(pair.play(&[enqueue(50), Line::Done(1, 0)]).len(), 2);
    pair.is(Health::Failing, libc::EIO);
    recorder.set_meta_fails(0);
    pair.reference.set_fault(None);
    assert_eq!(pair.play(&[enqueue(50), Line::Done(1, 0)]), []);
    assert!(pair.client.engine.status().counters.get(StoreEvent::Reopened) >= 1);
    pair.is(Health::Well, 0);
    drop(recorder);
    pair.finish(scratch.path());
}

#[test]
fn a_map_grows_up_to_its_limit_and_what_is_freed_is_used_again() {
    let scratch = Scratch::new();
    let small = Options { map_bytes: 1 << 18, map_bytes_max: 1 << 22, ..options(2) };
    let mut pair = Pair::new(scratch.path(), small);
    let mut queued = 3;
    let failed = loop {
        pair.player.play(&enqueue(100_000));
        let batch = pair.player.cut().remove(0);
        pair.client.send(batch.clone());
        let told = pair.client.settle().remove(1);
        if !told.failed.is_empty() {
            break told.failed;
        }
        queued += 1;
        pair.reference.apply(batch);
        pair.reference.commit();
        assert!(queued < 100, "the limit was passed");
    };
    assert_eq!(failed.iter().map(|(_, failure)| *failure).collect::<Vec<_>>(), [Failure::Full]);
    assert!(queued > 15, "only {queued} messages of 100 kB in 4 MiB");
    pair.is(Health::Full, libc::EFBIG);
    assert!(pair.client.engine.status().counters.get(StoreEvent::Grown) >= 4);
    pair.compare();
    let done: Vec<Line> = (0..queued).map(|_| Line::Done(1, 0)).collect();
    assert_eq!(pair.play(&done), []);
    assert_eq!(pair.play(&[enqueue(100_000), enqueue(100_000)]), []);
    pair.is(Health::Well, 0);
    pair.finish(scratch.path());
}

/// A small file system of its own.
struct Mounted(Scratch);

impl Mounted {
    /// `None`, and says so, where that is not allowed.
    fn new(data: &str, flags: libc::c_ulong) -> Option<Self> {
        let scratch = Scratch::new();
        let path = std::ffi::CString::new(scratch.path().to_str().expect("UTF-8")).expect("no NUL");
        let data = std::ffi::CString::new(data).expect("no NUL");
        let kind = c"tmpfs".as_ptr();
        // SAFETY: all strings live until the call returns.
        let done = unsafe { libc::mount(kind, path.as_ptr(), kind, flags, data.as_ptr().cast()) };
        if done != 0 {
            eprintln!("SKIPPED: cannot mount a file system for a test: {}", std::io::Error::last_os_error());
            return None;
        }
        Some(Self(scratch))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let path = std::ffi::CString::new(self.0.path().to_str().expect("UTF-8")).expect("no NUL");
        // SAFETY: the string lives until the call returns.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}

#[test]
fn a_small_file_system_fills_up_and_empties() {
    let Some(mounted) = Mounted::new("size=3m", 0) else { return };
    let directory = mounted.0.path();
    let mut pair = Pair::new(directory, options(2));
    let mut queued = 3;
    loop {
        pair.player.play(&enqueue(60_000));
        let batch = pair.player.cut().remove(0);
        pair.client.send(batch.clone());
        if !pair.client.settle().remove(1).failed.is_empty() {
            break;
        }
        queued += 1;
        pair.reference.apply(batch);
        pair.reference.commit();
        assert!(queued < 100, "more than the file system holds");
    }
    assert!(queued > 20, "only {queued} messages of 60 kB in 3 MB");
    pair.is(Health::Full, libc::ENOSPC);
    pair.compare();
    let done: Vec<Line> = (0..queued / 2).map(|_| Line::Done(1, 0)).collect();
    assert_eq!(pair.play(&done), []);
    assert_eq!(pair.play(&[enqueue(60_000), enqueue(60_000)]), []);
    pair.is(Health::Well, 0);
    pair.finish(directory);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let Some(mounted) = Mounted::new("", libc::MS_RDONLY) else { return };
    let error = pelton_storage_lmdb::Engine::open(mounted.0.path(), options(1)).expect_err("refused");
    let text = error.to_string();
    assert!(text.contains(&mounted.0.path().display().to_string()), "{text}");
    assert!(text.contains("Read-only file system"), "{text}");
}
