//! Tests of Pelton from outside. What the test binaries share is here: where the repository is.
//!
//! | binary | what it holds |
//! |---|---|
//! | `house` | layering, `forbid(unsafe_code)`, the conformance tables |
//! | `rules` | the rules of MQTT 3.1.1 and 5.0, against a running broker |
//! | `interop` | clients of other projects, against the binary |
//! | `durability` | the binary and its store, killed again and again under load |
//! | `bypass` | the binary on an interface that is served past the kernel |
#![forbid(unsafe_code)]

pub mod binary;
pub mod namespace;
pub mod scratch;
pub mod tap;
pub mod xdp;

use std::path::{Path, PathBuf};

/// The top of the repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .canonicalize()
        .expect("the repository is where it was built")
}

/// Every file of the repository whose name ends in `suffix`, sorted; build output and hidden folders are left
/// out.
pub fn files(suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(&repository(), suffix, &mut found);
    found.sort();
    found
}

fn walk(folder: &Path, suffix: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of the repository") {
        let path = entry.expect("a folder of the repository").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && name != "node_modules" && !name.starts_with('.') {
                walk(&path, suffix, found);
            }
        } else if name.ends_with(suffix) {
            found.push(path);
        }
    }
}

/// A path as it is written in documents: from the top of the repository.
pub fn relative(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap_or(path).to_string_lossy().into_owned()
}
