//! Tests of the registrar as a whole: REGISTER in, 200 and branches out, over one to four shards.

use super::rig::{House, Register, Town, invite, status, values};
use super::{MinExpiresMode, OutboundMode, PathMode, SaveOptions, Settings};

fn town(settings: Settings) -> Town {
    Town::new(2, &House { registrar: settings, ..House::default() })
}

fn bob(call_id: &str, cseq: u32) -> Register {
    Register::of("bob", call_id, cseq)
}

/// base.md example 18.
#[test]
fn a_short_lifetime_is_raised_or_refused() {
    let mut plain = town(Settings::default());
    let ok = plain.register(&bob("c1", 1).contact("<sip:bob@192.0.2.10>;expires=10"));
    assert_eq!(status(&ok), "200");
    assert_eq!(values(&ok, "Contact"), ["<sip:bob@192.0.2.10>;expires=60;q=0"]);
    let strict = Settings { min_expires_mode: MinExpiresMode::Refuse, ..Settings::default() };
    let mut strict = town(strict);
    let refused = strict.register(&bob("c1", 1).contact("<sip:bob@192.0.2.10>;expires=10"));
    assert_eq!((status(&refused), values(&refused, "Min-Expires")), ("423", vec!["60"]));
    assert!(values(&strict.register(&bob("c2", 1)), "Contact").is_empty());
}

/// base.md example 18.
#[test]
fn a_second_device_is_one_too_many() {
    let settings = Settings { max_contacts: 1, retry_after: 30, ..Settings::default() };
    let mut town = town(settings);
    assert_eq!(status(&town.register(&bob("c1", 1).contact("<sip:bob@192.0.2.10>"))), "200");
    let refused = town.register(&bob("c2", 1).contact("<sip:bob@192.0.2.11>"));
    assert_eq!((status(&refused), values(&refused, "Retry-After")), ("503", vec!["30"]));
    let ok = town.register(&bob("c1", 2).contact("<sip:bob@192.0.2.10>;q=0.5"));
    assert_eq!(values(&ok, "Contact"), ["<sip:bob@192.0.2.10>;expires=3600;q=0.5"]);
}

