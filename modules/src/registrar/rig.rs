//! A node of several shards with storage beside it, for the tests of registrar, location, digest.
//!
//! For: sending a REGISTER and reading its answer, whichever shards it crosses.

use super::{ForkingTo, LookingUp, Match, Registrar, SaveOptions, Saving, Trusted};
use crate::auth::{self, Auth, Authenticating, Challenger};
use crate::bench::{self, Node, Sent};
use crate::location::{self, ContactEvent, Location, Which};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use strowger_sip::date::Epoch;
use strowger_sip::engine::{Input, RowOf};
use strowger_sip::message::{MethodKind, Uri, scan_call_id};
use strowger_sip::module::{Event, Host, Module};
use strowger_sip::routing::{Answer, Outcome, Reply, Request, Routing};
use strowger_sip::shard::ShardMap;
use strowger_sip::storage::{Action, Datum, Note, Order, Outcome as Ended, Record, Rows, Version};

/// The date at which every test begins, in seconds.
pub(crate) const BEGIN: u64 = 1_800_000_000;

/// What the node under test does.
#[derive(Clone, Default)]
pub(crate) struct House {
    pub(crate) authenticates: bool,
    pub(crate) serial: bool,
    pub(crate) save: SaveOptions,
    pub(crate) registrar: super::Settings,
    pub(crate) location: location::Settings,
    pub(crate) auth: auth::Settings,
}

impl Routing for House {
    type Modules = (Auth, Location, Registrar, Listener);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        match request.method() {
            MethodKind::Register if self.authenticates => {
                let who = request.authenticate("example.com").await?;
                Ok(request.save_with(who, &self.save).await?.into())
            }
            MethodKind::Register => Ok(request.save_with(Trusted, &self.save).await?.into()),
            MethodKind::Options => {
                let uri = request.request_uri().to_vec();
                let found = request.registered(&uri, Match::default()).await;
                Err(Reply::new(200).reason(&format!("{found:?}")))
            }
            MethodKind::Subscribe => {
                let uri = request.request_uri().to_vec();
                match request.unregister(&uri, Which::All).await {
                    Ok(count) => Err(Reply::new(200).reason(&format!("{count}"))),
                    Err(refusal) => Err(Reply::new(404).reason(&format!("{refusal:?}"))),
                }
            }
            MethodKind::Info => {
                let uri = request.request_uri().to_vec();
                let found = request.reg_from_user(&uri).await?;
                Err(Reply::new(200).reason(&format!("{}", found.len())))
            }
            MethodKind::Notify => {
                let found = request.lookup().await?;
                request.add_sock_hdr("Sock-Info").map_err(|_| Reply::bad_request())?;
                Ok(request.fork_by(found.contacts()).into())
            }
            MethodKind::Publish => {
                let uri = Uri::parse(request.request_uri()).map_err(|_| Reply::bad_request())?;
                let loaded = request.load_credentials(&uri).await;
                let secret =
                    loaded.map_err(|failure| Reply::new(404).reason(&failure.to_string()))?;
                let checked =
                    request.check_credentials("example.com", Challenger::Proxy, Some(&secret));
                match checked.await {
                    Ok(who) => Err(Reply::new(200).reason(who.user())),
                    Err(failure) => Err(request.refusal("example.com", Challenger::Proxy, failure)),
                }
            }
            MethodKind::Message => {
                let who = request.authenticate_sender("example.com").await?;
                let _ = request.consume_credentials(&who);
                Ok(request.relay_to("sip:192.0.2.77").into())
            }
            MethodKind::Invite
            | MethodKind::Ack
            | MethodKind::Bye
            | MethodKind::Cancel
            | MethodKind::Prack
            | MethodKind::Refer
            | MethodKind::Update
            | MethodKind::Other => {
                let found = request.lookup().await?;
                if !self.serial {
                    return Ok(request.fork_to(found.contacts()).into());
                }
                for group in found.groups() {
                    if let Outcome::Answered(_) = request.fork_to(group).await {
                        return Ok(Answer::Done);
                    }
                }
                Err(Reply::temporarily_unavailable())
            }
        }
    }
}

/// A module that hears of contacts.
#[derive(Default)]
pub(crate) struct Listener {
    heard: Rc<RefCell<Vec<String>>>,
}

impl Module for Listener {
    const NAME: &'static str = "listener";
    const LISTENS: bool = true;
    type Attached = ();
    type Peer = ();
    type Timer = ();
    type Token = ();
    type Row = ();

