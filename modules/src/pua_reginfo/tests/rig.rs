//! Registrars of several shards around one presence server, for the tests of this module.
//!
//! For: registering at one of them and looking at what the server and the others hear.
//! The server is a small one of its own: it answers PUBLISH and SUBSCRIBE, and, where a test wants
//! it, puts the documents of an address together and sends them to all who follow it.

use crate::bench::{self, Node, Sent};
use crate::location::{self, Location};
use crate::pua::bodies::reginfo::{self, Reginfo};
use crate::pua::{self, Packages, Pua};
use crate::pua_reginfo::{Following, Imported, PuaReginfo, Settings};
use crate::pua_usrloc::{self, PuaUsrloc};
use crate::registrar::rig::{BEGIN, Mood, Register, Storage};
use crate::registrar::{self, Registrar, SaveOptions, Saving, Trusted};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use strowger_sip::date::Epoch;
use strowger_sip::engine::{Input, RowOf};
use strowger_sip::message::{MethodKind, scan_call_id};
use strowger_sip::module::{Command, Event, Host, Module};
use strowger_sip::routing::{Answer, Reply, Request, Routing};
use strowger_sip::shard::ShardMap;
use strowger_sip::storage::{Note, Rows, Version};
use strowger_sip::time::ms;

/// Where the presence server is.
pub(crate) const SERVER: &str = "192.0.2.72:5060";

/// What a registrar does.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) name: &'static str,
    pub(crate) shards: u16,
    pub(crate) location: location::Settings,
    pub(crate) reginfo: Settings,
    pub(crate) usrloc: pua_usrloc::Settings,
}

impl House {
    /// One that publishes to the server and may follow others there.
    pub(crate) fn new(name: &'static str) -> House {
        let reginfo = Settings {
            default_domain: Some("example.com".into()),
            publish_reginfo: true,
            outbound_proxy: Some(format!("sip:{SERVER}")),
            server_address: Some(format!("sip:{name}@192.0.2.1")),
            ..Settings::default()
        };
        let (location, usrloc) = Default::default();
        House { name, shards: 2, location, reginfo, usrloc }
    }
}

impl Routing for House {
    type Modules = (Location, Registrar, Pua, PuaReginfo, PuaUsrloc, Ear);

    async fn request(&self, request: Request<'_, Self>) -> Result<Answer, Reply> {
        match request.method() {
            MethodKind::Register => {
                let has = |name: &[u8]| request.message().header_named(name).is_some();
                let options = SaveOptions::default();
                let options = if has(b"X-Quiet") { options.unpublished() } else { options };
                let options = if has(b"X-Presence") { options.presence() } else { options };
                Ok(request.save_with(Trusted, &options).await?.into())
            }
            MethodKind::Info => {
                let uri = String::from_utf8_lossy(request.request_uri()).into_owned();
                let seconds = request.message().expires().ok().flatten().map(i64::from);
                let followed = match seconds {
                    Some(seconds) => request.reginfo_subscribe_for(&uri, seconds),
                    None => request.reginfo_subscribe(&uri),
                };
                let status = if followed.is_ok() { 200 } else { 400 };
                Err(Reply::new(status))
            }
            MethodKind::Invite
            | MethodKind::Ack
            | MethodKind::Bye
            | MethodKind::Cancel
            | MethodKind::Options
            | MethodKind::Prack
            | MethodKind::Subscribe
            | MethodKind::Notify
            | MethodKind::Publish
            | MethodKind::Refer
            | MethodKind::Message
            | MethodKind::Update
            | MethodKind::Other => Err(Reply::new(481)),
        }
    }
}

/// Hears what became of each NOTIFY.
#[derive(Default)]
pub(crate) struct Ear {
    heard: Rc<RefCell<Vec<i32>>>,
}

impl Module for Ear {
    const NAME: &'static str = "ear";
    const LISTENS: bool = true;
    type Attached = ();
    type Peer = ();
    type Timer = ();
    type Token = ();
    type Row = ();

    fn event(&mut self, _: &mut impl Host<Self>, event: &Event) {
        if let Some(imported) = event.of::<Imported>() {
            self.heard.borrow_mut().push(imported.handled.code());
        }
    }
}

