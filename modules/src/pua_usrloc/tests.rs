//! Users who register are open, and closed when they are gone.

use super::Settings;
use crate::pua_reginfo::tests::rig::{House, World, header, user};

const CONTACT: &str = "<sip:bob@192.0.2.10>;expires=100";

fn world(settings: Settings) -> World {
    let mut house = House::new("r1");
    house.reginfo.publish_reginfo = false;
    let default_domain = Some("example.com".into());
    house.usrloc = Settings { default_domain, ..settings };
    World::new(&[house])
}

/// Of each PUBLISH since the last look: Expires, If-Match, and what the document says.
fn said(world: &mut World) -> Vec<(String, Option<String>, &'static str)> {
    let publishes = std::mem::take(&mut world.publishes);
    let said = |(_, text): &(usize, String)| {
        assert!(text.starts_with("PUBLISH sip:bob@example.com SIP/2.0"), "{text}");
        assert_eq!(header(text, "Event"), Some("presence"));
        let words = ["<basic>open</basic>", "<basic>closed</basic>"];
        let word = words.into_iter().find(|word| text.contains(*word)).unwrap_or_default();
        let expires = header(text, "Expires").expect("an Expires").to_owned();
        (expires, header(text, "SIP-If-Match").map(str::to_owned), word)
    };
    publishes.iter().map(said).collect()
}

#[test]
fn a_user_is_open_while_registered_and_then_closed() {
    let mut world = world(Settings { entity_prefix: Some("pres".into()), ..Settings::default() });
    let register = |cseq, contact| user("bob", "c", cseq, contact).line("X-Presence: 1");
    world.register(0, &register(1, CONTACT));
    world.advance(1);
    assert!(world.publishes[0].1.contains("entity=\"pres:bob@example.com\""));
    assert_eq!(said(&mut world), [("100".into(), None, "<basic>open</basic>")]);
    // A refresh prolongs it; there is nothing new to say.
    world.advance(50);
    world.publishes.clear();
    world.register(0, &register(2, CONTACT));
    world.advance(1);
    assert_eq!(said(&mut world), [("100".into(), Some("e1".into()), "")]);
    // A second device, which nobody marks, keeps the user open.
    world.register(0, &user("bob", "d", 1, "<sip:bob@192.0.2.11>;expires=300"));
    world.register(0, &register(3, "<sip:bob@192.0.2.10>;expires=0"));
    world.advance(2);
    assert!(said(&mut world).iter().all(|(_, _, word)| *word != "<basic>closed</basic>"));
    world.register(0, &user("bob", "d", 2, "<sip:bob@192.0.2.11>;expires=0"));
    world.advance(1);
    let said_last = said(&mut world).pop().expect("a PUBLISH");
    assert_eq!((said_last.0.as_str(), said_last.2), ("60", "<basic>closed</basic>"));
    assert_eq!(world.metric(0, "pua_usrloc_open"), 0);
    world.advance(100);
    assert!(said(&mut world).iter().all(|(_, _, word)| word.is_empty()));
}

#[test]
fn who_is_not_marked_is_not_published_and_a_publication_can_go_at_once() {
    let mut world = world(Settings { closed_expires: 0, ..Settings::default() });
    world.register(0, &user("bob", "c", 1, CONTACT));
    world.advance(2);
    assert_eq!(said(&mut world), []);
    world.register(0, &user("bob", "c", 2, CONTACT).line("X-Presence: 1"));
    world.advance(1);
    world.publishes.clear();
    world.register(0, &user("bob", "c", 3, "<sip:bob@192.0.2.10>;expires=0"));
    world.advance(1);
    let last = said(&mut world).pop().expect("a PUBLISH");
    assert_eq!((last.0.as_str(), last.2), ("0", ""));
}

#[test]
fn contacts_with_the_branch_flag_are_published() {
    let mut world = world(Settings { branch_flag: Some(9), ..Settings::default() });
    let add = ["location", "bob", "sip:bob@192.0.2.30", "100", "1", ".", "0", "512", "0"];
    world.command(0, "ul.add", &add);
    world.advance(1);
    assert_eq!(said(&mut world), [("100".into(), None, "<basic>open</basic>")]);
}
