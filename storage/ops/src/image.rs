//! The image of a session: what is kept of it besides subscriptions and queue. One versioned encoding serves
//! storage, takeover and upgrade.
//!
//! All integers are little-endian. A reader skips what a later version appended; a version it does not know
//! how to read is an error that names both.
//!
//! | offset | bytes | what |
//! |---:|---:|---|
//! | 0 | 1 | version of the encoding, 1 |
//! | 1 | 1 | kind: 0 client, 1 shared group |
//! | 2 | 2 | reserved, 0 |
//! | 4 | 4 | session expiry interval, seconds; `u32::MAX` for never |
//! | 8 | 8 | when the session ends, milliseconds since the epoch; `u64::MAX` while its client is connected or for never |
//! | 16 | 2 | length of the client id (of a group: `name/filter`) |
//! | 18 | n | client id, UTF-8 |
//! | 18+n | 1 | 1 if there is a will, else 0, and the image ends |
//! | … | 1 | will: QoS in bits 0 and 1, retain in bit 2 |
//! | … | 4 | will delay, seconds |
//! | … | 4 | message expiry of the will, seconds; `u32::MAX` for none |
//! | … | 8 | when the will is due, milliseconds since the epoch; `u64::MAX` while its client is connected |
//! | … | 2 + 4 + 4 | lengths of topic, forwarded properties, payload |
//! | … | … | topic, forwarded properties, payload |

use pelton_base::Wall;

/// The version written.
pub const VERSION: u8 = 1;

/// What a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionKind {
    /// A client's.
    Client,
    /// The queue of a shared group whose members are all away.
    Group,
}

/// A session without its subscriptions and queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionImage {
    /// Whose it is.
    pub kind: SessionKind,
    /// The client id; of a group its name and filter, `name/filter`.
    pub client_id: String,
    /// Session Expiry Interval in seconds.
    pub expiry_seconds: u32,
    /// When it ends.
    pub expires: Wall,
    /// Its will.
    pub will: Option<WillImage>,
}

/// A will.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WillImage {
    /// QoS.
    pub qos: u8,
    /// Retain flag.
    pub retain: bool,
    /// Will Delay Interval in seconds.
    pub delay_seconds: u32,
    /// Message Expiry Interval in seconds.
    pub expiry_seconds: Option<u32>,
    /// When it is due.
    pub due: Wall,
    /// Topic name.
    pub topic: Vec<u8>,
    /// Encoded properties that are passed on.
    pub forwarded: Vec<u8>,
    /// Payload.
    pub payload: Vec<u8>,
}

/// An image that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// It was written by a later version.
    Version {
        /// The version found.
        found: u8,
    },
    /// It ends too soon, or holds what cannot be.
    Damaged,
}

impl std::fmt::Display for ImageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version { found } => {
                write!(f, "the session image has version {found}, this program reads up to {VERSION}")
            }
            Self::Damaged => f.write_str("the session image is damaged"),
        }
    }
}

impl std::error::Error for ImageError {}

