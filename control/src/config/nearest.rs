//! The known name an unknown one was probably meant to be.

use super::keys::{KEYS, Key};

/// How different two names may be and still be taken for a slip, in edits.
fn tolerance(name: &str) -> usize {
    1 + name.len() / 3
}

/// How different a name may be from the beginning of a known one: what stands last in names, a unit or `max`, is
/// what people leave out.
fn tolerance_at_start(name: &str) -> usize {
    name.len() / 6
}

/// The nearest of `known` to `name`, if it is near enough.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .filter_map(|candidate| {
            let edits = strsim::damerau_levenshtein(name, candidate);
            let start = candidate.get(..name.len()).map(|start| strsim::damerau_levenshtein(name, start));
            let is_start = name.len() >= 6 && start.is_some_and(|edits| edits <= tolerance_at_start(name));
            (edits <= tolerance(name) || is_start).then_some((edits, candidate))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// What to say behind "unknown key": the same name in another section, else the nearest name in this one,
/// else the nearest anywhere.
pub(crate) fn advice(section: &str, name: &str) -> String {
    let in_section = || KEYS.iter().filter(|key| key.section == section);
    if let Some(key) = KEYS.iter().find(|key| key.name == name) {
        return format!("; it belongs to [{}]", key.section);
    }
    if let Some(near) = nearest(name, in_section().map(|key| key.name)) {
        return format!("; did you mean `{near}`?");
    }
    let anywhere = nearest(name, KEYS.iter().map(|key| key.name));
    match anywhere.and_then(|near| KEYS.iter().find(|key| key.name == near)) {
        Some(Key { section, name, .. }) => format!("; did you mean `{name}` of [{section}]?"),
        None if in_section().next().is_some() => {
            let names: Vec<&str> = in_section().map(|key| key.name).collect();
            format!("; [{section}] has {}", names.join(", "))
        }
        None => String::new(),
    }
}
