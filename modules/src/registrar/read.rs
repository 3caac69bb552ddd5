//! Reading a REGISTER: RFC 3261 §10.3 steps 2 to 7, up to what the owner of the address decides.
//!
//! For: making one change, complete and checked, out of a request.
//! Not here: who may (`save.rs`), what becomes of bindings (`location/change.rs`), the 200
//! (`reply.rs`).
//! Invariants: nothing of the request is believed before its bounds are checked; a request that
//! cannot be read in full changes nothing.

use super::expiry::{Granted, grant};
use super::fault::SaveFault;
use super::save::SaveOptions;
use super::settings::{OutboundMode, PathMode, Settings};
use crate::location::{
    Aor, AorRules, Change, Contact, Facts, Methods, Ordering, Texts, Wanted, Wish,
};
use strowger_sip::date::UnixTime;
use strowger_sip::entropy::Entropy;
use strowger_sip::message::{Contacts, HeaderName, Message, NameAddr, Uri};
use strowger_sip::time::Duration;
use strowger_sip::transport::{Flow, ListenerId, Transport};

/// Most Contact values of one request. A guess: an agent has a handful.
const CONTACTS_MAX: usize = 64;
/// Kamailio's bounds of a stored Path, instance and Call-ID, and of an agent's name.
const PATH_BYTES_MAX: usize = 512;
const INSTANCE_BYTES_MAX: usize = 255;
const CALL_ID_BYTES_MAX: usize = 255;
const USER_AGENT_BYTES_MAX: usize = 255;
/// Most of the parameters of a Contact value that are kept for documents. A guess.
const ATTRIBUTES_BYTES_MAX: usize = 256;

/// What a request is read with.
pub(crate) struct Reading<'r> {
    pub(crate) settings: &'r Settings,
    pub(crate) rules: &'r AorRules,
    pub(crate) options: &'r SaveOptions,
    pub(crate) entropy: &'r mut Entropy,
    pub(crate) today: UnixTime,
    pub(crate) flow: Flow,
    /// The listener to store in place of the flow's.
    pub(crate) socket: Option<ListenerId>,
    pub(crate) nat_flag: u32,
}

/// What a REGISTER wants, and what its answer repeats.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) change: Change,
    pub(crate) echo: Echo,
}

/// What the 200 says beside the bindings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Echo {
    /// The agent supports GRUUs.
    pub(crate) gruu: bool,
    /// RFC 5626 is in use.
    pub(crate) outbound: bool,
    /// The Path, where it is repeated.
    pub(crate) path: Option<String>,
}

/// What holds for every contact of the request.
struct Shared<'m> {
    path: Vec<u8>,
    received: Vec<u8>,
    outbound: bool,
    user_agent: &'m [u8],
    call_id: &'m [u8],
    cseq: u32,
    expires: Option<u32>,
    methods: Methods,
}

