//! A registrar of one account that answers as it is told.

use super::super::reg::Registration;
use super::super::{Row, Settings};
use super::rig::{Node, Plan, header};
use crate::bench::{Sent, response, sent};
use strowger_sip::engine::Input;
use strowger_sip::module::Either;
use strowger_sip::time::{Duration, Instant};

pub(super) const PROVIDER: &str = "192.0.2.74:7074";

/// A node with these records, nothing else to do.
pub(super) fn node(records: Vec<Registration>, change: impl FnOnce(&mut Settings)) -> Node {
    let mut settings = Settings::default();
    settings.reg.contact_addr = Some("192.0.2.1:5060".to_owned());
    settings.reg.registrations = records;
    change(&mut settings);
    Node::new(Plan::Called, settings)
}

impl Node {
    /// Lets time pass; the REGISTER requests that were sent, retransmissions left out.
    pub(super) fn registers(&mut self, span: Duration) -> Vec<String> {
        self.bench.advance(span);
        let mut seen = Vec::new();
        for Sent { text, .. } in sent(&mut self.bench) {
            if text.starts_with("REGISTER ") && !seen.contains(&text) {
                seen.push(text);
            }
        }
        seen
    }

    /// The only REGISTER of a span.
    pub(super) fn register(&mut self, span: Duration) -> String {
        let [one] = self.registers(span).try_into().unwrap_or_else(|all| panic!("{all:#?}"));
        one
    }

    /// Answers a REGISTER; what is sent at once.
    pub(super) fn answer(&mut self, request: &str, status: &str, more: &str) -> Vec<String> {
        let text = response(request, status);
        let text = text.replace("Content-Length", &format!("{more}Content-Length"));
        let sent = self.receive(PROVIDER, &text);
        sent.into_iter().map(|sent| sent.text).collect()
    }

    /// Grants what was asked for, with the contact.
    pub(super) fn grant(&mut self, request: &str, seconds: u32) -> Vec<String> {
        let contact = header(request, "Contact");
        self.answer(request, "200 OK", &format!("Contact: {contact};expires={seconds}\n"))
    }

    /// A field of `uac.reg_info`, as text.
    pub(super) fn info(&mut self, uuid: &str, field: &str) -> String {
        let text = self.command("uac.reg_info", &["l_uuid", uuid]).expect("a record");
        let start = text.find(&format!("\"{field}\":")).expect("the field") + field.len() + 3;
        let rest = &text[start..];
        let end = rest.find([',', '}']).expect("its end");
        rest[..end].trim_matches('"').to_owned()
    }

    pub(super) fn number(&mut self, uuid: &str, field: &str) -> i64 {
        self.info(uuid, field).parse().expect("a number")
    }

    /// The table was read.
    pub(super) fn read(&mut self, list: Vec<Registration>) -> Vec<String> {
        let row = Row::Registrations(list, Vec::new());
        let row = Either::Right(Either::Right(Either::Left(row)));
        self.bench.input(Input::Row(row));
        sent(&mut self.bench).into_iter().map(|sent| sent.text).collect()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.bench.now().since(Instant::START)
    }
}
