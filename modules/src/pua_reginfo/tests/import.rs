//! What is taken in of what others tell.

use super::rig::{House, World, header, user};
use crate::location::DbMode;
use crate::pua::bodies::reginfo::{
    Contact, ContactState, Event, Extent, Reginfo, Registration, RegistrationState,
};

const BOB: &str = "sip:bob@example.com";

fn contact(id: &str, uri: &str) -> Contact {
    Contact {
        expires_seconds: Some(100),
        call_id: Some(format!("r-{id}")),
        cseq: Some(9),
        ..Contact::new(id, uri, ContactState::Active, Event::Created)
    }
}

fn gone(contact: Contact) -> Contact {
    Contact {
        state: ContactState::Terminated,
        event: Event::Unregistered,
        expires_seconds: Some(47),
        ..contact
    }
}

fn registration(aor: &str, contacts: Vec<Contact>) -> Registration {
    let active = contacts.iter().any(|one| one.state == ContactState::Active);
    let state = if active { RegistrationState::Active } else { RegistrationState::Terminated };
    Registration { aor: aor.into(), id: format!("id-{aor}"), state, contacts }
}

fn document(version: u32, registrations: Vec<Registration>) -> Reginfo {
    Reginfo { version, extent: Extent::Full, registrations }
}

/// Contacts of which a document says no more than it must.
fn slim(numbers: std::ops::Range<usize>) -> Vec<Contact> {
    let slim = |n| {
        let uri = format!("sip:b@h{n}");
        Contact::new(&format!("c{n}"), &uri, ContactState::Active, Event::Registered)
    };
    numbers.map(slim).collect()
}

/// A registrar that follows bob.
fn follower() -> World {
    let mut world = World::alone(|_| {});
    world.follow(0, BOB, 600);
    world
}

/// Sends a document; what became of it.
fn tell(world: &mut World, document: &Reginfo) -> i32 {
    world.notify_with(0, &document.write());
    let heard = world.heard(0);
    assert_eq!(heard.len(), 1, "{heard:?}");
    heard[0]
}

/// G8.
#[test]
fn a_subscription_is_made_once_and_then_refreshed() {
    let mut world = follower();
    let first = world.subscribes[0].clone();
    assert!(first.starts_with("SUBSCRIBE sip:bob@example.com SIP/2.0"), "{first}");
    assert_eq!((header(&first, "Event"), header(&first, "Expires")), (Some("reg"), Some("600")));
    assert_eq!(header(&first, "Contact"), Some("<sip:r1@192.0.2.1>"));
    assert_eq!(header(&first, "Accept"), Some("application/reginfo+xml"));
    assert!(header(&first, "From").is_some_and(|from| from.starts_with("<sip:r1@192.0.2.1>;tag=")));
    world.follow(0, BOB, 900);
    let [_, second] = &world.subscribes[..] else { panic!("{:?}", world.subscribes) };
    assert_eq!(header(&first, "Call-ID"), header(second, "Call-ID"));
    assert!(header(second, "To").is_some_and(|to| to.contains(";tag=")));
    // And ended.
    world.follow(0, BOB, 0);
    assert_eq!(header(&world.subscribes[2], "Expires"), Some("0"));
}

/// G9 and G10.
#[test]
fn an_active_contact_is_taken_in_and_not_told_again() {
    let mut world = follower();
    let told = contact("c1", "sip:bob@10.0.0.1:5060");
    assert_eq!(tell(&mut world, &document(1, vec![registration(BOB, vec![told])])), 1);
    let shown = world.contacts(0, "bob");
    assert!(shown.contains("\"Address\":\"sip:bob@10.0.0.1:5060\""), "{shown}");
    assert!(shown.contains("\"Call-ID\":\"r-c1\",\"CSeq\":9"), "{shown}");
    assert!(shown.contains("\"Expires\":\"100\"") && shown.contains("\"Ruid\":\"regi-"), "{shown}");
    world.advance(5);
    assert_eq!(world.publishes, []);
    world.register(0, &user("al", "d", 1, "<sip:al@192.0.2.10>"));
    world.advance(1);
    assert_eq!(world.documents().len(), 1);
    // Its end is not told either.
    world.advance(100);
    assert_eq!((world.contacts(0, "bob"), world.publishes.len()), (String::new(), 0));
    assert_eq!(world.metric(0, "pua_reginfo_imported_contacts"), 1);
}

