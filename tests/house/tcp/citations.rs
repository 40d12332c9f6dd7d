//! Citations as they are written: `RFC 9293 3.7.1 MUST-15, 3.8.4`, `RFC 8985 6.2 steps 4 and 5`.

use std::fmt;

/// Ordinals that name a step of RFC 9293 3.10.7.4.
const ORDINALS: &[&str] = &["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];

/// One place that is cited.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Citation {
    pub(crate) rfc: u32,
    pub(crate) section: String,
    pub(crate) labels: Vec<String>,
}

impl fmt::Display for Citation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RFC {} {} {}", self.rfc, self.section, self.labels.join(" "))
    }
}

/// All citations of a line of text.
pub(crate) fn citations(text: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("RFC ") {
        read(&text[at + 4..], &mut found);
    }
    found
}

/// Reads what follows the three letters: a number, and places as long as words are such.
fn read(text: &str, found: &mut Vec<Citation>) {
    let mut words = text.split_whitespace().peekable();
    let Some(rfc) =
        words.peek().and_then(|word| word.trim_matches(|c: char| !c.is_ascii_digit()).parse().ok())
    else {
        return;
    };
    let mut all: Vec<Citation> = Vec::new();
    let mut ended = ends(words.next().unwrap_or_default());
    let mut steps = false;
    while !ended && let Some(word) = words.next() {
        ended = ends(word);
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let appendix = bare.len() == 1 && bare.starts_with(|c: char| c.is_ascii_uppercase());
        let digit = appendix || bare.starts_with(|c: char| c.is_ascii_digit());
        match all.last_mut() {
            _ if word == "and" => continue,
            Some(last) if steps && digit => last.labels.push(format!("step {bare}")),
            Some(last) if is_label(bare) => last.labels.push(bare.to_owned()),
            Some(_) if bare == "step" || bare == "steps" => {
                steps = true;
                continue;
            }
            _ if digit => all.push(Citation { rfc, section: bare.to_owned(), labels: Vec::new() }),
            _ => break,
        }
        steps &= !word.ends_with(',');
    }
    if all.is_empty() {
        all.push(Citation { rfc, section: String::new(), labels: Vec::new() });
    }
    found.append(&mut all);
}

/// Whether a citation goes no further behind this word.
fn ends(word: &str) -> bool {
    word.ends_with([':', ';', ')', '.', ']', '`'])
}

fn is_label(word: &str) -> bool {
    let requirement = ["MUST-", "SHLD-", "MAY-", "REC-"]
        .iter()
        .filter_map(|prefix| word.strip_prefix(prefix))
        .any(|number| number.parse::<u32>().is_ok());
    let rule = word.strip_prefix('R').is_some_and(|number| number.parse::<u32>().is_ok());
    requirement || rule || ORDINALS.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<String> {
        citations(text).iter().map(|citation| citation.to_string().trim().to_owned()).collect()
    }

    #[test]
    fn places_are_read_as_they_are_written() {
        assert_eq!(read("as RFC 9293 3.7.1 MUST-15, SHLD-5 has it"), ["RFC 9293 3.7.1 MUST-15 SHLD-5"]);
        assert_eq!(read("RFC 5961 3, 7: ACKs"), ["RFC 5961 3", "RFC 5961 7"]);
        assert_eq!(read("RFC 8985 6.2 steps 4 and 5: by time"), ["RFC 8985 6.2 step 4 step 5"]);
        assert_eq!(read("(RFC 1337). RFC 9293 3.4."), ["RFC 1337", "RFC 9293 3.4"]);
        assert_eq!(
            read("RFC 9293 3.10.7.4 fifth comes before RFC 7323 4.3"),
            ["RFC 9293 3.10.7.4 fifth", "RFC 7323 4.3"]
        );
        assert_eq!(
            read("RFC 1122 3.2.1.2, RFC 9293 3.1 MUST-3."),
            ["RFC 1122 3.2.1.2", "RFC 9293 3.1 MUST-3"]
        );
        assert!(read("no RFCs").is_empty());
    }
}
