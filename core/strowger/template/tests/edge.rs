//! An edge: the account is kept registered, calls out are proved, calls in are known.

use my_proxy::edge::Edge;
use strowger::testing::Proxy;

const CHALLENGE: &str = "Digest realm=\"provider\", nonce=\"n1\", qop=\"auth\", algorithm=MD5";

/// An edge whose account is registered.
fn proxy() -> Proxy<Edge> {
    let mut proxy = Proxy::new(include_str!("../config/edge.toml"), Edge::from_config)
        .party("Pbx", "10.0.0.2:5060")
        .party("Provider", "203.0.113.30:5060")
        .party("Stranger", "198.51.100.66:5060");
    proxy.play(&format!(
        "
        Provider <- REGISTER sip:203.0.113.30
            lacks Authorization
            To: <sip:4930123456@203.0.113.30>
            Contact: $contact
        Provider -> 401
            WWW-Authenticate: {CHALLENGE}
        Provider <- REGISTER
            has Authorization
        Provider -> 200
            Contact: $contact;expires=600
        "
    ));
    proxy
}

#[test]
fn the_account_is_kept_registered() {
    let mut proxy = proxy();
    proxy.skip(strowger::prelude::secs(660));
    assert!(proxy.count("uac_registers_sent") > 2, "it is refreshed before it ends");
    assert!(proxy.count("uac_reg_successes") == 1);
}

#[test]
fn a_call_out_is_proved_and_the_telephone_system_sees_nothing_of_it() {
    let mut proxy = proxy();
    proxy.play(&format!(
        "
        Pbx -> INVITE sip:+4940777@192.0.2.1
        Pbx <- 100
        Provider <- INVITE sip:+4940777@203.0.113.30
            lacks Proxy-Authorization
            From: <sip:4930123456@203.0.113.30>;tag=$Pbx.tag
            CSeq: 1 INVITE
        Provider -> 407
            Proxy-Authenticate: {CHALLENGE}
        Provider <- ACK
        Provider <- INVITE sip:+4940777@203.0.113.30
            has Proxy-Authorization
            CSeq: 2 INVITE
        Provider -> 200
        Pbx <- 200
            From: <sip:pbx@10.0.0.2>;tag=$Pbx.tag
            CSeq: 1 INVITE
        Pbx -> ACK
        Provider <- ACK
            CSeq: 2 ACK
        wait 1m
        Pbx -> BYE
        Provider <- BYE
            From: <sip:4930123456@203.0.113.30>;tag=$Pbx.tag
            CSeq: 3 BYE
        Provider -> 407
            Proxy-Authenticate: {CHALLENGE}
        Provider <- BYE
            has Proxy-Authorization
            CSeq: 4 BYE
        Provider -> 200
        Pbx <- 200
            CSeq: 2 BYE
        "
    ));
}

#[test]
fn a_wrong_password_is_the_providers_answer() {
    let mut proxy = proxy();
    proxy.play(&format!(
        "
        Pbx -> INVITE sip:+4940777@192.0.2.1
        Pbx <- 100
        Provider <- INVITE
        Provider -> 407
            Proxy-Authenticate: {CHALLENGE}
        Provider <- ACK
        Provider <- INVITE
        Provider -> 407
            Proxy-Authenticate: {CHALLENGE}
        Provider <- ACK
        Pbx <- 407
        Pbx -> ACK
        "
    ));
}

#[test]
fn a_call_in_by_the_account_reaches_its_user() {
    let mut proxy = proxy();
    proxy.play(
        "
        Provider -> INVITE sip:berlin@192.0.2.1
        Provider <- 100
        Pbx <- INVITE sip:reception@pbx.example.com
        Pbx -> 486
        Pbx <- ACK
        Provider <- 486
        Provider -> ACK
        Stranger -> INVITE sip:+4940777@192.0.2.1
        Stranger <- 100
        Stranger <- 404
        Stranger -> ACK
        ",
    );
}
