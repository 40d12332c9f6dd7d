//! Whole connections over a port in memory: two stacks of ours, or one of ours and smoltcp's, with a bad link between.

mod host;
mod loss;
