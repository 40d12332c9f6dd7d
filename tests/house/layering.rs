//! Who may use whom (docs/ARCHITECTURE.md): the arrows run one way, and what a room must not know does not
//! come in by way of another.

use crate::packages::{Package, packages};

/// A room and the rooms it may use. Rooms that are still to come have their place already.
const ROOMS: &[(&str, &[&str])] = &[
    ("dataplane/base", &[]),
    ("dataplane/packet", &["dataplane/base"]),
    ("dataplane/afxdp", &["dataplane/base", "dataplane/packet"]),
    ("dataplane/dpdk", &["dataplane/base", "dataplane/packet"]),
    ("dataplane/tap", &["dataplane/base", "dataplane/packet"]),
    ("dataplane/tcp", &["dataplane/base", "dataplane/packet"]),
    ("dataplane/sockets", &["dataplane/base"]),
    ("dataplane/tls", &["dataplane/base"]),
    ("dataplane/ws", &["dataplane/base"]),
    ("dataplane/mqtt", &["dataplane/base"]),
    ("dataplane/broker", &["dataplane/base", "dataplane/mqtt", "storage/ops"]),
    // The one library that knows all stages.
    (
        "dataplane/shard",
        &[
            "dataplane/base",
            "dataplane/packet",
            "dataplane/tcp",
            "dataplane/tls",
            "dataplane/ws",
            "dataplane/mqtt",
            "dataplane/broker",
            "storage/ops",
        ],
    ),
    (
        "dataplane/runtime",
        &[
            "dataplane/afxdp",
            "dataplane/base",
            "dataplane/packet",
            "dataplane/afxdp",
            "dataplane/sockets",
            "dataplane/tap",
            "dataplane/tcp",
            "dataplane/broker",
            "dataplane/shard",
            "storage/ops",
        ],
    ),
    (
        "dataplane/sim",
        &[
            "dataplane/base",
            "dataplane/packet",
            "dataplane/tcp",
            "dataplane/tls",
            "dataplane/ws",
            "dataplane/mqtt",
            "dataplane/broker",
            "dataplane/shard",
            "storage/ops",
        ],
    ),
    ("storage/ops", &["dataplane/base"]),
    ("storage/lmdb", &["dataplane/base", "storage/ops"]),
    ("ebpf/classifier", &[]),
    ("ebpf/loader", &["dataplane/base", "ebpf/classifier"]),
];

/// Folders whose packages may use every room, and which no room may use.
const OUTSIDE: &[&str] = &["control", "benches", "tests", "fuzz"];

/// Rooms that touch the operating system; all others are sans-IO.
const SYSTEM: &[&str] = &[
    "dataplane/afxdp",
    "dataplane/dpdk",
    "dataplane/runtime",
    "dataplane/sockets",
    "dataplane/tap",
    "ebpf/loader",
    "storage/lmdb",
];

/// Ways to the operating system a sans-IO room must not name.
const SYSTEM_PACKAGES: &[&str] = &["libc", "rustix", "nix", "mio", "socket2", "polling", "getrandom", "rand"];

/// Async runtimes: not in the data path, whoever brings them.
const ASYNC_RUNTIMES: &[&str] =
    &["tokio", "async-std", "async-executor", "smol", "glommio", "monoio", "compio", "embassy-executor"];

fn rooms() -> Vec<Package> {
    packages().into_iter().filter(|package| !is_outside(&package.folder)).collect()
}

fn is_outside(folder: &str) -> bool {
    OUTSIDE.iter().any(|outside| folder == *outside || folder.starts_with(&format!("{outside}/")))
}

#[test]
fn every_package_has_its_place() {
    for room in rooms() {
        assert!(
            ROOMS.iter().any(|(folder, _)| *folder == room.folder),
            "{} ({}) has no place in tests/house/layering.rs: say what it may use",
            room.folder,
            room.name
        );
    }
}

#[test]
fn arrows_of_use_run_one_way() {
    for room in rooms() {
        let Some((_, allowed)) = ROOMS.iter().find(|(folder, _)| *folder == room.folder) else { continue };
        for used in &room.uses {
            assert!(allowed.contains(&used.as_str()), "{} must not use {used}", room.folder);
        }
    }
}

#[test]
fn the_table_of_rooms_has_no_circle() {
    // What a room may use stands where nothing it may use can use it.
    fn reaches(from: &str, to: &str) -> bool {
        ROOMS
            .iter()
            .find(|(folder, _)| *folder == from)
            .is_some_and(|(_, used)| used.iter().any(|&used| used == to || reaches(used, to)))
    }
    for (folder, _) in ROOMS {
        assert!(!reaches(folder, folder), "{folder} may come to use itself");
    }
}

#[test]
fn no_async_runtime_is_in_the_data_path() {
    for room in rooms() {
        for runtime in ASYNC_RUNTIMES {
            assert!(!room.contains.contains(*runtime), "{} contains {runtime}", room.folder);
        }
    }
}

#[test]
fn rooms_without_io_name_no_way_to_the_system() {
    for room in rooms().iter().filter(|room| !SYSTEM.contains(&room.folder.as_str())) {
        for package in SYSTEM_PACKAGES {
            assert!(!room.names.contains(*package), "{} is sans-IO and names {package}", room.folder);
        }
    }
}

#[test]
fn one_lmdb_is_linked() {
    // Two copies of LMDB in one process break each other's locks.
    for package in packages() {
        let bindings: Vec<_> = ["lmdb-rkv-sys", "lmdb-master-sys", "lmdb-sys"]
            .iter()
            .filter(|name| package.contains.contains(**name))
            .collect();
        assert!(bindings.len() <= 1, "{} links {bindings:?}", package.folder);
    }
}
