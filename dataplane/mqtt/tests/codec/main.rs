//! The codec from outside: every rule has a packet that breaks it, every packet comes back as it went, and no bytes
//! whatever do harm.

mod corpus;
mod examine;
mod mutate;
mod mutation;
mod random;
mod roundtrip;
mod violations;
