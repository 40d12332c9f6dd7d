//! A publisher: what it may send now, and what became of what it sent.
//!
//! In a closed loop at most `window` messages are under way: sent, and not yet seen at every receiver. At a fixed rate
//! message N is due at its time, however slow the broker is. Above QoS 0 packet identifiers bound both.

use pelton_mqtt::PacketType;

use crate::packets::Template;
use crate::stamp::Stamp;

/// When messages are due.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// When there is room in the window.
    Window(u64),
    /// The first at a time, the others an interval apart, nanoseconds.
    Every { first_ns: f64, interval_ns: f64 },
}

/// Where a packet identifier stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Free,
    /// PUBACK or PUBREC is to come.
    Sent,
    /// PUBCOMP is to come.
    Released,
}

pub(crate) struct Publisher {
    template: Template,
    pace: Pace,
    run: u32,
    number: u32,
    /// Deliveries of each message.
    receivers: u64,
    pub(crate) sent: u64,
    /// Deliveries that were seen, or given up.
    seen: u64,
    /// By packet identifier less one; empty at QoS 0.
    steps: Vec<Step>,
    /// Identifiers that may be used.
    free: Vec<u16>,
    /// On a list of publishers that may have something to send.
    pub(crate) listed: bool,
    /// Deliveries seen when it was last looked whether they go on.
    seen_before: u64,
}

impl Publisher {
    /// `identifiers` is 0 at QoS 0.
    pub(crate) fn new(
        template: Template,
        pace: Pace,
        run: u32,
        number: u32,
        receivers: u64,
        identifiers: u16,
    ) -> Self {
        Self {
            template,
            pace,
            run,
            number,
            receivers,
            sent: 0,
            seen: 0,
            steps: vec![Step::Free; usize::from(identifiers)],
            free: (1..=identifiers).rev().collect(),
            listed: false,
            seen_before: 0,
        }
    }

    /// Appends what may be sent now, until `out` holds `limit` bytes. Returns how many messages.
    pub(crate) fn fill(&mut self, now_ns: u64, out: &mut Vec<u8>, limit: usize) -> u64 {
        let begin = self.sent;
        while out.len() < limit {
            let time_ns = match self.pace {
                Pace::Window(window) => {
                    if (self.sent + 1) * self.receivers > self.seen + window * self.receivers {
                        break;
                    }
                    now_ns
                }
                Pace::Every { .. } => {
                    let due_ns = self.due_ns();
                    if due_ns > now_ns {
                        break;
                    }
                    due_ns
                }
            };
            let mut packet_id = 0;
            if !self.steps.is_empty() {
                let Some(id) = self.free.pop() else { break };
                self.steps[usize::from(id - 1)] = Step::Sent;
                packet_id = id;
            }
            let stamp = Stamp { run: self.run, publisher: self.number, sequence: self.sent, time_ns };
            self.template.append(packet_id, stamp, out);
            self.sent += 1;
        }
        self.sent - begin
    }

    /// When the next message is due; in a closed loop, never by itself.
    pub(crate) fn due_ns(&self) -> u64 {
        match self.pace {
            Pace::Window(_) => u64::MAX,
            Pace::Every { first_ns, interval_ns } => (first_ns + interval_ns * self.sent as f64) as u64,
        }
    }

    pub(crate) fn pace(&self) -> Pace {
        self.pace
    }

    /// Messages that are due and have not been sent.
    pub(crate) fn behind(&self, now_ns: u64) -> u64 {
        match self.pace {
            Pace::Window(_) => 0,
            Pace::Every { interval_ns, .. } => {
                (now_ns.saturating_sub(self.due_ns()) as f64 / interval_ns) as u64
            }
        }
    }

    /// `count` deliveries were seen, or will not be.
    #[inline]
    pub(crate) fn delivered(&mut self, count: u64) {
        self.seen += count;
    }

    /// Takes an acknowledgement and appends the answer to it. `false` if it was not one that was due.
    pub(crate) fn acknowledged(
        &mut self,
        packet: PacketType,
        packet_id: u16,
        failed: bool,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(step) = self.steps.get_mut(usize::from(packet_id).wrapping_sub(1)) else { return false };
        match (packet, *step) {
            (PacketType::PubRec, Step::Sent) if !failed => {
                *step = Step::Released;
                let [high, low] = packet_id.to_be_bytes();
                out.extend_from_slice(&[PacketType::PubRel.first_byte(), 2, high, low]);
            }
            (PacketType::PubAck | PacketType::PubRec, Step::Sent) | (PacketType::PubComp, Step::Released) => {
                *step = Step::Free;
                self.free.push(packet_id);
            }
            _ => return false,
        }
        true
    }

