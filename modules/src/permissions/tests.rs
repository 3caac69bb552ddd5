//! Tests of `permissions` in a routing.

use super::{Address, Group, Permissions, PermissionsRequest, Prefix, Row, Settings};
use crate::bench::{Sent, alone, options, send};
use strowger_sip::engine::Input;
use strowger_sip::lists::{FileText, Listing};
use strowger_sip::message::MethodKind;
use strowger_sip::module::{Command, Either};
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::storage::Rows;
use strowger_sip::time::secs;

struct Gate;

impl Routing for Gate {
    type Modules = (Permissions,);

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        let permissions = request.permissions();
        let trunk = permissions.allow_source_address(1).ok_or(Reply::forbidden())?;
        Ok(Reply::new(200).header("X-Tag", trunk.tag().unwrap_or("none")).into())
    }
}

fn row(group: u32, prefix: &str) -> Address {
    let prefix = Prefix::parse(prefix).expect("a prefix");
    Address { group: Group(group), prefix, port: 0, tag: Some("trunk".into()) }
}

fn bench() -> Bench<Gate> {
    let addresses = vec![row(1, "192.0.2.0/24"), row(2, "198.51.100.0/24")];
    let settings = Settings { addresses, ..Settings::default() };
    alone(Gate, (Permissions::new(settings),))
}

fn status(sent: &[Sent]) -> u16 {
    sent[0].text[8..11].parse().expect("a status")
}

#[test]
fn a_routing_admits_by_source() {
    let mut bench = bench();
    let sent = send(&mut bench, "192.0.2.10:5060", &options("1"));
    assert!(sent[0].text.contains("X-Tag: trunk"), "{sent:?}");
    assert_eq!(status(&send(&mut bench, "198.51.100.1:5060", &options("2"))), 403);
    let mut counters = Vec::new();
    bench.engine().each_metric(&mut |name, value| {
        if name.starts_with("permissions_") {
            counters.push((name, value));
        }
    });
    assert_eq!(counters[..2], [("permissions_allowed", 1), ("permissions_refused", 1)]);
}

#[test]
fn a_reload_replaces_the_list_at_once() {
    let mut bench = bench();
    let reload = Command { name: "permissions.addressReload".into(), arguments: vec![] };
    assert!(bench.command(&reload).expect("known").is_ok());
    assert!(matches!(bench.take_rows()[..], [Either::Right(Either::Left(Row::AddressesWanted))]));
    assert_eq!(bench.command(&reload).expect("known").expect_err("too soon").code, 500);
    bench.advance(secs(6));
    assert!(bench.command(&reload).expect("known").is_ok());
    let loaded = Row::Addresses(vec![row(1, "198.51.100.0/24")]);
    bench.input(Input::Row(Either::Right(Either::Left(loaded))));
    assert_eq!(status(&send(&mut bench, "198.51.100.1:5060", &options("3"))), 200);
    // What is configured stays.
    assert_eq!(status(&send(&mut bench, "192.0.2.10:5060", &options("4"))), 200);
    bench.input(Input::Row(Either::Right(Either::Left(Row::Addresses(Vec::new())))));
    assert_eq!(status(&send(&mut bench, "198.51.100.1:5060", &options("5"))), 403);
}

#[test]
fn the_list_is_shown() {
    let mut bench = bench();
    let dump = Command { name: "permissions.subnetDump".into(), arguments: vec![] };
    let text = bench.command(&dump).expect("known").expect("a list");
    let first = r#"{"group":1,"ip":"192.0.2.0","mask":24,"port":0,"tag":"trunk"}"#;
    assert!(text.contains(first), "{text}");
}

/// Asks the rules: REGISTER as `allow_register` does, the rest as `allow_routing` does.
struct Ruled;

impl Routing for Ruled {
    type Modules = (Permissions,);

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        let permissions = request.permissions();
        let registers = request.method() == MethodKind::Register;
        let permit = if registers {
            permissions.allow_register("register")
        } else {
            permissions.allow_routing()
        };
        if permit.is_allowed() { Ok(Reply::new(200).into()) } else { Err(Reply::forbidden()) }
    }
}

fn ruled() -> Bench<Ruled> {
    let mut bench = alone(Ruled, (Permissions::new(Settings::default()),));
    let file = |role: &str, text: &str| FileText {
        role: role.to_owned(),
        name: "file".to_owned(),
        text: text.to_owned(),
    };
    let deny = "ALL : ALL\n";
    let files = vec![
        file("allow ", "\"^sip:alice@192\\.0\\.2\\.10$\" : \"@192\\.0\\.2\\.99$\"\n"),
        file("deny ", deny),
        file("allow register", "ALL : \"@198\\.51\\.100\\.\"\n"),
        file("deny register", deny),
    ];
    let listing = Listing { number: 2, files, records: Vec::new() };
    let row = Row::from_list(0, &listing).expect("good rules").expect("rules");
    bench.input(Input::Row(Either::Right(Either::Left(row))));
    bench
}

#[test]
fn rules_pair_from_with_the_request_uri() {
    let mut bench = ruled();
    assert_eq!(status(&send(&mut bench, "192.0.2.10:5060", &options("1"))), 200);
    let other = options("2").replace("From: <sip:alice@", "From: <sip:eve@");
    assert_eq!(status(&send(&mut bench, "192.0.2.10:5060", &other)), 403);
}

#[test]
fn rules_pair_to_with_every_contact() {
    let mut bench = ruled();
    let mut register = |name: &str, contact: &str| {
        let text = options(name).replace("OPTIONS", "REGISTER");
        let text = text.replace("Max-Forwards", &format!("{contact}Max-Forwards"));
        status(&send(&mut bench, "192.0.2.10:5060", &text))
    };
    assert_eq!(register("1", "Contact: <sip:a@198.51.100.7>\n"), 200);
    assert_eq!(register("2", "Contact: <sip:a@198.51.100.7>, <sip:a@10.0.0.1>\n"), 403);
    assert_eq!(register("3", "Contact: <sip:a@198.51.100.7>, <sip:a b>\n"), 403);
    assert_eq!(register("4", "Contact: *\nExpires: 0\n"), 200);
    assert_eq!(register("5", ""), 200);
}

#[test]
fn an_operator_asks_the_rules() {
    let mut bench = ruled();
    let mut ask = |arguments: [&str; 3]| {
        let arguments = arguments.map(str::to_owned).to_vec();
        bench.command(&Command { name: "permissions.allowUri".into(), arguments }).expect("known")
    };
    let (alice, bob) = ("sip:alice@192.0.2.10", "sip:bob@192.0.2.99");
    assert_eq!(ask([".", alice, bob]), Ok("\"Allowed\"".to_owned()));
    assert_eq!(ask([".", bob, alice]), Ok("\"Denied\"".to_owned()));
    assert_eq!(ask(["nothing", alice, bob]).expect_err("no such rules").code, 404);
}
