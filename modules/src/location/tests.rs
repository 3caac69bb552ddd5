//! Tests of the location as a whole: expiry, events, storage, restarts, keep-alives, commands.

use super::{DbMode, KeepAlive, Settings};
use crate::bench;
use crate::registrar::SaveOptions;
use crate::registrar::rig::{BEGIN, House, Mood, Register, Town, invite, status, values};
use strowger_sip::date::UnixTime;
use strowger_sip::engine::Input;
use strowger_sip::shard::ShardMap;
use strowger_sip::storage::{Datum, Note, Version};
use strowger_sip::time::secs;
use strowger_sip::transport::{ConnectionId, Flow, Lifespan, ListenerId, Transport};

fn house(location: Settings) -> House {
    House { location, ..House::default() }
}

fn stored(db_mode: DbMode) -> House {
    house(Settings { db_mode, ..Settings::default() })
}

fn user(name: &str, cseq: u32) -> Register {
    let contact = format!("<sip:{name}@192.0.2.10>");
    Register::of(name, &format!("call-{name}"), cseq).contact(&contact)
}

fn contacts(town: &mut Town) -> usize {
    let sizes = town.command("ul.db_contacts", &[]);
    sizes.iter().map(|size| size.parse::<usize>().expect("a number")).sum()
}

#[test]
fn contacts_end_when_their_time_is_over() {
    let mut town = Town::new(2, &House::default());
    town.register(&user("bob", 1).line("Expires: 100"));
    town.register(&user("al", 1).line("Expires: 200"));
    town.advance(60);
    town.register(&user("bob", 2).line("Expires: 100"));
    town.advance(45);
    assert_eq!(contacts(&mut town), 2);
    town.advance(56);
    assert_eq!(contacts(&mut town), 1);
    town.advance(60);
    assert_eq!(contacts(&mut town), 0);
    let heard = town.heard();
    assert_eq!(
        heard,
        [
            "Insert bob sip:bob@192.0.2.10 1",
            "Insert al sip:al@192.0.2.10 1",
            "Update bob sip:bob@192.0.2.10 1",
            "Expire bob sip:bob@192.0.2.10 0",
            "Expire al sip:al@192.0.2.10 0",
        ]
    );
    for shard in &town.node.shards {
        assert!(shard.census().is_empty(), "{:?}", shard.census());
    }
}

#[test]
fn a_change_may_ask_not_to_be_published() {
    let save = SaveOptions::default().unpublished();
    let mut town = Town::new(1, &House { save, ..House::default() });
    town.register(&user("bob", 1).contact("<sip:bob@192.0.2.11>"));
    let heard = town.heard();
    assert_eq!(heard.len(), 2);
    assert!(heard.iter().all(|event| event.ends_with(" quiet")), "{heard:?}");
}

#[test]
fn a_promise_waits_for_storage() {
    let mut town = Town::new(2, &stored(DbMode::Realtime));
    town.storage.mood = Mood::Dead;
    assert_eq!(town.register(&user("bob", 1)), "");
    town.storage.mood = Mood::Well;
    assert_eq!(status(&town.register(&user("al", 1))), "200");
    assert_eq!(town.storage.rows.len(), 1);
    // Nothing was promised to bob: the change is taken back, and bob hears so.
    let sent = town.advance(5);
    let refused = sent.iter().map(|sent| status(&sent.text)).filter(|status| *status != "100");
    assert_eq!(refused.collect::<Vec<_>>(), ["503"]);
    assert_eq!(contacts(&mut town), 1);
    assert_eq!(status(&town.register(&user("bob", 2))), "200");
    assert_eq!(town.storage.rows.len(), 2);
}

#[test]
fn what_storage_refuses_is_undone() {
    let mut town = Town::new(2, &stored(DbMode::Realtime));
    let before = town.register(&user("bob", 1).line("Expires: 100"));
    town.storage.mood = Mood::Refusing;
    let new = Register::of("bob", "other", 1).contact("<sip:bob@192.0.2.11>");
    assert_eq!(status(&town.register(&new)), "503");
    let longer = user("bob", 2).line("Expires: 900");
    assert_eq!(status(&town.register(&longer)), "503");
    let gone = Register::of("bob", "other", 2).contact("*").line("Expires: 0");
    assert_eq!(status(&town.register(&gone)), "503");
    let after = town.register(&Register::of("bob", "asks", 1));
    assert_eq!(values(&after, "Contact"), values(&before, "Contact"));
    let heard = town.heard();
    assert_eq!(heard.len(), 7, "{heard:?}");
    assert_eq!(heard[6], "Insert bob sip:bob@192.0.2.10 1");
}

