//! Registrations, presence and calls at a presence server, and two registrars in step by way of it.
//!
//! For: `pua`, `pua_reginfo`, `pua_usrloc` and `pua_dialoginfo` of the real binary against
//! Kamailio: its presence server, and its own `pua_reginfo` as the other registrar.
//! Not here: their rules one by one; those are tested in `modules`.
//! Needs: Debian's `kamailio`, `kamailio-presence-modules`, `kamailio-sqlite-modules`, `sqlite3`,
//! `sip-tester`.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use strowger_modules::pua::bodies::reginfo::{self, ContactState, Event, Reginfo};
use strowger_modules::pua::bodies::{Element, dialog_info, pidf, read};
use strowger_tests::datagram::{self, Peer, header};
use strowger_tests::folder::Folder;
use strowger_tests::kamailio::Kamailio;
use strowger_tests::ports;
use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::Proxy;
use strowger_tests::sipp::Sipp;

const BOB: &str = "sip:bob@example.com";

/// A registrar that tells `server` of its users and calls, and follows bob and carol there. This
/// server sends each registrar's documents on as they are.
fn registrar(folder: &Folder, server: SocketAddr, more: &str) -> Proxy {
    let port = ports::free();
    let text = format!(
        "[routing]\nregistrar = true\npresence = true\ndialog = true\n\
         domains = [\"example.com\", \"example.net\"]\n{more}\
         [pua]\noutbound_proxy = \"sip:{server}\"\nreginfo_increase_version = 1\n\
         [pua_reginfo]\ndefault_domain = \"example.com\"\noutbound_proxy = \"sip:{server}\"\n\
         server_address = \"sip:reginfo@127.0.0.1:{port}\"\ncontact_params = false\n\
         passed_on = true\n\
         subscribe = [\"sip:bob@example.com\", \"sip:carol@example.com\"]\n\
         [pua_usrloc]\ndefault_domain = \"example.com\"\n\
         [pua_dialoginfo]\npublish = true\n"
    );
    let file = folder.write("strowger.toml", &text);
    let listen = format!("udp:127.0.0.1:{port}");
    Proxy::start_at(&listen, &["-f", file.to_str().expect("a readable path")])
}

/// A user who registers a contact of its own; 0 seconds unregisters.
fn register(agent: &mut Peer, user: &str, call_id: &str, cseq: u32, seconds: u32) {
    let contact = agent.address();
    let more = format!("Max-Forwards: 70\r\nExpires: {seconds}\r\n");
    let request = agent.request("REGISTER", "sip:example.com", &more);
    let request: String = request
        .split_inclusive("\r\n")
        .map(|line| match line.split(':').next() {
            Some("To") => format!("To: <sip:{user}@example.com>\r\n"),
            Some("Contact") => format!("Contact: <sip:{user}@{contact}>\r\n"),
            Some("Call-ID") => format!("Call-ID: {call_id}\r\n"),
            Some("CSeq") => format!("CSeq: {cseq} REGISTER\r\n"),
            _ => line.to_owned(),
        })
        .collect();
    let answer = agent.ask(&request, PATIENCE);
    assert_eq!(datagram::status(&answer), Some(200), "{answer}");
}

/// Whether a user is found at a registrar: a request for it arrives at this agent, or is refused.
fn is_found(at: SocketAddr, user: &str, agent: &Peer) -> bool {
    let mut peer = Peer::new(at);
    let request = peer.request("OPTIONS", &format!("sip:{user}@{at}"), "Max-Forwards: 70\r\n");
    peer.send(request.as_bytes());
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let soon = Instant::now() + Duration::from_millis(50);
        if let Some(got) = agent.receive(soon)
            && got.starts_with("OPTIONS ")
            && header(&got, "Call-ID") == header(&request, "Call-ID")
        {
            agent.send_to_source(&got, "200 OK");
            return true;
        }
        let soon = Instant::now() + Duration::from_millis(50);
        let status = peer.receive(soon).as_deref().and_then(datagram::status);
        if matches!(status, Some(404 | 480)) {
            return false;
        }
        assert!(Instant::now() < end, "nothing becomes of a request for {user} at {at}");
    }
}

