//! What a port is opened with.

/// How frames get from the device into the port's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// The device writes and reads the port's memory itself; refused where its driver cannot.
    ZeroCopy,
    /// The kernel copies, also where the driver could do without.
    Copy,
    /// Without a copy where the driver can, else with.
    Best,
}

/// Which pages the port's memory is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// The system's usual ones.
    Normal,
    /// Huge ones (2 MiB); refused where there are none.
    Huge,
    /// Huge ones if there are enough, else usual ones.
    HugeIfAny,
}

/// Polling the device from the port's own thread instead of by interrupts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusyPoll {
    /// How long one system call may poll the device, in microseconds.
    pub poll_us: u32,
    /// Packets taken in one poll.
    pub budget: u16,
}

/// What a port is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interface, by name.
    pub interface: String,
    /// The receive queues this port owns. Sent is on the first of them.
    pub queues: Vec<u32>,
    /// With or without copies.
    pub sharing: Sharing,
    /// Bytes of a frame's memory: 2048 or 4096. 256 of them are the kernel's.
    pub frame_bytes: u16,
    /// Frames in all; 0: as many as the rings hold, and a quarter more.
    pub frames: u32,
    /// Entries of the fill and rx rings of each queue, a power of two.
    pub rx_entries: u32,
    /// Entries of the tx and completion rings, a power of two.
    pub tx_entries: u32,
    /// Which pages.
    pub pages: Pages,
    /// Whether to poll the device.
    pub busy_poll: Option<BusyPoll>,
    /// The biggest IP packet of the interface.
    pub mtu: u16,
}

impl Settings {
    /// The usual, for one queue of an interface.
    pub fn new(interface: impl Into<String>, queues: Vec<u32>) -> Self {
        Self {
            interface: interface.into(),
            queues,
            sharing: Sharing::Best,
            frame_bytes: 2048,
            frames: 0,
            rx_entries: 4096,
            tx_entries: 2048,
            pages: Pages::HugeIfAny,
            busy_poll: None,
            mtu: 1500,
        }
    }

    /// Frames in all.
    pub fn frame_count(&self) -> u32 {
        if self.frames != 0 {
            return self.frames;
        }
        let rings = self.rx_entries * self.queues.len() as u32 + self.tx_entries;
        rings + rings / 4
    }
}
