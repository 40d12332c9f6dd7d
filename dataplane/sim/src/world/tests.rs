//! Scenarios that random runs meet too rarely.

use pelton_mqtt::{QoS, SubscribeOptions, Version};

use crate::client::{Client, Profile, SubscribeWish, Wish};
use crate::ledger::Verdict;
use crate::network::Weather;
use crate::plan::{Harsh, Plan};
use crate::world::World;

/// Three shards whose turns come at any time within ten milliseconds, over a network that takes none; client
/// 1 has a session that lasts.
fn slow_shards(seed: u64) -> World {
    let mut plan = Plan::of_seed(1);
    (plan.seed, plan.shards, plan.clients) = (seed, 3, 2);
    plan.settings = pelton_broker::Settings::default();
    plan.weather = Weather {
        delay_us_max: 1,
        piece_bytes_max: 10_000,
        stall_per_mille: 0,
        buffer_bytes: (50_000, 50_000),
    };
    (plan.turn_delay_us_max, plan.turn_stall_per_mille) = (10_000, 0);
    (plan.retained_before, plan.actions, plan.harsh) = (0, 0, Harsh::NONE);
    let mut world = World::new(plan, false);
    world.clients[1] = Client::with_profile(
        1,
        Profile {
            client_id: "member".to_owned(),
            version: Version::V5,
            expiry_seconds: 36_000,
            receive_maximum: None,
            packet_bytes_max: None,
            alias_maximum: 0,
            keep_alive: 0,
            acknowledges_late_us: 0,
            group: Some(("s/0", "g", QoS::AtLeastOnce)),
            observer: false,
        },
    );
    world
}

/// A client joins a group whose home has not answered yet, comes back by another connection, and leaves.
fn joins_and_leaves(world: &mut World) -> Verdict {
    world.set_up()?;
    world.clients[1].connect(&mut world.stage, true, false);
    world.wait(5_000, "it is connected", |world| world.clients[1].is_live())?;
    let wish = SubscribeWish {
        filter: "s/0".to_owned(),
        group: Some("g".to_owned()),
        options: SubscribeOptions::new(QoS::AtLeastOnce),
    };
    world.clients[1].subscribe(&mut world.stage, &[wish], 0);
    world.run_for(world.stage.step % 12)?;
    world.clients[1].take_over(&mut world.stage);
    world.wait(5_000, "it is back", |world| world.clients[1].is_live())?;
    world.clients[1].unsubscribe_some(&mut world.stage);
    world.wait(5_000, "it has left", |world| world.clients[1].waits_for().is_none())?;
    let wish = Wish { topic: "s/0".to_owned(), qos: QoS::AtLeastOnce, retain: false, len: 20, expiry: None };
    world.clients[0].publish(&mut world.stage, wish);
    world.heal()?;
    world.leave_all()?;
    world.check_nothing_is_left()
}

#[test]
fn a_group_is_left_before_it_was_joined() {
    for seed in 0..60 {
        let mut world = slow_shards(seed);
        if let Err(why) = joins_and_leaves(&mut world) {
            panic!("seed {seed}: {why}");
        }
    }
}