impl SessionImage {
    /// Appends the image.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(VERSION);
        out.push(match self.kind {
            SessionKind::Client => 0,
            SessionKind::Group => 1,
        });
        out.extend_from_slice(&[0, 0]);
        out.extend_from_slice(&self.expiry_seconds.to_le_bytes());
        out.extend_from_slice(&self.expires.0.to_le_bytes());
        out.extend_from_slice(&(self.client_id.len() as u16).to_le_bytes());
        out.extend_from_slice(self.client_id.as_bytes());
        let Some(will) = &self.will else {
            out.push(0);
            return;
        };
        out.push(1);
        out.push(will.qos | u8::from(will.retain) << 2);
        out.extend_from_slice(&will.delay_seconds.to_le_bytes());
        out.extend_from_slice(&will.expiry_seconds.unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&will.due.0.to_le_bytes());
        out.extend_from_slice(&(will.topic.len() as u16).to_le_bytes());
        out.extend_from_slice(&(will.forwarded.len() as u32).to_le_bytes());
        out.extend_from_slice(&(will.payload.len() as u32).to_le_bytes());
        out.extend_from_slice(&will.topic);
        out.extend_from_slice(&will.forwarded);
        out.extend_from_slice(&will.payload);
    }

    /// Reads an image.
    ///
    /// # Errors
    /// If it is of a later version, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, ImageError> {
        let mut rest = Rest(bytes);
        let version = rest.array::<1>()?[0];
        if version != VERSION {
            return Err(ImageError::Version { found: version });
        }
        let kind = match rest.array::<1>()?[0] {
            0 => SessionKind::Client,
            1 => SessionKind::Group,
            _ => return Err(ImageError::Damaged),
        };
        rest.array::<2>()?;
        let expiry_seconds = rest.u32()?;
        let expires = Wall(rest.u64()?);
        let len = rest.u16()?;
        let client_id =
            String::from_utf8(rest.take(usize::from(len))?.to_vec()).map_err(|_| ImageError::Damaged)?;
        let will = match rest.array::<1>()?[0] {
            0 => None,
            1 => Some(rest.will()?),
            _ => return Err(ImageError::Damaged),
        };
        Ok(Self { kind, client_id, expiry_seconds, expires, will })
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], ImageError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ImageError::Damaged)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ImageError> {
        self.take(N)?.try_into().map_err(|_| ImageError::Damaged)
    }

    fn u16(&mut self) -> Result<u16, ImageError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, ImageError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, ImageError> {
        self.array().map(u64::from_le_bytes)
    }

    fn will(&mut self) -> Result<WillImage, ImageError> {
        let flags = self.array::<1>()?[0];
        let delay_seconds = self.u32()?;
        let expiry = self.u32()?;
        let due = Wall(self.u64()?);
        let (topic, forwarded, payload) = (self.u16()?, self.u32()?, self.u32()?);
        if flags & 3 == 3 || flags > 7 {
            return Err(ImageError::Damaged);
        }
        Ok(WillImage {
            qos: flags & 3,
            retain: flags & 4 != 0,
            delay_seconds,
            expiry_seconds: (expiry != u32::MAX).then_some(expiry),
            due,
            topic: self.take(usize::from(topic))?.to_vec(),
            forwarded: self.take(forwarded as usize)?.to_vec(),
            payload: self.take(payload as usize)?.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn image() -> impl Strategy<Value = SessionImage> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
        let will = (
            0..3u8,
            any::<bool>(),
            any::<u32>(),
            proptest::option::of(0..u32::MAX),
            any::<u64>(),
            bytes(),
            bytes(),
            bytes(),
        )
            .prop_map(
                |(qos, retain, delay_seconds, expiry_seconds, due, topic, forwarded, payload)| WillImage {
                    qos,
                    retain,
                    delay_seconds,
                    expiry_seconds,
                    due: Wall(due),
                    topic,
                    forwarded,
                    payload,
                },
            );
        (any::<bool>(), ".{0,12}", any::<u32>(), any::<u64>(), proptest::option::of(will)).prop_map(
            |(group, client_id, expiry_seconds, expires, will)| SessionImage {
                kind: if group { SessionKind::Group } else { SessionKind::Client },
                client_id,
                expiry_seconds,
                expires: Wall(expires),
                will,
            },
        )
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(image in image()) {
            let mut bytes = Vec::new();
            image.encode(&mut bytes);
            prop_assert_eq!(SessionImage::decode(&bytes), Ok(image));
            for len in 0..bytes.len() {
                prop_assert_eq!(SessionImage::decode(&bytes[..len]), Err(ImageError::Damaged), "cut at {}", len);
            }
        }

        #[test]
        fn anything_is_an_image_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = SessionImage::decode(&bytes);
        }
    }

    #[test]
    fn a_later_version_is_named() {
        assert_eq!(SessionImage::decode(&[9]), Err(ImageError::Version { found: 9 }));
    }
}