/// G11.
#[test]
fn a_contact_that_is_gone_goes() {
    for expires_seconds in [Some(47), Some(0), None] {
        let mut world = follower();
        let told = contact("c1", "sip:bob@10.0.0.1:5060");
        tell(&mut world, &document(1, vec![registration(BOB, vec![told.clone()])]));
        let over = Contact { expires_seconds, ..gone(told) };
        let mut over = registration(BOB, vec![over]);
        over.state = RegistrationState::Active;
        assert_eq!(tell(&mut world, &document(2, vec![over])), 2);
        assert_eq!(world.contacts(0, "bob"), "");
        world.advance(3);
        assert_eq!(world.publishes, []);
    }
}

/// G12.
#[test]
fn an_address_that_is_gone_loses_what_was_taken_in() {
    let mut world = follower();
    let told = contact("c1", "sip:bob@10.0.0.1:5060");
    tell(&mut world, &document(1, vec![registration(BOB, vec![told])]));
    assert_eq!(tell(&mut world, &document(2, vec![registration(BOB, Vec::new())])), 2);
    assert_eq!(world.contacts(0, "bob"), "");
    // And one of which nobody knows.
    let unknown = registration("sip:nobody@example.com", Vec::new());
    assert_eq!(tell(&mut world, &document(3, vec![unknown])), 2);
    // A NOTIFY without a document says that nothing is left to say.
    world.notify_with(0, "");
    assert_eq!(world.heard(0), [2]);
}

/// G13, on all shards of a larger node.
#[test]
fn addresses_of_one_document_are_each_taken_in_where_they_belong() {
    let mut house = House::new("r1");
    house.shards = 4;
    let mut world = World::new(&[house]);
    world.follow(0, BOB, 600);
    let all = |active: &dyn Fn(usize) -> bool| {
        let one = |n: usize| {
            let told = contact("c1", &format!("sip:u{n}@10.0.0.1"));
            let told = if active(n) { told } else { gone(told) };
            registration(&format!("sip:u{n}@example.com"), vec![told])
        };
        (0..20).map(one).collect::<Vec<_>>()
    };
    assert_eq!(tell(&mut world, &document(1, all(&|_| true))), 1);
    assert_eq!(tell(&mut world, &document(2, all(&|n| n % 2 == 0))), 1);
    let left: Vec<usize> =
        (0..20).filter(|n| !world.contacts(0, &format!("u{n}")).is_empty()).collect();
    assert_eq!(left, (0..20).step_by(2).collect::<Vec<_>>());
    // What a full document does not tell of is no more.
    assert_eq!(tell(&mut world, &document(3, Vec::new())), 2);
    assert!((0..20).all(|n| world.contacts(0, &format!("u{n}")).is_empty()));
}

/// G14.
#[test]
fn an_older_document_is_ignored_and_after_a_gap_everything_is_asked_for() {
    let mut world = follower();
    let told = |uri| vec![registration(BOB, vec![contact("c1", uri)])];
    assert_eq!(tell(&mut world, &document(5, told("sip:bob@10.0.0.1"))), 1);
    tell(&mut world, &document(5, told("sip:bob@10.0.0.2")));
    assert!(!world.contacts(0, "bob").contains("10.0.0.2"));
    assert_eq!(world.metric(0, "pua_reginfo_ignored_notifies"), 1);
    let partial = Reginfo { extent: Extent::Partial, ..document(7, told("sip:bob@10.0.0.3")) };
    assert_eq!(tell(&mut world, &partial), -1);
    assert!(!world.contacts(0, "bob").contains("10.0.0.3"));
    let [first, second] = &world.subscribes[..] else { panic!("{:?}", world.subscribes) };
    assert_eq!(header(first, "Call-ID"), header(second, "Call-ID"));
    // The rest of the time that was wanted.
    let expires: u32 = header(second, "Expires").and_then(|it| it.parse().ok()).expect("one");
    assert!((590..=600).contains(&expires), "{expires}");
    assert_eq!(world.metric(0, "pua_reginfo_gaps"), 1);
    // The full document that follows is taken, and a partial one after it changes what it tells of.
    assert_eq!(tell(&mut world, &document(8, told("sip:bob@10.0.0.4"))), 1);
    let mut more = told("sip:bob@10.0.0.5");
    more[0].contacts[0].id = "c2".into();
    let partial = Reginfo { extent: Extent::Partial, ..document(9, more) };
    assert_eq!(tell(&mut world, &partial), 1);
    let shown = world.contacts(0, "bob");
    assert!(shown.contains("10.0.0.4") && shown.contains("10.0.0.5"), "{shown}");
}