#[test]
fn a_restart_brings_every_promise_back() {
    for (mode, shards) in [(DbMode::Realtime, 2), (DbMode::Delayed, 4), (DbMode::Realtime, 1)] {
        let house = stored(mode);
        let mut town = Town::new(2, &house);
        for n in 0..100 {
            let register = user(&format!("u{n}"), 1).line("Expires: 1000");
            assert_eq!(status(&town.register(&register)), "200");
        }
        let short = user("short", 1).line("Expires: 60");
        town.register(&short);
        let gone = user("u7", 2).line("Expires: 0");
        assert_eq!(status(&town.register(&gone)), "200");
        assert_eq!(town.storage.rows.len(), 100);
        // A row that ended while the node was down, and one that nobody can read.
        for (_, record) in town.storage.rows.values_mut() {
            if record[1] == Datum::Text("short".into()) {
                record[6] = Datum::Date(UnixTime::from_secs(BEGIN - 5));
            }
        }
        town.storage.rows.insert(("location", "x".into()), (Version(1), vec![Datum::Null]));
        let mut town = town.restarted(shards, &house);
        assert_eq!(contacts(&mut town), 99);
        let sizes = town.command("ul.db_contacts", &[]);
        assert_eq!(sizes.len(), usize::from(shards));
        assert!(sizes.iter().all(|size| size != "0"), "{sizes:?}");
        let sent = town.send("192.0.2.9:5060", &invite("sip:u42@example.com", "i"));
        assert!(sent.iter().any(|s| s.text.starts_with("INVITE sip:u42@192.0.2.10")));
        let sent = town.send("192.0.2.9:5060", &invite("sip:u7@example.com", "i2"));
        assert!(sent.iter().any(|s| status(&s.text) == "404"));
        // They still end in time.
        town.advance(1001);
        assert_eq!(contacts(&mut town), 0);
    }
}

#[test]
fn a_contact_behind_a_nat_is_reached_after_a_restart() {
    let save = SaveOptions::default().behind_nat();
    let house = House { save, ..stored(DbMode::Realtime) };
    let mut town = Town::new(1, &house);
    let register = Register::of("bob", "c1", 1).contact("<sip:bob@10.0.0.5>").text();
    town.send("203.0.113.7:40000", &register);
    let mut town = town.restarted(2, &house);
    let sent = town.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i"));
    let branch = sent.iter().find(|s| s.text.starts_with("INVITE")).expect("a branch");
    assert_eq!(branch.to, "203.0.113.7:40000");
}

#[test]
fn attributes_of_a_contact_survive_a_restart() {
    let kept = |town: &Town| -> Vec<Datum> {
        let of_attributes =
            town.storage.rows.iter().filter(|((name, _), _)| *name == "location_attrs");
        of_attributes.map(|(_, (_, record))| record[3].clone()).collect()
    };
    let names = ["mobility", "audio"].map(|name| Datum::Text(name.into()));
    for db_mode in [DbMode::Realtime, DbMode::Delayed, DbMode::DatabaseOnly] {
        let house = stored(db_mode);
        let mut town = Town::new(2, &house);
        let says = |cseq: u32, more: &str| {
            Register::of("bob", "c1", cseq).contact(&format!("<sip:bob@192.0.2.10>{more}"))
        };
        let told = says(1, ";mobility=\"fixed;or not\";audio");
        assert_eq!(status(&town.register(&told)), "200");
        assert_eq!(kept(&town), names, "{db_mode:?}");
        // Somebody without attributes has no rows.
        town.register(&user("al", 1));
        assert_eq!(kept(&town), names, "{db_mode:?}");
        let mut town = town.restarted(2, &house);
        if db_mode != DbMode::DatabaseOnly {
            // What the node remembers is what it says again.
            town.storage.rows.retain(|(name, _), _| *name != "location_attrs");
            (0..2).for_each(|shard| town.note(shard, Note::Resync));
            town.advance(2);
        }
        assert_eq!(kept(&town), names, "{db_mode:?}");
        assert_eq!(status(&town.register(&says(2, ""))), "200");
        assert_eq!(kept(&town), [], "{db_mode:?}");
        town.register(&says(3, ";audio"));
        assert_eq!(kept(&town), names[1..], "{db_mode:?}");
        town.register(&says(4, ";expires=0"));
        assert_eq!(kept(&town), [], "{db_mode:?}");
    }
}

