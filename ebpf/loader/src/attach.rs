//! Attach, take over from a process that is gone, and what happens when this one goes.

use std::path::{Path, PathBuf};

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpLinkId};
use aya::programs::{ProgramError, XdpMode};

use crate::error::{AttachError, chain, code};
use crate::interface;
use crate::steering::Steering;

/// How a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before anything is allocated for a frame.
    Native,
    /// In the kernel's network stack, for any driver.
    Generic,
}

/// What becomes of the program when this process goes, in whatever way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// It goes too: the kernel has the services' segments, and answers resets unless something listens.
    Detach,
    /// It stays, and drops the services' segments, for sockets are closed with their process: clients wait and
    /// send again. The next process takes its place by the same path, without a gap.
    Hold {
        /// A file in a BPF file system, as in `/sys/fs/bpf`; its folder must be there.
        pin: PathBuf,
    },
}

/// A program on an interface.
pub(crate) enum Link {
    /// For as long as this is here.
    Own(XdpLinkId),
    /// For as long as there is a file.
    Pinned(PinnedLink),
}

impl Steering {
    /// Attaches the program to an interface.
    ///
    /// With [`OnExit::Hold`], if a former process left its program at that path, this one takes its place in one step;
    /// if that one is attached in another mode, it is detached first.
    ///
    /// # Errors
    /// [`AttachError::Occupied`] if there is another program: it is never replaced. Else what is missing.
    pub fn attach(&mut self, interface: &str, mode: Mode, on_exit: OnExit) -> Result<(), AttachError> {
        if self.link.is_some() {
            return Err(AttachError::AlreadyAttached);
        }
        let kernel = |why: String| AttachError::Kernel { interface: interface.to_owned(), why };
        let index =
            interface::index(interface).map_err(|_| AttachError::NoInterface(interface.to_owned()))?;
        let found = interface::of_index(index).map_err(|error| kernel(error.to_string()))?;
        let pin = match &on_exit {
            OnExit::Detach => None,
            OnExit::Hold { pin } => Some(pin.as_path()),
        };
        if let Some(pin) = pin.filter(|pin| pin.exists()) {
            let left = PinnedLink::from_pin(pin).map_err(|error| kernel(chain(&error)))?;
            if found.is_some_and(|found| found.is_ours() && found.mode == Some(mode)) {
                return self.take_over(left, pin).map_err(|error| kernel(chain(&error)));
            }
            // It holds the other mode, or an interface that is gone.
            left.unpin().map_err(|error| kernel(error.to_string()))?;
        }
        if let Some(found) = interface::of_index(index).map_err(|error| kernel(error.to_string()))? {
            return Err(AttachError::Occupied { interface: interface.to_owned(), found });
        }
        let how = match mode {
            Mode::Native => XdpMode::Driver,
            Mode::Generic => XdpMode::Skb,
        };
        let link = self
            .program()
            .attach_to_if_index(index, how)
            .map_err(|error| refused(interface, index, mode, &error))?;
        self.link = Some(match pin {
            None => Link::Own(link),
            Some(pin) => self.pin(link, pin)?,
        });
        Ok(())
    }

    fn pin(&mut self, link: XdpLinkId, path: &Path) -> Result<Link, AttachError> {
        let not_held = |why: String| AttachError::NotHeld { path: path.to_owned(), why };
        let link: XdpLink = self.program().take_link(link).map_err(|error| not_held(chain(&error)))?;
        let link = FdLink::try_from(link).map_err(|error| not_held(chain(&error)))?;
        Ok(Link::Pinned(link.pin(path).map_err(|error| not_held(chain(&error)))?))
    }

    /// Puts this program in the place of one that was left.
    fn take_over(&mut self, left: PinnedLink, pin: &Path) -> Result<(), ProgramError> {
        let link = XdpLink::try_from(FdLink::from(left)).map_err(|_| ProgramError::UnexpectedProgramType)?;
        let id = self.program().attach_to_link(link)?;
        // The file stays, and with it the link: nothing else is to keep it.
        drop(self.program().take_link(id)?);
        self.link = Some(Link::Pinned(PinnedLink::from_pin(pin).map_err(|_| ProgramError::NotAttached)?));
        Ok(())
    }

    /// Takes the program off the interface, also one that was to be held. Nothing if it is not attached.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn detach(&mut self) -> Result<(), AttachError> {
        let refused = |why| AttachError::Kernel { interface: "the interface".to_owned(), why };
        match self.link.take() {
            None => Ok(()),
            Some(Link::Own(id)) => self.program().detach(id).map_err(|error| refused(chain(&error))),
            Some(Link::Pinned(link)) => link.unpin().map(drop).map_err(|error| refused(error.to_string())),
        }
    }

    /// Whether the program is attached.
    pub fn is_attached(&self) -> bool {
        self.link.is_some()
    }
}

/// What the kernel means.
fn refused(interface: &str, index: u32, mode: Mode, error: &ProgramError) -> AttachError {
    const EPERM: i32 = 1;
    const EBUSY: i32 = 16;
    const EEXIST: i32 = 17;
    const ERANGE: i32 = 34;
    const EOPNOTSUPP: i32 = 95;
    let name = || interface.to_owned();
    match code(error) {
        Some(EPERM) => AttachError::NotPermitted,
        Some(ERANGE) => AttachError::MtuTooLarge(name()),
        Some(EOPNOTSUPP) if mode == Mode::Native => AttachError::NoNativeMode(name()),
        Some(EBUSY | EEXIST) if let Ok(Some(found)) = interface::of_index(index) => {
            AttachError::Occupied { interface: name(), found }
        }
        _ => AttachError::Kernel { interface: name(), why: chain(error) },
    }
}
