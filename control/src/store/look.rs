//! Says loudly when the store becomes full or failing, that it still is, and that it is well again.

use std::path::Path;
use std::time::{Duration, Instant};

use pelton_storage_lmdb::{Health, StoreStatus};
use tracing::{error, warn};

/// How often a store that is not well is spoken of.
const AGAIN: Duration = Duration::from_secs(60);

/// How the store was when it was last spoken of.
#[derive(Debug, Default)]
pub(super) struct Look {
    said: Option<(Health, Instant)>,
}

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Nothing,
    Unwell(Health),
    Recovered,
}

impl Look {
    pub(super) fn at(&mut self, status: &StoreStatus, directory: &Path, now: Instant) {
        let why = match status.errno {
            0 => String::new(),
            errno => format!(" ({})", std::io::Error::from_raw_os_error(errno)),
        };
        match self.next(status.health, now) {
            Said::Nothing => {}
            Said::Unwell(Health::Failing) => error!(
                "the store in {} cannot be written{why}: publishes that must be stored are refused or wait; it goes \
                 on by itself when the medium does",
                directory.display()
            ),
            Said::Unwell(_) => error!(
                "the store in {} is full{why}: publishes that must be stored are refused or wait; make room on its \
                 disk, or raise [storage] bytes_max; it goes on by itself",
                directory.display()
            ),
            Said::Recovered => warn!("the store in {} takes writes again", directory.display()),
        }
    }

    fn next(&mut self, health: Health, now: Instant) -> Said {
        match (health, self.said) {
            (Health::Well, None) => Said::Nothing,
            (Health::Well, Some(_)) => {
                self.said = None;
                Said::Recovered
            }
            (health, Some((said, at))) if said == health && now.duration_since(at) < AGAIN => Said::Nothing,
            (health, _) => {
                self.said = Some((health, now));
                Said::Unwell(health)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_is_said_once_and_trouble_again_every_minute() {
        let mut look = Look::default();
        let start = Instant::now();
        let steps = [
            (0, Health::Well, Said::Nothing),
            (1, Health::Full, Said::Unwell(Health::Full)),
            (2, Health::Full, Said::Nothing),
            (60, Health::Full, Said::Nothing),
            (61, Health::Full, Said::Unwell(Health::Full)),
            (62, Health::Failing, Said::Unwell(Health::Failing)),
            (63, Health::Well, Said::Recovered),
            (64, Health::Well, Said::Nothing),
            (65, Health::Full, Said::Unwell(Health::Full)),
        ];
        for (second, health, said) in steps {
            assert_eq!(look.next(health, start + Duration::from_secs(second)), said, "second {second}");
        }
    }
}
