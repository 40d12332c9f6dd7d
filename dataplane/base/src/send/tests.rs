use super::*;
use proptest::prelude::*;

fn content(out: &mut Outgoing, index: u32) -> Vec<u8> {
    let (queue, logs) = out.queue(index);
    queue.slices(logs).flatten().copied().collect()
}

#[test]
fn touching_ranges_grow_together() {
    let mut out = Outgoing::new(1 << 20);
    out.open(0);
    let log = out.logs.open();
    for part in [b"one".as_slice(), b"two", b"three"] {
        let range = out.logs.append(log, |bytes| bytes.extend_from_slice(part));
        out.append_shared(0, range);
    }
    let (queue, logs) = out.queue(0);
    assert_eq!(queue.slices(logs).count(), 1);
    assert_eq!(content(&mut out, 0), b"onetwothree");
    out.logs.close(log);
    assert!(!out.logs.is_empty(), "kept while a queue names it");
    assert_eq!(out.discard(0), 11);
    assert!(out.logs.is_empty());
}

#[test]
fn input_flows_for_the_key_it_was_said_of() {
    let mut out = Outgoing::new(1 << 20);
    let first = Key { index: 3, generation: 1 };
    let free = Key { generation: 0, ..first };
    assert!(!out.flows(first), "there is no such place");
    assert!(!out.flows(Key::NONE));
    out.open(3);
    assert!(!out.flows(first) && !out.flows(free));
    out.set_flows(first, true);
    assert!(out.flows(first) && !out.flows(free));
    assert!(!out.flows(Key { generation: 3, ..first }), "the next at this place");
    assert!(!out.flows(Key { index: 2, ..first }), "its neighbour");
    out.set_flows(first, false);
    assert!(!out.flows(first) && !out.flows(free));
}

#[test]
fn a_connection_is_dirty_once_and_urgent_past_the_mark() {
    let mut out = Outgoing::new(8);
    out.open(3);
    out.append(3, |bytes| bytes.extend_from_slice(b"1234"));
    out.append(3, |bytes| bytes.extend_from_slice(b"56789"));
    let mut list = Vec::new();
    out.take_dirty(&mut list);
    assert_eq!(list, [3]);
    out.take_urgent(&mut list);
    assert_eq!(list, [3]);
    assert!(!out.has_dirty());
}

