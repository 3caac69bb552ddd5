//! Tests of digest authentication as a whole: challenges, right and wrong answers, replays.

use super::{Account, Algorithm, Checks, Hash, Secret, Settings};
use crate::bench;
use crate::registrar::rig::{House, Mood, Register, Town, status, values};
use strowger_sip::storage::{Datum, Version};

fn account(user: &str, secret: Secret) -> Account {
    Account { user: user.to_owned(), realm: String::new(), secret }
}

fn password(text: &str) -> Secret {
    Secret::Password(text.into())
}

fn house(auth: Settings) -> House {
    let accounts = match auth.accounts.is_empty() {
        true => vec![account("bob", password("secret"))],
        false => auth.accounts.clone(),
    };
    House { authenticates: true, auth: Settings { accounts, ..auth }, ..House::default() }
}

/// What an agent knows and does.
#[derive(Clone)]
struct Agent {
    user: &'static str,
    password: &'static str,
    algorithm: &'static str,
    qop: Option<&'static str>,
    body: &'static str,
}

const BOB: Agent =
    Agent { user: "bob", password: "secret", algorithm: "MD5", qop: Some("auth"), body: "" };

impl Agent {
    /// The value that answers a challenge.
    fn answer(&self, challenge: &str, method: &str, count: u32) -> String {
        let part = |name: &str| challenge.split(&format!("{name}=\"")).nth(1);
        let part = |name| part(name).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        let (realm, nonce, uri) = (part("realm"), part("nonce"), "sip:example.com");
        let algorithm = Algorithm::from_name(self.algorithm.as_bytes()).expect("known");
        let (hash, nc) = (algorithm.hash, format!("{count:08x}"));
        let of = |parts: &[&str]| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            hash.of(&parts).as_str().to_owned()
        };
        let mut first = of(&[self.user, realm, self.password]);
        if algorithm.session {
            first = of(&[&first, nonce, "cn"]);
        }
        let second = match self.qop {
            Some("auth-int") => of(&[method, uri, &of(&[self.body])]),
            Some(_) | None => of(&[method, uri]),
        };
        let proof = match self.qop {
            Some(qop) => of(&[&first, nonce, &nc, "cn", qop, &second]),
            None => of(&[&first, nonce, &second]),
        };
        let qop = self.qop.map_or(String::new(), |qop| format!(", qop={qop}, nc={nc}"));
        format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{proof}\", algorithm={}, cnonce=\"cn\"{qop}",
            self.user, self.algorithm
        )
    }
}

fn bob(call_id: &str, cseq: u32) -> Register {
    Register::of("bob", call_id, cseq).contact("<sip:bob@192.0.2.10>")
}

fn with(register: Register, credentials: &str) -> Register {
    register.line(&format!("Authorization: {credentials}"))
}

/// The challenge that a REGISTER without credentials gets.
fn challenge(town: &mut Town, call_id: &str) -> String {
    let refused = town.register(&bob(call_id, 1));
    assert_eq!(status(&refused), "401");
    values(&refused, "WWW-Authenticate")[0].to_owned()
}

/// base.md example 20.
#[test]
fn the_right_answer_registers_and_a_wrong_one_does_not() {
    let mut town = Town::new(2, &house(Settings::default()));
    let asked = challenge(&mut town, "c1");
    assert!(asked.starts_with("Digest realm=\"example.com\", nonce=\""), "{asked}");
    assert!(asked.ends_with("qop=\"auth\", algorithm=MD5"), "{asked}");
    let wrong = Agent { password: "guess", ..BOB }.answer(&asked, "REGISTER", 1);
    let refused = town.register(&with(bob("c1", 2), &wrong));
    assert_eq!(status(&refused), "401");
    assert!(!refused.contains("stale"));
    let stranger = Agent { user: "eve", ..BOB }.answer(&asked, "REGISTER", 1);
    assert_eq!(status(&town.register(&with(bob("c1", 3), &stranger))), "401");
    let right = BOB.answer(&asked, "REGISTER", 1);
    assert_eq!(status(&town.register(&with(bob("c1", 4), &right))), "200");
}

