//! The configuration file: TOML, every key known, every value in its range. Everything that is wrong is said at
//! once, with its line.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::interfaces;
use super::keys::{SECTIONS, find};
use super::nearest::{advice, nearest};
use super::{Config, Problem};

/// Applies a file's contents. `name` is how the file is called in messages.
pub(crate) fn apply(config: &mut Config, name: &str, bytes: &[u8], problems: &mut Vec<Problem>) {
    let source = match std::str::from_utf8(bytes) {
        Ok(source) => source,
        Err(error) => {
            let valid = &bytes[..error.valid_up_to()];
            let source = String::from_utf8_lossy(valid);
            problems.push(Problem::at(name, &source, source.len(), "the file is not UTF-8".into()));
            return;
        }
    };
    let (table, errors) = DeTable::parse_recoverable(source);
    let mut found: Vec<(usize, String)> = errors
        .iter()
        .map(|error| (error.span().map_or(0, |span| span.start), error.message().to_owned()))
        .collect();
    // Behind the first error of a line the parser only guesses.
    found.sort();
    found.dedup_by(|later, first| !source.as_bytes()[first.0..later.0].contains(&b'\n'));
    // What follows from broken syntax would only confuse.
    if found.is_empty() {
        sections(config, table.get_ref(), &mut found);
    }
    found.sort();
    problems.extend(found.into_iter().map(|(at, text)| Problem::at(name, source, at, text)));
}

fn sections(config: &mut Config, table: &DeTable<'_>, found: &mut Vec<(usize, String)>) {
    for (key, value) in table {
        let section = key.get_ref().as_ref();
        let at = key.span().start;
        if section == interfaces::NAME {
            match interfaces::read(value) {
                Ok(read) => config.interfaces = read,
                Err(wrongs) => found.extend(wrongs.into_iter().map(|(span, text)| (span.start, text))),
            }
            continue;
        }
        if !SECTIONS.iter().any(|known| known.name == section) {
            let text = match (value.get_ref(), nearest(section, SECTIONS.iter().map(|known| known.name))) {
                (DeValue::Table(_), Some(near)) => {
                    format!("unknown section [{section}]; did you mean [{near}]?")
                }
                (DeValue::Table(_), None) => {
                    let names: Vec<&str> = SECTIONS.iter().map(|known| known.name).collect();
                    format!("unknown section [{section}]; there are {} and [[interface]]", names.join(", "))
                }
                _ => format!("unknown key `{section}` outside of any section{}", advice("", section)),
            };
            found.push((at, text));
            continue;
        }
        match value.get_ref() {
            DeValue::Table(keys) => section_keys(config, section, keys, found),
            _ => {
                found.push((at, format!("`{section}` is a section: write [{section}] on a line of its own")))
            }
        }
    }
}

fn section_keys(config: &mut Config, section: &str, keys: &DeTable<'_>, found: &mut Vec<(usize, String)>) {
    for (key, value) in keys {
        let name = key.get_ref().as_ref();
        match set(config, section, name, value) {
            Set::Done => {}
            Set::Unknown => {
                let text = format!("unknown key `{name}` in [{section}]{}", advice(section, name));
                found.push((key.span().start, text));
            }
            Set::Wrong(wrongs) => {
                found
                    .extend(wrongs.into_iter().map(|(span, text)| (span.start, format!("`{name}`: {text}"))));
            }
        }
    }
}

/// What became of a key and its value.
pub(crate) enum Set {
    /// It is set.
    Done,
    /// There is no such key.
    Unknown,
    /// The value is not allowed.
    Wrong(Vec<super::value::Wrong>),
}

/// Sets one key.
pub(crate) fn set(config: &mut Config, section: &str, name: &str, value: &Spanned<DeValue<'_>>) -> Set {
    let Some(key) = find(section, name) else { return Set::Unknown };
    match key.field.kind.read(value) {
        Ok(value) => {
            (key.field.set)(config, value);
            Set::Done
        }
        Err(wrongs) => Set::Wrong(wrongs),
    }
}

#[cfg(test)]
mod tests {
    use pelton_base::Rng;

    use super::*;

    /// Damages a valid file at random: whatever comes of it is a configuration or a list of problems.
    #[test]
    fn damaged_files_are_refused_not_choked_on() {
        let whole =
            crate::config::dump(&Config::default()).replace("[]", "[{ effect = 'deny', filter = 'ä' }]");
        let mut rng = Rng::with_seed(7);
        let mut refused = 0;
        for _ in 0..400 {
            let mut bytes = whole.clone().into_bytes();
            for _ in 0..=rng.below(4) {
                let at = rng.below(bytes.len() as u64) as usize;
                match rng.below(4) {
                    0 => bytes[at] = rng.u64() as u8,
                    1 => bytes[at] = b"[]{}=\"'.,\n#\\"[rng.below(12) as usize],
                    2 => drop(bytes.drain(at..(at + rng.below(40) as usize).min(bytes.len()))),
                    _ => bytes.insert(at, b"[{\"='\n"[rng.below(6) as usize]),
                }
            }
            let mut problems = Vec::new();
            apply(&mut Config::default(), "file", &bytes, &mut problems);
            refused += usize::from(!problems.is_empty());
            let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
            for problem in problems {
                let text = problem.to_string();
                let line = text.split(':').nth(1).and_then(|line| line.parse::<usize>().ok());
                assert!(line.is_some_and(|line| line <= lines), "{text}");
            }
        }
        assert!(refused > 100, "{refused} of 400 refused");
    }
}
