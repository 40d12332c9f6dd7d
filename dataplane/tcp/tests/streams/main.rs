//! Whole connections over a port in memory: two stacks of ours, or one of ours and smoltcp's, with a bad link between;
//! floods; queues that change; and segments that nobody would send.

mod both;
mod bulk;
mod bytes;
mod flood;
mod fuzz;
mod host;
mod loss;
mod peers;
mod queues;
mod repair;
