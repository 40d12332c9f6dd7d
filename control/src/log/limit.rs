//! How many lines one place in the code may write. A broker under attack must not fill the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The lines of a place are counted over this time.
const WINDOW: Duration = Duration::from_secs(10);

/// Lines of one place.
struct Place {
    name: String,
    since: Instant,
    written: u32,
    kept_back: u64,
}

/// Lets a bounded number of lines of each place through. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Limit {
    lines_max: u32,
    places: Arc<Mutex<HashMap<Identifier, Place>>>,
}

impl Limit {
    /// At most `lines_max` lines of a place in ten seconds; 0 for no limit.
    pub(crate) fn new(lines_max: u32) -> Self {
        Self { lines_max, places: Arc::default() }
    }

    /// Whether a line of this place may be written now.
    fn lets_through(&self, metadata: &'static Metadata<'static>, now: Instant) -> bool {
        if self.lines_max == 0 {
            return true;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place {
            name: format!(
                "{}:{}",
                metadata.file().unwrap_or(metadata.target()),
                metadata.line().unwrap_or_default()
            ),
            since: now,
            written: 0,
            kept_back: 0,
        });
        if now.duration_since(place.since) >= WINDOW {
            place.since = now;
            place.written = 0;
        }
        if place.written < self.lines_max {
            place.written += 1;
            true
        } else {
            place.kept_back += 1;
            false
        }
    }

    /// The places that had lines kept back, and how many.
    pub(crate) fn take_kept_back(&self) -> Vec<(String, u64)> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places
            .values_mut()
            .filter(|place| place.kept_back != 0)
            .map(|place| (place.name.clone(), std::mem::take(&mut place.kept_back)))
            .collect()
    }
}

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _context: Context<'_, S>) -> bool {
        self.lets_through(event.metadata(), Instant::now())
    }
}