/// One registrar and its storage.
pub(crate) struct Site {
    node: Node<House>,
    storage: Storage,
    heard: Rc<RefCell<Vec<i32>>>,
}

impl Site {
    fn new(house: &House) -> Site {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let epoch = Epoch::new(BEGIN * 1_000_000);
        let node = Node::new(house.shards, || {
            let outbound_proxy = Some(format!("sip:{SERVER}"));
            let reginfo_increase_version = true;
            let default = pua::Settings::default();
            let pua = pua::Settings { outbound_proxy, reginfo_increase_version, ..default };
            let modules = (
                Location::new(house.location.clone(), house.name, epoch),
                Registrar::new(registrar::Settings::default(), b"a secret"),
                Pua::new(pua, Packages::standard(), false),
                PuaReginfo::new(house.reginfo.clone(), house.name, b"a secret", epoch),
                PuaUsrloc::new(house.usrloc.clone(), epoch),
                Ear { heard: Rc::clone(&heard) },
            );
            (house.clone(), modules)
        });
        let storage = Storage { mood: Mood::Well, rows: BTreeMap::new(), orders: 0 };
        Site { node, storage, heard }
    }

    fn settle(&mut self) -> Vec<Sent> {
        self.node.settle_with(|order| self.storage.carry_out(order));
        self.node.shards.iter_mut().flat_map(bench::sent).collect()
    }
}

/// A subscription at the server.
struct Watcher {
    site: usize,
    uri: String,
    call_id: String,
    from: String,
    contact: String,
    cseq: u32,
    version: u32,
}

/// A publication at the server.
struct Stored {
    uri: String,
    etag: String,
    body: String,
}

/// The registrars and the server.
pub(crate) struct World {
    pub(crate) sites: Vec<Site>,
    houses: Vec<House>,
    /// What the server got.
    pub(crate) publishes: Vec<(usize, String)>,
    pub(crate) subscribes: Vec<String>,
    /// Responses to requests of the server and of users.
    pub(crate) answers: Vec<String>,
    stored: Vec<Stored>,
    watchers: Vec<Watcher>,
    etags: usize,
    cseq: u32,
    /// Whether the server notifies.
    pub(crate) notifies: bool,
    /// Whether documents are put together; else each is sent on as it is.
    pub(crate) aggregates: bool,
}

impl World {
    pub(crate) fn new(houses: &[House]) -> World {
        World {
            sites: houses.iter().map(Site::new).collect(),
            houses: houses.to_vec(),
            publishes: Vec::new(),
            subscribes: Vec::new(),
            answers: Vec::new(),
            stored: Vec::new(),
            watchers: Vec::new(),
            etags: 0,
            cseq: 0,
            notifies: false,
            aggregates: true,
        }
    }

    /// One registrar, and a server that notifies only when told.
    pub(crate) fn alone(reginfo: impl FnOnce(&mut Settings)) -> World {
        let mut house = House::new("r1");
        reginfo(&mut house.reginfo);
        World::new(&[house])
    }

    /// A message arrives at a registrar.
    pub(crate) fn send(&mut self, site: usize, from: &str, text: &str) {
        let bytes = text.replace('\n', "\r\n");
        let call_id = scan_call_id(bytes.as_bytes()).expect("a Call-ID");
        let shards = self.houses[site].shards;
        let home = ShardMap::new(shards, (1, 2)).home(call_id);
        let sent = self.sites[site].node.send(usize::from(home.0), from, text);
        self.handle(site, sent);
        self.settle();
    }

    fn handle(&mut self, site: usize, sent: Vec<Sent>) {
        for message in sent {
            let text = message.text.replace('\r', "");
            if message.to != SERVER || text.starts_with("SIP/2.0") {
                self.answers.push(text);
            } else if text.starts_with("PUBLISH") {
                self.publish(site, &text);
            } else {
                self.subscribe(site, &text);
            }
        }
    }

    /// Lets everything that is on its way arrive.
    pub(crate) fn settle(&mut self) {
        for site in 0..self.sites.len() {
            let sent = self.sites[site].settle();
            self.handle(site, sent);
        }
    }

