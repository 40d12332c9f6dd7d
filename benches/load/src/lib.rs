//! A load generator for MQTT brokers.
//!
//! One thread, one epoll instance, packets encoded before the clock starts: it is to cost so little that it limits no
//! broker. Every message carries who sent it, its number and when it was to be sent, so that what became of it is
//! known: its latency, and whether it was lost, came twice or came out of order.
//!
//! ```text
//! options    what was asked for             topology   who publishes to whom
//! opening    connects and subscribes        messages   the run of the message scenarios
//! publisher  window, schedule, packet ids   sequence   lost, duplicated, out of order
//! connects   churn and opening              idle       memory and CPU of connections that do nothing
//! away       sessions without their clients
//! process    the broker's CPU and memory    report     what is told
//! meter      both, over a time              figures    what the broker says of itself
//! ```
#![forbid(unsafe_code)]

mod away;
mod clock;
mod connects;
pub mod failure;
pub mod figures;
mod idle;
mod latency;
mod link;
mod messages;
mod meter;
mod opening;
pub mod options;
mod packets;
mod poller;
pub mod process;
mod publisher;
pub mod report;
mod sequence;
mod stamp;
mod topology;

pub use failure::Failure;
pub use options::{Options, Scenario};
pub use report::Report;

/// Runs a scenario to its end.
///
/// # Errors
/// If the broker cannot be reached, refuses what is asked, or the system does.
pub fn run(options: &Options) -> Result<Report, Failure> {
    options.check()?;
    if let Some(core) = options.core {
        process::pin_to(&[core])?;
    }
    match &options.scenario {
        Scenario::Connect(churn) => connects::run(options, churn),
        Scenario::Idle(idle) => idle::run(options, idle),
        Scenario::Away(away) => away::run(options, away),
        _ => messages::run(options),
    }
}
