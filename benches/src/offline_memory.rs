//! What an offline persistent session costs in memory: `cargo run --release -p pelton-benches --bin
//! offline-memory [SESSIONS]`. Sessions are loaded as from a store, one shard, each with one subscription and a
//! hundred messages in storage; anonymous memory before and after says the rest. Without transparent huge pages, as
//! the broker runs.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::Instant;

use pelton_base::{HashKey, Mono, Wall};
use pelton_broker::settings::Storage;
use pelton_broker::slot::Slot;
use pelton_broker::{Broker, Settings, Setup};
use pelton_storage_ops::{Loaded, LoadedSession, SessionId, SessionImage, SessionKind};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const KEY: HashKey = HashKey::new(1, 2);

fn rss_anon_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("RssAnon"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|n| n.parse().ok());
    kilobytes.unwrap_or(0u64) * 1024
}

fn main() {
    let sessions: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        eprintln!("transparent huge pages are on: {error}");
    }
    for (what, begin, end) in [
        ("fleet/+/command for all", "", ""),
        ("dev/NNNNNNN/cmd each", "dev/", "/cmd"),
        ("device/NNNNNNN/command each", "device/", "/command"),
        ("dev/NNNNNNN/# each", "dev/", "/#"),
    ] {
        let settings = Settings { storage: Some(Storage::default()), ..Settings::default() };
        let before = rss_anon_bytes();
        let began = Instant::now();
        let mut broker = Broker::new(Setup {
            shard: 0,
            shards: 1,
            key: KEY,
            seed: 3,
            settings: Arc::new(settings),
            mono: Mono::from_ms(1_000),
            wall: Wall(1_800_000_000_000),
        });
        for n in 0..sessions {
            let client_id = format!("device-{n:010}");
            let slot = Slot::of(KEY, client_id.as_bytes()).0;
            let subscription =
                if begin.is_empty() { "fleet/+/command".to_owned() } else { format!("{begin}{n:07}{end}") };
            let session = LoadedSession {
                session: SessionId { slot, serial: n + 1 },
                image: SessionImage {
                    kind: SessionKind::Client,
                    client_id,
                    expiry_seconds: 86_400,
                    expires: Wall(1_800_000_000_000 + 86_400_000),
                    will: None,
                },
                subscriptions: vec![(subscription, 1, 0)],
                received: Vec::new(),
                next_sequence: 100,
                queued_messages: 100,
                queued_bytes: 25_600,
            };
            if let Err(error) = broker.load(Loaded::Session(Box::new(session))) {
                eprintln!("{error}");
                std::process::exit(1);
            }
        }
        let took = began.elapsed();
        let each = (rss_anon_bytes() - before) / sessions.max(1);
        println!("{sessions} offline sessions, {what}: {each} bytes each, loaded in {took:.2?}");
        // Kept until it is measured; the next one begins with what this one gives back.
        std::mem::forget(broker);
    }
}
