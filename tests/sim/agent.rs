//! A simulated user agent as a client: RFC 3261's transactions as a party of a call sees them.
//!
//! For: calling, retransmitting, cancelling, acknowledging, requests within a dialog.
//! Not here: answering (`serving.rs`), the network (`network.rs`), what to expect (`judge.rs`).
//! Invariants: a party never forgets a transaction, so that whatever comes late is answered the
//! same way; it draws every choice from its own stream of random numbers.

use crate::dialog::Dialog;
use crate::habits::Habits;
use crate::mail::{Mail, Reading, hop_by_hop, octets, word};
use crate::serving::Server;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::rc::Rc;
use strowger_sip::entropy::Entropy;
use strowger_sip::message::MethodKind;
use strowger_sip::time::{Duration, Instant, ms, secs};

/// RFC 3261 §17.1.1.1.
const T1: Duration = ms(500);
pub(crate) const T2: Duration = secs(4);
/// Timers B, F, H and their kin.
const PATIENCE: Duration = secs(32);
/// How long a caller lets a call ring. The proxy's own bound is 180 s.
const RINGING: Duration = secs(300);

/// Something that a party has made up its mind to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Start,
    /// Cancel the INVITE of this client transaction.
    Cancel(usize),
    /// Ring for the INVITE of this server transaction.
    Ring(usize),
    /// Answer it finally.
    Answer(usize, u16),
    HangUp(usize),
    Reinvite(usize),
    Inform(usize),
    Die,
}

/// A message that goes out again and again.
#[derive(Debug)]
pub(crate) struct Repeat {
    mail: Rc<Mail>,
    to: SocketAddr,
    next: Instant,
    interval: Duration,
    longest: Duration,
    until: Instant,
}

impl Repeat {
    /// Of a message that was just sent.
    pub(crate) fn of(now: Instant, mail: Rc<Mail>, to: SocketAddr, longest: Duration) -> Repeat {
        Repeat { mail, to, next: now + T1, interval: T1, longest, until: now + PATIENCE }
    }

    fn deadline(&self) -> Instant {
        self.next.min(self.until)
    }
}

/// Sends what is due; whether it was the last time.
fn repeat(slot: &mut Option<Repeat>, now: Instant, out: &mut Vec<(SocketAddr, Rc<Mail>)>) -> bool {
    let Some(repeat) = slot else { return false };
    if repeat.until <= now {
        *slot = None;
        return true;
    }
    if repeat.next <= now {
        out.push((repeat.to, Rc::clone(&repeat.mail)));
        repeat.interval = (repeat.interval * 2).min(repeat.longest);
        repeat.next = now + repeat.interval;
    }
    false
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Calling,
    /// Provisionally answered.
    Ringing,
    Done,
}

/// A client transaction.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) method: MethodKind,
    branch: String,
    request: Rc<Mail>,
    to: SocketAddr,
    pub(crate) phase: Phase,
    cancel_wanted: bool,
    repeat: Option<Repeat>,
    gives_up: Option<Instant>,
    pub(crate) dialog: Option<usize>,
    /// To tag of each final response, and the ACK it got.
    acks: Vec<(String, SocketAddr, Rc<Mail>)>,
}

/// A party of a call.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) node: SocketAddr,
    pub(crate) habits: Habits,
    /// For a caller: the method and the URI of its first request.
    calls: (MethodKind, String),
    entropy: Entropy,
    pub(crate) clients: Vec<Client>,
    pub(crate) servers: Vec<Server>,
    pub(crate) dialogs: Vec<Dialog>,
    agenda: Vec<(Instant, Task)>,
    is_dead: bool,
    /// What it sends, and to whom.
    pub(crate) out: Vec<(SocketAddr, Rc<Mail>)>,
    /// What it received and should not have.
    pub(crate) complaints: Vec<String>,
    /// The final answer that its first request got.
    pub(crate) outcome: Option<u16>,
}

