//! Which batches can go into a transaction together.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::{Batch, Group};

/// Which of `batches` (in the order they came) can take effect now: the most there are such that batches of one
/// shard go in order, and a group goes with all its parts or not at all.
pub fn whole(batches: &[Batch]) -> Vec<bool> {
    let groups: Vec<Vec<Group>> = batches
        .iter()
        .map(|batch| {
            let mut groups: Vec<Group> = batch.ops.iter().filter_map(|op| op.group).collect();
            groups.sort_unstable_by_key(|group| group.id);
            groups.dedup_by_key(|group| group.id);
            groups
        })
        .collect();
    let mut can = vec![true; batches.len()];
    // Strike out what cannot go until nothing changes: what is struck out takes the batches behind it and the
    // other parts of its groups along.
    loop {
        let mut parts: BTreeMap<u64, u16> = BTreeMap::new();
        for (groups, _) in groups.iter().zip(&can).filter(|(_, can)| **can) {
            for group in groups {
                *parts.entry(group.id).or_default() += 1;
            }
        }
        let mut behind: BTreeSet<u16> = BTreeSet::new();
        let mut struck = false;
        for (i, batch) in batches.iter().enumerate() {
            let complete = groups[i].iter().all(|group| parts.get(&group.id) == Some(&group.parts));
            if can[i] && (!complete || behind.contains(&batch.shard)) {
                can[i] = false;
                struck = true;
            }
            if !can[i] {
                behind.insert(batch.shard);
            }
        }
        if !struck {
            return can;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::OpKind;

    fn batch(shard: u16, groups: &[(u64, u16)]) -> Batch {
        let mut batch = Batch { shard, ..Batch::default() };
        batch.push(OpKind::Nothing, None, &[]);
        for &(id, parts) in groups {
            batch.push(OpKind::Nothing, Some(Group { id, parts }), &[]);
        }
        batch
    }

    #[test]
    fn a_part_waits_for_the_others_and_holds_its_shard() {
        let mut batches = vec![batch(0, &[(1, 2)]), batch(0, &[]), batch(1, &[])];
        assert_eq!(whole(&batches), [false, false, true]);
        batches.push(batch(1, &[(1, 2)]));
        assert_eq!(whole(&batches), [true; 4]);
    }

    #[test]
    fn groups_that_cross_go_together() {
        let batches =
            vec![batch(0, &[(1, 2)]), batch(0, &[(2, 2)]), batch(1, &[(2, 2)]), batch(1, &[(1, 2)])];
        assert_eq!(whole(&batches), [true; 4]);
        assert_eq!(whole(&batches[..3]), [false; 3], "the first waits, and what goes with what is behind it");
    }
}