/// G15.
#[test]
fn a_full_document_is_all_there_is_of_its_source() {
    let mut world = follower();
    world.register(0, &user("bob", "here", 1, "<sip:bob@192.0.2.10>"));
    let (c1, c2) = (contact("c1", "sip:bob@10.0.0.1"), contact("c2", "sip:bob@10.0.0.2"));
    let both = registration(BOB, vec![c1.clone(), c2.clone()]);
    assert_eq!(tell(&mut world, &document(1, vec![both])), 1);
    assert_eq!(tell(&mut world, &document(2, vec![registration(BOB, vec![c1])])), 1);
    let shown = world.contacts(0, "bob");
    assert!(shown.contains("10.0.0.1") && !shown.contains("10.0.0.2"), "{shown}");
    assert!(shown.contains("sip:bob@192.0.2.10"), "{shown}");
    // Nothing that is told touches what is registered here.
    let stolen = gone(contact("c3", "sip:bob@192.0.2.10"));
    tell(&mut world, &document(3, vec![registration(BOB, vec![stolen, c2])]));
    assert!(world.contacts(0, "bob").contains("sip:bob@192.0.2.10"));
}

/// G16.
#[test]
fn what_is_no_document_changes_nothing() {
    let mut world = follower();
    let good = document(1, vec![registration(BOB, vec![contact("c1", "sip:bob@10.0.0.1")])]);
    tell(&mut world, &good);
    let before = world.contacts(0, "bob");
    let deep = format!("{}{}", "<a>".repeat(8000), "</a>".repeat(8000));
    let text =
        document(2, vec![registration(BOB, vec![contact("c9", "sip:bob@10.0.0.9")])]).write();
    let entities = text.replace("<reginfo", "<!DOCTYPE reginfo [<!ENTITY a \"b\">]>\n<reginfo");
    let mut foreign = good.clone();
    (foreign.version, foreign.registrations[0].aor) = (2, "sip:bob@elsewhere.example".into());
    let mut half = good.clone();
    half.version = 2;
    half.registrations.push(registration("sip:al@example.com", vec![contact("c1", "sip:al@h")]));
    let half = half.write().replace("sip:al@h<", "no uri<");
    let many = document(2, vec![registration(BOB, slim(0..500))]).write();
    let bodies = ["<x".to_owned(), "<r/>".to_owned(), deep, entities, foreign.write(), half, many];
    for (count, body) in (1..).zip(&bodies) {
        world.answers.clear();
        world.notify_with(0, body);
        assert_eq!(world.heard(0), [-1], "{count}");
        let answer = world.answers.last().cloned().unwrap_or_default();
        assert!(answer.starts_with("SIP/2.0 400 Bad Document"), "{answer}");
        assert_eq!(world.metric(0, "pua_reginfo_rejected_notifies"), count);
    }
    assert_eq!(world.contacts(0, "bob"), before);
    assert_eq!(world.contacts(0, "al"), "");
    // As many contacts of two addresses are taken in exactly.
    let al = "sip:al@example.com";
    let many = vec![registration(BOB, slim(0..250)), registration(al, slim(250..500))];
    assert_eq!(tell(&mut world, &document(2, many)), 1);
    let count = |shown: String| shown.matches("\"Address\"").count();
    assert_eq!((count(world.contacts(0, "bob")), count(world.contacts(0, "al"))), (250, 250));
}

/// G17.
#[test]
fn a_stranger_tells_nothing() {
    let mut world = follower();
    let body =
        document(1, vec![registration(BOB, vec![contact("c1", "sip:bob@10.0.0.1")])]).write();
    world.notify_as(0, "nobody's", 1, &body);
    assert_eq!((world.contacts(0, "bob"), world.heard(0)), (String::new(), Vec::new()));
    assert!(world.answers.last().is_some_and(|answer| answer.starts_with("SIP/2.0 481")));
    // Nor does one who repeats or reorders what the server has sent.
    world.notify_with(0, &body);
    world.heard(0);
    let call_id = header(&world.subscribes[0], "Call-ID").expect("a Call-ID").to_owned();
    let over = document(2, Vec::new()).write();
    world.notify_as(0, &call_id, 1, &over);
    world.notify_as(0, &call_id, 0, &over);
    assert_eq!(world.heard(0), []);
    assert!(world.contacts(0, "bob").contains("10.0.0.1"));
}

/// G20: what a server makes of the documents of two registrars.
#[test]
fn documents_that_were_put_together_are_taken_in() {
    let mut world = follower();
    let of = |id: &str, told| Registration { id: id.into(), ..registration(BOB, told) };
    let (c1, c2) = (contact("c1", "sip:bob@10.0.0.1"), contact("c2", "sip:bob@10.0.0.2"));
    let both = vec![of("0x1", vec![c1.clone()]), of("0x2", vec![c2])];
    assert_eq!(tell(&mut world, &document(0, both.clone())), 1);
    let shown = world.contacts(0, "bob");
    assert!(shown.contains("10.0.0.1") && shown.contains("10.0.0.2"), "{shown}");
    let mut one_gone = both;
    one_gone[0] = of("0x1", vec![gone(c1)]);
    assert_eq!(tell(&mut world, &document(1, one_gone)), 1);
    let shown = world.contacts(0, "bob");
    assert!(!shown.contains("10.0.0.1") && shown.contains("10.0.0.2"), "{shown}");
}