/// base.md example 18.
#[test]
fn the_star_removes_all() {
    let mut town = town(Settings::default());
    town.register(&bob("c1", 1).contact("<sip:bob@192.0.2.10>").contact("<sip:bob@192.0.2.11>"));
    let gone = town.register(&bob("c2", 1).contact("*").line("Expires: 0"));
    assert_eq!(status(&gone), "200");
    assert!(values(&gone, "Contact").is_empty());
    assert_eq!(town.heard().len(), 4);
    assert_eq!(
        status(&town.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i"))[1].text),
        "404"
    );
}

/// base.md example 19.
#[test]
fn a_path_is_repeated_and_followed() {
    let mut town = town(Settings { path: PathMode::Strict, ..Settings::default() });
    let register = bob("c1", 1)
        .contact("<sip:bob@192.0.2.10:5062>")
        .line("Path: <sip:192.0.2.50;lr>")
        .line("Path: <sip:192.0.2.51;lr>");
    let refused = town.register(&register);
    assert_eq!((status(&refused), values(&refused, "Unsupported")), ("420", vec!["path"]));
    let ok = town.register(&register.line("Supported: path"));
    assert_eq!(values(&ok, "Path"), ["<sip:192.0.2.50;lr>, <sip:192.0.2.51;lr>"]);
    let sent = town.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i"));
    let branch = sent.iter().find(|sent| sent.text.starts_with("INVITE")).expect("a branch");
    assert_eq!(branch.to, "192.0.2.50:5060");
    assert!(branch.text.starts_with("INVITE sip:bob@192.0.2.10:5062 SIP/2.0"));
    assert_eq!(values(&branch.text, "Route"), ["<sip:192.0.2.50;lr>, <sip:192.0.2.51;lr>"]);
}

#[test]
fn a_look_up_works_from_every_shard() {
    let mut town = Town::new(4, &House::default());
    for user in 0..20 {
        let user = format!("u{user}");
        let register = Register::of(&user, &format!("r-{user}"), 1)
            .contact(&format!("<sip:{user}@192.0.2.10>"));
        assert_eq!(status(&town.register(&register)), "200");
    }
    let (mut here, mut asked) = (0, 0);
    for user in 0..20 {
        let call = invite(&format!("sip:U{user}@example.com"), &format!("i{user}"));
        let sent = town.send("192.0.2.9:5060", &call);
        let branches: Vec<_> = sent.iter().filter(|s| s.text.starts_with("INVITE")).collect();
        assert_eq!(branches.len(), 1, "{sent:?}");
        assert!(branches[0].text.starts_with(&format!("INVITE sip:u{user}@192.0.2.10")));
        if sent[0].text.starts_with("SIP/2.0 100") && sent.len() == 2 {
            here += 1
        } else {
            asked += 1
        }
    }
    assert!(here + asked == 20);
    let sizes = town.command("ul.db_contacts", &[]);
    assert_eq!(sizes.iter().map(|n| n.parse::<usize>().expect("a number")).sum::<usize>(), 20);
    assert!(sizes.iter().all(|n| n != "0" && n != "20"), "{sizes:?}");
}

#[test]
fn a_look_up_elsewhere_is_one_message_and_one_answer() {
    let mut town = Town::new(4, &House::default());
    town.register(&bob("c1", 1).contact("<sip:bob@192.0.2.10>"));
    let owner = (0..4).find(|shard| town.node.shards[*shard].engine().census().timers > 2);
    let mut messages = Vec::new();
    for (shard, call) in (0..4).zip(["a", "b", "c", "d"]) {
        let bench = &mut town.node.shards[shard];
        crate::bench::send(bench, "192.0.2.9:5060", &invite("sip:bob@example.com", call));
        messages.push(bench.take_peers().len());
    }
    messages.sort_unstable();
    assert_eq!(messages, [0, 1, 1, 1], "{owner:?}");
}

#[test]
fn contacts_are_tried_by_preference() {
    let contacts = bob("c1", 1)
        .contact("<sip:b@192.0.2.31>;q=0.5, <sip:a@192.0.2.30>;q=1.0")
        .contact("<sip:c@192.0.2.32>;q=0.5");
    let mut parallel = town(Settings::default());
    parallel.register(&contacts);
    let sent = parallel.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i"));
    let to: Vec<&str> = sent[1..].iter().map(|sent| sent.to.as_str()).collect();
    assert_eq!(to, ["192.0.2.30:5060", "192.0.2.31:5060", "192.0.2.32:5060"]);

    let mut serial = Town::new(1, &House { serial: true, ..House::default() });
    serial.register(&contacts);
    let sent = serial.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i"));
    assert_eq!(sent[1..].iter().map(|s| s.to.as_str()).collect::<Vec<_>>(), ["192.0.2.30:5060"]);
    let busy = crate::bench::response(&sent[1].text.replace('\r', ""), "486 Busy Here");
    let sent = serial.send("192.0.2.30:5060", &busy);
    let to: Vec<&str> =
        sent.iter().filter(|s| s.text.starts_with("INVITE")).map(|s| s.to.as_str()).collect();
    assert_eq!(to, ["192.0.2.31:5060", "192.0.2.32:5060"]);
}

#[test]
fn what_is_wrong_changes_nothing() {
    let mut town = town(Settings::default());
    town.register(&bob("c0", 1).contact("<sip:bob@192.0.2.10>"));
    let many: Vec<String> = (0..500).map(|n| format!("<sip:b{n}@192.0.2.10>")).collect();
    let long = format!("<sip:{}@192.0.2.10>", "b".repeat(600));
    let good = "<sip:new@192.0.2.10>";
    let (many, two) = (many.join(", "), format!("{good}, <sip:bad host>"));
    for (n, (lines, expected)) in [
        (vec!["Contact: <sip:bad host>"], "400"),
        (vec!["Contact: <sip:b@h"], "400"),
        (vec!["Contact: <>"], "400"),
        (vec![&*format!("Contact: {two}")], "400"),
        (vec!["Contact: *"], "400"),
        (vec!["Contact: *", "Expires: 10"], "400"),
        (vec!["Contact: *", &*format!("Contact: {good}"), "Expires: 0"], "400"),
        (vec!["Contact: *, *", "Expires: 0"], "400"),
        (vec!["Contact: *;q=1", "Expires: 0"], "400"),
        (vec!["Contact: <sip:b@192.0.2.10>;q=7"], "400"),
        (vec!["Contact: <sip:b@192.0.2.10>;q=99999999999999999999"], "400"),
        (vec!["Contact: <sip:b@192.0.2.10>;q"], "400"),
        (vec!["Contact: <sip:b@192.0.2.10>;expires=soon"], "400"),
        (vec![&*format!("Contact: {good}"), "Expires: -1"], "400"),
        (vec!["Contact: <sip:b@192.0.2.10>;+sip.instance=x"], "400"),
        (vec!["Contact: <sip:b@192.0.2.10>;+sip.instance=\"<a\\\"b>\""], "400"),
        (vec![&*format!("Contact: {long}")], "400"),
        (vec![&*format!("Contact: {many}")], "503"),
        (vec![&*format!("Contact: {good}"), "Require: x, path"], "420"),
    ]
    .into_iter()
    .enumerate()
    {
        let register = lines.iter().fold(bob(&format!("bad{n}"), 1), |r, line| r.line(line));
        let refused = town.register(&register);
        assert_eq!(status(&refused), expected, "{lines:?}: {refused}");
        assert_eq!(expected == "400", !values(&refused, "P-Registrar-Error").is_empty());
        let now = town.register(&bob(&format!("ask{n}"), 1));
        let expected = ["<sip:bob@192.0.2.10>;expires=3600;q=0"];
        assert_eq!(values(&now, "Contact"), expected, "{lines:?}");
    }
    let huge = town.register(&bob("c9", 1).contact("<sip:x@192.0.2.10>;expires=99999999999999"));
    assert_eq!(status(&huge), "200");
    // Until the last date that there is, in 2106.
    assert!(values(&huge, "Contact")[1].contains("expires=2494967295"), "{huge}");
}

#[test]
fn another_domain_is_not_found_here() {
    let mut town = town(Settings::default());
    let elsewhere = bob("c1", 1).contact("<sip:bob@192.0.2.10>").text();
    let elsewhere = elsewhere.replace("To: <sip:bob@example.com>", "To: <sip:bob@other.example>");
    let sent = town.send("192.0.2.10:5060", &elsewhere);
    assert_eq!(status(&sent[0].text), "404");
}

#[test]
fn an_older_request_is_refused_and_a_repeated_one_is_not() {
    let mut town = town(Settings::default());
    let contact = "<sip:bob@192.0.2.10>";
    town.register(&bob("c1", 5).contact(contact));
    let old = town.register(&bob("c1", 4).contact(contact).line("Expires: 0"));
    assert_eq!(status(&old), "400");
    // The same CSeq with another branch: a retransmission that took another way.
    let again = town.register(&bob("c1", 5).contact(contact).line("Expires: 0"));
    assert_eq!((status(&again), values(&again, "Contact").len()), ("200", 1));
    let gone = town.register(&bob("c1", 6).contact(contact).line("Expires: 0"));
    assert_eq!((status(&gone), values(&gone, "Contact").len()), ("200", 0));
}

#[test]
fn gruus_lead_to_their_instance() {
    let mut town = town(Settings::default());
    let instance = "+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"";
    let register =
        bob("c1", 1).contact(&format!("<sip:bob@192.0.2.10>;{instance}")).line("Supported: gruu");
    let ok = town.register(&register);
    town.register(&bob("c2", 1).contact("<sip:bob@192.0.2.11>"));
    let contact = values(&ok, "Contact")[0];
    let part =
        |name: &str| contact.split(&format!("{name}=\"")).nth(1).and_then(|p| p.split('"').next());
    let public = part("pub-gruu").expect("a public one");
    let temporary = part("temp-gruu").expect("a temporary one");
    assert_eq!(public, "sip:bob@example.com;gr=urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6");
    assert!(!temporary.contains("bob"), "{temporary}");
    for (call, gruu) in [("i1", public), ("i2", temporary)] {
        let sent = town.send("192.0.2.9:5060", &invite(gruu, call));
        let to: Vec<&str> = sent[1..].iter().map(|sent| sent.to.as_str()).collect();
        assert_eq!(to, ["192.0.2.10:5060"], "{gruu}");
    }
    let forged = temporary.replace("tgruu.", "tgruu.A");
    let sent = town.send("192.0.2.9:5060", &invite(&forged, "i3"));
    assert_eq!(status(&sent[1].text), "404");
}

#[test]
fn outbound_needs_both_sides() {
    let settings = |outbound| Settings { outbound, flow_timer: 25, ..Settings::default() };
    let flow = "<sip:bob@10.0.0.5:5062>;reg-id=1;+sip.instance=\"<urn:uuid:1>\"";
    let mut required = town(settings(OutboundMode::Required));
    let refused = required.register(&bob("c1", 1).contact(flow));
    assert_eq!((status(&refused), values(&refused, "Require")), ("421", vec!["outbound"]));
    let register = bob("c1", 2).contact(flow).line("Supported: outbound");
    let ok = required.register(&register);
    assert_eq!((status(&ok), values(&ok, "Flow-Timer")), ("200", vec!["25"]));
    assert!(values(&ok, "Contact")[0].ends_with(";reg-id=1"), "{ok}");
    // The flow leads to the agent, not the private address that it calls its own.
    let sent = required.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i"));
    assert_eq!(sent[1].to, "192.0.2.10:5060");
    // Another flow of the same instance is another binding.
    let second = flow.replace("reg-id=1", "reg-id=2");
    let ok = required.register(&bob("c2", 1).contact(&second).line("Supported: outbound"));
    assert_eq!(values(&ok, "Contact").len(), 2);
    let mut through = register.clone();
    through.cseq = 3;
    through.via = "Via: SIP/2.0/UDP 192.0.2.50;branch=z9hG4bKx\nVia: SIP/2.0/UDP 10.0.0.5".into();
    assert_eq!(status(&required.register(&through)), "439");
    let both = bob("c3", 1).contact(flow).contact(&second).line("Supported: outbound");
    assert_eq!(status(&required.register(&both)), "400");
}

#[test]
fn a_method_that_no_contact_takes_is_not_allowed() {
    let mut town = town(Settings { method_filtering: true, ..Settings::default() });
    town.register(&bob("c1", 1).contact("<sip:bob@192.0.2.10>;methods=\"MESSAGE, OPTIONS\""));
    let sent = town.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i1"));
    assert_eq!(status(&sent[1].text), "405");
    town.register(&bob("c2", 1).contact("<sip:bob@192.0.2.11>").line("Allow: INVITE, ACK"));
    let sent = town.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i2"));
    assert_eq!(sent[1].to, "192.0.2.11:5060");
}

#[test]
fn a_contact_behind_a_nat_is_reached_where_it_came_from() {
    let save = SaveOptions::default().behind_nat();
    let mut town = Town::new(2, &House { save, ..House::default() });
    let sent =
        town.send("203.0.113.7:40000", &bob("c1", 1).contact("<sip:bob@10.0.0.5:5062>").text());
    let contact = values(&sent[0].text, "Contact")[0];
    assert!(contact.contains("received=\"sip:203.0.113.7:40000\""), "{contact}");
    let sent = town.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i"));
    assert_eq!(sent[1].to, "203.0.113.7:40000");
    assert!(sent[1].text.starts_with("INVITE sip:bob@10.0.0.5:5062 "));
}

#[test]
fn registered_and_unregister_say_what_they_find() {
    let mut town = town(Settings::default());
    let ask = |town: &mut Town, method: &str, call: &str| {
        let text = crate::bench::request(method, call).replace("bob@192.0.2.99 SIP", "bob@h SIP");
        let sent = town.send("192.0.2.9:5060", &text);
        sent[0].text.lines().next().unwrap_or_default().to_owned()
    };
    assert_eq!(ask(&mut town, "OPTIONS", "o1"), "SIP/2.0 200 No");
    assert_eq!(ask(&mut town, "SUBSCRIBE", "s1"), "SIP/2.0 404 NoAor");
    town.register(&bob("c1", 1).contact("<sip:bob@192.0.2.10>"));
    assert_eq!(ask(&mut town, "OPTIONS", "o2"), "SIP/2.0 200 Yes");
    assert_eq!(ask(&mut town, "SUBSCRIBE", "s2"), "SIP/2.0 200 1");
    assert_eq!(ask(&mut town, "OPTIONS", "o3"), "SIP/2.0 200 No");
}

#[test]
fn an_owner_that_does_not_answer_is_503_in_time() {
    let mut town = Town::new(4, &House::default());
    let mut refused = 0;
    for shard in 0..4 {
        let bench = &mut town.node.shards[shard];
        let text = bob(&format!("c{shard}"), 1).contact("<sip:bob@192.0.2.10>").text();
        crate::bench::send(bench, "192.0.2.10:5060", &text);
        drop(bench.take_peers());
        bench.advance(strowger_sip::time::secs(6));
        let sent = crate::bench::sent(bench);
        refused += sent.iter().filter(|s| status(&s.text) == "503").count();
        bench.advance(strowger_sip::time::secs(60));
    }
    assert_eq!(refused, 3);
}

#[test]
fn an_exact_lifetime_does_not_vary() {
    let registrar =
        Settings { expires_range: 50, default_expires_range: 50, ..Settings::default() };
    let save = SaveOptions::default().exact_expires();
    let mut exact = Town::new(1, &House { registrar: registrar.clone(), save, ..House::default() });
    let mut varied = town(registrar);
    let mut others = 0;
    for n in 0..20 {
        let register = bob(&format!("c{n}"), 1).contact("<sip:bob@192.0.2.10>;expires=1000");
        let ok = exact.register(&register);
        assert!(values(&ok, "Contact")[0].contains(";expires=1000;"), "{ok}");
        let ok = varied.register(&register);
        others += usize::from(!values(&ok, "Contact")[0].contains(";expires=1000;"));
    }
    assert!(others > 10, "{others}");
}

#[test]
fn contacts_can_be_where_a_request_is_sent_and_no_more() {
    let mut town = town(Settings { path: PathMode::Store, ..Settings::default() });
    town.register(&bob("c1", 1).contact("<sip:bob@192.0.2.30:5070>"));
    let path = bob("c2", 1).contact("<sip:bob@10.0.0.5>").line("Path: <sip:192.0.2.50;lr>");
    town.register(&path);
    let notify = invite("sip:bob@example.com", "n").replace("INVITE", "NOTIFY");
    let sent = town.send("192.0.2.9:5060", &notify);
    let branches: Vec<_> = sent.iter().filter(|s| s.text.starts_with("NOTIFY")).collect();
    let mut to: Vec<&str> = branches.iter().map(|sent| sent.to.as_str()).collect();
    to.sort_unstable();
    assert_eq!(to, ["192.0.2.30:5070", "192.0.2.50:5060"], "{sent:?}");
    for branch in branches {
        assert!(branch.text.starts_with("NOTIFY sip:bob@example.com SIP/2.0"), "{branch:?}");
        assert_eq!(values(&branch.text, "Sock-Info"), ["udp:192.0.2.1:5060"]);
    }
}

#[test]
fn a_request_is_from_a_user_when_it_comes_from_a_contact() {
    let mut town = town(Settings::default());
    town.register(&bob("c1", 1).contact("<sip:bob@192.0.2.30:5070>, <sip:bob@192.0.2.31>"));
    let tcp = bob("c2", 1).contact("<sip:bob@192.0.2.32:5080;transport=tcp>");
    town.register(&tcp);
    let info = |town: &mut Town, from: &str, call: &str| {
        let text = invite("sip:bob@example.com", call).replace("INVITE", "INFO");
        let sent = town.send(from, &text);
        sent.last().and_then(|sent| sent.text.lines().next().map(str::to_owned))
    };
    for (call, from, answer) in [
        ("a", "192.0.2.30:5070", "SIP/2.0 200 1"),
        ("b", "192.0.2.31:5060", "SIP/2.0 200 1"),
        ("c", "192.0.2.30:5060", "SIP/2.0 404 Not Found"),
        ("d", "192.0.2.32:5080", "SIP/2.0 404 Not Found"),
    ] {
        assert_eq!(info(&mut town, from, call).as_deref(), Some(answer), "{from}");
    }
}

#[test]
fn a_header_can_say_which_socket_a_contact_belongs_to() {
    let stored = |value: &str, save: SaveOptions| {
        let registrar = Settings { sock_hdr_name: "Sock-Info".into(), ..Settings::default() };
        let db_mode = crate::location::DbMode::Realtime;
        let location = crate::location::Settings { db_mode, ..Default::default() };
        let mut town = Town::new(1, &House { registrar, location, save, ..House::default() });
        let line = format!("Sock-Info: {value}");
        town.register(&bob("c1", 1).contact("<sip:bob@192.0.2.10>").line(&line));
        let place = crate::location::LOCATION.place("socket").expect("a column");
        let (_, record) = town.storage.rows.values().next().expect("a row");
        format!("{:?}", record[place])
    };
    let named = SaveOptions::default().socket_from_header();
    let other = "udp:[2001:db8::1]:5060";
    assert!(stored(other, named.clone()).contains(other));
    // Without the option nobody's word is taken; what is no socket of this node is left out.
    let own = "udp:192.0.2.1:5060";
    assert!(stored(other, SaveOptions::default()).contains(own));
    assert!(stored("udp:192.0.2.77:5060", named.clone()).contains(own));
    assert!(stored("\"", named).contains(own));
}
