//! The program itself, loaded into the kernel and run on frames in memory. This needs CAP_BPF; where it is missing the
//! tests say so and do nothing, or fail if PELTON_REQUIRE_ROOT is set.

mod agreement;
mod cost;
mod frames;
mod kernel;
mod model;
mod mutator;
mod verdicts;
