//! The pages of `docs/` that are made from the code.

mod cli;
mod config;

use std::path::Path;

use clap::ValueEnum;

use crate::cli::{Docs, Page};
use crate::exit::Exit;

/// Prints a page, or writes all.
pub(crate) fn run(docs: &Docs) -> Exit {
    if let Some(page) = docs.page {
        print!("{}", text(page));
    }
    let Some(folder) = &docs.write else { return Exit::Ok };
    for &page in Page::value_variants() {
        if let Err(error) = write(folder, page) {
            eprintln!("cannot write {} into {}: {error}", page.file_name(), folder.display());
            return Exit::Refused;
        }
    }
    Exit::Ok
}

fn write(folder: &Path, page: Page) -> std::io::Result<()> {
    std::fs::write(folder.join(page.file_name()), text(page))
}

fn text(page: Page) -> String {
    match page {
        Page::Config => config::page(),
        Page::Cli => cli::page(),
    }
}