/// base.md example 20.
#[test]
fn an_old_nonce_is_stale() {
    let mut town = Town::new(2, &house(Settings::default()));
    let asked = challenge(&mut town, "c1");
    town.advance(302);
    let late = town.register(&with(bob("c1", 2), &BOB.answer(&asked, "REGISTER", 1)));
    assert_eq!(status(&late), "401");
    let fresh = values(&late, "WWW-Authenticate")[0].to_owned();
    assert!(fresh.ends_with(", stale=true"), "{fresh}");
    let again = with(bob("c1", 3), &BOB.answer(&fresh, "REGISTER", 1));
    assert_eq!(status(&town.register(&again)), "200");
}

#[test]
fn every_algorithm_and_protection_works() {
    let names = ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256", "SHA-512-256-sess"];
    let mut algorithms: Vec<Algorithm> =
        names.iter().filter_map(|name| Algorithm::from_name(name.as_bytes())).collect();
    algorithms.sort_by(|one, two| two.cmp(one));
    let settings = Settings { algorithms, qop: vec!["auth", "auth-int"], ..Settings::default() };
    let mut town = Town::new(2, &house(settings));
    let refused = town.register(&bob("c0", 1));
    let offered: Vec<&str> = values(&refused, "WWW-Authenticate");
    let order: Vec<&str> =
        offered.iter().filter_map(|value| value.split("algorithm=").nth(1)).collect();
    assert_eq!(order[0], "SHA-512-256-sess");
    assert_eq!(order.last(), Some(&"MD5"));
    assert!(offered.iter().all(|value| value.contains("qop=\"auth,auth-int\"")));
    for algorithm in names {
        for qop in [None, Some("auth"), Some("auth-int")] {
            let agent = Agent { algorithm, qop, ..BOB };
            let call = format!("{algorithm}{}", qop.unwrap_or("none"));
            let asked = challenge(&mut town, &call);
            let answer = agent.answer(&asked, "REGISTER", 1);
            let ok = town.register(&with(bob(&call, 2), &answer));
            assert_eq!(status(&ok), "200", "{call}: {ok}");
        }
    }
}

#[test]
fn a_proof_is_taken_once_on_any_shard() {
    let mut town = Town::new(4, &house(Settings::default()));
    let asked = challenge(&mut town, "c1");
    let first = with(bob("c1", 2), &BOB.answer(&asked, "REGISTER", 1));
    assert_eq!(status(&town.register(&first)), "200");
    // The same proof in calls that are at home on every shard.
    for call in 0..16 {
        let replay = with(bob(&format!("replay{call}"), 2), &BOB.answer(&asked, "REGISTER", 1));
        let refused = town.register(&replay);
        assert_eq!(status(&refused), "401", "{call}");
        assert!(refused.contains("stale=true"));
    }
    // The next count is good, wherever it arrives, and once.
    let next = |call: &str| with(bob(call, 3), &BOB.answer(&asked, "REGISTER", 2));
    assert_eq!(status(&town.register(&next("elsewhere"))), "200");
    assert_eq!(status(&town.register(&next("c1"))), "401");
    // Counts may overtake each other.
    for (count, expected) in [(9, "200"), (7, "200"), (8, "200"), (7, "401")] {
        let call = format!("n{count}{expected}");
        let answer = BOB.answer(&asked, "REGISTER", count);
        assert_eq!(status(&town.register(&with(bob(&call, 1), &answer))), expected, "{count}");
    }
}

#[test]
fn without_a_count_a_nonce_is_good_once() {
    let mut town = Town::new(2, &house(Settings::default()));
    let old = Agent { qop: None, ..BOB };
    let asked = challenge(&mut town, "c1");
    let answer = old.answer(&asked, "REGISTER", 1);
    assert_eq!(status(&town.register(&with(bob("c1", 2), &answer))), "200");
    assert!(town.register(&with(bob("c1", 3), &answer)).contains("stale=true"));
    let lax = Settings { nonce_count: false, ..Settings::default() };
    let mut lax = Town::new(2, &house(lax));
    let asked = challenge(&mut lax, "c1");
    let answer = old.answer(&asked, "REGISTER", 1);
    for cseq in 2..5 {
        assert_eq!(status(&lax.register(&with(bob("c1", cseq), &answer))), "200");
    }
}

