//! How well losses are repaired: what a download takes on a link that loses, in virtual time.

use pelton_base::Mono;
use pelton_packet::fault::{Faults, Faulty};
use pelton_packet::memory::{MemorySettings, pair};
use pelton_tcp::{Settings, TcpCounter};

use crate::host::{Host, Plan, client, client_address, drive, server, server_address};

/// Time-outs of all downloads with SACK and without; three times and twice as many come where a repair that is lost is
/// found by none but them.
const SACK_TIME_OUTS: u64 = 20;
const BARE_TIME_OUTS: u64 = 150;

/// What a number of downloads took.
#[derive(Debug, Default)]
struct Taken {
    /// Of each, sorted; shown when there were too many time-outs.
    ms: Vec<u64>,
    time_outs: u64,
    recoveries: u64,
    probes: u64,
    undone: u64,
}

/// Downloads of `bytes` over a link of 300 us there and back, that loses so many of a thousand frames in either direction.
fn downloads(runs: u64, bytes: u64, loss: u32, mtu: u16, settings: &Settings) -> Taken {
    let mut taken = Taken::default();
    for seed in 0..runs {
        let memory = MemorySettings { mtu, ..MemorySettings::default() };
        let (near, far) = pair(memory);
        let faults = Faults { loss, delay_ns: 150_000, ..Faults::default() };
        let (a, b) =
            (Faulty::new(near, faults, seed * 2 + 1, 64), Faulty::new(far, faults, seed * 2 + 2, 64));
        let mut a =
            Host::new(client(a, settings.clone(), seed), |_| unreachable!("nobody connects to a client"));
        let mut b = Host::new(server(b, settings.clone(), seed + 7), move |_| Plan {
            says: 2,
            hears: 1,
            sends: bytes,
            expects: 10,
            write: 20_000,
            closes: false,
        });
        let plan = Plan { says: 1, hears: 2, sends: 10, expects: bytes, write: 10, closes: true };
        let mut now = Mono::from_ms(1_000);
        a.connect(client_address(false, 2_000), server_address(false), plan, now);
        let limit = Mono::from_ms(600_000);
        drive(&mut a, &mut b, &mut now, limit, |a, _, _| a.conns.iter().all(|conn| conn.received == bytes));
        let counters = b.tcp.counters();
        taken.ms.push(now.as_ms() - 1_000);
        taken.time_outs += counters.get(TcpCounter::TimeOuts);
        taken.recoveries += counters.get(TcpCounter::FastRecoveries);
        taken.probes += counters.get(TcpCounter::TailProbes);
        taken.undone += counters.get(TcpCounter::Undone);
    }
    taken.ms.sort_unstable();
    taken
}

#[test]
fn a_download_over_a_bad_link_seldom_waits_for_a_time_out() {
    let none = Settings { sack: false, timestamps: false, window_scaling: false, ..Settings::default() };
    // Sixty downloads of some 500 segments, of which one in twenty is lost, as are as many acknowledgements.
    for (settings, most) in [(Settings::default(), SACK_TIME_OUTS), (none, BARE_TIME_OUTS)] {
        let taken = downloads(60, 262_144, 50, 576, &settings);
        assert!(taken.recoveries > 100, "{taken:?}");
        assert!(taken.time_outs <= most, "{taken:?}");
        // Nothing overtakes anything on this link: what is taken back was sent again for a lost acknowledgement.
        assert!(taken.undone <= taken.time_outs + taken.probes, "{taken:?}");
    }
}
