//! The workloads behind the criterion suites and the instruction counts: each is set up once and then run as
//! often as its caller wants, and does the same work every time.
#![forbid(unsafe_code)]

pub mod broker;
pub mod codec;
pub mod loopback;
pub mod memory;
pub mod router;
pub mod shard;
pub mod storage;
pub mod tcp;

/// The allocator of the broker's binary, so that benches pay what the product pays.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Something to measure: a name, how many operations one run is, and the run.
pub struct Workload {
    /// `stage/what`.
    pub name: String,
    /// Operations in one run, for cost per operation.
    pub operations: u64,
    /// Does them.
    pub run: Box<dyn FnMut()>,
}

impl Workload {
    /// A workload of `operations` operations a run.
    pub fn new(name: impl Into<String>, operations: u64, run: impl FnMut() + 'static) -> Self {
        Self { name: name.into(), operations, run: Box::new(run) }
    }
}

impl std::fmt::Debug for Workload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workload").field("name", &self.name).field("operations", &self.operations).finish()
    }
}

/// All workloads that need no more than a second to set up: those whose instructions are counted.
pub fn counted() -> Vec<fn() -> Vec<Workload>> {
    vec![codec::workloads, router::small, broker::workloads, shard::workloads, tcp::workloads]
}
