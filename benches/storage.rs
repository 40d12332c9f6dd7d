//! Criterion suite of the stage `storage`: time per message from a batch sent to it being durable, on the disk
//! the temporary directory is on. For processor time see `storage-cost`.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pelton_benches::storage::{Bench, Load};
use pelton_storage_lmdb::Policy;

/// Messages of one run.
const MESSAGES: u64 = 20_000;

fn enqueue(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    group.sample_size(10).throughput(Throughput::Elements(MESSAGES));
    let away = |payload| Load { payload, sessions: 100, run: 1, done_after: 10_000 };
    for (name, policy, load) in [
        ("64 B/commit", Policy::Commit, away(64)),
        ("256 B/commit", Policy::Commit, away(256)),
        ("64 B/relaxed", Policy::Relaxed, away(64)),
        ("64 B/memory", Policy::Memory, away(64)),
        ("64 B/overtaken", Policy::Commit, Load { done_after: u64::MAX, ..away(64) }),
        ("64 B/session per message", Policy::Commit, Load { sessions: 20_000, ..away(64) }),
    ] {
        let mut bench = Bench::new(&std::env::temp_dir(), policy, load.sessions);
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| (), |()| bench.send(load, MESSAGES), BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn one(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    group.sample_size(20);
    let mut bench = Bench::new(&std::env::temp_dir(), Policy::Commit, 100);
    let load = Load { payload: 64, sessions: 100, run: 1, done_after: 0 };
    group.bench_function("one message/commit", |bencher| bencher.iter(|| bench.send(load, 1)));
    group.finish();
}

fn read(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("storage");
    let mut bench = Bench::new(&std::env::temp_dir(), Policy::Memory, 100);
    bench.send(Load { payload: 64, sessions: 100, run: 1, done_after: 0 }, 100_000);
    group.sample_size(10).throughput(Throughput::Elements(100_000));
    group.bench_function("read back/100 messages a page", |bencher| {
        bencher.iter(|| assert_eq!(bench.read(100, 1_000), 100_000));
    });
    group.finish();
}

criterion_group!(benches, enqueue, one, read);
criterion_main!(benches);
