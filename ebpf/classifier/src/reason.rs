//! Every outcome the program has, counted: one closed set, and what becomes of the frame.

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The kernel has it.
    Pass,
    /// Nobody has it.
    Drop,
    /// The socket of its queue has it; or nobody, if there is none.
    Redirect,
    /// It is answered where it lies.
    Answer,
}

macro_rules! reasons {
    ($(#[doc = $help:literal] $variant:ident = $label:literal, $action:ident;)+) => {
        /// Why a frame went where it went. The position is its index in the map of counters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Reason { $(#[doc = $help] $variant,)+ }

        impl Reason {
            /// Every reason, in order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// How many there are.
            pub const COUNT: usize = [$($label,)+].len();

            /// The name operators see.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $label,)+ }
            }

            /// One sentence on it.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }

            /// What becomes of the frame.
            #[inline(always)]
            pub const fn action(self) -> Action {
                match self { $(Self::$variant => Action::$action,)+ }
            }

            /// The reason at a position, if there is one.
            pub fn at(index: usize) -> Option<Self> {
                Self::ALL.get(index).copied()
            }
        }
    };
}

reasons! {
    /// Nothing for the broker.
    PassOther = "pass_other", Pass;
    /// Headers that are cut or contradict each other: the kernel judges.
    PassMalformed = "pass_malformed", Pass;
    /// More IPv6 extension headers than are followed, or one that asks to be acted upon.
    PassExtensions = "pass_extensions", Pass;
    /// A fragment that is not the first one: it names no port.
    PassFragment = "pass_fragment", Pass;
    /// For the broker, which leaves it to the kernel.
    PassService = "pass_service", Pass;
    /// A router says that a segment of the broker was too big: noted, and passed.
    PassTooBig = "pass_too_big", Pass;
    /// To the socket of its queue.
    Redirect = "redirect", Redirect;
    /// A SYN answered with a cookie.
    Cookie = "cookie", Answer;
    /// For the broker, and its queue has no socket.
    DropNoSocket = "drop_no_socket", Drop;
    /// The first fragment of a segment for the broker. TCP does not fragment what it sends.
    DropFragment = "drop_fragment", Drop;
    /// The source is on the block list.
    DropBlocked = "drop_blocked", Drop;
    /// A TCP header that is too short or longer than the packet.
    DropHeader = "drop_header", Drop;
    /// A source that no peer has: multicast, loopback, unspecified, the broker's own address, port zero.
    DropSource = "drop_source", Drop;
    /// Flags that no peer sends together, or none.
    DropFlags = "drop_flags", Drop;
    /// More SYNs from one /24 or /56 than are let through.
    DropSynPrefix = "drop_syn_prefix", Drop;
    /// More SYNs in all than are let through.
    DropSynAll = "drop_syn_all", Drop;
    /// A SYN to be answered with a cookie whose checksum is wrong.
    DropSynChecksum = "drop_syn_checksum", Drop;
    /// A SYN that cannot be answered in place: data, IP options or extension headers, no room.
    DropSynShape = "drop_syn_shape", Drop;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_becomes_of_the_frame() {
        for (index, &reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert_eq!(Reason::at(index), Some(reason));
            assert_eq!(reason.name().starts_with("pass_"), reason.action() == Action::Pass, "{reason:?}");
            assert_eq!(reason.name().starts_with("drop_"), reason.action() == Action::Drop, "{reason:?}");
            assert!(!reason.help().is_empty());
        }
        assert_eq!(Reason::at(Reason::COUNT), None);
    }
}