impl Reading<'_> {
    /// Reads a REGISTER.
    pub(crate) fn registration(
        &mut self,
        message: Message<'_>,
        to: &Uri<'_>,
    ) -> Result<Registration, SaveFault> {
        required_extensions(message)?;
        let aor = self.address(to)?;
        let supports = |tag: &[u8]| has_tag(message, tag);
        let gruu = self.settings.gruu_enabled && supports(b"gruu");
        let path = self.path(message)?;
        let outbound = self.outbound(message, &path)?;
        let call_id = message.call_id().map_err(|_| SaveFault::Malformed("Call-ID"))?;
        if call_id.len() > CALL_ID_BYTES_MAX {
            return Err(SaveFault::Malformed("Call-ID too long"));
        }
        let cseq = message.cseq().map_err(|_| SaveFault::Malformed("CSeq"))?.number;
        let user_agent = message.header(HeaderName::UserAgent).map_or(&b"n/a"[..], |f| f.value);
        let shared = Shared {
            received: self.received(&path),
            outbound,
            user_agent: user_agent.get(..USER_AGENT_BYTES_MAX).unwrap_or(user_agent),
            call_id,
            cseq,
            expires: header_expires(message)?,
            methods: allowed_methods(message),
            path,
        };
        let wish = self.wish(message, &shared)?;
        let repeats = match self.settings.path {
            PathMode::Ignore | PathMode::Store => false,
            PathMode::Lazy | PathMode::Strict => supports(b"path"),
        };
        let path = (repeats && !shared.path.is_empty())
            .then(|| String::from_utf8_lossy(&shared.path).into_owned());
        let change = Change {
            aor,
            wish,
            ordering: Ordering::Strict,
            call_id: call_id.into(),
            cseq,
            contacts_max: self.options.contacts_max.unwrap_or(self.settings.max_contacts),
            one_contact: self.options.one_contact,
            quiet: self.options.quiet,
            presence: self.options.presence,
        };
        Ok(Registration { change, echo: Echo { gruu, outbound, path } })
    }

    fn address(&self, to: &Uri<'_>) -> Result<Aor, SaveFault> {
        self.rules.key(to).map_err(|_| SaveFault::Malformed("To is no address-of-record"))
    }

    /// RFC 3327 §5.3: the Path as one line, empty where it is not used.
    fn path(&self, message: Message<'_>) -> Result<Vec<u8>, SaveFault> {
        let mut path = Vec::new();
        match self.settings.path {
            PathMode::Ignore => return Ok(path),
            PathMode::Store | PathMode::Lazy | PathMode::Strict => {}
        }
        for value in message.name_addrs(HeaderName::Path) {
            let value = value.map_err(|_| SaveFault::Malformed("Path"))?;
            value.uri().map_err(|_| SaveFault::Malformed("Path"))?;
            if !path.is_empty() {
                path.extend_from_slice(b", ");
            }
            path.extend_from_slice(value.raw);
        }
        if path.len() > PATH_BYTES_MAX {
            return Err(SaveFault::Malformed("Path too long"));
        }
        let strict = self.settings.path == PathMode::Strict;
        if strict && !path.is_empty() && !has_tag(message, b"path") {
            return Err(SaveFault::PathUnsupported);
        }
        Ok(path)
    }

    /// RFC 5626 §6: whether flows are registered.
    fn outbound(&self, message: Message<'_>, path: &[u8]) -> Result<bool, SaveFault> {
        let supported = has_tag(message, b"outbound");
        match self.settings.outbound {
            OutboundMode::Ignore => return Ok(false),
            OutboundMode::Supported if !supported => return Ok(false),
            OutboundMode::Required if !supported => return Err(SaveFault::OutboundRequired),
            OutboundMode::Supported | OutboundMode::Required => {}
        }
        if !names_flows(message) {
            return Ok(false);
        }
        let direct = message.vias().nth(1).is_none();
        let first = NameAddr::list(path).next().and_then(Result::ok);
        let by_edge = first.and_then(|first| first.uri().ok()).is_some_and(|u| u.params.has(b"ob"));
        if direct || by_edge { Ok(true) } else { Err(SaveFault::FirstHopLacksOutbound) }
    }

    /// Where the request came from, when that is to be remembered.
    fn received(&self, path: &[u8]) -> Vec<u8> {
        if let Some(received) = &self.options.received {
            return received.as_bytes().to_vec();
        }
        let from_path = || {
            let first = NameAddr::list(path).next()?.ok()?;
            let mut uri = Vec::new();
            crate::location::unescape(first.uri().ok()?.params.value(b"received")?, &mut uri);
            Uri::parse(&uri).is_ok_and(|uri| uri.scheme.is_sip()).then_some(uri)
        };
        if self.settings.path_use_received
            && let Some(received) = from_path()
        {
            return received;
        }
        if !self.options.behind_nat {
            return Vec::new();
        }
        let Flow { transport, remote, .. } = self.flow;
        if transport == Transport::Udp {
            format!("sip:{remote}").into_bytes()
        } else {
            format!("sip:{remote};transport={transport}").into_bytes()
        }
    }

    fn wish(&mut self, message: Message<'_>, shared: &Shared<'_>) -> Result<Wish, SaveFault> {
        let contacts = message.contacts().map_err(|_| SaveFault::Malformed("Contact"))?;
        let list = match contacts {
            Contacts::Star if shared.expires == Some(0) => return Ok(Wish::RemoveAll),
            Contacts::Star => return Err(SaveFault::Malformed("* without Expires: 0")),
            Contacts::List(list) => list,
        };
        let mut wanted = Vec::new();
        for value in list {
            if wanted.len() == CONTACTS_MAX {
                return Err(SaveFault::Refused(crate::location::Refusal::TooMany {
                    limit: CONTACTS_MAX,
                }));
            }
            let value = value.map_err(|_| SaveFault::Malformed("Contact"))?;
            wanted.push(self.contact(&value, shared)?);
        }
        let flows = wanted.iter().filter(|wanted| match wanted {
            Wanted::Bind(contact) => contact.facts.reg_id > 0,
            Wanted::Unbind(_) => false,
        });
        if flows.count() > 1 {
            // RFC 5626 §6.
            return Err(SaveFault::Malformed("more than one reg-id"));
        }
        Ok(if wanted.is_empty() { Wish::Query } else { Wish::Set(wanted) })
    }

    fn contact(&mut self, value: &NameAddr<'_>, shared: &Shared<'_>) -> Result<Wanted, SaveFault> {
        if value.uri.len() > self.settings.contact_max_size {
            return Err(SaveFault::Malformed("Contact too long"));
        }
        value.uri().map_err(|_| SaveFault::Malformed("Contact"))?;
        let asked = value.params.value(b"expires").map(seconds).transpose()?;
        let q = match (value.params.has(b"q"), value.q()) {
            (true, None) => return Err(SaveFault::Malformed("q")),
            (true, q) => q,
            (false, _) => self.settings.default_q,
        };
        let entropy = (!self.options.exact_expires).then_some(&mut *self.entropy);
        let granted = grant(asked.or(shared.expires), self.settings, entropy);
        let min_expires = self.settings.min_expires;
        let granted = granted.map_err(|_| SaveFault::TooBrief { min_expires })?;
        let instance = instance(value)?;
        let reg_id = self.reg_id(value, shared, instance)?;
        let attributes = attributes(value);
        let texts = Texts {
            uri: value.uri,
            call_id: shared.call_id,
            ruid: b"",
            user_agent: shared.user_agent,
            path: &shared.path,
            received: &shared.received,
            instance,
            attributes: &attributes,
        };
        let end = match granted {
            Granted::Removal => self.today,
            Granted::Seconds(seconds) => self.today + Duration::from_secs(u64::from(seconds)),
        };
        let keeps_flow =
            shared.outbound || self.options.behind_nat || self.flow.transport.is_reliable();
        // A connection of another node's is none of this one's.
        let listener = self.socket.unwrap_or(self.flow.listener);
        let is_own = listener == self.flow.listener;
        let methods = value.params.value(b"methods").map(|list| {
            let list = list.strip_prefix(b"\"").unwrap_or(list);
            let list = list.strip_suffix(b"\"").unwrap_or(list);
            Methods::from_names(list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
        });
        let facts = Facts {
            cseq: shared.cseq,
            q,
            methods: methods.unwrap_or(shared.methods),
            flags: self.options.flags,
            cflags: self.options.cflags | if self.options.behind_nat { self.nat_flag } else { 0 },
            reg_id,
            listener: Some(listener),
            flow: (keeps_flow && is_own && shared.path.is_empty()).then_some(self.flow),
            natted: self.options.behind_nat,
            memory_only: self.options.memory_only,
            ..Facts::new(self.today, Some(end))
        };
        let contact = Contact::new(&texts, facts);
        Ok(match granted {
            Granted::Removal => Wanted::Unbind(contact),
            Granted::Seconds(_) => Wanted::Bind(contact),
        })
    }

    fn reg_id(
        &self,
        value: &NameAddr<'_>,
        shared: &Shared<'_>,
        instance: &[u8],
    ) -> Result<u32, SaveFault> {
        let counts = shared.outbound || self.settings.regid_without_outbound;
        let Some(text) = value.params.value(b"reg-id").filter(|_| counts) else { return Ok(0) };
        if instance.is_empty() {
            return Ok(0); // RFC 5626 §6: means nothing without an instance
        }
        match std::str::from_utf8(text).ok().and_then(|text| text.parse::<i32>().ok()) {
            Some(number) if number > 0 => u32::try_from(number).or(Ok(0)),
            Some(_) | None => Err(SaveFault::Malformed("reg-id")),
        }
    }
}