#[test]
fn another_writer_of_the_database_is_seen() {
    let house = stored(DbMode::DatabaseOnly);
    let mut one = Town::new(2, &house);
    assert_eq!(status(&one.register(&user("bob", 1))), "200");
    // Another node with the same database, which was running already.
    let mut two = Town::new(2, &house);
    two.storage.rows = one.storage.rows.clone();
    let sent = two.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i"));
    assert!(sent.iter().any(|s| s.text.starts_with("INVITE sip:bob@192.0.2.10")), "{sent:?}");
    two.advance(1);
    let gone = user("bob", 2).line("Expires: 0");
    assert_eq!(status(&two.register(&gone)), "200");
    assert!(two.storage.rows.is_empty());
    one.storage.rows.clear();
    let sent = one.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i2"));
    assert!(sent.iter().any(|s| status(&s.text) == "404"));
    one.storage.mood = Mood::Refusing;
    let sent = one.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i3"));
    assert!(sent.iter().any(|s| status(&s.text) == "503"));
}

#[test]
fn after_an_overflow_storage_is_told_everything_again() {
    let mut town = Town::new(2, &stored(DbMode::Delayed));
    for n in 0..50 {
        town.register(&user(&format!("u{n}"), 1));
    }
    town.storage.rows.clear();
    town.note(0, Note::Resync);
    town.note(1, Note::Resync);
    town.advance(1);
    assert_eq!(town.storage.rows.len(), 50);
}

#[test]
fn contacts_over_a_connection_end_with_it_where_that_is_wanted() {
    for handle_lost_tcp in [true, false] {
        let settings =
            Settings { handle_lost_tcp, db_mode: DbMode::Delayed, ..Settings::default() };
        let mut town = Town::new(2, &house(settings));
        let lost = ConnectionId(7);
        // Of ten users some are at home on the other shard; one moves to another connection.
        for (n, connection) in (0..10).map(|n| (n, lost)).chain([(3, ConnectionId(8))]) {
            let name = format!("u{n}");
            let cseq = u32::try_from(connection.0).expect("small");
            let text = user(&name, cseq).text().replace('\n', "\r\n");
            let home = ShardMap::new(2, (1, 2)).home(format!("call-{name}").as_bytes());
            let remote = "192.0.2.10:5060".parse().expect("an address");
            let flow = Flow {
                transport: Transport::Tcp,
                connection: Some(connection),
                ..Flow::udp(ListenerId(0), remote)
            };
            let input = Input::Datagram { flow, bytes: text.as_bytes() };
            town.node.shards[usize::from(home.0)].input(input);
            town.settle();
        }
        assert_eq!(contacts(&mut town), 10);
        town.node.shards[1].input(Input::Closed(lost));
        town.settle();
        let left = if handle_lost_tcp { 1 } else { 10 };
        assert_eq!((contacts(&mut town), town.storage.rows.len()), (left, left));
        town.node.shards[0].input(Input::Closed(ConnectionId(8)));
        town.settle();
        let left = if handle_lost_tcp { 0 } else { 10 };
        assert_eq!((contacts(&mut town), town.storage.rows.len()), (left, left));
    }
}

/// A REGISTER over a connection.
fn register_over(town: &mut Town, connection: u64, register: &Register) {
    let text = register.text().replace('\n', "\r\n");
    let home = ShardMap::new(2, (1, 2)).home(register.call_id.as_bytes());
    let remote = "192.0.2.10:5060".parse().expect("an address");
    let connection = Some(ConnectionId(connection));
    let transport = Transport::Tcp;
    let flow = Flow { transport, connection, ..Flow::udp(ListenerId(0), remote) };
    town.node.shards[usize::from(home.0)].input(Input::Datagram { flow, bytes: text.as_bytes() });
    town.settle();
}

fn lifespans(town: &mut Town) -> Vec<(ConnectionId, Lifespan)> {
    town.node.shards.iter_mut().flat_map(|shard| shard.take_lifespans()).collect()
}

