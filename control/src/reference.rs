//! The pages of `docs/` that are made from the code.

mod cli;
mod config;
mod metrics;

use std::io::Write;
use std::path::Path;

use clap::ValueEnum;

use crate::cli::{Docs, Page};
use crate::exit::Exit;
use crate::sys::reasons::Set;

/// Prints a page, or writes all. `transports` are the counters of the transports compiled in.
pub(crate) fn run(docs: &Docs, transports: &[Set]) -> Exit {
    if let Some(page) = docs.page {
        return crate::write_out(&text(page, transports));
    }
    let Some(folder) = &docs.write else { return Exit::Ok };
    for &page in Page::value_variants() {
        if let Err(error) = write(folder, page, transports) {
            let place = folder.join(page.file_name());
            let _ = writeln!(std::io::stderr(), "cannot write {}: {error}", place.display());
            return Exit::Refused;
        }
    }
    Exit::Ok
}

fn write(folder: &Path, page: Page, transports: &[Set]) -> std::io::Result<()> {
    std::fs::write(folder.join(page.file_name()), text(page, transports))
}

fn text(page: Page, transports: &[Set]) -> String {
    match page {
        Page::Config => config::page(),
        Page::Cli => cli::page(),
        Page::Metrics => metrics::page(transports),
    }
}
