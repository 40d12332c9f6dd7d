//! The undo file: what settings were before they were touched for the first time, in the order they were touched.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

use super::super::Root;
use super::setting::Setting;

/// A setting that was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) setting: Setting,
    /// Before the first touch.
    pub(super) before: String,
    /// After the last.
    pub(super) after: String,
}

/// All that were touched.
#[derive(Clone, Debug, Default)]
pub(super) struct Undo {
    entries: Vec<Entry>,
    /// Those that were not there when it was loaded.
    new: Vec<Setting>,
}

impl Undo {
    /// Reads a file; none if it is not there.
    ///
    /// # Errors
    /// It cannot be read, or was not written by us.
    pub(super) fn load(root: &Root, file: &Path) -> Result<Option<Self>, String> {
        let path = root.path_of(file);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                return Err(format!(
                    "the undo file {} cannot be read: {error} (run as root, or name another with --undo)",
                    path.display()
                ));
            }
        };
        let entries = serde_json::from_str::<Value>(&text).ok().and_then(|value| {
            value["settings"].as_array()?.iter().map(entry).collect::<Option<Vec<Entry>>>()
        });
        match entries {
            Some(entries) => Ok(Some(Self { entries, new: Vec::new() })),
            None => Err(format!(
                "{} is no undo file of this program: move it away, or name another with --undo",
                path.display()
            )),
        }
    }

    /// Notes what a setting is before it is touched; what is known of it from earlier stays.
    pub(super) fn remember(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|known| known.setting == entry.setting) {
            Some(known) => known.after = entry.after,
            None => {
                self.new.push(entry.setting.clone());
                self.entries.push(entry);
            }
        }
    }

    /// What a setting is now that it was touched.
    pub(super) fn settled(&mut self, setting: &Setting, now: String) {
        if let Some(known) = self.entries.iter_mut().find(|known| known.setting == *setting) {
            known.after = now;
        }
    }

    /// A setting was not touched after all.
    pub(super) fn forget_new(&mut self, setting: &Setting) {
        if self.new.contains(setting) {
            self.entries.retain(|known| known.setting != *setting);
        }
    }

    /// Takes the one touched last.
    pub(super) fn last(&mut self) -> Option<Entry> {
        self.entries.pop()
    }

    /// Writes the file anew, in one step; takes it away if there is nothing to undo.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub(super) fn save(&self, root: &Root, file: &Path) -> Result<(), String> {
        let path = root.path_of(file);
        let refused = |error: io::Error| {
            format!(
                "the undo file {} cannot be written: {error} (run as root, or name another with --undo)",
                path.display()
            )
        };
        if self.entries.is_empty() {
            return match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused(error)),
                _ => Ok(()),
            };
        }
        let settings: Vec<Value> = self
            .entries
            .iter()
            .map(|entry| {
                json!({
                    "interface": entry.setting.interface,
                    "setting": entry.setting.word(),
                    "before": entry.before,
                    "after": entry.after,
                })
            })
            .collect();
        let text = format!("{:#}\n", json!({ "settings": settings }));
        let write = || -> io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            let next = path.with_extension("new");
            let mut out = fs::File::create(&next)?;
            out.write_all(text.as_bytes())?;
            out.sync_all()?;
            fs::rename(&next, &path)
        };
        write().map_err(refused)
    }
}

fn entry(value: &Value) -> Option<Entry> {
    let text = |key: &str| value[key].as_str().map(str::to_owned);
    let setting = Setting::parse(value["interface"].as_str(), value["setting"].as_str()?)?;
    Some(Entry { setting, before: text("before")?, after: text("after")? })
}