#[test]
fn a_connection_is_kept_while_its_contacts_last_where_that_is_wanted() {
    for (flag, flags, kept) in [(Some(3), 8, true), (Some(3), 4, false), (None, 8, false)] {
        let registrar = crate::registrar::Settings {
            tcp_persistent_flag: flag,
            ..crate::registrar::Settings::default()
        };
        let save = SaveOptions::default().flags(flags, 0);
        let mut town = Town::new(2, &House { registrar, save, ..House::default() });
        town.advance(5);
        let register = user("bob", 1).contact("<sip:bob2@192.0.2.10>;expires=600");
        register_over(&mut town, 7, &register.line("Expires: 300"));
        let until = Lifespan::Until(strowger_sip::time::Instant::START + secs(605));
        let expected = if kept { vec![(ConnectionId(7), until)] } else { Vec::new() };
        assert_eq!(lifespans(&mut town), expected);
        // What came in datagrams has no connection, and what is removed keeps none.
        town.register(&user("al", 1));
        register_over(&mut town, 8, &user("al", 2).line("Expires: 0"));
        assert_eq!(lifespans(&mut town), []);
    }
}

#[test]
fn a_connection_ends_with_its_last_contact_where_that_is_wanted() {
    for close_expired_tcp in [true, false] {
        let settings = Settings { close_expired_tcp, ..Settings::default() };
        let mut town = Town::new(2, &house(settings));
        // Ten users on both shards, who expire one after the other.
        for n in 0..10 {
            let register = user(&format!("u{n}"), 1).line(&format!("Expires: {}", 100 + n * 10));
            register_over(&mut town, 7, &register);
        }
        town.advance(185);
        assert_eq!((contacts(&mut town), lifespans(&mut town)), (1, Vec::new()));
        town.advance(10);
        let over = vec![(ConnectionId(7), Lifespan::Over)];
        let expected = if close_expired_tcp { over } else { Vec::new() };
        assert_eq!((contacts(&mut town), lifespans(&mut town)), (0, expected));
    }
}

#[test]
fn rows_of_connections_are_deleted_at_start_where_that_is_wanted() {
    for (db_clean_tcp, left) in [(true, 1), (false, 2)] {
        let settings = Settings { db_clean_tcp, db_mode: DbMode::Realtime, ..Settings::default() };
        let house = house(settings);
        let mut town = Town::new(2, &house);
        town.register(&user("bob", 1));
        town.register(&user("al", 1));
        let row = town.storage.rows.values_mut().next().expect("a row");
        row.1[14] = Datum::Text("tcp:192.0.2.1:5060".into());
        let mut town = town.restarted(2, &house);
        assert_eq!((contacts(&mut town), town.storage.rows.len()), (left, left));
    }
}

#[test]
fn rows_that_nobody_saw_end_are_deleted() {
    for (db_mode, db_timer_clean, hours) in [
        (DbMode::DatabaseOnly, false, 0),
        (DbMode::Delayed, true, 0),
        (DbMode::Realtime, false, 24),
    ] {
        let settings = Settings { db_mode, db_timer_clean, ..Settings::default() };
        let mut town = Town::new(2, &house(settings));
        for n in 0..4 {
            town.register(&user(&format!("u{n}"), 1).line("Expires: 3600"));
        }
        // They ended before the start, but for one that never ends and one that has time.
        let ends = [0, BEGIN + 9999, BEGIN - 10, BEGIN - hours * 3600 - 1];
        for ((_, record), end) in town.storage.rows.values_mut().zip(ends) {
            record[6] = Datum::Date(UnixTime::from_secs(end));
        }
        town.advance(61);
        let left = if hours == 0 { 2 } else { 3 };
        assert_eq!(town.storage.rows.len(), left, "{db_mode:?}");
    }
}

#[test]
fn without_a_mode_for_it_nothing_is_loaded() {
    let mut town = Town::new(1, &stored(DbMode::Realtime));
    town.register(&user("bob", 1));
    let mut town = town.restarted(1, &stored(DbMode::Memory));
    assert_eq!(contacts(&mut town), 0);
    let mut town = town.restarted(1, &stored(DbMode::LoadOnly));
    assert_eq!(contacts(&mut town), 1);
    town.register(&user("bob", 2).line("Expires: 0"));
    town.register(&user("al", 1));
    assert_eq!(town.storage.rows.len(), 1);
}

