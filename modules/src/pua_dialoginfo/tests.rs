//! Events of dialogs become documents, in order.

use super::{PuaDialoginfo, Settings};
use crate::bench::{self, Sent};
use crate::dialog::{Cause, DialogEvent, DialogEventKind, Facts, Key, LegFacts, Side, State};
use crate::pua::bodies::{Element, dialog_info::NAMESPACE, read};
use crate::pua::{self, Packages, Pua};
use std::sync::Arc;
use strowger_sip::date::UnixTime;
use strowger_sip::message::StatusCode;
use strowger_sip::module::{Command, Fault, Host, Module};
use strowger_sip::rig::Bench;
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::time::{ms, secs};

const SERVER: &str = "192.0.2.72:5060";

/// Tells what a test has put there.
struct Stage(std::rc::Rc<std::cell::RefCell<Vec<DialogEvent>>>);

impl Module for Stage {
    const NAME: &'static str = "stage";
    type Attached = ();
    type Peer = ();
    type Timer = ();
    type Token = ();
    type Row = ();

    fn command(
        &mut self,
        host: &mut impl Host<Self>,
        _: &Command,
    ) -> Option<Result<String, Fault>> {
        self.0.borrow_mut().drain(..).for_each(|event| host.publish(event));
        None
    }
}

struct House;

impl Routing for House {
    type Modules = (Stage, Pua, PuaDialoginfo);

    async fn request(&self, _: Request<'_, Self>) -> Result<Answer, Reply> {
        Err(Reply::not_found())
    }
}

/// A call of alice to bob, both of this node.
struct Call {
    bench: Bench<House>,
    told: std::rc::Rc<std::cell::RefCell<Vec<DialogEvent>>>,
    facts: Facts,
    etags: usize,
}

impl Call {
    fn new(settings: Settings) -> Call {
        let told = std::rc::Rc::default();
        let pua = pua::Settings {
            outbound_proxy: Some(format!("sip:{SERVER}")),
            dlginfo_increase_version: true,
            ..pua::Settings::default()
        };
        let modules = (
            Stage(std::rc::Rc::clone(&told)),
            Pua::new(pua, Packages::standard(), false),
            PuaDialoginfo::new(Settings { publish: true, ..settings }),
        );
        let leg = |user: &str, tag: &str| LegFacts {
            uri: format!("sip:{user}@192.0.2.1;x=y"),
            tag: tag.to_owned(),
            contact: format!("sip:{user}@192.0.2.9"),
            ..LegFacts::default()
        };
        let facts = Facts {
            key: Key { entry: 12, id: 5 },
            call_id: "call\"1".to_owned(),
            request_uri: "sip:+4930@192.0.2.1".to_owned(),
            state: State::Unconfirmed,
            caller: leg("alice", "a"),
            callee: leg("bob", "b"),
            init: UnixTime::default(),
            start: UnixTime::default(),
            end: UnixTime::default(),
            lifetime_seconds: 7200,
            timeout_route: String::new(),
            script_flags: 0,
            variables: Vec::new(),
        };
        Call { bench: bench::alone(House, modules), told, facts, etags: 0 }
    }

    /// Something happens; what the server gets: whom it is about, how long, and the document.
    fn tell(&mut self, kind: DialogEventKind, state: State) -> Vec<(String, String, Element)> {
        self.facts.state = state;
        let dialog = Arc::new(self.facts.clone());
        self.told.borrow_mut().push(DialogEvent { kind, dialog });
        self.bench.command(&Command { name: "tell".into(), arguments: Vec::new() });
        let mut documents = Vec::new();
        for _ in 0..10 {
            self.bench.advance(ms(100));
            for Sent { text, .. } in bench::sent(&mut self.bench) {
                let text = text.replace('\r', "");
                self.etags += 1;
                let (head, body) = text.split_once("\n\n").expect("a message");
                let uri = head.split(' ').nth(1).expect("a URI").to_owned();
                let expires = head.lines().find_map(|line| line.strip_prefix("Expires: "));
                let expires = expires.expect("an Expires").to_owned();
                let more = format!("SIP-ETag: e{}\nExpires: {expires}\nContent-Length", self.etags);
                let reply = bench::response(&text, "200 OK").replace("Content-Length", &more);
                documents.push((uri, expires, read(body.as_bytes()).expect("a document")));
                bench::send(&mut self.bench, SERVER, &reply);
            }
        }
        documents.sort_by(|one, other| one.0.cmp(&other.0));
        documents
    }
}

fn ringing() -> DialogEventKind {
    DialogEventKind::Early(StatusCode::new(180).expect("a status"))
}

/// Who, which version, which state.
fn states(told: &[(String, String, Element)]) -> Vec<(&str, &str, &str)> {
    let state = |document: &'_ Element| -> &'static str {
        let dialog = document.all(NAMESPACE, "dialog").next().expect("a dialog");
        let state = dialog.all(NAMESPACE, "state").next().expect("a state");
        ["trying", "early", "confirmed", "terminated"]
            .into_iter()
            .find(|word| *word == state.text)
            .unwrap_or_default()
    };
    told.iter()
        .map(|(uri, _, document)| {
            (uri.as_str(), document.attribute("version").unwrap_or_default(), state(document))
        })
        .collect()
}

const ALICE: &str = "sip:alice@192.0.2.1";
const BOB: &str = "sip:bob@192.0.2.1";

