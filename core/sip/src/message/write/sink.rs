//! Writing header lines: the only place that puts a line end into a message.
//!
//! For: the writers of this folder.
//! Not here: which lines a message gets.
//! Invariants: whatever a value holds, one call of `line` adds exactly one line; lines that were
//! received clean are copied in runs, untouched.

use std::io::Write;
use std::net::IpAddr;
use std::ops::Range;

use memchr::{memchr, memchr3};

use super::super::head::Entry;
use super::super::line::is_escaped;
use super::super::list::Params;
use super::super::message::{Field, Message};
use super::super::octet::{is_above, is_lws, slice, trim_end};

/// Copies parts of a received message and adds lines between them.
pub(super) struct Sink<'a, 'o> {
    message: Message<'a>,
    out: &'o mut Vec<u8>,
    /// Received octets that are to be copied but were not yet.
    run: Range<usize>,
}

impl<'a, 'o> Sink<'a, 'o> {
    pub(super) fn new(message: Message<'a>, out: &'o mut Vec<u8>) -> Sink<'a, 'o> {
        Sink { message, out, run: 0..0 }
    }

    /// Adds octets as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.flush();
        self.out.extend_from_slice(bytes);
    }

    /// Adds octets that must not end a line.
    pub(super) fn clean(&mut self, bytes: &[u8]) {
        self.flush();
        push_clean(self.out, bytes);
    }

    /// Adds a number.
    pub(super) fn decimal(&mut self, number: usize) {
        self.flush();
        push_decimal(self.out, number);
    }

    /// Adds a header line.
    pub(super) fn line(&mut self, name: &[u8], value: &[u8]) {
        self.flush();
        debug_assert!(name.iter().all(u8::is_ascii_graphic), "a header's name is a token");
        self.out.extend_from_slice(name);
        self.out.extend_from_slice(b": ");
        push_clean(self.out, value);
        self.out.extend_from_slice(b"\r\n");
    }

    /// Copies a received line; one with folds or faults becomes a single clean line.
    #[inline]
    pub(super) fn keep(&mut self, entry: &Entry) {
        if entry.unclean {
            return self.keep_unclean(entry);
        }
        let (start, end) = (entry.start as usize, entry.end as usize);
        if self.run.end == start {
            self.run.end = end;
        } else {
            self.flush();
            self.run = start..end;
        }
    }

    fn keep_unclean(&mut self, entry: &Entry) {
        let Field { name_bytes, value, .. } = self.message.field(entry);
        self.line(name_bytes, value);
    }

    /// Adds a Via line whose first value (`top`) tells where it was received from (RFC 3261
    /// §18.2.1, RFC 3581 §4); `rest` are the values behind it.
    pub(super) fn stamped_via(&mut self, top: &[u8], rest: &[u8], stamp: Stamp) {
        self.raw(b"Via: ");
        let is_clean = is_above::<b'\r'>(top);
        let semicolon = memchr(b';', top).unwrap_or(top.len());
        push_clean(self.out, trim_end(slice(top, 0, semicolon)));
        for param in Params::new(slice(top, semicolon + 1, top.len())) {
            let is_stamped = (stamp.received.is_some() && param.is(b"received"))
                || (stamp.rport.is_some() && param.is(b"rport"));
            if is_stamped {
                continue;
            }
            self.out.push(b';');
            if is_clean {
                self.out.extend_from_slice(param.name);
            } else {
                push_clean(self.out, param.name);
            }
            if let Some(value) = param.value {
                self.out.push(b'=');
                if is_clean {
                    self.out.extend_from_slice(value);
                } else {
                    push_clean(self.out, value);
                }
            }
        }
        if let Some(received) = stamp.received {
            self.out.extend_from_slice(b";received=");
            push_ip(self.out, received);
        }
        if let Some(rport) = stamp.rport {
            self.out.extend_from_slice(b";rport=");
            push_decimal(self.out, usize::from(rport));
        }
        if !rest.is_empty() {
            self.out.extend_from_slice(b", ");
            push_clean(self.out, rest);
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// Ends the head with the right Content-Length, and adds the body.
    pub(super) fn finish(mut self, body: &[u8]) {
        self.raw(b"Content-Length: ");
        self.decimal(body.len());
        self.raw(b"\r\n\r\n");
        self.raw(body);
    }

    #[inline]
    fn flush(&mut self) {
        if !self.run.is_empty() {
            let run = slice(self.message.bytes(), self.run.start, self.run.end);
            self.out.extend_from_slice(run);
            self.run = 0..0;
        }
    }
}

/// What is added to the topmost Via that was received.
#[derive(Clone, Copy)]
pub(super) struct Stamp {
    pub(super) received: Option<IpAddr>,
    pub(super) rport: Option<u16>,
}

/// Adds a value on one line.
#[inline]
pub(super) fn push_clean(out: &mut Vec<u8>, bytes: &[u8]) {
    if is_above::<b'\r'>(bytes) || memchr3(b'\r', b'\n', 0, bytes).is_none() {
        out.extend_from_slice(bytes);
    } else {
        push_unfolded(out, bytes);
    }
}

/// Each fold, with the white space around it, becomes one blank (§7.3.1), and so does every octet
/// that another element could take for a line's or a string's end.
fn push_unfolded(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    let mut at = 0;
    while let Some(byte) = bytes.get(at).copied() {
        at += 1;
        match byte {
            b'\r' | b'\n' => {
                while out.len() > start && matches!(out.last(), Some(b' ' | b'\t')) {
                    out.pop();
                }
                while bytes.get(at).copied().is_some_and(is_lws) {
                    at += 1;
                }
                out.push(b' ');
            }
            0 if !is_escaped(bytes, at - 1) => out.push(b' '),
            _ => out.push(byte),
        }
    }
}

/// Adds a number.
pub(super) fn push_decimal(out: &mut Vec<u8>, mut number: usize) {
    if let Ok(digit) = u8::try_from(number)
        && digit < 10
    {
        return out.push(b'0' + digit);
    }
    let mut digits = [b'0'; 20];
    let mut length = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
        length += 1;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(slice(&digits, digits.len() - length, digits.len()));
}

fn push_ip(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            for (octet, end) in [(a, &b"."[..]), (b, b"."), (c, b"."), (d, b"")] {
                push_decimal(out, usize::from(octet));
                out.extend_from_slice(end);
            }
        }
        // Without brackets, as the grammar of via-received has it. Writing to a Vec cannot fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unfolded(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_clean(&mut out, bytes);
        out
    }

    #[test]
    fn a_fold_becomes_one_blank() {
        assert_eq!(unfolded(b"a \t\r\n \t b\r\n\tc"), b"a b c");
    }

    #[test]
    fn nothing_that_ends_a_line_survives() {
        assert_eq!(unfolded(b"a\rb\nc\r\r\nd\0e"), b"a b c d e");
        assert_eq!(unfolded(b"\"\\\0\"\r\n x"), b"\"\\\0\" x");
    }

    #[test]
    fn numbers_have_no_leading_zero() {
        for (number, text) in [(0, "0"), (7, "7"), (100, "100"), (65_535, "65535")] {
            let mut out = Vec::new();
            push_decimal(&mut out, number);
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn addresses_are_written_without_brackets() {
        let mut out = Vec::new();
        push_ip(&mut out, IpAddr::from([192, 0, 2, 10]));
        push_ip(&mut out, IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]));
        assert_eq!(out, b"192.0.2.102001:db8::1");
    }
}
