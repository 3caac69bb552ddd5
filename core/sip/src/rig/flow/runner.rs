//! Running a script against a node.
//!
//! For: carrying messages between parties and node, letting time pass, and stopping at the first
//! thing that is not as the script says.
//! Invariants: time passes only where the script says so; when it does, and at the end, every
//! message that was sent has been read. After the last line the node forgets all within an hour.

use super::compose::Destination;
use super::ladder::{Ladder, stranger};
use super::node::{Node, flow_to};
use super::party::{Arrival, Departed, Party};
use super::script::{Change, Check, Endpoint, Event, Found, Options, Outgoing, Setup, Wanted};
use super::template::Names;
use super::text::{Text, encode};
use super::{Files, check};
use crate::actions::Origin;
use crate::resolver::{Place, Question, Resolution};
use crate::rig::Sent;
use crate::time::{Duration, Instant, secs};

/// What is wrong with a step of a flow: what was expected, and what came instead.
pub(super) struct Wrong {
    pub(super) expected: String,
    pub(super) came: String,
}

impl From<String> for Wrong {
    /// The script itself is wrong.
    fn from(what: String) -> Wrong {
        Wrong { expected: "a step that can be carried out".to_owned(), came: what }
    }
}

impl From<&str> for Wrong {
    fn from(what: &str) -> Wrong {
        what.to_owned().into()
    }
}

fn wrong(expected: impl Into<String>, came: impl Into<String>) -> Wrong {
    Wrong { expected: expected.into(), came: came.into() }
}

/// A flow under way.
pub(super) struct Run<'s, N: Node + ?Sized = dyn Node> {
    listeners: Vec<Endpoint>,
    files: Files<'s>,
    pub(super) node: Box<N>,
    parties: Vec<Party>,
    names: Names,
    ladder: Ladder,
    /// How many calls were begun without a label.
    calls: u32,
    /// Names that the node wants looked up.
    questions: Vec<Question>,
    /// What was sent to an address that is no party's.
    lost: Option<String>,
}

