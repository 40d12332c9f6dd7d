//! Pages of shards that do not take their answers.

use std::time::Duration;

use pelton_storage_lmdb::Options;
use pelton_storage_ops::{Answer, PageRequest};

use crate::client::{Client, options, whole_queue};
use crate::scratch::Scratch;
use crate::script::{Line, Player, session};

#[test]
fn a_shard_that_takes_no_answers_loses_none_and_holds_nobody_up() {
    let scratch = Scratch::new();
    let options = Options { pages_max: 1, readers: 1, ..options(2) };
    let mut client = Client::open(scratch.path(), options);
    let mut player = Player::new();
    for line in [Line::Put(1, true), Line::Burst(1, 3)] {
        player.play(&line);
    }
    player.cut().into_iter().for_each(|batch| client.send(batch));
    client.settle();
    let ask = |shard: u16, token: u64| {
        let request = PageRequest { token, shard, ..whole_queue(session(1)) };
        let asked = client.ports[0].requests.send_timeout(request, Duration::from_secs(1));
        asked.expect("requests are taken, whoever does not take answers");
    };
    (1..=10).for_each(|token| ask(0, token));
    ask(1, 11);
    let token_of = |shard: usize| {
        let answer = client.ports[shard].answers.recv_timeout(Duration::from_secs(5));
        match answer.expect("the page comes") {
            Answer::Page(page) => {
                assert_eq!(page.entries.len(), 3);
                page.token
            }
            Answer::Completed(completion) => panic!("nothing was written: {completion:?}"),
        }
    };
    assert_eq!(token_of(1), 11);
    let mut tokens: Vec<u64> = (0..10).map(|_| token_of(0)).collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (1..=10).collect::<Vec<u64>>());
    client.close();
}
