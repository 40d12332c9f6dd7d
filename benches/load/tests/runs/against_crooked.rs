//! What a crooked broker does to messages is told to the last one.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use pelton_load::Failure;
use pelton_mqtt::ReasonCode;

use crate::crooked::{Deed, Plan, count, start};
use crate::load;

#[test]
fn lost_messages_are_counted_and_do_not_stop_the_window() {
    let deed = |number| if number % 10 == 3 { Deed::Drop } else { Deed::Deliver };
    let (port, done) = start(Plan { deed, ..Plan::default() });
    let report = load(port, "pairs -c 1 -F 8 -d 0.3 --warmup 0 --drain 0.5").unwrap();
    assert!(count(&done.dropped) > 20, "{done:?}");
    assert_eq!(report.lost, count(&done.dropped));
    assert_eq!(report.received + report.lost, report.published);
    assert_eq!((report.duplicated, report.out_of_order, report.stalls), (0, 0, 0));
}

#[test]
fn duplicates_are_counted() {
    let deed = |number| if number % 7 == 0 { Deed::Twice } else { Deed::Deliver };
    let (port, done) = start(Plan { deed, ..Plan::default() });
    let report = load(port, "pairs -c 1 -F 8 -d 0.3 --warmup 0").unwrap();
    assert!(count(&done.twice) > 20, "{done:?}");
    assert_eq!(report.duplicated, count(&done.twice));
    assert_eq!((report.lost, report.out_of_order), (0, 0));
    assert_eq!(report.received, report.published);
}

#[test]
fn what_comes_behind_a_later_one_is_out_of_order() {
    let deed = |number| if number % 5 == 1 { Deed::Swap } else { Deed::Deliver };
    let (port, done) = start(Plan { deed, ..Plan::default() });
    let report = load(port, "pairs -c 1 -F 8 -d 0.3 --warmup 0 --drain 0.5").unwrap();
    assert!(count(&done.swapped) > 20, "{done:?}");
    assert_eq!(report.out_of_order, count(&done.swapped));
    // The last may still be held.
    assert!(report.lost <= 1 && report.duplicated == 0, "{report:#?}");
}

#[test]
fn a_shared_group_is_held_to_the_same() {
    let deed = |number| match number % 9 {
        1 => Deed::Twice,
        3 => Deed::Drop,
        5 => Deed::Swap,
        _ => Deed::Deliver,
    };
    let (port, done) = start(Plan { deed, ..Plan::default() });
    // In a shared group a gap says nothing: what was dropped shows in the end, and so the loop is open.
    let report = load(port, "shared -c 1 -g 1 --rate 2000 -d 0.5 --warmup 0 --drain 0.5").unwrap();
    assert!(count(&done.dropped) > 20, "{done:?}");
    assert_eq!(report.duplicated, count(&done.twice));
    assert_eq!(report.out_of_order, count(&done.swapped));
    assert!(report.lost - count(&done.dropped) <= 1, "{report:#?} {done:?}");
}

#[test]
fn messages_of_others_are_no_deliveries() {
    let deed = |number| if number % 4 == 0 { Deed::Foreign } else { Deed::Deliver };
    let (port, done) = start(Plan { deed, ..Plan::default() });
    let report = load(port, "pairs -c 1 -F 8 -d 0.2 --warmup 0").unwrap();
    assert!(count(&done.foreign) > 10, "{done:?}");
    assert_eq!(report.foreign, count(&done.foreign));
    assert_eq!((report.received, report.lost), (report.published, 0));
}

#[test]
fn acknowledgements_that_do_not_come_close_the_window() {
    let (port, done) = start(Plan { acknowledges: |number| number % 3 != 0, ..Plan::default() });
    let report = load(port, "pairs -c 1 -q 1 -F 4 -d 0.3 --warmup 0 --drain 0.3").unwrap();
    // 0, 3, 6 and 9 are never acknowledged: behind 9 all four identifiers are taken.
    assert_eq!((report.published, report.unacknowledged, count(&done.unacknowledged)), (10, 4, 4));
    assert_eq!((report.received, report.lost), (10, 0));
}

/// At QoS 0 a whole window may be lost. It is given up after a while, and the run goes on.
#[test]
fn a_window_that_stands_still_is_given_up() {
    let deed = |number| if number < 8 { Deed::Drop } else { Deed::Deliver };
    let (port, _) = start(Plan { deed, ..Plan::default() });
    let report = load(port, "pairs -c 1 -F 8 -d 5 --warmup 0").unwrap();
    assert_eq!((report.lost, report.stalls), (8, 1), "{report:#?}");
    assert!(report.published > 100, "{report:#?}");
}

/// The broker stands still for 300 ms of a second. A generator that waits with it sees one late message; the three
/// hundred that were due meanwhile are late too, and are told as such.
#[test]
fn latency_counts_from_when_a_message_was_due() {
    let deed = |number| if number == 400 { Deed::Wait(Duration::from_millis(300)) } else { Deed::Deliver };
    let (port, _) = start(Plan { deed, ..Plan::default() });
    let report = load(port, "pairs -c 1 --rate 1000 -d 1 --warmup 0").unwrap();
    let latency = report.latency.unwrap();
    assert!(latency.p90_us > 150_000.0 && latency.max_us > 290_000.0, "{latency:?}");
    assert_eq!((report.lost, report.out_of_order), (0, 0));
}

#[test]
fn a_broker_that_cuts_its_subscriber_off_ends_the_run() {
    let deed = |number| if number == 50 { Deed::Cut } else { Deed::Deliver };
    let (port, _) = start(Plan { deed, ..Plan::default() });
    let begin = Instant::now();
    let report = load(port, "pairs -c 1 -F 8 -d 20 --warmup 0 --drain 20").unwrap();
    assert!(report.closed_by_broker >= 1 && report.lost > 0, "{report:#?}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn refusals_are_told() {
    let (port, _) = start(Plan { connack: 5, ..Plan::default() });
    for line in ["pairs", "connect", "connect --hold"] {
        let failure = load(port, line).unwrap_err();
        assert!(matches!(failure, Failure::Refused(ReasonCode::NotAuthorized)), "{line}: {failure}");
    }
    let (port, _) = start(Plan { suback: 0x80, ..Plan::default() });
    let failure = load(port, "pairs -c 1").unwrap_err();
    assert!(matches!(&failure, Failure::NotSubscribed(filter, _) if filter == "load/0"), "{failure}");
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    for line in ["pairs", "connect", "connect --hold"] {
        let text = load(port, line).unwrap_err().to_string();
        assert!(text.contains(&format!("nobody listens on 127.0.0.1:{port}")), "{line}: {text}");
    }
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_done() {
    for line in [
        "pairs -s 23",
        "pairs -c 0",
        "pairs -F 0",
        "pairs --rate 0",
        "pairs -t a/#",
        "pairs -d 0",
        "idle --from 9 -c 9",
        "idle",
    ] {
        let failure = load(1, line).unwrap_err();
        assert!(matches!(failure, Failure::Option(_)), "{line}: {failure}");
    }
}
