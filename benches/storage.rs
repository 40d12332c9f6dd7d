//! Criterion suite of the stage `storage`: time per message from a batch sent to it being durable, per message read back,
//! per record found at a start; on the disk the temporary directory is on. For processor time see `storage-cost`.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pelton_benches::storage::{Bench, Load, open};
use pelton_storage_lmdb::Policy;

/// Messages of one run.
const MESSAGES: u64 = 20_000;
/// Sessions, and retained messages, of a store that is opened.
const OPENED: u64 = 20_000;

fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    group.sample_size(10).throughput(Throughput::Elements(MESSAGES));
    let away = |payload| Load { payload, sessions: 100, run: 1, done_after: 10_000 };
    for (name, policy, load) in [
        ("append/64 B, commit", Policy::Commit, away(64)),
        ("append/256 B, commit", Policy::Commit, away(256)),
        ("append/64 B, relaxed", Policy::Relaxed, away(64)),
        ("append/64 B, memory", Policy::Memory, away(64)),
        ("append/64 B, overtaken", Policy::Commit, Load { done_after: u64::MAX, ..away(64) }),
        ("append/64 B, a session per message", Policy::Commit, Load { sessions: 20_000, ..away(64) }),
    ] {
        let mut bench = Bench::new(&std::env::temp_dir(), policy, load.sessions);
        group.bench_function(name, |bencher| {
            bencher.iter(|| bench.put(load, MESSAGES));
        });
    }
    group.finish();
}

fn one(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    group.sample_size(20);
    let mut bench = Bench::new(&std::env::temp_dir(), Policy::Commit, 100);
    let load = Load { payload: 64, sessions: 100, run: 1, done_after: 0 };
    group.bench_function("append/one message, commit", |bencher| bencher.iter(|| bench.put(load, 1)));
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    let mut bench = Bench::new(&std::env::temp_dir(), Policy::Memory, 100);
    bench.send(Load { payload: 64, sessions: 100, run: 1, done_after: 0 }, 100_000);
    group.sample_size(10).throughput(Throughput::Elements(100_000));
    group.bench_function("page read/100 messages of 64 B a page", |bencher| {
        bencher.iter(|| assert_eq!(bench.read(100, 1_000), 100_000));
    });
    group.finish();
}

fn retained(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    group.sample_size(10).throughput(Throughput::Elements(MESSAGES));
    let mut bench = Bench::new(&std::env::temp_dir(), Policy::Commit, 1);
    group
        .bench_function("retained/64 B set again, commit", |bencher| bencher.iter(|| bench.retain(MESSAGES)));
    group.finish();
}

fn recovery(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    let kept = Bench::with_sessions_and_retained(&std::env::temp_dir(), OPENED, OPENED).close();
    group.sample_size(10).throughput(Throughput::Elements(2 * OPENED));
    group.bench_function("recovery/a session with a subscription, or a retained message", |bencher| {
        bencher.iter(|| {
            let (engine, ports) = open(&kept);
            let mut found = 0;
            engine.load(|_| found += 1, |_| ()).expect("the store can be read");
            assert_eq!(found, 2 * OPENED);
            drop(ports);
            engine.close();
        });
    });
    group.finish();
    let _ = std::fs::remove_dir_all(&kept);
}

criterion_group!(benches, append, one, read, retained, recovery);
criterion_main!(benches);