#[test]
fn where_documents_are_passed_on_each_registrar_counts_for_itself() {
    let mut world = World::alone(|settings| settings.passed_on = true);
    world.follow(0, BOB, 600);
    let of = |id: &str, told| vec![Registration { id: id.into(), ..registration(BOB, told) }];
    let (c1, c2) = (contact("c1", "sip:bob@10.0.0.1"), contact("c2", "sip:bob@10.0.0.2"));
    assert_eq!(tell(&mut world, &document(7, of("0x1", vec![c1.clone()]))), 1);
    assert_eq!(tell(&mut world, &document(3, of("0x2", vec![c2]))), 1);
    let shown = world.contacts(0, "bob");
    assert!(shown.contains("10.0.0.1") && shown.contains("10.0.0.2"), "{shown}");
    assert_eq!(tell(&mut world, &document(8, of("0x1", vec![gone(c1)]))), 1);
    let shown = world.contacts(0, "bob");
    assert!(!shown.contains("10.0.0.1") && shown.contains("10.0.0.2"), "{shown}");
}

#[test]
fn where_a_contact_came_from_survives_a_restart() {
    let mut house = House::new("r1");
    house.location.db_mode = DbMode::Realtime;
    house.reginfo.publish_on_start = 1000;
    let mut world = World::new(&[house]);
    world.follow(0, BOB, 600);
    let told = contact("c1", "sip:bob@10.0.0.1");
    assert_eq!(tell(&mut world, &document(1, vec![registration(BOB, vec![told])])), 1);
    world.restart(0);
    assert!(world.contacts(0, "bob").contains("10.0.0.1"));
    world.advance(110);
    assert_eq!((world.contacts(0, "bob"), world.publishes.len()), (String::new(), 0));
}

#[test]
fn who_registers_here_too_is_of_here() {
    let mut world = follower();
    let told = contact("c1", "sip:bob@192.0.2.10");
    tell(&mut world, &document(1, vec![registration(BOB, vec![told])]));
    world.register(0, &user("bob", "r-c1", 10, "<sip:bob@192.0.2.10>;expires=300"));
    world.advance(1);
    let document = world.documents().remove(0);
    assert_eq!(document.registrations[0].contacts.len(), 1);
    let shown = world.contacts(0, "bob");
    assert!(!shown.contains("regi-") && shown.matches("Address").count() == 1, "{shown}");
}

#[test]
fn what_the_location_refuses_is_counted_and_asked_for_again() {
    let mut house = House::new("r1");
    house.location.contacts_max = 1;
    let mut world = World::new(&[house]);
    world.follow(0, BOB, 600);
    let two = vec![contact("c1", "sip:bob@10.0.0.1"), contact("c2", "sip:bob@10.0.0.2")];
    assert_eq!(tell(&mut world, &document(1, vec![registration(BOB, two)])), -1);
    assert_eq!(world.contacts(0, "bob"), "");
    assert_eq!(world.metric(0, "pua_reginfo_refused_imports"), 1);
    assert_eq!(world.subscribes.len(), 2);
    // Once more at once would be too often.
    world.notify_with(0, &document(1, Vec::new()).write());
    assert_eq!(world.subscribes.len(), 2);
}

#[test]
fn commands_follow_and_show_who_is_followed() {
    let mut world = World::alone(|_| {});
    assert_eq!(world.command(0, "reginfo.subscribe", &[BOB, "300"]), "\"OK\"");
    assert_eq!(header(&world.subscribes[0], "Expires"), Some("300"));
    world.notify_with(0, &document(1, Vec::new()).write());
    let shown = world.command(0, "reginfo.subs", &[]);
    assert!(shown.contains("\"presentity\":\"sip:bob@example.com\",\"documents\":1"), "{shown}");
    assert_eq!(world.command(0, "reginfo.subscribe", &["bob"]), "");
}

#[test]
fn users_of_the_configuration_are_followed_from_the_start() {
    let users = (0..6).map(|n| format!("sip:u{n}@example.com"));
    let mut world = World::alone(|settings| settings.subscribe = users.collect());
    world.advance(2);
    assert_eq!(world.subscribes.len(), 6);
    let mut world = World::alone(|settings| settings.server_address = None);
    world.follow(0, BOB, 600);
    assert!(world.answers.last().is_some_and(|answer| answer.starts_with("SIP/2.0 400")));
}
