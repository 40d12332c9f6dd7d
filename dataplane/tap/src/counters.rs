//! What is counted at the device.

use pelton_base::counter_set;

counter_set! {
    /// What happened.
    pub enum TapCounter {
        /// Frames received from a TAP device.
        Received = "tap_received",
        /// Bytes of them.
        BytesReceived = "tap_bytes_received",
        /// Frames sent to a TAP device.
        Sent = "tap_sent",
        /// Bytes of them.
        BytesSent = "tap_bytes_sent",
        /// TAP devices that were taken away while they were served.
        Gone = "tap_gone",
    }
}

counter_set! {
    /// Why a frame went no further than a TAP device.
    pub enum TapDrop {
        /// No frame of the pool was free; what has come waits in the kernel's queue.
        NoFrame = "tap_no_frame",
        /// Received, and longer than the MTU.
        TooLong = "tap_too_long",
        /// Sent while the device was down.
        Down = "tap_down",
        /// Sent, and refused by the kernel.
        Refused = "tap_refused",
    }
}
