//! Documents of event packages: registrations, presence, calls.
//!
//! Invariants: what can be read can be written and read again as the same; a version or a tuple's
//! id that was put into a document is there, and nothing else has changed.

use strowger_modules::pua::bodies::reginfo::{
    Contact, ContactState, Event, Extent, Reginfo, Registration, RegistrationState, read,
};
use strowger_modules::pua::bodies::{self, DEPTH_MAX, Element, pidf};

/// Runs the target.
///
/// # Panics
/// When something does not hold.
pub fn run(data: &[u8]) {
    if let Ok(document) = read(data) {
        let again = read(document.write().as_bytes());
        assert_eq!(again.as_ref(), Ok(&document), "not what was written");
        let _ = document.merged(str::to_owned).write();
    }
    let Ok(root) = bodies::read(data) else { return };
    assert!(depth(&root) <= DEPTH_MAX);
    if let Ok(body) = bodies::set_version(data, "reginfo", 7) {
        let changed = bodies::read(&body).expect("still a document");
        assert_eq!(changed.attribute("version"), Some("7"));
        assert_eq!(changed.children, root.children);
    }
    if let Ok((body, id)) = pidf::with_tuple_id(data, None, "fresh") {
        let again = pidf::with_tuple_id(&body, None, "other");
        assert_eq!(again, Ok((body, id)));
    }
}

fn depth(element: &Element) -> usize {
    1 + element.children.iter().map(depth).max().unwrap_or(0)
}

/// What it begins with.
pub fn documents() -> Vec<Vec<u8>> {
    let contact = |id: &str, state, event| Contact {
        expires_seconds: Some(60),
        q: Some(500),
        call_id: Some(format!("call-{id}")),
        cseq: Some(9),
        params: vec![("+sip.instance".into(), Some("\"<urn:uuid:1>\"".into()))],
        public_gruu: Some("sip:b@h;gr=urn:uuid:1".into()),
        ..Contact::new(id, "sip:b@192.0.2.9:5070;a=b&c", state, event)
    };
    let registration = |user: &str, contacts| Registration {
        aor: format!("sip:{user}@example.com"),
        id: format!("id-{user}"),
        state: RegistrationState::Active,
        contacts,
    };
    let active = contact("c1", ContactState::Active, Event::Created);
    let gone = contact("c2", ContactState::Terminated, Event::Expired);
    let two =
        vec![registration("bob", vec![active.clone(), gone]), registration("al", vec![active])];
    let full = Reginfo { version: 3, extent: Extent::Full, registrations: two };
    let none = Reginfo { version: 4, extent: Extent::Partial, registrations: Vec::new() };
    let presence = pidf::write("pres:bob@example.com", "t1", pidf::Basic::Open);
    let odd = "<?xml version='1.0' encoding='utf-8'?><!-- a --><r:reginfo \
               xmlns:r='urn:ietf:params:xml:ns:reginfo' version='0' state='full'><![CDATA[ ]]>\
               &#32;&amp;</r:reginfo>";
    [full.write(), none.write(), presence, odd.to_owned()].map(String::into_bytes).to_vec()
}
