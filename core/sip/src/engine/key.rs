//! The key of a server transaction: RFC 3261 §17.2.3.
//!
//! For: matching retransmissions, ACK and CANCEL to their transaction by one look-up.
//! Invariants: a key is a keyed 128-bit hash, so nobody outside can make two requests collide, and
//! a table needs no copy of what was hashed.

use crate::message::{Message, Method, Via, ViaParams};
use crate::proxy::branch::MAGIC;
use crate::proxy::rules::Rules;
use crate::transaction::TransactionKey;
use siphasher::sip128::{Hasher128, SipHasher13};
use std::hash::Hasher;

/// A request's top Via, and what of it was read already.
pub(crate) type TopVia<'a> = (&'a Via<'a>, &'a ViaParams<'a>);

/// The key under which a request's transaction is found. `method` is the request's own, or INVITE
/// to find the transaction that an ACK or CANCEL is about.
pub(crate) fn of(
    message: Message<'_>,
    (via, known): TopVia<'_>,
    method: Method<'_>,
    (secret, rules): ((u64, u64), &Rules),
) -> TransactionKey {
    let mut hasher = SipHasher13::new_with_keys(secret.0, secret.1);
    add(&mut hasher, method.as_bytes());
    match known.branch() {
        Some(branch) if branch.len() > MAGIC.len() && has_magic(branch) => {
            add(&mut hasher, branch);
            add_lower_case(&mut hasher, via.sent_by);
            if rules.callid_matching {
                add(&mut hasher, message.call_id().unwrap_or(&[]));
            }
        }
        Some(_) | None => add_rfc2543(&mut hasher, message, via, rules),
    }
    TransactionKey(hasher.finish128().as_u128())
}

/// §8.1.1.7; the cookie is compared as the grammar compares tokens, without case.
fn has_magic(branch: &[u8]) -> bool {
    branch.get(..MAGIC.len()).is_some_and(|start| start.eq_ignore_ascii_case(MAGIC))
}

/// Request-URI, Call-ID, CSeq number, From tag and top Via. The To tag is left out: the INVITE had
/// none when it came, its ACK has.
fn add_rfc2543(hasher: &mut SipHasher13, message: Message<'_>, via: &Via<'_>, rules: &Rules) {
    if rules.ruri_matching {
        add(hasher, message.request_uri().unwrap_or(&[]));
    }
    add(hasher, message.call_id().unwrap_or(&[]));
    add(hasher, message.from_tag().unwrap_or(&[]));
    hasher.write_u32(message.cseq().map_or(0, |cseq| cseq.number));
    if rules.via1_matching {
        add(hasher, via.raw);
    }
}

fn add(hasher: &mut SipHasher13, text: &[u8]) {
    hasher.write(text);
    hasher.write_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
}

/// Host names have no case.
fn add_lower_case(hasher: &mut SipHasher13, text: &[u8]) {
    let mut lower = [0u8; 64];
    for chunk in text.chunks(64) {
        for (to, from) in lower.iter_mut().zip(chunk) {
            *to = from.to_ascii_lowercase();
        }
        hasher.write(lower.get(..chunk.len()).unwrap_or(chunk));
    }
    hasher.write_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
}
