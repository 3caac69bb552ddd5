//! Commands of the control plane: `ul.dump`, `ul.lookup`, `ul.add`, `ul.rm` and their kin.
//!
//! For: operators and their scripts, with Kamailio's names and arguments; answers are JSON.
//! `ul.db_users` and its kin count what this node keeps; where there is storage, the control plane
//! asks that instead (`Storage::count` of `core/node`), which sees other writers too.
//! Not here: asking every shard and putting answers together (`core/node`). Commands on one address
//! are to be asked of all shards: its owner answers, the others say 404 and do nothing.

use super::aor::Aor;
use super::change::{Change, Ordering, Refusal, Wanted, Which, Wish};
use super::contact::{Contact, Facts, Texts};
use super::methods::Methods;
use super::peer::{Answer, Operation};
use super::{Location, Origin};
use crate::json::{self, Json};
use strowger_sip::date::UnixTime;
use strowger_sip::message::Uri;
use strowger_sip::module::{Command, Fault, Host};
use strowger_sip::time::Duration;

type Result<T> = std::result::Result<T, Fault>;

impl Location {
    pub(super) fn answer_command(
        &mut self,
        host: &mut impl Host<Location>,
        command: &Command,
    ) -> Option<Result<String>> {
        let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        Some(match command.name.as_str() {
            "ul.dump" => self.dump(host, &arguments),
            "ul.lookup" => self.look_up(host, &arguments),
            "ul.add" => self.add(host, &arguments),
            "ul.rm" => self.remove(host, &arguments, |_| Ok(Which::All)),
            "ul.rm_contact" => self.remove(host, &arguments, |arguments| {
                Ok(Which::Uri(argument(arguments, 2, "contact")?.as_bytes().into()))
            }),
            "ul.flush" => {
                self.start_resync(host);
                Ok("\"OK\"".to_owned())
            }
            "ul.db_users" => Ok(self.size().0.to_string()),
            "ul.db_contacts" => Ok(self.size().1.to_string()),
            "ul.db_expired_contacts" => Ok(self.count_expired(host).to_string()),
            _ => return None,
        })
    }

    /// Everything, or the page that the last two arguments ask for: so many addresses, from the
    /// place on that the page before has named as `next`.
    fn dump(&self, host: &impl Host<Location>, arguments: &[&str]) -> Result<String> {
        let brief = arguments.first() == Some(&"brief");
        let limit = match number::<usize>(arguments, 1, "limit")? {
            0 => usize::MAX,
            limit => limit,
        };
        let from: usize = number(arguments, 2, "next")?;
        let today = self.today(host);
        let (addresses, contacts) = self.size();
        Ok(json::object(|json| {
            json.text("Domain", &self.settings.table);
            json.array("AoRs", |json| {
                let records = self.table.iter().flat_map(|table| table.iter());
                for record in records.skip(from).take(limit) {
                    json.object("", |json| {
                        write_record(json, &record.aor, &record.contacts, today, brief);
                    });
                }
            });
            if let Some(next) = from.checked_add(limit).filter(|next| *next < addresses) {
                json.number("next", next as u64);
            }
            json.object("Stats", |json| {
                json.number("Records", addresses as u64).number("Contacts", contacts as u64);
            });
        }))
    }

    fn look_up(&self, host: &impl Host<Location>, arguments: &[&str]) -> Result<String> {
        let aor = self.own_address(host, arguments)?;
        let contacts = self.contacts_here(&aor);
        if contacts.is_empty() {
            return Err(not_found());
        }
        let today = self.today(host);
        Ok(json::object(|json| write_record(json, &aor, contacts, today, false)))
    }

    fn add(&mut self, host: &mut impl Host<Location>, arguments: &[&str]) -> Result<String> {
        let aor = self.own_address(host, arguments)?;
        let uri = argument(arguments, 2, "contact")?;
        if Uri::parse(uri.as_bytes()).is_err() {
            return Err(bad("contact: not a URI"));
        }
        let expires: u64 = number(arguments, 3, "expires")?;
        let q = match argument(arguments, 4, "q")? {
            "" | "." | "-1" => None,
            text => Some(text.parse::<f64>().ok().filter(|q| (0.0..=1.0).contains(q))),
        };
        let q = q.map(|q| q.ok_or_else(|| bad("q: from 0 to 1"))).transpose()?;
        let path = argument(arguments, 5, "path")?;
        let today = self.today(host);
        let end = (expires > 0).then(|| today + Duration::from_secs(expires));
        let facts = Facts {
            q: q.map(|q| (q * 1000.0).round() as u16),
            flags: number(arguments, 6, "flags")?,
            cflags: number(arguments, 7, "cflags")?,
            methods: match number::<u32>(arguments, 8, "methods")? {
                0 => Methods::ALL,
                bits => Methods::from_bits(bits),
            },
            origin: Origin::Local,
            ..Facts::new(today, end)
        };
        let path = if path == "." { "" } else { path };
        let texts = Texts {
            uri: uri.as_bytes(),
            call_id: b"ul.add",
            user_agent: b"RPC",
            path: path.as_bytes(),
            ..Texts::default()
        };
        let wish = Wish::Set(vec![Wanted::Bind(Contact::new(&texts, facts))]);
        self.carry_out(host, aor, wish)
    }

