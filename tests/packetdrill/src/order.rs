//! The order of options in a SYN. Whoever reads them does not care, but packetdrill compares them one by one, padding
//! and all, and its scripts have them as Linux puts them; so here they are put in that order.

use pelton_packet::{Link, Parsed, headers, parse, parse::TCP};
use pelton_tcp::segment::{Flags, Segment};

const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;
const PADDING: u8 = 1;

/// The frame with the options of its SYN in Linux's order; `None` if it has no SYN.
pub(crate) fn as_linux(frame: &[u8]) -> Option<Vec<u8>> {
    let Ok(Parsed::Ip(datagram)) = parse(frame) else { return None };
    if datagram.protocol != TCP {
        return None;
    }
    let segment = Segment::parse(datagram.source, datagram.destination, datagram.payload(frame)).ok()?;
    if !segment.flags.has(Flags::SYN) {
        return None;
    }
    let mut options = Vec::new();
    if let Some(mss) = segment.options.mss {
        options.extend([MSS, 4]);
        options.extend(mss.to_be_bytes());
    }
    match segment.options.timestamps {
        Some((stamp, echo)) => {
            let before = if segment.options.sack_permitted { [SACK_PERMITTED, 2] } else { [PADDING; 2] };
            options.extend(before);
            options.extend([TIMESTAMPS, 10]);
            options.extend(stamp.to_be_bytes());
            options.extend(echo.to_be_bytes());
        }
        None if segment.options.sack_permitted => options.extend([PADDING, PADDING, SACK_PERMITTED, 2]),
        None => {}
    }
    if let Some(shift) = segment.options.window_scale {
        options.extend([PADDING, WINDOW_SCALE, 3, shift]);
    }
    let link = Link { vlan: None, ..datagram.link };
    let (source, destination) = (datagram.source, datagram.destination);
    let mut bytes = datagram.payload(frame)[..20].to_vec();
    bytes.extend(&options);
    bytes[12] = ((bytes.len() / 4) << 4) as u8;
    crate::push::sum(source, destination, &mut bytes);
    let mut ordered = vec![0; headers::bytes(link, source)];
    headers::write(&mut ordered, link, source, destination, TCP, 0, bytes.len());
    ordered.extend(bytes);
    Some(ordered)
}

#[cfg(test)]
mod tests {
    use pelton_tcp::segment::Options;

    use super::*;

    #[test]
    fn the_order_is_another_and_what_is_said_the_same() {
        let (source, destination) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let link = Link::default();
        let segment = Segment {
            flags: Flags::SYN,
            options: Options {
                mss: Some(1_460),
                window_scale: Some(8),
                sack_permitted: true,
                timestamps: Some((7, 9)),
                ..Options::default()
            },
            ..Segment::default()
        };
        let mut frame = vec![0; headers::bytes(link, source)];
        headers::write(&mut frame, link, source, destination, TCP, 0, segment.header_bytes());
        let mut bytes = vec![0; segment.header_bytes()];
        segment.write(source, destination, &mut bytes);
        frame.extend(bytes);
        let ordered = as_linux(&frame).expect("a SYN");
        let wanted = [2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9, 1, 3, 3, 8];
        assert_eq!(ordered[ordered.len() - wanted.len()..], wanted);
        let Ok(Parsed::Ip(datagram)) = parse(&ordered) else { panic!("it is read") };
        let read =
            Segment::parse(source, destination, datagram.payload(&ordered)).expect("the sums are right");
        assert_eq!((read.options, read.flags), (segment.options, Flags::SYN));
    }
}
