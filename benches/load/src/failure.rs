//! Why a run did not come to its end.

use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use pelton_mqtt::{DecodeError, ReasonCode};

/// Why a run did not come to its end.
#[derive(Debug)]
pub enum Failure {
    /// Options that do not go together, or out of range.
    Option(String),
    /// A core that is not there, or not ours.
    Core(usize, io::Error),
    /// The host name means nothing here.
    Resolve(String, io::Error),
    /// Nobody listens, or the way is barred.
    Connect(SocketAddr, io::Error),
    /// No answer to a CONNECT or SUBSCRIBE in time.
    Silent(SocketAddr, Duration),
    /// The broker said no to a CONNECT.
    Refused(ReasonCode),
    /// The broker said no to a SUBSCRIBE of this filter.
    NotSubscribed(String, ReasonCode),
    /// The broker closed the connection before it was ready.
    ClosedEarly(SocketAddr),
    /// What the broker sent is not MQTT.
    NotMqtt(DecodeError),
    /// The broker's process cannot be looked at.
    Process(u32, io::Error),
    /// The system refused something.
    System(io::Error),
}

impl Failure {
    /// 2 for a wrong command line, 1 for everything else.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(if matches!(self, Self::Option(_) | Self::Core(..)) { 2 } else { 1 })
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Option(text) => write!(f, "{text}"),
            Self::Core(core, error) => write!(f, "cannot run on core {core}: {error}"),
            Self::Resolve(host, error) => write!(f, "cannot resolve {host}: {error}"),
            Self::Connect(address, error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                write!(f, "nobody listens on {address}: start the broker, or name it with -h and -p")
            }
            Self::Connect(address, error) if error.raw_os_error() == Some(24) => {
                write!(f, "cannot connect to {address}: {error}; raise the limit with ulimit -n")
            }
            Self::Connect(address, error) => write!(f, "cannot connect to {address}: {error}"),
            Self::Silent(address, after) => {
                write!(f, "{address} accepted a connection but did not answer within {} s", after.as_secs())
            }
            Self::Refused(reason) => {
                write!(f, "the broker refused a connection: {} (0x{:02x})", reason.name(), *reason as u8)
            }
            Self::NotSubscribed(filter, reason) => write!(
                f,
                "the broker refused the subscription to {filter}: {} (0x{:02x})",
                reason.name(),
                *reason as u8
            ),
            Self::ClosedEarly(address) => {
                write!(
                    f,
                    "{address} closed a connection before it was ready; does it speak this version (-V)?"
                )
            }
            Self::NotMqtt(error) => write!(f, "what the broker sent is not MQTT: {error}"),
            Self::Process(pid, error) => write!(f, "cannot read /proc/{pid}: {error}"),
            Self::System(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Self {
        Self::System(error.into())
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Self {
        Self::NotMqtt(error)
    }
}