impl<'s, N: Node + ?Sized> Run<'s, N> {
    pub(super) fn new(setup: &Setup, files: Files<'s>, node: Box<N>) -> Run<'s, N> {
        let parties: Vec<Party> = setup.parties.iter().map(Party::new).collect();
        let mut columns: Vec<String> = parties.iter().map(|party| party.name.clone()).collect();
        columns.insert(columns.len().min(1), "node".to_owned());
        Run {
            listeners: setup.listeners.clone(),
            files,
            node,
            parties,
            names: Names::default(),
            ladder: Ladder::new(columns),
            calls: 0,
            questions: Vec::new(),
            lost: None,
        }
    }

    /// The flow so far.
    pub(super) fn draw(&self) -> String {
        self.ladder.draw()
    }

    pub(super) fn event(&mut self, event: &Event) -> Result<(), Wrong> {
        match event {
            Event::Send { party, what, options, changes } => {
                self.send(party, what, options, changes)
            }
            Event::Read { party, wanted, checks } => self.read(party, wanted, checks),
            Event::Wait(span) => self.pass(self.node.now() + *span, false),
            Event::At(time) => self.pass_to(*time, false),
            Event::Skip(span) => self.pass(self.node.now() + *span, true),
            Event::SkipTo(time) => self.pass_to(*time, true),
            Event::Quiet => self.all_read(),
            Event::Empty => self.empty(),
            Event::Drain => {
                self.node.drain();
                self.collect()
            }
            Event::Waited(delay) => {
                self.node.waited(*delay);
                self.collect()
            }
            Event::Asks(name) => self.asks(name),
            Event::Name(name, found) => self.name(name, found),
            Event::Count { name, value } => {
                let count = self.node.metric(name).ok_or("there is no such counter")?;
                same(&format!("{name} {value}"), &format!("{name} {count}"))
            }
            Event::Alive { name, value } => self.alive(name, *value),
            Event::Compare { left, same: wanted, right } => {
                let (one, two) = (self.fill(left)?, self.fill(right)?);
                let sign = if *wanted { "=" } else { "!=" };
                match (one == two) == *wanted {
                    true => Ok(()),
                    false => Err(wrong(format!("{left} {sign} {right}"), format!("{one}, {two}"))),
                }
            }
        }
    }

    /// What holds after the last line.
    pub(super) fn end(&mut self) -> Result<(), Wrong> {
        self.all_read()?;
        self.pass(self.node.now() + secs(3600), true)?;
        self.parties.iter_mut().for_each(|party| party.queue.clear());
        self.empty()
    }

    fn empty(&mut self) -> Result<(), Wrong> {
        let census = self.node.census();
        if census.is_empty() {
            return Ok(());
        }
        Err(wrong("nothing is left in the node's tables", format!("{census:?}")))
    }

    fn alive(&self, name: &str, value: usize) -> Result<(), Wrong> {
        let census = self.node.census();
        let found = match name {
            "server_transactions" => census.server_transactions,
            "client_transactions" => census.client_transactions,
            "contexts" => census.contexts,
            "waiting_routings" => census.waiting_routings,
            "timers" => census.timers,
            "module_objects" => census.module_objects,
            _ => return Err("this is not in the census; see engine::Census".into()),
        };
        same(&format!("{name} {value}"), &format!("{name} {found}"))
    }

    fn pass_to(&mut self, time: Duration, deaf: bool) -> Result<(), Wrong> {
        let moment = Instant::START + time;
        if moment < self.node.now() {
            return Err(format!("that was earlier; it is {:?}", self.node.now()).into());
        }
        self.pass(moment, deaf)
    }

    /// Lets time pass. What is sent before its end is unexpected, unless nobody listens.
    fn pass(&mut self, moment: Instant, deaf: bool) -> Result<(), Wrong> {
        self.all_read()?;
        while self.node.step(moment) {
            self.collect()?;
            if self.node.now() < moment {
                if deaf {
                    self.parties.iter_mut().for_each(|party| party.queue.clear());
                } else {
                    self.all_read()?;
                }
            }
        }
        self.node.advance_to(moment);
        Ok(())
    }

    /// The node has asked for a name; the question goes on waiting for its answer.
    fn asks(&mut self, name: &str) -> Result<(), Wrong> {
        let asked: Vec<&str> = self.questions.iter().map(|each| each.host.as_str()).collect();
        if asked.contains(&name) {
            return Ok(());
        }
        Err(wrong(format!("a question for {name}"), format!("questions for {asked:?}")))
    }

    fn name(&mut self, name: &str, found: &Found) -> Result<(), Wrong> {
        self.asks(name)?;
        let resolution = match found {
            Found::Places(places) => {
                let places = (0..).zip(places).map(|(priority, place)| Place {
                    transport: place.transport,
                    address: place.address,
                    priority,
                    weight: 0,
                });
                Resolution::Found(places.collect(), secs(60))
            }
            Found::Unknown => Resolution::Unknown,
            Found::Failed => Resolution::Failed,
        };
        let place = self.questions.iter().position(|each| each.host == name);
        if let Some(place) = place {
            let question = self.questions.remove(place);
            self.node.resolve(question, resolution);
        }
        self.collect()
    }

    pub(super) fn all_read(&self) -> Result<(), Wrong> {
        let Some(party) = self.parties.iter().find(|party| !party.queue.is_empty()) else {
            return Ok(());
        };
        let came = party.queue.iter().map(|arrival| show(&party.name, arrival)).collect::<String>();
        Err(wrong("nothing (everything sent so far has been read)", came))
    }

    /// Distributes what the node sent.
    pub(super) fn collect(&mut self) -> Result<(), Wrong> {
        for Sent { at, flow, bytes, origin } in self.node.take_sent() {
            let to = Endpoint { transport: flow.transport, address: flow.remote };
            let listener = self.listeners.get(usize::from(flow.listener.0));
            let from = *listener.ok_or("the node sent from a listener that it does not have")?;
            self.arrive((at, origin), ("node", from), to, &bytes);
        }
        self.questions.extend(self.node.take_questions());
        self.lost
            .take()
            .map_or(Ok(()), |lost| Err(wrong("nothing for an address without party", lost)))
    }

    fn arrive(
        &mut self,
        (at, origin): (Instant, Origin),
        (name, from): (&str, Endpoint),
        to: Endpoint,
        bytes: &[u8],
    ) {
        let text = Text::from_bytes(bytes);
        let receiver = self.parties.iter_mut().find(|party| party.outside == to);
        let receiver_name =
            receiver.as_ref().map_or_else(|| stranger(to), |party| party.name.clone());
        self.ladder.add(at, (name, &receiver_name), label(&text));
        let arrival = Arrival { at, from, text, origin };
        match receiver {
            Some(party) => party.queue.push_back(arrival),
            None => self.lost = Some(show(&receiver_name, &arrival)),
        }
    }

    fn read(&mut self, name: &str, wanted: &Wanted, checks: &[Check]) -> Result<(), Wrong> {
        let place = self.place(name)?;
        let Some(arrival) = self.parties[place].queue.pop_front() else {
            let others = self.all_read().err().map_or("nothing".to_owned(), |wrong| wrong.came);
            return Err(wrong(format!("{} for {name}", wanted.what), others));
        };
        if !wanted.is_from(arrival.from) {
            let expected = wanted.from.map(|from| format!("from {from}")).unwrap_or_default();
            return Err(wrong(expected, show(name, &arrival)));
        }
        let Run { names, parties, .. } = self;
        let known = |name: &str| known(parties, name);
        let difference = check::compare(&arrival.text, wanted, checks, names, &known)?;
        if let Some(difference) = difference {
            return Err(wrong(difference, show(name, &arrival)));
        }
        if wanted.refused {
            self.ladder.add(self.node.now(), (name, "node"), "refused".to_owned());
            self.node.unsent(arrival.origin);
            return self.collect();
        }
        self.parties[place].read(&arrival.text, arrival.from);
        Ok(())
    }

    /// Takes the next message that was sent to a party, unread.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<Text>, Wrong> {
        let place = self.place(name)?;
        let Some(arrival) = self.parties[place].queue.pop_front() else { return Ok(None) };
        self.parties[place].read(&arrival.text, arrival.from);
        Ok(Some(arrival.text))
    }

