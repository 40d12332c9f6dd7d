//! The program in the kernel, if this process may load it.

use std::io::Write;

use pelton_ebpf_loader::{Counts, Frames, LoadError, Reason, Steering, Verdict};

/// The program, loaded. `None`, said loudly, without privilege.
pub(crate) fn load(frames: Frames) -> Option<Steering> {
    match Steering::load(frames) {
        Ok(steering) => Some(steering),
        Err(LoadError::NotPermitted) => {
            assert!(
                std::env::var_os("PELTON_REQUIRE_ROOT").is_none(),
                "the XDP program cannot be loaded without privilege"
            );
            // Not by a macro whose output the test harness keeps to itself.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: the XDP program cannot be loaded without privilege (PELTON_REQUIRE_ROOT=1 fails here)"
            );
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// What the program says about a frame, and the reason it counted.
pub(crate) fn run(steering: &mut Steering, frame: &[u8], into: &mut Vec<u8>) -> (Verdict, Reason) {
    let before = steering.counts().unwrap();
    let verdict = steering.run_on(frame, into).unwrap();
    (verdict, counted(&before, &steering.counts().unwrap()))
}

/// The one reason that was counted in between.
fn counted(before: &Counts, after: &Counts) -> Reason {
    let mut counted = Reason::ALL.iter().filter(|&&reason| after.get(reason) != before.get(reason));
    let reason = *counted.next().expect("something was counted");
    assert_eq!(after.get(reason), before.get(reason) + 1);
    assert_eq!(counted.next(), None);
    reason
}
