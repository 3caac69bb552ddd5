//! A simulated user agent as a server: what it does about requests.
//!
//! For: ringing, answering, rejecting, being cancelled, requests within a dialog.
//! Not here: its own requests (`agent.rs`).

use crate::agent::{Agent, Repeat, T2, Task};
use crate::dialog::{Dialog, address_of};
use crate::habits::Habits;
use crate::mail::{Mail, Reading, response};
use std::net::SocketAddr;
use std::rc::Rc;
use strowger_sip::message::MethodKind;
use strowger_sip::time::Instant;

/// A server transaction.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) method: MethodKind,
    branch: String,
    request: Rc<Mail>,
    from: SocketAddr,
    tag: String,
    last: Option<Rc<Mail>>,
    /// Of the last response; 0 before there was one.
    pub(crate) status: u16,
    pub(crate) repeat: Option<Repeat>,
    pub(crate) is_acknowledged: bool,
    pub(crate) dialog: Option<usize>,
}

impl Server {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

impl Agent {
    /// A request comes in.
    pub(crate) fn serve(
        &mut self,
        now: Instant,
        from: SocketAddr,
        mail: &Rc<Mail>,
        read: &Reading,
    ) {
        if read.method == MethodKind::Ack {
            return self.acknowledged(now, read);
        }
        let matches =
            |server: &&Server| server.branch == read.branch() && server.method == read.method;
        if let Some(server) = self.servers.iter().find(matches) {
            // A 2xx to INVITE is repeated by its timer, not on demand (RFC 6026 §7.1).
            let on_demand = server.method != MethodKind::Invite || !server.is_success();
            if let Some(last) = server.last.as_ref().filter(|_| on_demand) {
                self.out.push((from, Rc::clone(last)));
            }
            return;
        }
        self.inspect(read);
        let is_known = |dialog: &Dialog| {
            dialog.call_id == read.call_id
                && dialog.local_tag == read.to_tag
                && dialog.remote_tag == read.from_tag
        };
        let dialog = self.dialogs.iter().position(is_known);
        let tag = self.token();
        self.servers.push(Server {
            method: read.method,
            branch: read.branch().to_owned(),
            request: Rc::clone(mail),
            from,
            tag,
            last: None,
            status: 0,
            repeat: None,
            is_acknowledged: false,
            dialog,
        });
        self.decide(now, self.servers.len() - 1, read);
    }

    /// What the proxy owes whoever it forwards to.
    fn inspect(&mut self, read: &Reading) {
        if read.request_uri != self.contact_uri() {
            self.complaints.push(format!("{} is not {}", read.request_uri, self.contact_uri()));
        }
        if read.routes.iter().any(|route| address_of(route) == Some(self.node)) {
            self.complaints.push(format!("the proxy left its own Route: {:?}", read.routes));
        }
        if read.vias.len() > 1 && read.max_forwards != Some(69) {
            self.complaints.push(format!("Max-Forwards is {:?}", read.max_forwards));
        }
    }

    fn decide(&mut self, now: Instant, server: usize, read: &Reading) {
        let within = !read.to_tag.is_empty();
        match (read.method, self.servers[server].dialog) {
            (MethodKind::Cancel, _) => self.cancelled(now, server, read),
            (MethodKind::Invite, None) if !within => self.rung(now, server),
            (MethodKind::Invite, Some(dialog)) => {
                // §14.2: two offers must not cross.
                let status = if self.is_inviting(dialog) { 491 } else { 200 };
                self.respond(now, server, status);
            }
            (MethodKind::Bye, Some(dialog)) => {
                self.dialogs[dialog].is_over = true;
                self.respond(now, server, 200);
            }
            (_, Some(_)) => self.respond(now, server, 200),
            (_, None) => self.respond(now, server, if within { 481 } else { 200 }),
        }
    }

    /// A new call: plans what the habits say.
    fn rung(&mut self, now: Instant, server: usize) {
        let Habits { trying, rings, answer, .. } = self.habits.clone();
        if trying {
            self.respond(now, server, 100);
        }
        for after in rings {
            self.plan(now + after, Task::Ring(server));
        }
        match answer {
            Some((after, status)) => self.plan(now + after, Task::Answer(server, status)),
            None => self.respond(now, server, 180),
        }
    }

    fn cancelled(&mut self, now: Instant, server: usize, read: &Reading) {
        let matches =
            |other: &Server| other.branch == read.branch() && other.method == MethodKind::Invite;
        match self.servers.iter().position(matches) {
            None => self.respond(now, server, 481),
            Some(invite) => {
                self.respond(now, server, 200);
                self.respond(now, invite, 487);
            }
        }
    }

    /// Responds, unless a final response went out before.
    pub(crate) fn respond(&mut self, now: Instant, index: usize, status: u16) {
        let contact = format!("<{}>", self.contact_uri());
        let server = &mut self.servers[index];
        if server.status >= 200 {
            return;
        }
        server.status = status;
        let Some(request) = &server.request.read else { return };
        let reply = Rc::new(response(request, status, &server.tag, &contact));
        self.out.push((server.from, Rc::clone(&reply)));
        server.last = Some(Rc::clone(&reply));
        if server.method != MethodKind::Invite || status < 200 {
            return;
        }
        server.repeat = Some(Repeat::of(now, reply, server.from, T2));
        if server.dialog.is_none() && server.is_success() {
            server.dialog = Some(self.dialogs.len());
            self.dialogs.push(Dialog::of_callee(request, &server.tag));
        }
    }

    fn acknowledged(&mut self, now: Instant, read: &Reading) {
        let matches = |server: &&mut Server| {
            let Some(request) = &server.request.read else { return false };
            let tag = if request.to_tag.is_empty() { &server.tag } else { &request.to_tag };
            let ours = if server.is_success() {
                *tag == read.to_tag && request.cseq == read.cseq && request.call_id == read.call_id
            } else {
                server.branch == read.branch()
            };
            server.method == MethodKind::Invite && ours
        };
        let Some(server) = self.servers.iter_mut().find(matches) else { return };
        server.repeat = None;
        let is_first = !std::mem::replace(&mut server.is_acknowledged, true);
        let created = server.request.read.as_ref().is_some_and(|read| read.to_tag.is_empty());
        if let Some(dialog) = server.dialog.filter(|_| is_first && created && server.is_success()) {
            self.talk(now, dialog);
        }
    }
}