/// What this registrar knows of what a request may require.
const EXTENSIONS: [&[u8]; 3] = [b"path", b"outbound", b"gruu"];

fn required_extensions(message: Message<'_>) -> Result<(), SaveFault> {
    let known = |tag: &[u8]| EXTENSIONS.iter().any(|known| tag.eq_ignore_ascii_case(known));
    let unknown = message.require().filter(|tag| !known(tag));
    let unknown: Vec<String> =
        unknown.map(|tag| String::from_utf8_lossy(tag).into_owned()).collect();
    if unknown.is_empty() { Ok(()) } else { Err(SaveFault::Unsupported(unknown)) }
}

fn has_tag(message: Message<'_>, tag: &[u8]) -> bool {
    message.supported().chain(message.require()).any(|known| known.eq_ignore_ascii_case(tag))
}

fn names_flows(message: Message<'_>) -> bool {
    match message.contacts() {
        Ok(Contacts::List(mut list)) => {
            list.any(|value| value.is_ok_and(|value| value.params.has(b"reg-id")))
        }
        Ok(Contacts::Star) | Err(_) => false,
    }
}

/// The Expires header; a number beyond 32 bits is the greatest one.
fn header_expires(message: Message<'_>) -> Result<Option<u32>, SaveFault> {
    message.header(HeaderName::Expires).map(|field| seconds(field.value)).transpose()
}