    fn event(&mut self, _: &mut impl Host<Self>, event: &Event) {
        let Some(event) = event.of::<ContactEvent>() else { return };
        let uri = String::from_utf8_lossy(event.contact.uri()).into_owned();
        let text = format!("{:?} {} {uri} {}", event.kind, event.aor, event.bindings.len());
        self.heard.borrow_mut().push(if event.quiet { format!("{text} quiet") } else { text });
    }
}

/// How storage behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    /// It takes orders and never answers.
    Dead,
    /// It answers that it will not.
    Refusing,
}

/// Tables in memory.
pub(crate) struct Storage {
    pub(crate) mood: Mood,
    pub(crate) rows: BTreeMap<(&'static str, String), (Version, Record)>,
    pub(crate) orders: usize,
}

impl Storage {
    pub(crate) fn carry_out(&mut self, order: Order) -> Option<Note> {
        self.orders += 1;
        let Order { table, action, version, ticket, .. } = order;
        let ended = match self.mood {
            Mood::Dead => return None,
            Mood::Refusing => Ended::Refused,
            Mood::Well => Ended::Durable,
        };
        if ended == Ended::Refused {
            return ticket.map(|ticket| Note::Settled(ticket, Ended::Refused));
        }
        let newer = |kept: Option<&(Version, Record)>| kept.is_none_or(|kept| kept.0 < version);
        match action {
            Action::Put(record) => {
                let places = table.key.iter().filter_map(|name| table.place(name));
                let key: Vec<&Datum> = places.filter_map(|place| record.get(place)).collect();
                let key = (table.name, format!("{key:?}"));
                if newer(self.rows.get(&key)) {
                    self.rows.insert(key, (version, record));
                }
            }
            Action::Remove(key) => {
                let key: Vec<&Datum> = key.iter().collect();
                let key = (table.name, format!("{key:?}"));
                if newer(self.rows.get(&key)) {
                    self.rows.remove(&key);
                }
            }
            Action::Replace(group, rows) => {
                let of_group = |key: &(&str, String)| {
                    key.0 == table.name && key.1.starts_with(&format!("{group:?}"))
                };
                self.rows.retain(|key, _| !of_group(key));
                for (number, record) in rows.into_iter().enumerate() {
                    self.rows.insert((table.name, format!("{group:?}{number}")), (version, record));
                }
            }
            Action::RemoveEnded(date) => {
                let ended = |record: &Record| {
                    let place = table.ends.and_then(|column| table.place(column));
                    let end = place.and_then(|place| record.get(place));
                    matches!(end, Some(Datum::Date(end)) if *end <= date && end.as_secs() > 0)
                };
                self.rows.retain(|(name, _), (_, record)| *name != table.name || !ended(record));
            }
            Action::Find(by) => {
                let fits = |record: &Record| {
                    by.iter().all(|(name, value)| {
                        table.place(name).and_then(|place| record.get(place)) == Some(value)
                    })
                };
                let of_table = self.rows.iter().filter(|((name, _), _)| *name == table.name);
                let found = of_table.map(|(_, (_, record))| record).filter(|record| fits(record));
                return Some(Note::Found(ticket?, found.cloned().collect()));
            }
        }
        ticket.map(|ticket| Note::Settled(ticket, Ended::Durable))
    }
}

/// A node and its storage.
pub(crate) struct Town {
    pub(crate) node: Node<House>,
    pub(crate) storage: Storage,
    pub(crate) heard: Rc<RefCell<Vec<String>>>,
    shards: u16,
}

impl Town {
    pub(crate) fn new(shards: u16, house: &House) -> Town {
        let heard = Rc::new(RefCell::new(Vec::new()));
        let listener = Rc::clone(&heard);
        let epoch = Epoch::new(BEGIN * 1_000_000);
        let node = Node::new(shards, || {
            let listener = Listener { heard: Rc::clone(&listener) };
            let modules = (
                Auth::new(house.auth.clone(), b"a secret of the node", epoch),
                Location::new(house.location.clone(), "n1", epoch),
                Registrar::new(house.registrar.clone(), b"a secret of the node"),
                listener,
            );
            (house.clone(), modules)
        });
        let storage = Storage { mood: Mood::Well, rows: BTreeMap::new(), orders: 0 };
        Town { node, storage, heard, shards }
    }