    pub(crate) fn advance(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            for site in &mut self.sites {
                site.node.advance(ms(100));
            }
            self.settle();
        }
    }

    fn publish(&mut self, site: usize, text: &str) {
        self.publishes.push((site, text.to_owned()));
        let uri = text.split(' ').nth(1).expect("a URI").to_owned();
        let expires = header(text, "Expires").expect("an Expires").to_owned();
        let body = body(text).to_owned();
        self.etags += 1;
        let etag = format!("e{}", self.etags);
        let known = header(text, "SIP-If-Match");
        let place = known.map(|etag| self.stored.iter().position(|one| one.etag == etag));
        let status = match place {
            Some(None) => "412 Conditional Request Failed",
            Some(Some(place)) => {
                if expires == "0" {
                    self.stored.remove(place);
                } else {
                    self.stored[place].etag.clone_from(&etag);
                    if !body.is_empty() {
                        self.stored[place].body = body;
                    }
                }
                "200 OK"
            }
            None => {
                self.stored.push(Stored { uri: uri.clone(), etag: etag.clone(), body });
                "200 OK"
            }
        };
        let reply = bench::response(text, status);
        let more = format!("SIP-ETag: {etag}\nExpires: {expires}\nContent-Length");
        self.send(site, SERVER, &reply.replace("Content-Length", &more));
        if self.notifies && status == "200 OK" {
            self.notify_all(&uri);
        }
    }

    fn subscribe(&mut self, site: usize, text: &str) {
        self.subscribes.push(text.to_owned());
        let expires = header(text, "Expires").expect("an Expires").to_owned();
        let reply = bench::response(text, "200 OK");
        let more = format!("Contact: <sip:pres@{SERVER}>\nExpires: {expires}\nContent-Length");
        self.send(site, SERVER, &reply.replace("Content-Length", &more));
        let call_id = header(text, "Call-ID").expect("a Call-ID").to_owned();
        let place = self.watchers.iter().position(|one| one.call_id == call_id);
        let place = place.unwrap_or_else(|| {
            let value = |name| header(text, name).expect(name).to_owned();
            self.watchers.push(Watcher {
                site,
                uri: value("To").trim_matches(['<', '>']).to_owned(),
                call_id,
                from: value("From"),
                contact: value("Contact").trim_matches(['<', '>']).to_owned(),
                cseq: 0,
                version: 0,
            });
            self.watchers.len() - 1
        });
        if self.notifies {
            self.notify(place);
        }
    }

    fn notify_all(&mut self, uri: &str) {
        for place in 0..self.watchers.len() {
            if self.watchers[place].uri == uri {
                self.notify(place);
            }
        }
    }

    fn notify(&mut self, place: usize) {
        let watcher = &mut self.watchers[place];
        let bodies = self.stored.iter().filter(|one| one.uri == watcher.uri);
        let bodies: Vec<&str> = bodies.map(|one| one.body.as_str()).collect();
        let body = match (self.aggregates, bodies.as_slice()) {
            (_, []) => String::new(),
            (false, [.., last]) => (*last).to_owned(),
            (true, bodies) => {
                let read = |body: &&str| reginfo::read(body.as_bytes()).expect("a document");
                let registrations = bodies.iter().flat_map(|body| read(body).registrations);
                let (version, registrations) = (watcher.version, registrations.collect());
                watcher.version += 1;
                Reginfo { version, extent: reginfo::Extent::Full, registrations }.write()
            }
        };
        self.notify_with(place, &body);
    }

    /// Sends a document in a subscription.
    pub(crate) fn notify_with(&mut self, place: usize, body: &str) {
        let call_id = self.watchers[place].call_id.clone();
        self.watchers[place].cseq += 1;
        let cseq = self.watchers[place].cseq;
        self.notify_as(place, &call_id, cseq, body);
    }

    /// The same with another Call-ID or number.
    pub(crate) fn notify_as(&mut self, place: usize, call_id: &str, cseq: u32, body: &str) {
        self.cseq += 1;
        let Watcher { site, uri, from, contact, .. } = &self.watchers[place];
        let (site, branch, length) = (*site, self.cseq, body.len() + body.matches('\n').count());
        let text = format!(
            "NOTIFY {contact} SIP/2.0\nVia: SIP/2.0/UDP {SERVER};branch=z9hG4bKn{branch}\n\
             From: <{uri}>;tag=b\nTo: {from}\nCall-ID: {call_id}\nCSeq: {cseq} NOTIFY\n\
             Max-Forwards: 70\nEvent: reg\nSubscription-State: active;expires=500\n\
             Contact: <sip:pres@{SERVER}>\nContent-Type: application/reginfo+xml\n\
             Content-Length: {length}\n\n{body}"
        );
        self.send(site, SERVER, &text);
    }

    /// A user registers at a registrar and gets 200.
    pub(crate) fn register(&mut self, site: usize, register: &Register) {
        self.answers.clear();
        self.send(site, "192.0.2.10:5060", &register.text());
        let answer = self.answers.last().cloned().unwrap_or_default();
        assert!(answer.starts_with("SIP/2.0 200"), "{answer}");
    }

    /// A registrar follows a URI.
    pub(crate) fn follow(&mut self, site: usize, uri: &str, expires: u32) {
        self.cseq += 1;
        let name = format!("follow{}", self.cseq);
        let request =
            bench::request("INFO", &name).replace("sip:bob@192.0.2.99 SIP", &format!("{uri} SIP"));
        let expires = format!("Expires: {expires}\nContent-Length");
        self.send(site, "192.0.2.10:5060", &request.replace("Content-Length", &expires));
    }

    /// Asks a command of every shard.
    pub(crate) fn command(&mut self, site: usize, name: &str, arguments: &[&str]) -> String {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let command = Command { name: name.to_owned(), arguments };
        let shards = &mut self.sites[site].node.shards;
        let answers: Vec<String> =
            shards.iter_mut().filter_map(|shard| shard.command(&command)?.ok()).collect();
        self.settle();
        answers.concat()
    }

    /// The contacts of an address at a registrar, as JSON; empty without any.
    pub(crate) fn contacts(&mut self, site: usize, aor: &str) -> String {
        self.command(site, "ul.lookup", &["location", aor])
    }

    pub(crate) fn metric(&self, site: usize, name: &str) -> u64 {
        let shards = self.sites[site].node.shards.iter();
        shards.map(|shard| shard.metric(name).expect("a count")).sum()
    }

    /// What became of the NOTIFYs since the last look.
    pub(crate) fn heard(&mut self, site: usize) -> Vec<i32> {
        std::mem::take(&mut self.sites[site].heard.borrow_mut())
    }

    /// The documents that were published since the last look.
    pub(crate) fn documents(&mut self) -> Vec<Reginfo> {
        let publishes = std::mem::take(&mut self.publishes);
        let bodies = publishes.iter().map(|(_, text)| body(text)).filter(|body| !body.is_empty());
        bodies.map(|body| reginfo::read(body.as_bytes()).expect("a document")).collect()
    }

    /// A registrar is killed and starts again on its storage.
    pub(crate) fn restart(&mut self, site: usize) {
        let house = self.houses[site].clone();
        let fresh = Site::new(&house);
        let old = std::mem::replace(&mut self.sites[site], fresh);
        let site = &mut self.sites[site];
        site.storage = old.storage;
        site.storage.rows.values_mut().for_each(|(version, _)| *version = Version::default());
        for ((table, _), (_, record)) in site.storage.rows.clone() {
            for shard in &mut site.node.shards {
                RowOf::<House>::tables(0, &mut |place, known| {
                    if known.name == table && known.loaded_at_start {
                        let note = Note::Loaded(known, record.clone());
                        if let Ok(Some(row)) = RowOf::<House>::from_note(place, note) {
                            shard.input(Input::Row(row));
                        }
                    }
                });
            }
        }
        self.settle();
    }
}

/// A header's value.
pub(crate) fn header<'m>(message: &'m str, name: &str) -> Option<&'m str> {
    let prefix = format!("{name}: ");
    message.lines().find_map(|line| line.strip_prefix(&prefix))
}

fn body(message: &str) -> &str {
    message.split_once("\n\n").map_or("", |(_, body)| body)
}

/// A REGISTER of a user with one contact.
pub(crate) fn user(name: &str, call_id: &str, cseq: u32, contact: &str) -> Register {
    Register::of(name, call_id, cseq).contact(contact)
}
