//! What a connection needs only under loss, reordering or bulk, pooled. Used again with the memory it grew to.

use crate::cubic::Cubic;
use crate::flight::Flight;
use crate::prr::Prr;
use crate::reassembly::Reassembly;
use crate::seq::Seq;
use crate::undo::Undo;

/// The rare state of a connection.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    pub(crate) flight: Flight,
    pub(crate) reassembly: Reassembly,
    /// No round trip is shorter: what says so answers something that was sent before.
    pub(crate) min_rtt_us: u32,
    /// The shortest that was measured since this state was taken, if any.
    pub(crate) least_rtt_us: u32,
    /// A tail loss probe that was a retransmission: where it ends, and its time stamp, if it has one (RFC 8985 7.4).
    pub(crate) probe: Option<(Seq, Option<u32>)>,
    /// What was sent again since the loss was found reaches to here (HighRxt, as recovery by SACK calls it).
    pub(crate) repaired: Seq,
    /// A FIN that came before what it follows.
    pub(crate) fin: Option<Seq>,
    pub(crate) cubic: Cubic,
    /// The window is coming down: a loss is being repaired, or the path said that it is congested.
    pub(crate) prr: Option<Prr>,
    /// How to take the last reduction back.
    pub(crate) undo: Option<Undo>,
}

impl Cold {
    /// A round trip took so long.
    pub(crate) fn measured(&mut self, rtt_us: u32) {
        self.min_rtt_us = self.min_rtt_us.min(rtt_us.max(1));
        self.least_rtt_us = self.least_rtt_us.min(rtt_us.max(1));
    }
}

/// All of them.
pub(crate) struct ColdPool {
    all: Vec<Cold>,
    free: Vec<u32>,
    max: usize,
}

impl ColdPool {
    pub(crate) const fn new(max: u32) -> Self {
        Self { all: Vec::new(), free: Vec::new(), max: max as usize }
    }

    pub(crate) fn take(&mut self) -> Option<u32> {
        if let Some(index) = self.free.pop() {
            return Some(index);
        }
        (self.all.len() < self.max).then(|| {
            self.all.push(Cold { min_rtt_us: u32::MAX, least_rtt_us: u32::MAX, ..Cold::default() });
            self.all.len() as u32 - 1
        })
    }

    /// Gives one back that holds no frames any more.
    pub(crate) fn put(&mut self, index: u32) {
        let cold = &mut self.all[index as usize];
        debug_assert!(cold.reassembly.is_empty());
        cold.flight.clear();
        cold.min_rtt_us = u32::MAX;
        cold.least_rtt_us = u32::MAX;
        cold.probe = None;
        cold.fin = None;
        cold.cubic = Cubic::default();
        cold.prr = None;
        cold.undo = None;
        self.free.push(index);
    }

    #[inline]
    pub(crate) fn get(&self, index: u32) -> Option<&Cold> {
        self.all.get(index as usize)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut Cold> {
        self.all.get_mut(index as usize)
    }

    /// How many are in use.
    pub(crate) fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }
}
