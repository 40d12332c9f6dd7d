//! How a script is read.

use pelton_tcp::Seq;
use pelton_tcp::segment::{Flags, Options, SackBlocks};

/// A segment as a script writes it: sequence numbers are relative to the initial ones of each side.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) flags: Flags,
    pub(crate) seq: u32,
    pub(crate) len: usize,
    pub(crate) ack: Option<u32>,
    pub(crate) window: Option<u16>,
    /// `None`: whatever they are.
    pub(crate) options: Option<Options>,
    /// The echo is our last time stamp, or as much before it as the options say.
    pub(crate) echo_last: bool,
    /// The ECN field of its packet.
    pub(crate) ecn: u8,
    /// Bytes of this range are not those of the stream.
    pub(crate) forged: Option<(u32, u32)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A setting of the stack.
    Set(String, u64),
    /// A handshake with these options in the SYN.
    Established(Written),
    /// After so many milliseconds this comes in.
    In(u64, Written),
    /// The same, in one turn with what comes in next.
    With(u64, Written),
    /// After so many milliseconds, not sooner, this goes out.
    Out(u64, Written),
    /// Nothing goes out for so long.
    Quiet(u64),
    /// The application writes so many bytes.
    Send(usize),
    /// It closes.
    Close(String),
    /// It asks for keep-alive.
    KeepAlive,
    /// From here on it does not use what it gets.
    Hold,
    /// It uses so many bytes.
    Consume(usize),
    /// It wants nothing for now; it wants more again.
    Pause,
    Resume,
    /// So many frames are free.
    Frames(usize),
    /// It has got so many bytes in all.
    Got(usize),
    /// The connection ended like this.
    Ended(String),
    /// The connection has not ended.
    Open,
    /// Nothing is in use.
    Nothing,
    /// An ICMP message: the path carries so much; about the segment at this sequence number.
    TooBig(u32, u32),
    /// Another: type and code, the word behind its checksum; about that segment.
    Icmp(u8, u8, u32, u32),
    /// A connection is opened from here.
    Connect,
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) step: Step,
}

/// The cases of a file: each begins with `== name`; what is before the first holds for all.
pub(crate) fn cases(text: &str) -> Vec<(String, Vec<Line>)> {
    let mut common = Vec::new();
    let mut cases: Vec<(String, Vec<Line>)> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(name) = line.strip_prefix("==") {
            cases.push((name.trim().to_owned(), common.clone()));
        } else if !line.is_empty() {
            let step = step(line).unwrap_or_else(|| panic!("line {}: {line}", at + 1));
            let line = Line { number: at + 1, step };
            match cases.last_mut() {
                Some((_, lines)) => lines.push(line),
                None => common.push(line),
            }
        }
    }
    if cases.is_empty() {
        cases.push(("whole".to_owned(), common));
    }
    cases
}

fn step(line: &str) -> Option<Step> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let number = || rest.trim().parse::<u64>().ok();
    Some(match word {
        "set" => {
            let (name, value) = rest.split_once('=')?;
            Step::Set(name.trim().to_owned(), value.trim().parse().ok()?)
        }
        "established" => match rest.strip_prefix("ecn") {
            Some(rest) => Step::Established(written(&format!("SEW 0:0(0) win 65535 {rest}"))?),
            None => Step::Established(written(&format!("S 0:0(0) win 65535 {rest}"))?),
        },
        "quiet" => Step::Quiet(number()?),
        "send" => Step::Send(number()? as usize),
        "close" => Step::Close(rest.trim().to_owned()),
        "keep-alive" => Step::KeepAlive,
        "hold" => Step::Hold,
        "consume" => Step::Consume(number()? as usize),
        "pause" => Step::Pause,
        "resume" => Step::Resume,
        "frames" => Step::Frames(number()? as usize),
        "got" => Step::Got(number()? as usize),
        "ended" => Step::Ended(rest.trim().to_owned()),
        "open" => Step::Open,
        "nothing" => Step::Nothing,
        "connect" => Step::Connect,
        "icmp" => {
            let (kind, seq) = rest.split_once(" about ")?;
            let mut words = kind.split_whitespace();
            let mut word = || words.next()?.parse::<u32>().ok();
            Step::Icmp(word()? as u8, word()? as u8, word()?, seq.trim().parse().ok()?)
        }
        "too-big" => {
            let (mtu, seq) = rest.split_once(" about ")?;
            Step::TooBig(mtu.trim().parse().ok()?, seq.trim().parse().ok()?)
        }
        _ => {
            let ms = word.strip_prefix('+')?.parse().ok()?;
            let (direction, rest) = rest.trim().split_once(' ')?;
            match direction {
                "<" => Step::In(ms, written(rest)?),
                "<+" => Step::With(ms, written(rest)?),
                ">" => Step::Out(ms, written(rest)?),
                _ => return None,
            }
        }
    })
}

fn written(text: &str) -> Option<Written> {
    let (head, options) = match text.split_once('<') {
        Some((head, options)) => (head, Some(options.strip_suffix('>')?)),
        None => (text, None),
    };
    let mut words = head.split_whitespace();
    let mut flags = Flags::default();
    for letter in words.next()?.chars() {
        flags = flags.and(match letter {
            'S' => Flags::SYN,
            'F' => Flags::FIN,
            'R' => Flags::RST,
            'P' => Flags::PSH,
            '.' => Flags::ACK,
            'E' => Flags::ECE,
            'W' => Flags::CWR,
            '0' => Flags::default(),
            _ => return None,
        });
    }
    let range = words.next()?;
    let (seq, rest) = range.split_once(':')?;
    let (_, len) = rest.strip_suffix(')')?.split_once('(')?;
    let mut written = Written {
        flags,
        seq: seq.parse().ok()?,
        len: len.parse().ok()?,
        ack: None,
        window: None,
        options: None,
        echo_last: false,
        forged: None,
        ecn: 0,
    };
    while let Some(word) = words.next() {
        match word {
            "ect" => written.ecn = 2,
            "ce" => written.ecn = 3,
            "ack" => written.ack = Some(words.next()?.parse().ok()?),
            "forged" => {
                let (start, end) = words.next()?.split_once(':')?;
                written.forged = Some((start.parse().ok()?, end.parse().ok()?));
            }
            "win" => written.window = Some(words.next()?.parse().ok()?),
            _ => return None,
        }
    }
    if let Some(list) = options {
        let mut options = Options::default();
        for option in list.split(',').map(str::trim).filter(|option| !option.is_empty()) {
            let mut words = option.split_whitespace();
            match words.next()? {
                "mss" => options.mss = Some(words.next()?.parse().ok()?),
                "wscale" => options.window_scale = Some(words.next()?.parse().ok()?),
                "sackOK" => options.sack_permitted = true,
                "ts" => {
                    let value = words.next()?;
                    let echo = words.next()?;
                    // `!-n`: so many milliseconds before our last one.
                    let before = echo.strip_prefix('!');
                    written.echo_last = before.is_some();
                    let echo = before.map_or(echo, |before| before.trim_start_matches('-'));
                    options.timestamps = Some((value.parse().unwrap_or(0), echo.parse().unwrap_or(0)));
                }
                "sack" => {
                    let mut blocks = SackBlocks::default();
                    for block in words {
                        let (left, right) = block.split_once(':')?;
                        blocks.push(Seq(left.parse().ok()?), Seq(right.parse().ok()?));
                    }
                    options.sack = blocks;
                }
                _ => return None,
            }
        }
        written.options = Some(options);
    }
    Some(written)
}
