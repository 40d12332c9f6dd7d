//! Sockets on one stack, the clock, and the one call that waits while time goes on.

use std::collections::HashMap;
use std::fs::File;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, IntoRawFd};

use pelton_base::Mono;
use pelton_packet::Interface;
use pelton_tcp::{Shutdown, SocketError, SocketId, Sockets};

use crate::call::{Call, Done, Errno, Fd, errno};
use crate::options::Flags;
use crate::wire::{LINK, US, Wire};

/// When a script begins: not at zero, so that what lies before can be told.
const BEGIN: Mono = Mono::from_ms(1_000_000);
/// Asking for the time takes so long: who asks until it is later gets there.
const ASKING_US: u64 = 1;
/// Who waits for a packet waits so long at most.
const PATIENCE_MS: u64 = 600_000;

/// A socket that packetdrill has a descriptor of. The descriptor is a real one, of a file that nothing is done with:
/// packetdrill closes what a script leaves open by itself.
struct Open {
    socket: SocketId,
    file: File,
    waits: bool,
    resets: bool,
}

/// A call that waits, and what has come of it and when.
struct Waiting {
    call: Call,
    outcome: Option<(Result<Done, Errno>, Mono)>,
}

/// What packetdrill tests.
pub(crate) struct World {
    pub(crate) sockets: Sockets<Wire>,
    open: HashMap<Fd, Open>,
    waiting: Option<Waiting>,
    /// A call that waited is over, since it was last asked.
    pub(crate) finished: bool,
    now: Mono,
}

impl World {
    pub(crate) fn new(flags: Flags) -> Self {
        let interface = Interface { mac: US, addresses: flags.addresses };
        Self {
            sockets: Sockets::new(Wire::new(flags.mtu), interface, flags.settings, 1, BEGIN),
            open: HashMap::new(),
            waiting: None,
            finished: false,
            now: BEGIN,
        }
    }

    // ---- time ------------------------------------------------------------------------------------------------

    /// What time it is; a little later than when it was last asked.
    pub(crate) fn asked(&mut self) -> Mono {
        self.pass_to(self.now.plus_us(ASKING_US));
        self.now
    }

    pub(crate) fn pass(&mut self, us: u64) {
        self.pass_to(self.now.plus_us(us));
    }

    /// Lets time pass: what is due meanwhile is done at its time.
    fn pass_to(&mut self, until: Mono) {
        while let Some(due) = self.due()
            && due <= until
        {
            self.now = self.now.max(due);
            if !self.turn() && due <= self.now {
                break;
            }
        }
        self.now = self.now.max(until);
        self.turn();
    }

    /// When something happens by itself.
    fn due(&self) -> Option<Mono> {
        let waiting = match &self.waiting {
            Some(Waiting { call: Call::Poll { until, .. }, outcome: None }) => *until,
            _ => None,
        };
        [self.sockets.next_timeout(), waiting].into_iter().flatten().min()
    }

    /// Does what is due. Whether nothing more is, at this time.
    fn turn(&mut self) -> bool {
        self.sockets.turn(self.now);
        self.serve();
        self.due().is_none_or(|due| due > self.now)
    }

    /// The next packet that leaves, and when; time goes on until there is one.
    pub(crate) fn sniff(&mut self) -> Option<(Mono, Vec<u8>)> {
        let limit = self.now.plus_ms(PATIENCE_MS);
        loop {
            if let Some(found) = self.sockets.port().sniff() {
                return Some(found);
            }
            let due = self.due().filter(|due| *due <= limit)?;
            self.pass_to(due.max(self.now.plus_us(ASKING_US)));
        }
    }

    pub(crate) fn arrives(&mut self, packet: &[u8]) {
        self.sockets.port().arrives(packet);
        self.turn();
    }

    // ---- calls -----------------------------------------------------------------------------------------------

