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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tracing_subscriber::prelude::*;

    use super::*;

    /// Counts what the limit lets through.
    #[derive(Clone, Default)]
    struct Lines(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, _event: &Event<'_>, _context: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn each_place_has_its_own_share_and_what_is_kept_back_is_counted() {
        let (limit, lines) = (Limit::new(3), Lines::default());
        let subscriber = tracing_subscriber::registry().with(limit.clone()).with(lines.clone());
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..10 {
                tracing::info!(n, "one place");
            }
            tracing::info!("another");
        });
        assert_eq!(lines.0.load(Ordering::Relaxed), 4);
        let kept_back = limit.take_kept_back();
        assert_eq!(kept_back.len(), 1);
        assert!(kept_back[0].0.contains("limit.rs:") && kept_back[0].1 == 7, "{kept_back:?}");
        assert!(limit.take_kept_back().is_empty());
    }

    #[test]
    fn a_new_window_lets_lines_through_again() {
        let limit = Limit::new(1);
        let now = Instant::now();
        let place = tracing::callsite!(name: "place", kind: tracing::metadata::Kind::EVENT, fields: );
        let metadata = tracing::Callsite::metadata(place);
        assert!(limit.lets_through(metadata, now));
        assert!(!limit.lets_through(metadata, now + WINDOW / 2));
        assert!(limit.lets_through(metadata, now + WINDOW));
        assert_eq!(limit.take_kept_back()[0].1, 1);
        let unlimited = Limit::new(0);
        assert!((0..100).all(|_| unlimited.lets_through(metadata, now)));
    }
}
