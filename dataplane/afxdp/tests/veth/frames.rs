//! Numbered frames.

use pelton_packet::Frame;

/// An experimental Ethernet type, so that nothing else on the link is taken for one of ours.
const TYPE: [u8; 2] = [0x88, 0xb5];

/// Writes a frame with a number.
pub(crate) fn frame_of(number: u32, bytes: usize, frame: &mut Frame) {
    frame.set_range(0, bytes);
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[12..14].copy_from_slice(&TYPE);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame[18..].fill(number as u8);
}

/// The number of a frame, if it is one of ours and whole.
pub(crate) fn sequence_of(frame: &Frame) -> Option<u32> {
    if frame[12..14] != TYPE {
        return None;
    }
    let number = u32::from_be_bytes(frame[14..18].try_into().ok()?);
    assert!(frame[18..].iter().all(|&byte| byte == number as u8), "frame {number} is damaged");
    Some(number)
}
