//! A flow script, read: what was set up, and what happens.
//!
//! For: the types between parser and runner.
//! Not here: the text form (`parse.rs`, `event.rs`), carrying it out (`runner.rs`).

use crate::time::Duration;
use crate::transport::Transport;
use std::fmt;
use std::net::SocketAddr;

/// A mistake in a script: the line, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what is allowed.
    pub what: String,
}

/// A transport and an address: `192.0.2.1:5060` (UDP) or `tcp:192.0.2.1:5060`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The protocol.
    pub transport: Transport,
    /// Address and port.
    pub address: SocketAddr,
}

impl std::str::FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        let (name, rest) = text.split_once(':').unwrap_or(("", text));
        let (transport, address) = match Transport::from_name(name.as_bytes()) {
            Some(transport) => (transport, rest),
            None => (Transport::Udp, text),
        };
        let wrong =
            |_| format!("{text} is no address; write 192.0.2.1:5060 or tcp:[2001:db8::1]:5060");
        Ok(Endpoint { transport, address: address.parse().map_err(wrong)? })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Udp => write!(f, "{}", self.address),
            Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss => {
                write!(f, "{}:{}", self.transport, self.address)
            }
        }
    }
}

/// One line of a script, with the lines indented below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its number, counted from 1.
    pub line: usize,
    /// The line.
    pub text: String,
    /// The lines below it, without their indentation.
    pub details: Vec<(usize, String)>,
}

/// A whole script.
#[derive(Debug)]
pub struct Script {
    /// The comment at its top: what it covers.
    pub covers: Vec<String>,
    /// The node and the parties.
    pub setup: Setup,
    pub(super) events: Vec<(Block, Event)>,
}

/// The node and those who talk to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Listening addresses of the node.
    pub listeners: Vec<Endpoint>,
    /// Names of the node beside its addresses.
    pub aliases: Vec<String>,
    /// `timer NAME SPAN` and `set NAME VALUE`, in order.
    pub settings: Vec<Setting>,
    /// The routing: what is done with which method.
    pub routes: Vec<Block>,
    /// Those who talk to the node.
    pub parties: Vec<PartyAddress>,
}

/// One setting of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Where it stands.
    pub line: usize,
    /// `timer`, `timers` or `set`.
    pub kind: String,
    /// Its words after that.
    pub words: Vec<String>,
}

/// Someone who talks to the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartyAddress {
    /// The name in the script.
    pub name: String,
    /// The address it writes into its messages.
    pub inside: Endpoint,
    /// The address it sends from and receives at; another one behind a NAT.
    pub outside: Endpoint,
}

#[derive(Debug)]
pub(super) enum Event {
    Send {
        party: String,
        what: Outgoing,
        options: Options,
        changes: Vec<Change>,
    },
    Read {
        party: String,
        wanted: Wanted,
        checks: Vec<Check>,
    },
    Wait(Duration),
    At(Duration),
    Skip(Duration),
    SkipTo(Duration),
    Quiet,
    Empty,
    Drain,
    /// What comes next has waited this long.
    Waited(Duration),
    /// The node asks for the addresses of a name.
    Asks(String),
    /// They are these, in order.
    Name(String, Found),
    Count {
        name: String,
        value: u64,
    },
    Alive {
        name: String,
        value: usize,
    },
    Compare {
        left: String,
        same: bool,
        right: String,
    },
}

/// What the name servers say.
#[derive(Debug)]
pub(super) enum Found {
    Places(Vec<Endpoint>),
    Unknown,
    Failed,
}

#[derive(Debug)]
pub(super) enum Outgoing {
    Request {
        method: String,
        uri: Option<String>,
    },
    Response {
        code: u16,
        reason: Option<String>,
    },
    /// The last message that was sent (of this method or status), octet by octet.
    Again(Option<String>),
    /// The lines below it are the whole message.
    Raw(Vec<String>),
    File(String),
}

/// What a `->` line says beside the message.
#[derive(Debug, Default)]
pub(super) struct Options {
    /// Source, instead of the party's own address.
    pub(super) from: Option<Endpoint>,
    /// Destination, instead of where a user agent would send it.
    pub(super) to: Option<Endpoint>,
    /// The label of the call.
    pub(super) call: Option<String>,
    /// The party at the other end of the dialog.
    pub(super) with: Option<String>,
    /// The method of the request that a response answers.
    pub(super) answering: Option<String>,
    /// The own tag, instead of the call's.
    pub(super) tag: Option<String>,
}

#[derive(Debug)]
pub(super) enum Change {
    Start(String),
    Set(String, String),
    Add(String, String),
    Remove(String),
    Body(Vec<String>),
}

#[derive(Debug)]
pub(super) struct Wanted {
    /// A method or a status code.
    pub(super) what: String,
    /// The Request-URI, or the reason phrase.
    pub(super) rest: Option<String>,
    /// The listener that sends it.
    pub(super) from: Option<Endpoint>,
    /// The method in the CSeq of a response.
    pub(super) answering: Option<String>,
    /// It does not arrive: the transport says so to the node.
    pub(super) refused: bool,
}

#[derive(Debug)]
pub(super) enum Check {
    /// All values of a header, in order.
    Values(String, Vec<String>),
    Has(String),
    Lacks(String),
    Body(Vec<String>),
}
