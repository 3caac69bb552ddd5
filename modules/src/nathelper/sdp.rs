//! Session descriptions (RFC 8866), as far as NAT concerns them: lines `c=` and `o=`.
//!
//! For: finding the addresses that a description names, and writing others in their place.
//! Not here: media, codecs.
//! Invariants: other lines, and other parts of a multipart body, pass untouched; linear in the
//! body. An address of zeros means "on hold" (RFC 3264 §8.4) and stays.

use std::net::IpAddr;

/// What `fix_nated_sdp` does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SdpFix {
    /// 1: adds `a=direction:active`.
    pub direction_active: bool,
    /// 2: writes the source's address into `c=` lines.
    pub connection: bool,
    /// 4: adds `a=nortpproxy:yes`.
    pub no_rtpproxy: bool,
    /// 8: writes the source's address into the `o=` line.
    pub origin: bool,
    /// Writes this address instead of the source's.
    pub address: Option<IpAddr>,
}

impl SdpFix {
    /// Reads Kamailio's mode; `None` with an unknown bit.
    pub const fn from_bits(bits: u8) -> Option<SdpFix> {
        if bits & !15 != 0 {
            return None;
        }
        Some(SdpFix {
            direction_active: bits & 1 != 0,
            connection: bits & 2 != 0,
            no_rtpproxy: bits & 4 != 0,
            origin: bits & 8 != 0,
            address: None,
        })
    }

    /// The body with these changes; `None` when nothing changes.
    pub(super) fn apply(self, content_type: &[u8], body: &[u8], source: IpAddr) -> Option<Vec<u8>> {
        let address = self.address.unwrap_or(source).to_canonical();
        let (mut fixed, mut within) = (Vec::with_capacity(body.len() + 64), false);
        let mut added = self.added(body);
        for line in lines(content_type, body) {
            if within && !line.is_sdp {
                // The description's part ends here.
                fixed.extend_from_slice(&std::mem::take(&mut added));
            }
            within = line.is_sdp;
            let wanted = match line.text {
                [b'c', b'=', ..] => self.connection,
                [b'o', b'=', ..] => self.origin,
                _ => false,
            };
            match address_of(line).filter(|(_, old)| wanted && !old.is_unspecified()) {
                Some((before, _)) => write_address(&mut fixed, before, address, line.end),
                None => {
                    fixed.extend_from_slice(line.text);
                    fixed.extend_from_slice(line.end);
                }
            }
        }
        if within {
            fixed.extend_from_slice(&added);
        }
        (fixed != body).then_some(fixed)
    }

    /// Lines that are to be added and are not there yet.
    fn added(self, body: &[u8]) -> Vec<u8> {
        let wanted = [
            (self.direction_active, &b"a=direction:active"[..]),
            (self.no_rtpproxy, &b"a=nortpproxy:yes"[..]),
        ];
        let mut added = Vec::new();
        for (_, text) in wanted.into_iter().filter(|(is_wanted, _)| *is_wanted) {
            let there = body.split(|byte| *byte == b'\n').any(|line| line.starts_with(text));
            if !there {
                added.extend_from_slice(text);
                added.extend_from_slice(b"\r\n");
            }
        }
        added
    }
}

fn write_address(out: &mut Vec<u8>, before: &[u8], address: IpAddr, end: &[u8]) {
    out.extend_from_slice(before);
    out.extend_from_slice(if address.is_ipv4() { b"IP4 " } else { b"IP6 " });
    out.extend_from_slice(address.to_string().as_bytes());
    out.extend_from_slice(end);
}

/// The addresses of all `c=` lines.
pub(super) fn connections<'b>(
    content_type: &'b [u8],
    body: &'b [u8],
) -> impl Iterator<Item = IpAddr> + 'b {
    let lines = lines(content_type, body).filter(|line| line.text.starts_with(b"c="));
    lines.filter_map(|line| address_of(line).map(|(_, address)| address))
}

/// One line and what ended it.
#[derive(Clone, Copy, Debug)]
struct Line<'b> {
    text: &'b [u8],
    end: &'b [u8],
    /// It belongs to a session description.
    is_sdp: bool,
}

/// The lines of a body, each told whether it belongs to a session description.
fn lines<'b>(content_type: &[u8], body: &'b [u8]) -> impl Iterator<Item = Line<'b>> + use<'b> {
    let starts = |text: &[u8], name: &[u8]| {
        text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
    };
    let multipart = starts(content_type, b"multipart/");
    let mut part = if starts(content_type, b"application/sdp") { Part::Sdp } else { Part::Other };
    body.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let end = line.get(text.len()..).unwrap_or_default();
        if multipart {
            part = match part {
                _ if text.starts_with(b"--") => Part::Head { sdp: false },
                Part::Head { sdp: true } if text.is_empty() => Part::Blank,
                Part::Head { sdp: false } if text.is_empty() => Part::Other,
                Part::Head { sdp } => Part::Head { sdp: sdp || is_sdp_type(text) },
                Part::Blank | Part::Sdp => Part::Sdp,
                Part::Other => Part::Other,
            };
        }
        Line { text, end, is_sdp: part == Part::Sdp }
    })
}

