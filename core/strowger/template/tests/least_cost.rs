//! Least-cost trunks: who may call, over whom, and how many at a time.

use my_proxy::least_cost::LeastCost;
use strowger::prelude::*;
use strowger::testing::Proxy;

fn proxy() -> Proxy<LeastCost> {
    Proxy::new(include_str!("../config/least_cost.toml"), LeastCost::from_config)
        .party("Acme", "198.51.100.10:5060")
        .party("Globex", "198.51.100.20:5060")
        .party("Stranger", "192.0.2.66:5060")
        .party("CheapA", "203.0.113.11:5060")
        .party("CheapB", "203.0.113.12:5060")
        .party("Dear", "203.0.113.21:5060")
}

/// A call from a customer that the cheapest gateway takes.
fn call(proxy: &mut Proxy<LeastCost>, customer: &str, label: &str) {
    proxy.play(&format!(
        "
        {customer} -> INVITE sip:+49891234@example.com call {label}
        {customer} <- 100
        CheapA <- INVITE sip:+49891234@example.com
        CheapA -> 200
        {customer} <- 200
        {customer} -> ACK
        CheapA <- ACK
        "
    ));
}

#[test]
fn the_cheapest_carrier_gets_the_call_and_stays_in_it() {
    let mut proxy = proxy();
    call(&mut proxy, "Acme", "one");
    proxy.play(
        "
        wait 1h
        CheapA -> BYE
        Acme <- BYE
        Acme -> 200
        CheapA <- 200
        ",
    );
    proxy.end();
}

#[test]
fn gateways_and_then_carriers_are_tried_in_order() {
    let mut proxy = proxy();
    proxy.play(
        "
        Acme -> INVITE sip:0049-89-1234@example.com
        Acme <- 100
        CheapA <- INVITE
        CheapA -> 503
        CheapA <- ACK
        CheapB <- INVITE
        skip to 5s                          # it says nothing for fr_timer
        Dear <- INVITE sip:0049-89-1234@example.com
        Dear -> 180
        Acme <- 180
        Dear -> 200
        Acme <- 200
        Acme -> ACK
        Dear <- ACK
        ",
    );
    assert_eq!(proxy.count("dispatcher_failovers"), 2);
}

#[test]
fn a_busy_callee_is_no_reason_for_another_carrier() {
    let mut proxy = proxy();
    proxy.play(
        "
        Acme -> INVITE sip:+49891234@example.com
        Acme <- 100
        CheapA <- INVITE
        CheapA -> 486
        CheapA <- ACK
        Acme <- 486
        Acme -> ACK
        ",
    );
    proxy.end();
}

#[test]
fn the_longest_prefix_counts() {
    let mut proxy = proxy();
    proxy.play(
        "
        Globex -> INVITE sip:+49301234@example.com
        Globex <- 100
        Dear <- INVITE
        Dear -> 486
        Dear <- ACK
        Globex <- 486
        Globex -> ACK
        Globex -> INVITE sip:+331234@example.com
        Globex <- 100
        Globex <- 404
        Globex -> ACK
        ",
    );
    proxy.end();
}

#[test]
fn a_customer_has_so_many_calls_and_each_end_makes_room() {
    for shards in [1, 3] {
        let mut proxy = proxy().shards(shards);
        call(&mut proxy, "Acme", "one");
        call(&mut proxy, "Acme", "two");
        proxy.play(
            "
            Acme -> INVITE sip:+49891234@example.com
            Acme <- 100
            Acme <- 486 \"Too many calls\"
            Acme -> ACK
            ",
        );
        // Another customer's calls are another customer's.
        call(&mut proxy, "Globex", "other");
        proxy.play(
            "
            Acme -> BYE call one
            CheapA <- BYE
            CheapA -> 200
            Acme <- 200
            ",
        );
        proxy.skip(secs(10));
        call(&mut proxy, "Acme", "three");
    }
}

#[test]
fn nobody_else_calls() {
    let mut proxy = proxy();
    proxy.play(
        "
        Stranger -> INVITE sip:+49891234@example.com
        Stranger <- 100
        Stranger <- 403
        Stranger -> ACK
        Stranger -> REGISTER sip:192.0.2.1
        Stranger <- 405
        ",
    );
    proxy.end();
}
