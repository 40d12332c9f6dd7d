//! An address prefix, as lists have them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A prefix: an address and how many of its bits count. The others are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

/// What is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a prefix: an address, and how many of its bits count, like 192.0.2.0/24 or 2001:db8::/32")]
pub struct PrefixError;

impl Prefix {
    /// The prefix of `bits` bits that `address` is in.
    ///
    /// # Errors
    /// If an address of that family has fewer bits.
    pub fn new(address: IpAddr, bits: u8) -> Result<Self, PrefixError> {
        let keep = |all: u8| if bits <= all { Ok(u32::from(all - bits)) } else { Err(PrefixError) };
        let address = match address {
            IpAddr::V4(v4) => {
                let rest = keep(32)?;
                IpAddr::V4((u32::MAX.checked_shl(rest).unwrap_or(0) & u32::from(v4)).into())
            }
            IpAddr::V6(v6) => {
                let rest = keep(128)?;
                IpAddr::V6((u128::MAX.checked_shl(rest).unwrap_or(0) & u128::from(v6)).into())
            }
        };
        Ok(Self { address, bits })
    }

    /// Its first address.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits count.
    pub const fn bits(&self) -> u8 {
        self.bits
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self { address, bits: if address.is_ipv4() { 32 } else { 128 } }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        match text.split_once('/') {
            Some((address, bits)) => {
                Self::new(address.parse().map_err(|_| PrefixError)?, bits.parse().map_err(|_| PrefixError)?)
            }
            None => text.parse().map(IpAddr::into).map_err(|_| PrefixError),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_that_do_not_count_are_zero() {
        for (text, shown) in [
            ("10.1.2.3/8", "10.0.0.0/8"),
            ("10.1.2.3", "10.1.2.3/32"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("2001:db8:1::1/32", "2001:db8::/32"),
            ("2001:db8::1", "2001:db8::1/128"),
            ("2001:db8::1/0", "::/0"),
        ] {
            assert_eq!(text.parse::<Prefix>().unwrap().to_string(), shown);
        }
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "10.0.0.0/8/8"] {
            assert_eq!(text.parse::<Prefix>(), Err(PrefixError), "{text}");
        }
    }
}
