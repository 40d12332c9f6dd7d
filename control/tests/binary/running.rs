//! The built binary: run to its end, or as a broker.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take before it counts as not happening. The machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The binary with nothing of ours in its environment; a broker stores nothing.
pub(crate) fn pelton(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pelton"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PELTON__") {
            command.env_remove(name);
        }
    }
    if arguments.first() == Some(&"serve") {
        // Brokers of different tests would meet in one store.
        command.env("PELTON__STORAGE__POLICY", "memory");
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs the binary to its end.
pub(crate) fn run(arguments: &[&str]) -> Ended {
    run_command(&mut pelton(arguments))
}

/// Runs a command to its end. One that does not end, a broker that was to refuse, is killed.
pub(crate) fn run_command(command: &mut Command) -> Ended {
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the built binary runs");
    let pid = Pid::from_child(&child);
    let (ended, end) = channel::<()>();
    let guard = std::thread::spawn(move || {
        if end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().expect("it is our child");
    drop(ended);
    guard.join().expect("the guard only waits");
    output.into()
}

/// What a run left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("the binary writes UTF-8");
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A file that is gone with its test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// A file with this text; `name` is unique among the tests.
    pub(crate) fn file(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pelton-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("the folder for temporary files takes one");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("the name is ASCII")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A running broker. It is killed when dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    /// What it has logged so far.
    pub(crate) said: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl Running {
    /// Starts a broker on a port of the system's choice and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::of(pelton(&["serve", "--bind", "127.0.0.1:0"]).args(arguments))
    }

    /// Runs a command that starts a broker, and waits until it listens.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the built binary starts");
        let err = child.stderr.take().expect("it is piped");
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut running = Self { child, lines, said: Vec::new(), address: unknown };
        let line = running.wait_for("listening on ");
        running.address = address(&line);
        running
    }

    /// Waits for a line that contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        if let Some(line) = self.said.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let until = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => panic!("{error}: no line with `{text}` in {:#?}", self.said),
            }
        }
    }

    /// The number of its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the broker runs");
    }

    /// Waits for the end and returns how it ended and how long it took.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                let took = began.elapsed();
                while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) {
                    self.said.push(line);
                }
                return (status, took);
            }
            assert!(began.elapsed() < PATIENCE, "the broker does not end; it said {:#?}", self.said);
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Closes the other end of its standard error.
    pub(crate) fn stop_reading(&mut self) {
        // The reader ends with the next line it cannot pass on.
        self.lines = channel().1;
    }

    /// Lines it wrote within `time` from now.
    pub(crate) fn lines_within(&mut self, time: Duration) -> Vec<String> {
        let until = Instant::now() + time;
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return lines,
            }
        }
    }

    /// User and system time it has used, in clock ticks (hundredths of a second).
    pub(crate) fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        // The name in parentheses may hold anything; fields 14 and 15 of all are 11 and 12 behind it.
        let behind = stat.rsplit(')').next().expect("there is a name");
        behind.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a line `... listening on ADDRESS:PORT`.
pub(crate) fn address(line: &str) -> SocketAddr {
    let behind = line.split("listening on ").nth(1).expect("the words are there");
    let text: String = behind.chars().take_while(|c| !c.is_whitespace() && *c != '"').collect();
    text.parse().unwrap_or_else(|_| panic!("`{text}` is no address"))
}