#[test]
fn a_call_is_told_to_both_parties_in_order() {
    let mut call = Call::new(Settings::default());
    let told = call.tell(DialogEventKind::Created, State::Unconfirmed);
    assert_eq!(states(&told), [(ALICE, "0", "trying")]);
    assert_eq!(told[0].1, "7200");
    let told = call.tell(ringing(), State::Early);
    assert_eq!(states(&told), [(ALICE, "1", "early"), (BOB, "0", "early")]);
    let bob = told[1].2.all(NAMESPACE, "dialog").next().expect("a dialog");
    assert_eq!((bob.attribute("id"), bob.attribute("call-id")), (Some("12:5"), Some("call\"1")));
    assert_eq!((bob.attribute("local-tag"), bob.attribute("remote-tag")), (Some("b"), Some("a")));
    assert_eq!(bob.attribute("direction"), Some("recipient"));
    let remote = bob.all(NAMESPACE, "remote").next().expect("a party");
    assert_eq!(remote.children[0].text, "sip:alice@192.0.2.1;x=y");
    assert_eq!(remote.children[1].attribute("uri"), Some("sip:alice@192.0.2.9"));
    // It rings once more, which is no news.
    assert_eq!(call.tell(ringing(), State::Early).len(), 0);
    let told = call.tell(DialogEventKind::Start, State::ConfirmedNa);
    assert_eq!(states(&told), [(ALICE, "2", "confirmed"), (BOB, "1", "confirmed")]);
    // A branch that rings on, and the ACK, change nothing.
    assert_eq!(call.tell(ringing(), State::ConfirmedNa).len(), 0);
    assert_eq!(call.tell(DialogEventKind::Confirmed, State::Confirmed).len(), 0);
    call.facts.callee.contact = "sip:bob@192.0.2.8".into();
    let told = call.tell(DialogEventKind::Refreshed(Side::Callee), State::Confirmed);
    assert_eq!(states(&told), [(ALICE, "3", "confirmed"), (BOB, "2", "confirmed")]);
    assert_eq!(call.tell(DialogEventKind::Ending(Cause::CallerBye), State::Deleted).len(), 0);
    let told = call.tell(DialogEventKind::End(Cause::CallerBye), State::Deleted);
    assert_eq!(states(&told), [(ALICE, "4", "terminated"), (BOB, "3", "terminated")]);
    assert_eq!(told[0].1, "10");
    assert_eq!(call.tell(DialogEventKind::Destroyed, State::Deleted).len(), 0);
    call.bench.advance(secs(60));
    assert_eq!(bench::sent(&mut call.bench).len(), 0);
}

#[test]
fn a_call_that_fails_is_over() {
    let mut call = Call::new(Settings { callee_trying: true, ..Settings::default() });
    let told = call.tell(DialogEventKind::Created, State::Unconfirmed);
    assert_eq!(states(&told), [(ALICE, "0", "trying"), (BOB, "0", "trying")]);
    let busy = DialogEventKind::Failed(StatusCode::new(486).expect("a status"));
    let told = call.tell(busy, State::Deleted);
    assert_eq!(states(&told), [(ALICE, "1", "terminated"), (BOB, "1", "terminated")]);
}

#[test]
fn settings_say_what_is_told_and_of_whom() {
    let mut call = Call::new(Settings {
        include_callid: false,
        include_tags: false,
        include_localremote: false,
        caller_confirmed: true,
        override_lifetime: 90,
        ..Settings::default()
    });
    let told = call.tell(ringing(), State::Early);
    assert_eq!(states(&told), [(ALICE, "0", "confirmed"), (BOB, "0", "early")]);
    let dialog = told[0].2.all(NAMESPACE, "dialog").next().expect("a dialog");
    let names: Vec<&str> = dialog.attributes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, dialog.children.len()), (vec!["id", "direction"], 1));
    assert_eq!(told[0].1, "90");

    let mut call = Call::new(Settings { include_req_uri: true, ..Settings::default() });
    // A party elsewhere is nobody's business.
    call.facts.caller.uri = "sip:alice@elsewhere.example".into();
    let told = call.tell(ringing(), State::Early);
    assert_eq!(states(&told), [(BOB, "0", "early")]);
    let bob = told[0].2.all(NAMESPACE, "dialog").next().expect("a dialog");
    let local = bob.all(NAMESPACE, "local").next().expect("a party");
    assert_eq!(local.children[0].text, "sip:+4930@192.0.2.1");
}

#[test]
fn flags_and_variables_say_as_whom_a_party_is_told() {
    let settings = Settings {
        send_publish_flag: Some(1),
        disable_caller_publish_flag: Some(2),
        caller_entity_when_publish_disabled: Some("sip:someone@192.0.2.1".into()),
        pubruri_callee_dlg_var: Some("as".into()),
        ..Settings::default()
    };
    let mut call = Call::new(settings.clone());
    assert_eq!(call.tell(ringing(), State::Early).len(), 0);
    let mut call = Call::new(settings);
    call.facts.script_flags = 0b110;
    call.facts.callee.uri = "sip:bob@elsewhere.example".into();
    call.facts.variables = vec![("as".into(), "sip:desk@192.0.2.1 no-uri sip:bell@h".into())];
    let told = call.tell(ringing(), State::Early);
    let of: Vec<&str> = states(&told).into_iter().map(|(uri, _, _)| uri).collect();
    assert_eq!(of, ["sip:bell@h", "sip:desk@192.0.2.1", "sip:someone@192.0.2.1"]);
}