fn seconds(text: &[u8]) -> Result<u32, SaveFault> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(SaveFault::Malformed("expires"));
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    Ok(number.unwrap_or(u32::MAX))
}

fn allowed_methods(message: Message<'_>) -> Methods {
    let mut names = message.tokens(HeaderName::Allow).peekable();
    if names.peek().is_some() { Methods::from_names(names) } else { Methods::ALL }
}

/// `+sip.instance="<urn:uuid:…>"` without quotes and brackets.
fn instance<'a>(value: &NameAddr<'a>) -> Result<&'a [u8], SaveFault> {
    let Some(text) = value.params.value(b"+sip.instance") else { return Ok(b"") };
    let text = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\""));
    let text = text.and_then(|text| text.strip_prefix(b"<")?.strip_suffix(b">"));
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\".contains(byte);
    match text {
        Some(text) if text.len() <= INSTANCE_BYTES_MAX && text.iter().all(is_plain) => Ok(text),
        Some(_) | None => Err(SaveFault::Malformed("+sip.instance")),
    }
}

/// The parameters that mean nothing here, for those who publish contacts.
fn attributes(value: &NameAddr<'_>) -> Vec<u8> {
    const OWN: [&[u8]; 8] = [
        b"expires",
        b"q",
        b"methods",
        b"+sip.instance",
        b"reg-id",
        b"received",
        b"pub-gruu",
        b"temp-gruu",
    ];
    let mut out = Vec::new();
    for param in value.params.into_iter().filter(|param| !OWN.iter().any(|own| param.is(own))) {
        let before = out.len();
        out.push(b';');
        out.extend_from_slice(param.name);
        if let Some(text) = param.value {
            out.push(b'=');
            out.extend_from_slice(text);
        }
        if out.len() > ATTRIBUTES_BYTES_MAX {
            out.truncate(before);
            break;
        }
    }
    out
}
