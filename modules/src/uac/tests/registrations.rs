//! Registrations: uac.md (h) A15 to A19, A22, A23, and what else may happen to one.

use super::auth::record;
use super::registrar::{PROVIDER, node};
use super::rig::{A, begin, header, number};
use strowger_sip::engine::Input;
use strowger_sip::resolver::{Place, Resolution};
use strowger_sip::settings::Value;
use strowger_sip::time::{ms, secs};
use strowger_sip::transport::Transport;

fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

const REALM: &str = "WWW-Authenticate: Digest realm=\"sip.provider.example\", nonce=";

/// A15, A16.
#[test]
fn a_challenged_registration_comes_online() {
    let mut node = node(vec![record(&[])], |_| ());
    let first = node.register(secs(1));
    assert!(first.starts_with("REGISTER sip:sip.provider.example SIP/2.0"), "{first}");
    assert_eq!(header(&first, "To"), "<sip:trunk01@sip.provider.example>");
    assert!(header(&first, "From").starts_with("<sip:trunk01@sip.provider.example>;tag="));
    assert_eq!(header(&first, "Contact"), "<sip:u1@192.0.2.1:5060>");
    assert_eq!(header(&first, "Expires"), "360");
    assert_eq!((node.number("u1", "status"), node.number("u1", "flags")), (-2, 18));
    let sent = node.answer(&first, "401 Unauthorized", &format!("{REALM}\"n-100\"\n"));
    let [second] = &sent[..] else { panic!("{sent:#?}") };
    for name in ["Call-ID", "From", "To", "Contact", "Expires"] {
        assert_eq!(header(second, name), header(&first, name), "{name}");
    }
    assert_eq!(number(second), number(&first) + 1);
    let proof = header(second, "Authorization");
    assert!(proof.contains("uri=\"sip:sip.provider.example\""), "{proof}");
    assert!(proof.contains("response=\"93113cc9a32c21523eb995f795306e30\""), "{proof}");
    assert_eq!(node.number("u1", "flags"), 26);
    assert!(node.grant(second, 360).is_empty());
    assert_eq!((node.number("u1", "status"), node.number("u1", "flags")), (1, 20));
    let left = node.number("u1", "diff_expires");
    assert!(left > 0 && left <= 360, "{left}");
    assert_eq!((node.metric("uac_regtotal"), node.metric("uac_regactive")), (1, 1));
    assert_eq!(*node.log.borrow(), ["u1 Ongoing 0", "u1 Online 200"]);
    // A16: taken out, and unregistered.
    node.command("uac.reg_disable", &["l_uuid", "u1"]).expect("done");
    let last = node.register(ms(1));
    assert_eq!(header(&last, "Expires"), "0");
    node.answer(&last, "200 OK", "");
    assert_eq!(node.number("u1", "status"), -3);
    let fault = node.command("uac.reg_info", &["l_uuid", "u2"]).expect_err("unknown");
    assert_eq!(fault.code, 404);
}

