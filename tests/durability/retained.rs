//! What a client that comes anew finds retained.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pelton_mqtt::Version;

use crate::link::{Got, Link, Lost};
use crate::publisher::{Extent, RETAINED, retained_payload};

/// Each topic holds what was acknowledged last, or something that was sent after it. All has come when nothing came
/// for `quiet`.
pub(crate) fn check(address: SocketAddr, extent: &Extent, quiet: Duration) -> Result<(), Lost> {
    let acknowledged = extent.acknowledged.load(Ordering::SeqCst);
    let (mut link, _) = Link::open(address, Version::V5, "looks", true)?;
    link.subscribe(&["retained/+"])?;
    let mut found: HashMap<String, Vec<u8>> = HashMap::new();
    let mut first = HashMap::new();
    while let Some(got) = link.next(quiet)? {
        let Got::Publish { topic, payload, id, .. } = got else { panic!("{got:?}") };
        if let Some(id) = id {
            link.acknowledge(pelton_mqtt::PacketType::PubAck, id)?;
        }
        first.entry(topic.clone()).or_insert_with(|| payload.clone());
        found.insert(topic, payload);
        if found.len() == RETAINED as usize {
            break;
        }
    }
    let sent = extent.sent.load(Ordering::SeqCst);
    for topic in 0..RETAINED {
        // The last message of this topic that was acknowledged, and those after it.
        let last = (1..=acknowledged).rev().take(RETAINED as usize).find(|n| n % RETAINED == topic);
        let later = (acknowledged + 1..=sent).filter(|n| n % RETAINED == topic);
        let allowed: Vec<_> = match last {
            Some(last) => std::iter::once(last).chain(later).map(retained_payload).collect(),
            None => std::iter::once(None).chain(later.map(retained_payload)).collect(),
        };
        let is = first.get(&format!("retained/{topic}")).filter(|payload| !payload.is_empty()).cloned();
        // What comes first may be a live message, a clearing one too.
        assert!(
            allowed.contains(&is),
            "retained/{topic} holds {is:?}; {acknowledged} messages are acknowledged, {sent} sent"
        );
    }
    Ok(())
}
