//! How fast somebody far away gets rid of much: the receive window grows for who fills it, in virtual time.

use pelton_base::Mono;
use pelton_packet::fault::{Faults, Faulty};
use pelton_packet::memory::{MemorySettings, pair};
use pelton_tcp::{Settings, TcpCounter, TcpDrop, Usage};

use crate::host::{Host, Plan, client, client_address, drive, server, server_address};

const BYTES: u64 = 8_000_000;

/// What an upload took, how often a window grew for it, and what was dropped since it was too much to keep.
#[derive(Debug)]
struct Upload {
    ms: u64,
    grown: u64,
    dropped: u64,
}

/// An upload over a path of 100 ms there and back, which loses so many of 1,000 frames towards the server.
fn upload(settings: &Settings, loss: u32, seed: u64) -> Upload {
    let memory = MemorySettings { frames: 4_096, wire_frames_max: 4_096, ..MemorySettings::default() };
    let (near, far) = pair(memory);
    let faults = Faults { delay_ns: 50_000_000, ..Faults::default() };
    let a = Faulty::new(near, faults, seed * 2 + 1, 4_096);
    let b = Faulty::new(far, Faults { loss, ..faults }, seed * 2 + 2, 4_096);
    let server_settings = Settings { connections_max: 8, ..settings.clone() };
    let client_settings = Settings { connections_max: 8, ..Settings::default() };
    let mut a = Host::new(client(a, client_settings, 1), |_| unreachable!("nobody connects to a client"));
    let mut b = Host::new(server(b, server_settings, 2), |_| Plan {
        says: 2,
        hears: 1,
        sends: 10,
        expects: BYTES,
        write: 10,
        closes: false,
    });
    a.queue_bytes = 2 << 20;
    let plan = Plan { says: 1, hears: 2, sends: BYTES, expects: 10, write: 100_000, closes: true };
    let mut now = Mono::from_ms(1_000);
    a.connect(client_address(false, 2_000), server_address(false), plan, now);
    let limit = Mono::from_ms(600_000);
    drive(&mut a, &mut b, &mut now, limit, |_, b, _| b.conns.iter().any(|conn| conn.received == BYTES));
    let (grown, dropped) =
        (b.tcp.counters().get(TcpCounter::WindowsGrown), b.tcp.drops().get(TcpDrop::ReassemblyFull));
    let upload = Upload { ms: now.as_ms() - 1_000, grown, dropped };
    let limit = now.plus_ms(200_000);
    drive(&mut a, &mut b, &mut now, limit, |a, b, _| {
        a.tcp.usage() == Usage::default() && b.tcp.usage() == Usage::default()
    });
    upload
}

#[test]
fn a_window_that_is_filled_grows() {
    let fixed = Settings { receive_window_max_bytes: 0, ..Settings::default() };
    let (before, after) = (upload(&fixed, 0, 1), upload(&Settings::default(), 0, 1));
    assert_eq!((before.grown, after.grown), (0, 3), "to eight times as much");
    // A window a round trip is all that a fixed one carries.
    assert!(before.ms >= BYTES / 65_535 * 100, "{before:?}");
    assert!(after.ms * 5 <= before.ms, "{before:?} {after:?}");
}

#[test]
fn what_is_behind_a_loss_in_a_wide_window_is_kept() {
    let fixed = Settings { receive_window_max_bytes: 0, ..Settings::default() };
    let (mut before, mut after) = (0, 0);
    for seed in 1..4 {
        before += upload(&fixed, 1, seed).ms;
        let upload = upload(&Settings::default(), 1, seed);
        assert_eq!(upload.dropped, 0, "{upload:?}");
        after += upload.ms;
    }
    assert!(after * 2 <= before, "{before} ms, {after} ms");
}