#[test]
fn idle_buffers_are_kept_up_to_a_limit() {
    let mut out = Outgoing::new(1 << 20);
    let connections = (POOL_BYTES / POOLED_BUFFER_BYTES) as u32 + 50;
    for round in 0..3 {
        for index in 0..connections {
            out.open(index);
            out.append(index, |bytes| bytes.extend_from_slice(&[round; POOLED_BUFFER_BYTES]));
        }
        for index in 0..connections {
            out.discard(index);
        }
        let kept: usize = out.buffers.iter().map(|active| active.own.capacity()).sum();
        assert_eq!((kept, out.buffer_bytes), (POOL_BYTES, POOL_BYTES), "round {round}");
        assert!(out.pool.len() <= POOLED_QUEUES);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Own(u32, Vec<u8>),
    Shared(Vec<u32>, Vec<u8>),
    Consume(u32, usize),
    Settle(u32),
    EndTurn,
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = proptest::collection::vec(any::<u8>(), 1..20);
    prop_oneof![
        (0..3u32, bytes.clone()).prop_map(|(conn, bytes)| Step::Own(conn, bytes)),
        (proptest::collection::vec(0..3u32, 1..4), bytes).prop_map(|(to, bytes)| Step::Shared(to, bytes)),
        (0..3u32, 0..40usize).prop_map(|(conn, n)| Step::Consume(conn, n)),
        (0..3u32).prop_map(Step::Settle),
        Just(Step::EndTurn),
    ]
}

proptest! {
    /// Own and shared bytes in any mixture come out in order; no log outlives its last reader, nor is more kept than
    /// may be once its readers have been settled.
    #[test]
    fn bytes_come_out_in_order(kept_max in 0..5_000usize, steps in proptest::collection::vec(step(), 0..200)) {
        let mut out = Outgoing::new(64);
        out.kept_log_bytes_max = kept_max;
        let mut model: Vec<VecDeque<u8>> = vec![VecDeque::new(); 3];
        for conn in 0..3 {
            out.open(conn);
        }
        for step in steps {
            match step {
                Step::Own(conn, bytes) => {
                    out.append(conn, |buffer| buffer.extend_from_slice(&bytes));
                    model[conn as usize].extend(bytes);
                }
                Step::Shared(to, bytes) => {
                    let range = out.share(bytes.len() % 2, |buffer| buffer.extend_from_slice(&bytes));
                    for conn in to {
                        out.append_shared(conn, range);
                        model[conn as usize].extend(&bytes);
                    }
                }
                Step::Consume(conn, n) => {
                    let n = n.min(model[conn as usize].len());
                    let (queue, logs) = out.queue(conn);
                    queue.consume(n, logs);
                    model[conn as usize].drain(..n);
                }
                Step::Settle(conn) => out.settle(conn),
                Step::EndTurn => {
                    for conn in 0..3 {
                        out.settle(conn);
                    }
                    out.close_logs();
                    prop_assert!(out.logs.kept_bytes() <= kept_max);
                }
            }
            for conn in 0..3u32 {
                prop_assert_eq!(out.queued(conn), model[conn as usize].len());
                let got = content(&mut out, conn);
                prop_assert!(got.iter().eq(model[conn as usize].iter()));
            }
        }
        out.close_logs();
        for conn in 0..3 {
            out.discard(conn);
        }
        prop_assert!(out.logs.is_empty());
    }
}

/// A message for connections `0..count`, and the end of the turn.
fn fan_out(out: &mut Outgoing, count: u32, bytes: &[u8]) {
    let range = out.share(0, |buffer| buffer.extend_from_slice(bytes));
    for index in 0..count {
        out.append_shared(index, range);
        out.settle(index);
    }
    out.close_logs();
}

#[test]
fn a_fan_out_under_way_is_stored_once() {
    let mut out = Outgoing::new(1 << 20);
    (0..1_000).for_each(|index| out.open(index));
    fan_out(&mut out, 1_000, &[7; 3_000]);
    assert_eq!(out.logs.in_use(), 1);
    assert!(out.logs.kept_bytes() < 5_000);
    for index in 0..1_000 {
        let active = out.queues[index].queue.0.as_ref().expect("under way");
        assert_eq!((active.own.capacity(), active.bytes), (0, 3_000), "no buffer of its own");
        assert_eq!(content(&mut out, index), [7; 3_000]);
    }
    (0..1_000).for_each(|index| assert_eq!(out.discard(index), 3_000));
    assert!(out.logs.is_empty());
    assert_eq!(out.logs.kept_bytes(), 0);
    out.close_logs();
    assert!(out.keepers.is_empty(), "those that name nothing are forgotten");
}

#[test]
fn who_takes_long_gets_a_copy_when_too_much_is_kept() {
    let mut out = Outgoing::new(1 << 30);
    (0..3).for_each(|index| out.open(index));
    // The first takes nothing, the others all at once but for what came last.
    let message = [7; 60_000];
    let turns = 2 * KEPT_LOG_BYTES / message.len();
    for _ in 0..turns {
        fan_out(&mut out, 3, &message);
        assert!(out.logs.kept_bytes() <= KEPT_LOG_BYTES);
        for index in 1..3 {
            let (queue, logs) = out.queue(index);
            let gone = queue.len() - 1_000;
            queue.consume(gone, logs);
        }
    }
    let own = |out: &Outgoing, index| out.queues[index].queue.0.as_ref().map_or(0, |active| active.own.len());
    assert!(own(&out, 0) >= KEPT_LOG_BYTES - message.len(), "copied");
    assert!(own(&out, 1) <= 1_000 && own(&out, 2) <= 1_000, "not copied");
    assert_eq!(content(&mut out, 0).len(), turns * message.len());
    assert!(content(&mut out, 0).iter().all(|&byte| byte == 7));
}

#[test]
fn a_queue_that_never_runs_empty_keeps_little_of_what_is_gone() {
    let mut out = Outgoing::new(1 << 20);
    out.open(0);
    for _ in 0..1_000 {
        out.append(0, |bytes| bytes.extend_from_slice(&[3; 100]));
        let (queue, logs) = out.queue(0);
        let gone = queue.len() - 50;
        queue.consume(gone, logs);
        out.settle(0);
        let active = out.queues[0].queue.0.as_ref().expect("never empty");
        assert!(active.own.len() <= 2 * COMPACT_BYTES);
    }
    assert_eq!(content(&mut out, 0), [3; 50]);
}
