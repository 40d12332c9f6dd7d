//! A broker that does wrong on purpose, and counts what it did.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pelton_mqtt::{Frame, MAX_PACKET, Packet, QoS, Version, decode_from_client, frame};

/// What is done with a message, by its number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Deed {
    #[default]
    Deliver,
    Drop,
    Twice,
    /// Delivered behind the next one.
    Swap,
    /// A message of somebody else is put before it.
    Foreign,
    /// Everything waits so long before it.
    Wait(Duration),
    /// The subscriber is cut off.
    Cut,
}

#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connack: u8,
    pub(crate) suback: u8,
    pub(crate) deed: fn(u64) -> Deed,
    /// Whether a publish of QoS 1 with such a number is acknowledged.
    pub(crate) acknowledges: fn(u64) -> bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { connack: 0, suback: 0, deed: |_| Deed::Deliver, acknowledges: |_| true }
    }
}

/// What was done.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) dropped: AtomicU64,
    pub(crate) twice: AtomicU64,
    /// Delivered late.
    pub(crate) swapped: AtomicU64,
    pub(crate) foreign: AtomicU64,
    pub(crate) unacknowledged: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Serves on a port of the system's choice until the process ends.
pub(crate) fn start(plan: Plan) -> (u16, Arc<Done>) {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let port = listener.local_addr().unwrap().port();
    let done = Arc::new(Done::default());
    let counters = done.clone();
    // The only subscriber: whoever subscribed last.
    let subscriber = Arc::new(Mutex::new(None));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let client = Client { plan, done: counters.clone(), subscriber: subscriber.clone(), held: None };
            std::thread::spawn(move || client.serve(stream));
        }
    });
    (port, done)
}

struct Client {
    plan: Plan,
    done: Arc<Done>,
    subscriber: Arc<Mutex<Option<TcpStream>>>,
    /// A message that waits for the next one.
    held: Option<Vec<u8>>,
}

impl Client {
    fn serve(mut self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 65_536];
        while let Ok(count) = stream.read(&mut buffer) {
            if count == 0 {
                return;
            }
            bytes.extend_from_slice(&buffer[..count]);
            while let Ok(Frame::Complete { total, .. }) = frame(&bytes, MAX_PACKET) {
                let packet: Vec<u8> = bytes.drain(..total).collect();
                self.take(&packet, &mut stream);
            }
        }
    }

    fn take(&mut self, packet: &[u8], stream: &mut TcpStream) {
        let Ok(Frame::Complete { header, .. }) = frame(packet, MAX_PACKET) else { return };
        let body = &packet[usize::from(header.header_len)..];
        match decode_from_client(Version::V311, header, body).expect("the generator sends MQTT") {
            Packet::Connect(_) => stream.write_all(&[0x20, 2, 0, self.plan.connack]).unwrap(),
            Packet::Subscribe(_) => {
                *self.subscriber.lock().unwrap() = Some(stream.try_clone().unwrap());
                stream.write_all(&[0x90, 3, 0, 1, self.plan.suback]).unwrap();
            }
            Packet::Publish(publish) => {
                let number = u64::from_be_bytes(publish.payload[8..16].try_into().unwrap());
                if let (QoS::AtLeastOnce, Some(id)) = (publish.qos, publish.packet_id) {
                    let [high, low] = id.to_be_bytes();
                    if (self.plan.acknowledges)(number) {
                        stream.write_all(&[0x40, 2, high, low]).unwrap();
                    } else {
                        self.done.unacknowledged.fetch_add(1, Ordering::Relaxed);
                    }
                }
                self.publish(packet, number);
            }
            _ => {}
        }
    }

    fn publish(&mut self, packet: &[u8], number: u64) {
        let add = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let mut out = Vec::new();
        let held = self.held.take();
        match (self.plan.deed)(number) {
            Deed::Deliver => out.extend_from_slice(packet),
            Deed::Drop => _ = add(&self.done.dropped),
            Deed::Twice => {
                out.extend_from_slice(packet);
                out.extend_from_slice(packet);
                add(&self.done.twice);
            }
            Deed::Swap => self.held = Some(packet.to_vec()),
            Deed::Foreign => {
                out.extend_from_slice(&[0x30, 8, 0, 1, b't', b'h', b'e', b'l', b'l', b'o']);
                out.extend_from_slice(packet);
                add(&self.done.foreign);
            }
            Deed::Wait(time) => {
                std::thread::sleep(time);
                out.extend_from_slice(packet);
            }
            Deed::Cut => {
                if let Some(subscriber) = self.subscriber.lock().unwrap().take() {
                    let _ = subscriber.shutdown(std::net::Shutdown::Both);
                }
            }
        }
        if let Some(held) = held {
            out.extend_from_slice(&held);
            add(&self.done.swapped);
        }
        if let Some(subscriber) = self.subscriber.lock().unwrap().as_mut() {
            // It may have gone.
            let _ = subscriber.write_all(&out);
        }
    }
}
