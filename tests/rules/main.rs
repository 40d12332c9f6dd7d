//! The rules of MQTT 3.1, 3.1.1 and 5.0 against a broker of two shards, over real sockets: what a client sees.
//! Every test names the statements it proves (`covers`); `docs/conformance.md` is made from that.
#![forbid(unsafe_code)]

mod broker;
mod client;

mod alias;
mod connect;
mod disconnect;
mod flow;
mod keep_alive;
mod limits;
mod malformed;
mod order;
mod packet_size;
mod properties;
mod publish;
mod qos1;
mod qos2;
mod retained;
mod session;
mod shared;
mod subscribe;
mod unsubscribe;
mod will;
