//! What is published of this node's users.

use super::rig::{House, World, header, user};
use crate::location::{self, DbMode};
use crate::pua::bodies::reginfo::{ContactState, Event, Reginfo, RegistrationState};
use crate::registrar::rig::Register;
use strowger_sip::time::secs;

const FIRST: &str = "<sip:bob@127.0.0.1:6060>;expires=120;q=0.5";

/// The only document that was published, and its PUBLISH.
fn published(world: &mut World) -> (Reginfo, String) {
    let text = match &world.publishes[..] {
        [(_, text)] => text.clone(),
        other => panic!("{other:?}"),
    };
    (world.documents().remove(0), text)
}

fn states(document: &Reginfo) -> Vec<(ContactState, Event)> {
    let contacts = &document.registrations[0].contacts;
    contacts.iter().map(|contact| (contact.state, contact.event)).collect()
}

#[test]
fn the_life_of_a_users_registrations_is_published() {
    let mut world = World::alone(|_| {});
    // Created (G1).
    world.register(0, &user("bob", "cidA", 2, FIRST));
    world.advance(1);
    let (document, text) = published(&mut world);
    assert!(text.starts_with("PUBLISH sip:bob@example.com SIP/2.0"), "{text}");
    assert_eq!((header(&text, "Event"), header(&text, "SIP-If-Match")), (Some("reg"), None));
    let expires: u32 = header(&text, "Expires").and_then(|text| text.parse().ok()).expect("one");
    assert!((118..=124).contains(&expires), "{expires}");
    let registration = &document.registrations[0];
    assert_eq!(registration.aor, "sip:bob@example.com");
    assert_eq!(registration.state, RegistrationState::Active);
    let created = registration.contacts[0].clone();
    assert_eq!(states(&document), [(ContactState::Active, Event::Created)]);
    assert!(created.expires_seconds.is_some_and(|left| (118..=120).contains(&left)));
    assert_eq!((created.q, created.cseq), (Some(500), Some(2)));
    assert_eq!(created.call_id.as_deref(), Some("cidA"));
    assert_eq!(created.uri, "sip:bob@127.0.0.1:6060");

    // Refreshed (G2): the same names, the publication changed.
    world.register(0, &user("bob", "cidA", 3, FIRST));
    world.advance(1);
    let (document, text) = published(&mut world);
    assert_eq!(header(&text, "SIP-If-Match"), Some("e1"));
    assert_eq!(states(&document), [(ContactState::Active, Event::Refreshed)]);
    let refreshed = &document.registrations[0].contacts[0];
    assert_eq!((&refreshed.id, refreshed.cseq), (&created.id, Some(3)));
    assert_eq!((document.version, &document.registrations[0].id), (1, &registration.id));

    // A second device (G3).
    world.register(0, &user("bob", "cidB", 1, "<sip:bob@127.0.0.1:7070>;expires=120"));
    world.advance(1);
    let (document, text) = published(&mut world);
    assert_eq!(header(&text, "SIP-If-Match"), Some("e2"));
    let active = |event| (ContactState::Active, event);
    assert_eq!(states(&document), [active(Event::Registered), active(Event::Created)]);

    // One of the two goes (G4).
    world.register(0, &user("bob", "cidA", 4, "<sip:bob@127.0.0.1:6060>;expires=0"));
    world.advance(1);
    let (document, _) = published(&mut world);
    let gone = (ContactState::Terminated, Event::Unregistered);
    assert_eq!(states(&document), [active(Event::Registered), gone]);
    assert_eq!(document.registrations[0].state, RegistrationState::Active);
    assert_eq!(document.registrations[0].contacts[1].expires_seconds, Some(0));

    // The last one expires (G5), and the publication goes after that was told.
    world.advance(130);
    let publishes = std::mem::take(&mut world.publishes);
    let last = publishes.last().map(|(_, text)| text.clone()).expect("a PUBLISH");
    assert_eq!((header(&last, "Expires"), header(&last, "Content-Type")), (Some("0"), None));
    world.publishes = publishes;
    let document = world.documents().pop().expect("a document");
    assert_eq!(document.registrations[0].state, RegistrationState::Terminated);
    assert_eq!(states(&document), [(ContactState::Terminated, Event::Expired)]);
    assert_eq!(world.metric(0, "pua_reginfo_waiting"), 0);
}

/// G6.
#[test]
fn an_address_with_a_domain_keeps_it() {
    let mut house = House::new("r1");
    house.location = location::Settings { use_domain: true, ..location::Settings::default() };
    let mut world = World::new(&[house]);
    let register = user("bob", "c", 1, FIRST).text().replace("@example.com", "@192.0.2.1");
    world.send(0, "192.0.2.10:5060", &register.replace("sip:example.com", "sip:192.0.2.1"));
    world.advance(1);
    let (document, text) = published(&mut world);
    assert!(text.starts_with("PUBLISH sip:bob@192.0.2.1 SIP/2.0"), "{text}");
    assert_eq!(document.registrations[0].aor, "sip:bob@192.0.2.1");
}

/// G7.
#[test]
fn special_characters_come_out_as_they_went_in() {
    let mut world = World::alone(|_| {});
    let register = user("bob", "c", 1, "<sip:b@127.0.0.1:6060;x=a&b>;+sip.instance=\"<urn:u:1>\"");
    world.register(0, &register.line("User-Agent: T&1 \"x\""));
    world.advance(1);
    let (document, _) = published(&mut world);
    let contact = &document.registrations[0].contacts[0];
    assert_eq!(contact.uri, "sip:b@127.0.0.1:6060;x=a&b");
    assert_eq!(contact.user_agent.as_deref(), Some("T&1 \"x\""));
    let instance = ("+sip.instance".to_owned(), Some("\"<urn:u:1>\"".to_owned()));
    assert!(contact.params.contains(&instance), "{contact:?}");
    assert_eq!(contact.public_gruu.as_deref(), Some("sip:bob@example.com;gr=urn:u:1"));
    assert!(contact.temporary_gruu.is_some());
}

