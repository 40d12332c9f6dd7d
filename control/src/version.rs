//! What this binary is.

/// The version of the package.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit, where whoever built it said so (`PELTON_COMMIT` at build time).
const COMMIT: Option<&str> = option_env!("PELTON_COMMIT");

/// What serves loopback and all that is not served past the kernel.
pub(crate) const SOCKETS: &str = "kernel sockets";

/// The ways packets can reach the broker, best first, of those compiled in.
const RUNGS: &[&str] = &["AF_XDP zero-copy", "AF_XDP copy", "AF_XDP generic", SOCKETS, "TAP"];

/// Everything about it, a line each.
pub(crate) fn text() -> String {
    format!(
        "pelton {VERSION}\ncommit {}\ntarget {}\ndatapath {}\n",
        COMMIT.unwrap_or("unknown"),
        env!("PELTON_TARGET"),
        RUNGS.join(", ")
    )
}
