//! Tests of a routing: messages and a clock in memory, no sockets, the engine of production.
//!
//! For: `#[test]` functions beside a routing, hours of protocol in a millisecond of machine time.
//! Not here: the language of flows (`tests/flows/README.md`) and its interpreter, which are the
//! rig's (`core/sip/src/rig/flow`); the shards (`shards.rs`), the database (`store.rs`).
//! Invariants: the configuration is read, and engines are made, as `strowger::main` does. The same
//! test does the same, byte for byte, on every machine. Whatever fails shows the flow so far.
//!
//! This is a plain module behind no feature: whoever writes a routing finds it with everything
//! else, `cargo test` needs no second set of features (so nothing is built twice), and a binary
//! that does not use it does not contain it.
//!
//! ```
//! use strowger::prelude::*;
//! use strowger::testing::Proxy;
//!
//! struct ToTrunk { trunk: String }
//!
//! impl Routing for ToTrunk {
//!     type Modules = ();
//!     async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
//!         Ok(request.relay_by(&self.trunk).into())
//!     }
//! }
//!
//! let mut proxy = Proxy::new("[routing]\ntrunk = \"sip:192.0.2.20\"", |section| ToTrunk {
//!     trunk: section.string_or("trunk", ""),
//! })
//! .party("Alice", "192.0.2.10:5060")
//! .party("Trunk", "192.0.2.20:5060");
//! proxy.play("
//!     Alice -> INVITE sip:123@example.com
//!     Alice <- 100
//!     Trunk <- INVITE sip:123@example.com
//!     wait 500ms
//!     Trunk <- INVITE
//!     Trunk -> 486
//!     Trunk <- ACK
//!     Alice <- 486
//!     Alice -> ACK
//! ");
//! proxy.end();
//! ```

mod proof;
mod shards;
mod store;

pub use store::Storage;

use crate::start::Read;
use shards::{Factory, Shards};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::Location;
use strowger_node::config;
use strowger_sip::engine::RowOf;
use strowger_sip::module::{Command, ConfiguredModules, Fault};
use strowger_sip::rig::flow::{Endpoint, Failure, Node, PartyAddress, Play, Setup};
use strowger_sip::routing::Routing;
use strowger_sip::settings::Section;
use strowger_sip::storage::Rows;
use strowger_sip::time::{Duration, Instant};
use strowger_sip::transport::{Listener, Listeners};

/// Where the node listens when the configuration says no address of its own: RFC 5737.
const NODE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PORT: u16 = 5060;

/// A node with a routing, and the parties that talk to it.
///
/// It is set up first ([`Proxy::party`], [`Proxy::shards`] ...); the node starts with the first
/// line that is played. Each method fails the test, at the line that calls it, when something is
/// not as it says.
pub struct Proxy<R>
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
{
    factory: Option<Factory<R>>,
    setup: Setup,
    play: Option<Play<Shards<R>>>,
}

