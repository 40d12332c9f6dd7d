//! What came out of order, kept in the frames it came in, until what is missing comes. Bytes that are there stay:
//! a later segment with other content for the same place changes nothing (first bytes win).

use pelton_packet::Frame;

use crate::segment::{SACK_BLOCKS_MAX, SackBlocks};
use crate::seq::Seq;

/// A piece: a frame cut to its data, and where that belongs.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) seq: Seq,
    pub(crate) frame: Frame,
}

impl Piece {
    pub(crate) fn end(&self) -> Seq {
        self.seq + self.frame.len() as u32
    }
}

/// The pieces of one connection, in order, none overlapping another.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    pieces: Vec<Piece>,
    /// Where the newest piece begins, to be reported first (RFC 2018 4).
    newest: Seq,
}

/// The stretches of `start..end` that no piece covers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) start: Seq,
    pub(crate) end: Seq,
}

impl Reassembly {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// The first stretch of `start..end` that is missing.
    pub(crate) fn gap(&self, mut start: Seq, end: Seq) -> Option<Gap> {
        // Behind a loss in a wide window there are hundreds.
        let before = self.pieces.partition_point(|piece| piece.end().le(start));
        for piece in &self.pieces[before..] {
            if end.le(piece.seq) {
                break;
            }
            if start.lt(piece.seq) {
                return Some(Gap { start, end: piece.seq.min(end) });
            }
            start = piece.end();
        }
        start.lt(end).then_some(Gap { start, end })
    }

    /// Takes a piece in that fills a gap exactly (not more than [`Reassembly::gap`] said).
    pub(crate) fn insert(&mut self, piece: Piece) {
        self.newest = piece.seq;
        let at = self.pieces.partition_point(|before| before.seq.lt(piece.seq));
        debug_assert!(at == 0 || self.pieces[at - 1].end().le(piece.seq));
        debug_assert!(self.pieces.get(at).is_none_or(|behind| piece.end().le(behind.seq)));
        self.pieces.insert(at, piece);
    }

    /// The piece that begins at `next`.
    pub(crate) fn take(&mut self, next: Seq) -> Option<Piece> {
        (self.pieces.first()?.seq == next).then(|| self.pieces.remove(0))
    }

    /// The last piece, to make room for an earlier one.
    pub(crate) fn take_last(&mut self) -> Option<Piece> {
        self.pieces.pop()
    }

    /// Where the last piece begins.
    pub(crate) fn last(&self) -> Option<Seq> {
        self.pieces.last().map(|piece| piece.seq)
    }

    /// The blocks to report, that of the newest piece first (RFC 2018 4), `max` at most.
    pub(crate) fn blocks(&self, max: usize) -> SackBlocks {
        // As many of the first as could be named, and the newest wherever it is.
        let mut first: [(Seq, Seq); SACK_BLOCKS_MAX] = Default::default();
        let (mut count, mut newest, mut block) = (0, None, None::<(Seq, Seq)>);
        for (at, piece) in self.pieces.iter().enumerate() {
            let (left, holds) = match block {
                Some((left, right)) if right == piece.seq => (left, newest == block),
                _ => (piece.seq, false),
            };
            block = Some((left, piece.end()));
            if piece.seq == self.newest || (holds && newest.is_some()) {
                newest = block;
            }
            let ends = self.pieces.get(at + 1).is_none_or(|next| next.seq != piece.end());
            if ends && count < first.len() {
                first[count] = (left, piece.end());
                count += 1;
            }
        }
        let mut blocks = SackBlocks::default();
        let others = first[..count].iter().copied().filter(|&other| newest != Some(other));
        for (left, right) in newest.into_iter().chain(others).take(max) {
            blocks.push(left, right);
        }
        blocks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pelton_packet::FramePool;

    fn piece(pool: &mut FramePool, seq: u32, bytes: &[u8]) -> Piece {
        let mut frame = pool.take().unwrap();
        frame.fill(bytes);
        Piece { seq: Seq(seq), frame }
    }

    #[test]
    fn gaps_are_what_is_missing() {
        let mut pool = FramePool::new(8, 64);
        let mut all = Reassembly::default();
        all.insert(piece(&mut pool, 20, b"0123456789"));
        all.insert(piece(&mut pool, 40, b"0123456789"));
        let gap = |start, end| all.gap(Seq(start), Seq(end)).map(|gap| (gap.start.0, gap.end.0));
        assert_eq!(gap(10, 60), Some((10, 20)));
        assert_eq!(gap(20, 60), Some((30, 40)));
        assert_eq!(gap(25, 35), Some((30, 35)));
        assert_eq!(gap(45, 60), Some((50, 60)));
        assert_eq!(gap(22, 30), None);
        assert_eq!(gap(0, 5), Some((0, 5)));
    }

    // covers RFC 2018 4
    #[test]
    fn the_newest_block_comes_first_behind_many_others() {
        let mut pool = FramePool::new(16, 64);
        let mut all = Reassembly::default();
        for seq in [20, 30, 40, 50, 60, 70, 80, 90, 110, 120, 100] {
            all.insert(piece(&mut pool, seq, b"ab"));
        }
        assert_eq!(all.blocks(2).as_slice(), [(Seq(100), Seq(102)), (Seq(20), Seq(22))]);
        all.insert(piece(&mut pool, 102, b"ab"));
        assert_eq!(all.blocks(2).as_slice(), [(Seq(100), Seq(104)), (Seq(20), Seq(22))]);
    }

    // covers RFC 2018 4: the first block is the one with the newest segment.
    #[test]
    fn the_newest_block_comes_first() {
        let mut pool = FramePool::new(8, 64);
        let mut all = Reassembly::default();
        all.insert(piece(&mut pool, 20, b"ab"));
        all.insert(piece(&mut pool, 40, b"cd"));
        all.insert(piece(&mut pool, 22, b"ef"));
        assert_eq!(all.blocks(4).as_slice(), [(Seq(20), Seq(24)), (Seq(40), Seq(42))]);
        all.insert(piece(&mut pool, 60, b"gh"));
        assert_eq!(all.blocks(2).as_slice(), [(Seq(60), Seq(62)), (Seq(20), Seq(24))]);
        assert!(all.take(Seq(10)).is_none());
        assert_eq!(&all.take(Seq(20)).unwrap().frame[..], b"ab");
        assert_eq!(&all.take(Seq(22)).unwrap().frame[..], b"ef");
        assert_eq!(all.last(), Some(Seq(60)));
    }
}
