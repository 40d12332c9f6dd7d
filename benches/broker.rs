//! Criterion suite of the stage `broker`: time per operation of the workloads in `src/broker.rs`.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pelton_benches::Workload;

fn measure(criterion: &mut Criterion, workloads: Vec<Workload>) {
    for mut workload in workloads {
        let (group, name) = workload.name.split_once('/').expect("stage/what");
        let mut group = criterion.benchmark_group(group);
        group.throughput(Throughput::Elements(workload.operations));
        group.bench_function(name, |bencher| bencher.iter(|| (workload.run)()));
        group.finish();
    }
}

fn broker(criterion: &mut Criterion) {
    measure(criterion, pelton_benches::broker::workloads());
}

criterion_group!(benches, broker);
criterion_main!(benches);