#[test]
fn a_refresh_comes_in_time_and_uses_the_nonce_again() {
    let mut node = node(vec![record(&[])], |settings| settings.reg.keep_call_id = true);
    let first = node.register(secs(1));
    let challenge = format!("{REALM}\"n\", qop=\"auth\"\n");
    let sent = node.answer(&first, "401 Unauthorized", &challenge);
    node.grant(&sent[0], 360);
    assert!(node.registers(secs(179)).is_empty());
    let refresh = node.register(secs(360 - 179 - 93));
    assert_eq!(header(&refresh, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(number(&refresh), number(&first) + 2);
    assert!(header(&refresh, "Authorization").contains("nc=00000002"), "{refresh}");
    // The binding holds while it is refreshed, and a forgotten nonce is no refusal.
    assert_eq!(node.number("u1", "status"), 1);
    let challenge = format!("{REALM}\"m\", qop=\"auth\"\n");
    let sent = node.answer(&refresh, "401 Unauthorized", &challenge);
    node.grant(&sent[0], 360);
    assert_eq!(node.metric("uac_reg_failures"), 0);
    assert_eq!(node.metric("uac_reg_successes"), 2);
}

/// A17.
#[test]
fn a_lifetime_that_is_too_short_is_raised() {
    let mut node = node(vec![record(&[])], |_| ());
    let first = node.register(secs(1));
    let sent = node.answer(&first, "423 Interval Too Brief", "Min-Expires: 1800\n");
    assert_eq!(header(&sent[0], "Expires"), "1800");
    assert_eq!((node.number("u1", "failures"), node.number("u1", "expires")), (0, 1800));
    let sent = node.answer(&sent[0], "423 Interval Too Brief", "");
    assert_eq!(header(&sent[0], "Expires"), "3600");
    // A registrar that is never content.
    let sent = node.answer(&sent[0], "423 Interval Too Brief", "Min-Expires: 4294967295\n");
    assert!(sent.is_empty(), "{sent:#?}");
    assert_eq!(node.number("u1", "failures"), 1);
}

/// A18.
#[test]
fn a_registrar_that_asks_to_wait_is_left_alone() {
    let mut node = node(vec![record(&[])], |settings| settings.reg.retry_interval = secs(2));
    let mut present = node.register(secs(1));
    for _ in 0..3 {
        node.answer(&present, "503 Service Unavailable", "Retry-After: 20\n");
        assert!(node.registers(secs(20) - ms(1)).is_empty());
        present = node.register(secs(20));
    }
    assert_eq!(node.number("u1", "flags") & 1, 0);
}

#[test]
fn silence_is_not_the_end() {
    let mut node = node(vec![record(&[])], |_| ());
    let first = node.register(secs(1));
    let mut again = node.registers(secs(60));
    // The first one was repeated in vain.
    again.retain(|one| *one != first);
    let [again] = &again[..] else { panic!("{again:#?}") };
    assert_ne!(header(again, "Call-ID"), header(&first, "Call-ID"));
    assert_eq!(node.metric("uac_reg_timeouts"), 1);
    node.grant(again, 360);
    assert_eq!(node.number("u1", "status"), 1);
}

#[test]
fn a_failure_disables_where_there_is_to_be_no_retry() {
    let mut node = node(vec![record(&[])], |settings| settings.reg.retry_interval = secs(0));
    let first = node.register(secs(1));
    node.answer(&first, "403 Forbidden", "");
    assert_eq!((node.number("u1", "status"), node.number("u1", "flags")), (-3, 17));
    assert!(node.registers(secs(7200)).is_empty());
    node.command("uac.reg_enable", &["r_username", "trunk01"]).expect("done");
    node.register(secs(2));
}

#[test]
fn wrong_credentials_wait_longer() {
    let mut node = node(vec![record(&[])], |_| ());
    let first = node.register(secs(1));
    let sent = node.answer(&first, "401 Unauthorized", &format!("{REALM}\"1\"\n"));
    let none = node.answer(&sent[0], "401 Unauthorized", &format!("{REALM}\"2\"\n"));
    assert!(none.is_empty(), "{none:#?}");
    assert_eq!(node.metric("uac_reg_auth_failures"), 1);
    assert!(node.registers(secs(119)).is_empty());
    assert_eq!(node.registers(secs(125)).len(), 1);
}

#[test]
fn a_nonce_that_is_stale_each_time_ends_in_failure() {
    let mut node = node(vec![record(&[])], |_| ());
    let mut present = node.register(secs(1));
    let mut rounds = 0;
    loop {
        let challenge = format!("{REALM}\"n{rounds}\", stale=true\n");
        let sent = node.answer(&present, "401 Unauthorized", &challenge);
        let Some(next) = sent.first() else { break };
        assert_eq!(number(next), number(&present) + 1);
        (present, rounds) = (next.clone(), rounds + 1);
        assert!(rounds < 10, "for ever");
    }
    assert_eq!(rounds, 4);
    assert_eq!(node.metric("uac_reg_auth_failures"), 1);
}

/// A19.
#[test]
fn a_contact_with_a_user_of_its_own() {
    let mut node = node(vec![record(&[("contact_user", text("trunkA"))])], |_| ());
    let first = node.register(secs(1));
    assert_eq!(header(&first, "Contact"), "<sip:trunkA@192.0.2.1:5060;line=u1>");
    node.grant(&first, 60);
    assert_eq!(node.number("u1", "status"), 1);
    for target in
        ["sip:trunkA@192.0.2.1:5060;line=u1", "sip:trunkA@192.0.2.1", "sip:u1@x", "sip:o@x"]
    {
        let call = begin("INVITE", 1, "<sip:x@y>").replace("sip:bob@biloxi.example.com", target);
        let call = call.replace("c1", &format!("c{}", target.len()));
        node.receive(A, &call.replace("bKINVITE", &format!("bK{}", target.len())));
    }
    let log = node.log.borrow();
    let seen: Vec<&str> = log.iter().map(String::as_str).filter(|it| !it.contains(' ')).collect();
    let bob = "sip:bob@local.example";
    assert_eq!(seen, [bob, bob, bob, ""]);
}

/// A22.
#[test]
fn unregistered_and_registered_again() {
    let mut node = node(vec![record(&[])], |_| ());
    let first = node.register(secs(1));
    node.grant(&first, 360);
    node.command("uac.reg_unregister", &["l_uuid", "u1"]).expect("done");
    let gone = node.register(ms(1));
    assert_eq!(header(&gone, "Expires"), "0");
    node.answer(&gone, "200 OK", "");
    assert_eq!((node.number("u1", "status"), node.metric("uac_reg_failures")), (-99, 0));
    assert!(node.registers(secs(7200)).is_empty());
    node.command("uac.reg_register", &["l_uuid", "u1"]).expect("done");
    assert_eq!(header(&node.register(ms(1)), "Expires"), "360");
}

/// A23.
#[test]
fn a_reload_changes_what_has_changed() {
    let other = || record(&[("l_uuid", text("u2")), ("r_username", text("trunk02"))]);
    let mut node = node(Vec::new(), |_| ());
    node.read(vec![record(&[]), other()]);
    for register in node.registers(secs(1)) {
        node.grant(&register, 3600);
    }
    assert_eq!(node.metric("uac_regactive"), 2);
    assert!(node.read(vec![record(&[]), other()]).is_empty());
    let sent = node.read(vec![record(&[])]);
    let [gone] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!(
        (header(gone, "Expires"), header(gone, "Contact")),
        ("0".into(), "<sip:u2@192.0.2.1:5060>".into())
    );
    node.answer(gone, "200 OK", "");
    assert_eq!((node.metric("uac_regtotal"), node.metric("uac_reg_leaving")), (1, 0));
    // Another password: the same binding, at once.
    let sent = node.read(vec![record(&[("auth_password", text("pw2"))])]);
    assert_eq!(header(&sent[0], "Expires"), "360");
    node.grant(&sent[0], 3600);
    // Another account: the old one is taken back, the new one follows.
    let moved = record(&[("r_username", text("trunk09"))]);
    let mut sent = node.read(vec![moved]);
    sent.extend(node.registers(ms(100)));
    let said: Vec<(String, String)> =
        sent.iter().map(|one| (header(one, "To"), header(one, "Expires"))).collect();
    let pair = |user: &str, expires: &str| {
        (format!("<sip:{user}@sip.provider.example>"), expires.to_owned())
    };
    assert_eq!(said, [pair("trunk01", "0"), pair("trunk09", "360")]);
}

#[test]
fn what_is_gone_is_gone_even_if_its_registrar_is_silent() {
    let mut node = node(vec![record(&[])], |_| ());
    let first = node.register(secs(1));
    node.grant(&first, 86_400);
    node.command("uac.reg_remove", &["u1"]).expect("done");
    assert_eq!(node.metric("uac_reg_leaving"), 1);
    node.registers(secs(600));
    assert_eq!((node.metric("uac_regtotal"), node.metric("uac_reg_leaving")), (0, 0));
}

#[test]
fn the_next_address_of_a_name_is_tried_at_once() {
    let mut node = node(vec![record(&[("auth_proxy", text("sip:provider.example"))])], |_| ());
    assert!(node.registers(secs(1)).is_empty());
    let [question] = &node.bench.take_questions()[..] else { panic!("one question") };
    let place = |address: &str, priority| Place {
        transport: Transport::Udp,
        address: address.parse().expect("an address"),
        priority,
        weight: 0,
    };
    let places = vec![place("192.0.2.73:5060", 1), place(PROVIDER, 2)];
    node.bench.input(Input::Resolved(question.clone(), Resolution::Found(places, secs(60))));
    let first = node.register(secs(1));
    let sent = node.answer(&first, "503 Service Unavailable", "Retry-After: 300\n");
    assert_eq!(number(&sent[0]), number(&first) + 1);
    node.grant(&sent[0], 60);
    assert_eq!((node.number("u1", "status"), node.metric("uac_reg_failovers")), (1, 1));
}

#[test]
fn a_name_without_an_address_is_tried_later() {
    let mut node = node(vec![record(&[("auth_proxy", text("sip:provider.example"))])], |_| ());
    node.registers(secs(30));
    assert_eq!(node.number("u1", "status"), -99);
    assert!(node.metric("uac_reg_failures") >= 1);
    assert_eq!(node.metric("uac_reg_waiting"), 1);
}

#[test]
fn switching_off_stops_and_on_goes_on() {
    let mut node = node(vec![record(&[])], |settings| settings.reg.active = false);
    assert!(node.registers(secs(600)).is_empty());
    let modes = node.command("uac.reg_active", &["1"]).expect("done");
    assert_eq!(modes, r#"{"omode":0,"nmode":1}"#);
    let first = node.register(secs(1));
    node.grant(&first, 360);
    node.command("uac.reg_active", &["0"]).expect("done");
    assert!(node.registers(secs(359)).is_empty());
    assert_eq!(node.number("u1", "status"), 1);
    node.registers(secs(2));
    assert_eq!(node.number("u1", "status"), -99);
}

#[test]
fn a_record_with_a_delay_waits_for_it() {
    let slow = record(&[("reg_delay", Value::Integer(60))]);
    let none = record(&[("l_uuid", text("u3")), ("expires", Value::Integer(0))]);
    let mut node = node(vec![slow, none], |_| ());
    assert!(node.registers(secs(59)).is_empty());
    assert_eq!(node.number("u1", "flags"), 0);
    node.register(secs(2));
}

#[test]
fn commands_add_and_remove_and_show_no_secret() {
    let mut node = node(Vec::new(), |_| ());
    let parameters = [
        "u9",
        "bob",
        "local.example",
        "trunk09",
        "p.example",
        ".",
        "trunk09",
        "hush",
        ".",
        "sip:192.0.2.74:7074",
        "600",
        "0",
        "0",
        ".",
        ".",
    ];
    assert_eq!(node.command("uac.reg_add", &parameters[..14]).expect_err("too few").code, 400);
    let mut bad = parameters;
    bad[7] = ".";
    assert_eq!(node.command("uac.reg_add", &bad).expect_err("no secret").code, 500);
    node.command("uac.reg_add", &parameters).expect("done");
    assert_eq!(node.command("uac.reg_add", &parameters).expect_err("there").code, 409);
    let first = node.register(secs(1));
    let sent = node.answer(&first, "401 Unauthorized", &format!("{REALM}\"1\"\n"));
    node.grant(&sent[0], 600);
    let dump = node.command("uac.reg_dump", &[]).expect("records");
    assert!(dump.contains("\"auth_password\":\"***\"") && !dump.contains("hush"), "{dump}");
    let proof = header(&sent[0], "Authorization");
    let response = proof.split("response=\"").nth(1).expect("a proof");
    assert!(!dump.contains(&response[..32]), "{dump}");
    assert_eq!(node.command("uac.reg_info", &["x", "y"]).expect_err("attribute").code, 400);
    assert_eq!(node.command("uac.reg_remove", &["u8"]).expect_err("unknown").code, 404);
    node.command("uac.reg_remove", &["u9"]).expect("done");
    assert_eq!(header(&node.register(ms(1)), "Expires"), "0");
}

#[test]
fn reloads_come_no_closer_than_they_may() {
    let mut node = node(Vec::new(), |_| ());
    node.command("uac.reg_reload", &[]).expect("asked for");
    assert_eq!(node.bench.take_rows().len(), 1);
    assert_eq!(node.command("uac.reg_reload", &[]).expect_err("too soon").code, 500);
    node.registers(secs(30));
    node.command("uac.reg_reload", &[]).expect("asked for");
}

#[test]
fn one_record_may_be_read_again_alone() {
    let two = |proxy| {
        vec![
            record(&[("auth_password", text(proxy))]),
            record(&[("l_uuid", text("u2")), ("auth_password", text(proxy))]),
        ]
    };
    let mut node = node(Vec::new(), |_| ());
    node.read(two("one"));
    for register in node.registers(secs(1)) {
        node.grant(&register, 3600);
    }
    node.command("uac.reg_refresh", &["u2"]).expect("asked for");
    let mut sent = node.read(two("two"));
    sent.extend(node.registers(secs(2)));
    assert!(sent.iter().all(|one| header(one, "Contact").contains("u2@")), "{sent:#?}");
    assert!(!sent.is_empty() && node.elapsed() > secs(0));
}

#[test]
fn a_changed_configuration_touches_its_own_records_alone() {
    let of_table = record(&[("l_uuid", text("u2")), ("r_username", text("trunk02"))]);
    let mut node = node(vec![record(&[])], |_| ());
    node.read(vec![of_table]);
    for register in node.registers(secs(1)) {
        node.grant(&register, 3600);
    }
    assert_eq!(node.metric("uac_regactive"), 2);
    let sent = node.renew(|settings| {
        settings.reg.registrations = vec![record(&[("l_uuid", text("u3"))])];
    });
    let [gone] = &sent[..] else { panic!("{sent:#?}") };
    assert_eq!(header(gone, "Contact"), "<sip:u1@192.0.2.1:5060>");
    node.answer(gone, "200 OK", "");
    let new = node.register(secs(1));
    assert_eq!(header(&new, "Contact"), "<sip:u3@192.0.2.1:5060>");
}