#[test]
fn forged_and_broken_credentials_are_refused() {
    let mut town = Town::new(2, &house(Settings::default()));
    let asked = challenge(&mut town, "c1");
    let good = BOB.answer(&asked, "REGISTER", 1);
    let nonce = asked.split("nonce=\"").nth(1).and_then(|n| n.split('"').next()).expect("one");
    let other = BOB.answer(&asked.replace("example.com", "other.example"), "REGISTER", 1);
    for (n, (credentials, expected, stale)) in [
        (good.replace(nonce, &nonce.replace(&nonce[..4], "AAAA")), "401", true),
        (good.replace(nonce, "x"), "401", true),
        (good.replace(nonce, &"A".repeat(32)), "401", true),
        (good.replace("algorithm=MD5", "algorithm=SHA-256"), "401", false),
        (good.replace("algorithm=MD5", "algorithm=AKAv1-MD5"), "401", false),
        (good.replace("qop=auth", "qop=auth-int"), "401", false),
        (good.replace("uri=\"sip:example.com\"", "uri=\"sip:evil\""), "401", false),
        (good.replace("username=\"bob\"", "username=\"alice\""), "401", false),
        (good.replace("nc=00000001", "nc=00000002"), "401", false),
        (good.replace("nc=00000001", "nc=x"), "400", false),
        (good.replace("response=", "answer="), "400", false),
        (good.replace("nonce=", "x="), "400", false),
        (good.replace("realm=", "nonce=\"n\", realm="), "400", false),
        ("Digest".to_owned(), "401", false),
        ("Digest \"".to_owned(), "400", false),
        (format!("Digest {}", "a=b,".repeat(100)), "400", false),
        ("Basic Ym9iOnNlY3JldA==".to_owned(), "401", false),
        (other, "401", false),
    ]
    .into_iter()
    .enumerate()
    {
        let refused = town.register(&with(bob(&format!("bad{n}"), 1), &credentials));
        assert_eq!(status(&refused), expected, "{credentials}");
        assert_eq!(refused.contains("stale=true"), stale, "{credentials}");
    }
    // None of them has used the proof up.
    assert_eq!(status(&town.register(&with(bob("c1", 2), &good))), "200");
}

#[test]
fn a_nonce_is_bound_to_what_the_settings_say() {
    let checks = Checks(Checks::CALL_ID | Checks::SOURCE);
    let settings = Settings { checks_register: checks, ..Settings::default() };
    let mut town = Town::new(2, &house(settings));
    let asked = challenge(&mut town, "c1");
    let answer = BOB.answer(&asked, "REGISTER", 1);
    assert!(town.register(&with(bob("c2", 1), &answer)).contains("stale=true"));
    let moved = with(bob("c1", 2), &answer).text();
    let moved = town.send("192.0.2.66:5060", &moved);
    assert!(moved[0].text.contains("stale=true"));
    assert_eq!(status(&town.register(&with(bob("c1", 3), &answer))), "200");
}

#[test]
fn a_user_changes_its_own_address_only() {
    let accounts = vec![account("bob", password("secret")), account("eve", password("secret"))];
    let mut town = Town::new(2, &house(Settings { accounts, ..Settings::default() }));
    let asked = challenge(&mut town, "c1");
    let eve = Agent { user: "eve", ..BOB };
    let refused = town.register(&with(bob("c1", 2), &eve.answer(&asked, "REGISTER", 1)));
    assert_eq!(status(&refused), "403");
    let bob_is = with(bob("c1", 3), &BOB.answer(&asked, "REGISTER", 2));
    assert_eq!(status(&town.register(&bob_is)), "200");
}

