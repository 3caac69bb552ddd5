//! Two registrars in step by way of one server.

use super::rig::{House, World, user};

const BOB: &str = "sip:bob@example.com";
const CONTACT: &str = "<sip:bob@192.0.2.10>;expires=60";

fn two(aggregates: bool) -> World {
    let mut houses = [House::new("r1"), House::new("r2")];
    houses.iter_mut().for_each(|house| house.reginfo.passed_on = !aggregates);
    let mut world = World::new(&houses);
    (world.notifies, world.aggregates) = (true, aggregates);
    world.follow(0, BOB, 3600);
    world.follow(1, BOB, 3600);
    world
}

/// How many PUBLISHes each has sent.
fn published(world: &World) -> [usize; 2] {
    [0, 1].map(|site| world.publishes.iter().filter(|(from, _)| *from == site).count())
}

/// G19.
#[test]
fn both_have_what_one_registers_and_only_that_one_tells_it() {
    for aggregates in [true, false] {
        let mut world = two(aggregates);
        for cseq in 1..=10 {
            world.register(0, &user("bob", "c", cseq, CONTACT));
            for _ in 0..30 {
                world.advance(1);
                for site in [0, 1] {
                    let shown = world.contacts(site, "bob");
                    assert_eq!(shown.matches("sip:bob@192.0.2.10").count(), 1, "{site} {shown}");
                }
            }
        }
        assert_eq!(published(&world), [10, 0]);
        // And back: it goes from both, and stays gone.
        world.register(0, &user("bob", "c", 11, "<sip:bob@192.0.2.10>;expires=0"));
        for _ in 0..20 {
            world.advance(1);
            assert_eq!((world.contacts(0, "bob"), world.contacts(1, "bob")), Default::default());
        }
        assert_eq!(published(&world)[1], 0);
    }
}

#[test]
fn each_tells_its_own_and_takes_in_the_others() {
    let mut world = two(true);
    world.register(0, &user("bob", "c0", 1, CONTACT));
    world.register(1, &user("bob", "c1", 1, "<sip:bob@192.0.2.11>;expires=300"));
    world.advance(2);
    for site in [0, 1] {
        let shown = world.contacts(site, "bob");
        assert_eq!(shown.matches("Address").count(), 2, "{site} {shown}");
        assert_eq!(shown.matches("regi-").count(), 1, "{site} {shown}");
    }
    // Unregistered at one, gone at both; the other's stays.
    world.register(0, &user("bob", "c0", 2, "<sip:bob@192.0.2.10>;expires=0"));
    world.advance(2);
    for site in [0, 1] {
        let shown = world.contacts(site, "bob");
        assert!(!shown.contains("192.0.2.10") && shown.contains("192.0.2.11"), "{site} {shown}");
    }
    world.register(1, &user("bob", "c1", 2, "<sip:bob@192.0.2.11>;expires=0"));
    world.advance(30);
    assert_eq!((world.contacts(0, "bob"), world.contacts(1, "bob")), Default::default());
    assert_eq!(world.metric(0, "pua_reginfo_waiting") + world.metric(1, "pua_reginfo_waiting"), 0);
}

#[test]
fn what_a_registrar_told_itself_is_no_news_to_it() {
    let mut world = two(true);
    world.register(0, &user("bob", "c", 1, CONTACT));
    world.advance(1);
    let late = world.publishes.last().map(|(_, text)| text.clone()).expect("a PUBLISH");
    let (_, late) = late.split_once("\n\n").expect("a body");
    let late = late.replace("version=\"0\"", "version=\"900\"");
    world.register(0, &user("bob", "c", 2, "<sip:bob@192.0.2.10>;expires=0"));
    world.advance(1);
    // A document from before arrives, and one in which another registrar repeats it as its own.
    world.notify_with(0, &late);
    assert_eq!(world.contacts(0, "bob"), "");
    let id = late.split(" id=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("an id");
    let copy = late.replace(id, "0x7f").replace("version=\"900\"", "version=\"901\"");
    world.notify_with(0, &copy);
    assert_eq!(world.contacts(0, "bob"), "");
    assert_eq!(world.metric(0, "pua_reginfo_echoes"), 1);
}