    /// What a party sent and read last in the call that it is in: a request and its answer.
    pub(super) fn exchange(&self, name: &str) -> Result<(&Text, &Text), Wrong> {
        let party = &self.parties[self.place(name)?];
        let call = party.calls.get(party.current);
        let last = call.and_then(|call| {
            let answer = call.answers.last()?;
            // An ACK that went out since is no request of its own.
            let mut asked = call.asked.iter().rev().map(|(text, _)| text);
            Some((asked.find(|text| text.method() == answer.method())?, answer))
        });
        Ok(last.ok_or_else(|| format!("{name} has read no answer"))?)
    }

    fn place(&self, name: &str) -> Result<usize, String> {
        let place = self.parties.iter().position(|party| party.name == name);
        place.ok_or_else(|| format!("there is no party {name}"))
    }

    fn fill(&self, template: &str) -> Result<String, String> {
        self.names.fill(template, &|name| known(&self.parties, name))
    }

    fn send(
        &mut self,
        name: &str,
        what: &Outgoing,
        options: &Options,
        changes: &[Change],
    ) -> Result<(), Wrong> {
        let place = self.place(name)?;
        let departed = match what {
            Outgoing::Again(of) => self.again(place, of.as_deref(), options)?,
            Outgoing::Raw(lines) => {
                let lines: Result<Vec<String>, String> =
                    lines.iter().map(|line| self.fill(line)).collect();
                self.plain(place, encode(&lines?.join("\r\n")), options)?
            }
            Outgoing::File(file) => {
                let bytes = (self.files)(file).ok_or_else(|| format!("there is no file {file}"))?;
                self.plain(place, bytes, options)?
            }
            Outgoing::Request { .. } | Outgoing::Response { .. } => {
                self.composed(place, what, options, changes)?
            }
        };
        self.parties[place].sent.push(departed.clone());
        self.deliver(name, &departed)
    }

    fn again(&self, place: usize, of: Option<&str>, options: &Options) -> Result<Departed, String> {
        let fits = |departed: &&Departed| {
            let text = Text::from_bytes(&departed.bytes);
            of.is_none_or(|of| match text.status() {
                Some(code) => code.to_string() == of,
                None => text.method() == of,
            })
        };
        let sent = self.parties[place].sent.iter().rev().find(fits);
        let mut departed = sent.ok_or("nothing like that was sent before")?.clone();
        departed.from = options.from.unwrap_or(departed.from);
        departed.to = options.to.unwrap_or(departed.to);
        Ok(departed)
    }

    fn plain(&self, place: usize, bytes: Vec<u8>, options: &Options) -> Result<Departed, String> {
        let from = options.from.unwrap_or(self.parties[place].outside);
        let to = options.to.map_or_else(|| self.listener(from), Ok)?;
        Ok(Departed { from, to, bytes })
    }

    /// The node's first address that a sender can reach.
    fn listener(&self, from: Endpoint) -> Result<Endpoint, String> {
        let fits = |own: &&Endpoint| {
            own.transport == from.transport && own.address.is_ipv4() == from.address.is_ipv4()
        };
        let found = self.listeners.iter().find(fits);
        found.copied().ok_or_else(|| format!("the node has no address for {from}"))
    }

