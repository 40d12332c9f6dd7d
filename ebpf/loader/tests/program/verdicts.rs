//! What the program in the kernel says about frames of each kind.

use pelton_ebpf_loader::{Frames, Reason, Service, Steering, Verdict};
use pelton_packet::parse::ICMP;

use crate::frames::{ACK, FIN, RST, SYN, Tcp, mend_ipv4, packet};
use crate::kernel::{load, run};

const V4: (&str, &str) = ("10.0.0.2:4000", "10.0.0.1:1883");
const V6: (&str, &str) = ("[2001:db8::2]:4000", "[2001:db8::1]:1883");

fn steered(frames: Frames) -> Option<Steering> {
    let mut steering = load(frames)?;
    for (_, service) in [V4, V6] {
        steering.set_service(service.parse().unwrap(), Service::Steered).unwrap();
    }
    Some(steering)
}

#[test]
fn a_service_is_dropped_without_a_socket_and_others_pass() {
    for frames in [Frames::InOnePiece, Frames::InPieces] {
        let Some(mut steering) = steered(frames) else { return };
        let mut out = Vec::new();
        for ((source, service), other) in [(V4, "10.0.0.1:1884"), (V6, "[2001:db8::1]:1884")] {
            for vlan in [None, Some(5)] {
                let data = Tcp { vlan, data: b"data".into(), ..Tcp::new(source, service, ACK) };
                assert_eq!(
                    run(&mut steering, &data.frame(), &mut out),
                    (Verdict::Drop, Reason::DropNoSocket)
                );
                assert_eq!(out, data.frame());
                let data = Tcp { destination: other.parse().unwrap(), ..data };
                assert_eq!(run(&mut steering, &data.frame(), &mut out), (Verdict::Pass, Reason::PassOther));
            }
        }
        let arp = [&[0xff; 12][..], &[8, 6], &[0; 46]].concat();
        assert_eq!(run(&mut steering, &arp, &mut out), (Verdict::Pass, Reason::PassOther));
        let ping =
            packet([10, 0, 0, 2].into(), [10, 0, 0, 1].into(), None, ICMP, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]);
        assert_eq!(run(&mut steering, &ping, &mut out), (Verdict::Pass, Reason::PassOther));
    }
}

#[test]
fn services_come_and_go() {
    let Some(mut steering) = steered(Frames::InOnePiece) else { return };
    let (mut out, service) = (Vec::new(), V4.1.parse().unwrap());
    let frame = Tcp::new(V4.0, V4.1, ACK).frame();
    assert_eq!(steering.services().count(), 2);
    steering.set_service(service, Service::Passed).unwrap();
    assert!(steering.services().any(|found| found == (service, Service::Passed)));
    assert_eq!(run(&mut steering, &frame, &mut out), (Verdict::Pass, Reason::PassService));
    assert!(steering.remove_service(service).unwrap());
    assert!(!steering.remove_service(service).unwrap());
    assert_eq!(run(&mut steering, &frame, &mut out), (Verdict::Pass, Reason::PassOther));
}

#[test]
fn what_no_peer_sends_is_dropped() {
    let Some(mut steering) = steered(Frames::InOnePiece) else { return };
    let mut out = Vec::new();
    for (flags, reason) in [
        (SYN | FIN, Reason::DropFlags),
        (SYN | RST, Reason::DropFlags),
        (FIN, Reason::DropFlags),
        (0, Reason::DropFlags),
        (RST, Reason::DropNoSocket),
        (SYN | ACK, Reason::DropNoSocket),
        (SYN, Reason::DropNoSocket),
    ] {
        for (source, service) in [V4, V6] {
            let frame = Tcp::new(source, service, flags).frame();
            assert_eq!(run(&mut steering, &frame, &mut out), (Verdict::Drop, reason), "{flags:#x} {source}");
        }
    }
    for (source, service) in [
        ("224.0.0.1:4000", V4.1),
        ("127.0.0.1:4000", V4.1),
        ("0.0.0.0:4000", V4.1),
        ("255.255.255.255:4000", V4.1),
        ("10.0.0.1:4000", V4.1),
        ("10.0.0.2:0", V4.1),
        ("[ff02::1]:4000", V6.1),
        ("[::1]:4000", V6.1),
        ("[::]:4000", V6.1),
        ("[2001:db8::1]:4000", V6.1),
        ("[2001:db8::2]:0", V6.1),
    ] {
        let frame = Tcp::new(source, service, ACK).frame();
        assert_eq!(run(&mut steering, &frame, &mut out), (Verdict::Drop, Reason::DropSource), "{source}");
    }
    // A header of sixteen bytes, one that is longer than the packet.
    for offset in [4, 6] {
        let mut frame = Tcp::new(V4.0, V4.1, ACK).frame();
        frame[14 + 20 + 12] = offset << 4;
        assert_eq!(run(&mut steering, &frame, &mut out), (Verdict::Drop, Reason::DropHeader));
    }
}

#[test]
fn fragments_are_dropped_only_if_they_name_a_service() {
    let Some(mut steering) = steered(Frames::InOnePiece) else { return };
    let mut out = Vec::new();
    for (port, field, verdict) in [
        (V4.1, 0x2000, (Verdict::Drop, Reason::DropFragment)),
        ("10.0.0.1:1884", 0x2000, (Verdict::Pass, Reason::PassOther)),
        (V4.1, 0x2010, (Verdict::Pass, Reason::PassFragment)),
        (V4.1, 0x0010, (Verdict::Pass, Reason::PassFragment)),
    ] {
        let mut frame = Tcp::new(V4.0, port, ACK).frame();
        frame[14 + 6..14 + 8].copy_from_slice(&u16::to_be_bytes(field));
        mend_ipv4(&mut frame, 14);
        assert_eq!(run(&mut steering, &frame, &mut out), verdict, "{port} {field:#x}");
    }
}
