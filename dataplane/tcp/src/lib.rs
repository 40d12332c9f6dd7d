//! Our TCP: sans-IO, for millions of mostly idle connections.
//!
//! A [`Tcp`] serves one shard on one [`Port`](pelton_packet::Port): it takes frames, keeps connections, and offers
//! them as [`ByteStreams`](pelton_base::ByteStreams). It reads no clock and has no threads; time is passed in.
//!
//! | file | what is there |
//! |---|---|
//! | `stack` | the parts; a burst of frames in three prefetched passes; timers |
//! | `demux`, `tables`, `tuple` | from a tuple to a connection |
//! | `tcb`, `cold` | the state of a connection: 128 bytes, and what only loss and bulk need |
//! | `stray` | a segment belongs to no connection |
//! | `handshake`, `half_open`, `cookie`, `active_open` | how connections begin |
//! | `plain`, `predict` | a segment arrives as nearly all do |
//! | `input`, `ack`, `reassembly` | any other segment arrives |
//! | `output`, `compose`, `flight` | what may be sent, and what is under way |
//! | `receive_window` | how much a peer may send ahead |
//! | `congestion`, `cubic`, `recovery`, `prr`, `undo`, `ecn` | how much may be under way, and what a loss does to that |
//! | `timers`, `path`, `path_search` | what happens when nothing arrives |
//! | `ending`, `time_wait` | how connections end |
//! | `handover`, `relay` | connections that move to another shard |
//! | `search` | segments that come by the port of another stack than that of their connection |
//! | `streams` | the contract upwards |
//! | `socket` | sockets over a stack, for tests and tools |
//!
//! Nothing is buffered that need not be: data in order goes up in the frame it came in; what is sent stays in the
//! shard's queue until it is acknowledged, and is read from there again when it must be sent again. So everything
//! that sends data happens in [`transmit`](pelton_base::ByteStreams::transmit), and a connection that must send
//! again asks for it by [`Writable`](pelton_base::StreamEvent::Writable).
#![forbid(unsafe_code)]

mod ack;
mod active_open;
mod chunk;
mod cold;
mod compose;
mod congestion;
mod cookie;
mod cookie_reply;
mod counters;
mod cubic;
mod demux;
mod ecn;
mod ending;
mod flight;
mod half_open;
mod handover;
mod handshake;
mod input;
mod limiter;
mod offer;
mod output;
mod path;
mod path_search;
mod plain;
mod predict;
mod prr;
mod reassembly;
mod receive_window;
mod recovery;
mod relay;
mod search;
pub mod segment;
mod seq;
mod settings;
mod socket;
mod soon;
mod spent;
mod stack;
mod stray;
mod streams;
mod tables;
mod tcb;
mod time_wait;
mod timers;
mod tuple;
mod undo;

pub use active_open::ConnectError;
pub use chunk::Chunk;
pub use counters::{TcpCounter, TcpDrop};
pub use handover::HandedTcp;
pub use relay::{Relays, relays};
pub use seq::Seq;
pub use settings::{Congestion, Ecn, Secrets, Settings, SynAck};
pub use socket::{Info, Phase, Ready, Shutdown, SocketError, SocketId, Sockets};
pub use stack::{Tcp, Usage};
pub use tcb::State;
