//! The engine against the reference store: the same scripts, the same contents.

use pelton_storage_lmdb::check;
use pelton_storage_ops::reference::ReferenceStore;
use pelton_storage_ops::{Batch, PageRequest};
use proptest::prelude::*;

use crate::client::{Client, options, read_all, shown, told_by_reference};
use crate::scratch::Scratch;
use crate::script::{Line, Player, SESSIONS, SHARDS, line, session};

/// Both stores, and what they were given.
struct Pair<'d> {
    scratch: &'d Scratch,
    client: Option<Client>,
    reference: ReferenceStore,
    player: Player,
}

impl Pair<'_> {
    fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("open but while it is opened again")
    }

    fn cut(&mut self) {
        for batch in self.player.cut() {
            self.client().send(batch.clone());
            self.reference.apply(batch);
        }
    }

    fn settle(&mut self) -> Result<(), TestCaseError> {
        self.cut();
        let told = self.client().settle();
        for (shard, expected) in self.reference.commit() {
            let told = &told[usize::from(shard)];
            prop_assert_eq!(told.until, expected.until);
            prop_assert_eq!(&told.failed, &expected.failed);
            let returned: Vec<&Batch> = told.returned.iter().collect();
            prop_assert_eq!(returned, expected.returned.iter().collect::<Vec<_>>());
        }
        let (store, messages, bytes) = read_all(self.client());
        prop_assert_eq!(store, told_by_reference(&self.reference));
        let status = self.client().engine.status();
        prop_assert_eq!((status.waiting_messages, status.waiting_bytes), (messages, bytes));
        Ok(())
    }

    fn pages(&mut self) -> Result<(), TestCaseError> {
        for number in 0..SESSIONS {
            for (from, messages_max, bytes_max) in
                [(0, 1, 10), (2, 3, 1_000), (5, 100, 100), (40, 7, 1 << 20)]
            {
                let request = PageRequest {
                    token: 0,
                    shard: 0,
                    session: session(number),
                    from,
                    messages_max,
                    bytes_max,
                };
                let page = self.client().page(request);
                prop_assert_eq!(shown(&page), shown(&self.reference.page(&request)));
            }
        }
        Ok(())
    }

    fn reopen(&mut self) {
        self.client.take().expect("open").close();
        let report = check(self.scratch.path()).expect("the store can be checked");
        assert_eq!(report.problems, []);
        let client = Client::open(self.scratch.path(), options(SHARDS));
        assert!(client.engine.was_closed());
        self.client = Some(client);
        self.player.restart();
    }
}

fn run(lines: &[Line]) -> Result<(), TestCaseError> {
    let scratch = Scratch::new();
    let client = Some(Client::open(scratch.path(), options(SHARDS)));
    let mut pair =
        Pair { scratch: &scratch, client, reference: ReferenceStore::default(), player: Player::new() };
    for line in lines {
        match line {
            Line::Cut => pair.cut(),
            Line::Settle => pair.settle()?,
            Line::Reopen => {
                pair.settle()?;
                pair.reopen();
                pair.settle()?;
                pair.pages()?;
            }
            line => pair.player.play(line),
        }
    }
    pair.settle()?;
    pair.pages()?;
    pair.reopen();
    pair.settle()?;
    pair.pages()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_same_scripts_leave_the_same(lines in proptest::collection::vec(line(), 1..150)) {
        run(&lines)?;
    }
}

/// Scripts to try: `PROPTEST_CASES`, or so many as take seconds.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|count| count.parse().ok()).unwrap_or(48)
}
