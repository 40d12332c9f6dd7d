//! What the program costs to load.

use pelton_ebpf_loader::Frames;

use crate::kernel::load;

/// The verifier gives up at a million, and takes its time long before.
const VERIFIED_MAX: u32 = 100_000;

#[test]
fn the_verifier_is_soon_done() {
    for frames in [Frames::InOnePiece, Frames::InPieces] {
        let Some(mut steering) = load(frames) else { return };
        let Some(verified) = steering.verified_instructions() else { return };
        println!("{frames:?}: {verified} instructions verified");
        assert!(verified < VERIFIED_MAX, "{verified}");
    }
}
