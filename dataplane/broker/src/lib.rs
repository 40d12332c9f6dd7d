//! What MQTT means, without I/O: connections, sessions, subscriptions, delivery, acknowledgement, retained
//! messages, wills and expiry of one shard, and what the shards of a process say to each other.
//!
//! A [`Broker`] is driven by its shard. Input goes in by `handle_*`: a packet of a connection
//! ([`Broker::handle_packet`]), the end of one ([`Broker::handle_closed`]), what another shard sent
//! ([`Broker::handle_chunk`], [`Broker::handle_replies`]). What must happen next comes out by `poll_*`
//! ([`Broker::poll_deliveries`], [`Broker::poll_timers`]) and [`Broker::next_timeout`]. Time is set once a
//! turn ([`Broker::begin_turn`]); randomness comes from the seed in [`Setup`].
//!
//! Effects are left in reused buffers for the shard to carry out: bytes to send per connection
//! ([`Broker::out`]), connections to end, to hand over or to feed again ([`Effects`]), and what goes to
//! other shards ([`peers`]).
//!
//! | module | what it owns |
//! |---|---|
//! | [`link`] | one connection: protocol version, keep-alive, aliases, pending acknowledgements |
//! | [`session`] | what outlives a connection: subscriptions, in-flight windows, queue, will |
//! | [`router`] | filters, topics, routes to other shards |
//! | [`message`] | a publish on its way, and the store of those that must outlive it |
//! | [`retained`] | the retained messages whose home is this shard |
//! | [`shared`] | shared subscription groups whose home is this shard |
//! | [`access`] | who may connect, publish and subscribe |
//! | [`persist`] | what goes to storage, and what waits for it |
//! | [`peers`] | what shards say to each other, staged per target |
//! | [`holdings`] | what is held at a moment, for checks |
#![forbid(unsafe_code)]

pub mod access;
mod acknowledge;
mod alias;
mod alike;
mod broker;
mod claim;
mod connect;
pub mod counters;
mod deliver;
mod disconnect;
pub mod effects;
mod expiry;
mod fanout;
mod farewell;
mod fetch;
pub mod holdings;
pub mod inflight;
pub mod link;
mod links;
mod mesh;
pub mod message;
pub mod peers;
pub mod persist;
mod ping;
mod publish;
pub mod queue;
mod repeats;
pub mod retained;
pub mod router;
pub mod session;
pub mod settings;
mod settle;
pub mod shared;
pub mod slot;
mod subscribe;
mod sys;
mod unsubscribe;
mod will;

pub use broker::{Broker, Handled, Setup};
pub use effects::Effects;
pub use settings::Settings;
