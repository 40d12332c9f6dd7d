//! Questions to the kernel by netlink(7) that have one answer, and the attributes of answers.

use std::io;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with,
};

/// Whom in the kernel a question is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Links, addresses, routes.
    Route,
    /// Families that have a name each.
    Generic,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The kind of message.
    pub kind: u16,
    /// What is behind its header.
    pub body: Vec<u8>,
}

/// Bytes of `nlmsghdr`, of an attribute's header.
const HEADER: usize = 16;
const ATTRIBUTE: usize = 4;
/// An answer is no longer.
const ANSWER_BYTES_MAX: usize = 32 * 1024;

/// Asks, and waits for the answer.
///
/// # Errors
/// What the kernel says: it has the socket refused, or answers with an error.
pub fn ask(protocol: Protocol, kind: u16, body: &[u8]) -> io::Result<Answer> {
    const NLM_F_REQUEST: u16 = 1;
    let protocol = match protocol {
        // The protocol that is none.
        Protocol::Route => None,
        Protocol::Generic => Some(netlink::GENERIC),
    };
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend_from_slice(&((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(body);
    send(&socket, &request, SendFlags::empty())?;
    let mut reply = vec![0; ANSWER_BYTES_MAX];
    let (bytes, _) = recv(&socket, &mut reply[..], RecvFlags::empty())?;
    reply.truncate(bytes);
    answer(reply)
}

fn answer(mut reply: Vec<u8>) -> io::Result<Answer> {
    const NLMSG_ERROR: u16 = 2;
    let kind = half(&reply, 4).ok_or_else(cut)?;
    if kind == NLMSG_ERROR {
        let code = word(&reply, HEADER).ok_or_else(cut)? as i32;
        return Err(io::Error::from_raw_os_error(-code));
    }
    if reply.len() < HEADER {
        return Err(cut());
    }
    Ok(Answer { kind, body: reply.split_off(HEADER) })
}

/// Appends an attribute to a question.
pub fn put(request: &mut Vec<u8>, kind: u16, value: &[u8]) {
    request.extend_from_slice(&((ATTRIBUTE + value.len()) as u16).to_ne_bytes());
    request.extend_from_slice(&kind.to_ne_bytes());
    request.extend_from_slice(value);
    request.resize(request.len().next_multiple_of(4), 0);
}

/// The value of the first attribute of a kind.
pub fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(half(attributes, 0)?);
        // The highest bits say that it is nested, and its byte order.
        let kind = half(attributes, 2)? & 0x3fff;
        let value = attributes.get(ATTRIBUTE..length)?;
        if kind == wanted {
            return Some(value);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// Two bytes of a value, in the host's order.
pub fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

/// Four bytes of a value, in the host's order.
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

/// The error of an answer that is not whole.
pub fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "an answer of netlink is cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_a_header_or_is_an_error() {
        let mut error = vec![0; HEADER];
        error[4] = 2;
        error.extend_from_slice(&(-19_i32).to_ne_bytes());
        assert_eq!(answer(error.clone()).unwrap_err().raw_os_error(), Some(19));
        for length in 0..error.len() {
            assert_eq!(answer(error[..length].to_vec()).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        error[4] = 16;
        assert_eq!(answer(error[..HEADER].to_vec()).unwrap(), Answer { kind: 16, body: Vec::new() });
        assert!(answer(error[..HEADER - 1].to_vec()).is_err());
    }

    #[test]
    fn attributes_are_found_behind_others_of_odd_length() {
        let mut attributes = Vec::new();
        put(&mut attributes, 7, b"odd");
        // A nested one.
        put(&mut attributes, 9 | 0x8000, &5_u32.to_ne_bytes());
        assert_eq!(attribute(&attributes, 7), Some(&b"odd"[..]));
        assert_eq!(attribute(&attributes, 9).and_then(|value| word(value, 0)), Some(5));
        assert_eq!(attribute(&attributes, 8), None);
        for length in 0..attributes.len() {
            assert_eq!(attribute(&attributes[..length], 9), None, "{length} bytes");
        }
    }
}
