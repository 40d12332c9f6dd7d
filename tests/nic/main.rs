//! `pelton probe`, `nic`, `xdp` and `tune` on veth pairs in network namespaces. It takes root; the host's own interfaces
//! and settings are not touched.
#![forbid(unsafe_code)]

mod link;
mod probe;
mod program;
mod tune;
