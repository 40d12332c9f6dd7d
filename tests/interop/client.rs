//! A client library, its script, and what becomes of playing it.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pelton_tests::binary::{Pelton, build};
use pelton_tests::namespace::Namespace;
use pelton_tests::repository;

/// The steps of the scenario: a script that says fewer has not played it.
const STEPS: [&str; 8] = ["connect", "qos 0", "qos 1", "qos 2", "retained", "will", "shared", "resume"];

/// A script takes seconds; one that hangs is killed.
const LIMIT: Duration = Duration::from_secs(120);

/// A client library as it is used here.
pub(crate) struct Client {
    name: &'static str,
    installed: bool,
    command: Vec<PathBuf>,
}

impl Client {
    /// A script that needs a program of the system.
    pub(crate) fn program(name: &'static str, needs: &str, command: &[&str]) -> Self {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let installed = std::env::split_paths(&paths).any(|folder| folder.join(needs).is_file());
        let [program, script] = command else { panic!("a program and its script") };
        Self { name, installed, command: vec![program.into(), scripts().join(script)] }
    }

    /// A Python script that needs a module.
    pub(crate) fn python(name: &'static str, module: &str, script: &str) -> Self {
        let python = place().join("venv/bin/python");
        let installed = succeeds(Command::new(&python).args(["-c", &format!("import {module}")]));
        Self { name, installed, command: vec![python, scripts().join(script)] }
    }

    /// A script for Node.js that needs a package.
    pub(crate) fn node(name: &'static str, package: &str, script: &str) -> Self {
        let installed = succeeds(Command::new("node").arg("--version"))
            && place().join("node_modules").join(package).join("package.json").is_file();
        Self { name, installed, command: vec!["node".into(), scripts().join(script)] }
    }

    /// Whether it can be played; what cannot is said aloud.
    pub(crate) fn is_installed(&self) -> bool {
        if !self.installed {
            let skipped = format!("SKIPPED (not installed): {}; run tests/interop/install\n", self.name);
            assert!(std::env::var("PELTON_REQUIRE_INTEROP").as_deref() != Ok("1"), "{skipped}");
            // Not by a macro: what those print of a test that passes is kept from everybody.
            let _ = std::io::stderr().write_all(skipped.as_bytes());
        }
        self.installed
    }

    /// A package of the workspace: always there.
    pub(crate) fn cargo(name: &'static str, package: &str) -> Self {
        Self { name, installed: true, command: vec![build(package, package)] }
    }
}

/// Plays a client's script against a broker of its own, once for each version.
pub(crate) fn play(client: &Client, versions: &[&str]) {
    if !client.is_installed() {
        return;
    }
    let broker = Pelton::start(&[]);
    let (host, port) = (broker.address().ip().to_string(), broker.address().port().to_string());
    for version in versions {
        play_version(client, Command::new(&client.command[0]), &host, &port, version);
    }
}

/// The same against a broker that runs already, from a namespace that has it within reach.
pub(crate) fn play_from(client: &Client, namespace: &Namespace, host: &str, versions: &[&str]) {
    for version in versions {
        play_version(client, namespace.command(&client.command[0]), host, "1883", version);
    }
}

fn play_version(client: &Client, command: Command, host: &str, port: &str, version: &str) {
    let said = run(client, command, host, port, version);
    for step in STEPS {
        let played = said.lines().any(|line| line == format!("ok {step}"));
        assert!(played, "{} over {version}: step {step:?} was not played\n{said}", client.name);
    }
}

/// Runs the script and returns what it said; fails if it fails.
fn run(client: &Client, mut command: Command, host: &str, port: &str, version: &str) -> String {
    let mut child = command
        .args(&client.command[1..])
        .args([host, port, version])
        // Node looks for packages next to the script, which is not where they are.
        .env("PELTON_INTEROP", place())
        .env("NODE_PATH", place().join("node_modules"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("an installed client starts");
    // The little a script says fits in the pipes.
    let until = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().expect("the script is a child of this process") {
            Some(status) => break Some(status),
            None if Instant::now() > until => {
                let _ = child.kill();
                let _ = child.wait();
                break None;
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let (mut said, mut complained) = (String::new(), String::new());
    let _ = child.stdout.take().expect("it is piped").read_to_string(&mut said);
    let _ = child.stderr.take().expect("it is piped").read_to_string(&mut complained);
    let how = status.map_or_else(|| "did not end".to_owned(), |status| status.to_string());
    assert!(
        status.is_some_and(|status| status.success()),
        "{} over {version}: {how}\n{said}{complained}",
        client.name
    );
    said
}

fn succeeds(command: &mut Command) -> bool {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn scripts() -> PathBuf {
    repository().join("tests/interop")
}

/// Where `tests/interop/install` puts what it gets.
fn place() -> PathBuf {
    repository().join("target/interop")
}