    /// Messages whose last acknowledgement has not come.
    pub(crate) fn unacknowledged(&self) -> u64 {
        (self.steps.len() - self.free.len()) as u64
    }

    /// Deliveries that are still to come.
    pub(crate) fn outstanding(&self) -> u64 {
        (self.sent * self.receivers).saturating_sub(self.seen)
    }

    /// Whether nothing came since this was last asked, though something was to.
    pub(crate) fn is_stalled(&mut self) -> bool {
        let still = self.seen == self.seen_before && self.outstanding() > 0;
        self.seen_before = self.seen;
        still
    }

    /// What is under way will not come: the window is open again.
    pub(crate) fn give_up(&mut self) {
        self.seen = self.sent * self.receivers;
    }
}

#[cfg(test)]
mod tests {
    use pelton_mqtt::{QoS, Version};

    use super::*;

    fn publisher(qos: QoS, pace: Pace, receivers: u64, identifiers: u16) -> Publisher {
        Publisher::new(Template::new(Version::V311, "t", qos, 24), pace, 1, 0, receivers, identifiers)
    }

    #[test]
    fn a_window_is_what_was_not_seen_everywhere() {
        let mut publisher = publisher(QoS::AtMostOnce, Pace::Window(3), 2, 0);
        let mut out = Vec::new();
        assert_eq!(publisher.fill(0, &mut out, usize::MAX), 3);
        assert_eq!(publisher.fill(0, &mut out, usize::MAX), 0);
        publisher.delivered(1);
        assert_eq!(publisher.fill(0, &mut out, usize::MAX), 0, "one of its two receivers");
        publisher.delivered(1);
        assert_eq!(publisher.fill(0, &mut out, usize::MAX), 1);
        assert_eq!(publisher.outstanding(), 6);
        assert!(!publisher.is_stalled());
        assert!(publisher.is_stalled());
        publisher.give_up();
        assert_eq!(publisher.fill(0, &mut out, usize::MAX), 3);
    }

    #[test]
    fn at_a_fixed_rate_the_time_says_what_is_due() {
        let pace = Pace::Every { first_ns: 1_000.0, interval_ns: 250.0 };
        let mut publisher = publisher(QoS::AtMostOnce, pace, 1, 0);
        let mut out = Vec::new();
        assert_eq!(publisher.fill(999, &mut out, usize::MAX), 0);
        assert_eq!(publisher.fill(1_000, &mut out, usize::MAX), 1);
        assert_eq!(publisher.due_ns(), 1_250);
        // Late by three: they carry the time they were due, not the time they were sent.
        out.clear();
        assert_eq!(publisher.fill(1_990, &mut out, usize::MAX), 3);
        let payload = out.len() / 3 - 24;
        let times: Vec<u64> = out
            .chunks(out.len() / 3)
            .map(|packet| Stamp::read(&packet[payload..]).unwrap().time_ns)
            .collect();
        assert_eq!(times, [1_250, 1_500, 1_750]);
    }

    #[test]
    fn identifiers_come_back_with_the_last_acknowledgement() {
        let mut publisher = publisher(QoS::ExactlyOnce, Pace::Window(10), 1, 2);
        let mut out = Vec::new();
        assert_eq!(publisher.fill(0, &mut out, usize::MAX), 2);
        out.clear();
        assert!(!publisher.acknowledged(PacketType::PubComp, 1, false, &mut out));
        assert!(!publisher.acknowledged(PacketType::PubRec, 0, false, &mut out));
        assert!(!publisher.acknowledged(PacketType::PubRec, 3, false, &mut out));
        assert!(publisher.acknowledged(PacketType::PubRec, 1, false, &mut out));
        assert_eq!(out, [0x62, 2, 0, 1]);
        assert_eq!(publisher.fill(0, &mut out, usize::MAX), 0);
        assert!(publisher.acknowledged(PacketType::PubComp, 1, false, &mut out));
        assert!(publisher.acknowledged(PacketType::PubRec, 2, true, &mut out), "refused: no PUBREL");
        assert_eq!((publisher.unacknowledged(), out.len()), (0, 4));
        assert_eq!(publisher.fill(0, &mut out, usize::MAX), 2);
    }
}