#[test]
fn an_account_with_one_hash_is_asked_for_that_algorithm() {
    let sha = Algorithm { hash: Hash::Sha256, session: false };
    let ha1 = Hash::Md5.of(&[b"bob", b"example.com", b"secret"]);
    let accounts = vec![Account {
        user: "bob".into(),
        realm: "example.com".into(),
        secret: Secret::Hashes(vec![(Hash::Md5, ha1)]),
    }];
    let algorithms = vec![sha, Algorithm::MD5];
    let mut town = Town::new(1, &house(Settings { accounts, algorithms, ..Settings::default() }));
    let asked = challenge(&mut town, "c1");
    let better = Agent { algorithm: "SHA-256", ..BOB };
    let refused = town.register(&with(bob("c1", 2), &better.answer(&asked, "REGISTER", 1)));
    let asked = values(&refused, "WWW-Authenticate");
    assert_eq!(asked.len(), 1);
    assert!(asked[0].ends_with("algorithm=MD5, stale=true"), "{asked:?}");
    let answer = BOB.answer(asked[0], "REGISTER", 1);
    assert_eq!(status(&town.register(&with(bob("c1", 3), &answer))), "200");
}

fn message(call_id: &str, cseq: u32, credentials: &str) -> String {
    let text = bench::request("MESSAGE", &format!("{call_id}{cseq}"));
    let credentials = match credentials {
        "" => String::new(),
        some => format!("Proxy-Authorization: {some}\n"),
    };
    text.replace("sip:alice@192.0.2.10>", "sip:bob@192.0.2.10>")
        .replace("Max-Forwards: 70\n", &format!("Max-Forwards: 70\n{credentials}"))
}

#[test]
fn a_proxy_asks_with_407_and_keeps_the_credentials() {
    let mut town = Town::new(2, &house(Settings::default()));
    let sent = town.send("192.0.2.10:5060", &message("m", 1, ""));
    assert_eq!(status(&sent[0].text), "407");
    let asked = values(&sent[0].text, "Proxy-Authenticate")[0].to_owned();
    let right = message("m", 2, &BOB.answer(&asked, "MESSAGE", 1));
    let sent = town.send("192.0.2.10:5060", &right);
    assert_eq!(sent[0].to, "192.0.2.77:5060");
    assert!(!sent[0].text.contains("Proxy-Authorization"), "{}", sent[0].text);
    let other = right.replace("From: <sip:bob@", "From: <sip:alice@");
    let other = other.replace("m2", "m3").replace("nc=00000001", "nc=00000002");
    let sent = town.send("192.0.2.10:5060", &other);
    assert_eq!(status(&sent[0].text), "407"); // the proof does not fit another count
    let fits = BOB.answer(&asked, "MESSAGE", 2);
    let other = message("m", 4, &fits).replace("From: <sip:bob@", "From: <sip:alice@");
    let sent = town.send("192.0.2.10:5060", &other);
    assert_eq!(status(&sent[0].text), "403");
}

#[test]
fn the_server_proves_itself_too() {
    let settings = Settings { add_authinfo: true, ..Settings::default() };
    let mut town = Town::new(1, &house(settings));
    let asked = challenge(&mut town, "c1");
    let answer = BOB.answer(&asked, "REGISTER", 1);
    let ok = town.register(&with(bob("c1", 2), &answer));
    let info = values(&ok, "Authentication-Info");
    assert!(info[0].starts_with("qop=auth, rspauth=\""), "{ok}");
    assert!(info[0].ends_with("cnonce=\"cn\", nc=00000001"), "{ok}");
}

fn subscriber(town: &mut Town, user: &str, password: &str, ha1: &str) {
    let text = |text: &str| Datum::Text(text.to_owned());
    let row = vec![text(user), text("example.com"), text(password), text(ha1), text("")];
    town.storage.rows.insert(("subscriber", user.to_owned()), (Version(1), row));
}

#[test]
fn users_are_found_in_storage_and_remembered() {
    let accounts = vec![account("nobody", password("x"))];
    let settings = Settings { use_subscriber: true, accounts, ..Settings::default() };
    let mut town = Town::new(2, &house(settings));
    let ha1 = Hash::Md5.of(&[b"bob", b"example.com", b"secret"]);
    subscriber(&mut town, "bob", "", ha1.as_str());
    let asked = challenge(&mut town, "c1");
    for count in 1..4 {
        let answer = BOB.answer(&asked, "REGISTER", count);
        let ok = town.register(&with(bob("c1", count + 1), &answer));
        assert_eq!(status(&ok), "200", "{ok}");
    }
    assert_eq!(town.storage.orders, 1);
    // Nobody is remembered too, for a shorter time.
    let eve = Agent { user: "eve", ..BOB };
    for cseq in 5..8 {
        let answer = eve.answer(&asked, "REGISTER", 1);
        assert_eq!(status(&town.register(&with(bob("c1", cseq), &answer))), "401");
    }
    assert_eq!(town.storage.orders, 2);
    town.storage.mood = Mood::Refusing;
    town.advance(11);
    let answer = eve.answer(&asked, "REGISTER", 1);
    assert_eq!(status(&town.register(&with(bob("c1", 9), &answer))), "503");
}

