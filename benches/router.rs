//! Criterion suite of the stage `router`: time per operation of the workloads in `src/router.rs`.
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

fn router(criterion: &mut Criterion) {
    for filters in [10, 10_000, 1_000_000] {
        measure(criterion, pelton_benches::router::workloads_of(filters));
    }
}

criterion_group!(benches, router);
criterion_main!(benches);