    /// The same storage after a crash of the node.
    pub(crate) fn restarted(self, shards: u16, house: &House) -> Town {
        let mut town = Town::new(shards, house);
        town.storage = self.storage;
        // What was written before has no version any more.
        town.storage.rows.values_mut().for_each(|(version, _)| *version = Version::default());
        for ((table, _), (_, record)) in town.storage.rows.clone() {
            for shard in &mut town.node.shards {
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
        town
    }

    /// Gives a note of storage to a shard, on behalf of the location.
    pub(crate) fn note(&mut self, shard: usize, note: Note) {
        let mut place_of_location = 0;
        RowOf::<House>::tables(0, &mut |place, table| {
            if table.name == "location" {
                place_of_location = place;
            }
        });
        let row = RowOf::<House>::from_note(place_of_location, note).expect("a good row");
        self.node.shards[shard].input(Input::Row(row.expect("a row")));
        self.settle();
    }

    /// A message arrives at the home of its Call-ID; what the node sends until it is quiet.
    pub(crate) fn send(&mut self, from: &str, message: &str) -> Vec<Sent> {
        let call_id = message.replace('\n', "\r\n");
        let call_id = scan_call_id(call_id.as_bytes()).expect("a Call-ID");
        let home = ShardMap::new(self.shards, (1, 2)).home(call_id);
        let mut sent = self.node.send(usize::from(home.0), from, message);
        sent.extend(self.settle());
        sent
    }

    /// Carries messages between shards and to storage until there are none.
    pub(crate) fn settle(&mut self) -> Vec<Sent> {
        self.node.settle_with(|order| self.storage.carry_out(order));
        self.node.shards.iter_mut().flat_map(bench::sent).collect()
    }

    /// Lets time pass, in steps of a tenth of a second.
    pub(crate) fn advance(&mut self, seconds: u64) -> Vec<Sent> {
        let mut sent = Vec::new();
        for _ in 0..seconds * 10 {
            self.node.advance(strowger_sip::time::ms(100));
            sent.extend(self.settle());
        }
        sent
    }

    /// Asks a command of every shard; the answers of those that have one.
    pub(crate) fn command(&mut self, name: &str, arguments: &[&str]) -> Vec<String> {
        let command = strowger_sip::module::Command {
            name: name.to_owned(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
        };
        let answers: Vec<_> =
            self.node.shards.iter_mut().filter_map(|shard| shard.command(&command)).collect();
        self.settle();
        answers.into_iter().filter_map(Result::ok).collect()
    }

    /// Sends a REGISTER and returns its final response.
    pub(crate) fn register(&mut self, register: &Register) -> String {
        let sent = self.send("192.0.2.10:5060", &register.text());
        sent.last().map(|sent| sent.text.clone()).unwrap_or_default()
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.heard.borrow_mut())
    }
}

/// A REGISTER.
#[derive(Clone)]
pub(crate) struct Register {
    pub(crate) user: String,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) lines: Vec<String>,
    pub(crate) via: String,
}

impl Register {
    pub(crate) fn of(user: &str, call_id: &str, cseq: u32) -> Register {
        Register {
            user: user.to_owned(),
            call_id: call_id.to_owned(),
            cseq,
            lines: Vec::new(),
            via: "Via: SIP/2.0/UDP 192.0.2.10".to_owned(),
        }
    }

    pub(crate) fn line(mut self, line: &str) -> Register {
        self.lines.push(line.to_owned());
        self
    }

    pub(crate) fn contact(self, value: &str) -> Register {
        self.line(&format!("Contact: {value}"))
    }

    pub(crate) fn text(&self) -> String {
        let Register { user, call_id, cseq, lines, via } = self;
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let branch = format!("{call_id}{cseq}{}", lines.len());
        format!(
            "REGISTER sip:example.com SIP/2.0\n{via};branch=z9hG4bK{branch}\n\
             From: <sip:{user}@example.com>;tag=f\nTo: <sip:{user}@example.com>\n\
             Call-ID: {call_id}\nCSeq: {cseq} REGISTER\nMax-Forwards: 70\n{lines}\
             Content-Length: 0\n\n"
        )
    }
}

/// An INVITE for a URI.
pub(crate) fn invite(uri: &str, call_id: &str) -> String {
    bench::request("INVITE", call_id).replace("sip:bob@192.0.2.99 SIP", &format!("{uri} SIP"))
}

/// The values of a header in a message.
pub(crate) fn values<'m>(message: &'m str, name: &str) -> Vec<&'m str> {
    let prefix = format!("{name}: ");
    message.lines().filter_map(|line| line.strip_prefix(&prefix)).collect()
}

pub(crate) fn status(message: &str) -> &str {
    message.split(' ').nth(1).unwrap_or_default()
}
