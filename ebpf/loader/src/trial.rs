//! The loaded program, run on a frame in memory (BPF_PROG_TEST_RUN): nothing is received or sent.

use aya::programs::{TestRun, TestRunOptions};

use crate::error::LoadError;
use crate::steering::Steering;

/// What the program said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The program failed.
    Aborted,
    /// Nobody has it.
    Drop,
    /// The kernel has it.
    Pass,
    /// It goes back where it came from, as the program left it.
    Transmit,
    /// A socket has it.
    Redirect,
}

/// Room for frames that grow.
const ROOM_BYTES: usize = 4096;

impl Steering {
    /// Instructions the kernel's verifier went through to accept the program, if the kernel tells (Linux 5.16). It gives
    /// up at a million.
    pub fn verified_instructions(&mut self) -> Option<u32> {
        self.program().info().ok()?.verified_instruction_count()
    }

    /// Runs the program on a frame that came by queue 0 (of the loopback interface). `into` becomes the frame as the
    /// program left it. It is counted like any frame.
    ///
    /// # Errors
    /// What the kernel says: it takes frames of 14 bytes to a page less what it needs.
    pub fn run_on(&mut self, frame: &[u8], into: &mut Vec<u8>) -> Result<Verdict, LoadError> {
        into.resize(ROOM_BYTES, 0);
        let mut options = TestRunOptions::new();
        options.data_in = Some(frame);
        options.data_out = Some(into);
        let ran = self.program().test_run(options)?;
        into.truncate(ran.data_size_out as usize);
        match ran.return_value {
            0 => Ok(Verdict::Aborted),
            1 => Ok(Verdict::Drop),
            2 => Ok(Verdict::Pass),
            3 => Ok(Verdict::Transmit),
            4 => Ok(Verdict::Redirect),
            other => Err(LoadError::Kernel(format!("the program returned {other}"))),
        }
    }
}
