//! tmp
#![forbid(unsafe_code)]

use pelton_base::Rng;
use pelton_broker::Settings;
use pelton_runtime::{Fleet, Idle, Plan};
use pelton_sockets::Bind;
use std::sync::Arc;
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let shards: u16 = args.get(2).map_or(1, |s| s.parse().unwrap());
    let mut rng = Rng::with_seed(std::process::id() as u64);
    let plan = Plan {
        binds: vec![Bind { address: args[1].parse().unwrap() }],
        shards,
        cores: vec![],
        idle: Idle { spin_us: 0 },
        settings: Arc::new(Settings::default()),
        key: rng.hash_key(),
        seed: rng.u64(),
    };
    let fleet = match Fleet::start(&plan) {
        Ok(f) => f,
        Err(e) => {
            eprintln!("{e}");
            std::process::exit(1)
        }
    };
    println!("listening on {:?}", fleet.addresses());
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}