impl<R> Proxy<R>
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
{
    /// A node of one shard, made from a configuration as `strowger::main` makes one. What the
    /// configuration says of threads, files and databases is checked and otherwise left alone.
    ///
    /// # Panics
    /// When the configuration is wrong: with everything that is wrong with it.
    #[track_caller]
    pub fn new(toml: &str, from_config: impl Fn(&mut Section<'_>) -> R + 'static) -> Proxy<R> {
        let (configuration, mut problems) = config::parse("test.toml", toml);
        let (read, found) = configuration.read(|root| Read::all(root, &from_config));
        found.sorted().into_iter().for_each(|problem| problems.add(problem.clone()));
        assert!(problems.is_empty(), "the configuration is wrong:\n{problems}");
        let listeners = read.node.listen.iter().map(|listen| {
            let ip = listen.address.ip();
            let ip = if ip.is_unspecified() { NODE } else { ip };
            let port = Some(listen.address.port()).filter(|port| *port != 0).unwrap_or(PORT);
            let bound = SocketAddr::new(ip, port);
            Listener { transport: listen.transport, bound, advertised: listen.advertised(bound) }
        });
        let listeners: Vec<Listener> = listeners.collect();
        let endpoint = |own: &Listener| Endpoint { transport: own.transport, address: own.bound };
        let setup =
            Setup { listeners: listeners.iter().map(endpoint).collect(), ..Setup::default() };
        let factory = Factory {
            configuration,
            from_config: Box::new(from_config),
            settings: read.engine,
            listeners: Listeners::new(listeners),
            shards: 1,
            storage: Storage::Off,
            hosts: BTreeMap::new(),
            files: BTreeMap::new(),
        };
        Proxy { factory: Some(factory), setup, play: None }
    }

    /// Somebody who talks to the node: a capital letter, then letters or digits; the address it
    /// sends from and receives at: `192.0.2.10:5060`, `tcp:192.0.2.10:5060`.
    #[track_caller]
    pub fn party(self, name: &str, address: &str) -> Proxy<R> {
        self.party_behind_nat(name, address, address)
    }

    /// The same for somebody who writes the first address into messages, and is seen at the second.
    #[track_caller]
    pub fn party_behind_nat(mut self, name: &str, inside: &str, outside: &str) -> Proxy<R> {
        let is_name = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric());
        assert!(is_name, "{name}: a party's name is a capital letter, then letters or digits");
        let (inside, outside) = (endpoint(inside), endpoint(outside));
        self.setup.parties.push(PartyAddress { name: name.to_owned(), inside, outside });
        self
    }

    /// So many shards. What a message's home is not the shard of its dialog's profile or its
    /// user's contacts is then asked over the mesh, in no time.
    #[track_caller]
    pub fn shards(mut self, count: u16) -> Proxy<R> {
        self.factory().shards = count;
        self
    }

    /// What modules find as their database: none unless it is said here.
    #[track_caller]
    pub fn storage(mut self, storage: Storage) -> Proxy<R> {
        self.factory().storage = storage;
        self
    }

    /// What DNS answers when the node asks for this name: these addresses, the first one to be
    /// tried first. A name that is not said here waits for a line `name NAME ADDRESS ...`.
    #[track_caller]
    pub fn host(mut self, name: &str, addresses: &[&str]) -> Proxy<R> {
        let places = addresses.iter().map(|address| endpoint(address)).collect();
        self.factory().hosts.insert(name.to_ascii_lowercase(), places);
        self
    }

    /// A file that the configuration names, for example what `[dispatcher] list_file` says.
    #[track_caller]
    pub fn file(mut self, path: &str, text: &str) -> Proxy<R> {
        self.factory().files.insert(path.to_owned(), text.to_owned());
        self
    }

    #[track_caller]
    fn factory(&mut self) -> &mut Factory<R> {
        self.factory.as_mut().expect("the node has started: set it up before the first line")
    }

    /// Plays lines of the language of flows: `Alice -> INVITE sip:bob@example.com`,
    /// `Bob <- INVITE`, `wait 500ms`, `skip 32s`, `count NAME N` and their kin. Lines may be
    /// indented together; what belongs to a line stands further right below it.
    ///
    /// # Panics
    /// When something is not as the lines say.
    #[track_caller]
    pub fn play(&mut self, lines: &str) -> &mut Proxy<R> {
        let here = place();
        let played = self.started().play(&here, lines);
        succeed(played);
        self
    }

    /// Lets time pass in which nothing may be sent before its end.
    #[track_caller]
    pub fn wait(&mut self, span: Duration) -> &mut Proxy<R> {
        self.play(&format!("wait {}ms", span.as_millis()))
    }

    /// Lets time pass; what is sent before its end is not looked at.
    #[track_caller]
    pub fn skip(&mut self, span: Duration) -> &mut Proxy<R> {
        self.play(&format!("skip {}ms", span.as_millis()))
    }

    /// Takes the next message that was sent to a party, for a look at its text; `None` when there
    /// is none. It counts as read, and the party can answer it.
    #[track_caller]
    pub fn take(&mut self, party: &str) -> Option<String> {
        let here = place();
        let taken = self.started().take(&here, party);
        succeed(taken)
    }

    /// The header by which a party proves who it is, in answer to the challenge that it has read
    /// last: to be put below its next request.
    ///
    /// ```text
    /// let proof = proxy.credentials("Alice", "alice", "secret");
    /// proxy.play(&format!("Alice -> REGISTER sip:example.com\n  {proof}\nAlice <- 200"));
    /// ```
    #[track_caller]
    pub fn credentials(&mut self, party: &str, user: &str, password: &str) -> String {
        let here = place();
        let headers = ["WWW-Authenticate", "Proxy-Authenticate"];
        let exchange = self.started().exchange(&here, party, &headers);
        proof::header(&succeed(exchange), user, password).unwrap_or_else(|what| panic!("{what}"))
    }

    /// A counter of all shards together, by its name in the summary and in `/metrics`.
    ///
    /// # Panics
    /// When there is none of this name: with the names that there are.
    #[track_caller]
    pub fn count(&mut self, name: &str) -> u64 {
        let play = self.started();
        play.node().metric(name).unwrap_or_else(|| {
            panic!("there is no counter {name}; there are {}", play.node().metrics().join(", "))
        })
    }

    /// Gives a command of the control plane to every shard: the answers of those that know it.
    #[track_caller]
    pub fn command(&mut self, name: &str, arguments: &[&str]) -> Vec<Result<String, Fault>> {
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let command = Command { name: name.to_owned(), arguments };
        self.with_node(|node| node.command(&command))
    }

    /// The process dies without a word, and starts again: what it knows is what storage has.
    #[track_caller]
    pub fn crash(&mut self) -> &mut Proxy<R> {
        self.with_node(Shards::restart);
        self
    }

    /// The process ends in order, and starts again.
    #[track_caller]
    pub fn restart(&mut self) -> &mut Proxy<R> {
        self.with_node(|node| {
            node.stop();
            node.restart();
        });
        self
    }

    /// The rows of a table of the database in memory, each as `column=value` in the order of its
    /// columns.
    #[track_caller]
    pub fn rows(&mut self, table: &str) -> Vec<String> {
        self.started().node().store().map_or_else(Vec::new, |store| store.show(table))
    }

    /// The time since the node started.
    #[track_caller]
    pub fn now(&mut self) -> Duration {
        self.started().node().now().since(Instant::START)
    }

    /// The flow so far, as a ladder.
    #[track_caller]
    pub fn ladder(&mut self) -> String {
        self.started().ladder()
    }

    /// The end of a flow: everything has been read, an hour passes, and then nothing is left in the
    /// node's tables.
    #[track_caller]
    pub fn end(&mut self) {
        let here = place();
        let ended = self.started().end(&here);
        succeed(ended);
    }

    #[track_caller]
    fn with_node<T>(&mut self, work: impl FnOnce(&mut Shards<R>) -> T) -> T {
        let here = place();
        let done = self.started().with_node(&here, work);
        succeed(done)
    }

    #[track_caller]
    fn started(&mut self) -> &mut Play<Shards<R>> {
        if let Some(factory) = self.factory.take() {
            self.play = Some(Play::new(&self.setup, factory.start()));
        }
        self.play.as_mut().expect("a node that has started")
    }
}

impl<R> Drop for Proxy<R>
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
{
    /// What nobody has read fails the test, also where it forgot to look.
    fn drop(&mut self) {
        let Some(play) = self.play.as_mut().filter(|_| !std::thread::panicking()) else { return };
        succeed(play.quiet("when the proxy was dropped"));
    }
}

#[track_caller]
fn endpoint(text: &str) -> Endpoint {
    text.parse().unwrap_or_else(|what| panic!("{what}"))
}

/// Where the test stands, for the first line of a failure.
#[track_caller]
fn place() -> String {
    let caller = Location::caller();
    format!("{}:{}, line", caller.file(), caller.line())
}

#[track_caller]
fn succeed<T>(result: Result<T, Box<Failure>>) -> T {
    result.unwrap_or_else(|failure| {
        let mut text = String::new();
        let _ = write!(text, "\n{failure}");
        panic!("{text}");
    })
}

#[cfg(test)]
mod tests;
