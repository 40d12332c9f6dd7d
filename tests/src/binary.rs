//! The binary as users start it: built if need be, on a port of the system's choice, killed when dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::repository;

/// How long a start may take. It takes milliseconds; the machine may be busy with other tests.
const START: Duration = Duration::from_secs(20);

/// A running `pelton`.
#[derive(Debug)]
pub struct Pelton {
    child: Child,
    address: SocketAddr,
}

impl Pelton {
    /// Starts the broker with more arguments behind `serve --bind 127.0.0.1:0`.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(build("pelton", "pelton"));
        if speaks_serve() {
            command.args(["serve", "--bind", "127.0.0.1:0"]).args(arguments);
        } else {
            command.args(["127.0.0.1:0", "2"]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary that was just built starts");
        let stderr = child.stderr.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        let lines = merged([Box::new(stdout), Box::new(stderr)]);
        let mut seen = String::new();
        loop {
            let Ok(line) = lines.recv_timeout(START) else {
                let _ = child.kill();
                panic!("pelton did not say where it listens; it said:\n{seen}");
            };
            if let Some(address) = listening_on(&line) {
                // The rest is read and thrown away, so that the broker never waits for a full pipe.
                std::thread::spawn(move || lines.iter().for_each(drop));
                return Self { child, address };
            }
            seen.push_str(&line);
            seen.push('\n');
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Pelton {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line that says `listening on`.
fn listening_on(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on ")?;
    let end = |c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':');
    rest.trim_start_matches('[').split(end).next()?.parse().ok()
}

fn merged(streams: [Box<dyn Read + Send>; 2]) -> Receiver<String> {
    let (sender, receiver) = channel();
    for stream in streams {
        let sender = sender.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    // Nobody listens any more, but the broker may go on to write.
                    continue;
                }
            }
        });
    }
    receiver
}

fn speaks_serve() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        Command::new(build("pelton", "pelton"))
            .arg("version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

/// Builds a binary of the workspace in the profile of this test, and says where it is.
pub fn build(package: &str, binary: &str) -> PathBuf {
    // The test's own place is `target/PROFILE/deps/NAME-HASH`.
    let test = std::env::current_exe().expect("a test knows where it is");
    let profile = test.parent().and_then(Path::parent).expect("a test is in a profile's deps");
    let target = profile.parent().expect("a profile is in a target folder");
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command
        .args(["build", "--quiet", "--locked", "--package", package, "--bin", binary])
        .current_dir(repository());
    command.arg("--target-dir").arg(target);
    if profile.file_name().is_some_and(|name| name != "debug") {
        command.arg("--profile").arg(profile.file_name().unwrap_or_default());
    }
    let output = command.output().expect("cargo is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    profile.join(binary)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found() {
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 40123)));
        assert_eq!(listening_on("listening on [127.0.0.1:40123]"), address);
        assert_eq!(listening_on("2026 INFO listening on 127.0.0.1:40123 (kernel sockets)"), address);
        assert_eq!(listening_on("listening"), None);
    }
}
