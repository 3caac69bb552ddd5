//! Reginfo documents: written and read again, and every way in which one may be wrong.

use super::*;
use crate::pua::bodies::{ELEMENTS_MAX, set_version};

fn contact(id: &str, uri: &str) -> Contact {
    Contact {
        expires_seconds: Some(100),
        call_id: Some(format!("call-{id}")),
        cseq: Some(9),
        ..Contact::new(id, uri, ContactState::Active, Event::Created)
    }
}

fn document(contacts: Vec<Contact>) -> Reginfo {
    let state = RegistrationState::Active;
    let (aor, id) = ("sip:bob@example.com".to_owned(), "r1".to_owned());
    let registrations = vec![Registration { aor, id, state, contacts }];
    Reginfo { version: 7, extent: Extent::Full, registrations }
}

#[test]
fn what_is_written_is_read_again() {
    let full = Contact {
        state: ContactState::Terminated,
        event: Event::Probation,
        age_seconds: Some(3600),
        q: Some(125),
        received: Some("sip:192.0.2.9:4000".into()),
        path: Some("<sip:edge;lr>,<sip:e2;lr>".into()),
        user_agent: Some("T&1 \"x\" <ä>".into()),
        display_name: Some("Bob \"the\" <builder>".into()),
        params: vec![
            ("+sip.instance".into(), Some("\"<urn:uuid:0-1>\"".into())),
            ("reg-id".into(), Some("1".into())),
            ("audio".into(), None),
        ],
        public_gruu: Some("sip:bob@example.com;gr=urn:uuid:0-1".into()),
        temporary_gruu: Some(("sip:tgruu.x@example.com;gr".into(), 4)),
        ..contact("c1", "sip:b@127.0.0.1:6060;x=a&b")
    };
    let mut expected = document(vec![full, contact("c2", "sips:[2001:db8::1]")]);
    expected.registrations.push(Registration {
        aor: "sip:al@example.com".into(),
        id: "r2".into(),
        state: RegistrationState::Init,
        contacts: Vec::new(),
    });
    assert_eq!(read(expected.write().as_bytes()), Ok(expected.clone()));
    expected.extent = Extent::Partial;
    let numbered = set_version(expected.write().as_bytes(), "reginfo", 8).expect("a document");
    expected.version = 8;
    assert_eq!(read(&numbered), Ok(expected));
}

#[test]
fn another_registrars_document_is_read() {
    let text = "<?xml version=\"1.0\"?>\n<reginfo xmlns=\"urn:ietf:params:xml:ns:reginfo\" \
                version=\"0\" state=\"full\">\n  <registration aor=\"sip:bob@example.com\" \
                id=\"0x7f1c\" state=\"active\">\n    <contact id=\"0x7f2c\" state=\"active\" \
                event=\"registered\" expires=\"-1763\" q=\"0.500\" callid=\"r1\" cseq=\"9\" \
                received=\"\" path=\"\" user_agent=\"n/a\">\n      <uri>sip:bob@10.0.0.1</uri>\n \
                <x:more xmlns:x=\"urn:x\"/></contact></registration></reginfo>";
    let document = read(text.as_bytes()).expect("a document");
    let contact = &document.registrations[0].contacts[0];
    assert_eq!((contact.expires_seconds, contact.q, contact.cseq), (None, Some(500), Some(9)));
    assert_eq!((contact.received.as_ref(), contact.uri.as_str()), (None, "sip:bob@10.0.0.1"));
}

#[test]
fn without_a_mandatory_part_a_document_is_refused() {
    let text = document(vec![contact("c1", "sip:b@h")]).write();
    assert!(read(text.as_bytes()).is_ok());
    for (part, element, what) in [
        (" version=\"7\"", "reginfo", "version"),
        (" state=\"full\"", "reginfo", "state"),
        (" aor=\"sip:bob@example.com\"", "registration", "aor"),
        (" id=\"r1\"", "registration", "id"),
        (" id=\"r1\" state=\"active\"", "registration", "state"),
        (" id=\"c1\"", "contact", "id"),
        (" event=\"created\"", "contact", "event"),
        (" id=\"c1\" state=\"active\"", "contact", "state"),
        ("<uri>sip:b@h</uri>", "contact", "uri"),
    ] {
        let kept =
            part.split(" state").next().filter(|_| part.contains("id=\"") && what == "state");
        let damaged = text.replace(part, kept.unwrap_or_default());
        assert_ne!(damaged, text, "{part}");
        assert_eq!(read(damaged.as_bytes()), Err(Fault::Missing { element, what }), "{part}");
    }
    // These may be missing.
    for part in [" expires=\"100\"", " callid=\"call-c1\"", " cseq=\"9\""] {
        let without = text.replace(part, "");
        assert!(without != text && read(without.as_bytes()).is_ok(), "{part}");
    }
}