    fn file(&self, fd: Fd) -> Result<&Open, Errno> {
        self.open.get(&fd).ok_or(libc::EBADF)
    }

    pub(crate) fn socket_of(&self, fd: Fd) -> Result<SocketId, Errno> {
        self.file(fd).map(|open| open.socket)
    }

    fn enter(&mut self, socket: SocketId, waits: bool) -> Result<Fd, Errno> {
        let file = File::open("/dev/null").map_err(|_| libc::EMFILE)?;
        let fd = file.as_raw_fd();
        self.open.insert(fd, Open { socket, file, waits, resets: false });
        Ok(fd)
    }

    pub(crate) fn socket(&mut self, waits: bool) -> Result<Fd, Errno> {
        let socket = self.sockets.socket();
        self.enter(socket, waits)
    }

    pub(crate) fn waits(&self, fd: Fd) -> Result<bool, Errno> {
        self.file(fd).map(|open| open.waits)
    }

    pub(crate) fn set_waits(&mut self, fd: Fd, waits: bool) -> Result<(), Errno> {
        self.open.get_mut(&fd).map(|open| open.waits = waits).ok_or(libc::EBADF)
    }

    /// Closing it is to reset the peer.
    pub(crate) fn set_resets(&mut self, fd: Fd, resets: bool) -> Result<(), Errno> {
        self.open.get_mut(&fd).map(|open| open.resets = resets).ok_or(libc::EBADF)
    }

    pub(crate) fn bind(&mut self, fd: Fd, address: SocketAddr) -> Result<(), Errno> {
        let socket = self.socket_of(fd)?;
        self.sockets.bind(socket, address).map_err(errno)
    }

    pub(crate) fn listen(&mut self, fd: Fd, backlog: usize) -> Result<(), Errno> {
        let socket = self.socket_of(fd)?;
        self.sockets.listen(socket, backlog + 1).map_err(errno)
    }

    pub(crate) fn shutdown(&mut self, fd: Fd, how: Shutdown) -> Result<(), Errno> {
        let socket = self.socket_of(fd)?;
        self.sockets.shutdown(socket, how).map_err(errno)?;
        self.turn();
        Ok(())
    }

    pub(crate) fn close(&mut self, fd: Fd) -> Result<(), Errno> {
        let open = self.open.remove(&fd).ok_or(libc::EBADF)?;
        let closed =
            if open.resets { self.sockets.abort(open.socket) } else { self.sockets.close(open.socket) };
        closed.map_err(errno)?;
        self.turn();
        Ok(())
    }

    /// Tries a call. `None` if it has to wait, and may.
    pub(crate) fn attempt(&mut self, call: &mut Call, waits: bool) -> Option<Result<Done, Errno>> {
        let outcome = self.try_call(call, waits);
        match outcome {
            Err(libc::EAGAIN | libc::EINPROGRESS | libc::EALREADY) if waits => None,
            outcome => Some(outcome),
        }
    }