    fn remove(
        &mut self,
        host: &mut impl Host<Location>,
        arguments: &[&str],
        which: impl FnOnce(&[&str]) -> Result<Which>,
    ) -> Result<String> {
        let aor = self.own_address(host, arguments)?;
        let which = which(arguments)?;
        self.carry_out(host, aor, Wish::Remove(which))
    }

    fn carry_out(
        &mut self,
        host: &mut impl Host<Location>,
        aor: Aor,
        wish: Wish,
    ) -> Result<String> {
        let change = Change {
            aor,
            wish,
            ordering: Ordering::Any,
            call_id: (*b"ul.add").into(),
            cseq: 1,
            contacts_max: 0,
            one_contact: false,
            quiet: false,
            presence: false,
        };
        match self.perform(host, Operation::Change(change)) {
            Ok(Answer::Refused(refusal)) => Err(fault(refusal)),
            Ok(Answer::Changed(_) | Answer::Found(_)) => Ok("\"OK\"".to_owned()),
            // Done, and durable as soon as storage can.
            Err(_) => Ok("\"OK\"".to_owned()),
        }
    }

    fn count_expired(&self, host: &impl Host<Location>) -> usize {
        let today = self.today(host);
        let records = self.table.iter().flat_map(|table| table.iter());
        let contacts = records.flat_map(|record| record.contacts.iter());
        contacts.filter(|contact| !contact.is_current(today)).count()
    }

    /// The address of a command, if this shard owns it.
    fn own_address(&self, host: &impl Host<Location>, arguments: &[&str]) -> Result<Aor> {
        let table = argument(arguments, 0, "table")?;
        if table != self.settings.table {
            return Err(Fault { code: 500, message: format!("no such table: {table}") });
        }
        let aor =
            Aor::new(argument(arguments, 1, "aor")?).map_err(|fault| bad(&fault.to_string()))?;
        if aor.home(host.map()) == host.shard() { Ok(aor) } else { Err(not_found()) }
    }
}

fn argument<'a>(arguments: &[&'a str], place: usize, name: &str) -> Result<&'a str> {
    arguments.get(place).copied().ok_or_else(|| bad(&format!("{name} is missing")))
}

/// A number; a missing one is zero.
fn number<T: std::str::FromStr + Default>(
    arguments: &[&str],
    place: usize,
    name: &str,
) -> Result<T> {
    match arguments.get(place) {
        None | Some(&"" | &".") => Ok(T::default()),
        Some(text) => text.parse().map_err(|_| bad(&format!("{name}: not a number"))),
    }
}

fn bad(message: &str) -> Fault {
    Fault { code: 400, message: message.to_owned() }
}

fn not_found() -> Fault {
    Fault { code: 404, message: "AOR not found".to_owned() }
}

fn fault(refusal: Refusal) -> Fault {
    let code = match refusal {
        Refusal::NoAor | Refusal::NoContact => 404,
        Refusal::TooMany { .. } | Refusal::Full => 503,
        Refusal::OutOfOrder | Refusal::NotDurable | Refusal::Unavailable => 500,
    };
    Fault { code, message: refusal.to_string() }
}

fn write_record(
    json: &mut Json<'_>,
    aor: &Aor,
    contacts: &[Contact],
    today: UnixTime,
    brief: bool,
) {
    json.text("AoR", aor.as_str());
    json.array("Contacts", |json| {
        for contact in contacts {
            if brief {
                json.text("", &String::from_utf8_lossy(contact.uri()));
            } else {
                json.object("", |json| write_contact(json, contact, today));
            }
        }
    });
}

fn write_contact(json: &mut Json<'_>, contact: &Contact, today: UnixTime) {
    let (texts, facts) = (contact.texts(), &contact.facts);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let expires = match facts.expires {
        None => "permanent".to_owned(),
        Some(end) if end <= today => "expired".to_owned(),
        Some(end) => end.since(today).as_secs().to_string(),
    };
    let q = facts.q.map_or("-1".to_owned(), |q| format!("{:.3}", f64::from(q) / 1000.0));
    json.text("Address", &text(texts.uri)).text("Expires", &expires).text("Q", &q);
    json.text("Call-ID", &text(texts.call_id)).number("CSeq", facts.cseq);
    json.text("User-Agent", &text(texts.user_agent)).text("Received", &text(texts.received));
    json.text("Path", &text(texts.path));
    json.number("Flags", facts.flags).number("CFlags", facts.cflags);
    json.number("Methods", facts.methods.bits());
    json.text("Ruid", contact.ruid()).text("Instance", &text(texts.instance));
    json.number("Reg-Id", facts.reg_id).number("Server-Id", facts.server_id);
    json.number("Last-Modified", facts.modified.as_secs());
    json.number("Last-Keepalive", facts.heard.as_secs());
}
