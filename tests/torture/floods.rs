//! Floods: one Call-ID, one branch, CANCELs, ACKs, names: tables have bounds and say 503 beyond.
//!
//! For: base.md §23 on one shard; `transactions_max` and the resolver's bounds.
//! Not here: rates (they are a module's), several shards (`sim/`).

use crate::proxy::{CALLER, Mail, Proxy, answer_to, request};
use strowger_sip::engine::Settings;
use strowger_sip::message::HeaderName;
use strowger_sip::transport::ListenerId;

const MOST: usize = 500;

fn bounded() -> Proxy {
    Proxy::with(Settings { transactions_max: MOST, ..Settings::default() })
}

/// Another request of the same call.
fn with_branch(method: &str, branch: usize) -> Vec<u8> {
    let via = format!("SIP/2.0/UDP 192.0.2.77;branch=z9hG4bK{branch}");
    request(method, &[("Via", &via)], "")
}

fn in_bounds(proxy: &Proxy) {
    let census = proxy.bench.census();
    assert!(census.server_transactions <= MOST, "{census:?}");
    assert!(census.client_transactions <= MOST, "{census:?}");
    assert!(census.contexts <= MOST, "{census:?}");
}

#[test]
fn one_call_id_with_ever_new_branches_meets_503() {
    for method in ["INVITE", "MESSAGE"] {
        let mut proxy = bounded();
        let mut refused = 0;
        for branch in 0..4 * MOST {
            let sent = proxy.reaction(&with_branch(method, branch));
            in_bounds(&proxy);
            refused += sent.iter().filter(|mail| mail.status() == 503).count();
            for mail in sent.iter().filter(|mail| mail.status() == 503) {
                assert!(mail.message().header(HeaderName::RetryAfter).is_some());
            }
        }
        assert_eq!(refused, 3 * MOST, "{method}");
        assert_eq!(proxy.count("overload_refused"), 3 * MOST as u64, "{method}");
        proxy.rest();
        assert_eq!(proxy.reaction(&with_branch(method, 0))[0].status(), 0, "{method}");
    }
}

#[test]
fn calls_that_run_are_finished_while_new_ones_are_refused() {
    let mut proxy = bounded();
    let relayed = proxy.reaction(&with_branch("INVITE", 0)).remove(0);
    for branch in 1..2 * MOST {
        proxy.hear(&with_branch("INVITE", branch));
    }
    let sent = proxy.answer(&relayed, 200);
    assert_eq!(sent.iter().map(Mail::status).collect::<Vec<_>>(), [200]);
    proxy.rest();
}

#[test]
fn one_branch_again_and_again_is_one_transaction() {
    for method in ["INVITE", "MESSAGE"] {
        let mut proxy = bounded();
        let relayed = proxy.reaction(&with_branch(method, 7)).len();
        for _ in 0..10_000 {
            assert!(proxy.reaction(&with_branch(method, 7)).is_empty(), "{method}");
        }
        assert_eq!((relayed, proxy.bench.census().server_transactions), (1, 1), "{method}");
        assert_eq!(proxy.count("retransmissions_received"), 10_000, "{method}");
        proxy.rest();
    }
}

#[test]
fn one_branch_with_ever_new_call_ids_is_one_transaction() {
    let mut proxy = bounded();
    for call in 0..2_000 {
        let call_id = call.to_string();
        let sent = proxy.reaction(&request("MESSAGE", &[("Call-ID", &call_id)], ""));
        assert_eq!(sent.len(), usize::from(call == 0));
    }
    in_bounds(&proxy);
    proxy.rest();
}

#[test]
fn answers_to_nothing_leave_nothing() {
    let mut proxy = bounded();
    let relayed = proxy.reaction(&with_branch("MESSAGE", 1)).remove(0);
    let answer = answer_to(relayed.message(), 200);
    let text = String::from_utf8(answer).expect("text");
    let via = relayed.message().top_via().expect("a Via");
    let branch = String::from_utf8(via.branch().expect("a branch").to_vec()).expect("text");
    for index in 0..5_000 {
        let forged = text.replace(&branch, &format!("{}{index:016x}", &branch[..42]));
        assert!(proxy.hear(forged.as_bytes()).is_empty());
    }
    assert_eq!(proxy.bench.census().client_transactions, 1);
    proxy.rest();
}

#[test]
fn cancels_for_nothing_leave_nothing() {
    let mut proxy = bounded();
    for branch in 0..5_000 {
        assert_eq!(proxy.hear(&with_branch("CANCEL", branch))[0].status(), 481);
    }
    assert!(proxy.bench.census().is_empty());
}

#[test]
fn acks_for_nothing_leave_nothing() {
    let mut proxy = bounded();
    for branch in 0..5_000 {
        // Each is an ACK to a 2xx for all that this node can know, so it goes on (§16.11).
        assert_eq!(proxy.hear(&with_branch("ACK", branch)).len(), 1);
    }
    assert!(proxy.bench.census().is_empty());
}

#[test]
fn names_that_nobody_answers_for_fill_no_memory() {
    let mut proxy = bounded();
    let from = CALLER.parse().expect("an address");
    let mut questions = 0;
    for index in 0..4 * MOST {
        let text = String::from_utf8(with_branch("MESSAGE", index)).expect("text");
        let text = text.replacen("203.0.113.20", &format!("h{index}.example.com"), 1);
        proxy.bench.receive(ListenerId(0), from, text.as_bytes());
        questions += proxy.bench.take_questions().len();
        in_bounds(&proxy);
    }
    assert_eq!(questions, MOST);
    proxy.rest();
}
