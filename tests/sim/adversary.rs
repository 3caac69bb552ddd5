//! An adversary that sends what it likes among the honest traffic.
//!
//! For: broken, mutated, forged and random datagrams made from what was seen on the wire.
//! Not here: what the node must keep to in spite of it (`judge.rs`).
//! Invariants: a blind adversary never repeats a Call-ID, a branch or a cookie that it did not make
//! up, so that nothing it sends can belong to an honest transaction.

use crate::habits::once_in;
use crate::mail::{Mail, octets, text};
use std::net::SocketAddr;
use strowger_sip::entropy::Entropy;

/// How much the adversary knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// There is none.
    Absent,
    /// It knows how messages look, and guesses what makes them belong to a transaction.
    Blind,
    /// It sees every message: it can answer, cancel and end any call.
    OnPath,
}

/// Where a blind adversary sends from.
pub(crate) fn address() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 5060))
}

/// A message made from one that was seen.
pub(crate) fn forge(entropy: &mut Entropy, seen: &Mail, knowledge: Knowledge) -> Mail {
    let mut bytes = match knowledge {
        _ if once_in(entropy, 20) => noise(entropy),
        Knowledge::Absent | Knowledge::Blind => disguised(entropy, seen),
        Knowledge::OnPath => seen.bytes.clone(),
    };
    for _ in 0..entropy.below(4) {
        mutate(entropy, &mut bytes);
    }
    Mail { hostile: true, ..Mail::new(bytes) }
}

fn noise(entropy: &mut Entropy) -> Vec<u8> {
    let length = entropy.below(300);
    (0..length).map(|_| byte(entropy)).collect()
}

fn byte(entropy: &mut Entropy) -> u8 {
    u8::try_from(entropy.below(256)).unwrap_or(0)
}

/// The message with every identifier made up: branches, cookies, Call-ID.
fn disguised(entropy: &mut Entropy, seen: &Mail) -> Vec<u8> {
    let Some(read) = &seen.read else { return noise(entropy) };
    let mut text = text(&seen.bytes);
    let call_id = format!("{:x}", entropy.next_u64());
    // A response keeps its Call-ID at times: then it reaches the shard whose branch it guesses.
    if read.status.is_none() || once_in(entropy, 2) {
        text = text.replace(&read.call_id, &call_id);
    }
    for branch in &read.branches {
        text = text.replace(branch.as_str(), &guess(entropy, branch));
    }
    octets(&text)
}

/// A branch like this one: with another cookie, of another slot, or wholly other.
fn guess(entropy: &mut Entropy, branch: &str) -> String {
    let cookie = format!("{:016x}", entropy.next_u64());
    let rest = branch.strip_prefix("z9hG4bK").unwrap_or("");
    match (rest.get(..1), rest.len()) {
        // Ours: `T<slot>.<loop digest>.<cookie>` and `S<digest>.<loop digest>`.
        (Some("T"), 51) if once_in(entropy, 2) => format!("z9hG4bK{}{cookie}", &rest[..35]),
        (Some("T"), 51) => {
            let slot = entropy.below(8);
            format!("z9hG4bKT{slot:016x}{}{cookie}", &rest[17..35])
        }
        (Some("S"), 34) => format!("z9hG4bKS{cookie}{}", &rest[17..]),
        _ => format!("z9hG4bK{cookie}"),
    }
}

fn mutate(entropy: &mut Entropy, bytes: &mut Vec<u8>) {
    let place = usize::try_from(entropy.below(bytes.len() as u64)).unwrap_or(0);
    match entropy.below(8) {
        0 | 1 => {
            let bit = 1u8 << entropy.below(8);
            bytes.get_mut(place).into_iter().for_each(|byte| *byte ^= bit);
        }
        2 => bytes.truncate(place),
        3 => repeat_line(entropy, bytes),
        4 => drop_line(entropy, bytes),
        5 => {
            let more: Vec<u8> = (0..entropy.below(40)).map(|_| byte(entropy)).collect();
            bytes.splice(place..place, more);
        }
        6 => {
            let many = usize::try_from(entropy.below(2000)).unwrap_or(0);
            let one = byte(entropy);
            bytes.splice(place..place, std::iter::repeat_n(one, many));
        }
        _ => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte = 0),
    }
}

fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

fn repeat_line(entropy: &mut Entropy, bytes: &mut Vec<u8>) {
    let mut lines = lines(bytes);
    let from = usize::try_from(entropy.below(lines.len() as u64)).unwrap_or(0);
    let to = usize::try_from(entropy.below(lines.len() as u64)).unwrap_or(0);
    if let Some(line) = lines.get(from).cloned() {
        lines.insert(to, line);
    }
    *bytes = lines.concat();
}

fn drop_line(entropy: &mut Entropy, bytes: &mut Vec<u8>) {
    let mut lines = lines(bytes);
    let place = usize::try_from(entropy.below(lines.len() as u64)).unwrap_or(0);
    if place < lines.len() {
        lines.remove(place);
    }
    *bytes = lines.concat();
}