    fn try_call(&mut self, call: &mut Call, waits: bool) -> Result<Done, Errno> {
        match call {
            Call::Accept { fd } => {
                let listener = self.socket_of(*fd)?;
                let (socket, remote) = self.sockets.accept(listener).map_err(errno)?;
                Ok(Done::Accepted(self.enter(socket, true)?, remote))
            }
            Call::Connect { fd, remote } => {
                let socket = self.socket_of(*fd)?;
                self.sockets.connect(socket, *remote, LINK).map(|()| Done::Nothing).map_err(errno)
            }
            Call::Read { fd, len, peek } => {
                let socket = self.socket_of(*fd)?;
                let mut into = vec![0; *len];
                let read = if *peek {
                    self.sockets.peek(socket, &mut into)
                } else {
                    self.sockets.read(socket, &mut into)
                };
                into.truncate(read.map_err(errno)?);
                Ok(Done::Read(into))
            }
            Call::Write { fd, bytes, written } => {
                let socket = self.socket_of(*fd)?;
                if *written == 0
                    && let (Ok(Some(local)), Ok(remote)) =
                        (self.sockets.local(socket), self.sockets.peer(socket))
                {
                    self.sockets.port().written(local.port(), remote.port(), bytes.len());
                }
                loop {
                    match self.sockets.write(socket, &bytes[*written..]) {
                        Ok(more) => *written += more,
                        Err(SocketError::WouldBlock) if *written > 0 && !waits => {
                            return Ok(Done::Written(*written));
                        }
                        Err(why) => return Err(errno(why)),
                    }
                    if *written == bytes.len() {
                        return Ok(Done::Written(*written));
                    }
                }
            }
            Call::Poll { of, until } => {
                let found: Vec<i16> = of
                    .iter()
                    .map(|&(fd, wanted)| polled(&mut self.sockets, self.open.get(&fd), wanted))
                    .collect();
                let ready = found.iter().any(|events| *events != 0);
                let over = until.is_some_and(|until| until <= self.now);
                if ready || over || !waits { Ok(Done::Polled(found)) } else { Err(libc::EAGAIN) }
            }
        }
    }

    /// When a poll that waits so many milliseconds is over; for ever, if it is negative.
    pub(crate) fn poll_until(&self, timeout_ms: i32) -> Option<Mono> {
        u64::try_from(timeout_ms).ok().map(|ms| self.now.plus_ms(ms))
    }

    /// A call waits from here on.
    pub(crate) fn wait(&mut self, call: Call) {
        self.waiting = Some(Waiting { call, outcome: None });
    }

    /// What came of the call that waits, and when.
    pub(crate) fn take_outcome(&mut self) -> Option<(Result<Done, Errno>, Mono)> {
        let outcome = self.waiting.as_mut()?.outcome.take()?;
        self.waiting = None;
        Some(outcome)
    }

    /// Tries the call that waits once more. It is not left to the thread that waits: that would come to it when this
    /// one has gone on in time.
    fn serve(&mut self) {
        let Some(mut waiting) = self.waiting.take() else { return };
        if waiting.outcome.is_none()
            && let Some(outcome) = self.attempt(&mut waiting.call, true)
        {
            waiting.outcome = Some((outcome, self.now));
            self.finished = true;
        }
        self.waiting = Some(waiting);
    }

    /// Lets time go on for a call of the thread that drives the clock, which nobody else can.
    pub(crate) fn wait_here(&mut self, call: &mut Call) -> Result<Done, Errno> {
        let limit = self.now.plus_ms(PATIENCE_MS);
        loop {
            if let Some(outcome) = self.attempt(call, true) {
                return outcome;
            }
            match self.due() {
                Some(due) if due <= limit => self.pass_to(due.max(self.now.plus_us(ASKING_US))),
                _ => return Err(libc::EDEADLK),
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // packetdrill has closed the descriptors that it still had.
        for (_, open) in self.open.drain() {
            let _ = open.file.into_raw_fd();
        }
    }
}

fn polled(sockets: &mut Sockets<Wire>, open: Option<&Open>, wanted: i16) -> i16 {
    let Some(ready) = open.and_then(|open| sockets.ready(open.socket).ok()) else { return libc::POLLNVAL };
    let mut found = 0;
    let mut put = |is: bool, event: i16| found |= if is { event } else { 0 };
    put(ready.readable, libc::POLLIN & wanted);
    put(ready.writable, libc::POLLOUT & wanted);
    put(ready.read_closed, libc::POLLRDHUP & wanted);
    put(ready.over, libc::POLLHUP);
    put(ready.failed, libc::POLLERR);
    found
}

/// The addresses that the runner of packetdrill's own scripts gives this side.
pub(crate) fn usual_addresses() -> Vec<IpAddr> {
    vec![IpAddr::from([192, 168, 0, 1]), IpAddr::from([0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1])]
}