#[test]
fn what_another_registrar_has_refreshed_is_not_deleted_when_it_ends_here() {
    let mut town = Town::new(1, &stored(DbMode::DatabaseOnly));
    town.register(&user("bob", 1).line("Expires: 100"));
    for (_, record) in town.storage.rows.values_mut() {
        record[6] = Datum::Date(UnixTime::from_secs(BEGIN + 1000));
    }
    town.advance(101);
    assert_eq!(town.storage.rows.len(), 1);
    let sent = town.send("192.0.2.9:5060", &invite("sip:bob@example.com", "i"));
    assert!(sent.iter().any(|s| s.text.starts_with("INVITE sip:bob@192.0.2.10")), "{sent:?}");
}

#[test]
fn storage_is_told_no_more_than_it_has_room_for_until_it_has_everything() {
    let mut town = Town::new(1, &stored(DbMode::Delayed));
    for n in 0..600 {
        town.register(&user(&format!("u{n}"), 1));
    }
    town.storage.rows.clear();
    town.storage.mood = Mood::Dead;
    let before = town.storage.orders;
    town.note(0, Note::Resync);
    assert_eq!(town.storage.orders - before, 256);
    // What is dropped while it says everything again has to be said once more.
    town.note(0, Note::Resync);
    town.storage.mood = Mood::Refusing;
    town.advance(6);
    assert!(town.storage.rows.is_empty() && town.storage.orders - before >= 512);
    town.storage.mood = Mood::Well;
    let before = town.storage.orders;
    town.advance(5);
    assert_eq!(town.storage.rows.len(), 600);
    assert_eq!(town.storage.orders - before, 1200);
    town.advance(20);
    assert_eq!(town.storage.orders - before, 1200);
}

fn kept_alive(settings: KeepAlive) -> House {
    let keep_alive = KeepAlive { interval: secs(40), randomize: 0, ..settings };
    let save = SaveOptions::default().behind_nat();
    House { save, ..house(Settings { keep_alive, ..Settings::default() }) }
}

#[test]
fn keep_alives_are_spread_over_their_interval() {
    let mut town = Town::new(1, &kept_alive(KeepAlive { mode: 1, ..KeepAlive::default() }));
    for n in 0..100 {
        town.register(&user(&format!("u{n}"), 1));
    }
    town.advance(1);
    let mut busiest = 0;
    let mut all = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let sent = town.advance(1);
        let requests: Vec<_> = sent.iter().filter(|s| s.text.starts_with("OPTIONS")).collect();
        for request in &requests {
            let ok = bench::response(&request.text.replace('\r', ""), "200 OK");
            town.send("192.0.2.10:5060", &ok);
        }
        // A request may be sent again before its answer arrives.
        let before = all.len();
        all.extend(requests.iter().map(|s| values(&s.text, "Call-ID").concat()));
        busiest = busiest.max(all.len() - before);
    }
    assert!((99..=101).contains(&all.len()), "{}", all.len());
    assert!(busiest <= 5, "{busiest}");
}

#[test]
fn keep_alives_can_name_the_user() {
    let domain = "ka.example.com".to_owned();
    let mut town = Town::new(1, &kept_alive(KeepAlive { mode: 1, domain, ..KeepAlive::default() }));
    town.register(&user("bob", 1));
    let sent = town.advance(45);
    let request = sent.iter().find(|s| s.text.starts_with("OPTIONS")).expect("a keep-alive");
    assert!(request.text.starts_with("OPTIONS sip:bob@192.0.2.10 SIP/2.0"));
    assert_eq!(values(&request.text, "To"), ["<sip:bob@ka.example.com>"]);
}

#[test]
fn keep_alives_can_go_to_contacts_of_this_node_alone() {
    let node = |server_id| {
        let keep_alive = KeepAlive { mode: 1, own_only: true, ..KeepAlive::default() };
        let db_mode = DbMode::Realtime;
        house(Settings { keep_alive, server_id, db_mode, ..Settings::default() })
    };
    for (restarted_as, pinged) in [(1, true), (2, false)] {
        let mut town = Town::new(1, &node(1));
        town.register(&user("bob", 1));
        let mut town = town.restarted(1, &node(restarted_as));
        assert_eq!(contacts(&mut town), 1);
        let sent = town.advance(60);
        assert_eq!(sent.iter().any(|s| s.text.starts_with("OPTIONS")), pinged, "{restarted_as}");
    }
}

#[test]
fn a_contact_that_stays_silent_is_removed() {
    let timeout = secs(60);
    let mut town =
        Town::new(1, &kept_alive(KeepAlive { mode: 3, timeout, ..KeepAlive::default() }));
    town.register(&user("bob", 1));
    town.advance(90);
    assert_eq!(contacts(&mut town), 1);
    town.advance(60);
    assert_eq!(contacts(&mut town), 0);
    assert_eq!(town.heard().last().map(String::as_str), Some("Delete bob sip:bob@192.0.2.10 0"));
}