#[test]
fn users_who_were_known_stay_known_while_storage_is_away() {
    let accounts = vec![account("nobody", password("x"))];
    let settings = Settings { use_subscriber: true, accounts, ..Settings::default() };
    // What a shard was told it remembers by itself.
    let mut town = Town::new(1, &house(settings));
    let ha1 = Hash::Md5.of(&[b"bob", b"example.com", b"secret"]);
    subscriber(&mut town, "bob", "", ha1.as_str());
    let register = |town: &mut Town, call_id| {
        let asked = challenge(town, call_id);
        let answer = BOB.answer(&asked, "REGISTER", 1);
        status(&town.register(&with(bob(call_id, 2), &answer))).to_owned()
    };
    assert_eq!(register(&mut town, "c2"), "200");
    town.storage.mood = Mood::Refusing;
    town.advance(61);
    assert_eq!(register(&mut town, "c3"), "200");
    let orders = town.storage.orders;
    assert_eq!(register(&mut town, "c4"), "200");
    assert_eq!(town.storage.orders, orders, "it was asked a moment ago");
    // A password that was changed meanwhile counts as soon as storage is back.
    let other = Hash::Md5.of(&[b"bob", b"example.com", b"new"]);
    subscriber(&mut town, "bob", "", other.as_str());
    town.storage.mood = Mood::Well;
    town.advance(11);
    assert_eq!(register(&mut town, "c5"), "401");
}

#[test]
fn storage_that_is_silent_is_503_in_time() {
    let accounts = vec![account("nobody", password("x"))];
    let settings = Settings { use_subscriber: true, accounts, ..Settings::default() };
    let mut town = Town::new(2, &house(settings));
    let asked = challenge(&mut town, "c1");
    town.storage.mood = Mood::Dead;
    let answer = BOB.answer(&asked, "REGISTER", 1);
    assert_eq!(town.register(&with(bob("c1", 2), &answer)), "");
    let sent = town.advance(4);
    assert_eq!(status(&sent[0].text), "503");
    town.advance(60);
    for shard in &town.node.shards {
        assert!(shard.census().is_empty(), "{:?}", shard.census());
    }
}

#[test]
fn credentials_that_were_loaded_can_be_checked() {
    let mut town = Town::new(2, &house(Settings::default()));
    let publish = |user: &str, call: &str, lines: &str| {
        let text = bench::request("PUBLISH", call);
        text.replace("bob@192.0.2.99 SIP", &format!("{user}@example.com SIP"))
            .replace("Max-Forwards", &format!("{lines}Max-Forwards"))
    };
    let unknown = town.send("192.0.2.9:5060", &publish("eve", "p1", ""));
    assert!(unknown[0].text.starts_with("SIP/2.0 404 "), "{unknown:?}");
    let asked = town.send("192.0.2.9:5060", &publish("bob", "p2", ""));
    assert_eq!(status(&asked[0].text), "407");
    let challenge = values(&asked[0].text, "Proxy-Authenticate")[0].to_owned();
    let answer = BOB.answer(&challenge, "PUBLISH", 1);
    let line = format!("Proxy-Authorization: {answer}\n");
    let ok = town.send("192.0.2.9:5060", &publish("bob", "p3", &line));
    assert!(ok[0].text.starts_with("SIP/2.0 200 bob"), "{ok:?}");
}

#[test]
fn challenges_have_the_name_that_is_set() {
    let settings = Settings { www_header: "X-Challenge".into(), ..Settings::default() };
    let mut town = Town::new(1, &house(settings));
    let refused = town.register(&bob("c1", 1));
    assert_eq!(values(&refused, "WWW-Authenticate").len(), 0);
    assert!(values(&refused, "X-Challenge")[0].starts_with("Digest realm="), "{refused}");
}
