//! What the stack counts.

use pelton_base::counter_set;

counter_set! {
    /// Why a segment, or a part of one, was not used.
    pub enum TcpDrop {
        /// Sent to an Ethernet address that is not ours.
        OtherStation = "other_station",
        /// An IP address or protocol that is not ours to answer, or a sender that can be none.
        NotForUs = "not_for_us",
        /// Shorter than its header says, or a header below the least.
        Malformed = "malformed",
        /// The checksum is wrong.
        BadChecksum = "bad_checksum",
        /// No connection and no listener; answered by a reset, within the limit.
        NoConnection = "no_connection",
        /// A reset without a connection.
        StrayReset = "stray_reset",
        /// SYN together with FIN or RST, or without any of SYN, ACK and RST.
        BadFlags = "bad_flags",
        /// A SYN while the connection table is full.
        TableFull = "table_full",
        /// A SYN while nobody listens any more.
        NotListening = "not_listening",
        /// A SYN from a station that no entry is left for.
        LinksFull = "links_full",
        /// An ACK that looks like one of a SYN cookie and is not.
        BadCookie = "bad_cookie",
        /// An ACK of a SYN cookie that a connection was made of, which is over.
        SpentCookie = "spent_cookie",
        /// Outside of the receive window.
        OutOfWindow = "out_of_window",
        /// An older time stamp than the last one.
        Paws = "paws",
        /// A reset in the window that is not the next in sequence; challenged.
        ResetChallenged = "reset_challenged",
        /// A SYN on a connection that is open, or half-open with another number; challenged.
        SynChallenged = "syn_challenged",
        /// Acknowledges what was not sent, or what was acknowledged long ago; challenged.
        BadAck = "bad_ack",
        /// No ACK flag.
        NoAck = "no_ack",
        /// Data that was received before.
        Duplicate = "duplicate",
        /// Out of order, and no room to keep it.
        ReassemblyFull = "reassembly_full",
        /// Data on a connection that this side has closed.
        AfterClose = "after_close",
        /// A reset in TIME-WAIT.
        TimeWaitReset = "time_wait_reset",
        /// An old segment in TIME-WAIT.
        TimeWaitOld = "time_wait_old",
        /// An ICMP error that quotes no segment under way.
        BadIcmp = "bad_icmp",
        /// No frame was free to send with; it is tried again.
        NoFrame = "no_frame",
        /// The port's queue was full; it is tried again.
        PortFull = "port_full",
        /// The ring to the shard that has the connection is full.
        RelayFull = "relay_full",
        /// A frame that another shard handed over, for a connection that is not here.
        RelayStray = "relay_stray",
        /// A segment whose connection is under way from one shard to another.
        Moving = "moving",
        /// A segment of an unknown connection, beyond the searches per second or the room for what is searched.
        SearchLimited = "search_limited",
        /// A segment of a connection that is being searched, beyond what is kept of it.
        SearchFull = "search_full",
        /// A challenge or answer beyond the limit per second.
        ChallengeLimited = "challenge_limited",
        /// A reset beyond the limit per second.
        ResetLimited = "reset_limited",
    }
}

counter_set! {
    /// What happened.
    pub enum TcpCounter {
        /// Segments received.
        SegmentsIn = "segments_in",
        /// Segments sent.
        SegmentsOut = "segments_out",
        /// Segments without data sent.
        AcksOut = "acks_out",
        /// Bytes of data received in order.
        BytesIn = "bytes_in",
        /// Bytes of data sent, retransmissions included.
        BytesOut = "bytes_out",
        /// SYNs received by a listener.
        Syns = "syns",
        /// SYNs answered with a cookie.
        CookiesSent = "cookies_sent",
        /// Connections made from a cookie.
        CookiesAccepted = "cookies_accepted",
        /// Connections accepted.
        Accepted = "accepted",
        /// Connections opened from this side.
        Connected = "connected",
        /// Half-open connections that were given up.
        HalfOpenExpired = "half_open_expired",
        /// Half-open connections that the peer reset.
        HalfOpenReset = "half_open_reset",
        /// Bytes sent again.
        BytesRetransmitted = "bytes_retransmitted",
        /// Segments sent again.
        Retransmissions = "retransmissions",
        /// Retransmission time-outs.
        TimeOuts = "time_outs",
        /// Losses found by acknowledgements.
        FastRecoveries = "fast_recoveries",
        /// Packets that came with a router's word that it is congested.
        CongestionMet = "congestion_met",
        /// Reductions of the window since the peer said that of the path to it.
        CongestionEchoed = "congestion_echoed",
        /// Reductions of the window that were taken back: nothing had been lost.
        Undone = "undone",
        /// Tail loss probes.
        TailProbes = "tail_probes",
        /// Probes of a closed window.
        WindowProbes = "window_probes",
        /// Keep-alive probes.
        KeepAlives = "keep_alives",
        /// Challenge ACKs sent.
        Challenges = "challenges",
        /// Resets sent.
        ResetsOut = "resets_out",
        /// Resets accepted.
        ResetsIn = "resets_in",
        /// Connections given up because the peer did not answer.
        TimedOut = "timed_out",
        /// Connections whose linger time ran out.
        LingerExpired = "linger_expired",
        /// Segments received out of order and kept.
        OutOfOrder = "out_of_order",
        /// The path's MTU was lowered by a router's word.
        PathMtuLowered = "path_mtu_lowered",
        /// A longer segment was tried on a path that had been found narrow, and arrived.
        PathMtuRaised = "path_mtu_raised",
        /// The segment size was lowered because nothing big came through.
        BlackHoleSuspected = "black_hole_suspected",
        /// TIME-WAIT records that went before their time.
        TimeWaitEvicted = "time_wait_evicted",
        /// TIME-WAIT records that a new connection took over.
        TimeWaitReused = "time_wait_reused",
        /// ARP, neighbour and echo requests answered.
        Answered = "answered",
        /// Frames handed to another shard.
        RelayedOut = "relayed_out",
        /// Connections that the other shards were asked about, since their segments came here.
        Searches = "searches",
        /// Of those: found.
        Found = "found",
        /// Receive windows made wider for peers that fill them.
        WindowsGrown = "windows_grown",
        /// A receive window that was to grow did not: frames are short, or others have grown by all there is.
        WindowsHeld = "windows_held",
        /// A connection needed recovery state and none was left.
        ColdExhausted = "cold_exhausted",
    }
}