/// G18.
#[test]
fn a_change_that_asks_for_it_is_not_published() {
    let mut world = World::alone(|_| {});
    let two = user("bob", "c", 1, "<sip:b@127.0.0.1:6060>, <sip:b@127.0.0.1:6061>");
    world.register(0, &two.line("X-Quiet: 1"));
    world.advance(1);
    assert_eq!(world.publishes, []);
    world.register(0, &user("al", "d", 1, FIRST));
    world.advance(1);
    let (document, _) = published(&mut world);
    assert_eq!(document.registrations[0].aor, "sip:al@example.com");
}

/// G21.
#[test]
fn a_contact_that_never_ends_has_no_end() {
    let mut world = World::alone(|_| {});
    world.command(0, "ul.add", &["location", "al", "sip:al@192.0.2.30", "0", "0.7", "."]);
    world.advance(1);
    let (document, text) = published(&mut world);
    assert_eq!(document.registrations[0].contacts[0].expires_seconds, None);
    assert_eq!(header(&text, "Expires"), Some("3600"));
    // It is refreshed for ever, with what the server gives.
    world.advance(7200);
    let refreshes: Vec<_> =
        world.publishes.iter().map(|(_, text)| header(text, "Expires")).collect();
    assert!(
        refreshes.len() >= 2 && refreshes.iter().all(|one| *one == Some("3600")),
        "{refreshes:?}"
    );
}

#[test]
fn many_contacts_of_one_request_are_published_once() {
    let mut world = World::alone(|_| {});
    let contacts: Vec<String> = (0..5).map(|n| format!("<sip:b@127.0.0.1:60{n:02}>")).collect();
    world.register(0, &user("bob", "c", 1, &contacts.join(", ")));
    world.register(0, &user("bob", "c", 2, &contacts.join(", ")));
    world.advance(1);
    let (document, _) = published(&mut world);
    assert_eq!(states(&document), [(ContactState::Active, Event::Created); 5]);
}

#[test]
fn a_mere_refresh_is_told_without_a_document_where_that_is_wanted() {
    let mut world = World::alone(|settings| settings.publish_refresh = false);
    world.register(0, &user("bob", "c", 1, FIRST));
    world.advance(30);
    world.publishes.clear();
    world.register(0, &user("bob", "c", 2, FIRST));
    world.advance(1);
    let texts: Vec<&str> = world.publishes.iter().map(|(_, text)| text.as_str()).collect();
    let [text] = texts[..] else { panic!("{texts:?}") };
    assert_eq!((header(text, "SIP-If-Match"), header(text, "Content-Type")), (Some("e1"), None));
    assert_eq!(header(text, "Expires"), Some("120"));
    world.publishes.clear();
    // Another agent is more than that.
    world.register(0, &user("bob", "c", 3, FIRST).line("User-Agent: new"));
    world.advance(1);
    assert_eq!(states(&published(&mut world).0), [(ContactState::Active, Event::Refreshed)]);
}

#[test]
fn what_storage_brings_is_published_at_the_wanted_pace() {
    let mut house = House::new("r1");
    house.location.db_mode = DbMode::Realtime;
    house.reginfo.publish_on_start = 10;
    let mut world = World::new(&[house]);
    for n in 0..40 {
        world.register(0, &user(&format!("u{n}"), &format!("c{n}"), 1, FIRST));
    }
    world.advance(1);
    assert_eq!(world.documents().len(), 40);
    world.restart(0);
    world.advance(1);
    assert!((5..=15).contains(&world.publishes.len()), "{}", world.publishes.len());
    world.advance(10);
    let documents = world.documents();
    assert_eq!(documents.len(), 40);
    assert!(documents.iter().all(|one| states(one) == [(ContactState::Active, Event::Registered)]));
}

#[test]
fn a_command_publishes_an_address() {
    let mut world = World::alone(|settings| settings.terminated_linger = secs(1));
    world.register(0, &user("bob", "c", 1, FIRST));
    world.advance(1);
    world.publishes.clear();
    assert_eq!(world.command(0, "reginfo.publish", &["bob"]), "\"OK\"");
    world.advance(1);
    assert_eq!(states(&published(&mut world).0), [(ContactState::Active, Event::Registered)]);
    assert_eq!(world.command(0, "reginfo.publish", &["nobody"]), "\"OK\"");
    world.advance(1);
    assert_eq!(world.publishes, []);
}

#[test]
fn a_user_who_comes_back_at_once_stays_published() {
    let mut world = World::alone(|_| {});
    let register = |cseq, expires| {
        Register::of("bob", "c", cseq).contact(&format!("<sip:b@127.0.0.1>;expires={expires}"))
    };
    world.register(0, &register(1, 100));
    world.advance(1);
    world.register(0, &register(2, 0));
    world.advance(2);
    world.register(0, &register(3, 100));
    world.advance(20);
    let texts: Vec<String> = world.publishes.iter().map(|(_, text)| text.clone()).collect();
    assert!(texts.iter().all(|text| header(text, "Expires") != Some("0")), "{texts:?}");
    let documents = world.documents();
    let state = |one: &Reginfo| one.registrations[0].state;
    assert_eq!(state(documents.last().expect("one")), RegistrationState::Active);
    assert_eq!(documents.len(), 3);
}