#[test]
fn empty_lines_keep_nat_bindings_open() {
    let keep_alive = KeepAlive { natping_interval: secs(30), mode: 0, ..KeepAlive::default() };
    let mut town = Town::new(2, &kept_alive(keep_alive));
    town.register(&user("bob", 1));
    let sent = town.advance(95);
    assert_eq!(sent.iter().filter(|s| s.text == "\r\n\r\n").count(), 3, "{sent:?}");
    assert!(sent.iter().all(|s| s.to == "192.0.2.10:5060"));
}

#[test]
fn commands_show_and_change_contacts() {
    let mut town = Town::new(4, &House::default());
    town.register(&user("bob", 1).line("User-Agent: a \"phone\""));
    let shown = town.command("ul.lookup", &["location", "bob"]);
    assert_eq!(shown.len(), 1);
    assert!(shown[0].contains("\"Address\":\"sip:bob@192.0.2.10\""), "{shown:?}");
    assert!(shown[0].contains("\"User-Agent\":\"a \\\"phone\\\"\""), "{shown:?}");
    assert!(shown[0].contains("\"Ruid\":\"n1-"), "{shown:?}");
    let add = ["location", "al", "sip:al@192.0.2.30", "0", "0.7", ".", "0", "0", "0"];
    assert_eq!(town.command("ul.add", &add), ["\"OK\""]);
    let shown = town.command("ul.lookup", &["location", "al"]);
    assert!(shown[0].contains("\"Expires\":\"permanent\",\"Q\":\"0.700\""), "{shown:?}");
    let dumped = town.command("ul.dump", &["brief"]).concat();
    assert!(dumped.contains("\"AoR\":\"bob\"") && dumped.contains("sip:al@192.0.2.30"));
    let remove = ["location", "al", "sip:al@192.0.2.30"];
    assert_eq!(town.command("ul.rm_contact", &remove), ["\"OK\""]);
    assert_eq!(town.command("ul.rm", &["location", "bob"]), ["\"OK\""]);
    assert_eq!(contacts(&mut town), 0);
    for (name, arguments) in [
        ("ul.lookup", vec!["location", "bob"]),
        ("ul.lookup", vec!["elsewhere", "bob"]),
        ("ul.lookup", vec![]),
        ("ul.rm", vec!["location", "bob"]),
        ("ul.add", vec!["location", "bob", "no uri", "0", "0"]),
        ("ul.add", vec!["location", "bob", "sip:b@h", "soon", "0"]),
        ("ul.add", vec!["location", "bob", "sip:b@h", "1", "7", "."]),
    ] {
        assert!(town.command(name, &arguments).is_empty(), "{name} {arguments:?}");
    }
}

/// Storage and timers not counted; `benches` prints what a process takes in all.
#[test]
fn a_contact_takes_less_than_512_bytes() {
    use super::table::Table;
    use super::{Aor, Contact, Facts, Texts};
    use strowger_sip::transport::{Flow, ListenerId};
    const CONTACTS: usize = 100_000;
    let mut table = Table::new(CONTACTS, (1, 2));
    for n in 0..CONTACTS {
        let aor = Aor::new(&format!("subscriber{n}@example.com")).expect("a key");
        let texts = [
            format!("sip:subscriber{n}@10.20.30.40:5062;transport=udp"),
            format!("{n:08x}-aaaa-bbbb-cccc@10.20.30.40"),
            format!("node1-0-{n:013x}"),
        ];
        let texts = Texts {
            uri: texts[0].as_bytes(),
            call_id: texts[1].as_bytes(),
            ruid: texts[2].as_bytes(),
            user_agent: b"Some Vendor Phone 12.34.56.78",
            received: b"sip:203.0.113.7:40000",
            ..Texts::default()
        };
        let now = UnixTime::from_secs(BEGIN);
        let mut facts = Facts::new(now, Some(now + secs(3600)));
        facts.flow = Some(Flow::udp(ListenerId(0), "203.0.113.7:40000".parse().expect("one")));
        table.change(&aor, |contacts| contacts.push(Contact::new(&texts, facts)));
    }
    let bytes = table.bytes() / CONTACTS;
    assert!(bytes <= 512, "{bytes} bytes a contact");
}