fn wait_until_found(at: SocketAddr, user: &str, agent: &Peer, wanted: bool) {
    let end = Instant::now() + PATIENCE;
    while is_found(at, user, agent) != wanted {
        assert!(Instant::now() < end, "{user} at {at}: not {wanted}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Somebody who follows a user's state at the presence server.
struct Watcher {
    peer: Peer,
    seen: Vec<String>,
    /// The number of the last NOTIFY: what waited unanswered comes more than once.
    last: u32,
}

impl Watcher {
    fn new(server: SocketAddr, uri: &str, event: &str, accept: &str) -> Watcher {
        let mut peer = Peer::new(server);
        let more =
            format!("Event: {event}\r\nAccept: {accept}\r\nExpires: 600\r\nMax-Forwards: 70\r\n");
        let request = peer.request("SUBSCRIBE", uri, &more);
        let answer = peer.ask(&request, PATIENCE);
        assert!(matches!(datagram::status(&answer), Some(200 | 202)), "{answer}");
        Watcher { peer, seen: Vec::new(), last: 0 }
    }

    /// The next document that `look` finds something in.
    fn wait_for<T>(&mut self, what: &str, look: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        while let Some(got) = self.peer.receive(end) {
            if !got.starts_with("NOTIFY") {
                continue;
            }
            self.peer.send_to_source(&got, "200 OK");
            let number = header(&got, "CSeq").and_then(|cseq| cseq.split(' ').next()?.parse().ok());
            let number: u32 = number.expect("a number in CSeq");
            if number <= self.last {
                continue;
            }
            self.last = number;
            let body = got.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
            if self.seen.last() != Some(&body) {
                self.seen.push(body.clone());
                if let Some(found) = look(&body) {
                    return found;
                }
            }
        }
        panic!("no {what} among {:#?}", self.seen);
    }
}

/// A document's version, and of whom it tells: in which state, and why.
type Told = (u32, Vec<(String, ContactState, Event)>);

fn told(body: &str) -> Option<Told> {
    let Reginfo { version, registrations, .. } = reginfo::read(body.as_bytes()).ok()?;
    let contacts = registrations.iter().flat_map(|one| &one.contacts);
    let one = |contact: &reginfo::Contact| (contact.uri.clone(), contact.state, contact.event);
    Some((version, contacts.map(one).collect()))
}

#[test]
fn a_watcher_sees_registrations_and_presence() {
    let server = Kamailio::presence();
    let folder = Folder::new("reginfo-watch");
    let proxy = registrar(&folder, server.address(), "");
    let (reginfo, pidf) = ("application/reginfo+xml", "application/pidf+xml");
    let mut registrations = Watcher::new(server.address(), BOB, "reg", reginfo);
    let mut presence = Watcher::new(server.address(), BOB, "presence", pidf);
    let mut agent = Peer::new(proxy.address());
    let uri = format!("sip:bob@{}", agent.address());
    register(&mut agent, "bob", "w1", 1, 600);
    let created = vec![(uri.clone(), ContactState::Active, Event::Created)];
    let first = registrations.wait_for("created", |body| {
        told(body).filter(|(_, contacts)| *contacts == created).map(|(version, _)| version)
    });
    presence.wait_for("open", |body| basic(body, "open"));
    register(&mut agent, "bob", "w1", 2, 600);
    let refreshed = vec![(uri.clone(), ContactState::Active, Event::Refreshed)];
    let second = registrations.wait_for("refreshed", |body| {
        told(body).filter(|(_, contacts)| *contacts == refreshed).map(|(version, _)| version)
    });
    assert_eq!(second, first + 1);
    register(&mut agent, "bob", "w1", 3, 0);
    let gone = vec![(uri, ContactState::Terminated, Event::Unregistered)];
    registrations
        .wait_for("unregistered", |body| told(body).filter(|(_, contacts)| *contacts == gone));
    presence.wait_for("closed", |body| basic(body, "closed"));
}

/// Whether a document says this of bob.
fn basic(body: &str, word: &str) -> Option<()> {
    let root = read(body.as_bytes()).ok()?;
    assert!(root.is(pidf::NAMESPACE, "presence"), "{body}");
    let tuple = root.all(pidf::NAMESPACE, "tuple").next()?;
    let status = tuple.all(pidf::NAMESPACE, "status").next()?;
    let basic = status.all(pidf::NAMESPACE, "basic").next()?;
    (root.attribute("entity") == Some(BOB) && basic.text.trim() == word).then_some(())
}

#[test]
fn a_watcher_sees_calls_in_order() {
    let server = Kamailio::presence();
    let folder = Folder::new("reginfo-calls");
    let mut callee = Sipp::callee("callee.xml");
    let proxy = registrar(&folder, server.address(), "");
    let user = "sip:callee@example.net";
    let accept = "application/dialog-info+xml";
    let mut calls = Watcher::new(server.address(), user, "dialog", accept);
    // The user whom SIPp calls.
    let mut agent = Peer::new(proxy.address());
    let request = agent.request("REGISTER", "sip:example.com", "Max-Forwards: 70\r\n");
    let request = request.replace("To: <sip:example.com>", &format!("To: <{user}>")).replace(
        &format!("Contact: <sip:peer@{}>", agent.address()),
        &format!("Contact: <sip:callee@127.0.0.1:{}>", callee.port()),
    );
    assert_eq!(datagram::status(&agent.ask(&request, PATIENCE)), Some(200));
    let mut caller = Sipp::caller("caller.xml", proxy.address(), &["-m", "1", "-d", "3000"]);
    let counts = caller.finish(Duration::from_secs(60));
    assert_eq!((counts.successful, counts.failed), (1, 0), "{counts:?}");
    calls.wait_for("terminated", |body| dialog_state(body).filter(|state| state == "terminated"));
    let seen = calls.seen.iter().filter_map(|body| dialog_state(body));
    let order = ["trying", "early", "confirmed", "terminated"];
    let places: Vec<usize> =
        seen.filter_map(|state| order.iter().position(|known| *known == state)).collect();
    assert!(places.is_sorted() && places.contains(&2), "{:#?}", calls.seen);
    callee.stop(PATIENCE);
}

/// The state of the last dialog of a document.
fn dialog_state(body: &str) -> Option<String> {
    let root: Element = read(body.as_bytes()).ok()?;
    let dialog = root.all(dialog_info::NAMESPACE, "dialog").last()?;
    let state = dialog.all(dialog_info::NAMESPACE, "state").next()?;
    Some(state.text.clone())
}

#[test]
fn two_registrars_keep_in_step_and_nothing_goes_round() {
    let server = Kamailio::presence();
    let other = Kamailio::in_step(server.address());
    let folder = Folder::new("reginfo-sync");
    let mut proxy = registrar(&folder, server.address(), "");
    let (here, there) = (proxy.address(), other.address());
    // The other one follows bob.
    let mut peer = Peer::new(there);
    let follow = peer.request("INFO", "sip:bob@example.com", "Max-Forwards: 70\r\n");
    assert_eq!(datagram::status(&peer.ask(&follow, PATIENCE)), Some(200));

    // Registered there, found here; gone there, gone here.
    let mut carol = Peer::new(there);
    register(&mut carol, "carol", "s1", 1, 600);
    wait_until_found(here, "carol", &carol, true);
    wait_until_found(there, "carol", &carol, true);
    register(&mut carol, "carol", "s1", 2, 0);
    wait_until_found(here, "carol", &carol, false);
    wait_until_found(there, "carol", &carol, false);

    // And the other way round. There, what is taken in is kept by the user's whole address.
    let kept = "bob%40example.com";
    let mut bob = Peer::new(here);
    register(&mut bob, "bob", "s2", 1, 600);
    wait_until_found(there, kept, &bob, true);
    register(&mut bob, "bob", "s2", 2, 600);
    std::thread::sleep(Duration::from_secs(2));
    assert!(is_found(here, "bob", &bob) && is_found(there, kept, &bob));
    register(&mut bob, "bob", "s2", 3, 0);
    wait_until_found(here, "bob", &bob, false);
    wait_until_found(there, kept, &bob, false);
    std::thread::sleep(Duration::from_secs(2));
    assert!(!is_found(here, "bob", &bob) && !is_found(there, kept, &bob));

    // What bob did was told three times, what carol did never: no loop, no echo.
    let summary = proxy.summary();
    for (name, wanted) in [
        ("pua_reginfo_published", 3),
        ("pua_reginfo_rejected_notifies", 0),
        ("pua_reginfo_refused_imports", 0),
        ("pua_reginfo_imported_contacts", 1),
    ] {
        assert_eq!(summary.counted(name), wanted, "{name}: {summary:#?}");
    }
}