/// Where in a multipart body a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// Between a boundary and the empty line.
    Head {
        sdp: bool,
    },
    /// The empty line before a description.
    Blank,
    Sdp,
    Other,
}

fn is_sdp_type(line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return false };
    let Some((name, value)) = line.split_once(':') else { return false };
    let value = value.trim().to_ascii_lowercase();
    name.trim().eq_ignore_ascii_case("content-type") && value.starts_with("application/sdp")
}

/// The address at the end of a `c=` or `o=` line of a description, and what stands before its
/// network type.
fn address_of(line: Line<'_>) -> Option<(&[u8], IpAddr)> {
    let text = line.text;
    let is_one = line.is_sdp && matches!(text, [b'c' | b'o', b'=', ..]);
    let mut words = text.rsplitn(3, |byte| *byte == b' ');
    let (address, family) = (words.next()?, words.next()?);
    let before = words.next()?;
    let address = std::str::from_utf8(address).ok()?;
    // A multicast address has its ttl behind it.
    let address: IpAddr = address.split('/').next()?.parse().ok()?;
    let good = is_one && matches!(family, b"IP4" | b"IP6");
    let length = before.len() + 1;
    good.then(|| (text.get(..length).unwrap_or_default(), address))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SDP: &str = "v=0\r\no=a 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n\
                       m=audio 4000 RTP/AVP 0\r\nc=IN IP4 0.0.0.0\r\n";

    fn fix(bits: u8, content_type: &str, body: &str, source: &str) -> Option<String> {
        let fix = SdpFix::from_bits(bits).expect("a mode");
        let source = source.parse().expect("an address");
        let fixed = fix.apply(content_type.as_bytes(), body.as_bytes(), source)?;
        Some(String::from_utf8(fixed).expect("text"))
    }

    fn sdp(bits: u8, source: &str) -> Option<String> {
        fix(bits, "application/sdp", SDP, source)
    }

    #[test]
    fn connection_and_origin_are_rewritten_and_a_hold_stays() {
        let media = sdp(2, "203.0.113.7").expect("a change");
        assert_eq!(media, SDP.replace("c=IN IP4 10.0.0.5", "c=IN IP4 203.0.113.7"));
        let origin = sdp(8, "2001:db8::7").expect("a change");
        assert_eq!(origin, SDP.replace("IN IP4 10.0.0.5\r\ns", "IN IP6 2001:db8::7\r\ns"));
        assert_eq!(sdp(2, "10.0.0.5"), None);
        assert_eq!(sdp(0, "203.0.113.7"), None);
        assert_eq!(SdpFix::from_bits(16), None);
    }

    #[test]
    fn lines_are_added_once() {
        let once = sdp(5, "203.0.113.7").expect("a change");
        assert_eq!(once, format!("{SDP}a=direction:active\r\na=nortpproxy:yes\r\n"));
        assert_eq!(fix(5, "application/sdp", &once, "203.0.113.7"), None);
    }

    #[test]
    fn only_the_descriptions_part_of_a_multipart_body_is_touched() {
        let body = format!(
            "--b\r\nContent-Type: text/plain\r\n\r\nc=IN IP4 10.0.0.5\r\n\
             --b\r\ncontent-type: Application/SDP\r\n\r\n{SDP}--b--\r\n"
        );
        let fixed = fix(6, "Multipart/Mixed;boundary=b", &body, "203.0.113.7").expect("a change");
        let expected = body
            .replace("s=-\r\nc=IN IP4 10.0.0.5", "s=-\r\nc=IN IP4 203.0.113.7")
            .replace("--b--", "a=nortpproxy:yes\r\n--b--");
        assert_eq!(fixed, expected);
        assert_eq!(fix(6, "text/plain", &body, "203.0.113.7"), None);
    }

    #[test]
    fn broken_lines_pass() {
        let body = "c=\nc=IN\nc=IN IP4\r\nc=IN IP4 nowhere\r\nc=IN IP9 10.0.0.1\r\n\
                    x=IN IP4 10.0.0.1\nc=IN IP4 239.0.0.1/127";
        let all: Vec<IpAddr> = connections(b"application/sdp", body.as_bytes()).collect();
        assert_eq!(all, ["239.0.0.1".parse::<IpAddr>().expect("an address")]);
        let fixed = fix(2, "application/sdp", body, "203.0.113.7").expect("a change");
        assert_eq!(fixed, body.replace("239.0.0.1/127", "203.0.113.7"));
        assert!(connections(b"", SDP.as_bytes()).next().is_none());
    }
}
