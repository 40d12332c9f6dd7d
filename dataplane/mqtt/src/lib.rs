//! The MQTT codec.
#![forbid(unsafe_code)]
