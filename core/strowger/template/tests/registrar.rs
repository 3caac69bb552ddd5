//! A residential registrar: proof, contacts, calls in and out, and a crash in between.

use my_proxy::registrar::Residential;
use strowger::prelude::*;
use strowger::testing::{Proxy, Storage};

fn proxy() -> Proxy<Residential> {
    Proxy::new(include_str!("../config/registrar.toml"), Residential::from_config)
        .storage(Storage::Memory)
        .party("Alice", "198.51.100.10:5060")
        .party_behind_nat("Bob", "10.0.0.5:5060", "198.51.100.20:40000")
        .party("Network", "203.0.113.50:5060")
        .party("Watcher", "203.0.113.60:5060")
}

/// Bob registers; the server is told, and answers as it pleases.
fn register(proxy: &mut Proxy<Residential>) {
    let request = |branch: &str, proof: &str| {
        format!(
            "
            Bob -> REGISTER sip:example.com
                Via: SIP/2.0/UDP 10.0.0.5;rport;branch=z9hG4bK-{branch}
                From: <sip:bob@example.com>;tag=r
                To: <sip:bob@example.com>
                {proof}
            "
        )
    };
    proxy.play(&request("first", "X-First: 1")).play("Bob <- 401");
    let proof = proxy.credentials("Bob", "bob", "hidden");
    proxy.play(&request("second", &proof)).play("Bob <- 200");
    proxy.wait(ms(200)); // [pua_reginfo] publish_delay
    let told = proxy.take("Watcher").expect("a PUBLISH");
    assert!(told.starts_with("PUBLISH ") && told.contains("sip:bob@10.0.0.5"), "{told}");
    assert!(told.contains("state=\"active\""), "{told}");
    proxy.play("Watcher -> 200\n  SIP-ETag: one\n  Expires: 7200");
}

/// What Alice sends to begin a call, with the header that is given.
fn invite(to: &str, proof: &str) -> String {
    format!(
        "Alice -> INVITE {to}\n  From: <sip:alice@example.com>;tag=$Alice.tag\n  \
         {proof}\nAlice <- 100\n"
    )
}

/// Alice begins a call and proves who she is.
fn invites(proxy: &mut Proxy<Residential>, to: &str) {
    proxy.play("Alice -> OPTIONS sip:example.com\nAlice <- 200");
    proxy.play(&(invite(to, "X-First: 1") + "Alice <- 407\nAlice -> ACK"));
    let proof = proxy.credentials("Alice", "alice", "secret");
    proxy.play(&invite(to, &proof));
}

#[test]
fn a_user_behind_a_router_is_called() {
    let mut proxy = proxy();
    register(&mut proxy);
    invites(&mut proxy, "sip:bob@example.com");
    proxy.play(
        "
        Bob <- INVITE sip:bob@10.0.0.5
            lacks Proxy-Authorization
        Bob -> 180
        Alice <- 180
        Bob -> 200
        Alice <- 200
        Alice -> ACK
        Bob <- ACK sip:bob@10.0.0.5
        Alice -> BYE
        Bob <- BYE sip:bob@10.0.0.5
        Bob -> 200
        Alice <- 200
        ",
    );
}

#[test]
fn contacts_outlive_a_crash() {
    let mut proxy = proxy();
    register(&mut proxy);
    assert_eq!(proxy.rows("location").len(), 1);
    proxy.crash();
    invites(&mut proxy, "sip:bob@example.com");
    proxy.play("Bob <- INVITE\nBob -> 486\nBob <- ACK\nAlice <- 486\nAlice -> ACK");
}

#[test]
fn contacts_end_when_they_are_not_refreshed() {
    let mut proxy = proxy();
    register(&mut proxy);
    proxy.skip(secs(700));
    invites(&mut proxy, "sip:bob@example.com");
    proxy.play("Alice <- 404\nAlice -> ACK");
    assert_eq!(proxy.rows("location").len(), 0);
}

#[test]
fn nobody_registers_or_calls_as_somebody_else() {
    let mut proxy = proxy();
    proxy.play("Alice -> REGISTER sip:example.com\n  To: <sip:bob@example.com>\nAlice <- 401");
    let proof = proxy.credentials("Alice", "alice", "secret");
    proxy.play(&format!(
        "Alice -> REGISTER sip:example.com\n  To: <sip:bob@example.com>\n  {proof}\nAlice <- 403"
    ));
    proxy.end();
}

#[test]
fn numbers_go_to_the_network_and_come_from_it() {
    let mut proxy = proxy();
    register(&mut proxy);
    invites(&mut proxy, "sip:+49301234@example.com");
    proxy.play(
        "
        Network <- INVITE sip:+49301234@example.com
        Network -> 503
        Network <- ACK
        Alice <- 500                        # one gateway's 503 is not this node's (§16.7)
        Alice -> ACK
        Network -> INVITE sip:bob@example.com
        Network <- 100
        Bob <- INVITE sip:bob@10.0.0.5
        Bob -> 486
        Bob <- ACK
        Network <- 486
        Network -> ACK
        ",
    );
}