#[test]
fn absurd_values_are_refused() {
    let text = document(vec![Contact { q: Some(500), ..contact("c1", "sip:b@h") }]).write();
    let long = format!("<uri>sip:{}@h</uri>", "b".repeat(600));
    for (from, to) in [
        ("version=\"7\"", "version=\"-1\""),
        ("version=\"7\"", "version=\"4294967296\""),
        ("state=\"full\"", "state=\"whole\""),
        ("aor=\"sip:bob@example.com\"", "aor=\"sip:example.com\""),
        ("aor=\"sip:bob@example.com\"", "aor=\"sip:@example.com\""),
        ("aor=\"sip:bob@example.com\"", "aor=\"tel:+123\""),
        ("aor=\"sip:bob@example.com\"", "aor=\"bob\""),
        ("id=\"r1\" state=\"active\"", "id=\"r1\" state=\"idle\""),
        ("id=\"c1\" state=\"active\"", "id=\"c1\" state=\"idle\""),
        ("id=\"c1\"", "id=\"\""),
        ("event=\"created\"", "event=\"dreamt\""),
        ("expires=\"100\"", "expires=\"soon\""),
        ("q=\"0.500\"", "q=\"7\""),
        ("q=\"0.500\"", "q=\"NaN\""),
        ("cseq=\"9\"", "cseq=\"-9\""),
        ("callid=\"call-c1\"", "callid=\"a&#10;b\""),
        ("<uri>sip:b@h</uri>", "<uri>mailto:b@h</uri>"),
        ("<uri>sip:b@h</uri>", "<uri>sip:b@h&gt;,&lt;sip:c@h</uri>"),
        ("<uri>sip:b@h</uri>", "<uri/>"),
        ("<uri>sip:b@h</uri>", "<uri>sip:b@h</uri><uri>sip:c@h</uri>"),
        ("<uri>sip:b@h</uri>", &long),
        ("</contact>", "<unknown-param name=\"a;b\"/></contact>"),
        ("</contact>", "<unknown-param name=\"a\">b;c=d</unknown-param></contact>"),
        ("</contact>", "<unknown-param/></contact>"),
        ("<reginfo ", "<reg-info "),
        ("urn:ietf:params:xml:ns:reginfo", "urn:other"),
    ] {
        let damaged = text.replace(from, to).replace(
            "</reginfo>",
            match to {
                "<reg-info " => "</reg-info>",
                _ => "</reginfo>",
            },
        );
        assert_ne!(damaged, text, "{from}");
        assert!(read(damaged.as_bytes()).is_err(), "{to}");
    }
}

#[test]
fn five_hundred_contacts_are_read_and_too_many_are_not() {
    let many = |count: usize| {
        document((0..count).map(|n| contact(&format!("c{n}"), &format!("sip:b@h{n}"))).collect())
    };
    let text = many(500).write();
    let read_again = read(text.as_bytes()).expect("a document");
    assert_eq!(read_again, many(500));
    let text = many(ELEMENTS_MAX / 2 + 1).write();
    assert!(matches!(read(text.as_bytes()), Err(Fault::TooMany { .. } | Fault::TooLong { .. })));
}

#[test]
fn a_contacts_name_is_its_own() {
    let twice = document(vec![contact("c1", "sip:b@h"), contact("c1", "sip:b@i")]).write();
    let fault = Fault::Twice { element: "contact", what: "id" };
    assert_eq!(read(twice.as_bytes()), Err(fault));
}

#[test]
fn an_address_that_is_told_of_twice_becomes_one() {
    let key = |aor: &str| aor.trim_start_matches("sip:").to_ascii_lowercase();
    let gone = |cseq| Contact {
        state: ContactState::Terminated,
        event: Event::Unregistered,
        cseq: Some(cseq),
        ..contact("c1", "sip:b@h")
    };
    // The later counts when it is not older.
    for (first, second, active) in [
        (contact("c1", "sip:b@h"), gone(9), 1),
        (gone(9), contact("c1", "sip:b@h"), 2),
        (gone(10), contact("other", "sip:b@h"), 1),
        (contact("c1", "sip:b@h"), gone(8), 2),
    ] {
        let mut second = second;
        second.call_id = Some("call-c1".into());
        let mut both = document(vec![first]);
        let mut other = document(vec![second, contact("c2", "sip:b@i")]).registrations.remove(0);
        other.aor = "sip:BOB@example.com".into();
        other.id = "r2".into();
        both.registrations.push(other);
        let merged = both.merged(key);
        assert_eq!(merged.registrations.len(), 1);
        let registration = &merged.registrations[0];
        let is_active = |contact: &&Contact| contact.state == ContactState::Active;
        assert_eq!(registration.contacts.len(), 2, "{registration:?}");
        let count = registration.contacts.iter().filter(is_active).count();
        assert_eq!(count, active, "{registration:?}");
        assert_eq!(registration.state, RegistrationState::Active);
    }
}