impl Agent {
    /// A party with these habits.
    pub(crate) fn new(
        (address, node): (SocketAddr, SocketAddr),
        habits: Habits,
        calls: (MethodKind, String),
        seed: (u64, u64),
    ) -> Agent {
        Agent {
            address,
            node,
            is_dead: habits.is_dead,
            habits,
            calls,
            entropy: Entropy::new(seed),
            clients: Vec::new(),
            servers: Vec::new(),
            dialogs: Vec::new(),
            agenda: Vec::new(),
            out: Vec::new(),
            complaints: Vec::new(),
            outcome: None,
        }
    }

    /// Makes up its mind to do something.
    pub(crate) fn plan(&mut self, at: Instant, task: Task) {
        self.agenda.push((at, task));
    }

    /// When it next has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        if self.is_dead {
            return None;
        }
        let repeats = self.clients.iter().map(|client| &client.repeat);
        let repeats = repeats.chain(self.servers.iter().map(|server| &server.repeat));
        repeats
            .filter_map(|slot| slot.as_ref().map(Repeat::deadline))
            .chain(self.clients.iter().filter_map(|client| client.gives_up))
            .chain(self.agenda.iter().map(|(at, _)| *at))
            .min()
    }

    /// Does what is due.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(index) = self.agenda.iter().position(|(at, _)| *at <= now) {
            let (_, task) = self.agenda.remove(index);
            if !self.is_dead {
                self.perform(now, task);
            }
        }
        if self.is_dead {
            return;
        }
        for client in &mut self.clients {
            repeat(&mut client.repeat, now, &mut self.out);
            if client.gives_up.is_some_and(|at| at <= now) {
                client.gives_up = None;
                client.repeat = None;
                client.phase = Phase::Done;
            }
        }
        let mut unacknowledged = Vec::new();
        for server in &mut self.servers {
            if repeat(&mut server.repeat, now, &mut self.out) && server.is_success() {
                unacknowledged.extend(server.dialog);
            }
        }
        // §13.3.1.4: a 2xx that nobody acknowledges ends the dialog by BYE.
        for dialog in unacknowledged {
            self.perform(now, Task::HangUp(dialog));
        }
    }

    fn perform(&mut self, now: Instant, task: Task) {
        match task {
            Task::Die => self.is_dead = true,
            Task::Start => self.call(now),
            Task::Cancel(client) => self.cancel(now, client),
            Task::Ring(server) => self.respond(now, server, 180),
            Task::Answer(server, status) => self.respond(now, server, status),
            Task::HangUp(dialog) => {
                if !std::mem::replace(&mut self.dialogs[dialog].is_over, true) {
                    self.send_within(now, dialog, MethodKind::Bye);
                }
            }
            Task::Reinvite(dialog) => {
                if !self.dialogs[dialog].is_over && !self.is_inviting(dialog) {
                    self.send_within(now, dialog, MethodKind::Invite);
                }
            }
            Task::Inform(dialog) => {
                if !self.dialogs[dialog].is_over {
                    self.send_within(now, dialog, MethodKind::Info);
                }
            }
        }
    }

    /// Whether an INVITE of this dialog is under way in either direction (§14.1, §14.2).
    pub(crate) fn is_inviting(&self, dialog: usize) -> bool {
        let asks =
            |client: &Client| client.method == MethodKind::Invite && client.phase != Phase::Done;
        let asked = |server: &Server| {
            server.method == MethodKind::Invite && !server.is_acknowledged && server.status > 0
        };
        self.clients.iter().any(|client| client.dialog == Some(dialog) && asks(client))
            || self.servers.iter().any(|server| server.dialog == Some(dialog) && asked(server))
    }

    /// The Call-ID of its first request.
    pub(crate) fn call_id(&self) -> String {
        self.clients.first().map_or(String::new(), |client| client.request.call_id().to_owned())
    }

    pub(crate) fn token(&mut self) -> String {
        format!("{:016x}", self.entropy.next_u64())
    }

    pub(crate) fn contact_uri(&self) -> String {
        format!("sip:u@{}", self.address.ip())
    }

    /// Sends a request outside of a dialog: the call itself.
    fn call(&mut self, now: Instant) {
        let (tag, call_id, number) = (self.token(), self.token(), self.entropy.below(1000) + 1);
        let (method, uri) = self.calls.clone();
        let dialog = Dialog {
            call_id: format!("{call_id}@{}", self.address.ip()),
            local: format!("<sip:caller@{}>;tag={tag}", self.address.ip()),
            remote: format!("<{uri}>"),
            local_tag: tag,
            remote_tag: String::new(),
            target: uri,
            routes: Vec::new(),
            cseq: u32::try_from(number).unwrap_or(1),
            is_over: false,
        };
        let client = self.start(now, &dialog, None, method, self.node);
        if method == MethodKind::Invite
            && let Some(after) = self.habits.cancels
        {
            self.plan(now + after, Task::Cancel(client));
        }
    }

    /// Sends a request within a dialog.
    fn send_within(&mut self, now: Instant, dialog: usize, method: MethodKind) {
        self.dialogs[dialog].cseq += 1;
        let copy = self.dialogs[dialog].clone();
        if let Some(to) = copy.next_hop() {
            self.start(now, &copy, Some(dialog), method, to);
        }
    }

    fn start(
        &mut self,
        now: Instant,
        dialog: &Dialog,
        within: Option<usize>,
        method: MethodKind,
        to: SocketAddr,
    ) -> usize {
        let branch = format!("z9hG4bK{}", self.token());
        let request = Rc::new(self.write(dialog, method, &branch, dialog.cseq));
        self.transact(now, (method, branch), within, request, to)
    }

    fn transact(
        &mut self,
        now: Instant,
        (method, branch): (MethodKind, String),
        within: Option<usize>,
        request: Rc<Mail>,
        to: SocketAddr,
    ) -> usize {
        self.out.push((to, Rc::clone(&request)));
        let longest = if method == MethodKind::Invite { PATIENCE } else { T2 };
        self.clients.push(Client {
            method,
            branch,
            repeat: Some(Repeat::of(now, Rc::clone(&request), to, longest)),
            request,
            to,
            phase: Phase::Calling,
            cancel_wanted: false,
            gives_up: Some(now + PATIENCE),
            dialog: within,
            acks: Vec::new(),
        });
        self.clients.len() - 1
    }

    fn write(&self, dialog: &Dialog, method: MethodKind, branch: &str, cseq: u32) -> Mail {
        let terse = self.habits.is_terse;
        let name = |long: &'static str, short: &'static str| if terse { short } else { long };
        let mut text = format!("{} {} SIP/2.0\r\n", word(method), dialog.target);
        let (via, address) = (name("Via", "v"), self.address.ip());
        let _ = write!(text, "{via}: SIP/2.0/UDP {address};branch={branch}\r\n");
        if terse && !dialog.routes.is_empty() {
            let _ = write!(text, "Route: {}\r\n", dialog.routes.join(", "));
        } else {
            for route in &dialog.routes {
                let _ = write!(text, "Route: {route}\r\n");
            }
        }
        let _ = write!(
            text,
            "{}: {}\r\n{}: {}\r\n{}: {}\r\nCSeq: {cseq} {}\r\nMax-Forwards: 70\r\n",
            name("From", "f"),
            dialog.local,
            name("To", "t"),
            dialog.remote,
            name("Call-ID", "i"),
            dialog.call_id,
            word(method)
        );
        if method == MethodKind::Invite {
            let _ = write!(text, "{}: <{}>\r\n", name("Contact", "m"), self.contact_uri());
        }
        let _ = write!(text, "{}: 0\r\n\r\n", name("Content-Length", "l"));
        Mail::new(octets(&text))
    }

    /// §9.1: at once when the INVITE was answered provisionally, else when it will be.
    fn cancel(&mut self, now: Instant, client: usize) {
        let client = &mut self.clients[client];
        match client.phase {
            Phase::Calling => client.cancel_wanted = true,
            Phase::Done => {}
            Phase::Ringing => {
                client.cancel_wanted = false;
                let Some(invite) = &client.request.read else { return };
                let cancel = Rc::new(hop_by_hop(invite, MethodKind::Cancel, &invite.to));
                let (branch, to) = (client.branch.clone(), client.to);
                self.transact(now, (MethodKind::Cancel, branch), None, cancel, to);
            }
        }
    }

    /// A message comes in.
    pub(crate) fn receive(&mut self, now: Instant, from: SocketAddr, mail: &Rc<Mail>) {
        let Some(read) = mail.read.as_ref().filter(|_| !self.is_dead) else { return };
        if let Some(after) = self.habits.dies.take() {
            self.plan(now + after, Task::Die);
        }
        match read.status {
            Some(status) => self.hear(now, read, status),
            None => self.serve(now, from, mail, read),
        }
    }

    fn hear(&mut self, now: Instant, read: &Reading, status: u16) {
        let matches =
            |client: &Client| client.branch == read.branch() && client.method == read.method;
        let Some(index) = self.clients.iter().position(matches) else { return };
        let client = &mut self.clients[index];
        if status < 200 {
            return self.hear_ringing(now, index);
        }
        client.phase = Phase::Done;
        client.repeat = None;
        client.gives_up = None;
        if client.method != MethodKind::Invite {
            return self.note_outcome(index, status);
        }
        if let Some((_, to, ack)) = client.acks.iter().find(|(tag, ..)| *tag == read.to_tag) {
            self.out.push((*to, Rc::clone(ack)));
        } else if status < 300 {
            self.accept(now, index, read);
        } else if let Some(invite) = &client.request.read {
            let ack = Rc::new(hop_by_hop(invite, MethodKind::Ack, &read.to));
            client.acks.push((read.to_tag.clone(), client.to, Rc::clone(&ack)));
            self.out.push((client.to, ack));
            self.note_outcome(index, status);
        }
    }

    fn hear_ringing(&mut self, now: Instant, index: usize) {
        let client = &mut self.clients[index];
        if client.phase == Phase::Calling {
            client.phase = Phase::Ringing;
            if client.method == MethodKind::Invite {
                client.repeat = None;
                client.gives_up = Some(now + RINGING);
            }
        }
        if client.phase == Phase::Ringing && client.cancel_wanted {
            self.cancel(now, index);
        }
    }

    fn note_outcome(&mut self, client: usize, status: u16) {
        if client == 0 && self.outcome.is_none() {
            self.outcome = Some(status);
        }
    }

    /// A 2xx to our INVITE: a dialog, and its ACK (§13.2.2.4).
    fn accept(&mut self, now: Instant, index: usize, read: &Reading) {
        let is_first = self.outcome.is_none();
        let within = self.clients[index].dialog;
        let dialog = within.unwrap_or_else(|| {
            self.dialogs.push(Dialog::of_caller(read));
            self.dialogs.len() - 1
        });
        let copy = self.dialogs[dialog].clone();
        let branch = format!("z9hG4bK{}", self.token());
        let Some(to) = copy.next_hop() else { return };
        let ack = Rc::new(self.write(&copy, MethodKind::Ack, &branch, read.cseq));
        self.clients[index].acks.push((read.to_tag.clone(), to, Rc::clone(&ack)));
        self.out.push((to, ack));
        self.note_outcome(index, 200);
        if within.is_some() {
            return;
        }
        let cancelled = self.clients.iter().any(|client| client.method == MethodKind::Cancel);
        if is_first && !cancelled {
            self.talk(now, dialog);
        } else {
            // One call is enough (§13.2.2.4), and none is when it was cancelled.
            self.plan(now + ms(1), Task::HangUp(dialog));
        }
    }

    /// The call stands: plans what this side does in it.
    pub(crate) fn talk(&mut self, now: Instant, dialog: usize) {
        let Habits { hangs_up, reinvites, informs, .. } = self.habits;
        let agenda = [
            (hangs_up, Task::HangUp(dialog)),
            (reinvites, Task::Reinvite(dialog)),
            (informs, Task::Inform(dialog)),
        ];
        for (after, task) in agenda {
            if let Some(after) = after {
                self.plan(now + after, task);
            }
        }
    }
}