    fn composed(
        &mut self,
        place: usize,
        what: &Outgoing,
        options: &Options,
        changes: &[Change],
    ) -> Result<Departed, String> {
        let begins = matches!(what, Outgoing::Request { uri: Some(_), .. });
        let call_id = self.call_id(place, options, begins)?;
        let remote_tag = match &options.with {
            Some(other) => Some(self.tag_of(other, &call_id)?),
            None => None,
        };
        let party = &mut self.parties[place];
        let mut draft = match what {
            Outgoing::Request { method, uri } => {
                party.request((method, uri.as_deref()), &call_id, remote_tag.as_deref())?
            }
            Outgoing::Response { code, reason } => {
                party.response((*code, reason.as_deref()), options, &call_id)?
            }
            Outgoing::Again(_) | Outgoing::Raw(_) | Outgoing::File(_) => {
                return Err("this message is sent as it is".to_owned());
            }
        };
        if let Some(tag) = options.tag.as_deref().filter(|_| draft.text.status().is_none()) {
            let from = draft.text.get("From").unwrap_or_default().to_owned();
            let (before, _) = from.split_once(";tag=").unwrap_or((&from, ""));
            draft.text.set("From", &format!("{before};tag={tag}"));
        }
        self.change(&mut draft.text, changes)?;
        let from = options.from.unwrap_or(self.parties[place].outside);
        let to = match (options.to, draft.to) {
            (Some(to), _) | (None, Destination::Address(to)) => to,
            (None, Destination::Node) => self.listener(from)?,
        };
        let call = self.parties[place].call(&call_id);
        if draft.text.status().is_none() {
            call.asked.push((draft.text.clone(), to));
        }
        Ok(Departed { from, to, bytes: draft.text.to_bytes() })
    }

    /// The Call-ID of the labelled call, of a new one, or of the one that the party is in.
    fn call_id(&mut self, place: usize, options: &Options, begins: bool) -> Result<String, String> {
        let party = &self.parties[place];
        if let Some(label) = &options.call {
            let start = format!("{label}@");
            let calls = self.parties.iter().flat_map(|party| &party.calls);
            let known = calls.map(|call| &call.call_id).find(|id| id.starts_with(&start));
            let host = super::compose::host_port(party.inside);
            return Ok(known.cloned().unwrap_or_else(|| format!("{label}@{host}")));
        }
        if begins {
            self.calls += 1;
            return Ok(format!("call-{}@{}", self.calls, super::compose::host_port(party.inside)));
        }
        let call = party.calls.get(party.current).map(|call| call.call_id.clone());
        call.ok_or_else(|| format!("{} is in no call", party.name))
    }

    fn tag_of(&self, name: &str, call_id: &str) -> Result<String, String> {
        let party = &self.parties[self.place(name)?];
        let call = party.calls.iter().find(|call| call.call_id == call_id);
        call.map(|call| call.tag.clone()).ok_or_else(|| format!("{name} is not in this call"))
    }

    fn change(&self, text: &mut Text, changes: &[Change]) -> Result<(), String> {
        for change in changes {
            match change {
                Change::Start(line) => text.start = self.fill(line)?,
                Change::Set(name, value) => text.set(name, &self.fill(value)?),
                Change::Add(name, value) => text.add(name, &self.fill(value)?),
                Change::Remove(_) => {}
                Change::Body(lines) => {
                    for line in lines {
                        text.body.push_str(&format!("{}\r\n", self.fill(line)?));
                    }
                }
            }
        }
        if !text.body.is_empty() && text.get("Content-Type").is_none() {
            text.add("Content-Type", "application/sdp");
        }
        if text.get("Content-Length").is_none() {
            let length = encode(&text.body).len();
            text.add("Content-Length", &length.to_string());
        }
        // Last, so that also what is always written can be left out.
        for change in changes {
            if let Change::Remove(name) = change {
                text.remove(name);
            }
        }
        Ok(())
    }

    fn deliver(&mut self, name: &str, departed: &Departed) -> Result<(), Wrong> {
        let Departed { from, to, bytes } = departed;
        let at = self.node.now();
        match flow_to(&self.listeners, *to, *from) {
            Some(flow) => {
                self.ladder.add(at, (name, "node"), label(&Text::from_bytes(bytes)));
                self.node.receive(flow, bytes);
            }
            // From one party to another, past the node.
            None => self.arrive((at, Origin::Nobody), (name, *from), *to, bytes),
        }
        self.collect()
    }
}

fn same(wanted: &str, found: &str) -> Result<(), Wrong> {
    if wanted == found { Ok(()) } else { Err(wrong(wanted, found)) }
}

/// What is known of a party: `A.tag`.
fn known(parties: &[Party], name: &str) -> Option<String> {
    let (party, what) = name.split_once('.')?;
    parties.iter().find(|each| each.name == party)?.value(what)
}

fn label(text: &Text) -> String {
    match text.status() {
        Some(code) => format!("{code} {}", text.method()),
        None => text.method().to_owned(),
    }
}

fn show(to: &str, arrival: &Arrival) -> String {
    let Arrival { at, from, text, .. } = arrival;
    let whole = text.to_bytes().escape_ascii().to_string().replace("\\r\\n", "\n");
    format!("to {to} from {from} at {at:?}:\n{}\n", whole.trim_end())
}
