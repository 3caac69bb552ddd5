//! Tests of `permissions` in a routing.

use super::{Address, Group, Permissions, PermissionsRequest, Prefix, Row, Settings};
use crate::bench::{Sent, alone, options, send};
use strowger_sip::engine::Input;
use strowger_sip::module::{Command, Either};
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, Reply, Request, Routing};
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
    bench.engine().module_counters(&mut |name, value| counters.push((name, value)));
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
    assert_eq!(status(&send(&mut bench, "192.0.2.10:5060", &options("4"))), 403);
}

#[test]
fn the_list_is_shown() {
    let mut bench = bench();
    let dump = Command { name: "permissions.subnetDump".into(), arguments: vec![] };
    let text = bench.command(&dump).expect("known").expect("a list");
    let first = r#"{"group":1,"ip":"192.0.2.0","mask":24,"port":0,"tag":"trunk"}"#;
    assert!(text.contains(first), "{text}");
}
