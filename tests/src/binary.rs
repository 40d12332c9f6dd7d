//! The binary as users start it: built if need be, on a port of the system's choice, killed when dropped.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::repository;
use crate::scratch::Scratch;

/// How long a start may take. It takes milliseconds, and a second or two where the kernel has to verify an XDP program;
/// the machine may be busy with other tests.
const START: Duration = Duration::from_secs(60);

/// A running `pelton`.
#[derive(Debug)]
pub struct Pelton {
    child: Child,
    address: SocketAddr,
    /// What it writes from then on.
    said: Receiver<String>,
    // Behind the process: it goes when that has gone.
    _data: Option<Scratch>,
}

impl Pelton {
    /// Starts the broker with more arguments behind `serve`, on a port of the system's choice, with a store of its own.
    pub fn start(arguments: &[&str]) -> Self {
        let data = Scratch::directory();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut pelton = Self::start_at(&build("pelton", "pelton"), address, data.path(), arguments);
        pelton._data = Some(data);
        pelton
    }

    /// Starts a built broker at an address, with the store in a directory, and more arguments.
    pub fn start_at(binary: &Path, address: SocketAddr, data: &Path, arguments: &[&str]) -> Self {
        Self::start_by(Command::new(binary), address, data, arguments)
    }

    /// The same by a command that runs the binary.
    pub fn start_by(mut command: Command, address: SocketAddr, data: &Path, arguments: &[&str]) -> Self {
        let mut child = command
            .args(["serve", "--bind", &address.to_string(), "--data"])
            .arg(data)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary that was just built starts");
        let said = lines(child.stderr.take().expect("it is piped"));
        // Made before it is known whether it listens: a broker that does not is killed as well.
        let mut pelton = Self { child, address, said, _data: None };
        let mut said = String::new();
        loop {
            let line = pelton.said.recv_timeout(START);
            let line =
                line.unwrap_or_else(|_| panic!("pelton did not say where it listens; it said:\n{said}"));
            if let Some(address) = listening_on(&line) {
                pelton.address = address;
                return pelton;
            }
            said.push_str(&line);
            said.push('\n');
        }
    }

    /// Ends it as SIGKILL does, and waits until it has gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is our child");
        self.child.wait().expect("it is our child");
    }

    /// Asks it to end, and waits until it has.
    ///
    /// # Panics
    /// If it ends otherwise than it should.
    pub fn stop(&mut self) {
        let asked = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(asked.is_ok_and(|status| status.success()), "it can be asked");
        let ended = self.child.wait().expect("it is our child");
        assert!(ended.success(), "{ended}");
    }

    /// The next line of its log that holds this, once it has said where it listens.
    ///
    /// # Panics
    /// If there is none for a minute.
    pub fn says(&self, what: &str) -> String {
        let mut said = String::new();
        loop {
            let line = self.said.recv_timeout(START);
            let line = line.unwrap_or_else(|_| panic!("pelton does not say {what}; it said:\n{said}"));
            if line.contains(what) {
                return line;
            }
            said.push_str(&line);
            said.push('\n');
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

/// The lines of a stream, read to its end whether anybody takes them or not: the broker never waits for a full
/// pipe.
fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
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
