//! Shards with a storage behind them, over real sockets: the reference store in a thread of its own.

#[path = "../peers/client.rs"]
mod client;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use client::Client;
use crossbeam_channel::{Receiver, Sender, bounded, select_biased, unbounded};
use pelton_base::HashKey;
use pelton_broker::settings::Storage;
use pelton_broker::{Broker, Settings};
use pelton_mqtt::{QoS, Version};
use pelton_runtime::{Backing, Fleet, Idle, Plan, StoragePort, Waker};
use pelton_sockets::Bind;
use pelton_storage_ops::reference::ReferenceStore;
use pelton_storage_ops::{Answer, Batch, PageRequest};

const KEY: HashKey = HashKey::new(5, 6);
const V311: Version = Version::V311;

/// The thread of a store, and how to end it.
struct Disk {
    thread: JoinHandle<ReferenceStore>,
    stop: Arc<AtomicBool>,
}

impl Disk {
    /// The store as it is when everything it was given has been committed (`clean`), or as a crash at this
    /// moment leaves it.
    fn end(self, clean: bool) -> ReferenceStore {
        self.stop.store(!clean, Ordering::Release);
        self.thread.join().expect("the store does not panic")
    }
}

fn serve(
    mut store: ReferenceStore,
    batches: &Receiver<Batch>,
    pages: &Receiver<PageRequest>,
    answers: &[Sender<Answer>],
    wakers: &[Waker],
    stop: &AtomicBool,
) -> ReferenceStore {
    let answer = |shard: u16, answer: Answer| {
        // A shard that is gone hears no answer.
        let _ = answers[usize::from(shard)].send(answer);
        wakers[usize::from(shard)].wake();
    };
    loop {
        select_biased! {
            recv(batches) -> batch => {
                let Ok(batch) = batch else { break };
                if stop.load(Ordering::Acquire) {
                    break;
                }
                store.apply(batch);
                while let Ok(batch) = batches.try_recv() {
                    store.apply(batch);
                }
                for (shard, completion) in store.commit() {
                    answer(shard, Answer::Completed(completion));
                }
            }
            recv(pages) -> request => {
                let Ok(request) = request else { break };
                answer(request.shard, Answer::Page(store.page(&request)));
            }
        }
    }
    store.crash();
    store
}

fn start(shards: u16, store: ReferenceStore) -> (Fleet, SocketAddr, Disk) {
    let plan = Plan {
        binds: vec![Bind { address: SocketAddr::from(([127, 0, 0, 1], 0)) }],
        interfaces: Vec::new(),
        shards,
        cores: Vec::new(),
        idle: Idle { spin_us: 0 },
        patience: pelton_base::Patience::default(),
        settings: Arc::new(Settings { storage: Some(Storage::default()), ..Settings::default() }),
        key: HashKey::new(7, 7),
        seed: 3,
    };
    let stop = Arc::new(AtomicBool::new(false));
    let mut disk = None;
    let fleet = Fleet::start_with(&plan, |wakers| {
        let (batches, batches_in) = bounded(64);
        let (pages, pages_in) = bounded(64);
        let (answers, answers_out): (Vec<_>, Vec<_>) = (0..shards).map(|_| unbounded()).unzip();
        let (loads, loaded): (Vec<_>, Vec<_>) = (0..shards).map(|_| unbounded()).unzip();
        for found in store.load() {
            let home = Broker::home_of(KEY, shards, &found);
            loads[usize::from(home)].send(found).expect("the shard reads it");
        }
        let (wakers, stopped) = (wakers.to_vec(), stop.clone());
        let thread =
            std::thread::spawn(move || serve(store, &batches_in, &pages_in, &answers, &wakers, &stopped));
        disk = Some(Disk { thread, stop: stop.clone() });
        let ports = answers_out
            .into_iter()
            .zip(loaded)
            .map(|(answers, loaded)| StoragePort {
                batches: batches.clone(),
                pages: pages.clone(),
                answers,
                loaded,
            })
            .collect();
        Ok(Backing { key: KEY, ports })
    })
    .expect("a port of the system's choice is free");
    let address = fleet.addresses()[0];
    (fleet, address, disk.expect("the storage was started"))
}

#[test]
fn sessions_survive_a_restart_on_other_shards() {
    let mut store = ReferenceStore::default();
    let clients = 24;
    let (fleet, address, disk) = start(3, store);
    for n in 0..clients {
        let mut client = Client::connect(address, V311, &format!("away-{n}"), false);
        client.subscribe(&format!("to/{n}/#"), QoS::AtLeastOnce);
    }
    let mut publisher = Client::connect(address, V311, "publisher", false);
    for n in 0..clients {
        for m in 0..10u16 {
            publisher.publish(&format!("to/{n}/x"), QoS::AtLeastOnce, 1 + m, &m.to_be_bytes());
            let puback = publisher.receive().expect("PUBACK");
            assert_eq!(puback, [0x40, 2, 0, 1 + m as u8]);
        }
    }
    drop(publisher);
    assert!(fleet.shut_down(Duration::from_secs(10)), "a clean end drains the storage");
    store = disk.end(true);
    let queued: usize = store.durable().sessions.values().map(|stored| stored.queue.len()).sum();
    assert_eq!(queued, 10 * clients);

    let (fleet, address, disk) = start(2, store);
    for n in 0..clients {
        // CONNACK says that the session is there; then the queue.
        let mut client = Client::open(address, V311);
        client.send(&client::connect_packet(V311, &format!("away-{n}"), false));
        assert_eq!(client.receive().expect("CONNACK"), [0x20, 2, 1, 0]);
        for m in 0..10u16 {
            assert_eq!(client.receive_payload(), m.to_be_bytes());
        }
    }
    // The routes between shards stand from the first moment.
    let mut publisher = Client::connect(address, V311, "publisher", true);
    let mut client = Client::connect(address, V311, "away-0", false);
    publisher.publish("to/0/y", QoS::AtMostOnce, 0, b"live");
    let mut last = Vec::new();
    while last != b"live" {
        last = client.receive_payload();
    }
    assert!(fleet.shut_down(Duration::from_secs(10)));
    disk.end(true);
}

#[test]
fn what_was_acknowledged_survives_a_crash() {
    let (fleet, address, disk) = start(2, ReferenceStore::default());
    drop({
        let mut client = Client::connect(address, V311, "away", false);
        client.subscribe("a/#", QoS::ExactlyOnce);
        client
    });
    let mut publisher = Client::connect(address, V311, "publisher", false);
    for n in 1..=50u16 {
        publisher.publish("a/b", QoS::AtLeastOnce, n, &n.to_be_bytes());
    }
    for _ in 0..50 {
        publisher.receive().expect("PUBACK");
    }
    let pretend = std::thread::spawn(move || disk.end(false));
    // The store takes no more: what the end of the connections says is lost.
    fleet.shut_down(Duration::from_millis(300));
    let store = pretend.join().expect("the store ends");
    let (fleet, address, disk) = start(2, store);
    let mut client = Client::connect(address, V311, "away", false);
    for n in 1..=50u16 {
        assert_eq!(client.receive_payload(), n.to_be_bytes());
    }
    assert!(fleet.shut_down(Duration::from_secs(10)));
    disk.end(true);
}
