//! The log: lines to standard error, for people or as JSON. No payloads, no topics of clients. What one place in
//! the code may write is limited; what was kept back is counted and said.

mod limit;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::prelude::*;
use tracing_subscriber::{Registry, fmt, reload};

use crate::config::{Format, Level, Log};
use limit::Limit;

/// The running log, to be told to change.
pub(crate) struct Logging {
    level: reload::Handle<LevelFilter, Registry>,
    limit: Limit,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// Starts the log of the process.
pub(crate) fn start(settings: &Log) -> Logging {
    let (filter, level) = reload::Layer::new(LevelFilter::from(settings.level));
    let limit = Limit::new(settings.lines_per_place_max);
    // A log that nobody reads any more is no reason to stop.
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(false).log_internal_errors(false);
    let registry = tracing_subscriber::registry().with(filter).with(limit.clone());
    match settings.format {
        Format::Text => registry.with(lines.with_ansi(false)).init(),
        Format::Json => registry.with(lines.json().flatten_event(true).with_current_span(false)).init(),
    }
    Logging { level, limit }
}

impl Logging {
    /// Changes the level.
    pub(crate) fn set_level(&self, level: Level) {
        // It fails only when the log is gone, and then there is nobody to tell.
        let _ = self.level.reload(LevelFilter::from(level));
    }

    /// Says what was kept back since the last call. To be called now and then.
    pub(crate) fn say_kept_back(&self) {
        for (place, lines) in self.limit.take_kept_back() {
            tracing::warn!(place, lines, "log lines kept back: this place wrote too many");
        }
    }
}
