//! What stands around an interface that is served past the kernel: which rung it reaches and what is missing
//! (`pelton probe`), what it is and can (`pelton nic`), what XDP program it has (`pelton xdp`), how it is best set
//! (`pelton tune`). Nothing here is needed to serve; the broker asks the kernel itself.

mod answer;
mod capability;
mod device;
mod host;
mod interrupt;
mod netdev;
pub(crate) mod probe;
mod profile;
pub(crate) mod program;
pub(crate) mod show;
pub(crate) mod tune;

/// The folder that stands for the system's root, so that tests can bring their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root(std::path::PathBuf);

impl Root {
    pub(crate) fn new(path: impl Into<std::path::PathBuf>) -> Self {
        Self(path.into())
    }

    /// Whether it is the system's own: only then can the kernel be asked in other ways than by files.
    fn is_system(&self) -> bool {
        self.0 == std::path::Path::new("/")
    }

    fn path(&self, below: &str) -> std::path::PathBuf {
        self.0.join(below.trim_start_matches('/'))
    }

    /// A file that is named from the root or, with the system's own, from the working directory.
    fn path_of(&self, file: &std::path::Path) -> std::path::PathBuf {
        if self.is_system() { file.to_owned() } else { self.0.join(file.strip_prefix("/").unwrap_or(file)) }
    }

    /// What a file says, without the end of the line; none if it cannot be read.
    fn read(&self, below: &str) -> Option<String> {
        Some(std::fs::read_to_string(self.path(below)).ok()?.trim_end().to_owned())
    }

    /// The name that a link's target ends with.
    fn link(&self, below: &str) -> Option<String> {
        let target = std::fs::read_link(self.path(below)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    /// The names in a folder, in order.
    fn list(&self, below: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(below)).into_iter().flatten().filter_map(Result::ok);
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}
