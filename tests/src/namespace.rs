//! Network namespaces of a test's own, made with `ip`: what happens in them touches nothing of the host. It takes root.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A network namespace, gone when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

/// Whether what is tested can be: root, `ip`, `/dev/net/tun`, and these programs besides. Where it cannot, that is said
/// aloud, and with `PELTON_REQUIRE_ROOT=1` it is a failure.
pub fn is_possible(what: &str, programs: &[&str]) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let there = |program: &str| std::env::split_paths(&paths).any(|folder| folder.join(program).is_file());
    let mut missing: Vec<&str> = programs.iter().copied().filter(|program| !there(program)).collect();
    if !Path::new("/dev/net/tun").exists() {
        missing.push("/dev/net/tun");
    }
    if Namespace::try_new().is_none() {
        missing.push("root, with ip netns");
    }
    if missing.is_empty() {
        return true;
    }
    let skipped = format!("SKIPPED (missing: {}): {what}\n", missing.join(", "));
    assert!(std::env::var("PELTON_REQUIRE_ROOT").as_deref() != Ok("1"), "{skipped}");
    // Not by a macro: what those print of a test that passes is kept from everybody.
    let _ = std::io::stderr().write_all(skipped.as_bytes());
    false
}

impl Namespace {
    fn try_new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("pelton-{}-{number}", std::process::id());
        let quiet = Stdio::null;
        let made = Command::new("ip").args(["netns", "add", &name]).stderr(quiet()).status();
        made.is_ok_and(|status| status.success()).then_some(Self { name })
    }

    /// A new one, with its loopback up. Nobody looks for addresses of its devices twice: nobody else can have them.
    ///
    /// # Panics
    /// If it cannot be made; see [`is_possible`].
    pub fn new() -> Self {
        let namespace = Self::try_new().expect("root can make namespaces");
        let quick = "for of in all default; do echo 0 > /proc/sys/net/ipv6/conf/$of/accept_dad; done";
        let set = namespace.command("sh").args(["-c", quick]).status();
        assert!(set.is_ok_and(|status| status.success()), "{quick}");
        namespace.run("ip link set lo up");
        namespace
    }

    /// Waits until a device that is up has the address that a router asks for its neighbours from. The kernel gives it
    /// when it hears that the device's link is there, up to a second later. Before that it asks for nobody, and says
    /// after three seconds that nobody is there.
    ///
    /// # Panics
    /// If it gets none.
    pub fn wait_for_link_local(&self, device: &str) {
        let until = Instant::now() + Duration::from_secs(30);
        let line = format!("ip -6 address show dev {device} scope link -tentative");
        while self.run(&line).is_empty() {
            assert!(Instant::now() < until, "{device} has no link-local address");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A program, to be run in it. Signals to the child reach the program itself.
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs a command line in it and returns what it wrote.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, line: &str) -> String {
        let (status, said) = self.try_run(line);
        assert!(status, "{line}: {said}");
        said
    }

    /// Runs a command line in it; whether it succeeded, and what it wrote.
    pub fn try_run(&self, line: &str) -> (bool, String) {
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        let output = self.command(program).args(words).output().expect("ip is there");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}
