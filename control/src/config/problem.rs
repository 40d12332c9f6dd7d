//! What is wrong with a configuration, and where.

use std::path::Path;

/// One thing that is wrong, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// File, line and column, or the variable.
    place: String,
    /// What is wrong and what would be right.
    text: String,
}

impl Problem {
    /// Something about a file as a whole.
    pub(crate) fn whole_file(path: &Path, text: &str) -> Self {
        Self { place: path.display().to_string(), text: text.to_owned() }
    }

    /// Something at a byte of a file. Lines and columns count from one; a column is a character.
    pub(crate) fn at(file: &str, source: &str, offset: usize, text: String) -> Self {
        let before = &source[..source.floor_char_boundary(offset)];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Self { place: format!("{file}:{line}:{column}"), text }
    }

    /// Something about a key, wherever its value came from.
    pub(crate) fn key(name: &str, text: String) -> Self {
        Self { place: name.to_owned(), text }
    }

    /// Something about a variable of the environment.
    pub(crate) fn variable(name: &str, text: String) -> Self {
        Self { place: name.to_owned(), text }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}
