//! Commands of the control plane: `uac.reg_*`, with Kamailio's names and fields.
//!
//! Invariants: a command is given to every shard. What is about one record is answered by its
//! owner, what is about all by the first shard; no answer holds a secret.

use super::super::{Row, Uac};
use super::machine::{Machine, Phase};
use super::registration::{Fields, Unusable};
use super::{Attribute, Entry, Order, owner};
use crate::json::{self, Json};
use strowger_sip::module::{Command, Fault, Host};
use strowger_sip::shard::ShardId;
use strowger_sip::time::Duration;

type Answer = Result<String, Fault>;

/// What stands in place of a secret.
const HIDDEN: &str = "***";

pub(in super::super) fn answer(
    uac: &mut Uac,
    host: &mut impl Host<Uac>,
    command: &Command,
) -> Option<Answer> {
    let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
    let arguments = arguments.as_slice();
    match command.name.strip_prefix("uac.reg_")? {
        "dump" => Some(Ok(dump(uac, host))),
        "info" => info(uac, host, arguments),
        "enable" => order(uac, host, arguments, Order::Enable),
        "disable" => order(uac, host, arguments, Order::Disable),
        "register" => order(uac, host, arguments, Order::Register),
        "unregister" => order(uac, host, arguments, Order::Unregister),
        "reload" => Some(reload(uac, host)),
        "refresh" => refresh(uac, host, arguments),
        "active" => active(uac, host, arguments),
        "add" => add(uac, host, arguments),
        "remove" => remove(uac, host, arguments),
        "faults" => faults(uac, host),
        _ => None,
    }
}

fn fault(code: u16, message: impl Into<String>) -> Fault {
    Fault { code, message: message.into() }
}

fn done() -> Answer {
    Ok("{}".to_owned())
}

/// What concerns all records is answered once.
fn is_first(host: &impl Host<Uac>) -> bool {
    host.shard() == ShardId(0)
}

/// The record that attribute and value name.
fn named<'u>(uac: &'u Uac, arguments: &[&str]) -> Result<&'u Entry, Fault> {
    let [attribute, value] = arguments else { return Err(fault(400, "expected: attr value")) };
    let known = Attribute::from_name(attribute);
    let allowed = "l_uuid, l_username, r_username or auth_username";
    let attribute =
        known.ok_or_else(|| fault(400, format!("{attribute:?} is unsupported: {allowed}")))?;
    let found = uac.registrations.find(attribute, value);
    found.ok_or_else(|| fault(404, "record not found"))
}

fn dump(uac: &Uac, host: &impl Host<Uac>) -> String {
    json::array(|json| {
        for entry in uac.registrations.book.values() {
            let machine = entry.machine.and_then(|id| uac.registrations.machines.get(id));
            if let Some(machine) = machine {
                json.object("", |json| show(machine, host, json));
            }
        }
    })
}

fn info(uac: &Uac, host: &impl Host<Uac>, arguments: &[&str]) -> Option<Answer> {
    let entry = match named(uac, arguments) {
        Ok(entry) => entry,
        Err(fault) => return Some(Err(fault)),
    };
    // Another shard owns it.
    let machine = uac.registrations.machines.get(entry.machine?)?;
    Some(Ok(json::object(|json| show(machine, host, json))))
}

/// A record, field by field as Kamailio shows it.
fn show(machine: &Machine, host: &impl Host<Uac>, json: &mut Json<'_>) {
    let config = &machine.config;
    let or_none = |text: &str| if text.is_empty() { "none".to_owned() } else { text.to_owned() };
    let hidden = |is_set: bool| if is_set { HIDDEN } else { "none" };
    json.text("l_uuid", &config.l_uuid).text("l_username", &config.l_username);
    json.text("l_domain", &config.l_domain).text("r_username", &config.r_username);
    json.text("r_domain", &config.r_domain).text("realm", &config.realm);
    json.text("auth_username", &config.auth_username);
    json.text("auth_password", hidden(config.secret.has_password()));
    json.text("auth_ha1", hidden(config.secret.has_hash()));
    json.text("auth_proxy", &or_none(&config.auth_proxy));
    json.number("expires", machine.raised_expires.unwrap_or(config.expires_seconds));
    json.number("flags", machine.flags());
    let due = match machine.phase {
        Phase::Resting | Phase::Looking(_) | Phase::Ongoing => None,
        Phase::Waiting(at) | Phase::Online(at) => Some(at),
    };
    let ends = machine.bound_until.or(due);
    let left = ends.map_or(Duration::ZERO, |at| at.since(host.now()));
    let today = host.unix_time();
    json.number("diff_expires", left.as_secs());
    json.number("timer_expires", ends.map_or(0, |_| (today + left).as_secs()));
    json.number("reg_init", machine.loaded.as_secs());
    json.number("reg_delay", config.reg_delay.as_secs());
    json.text("contact_addr", &or_none(&config.contact_addr));
    json.text("socket", &config.socket);
    json.text("contact_user", &or_none(&config.contact_user));
    json.number("status", state(machine));
    json.number("code", machine.code).number("failures", machine.failures);
    let next = due.map_or(Duration::ZERO, |at| at.since(host.now()));
    json.number("next_attempt", next.as_secs());
}

/// What `uac_reg_status` says.
fn state(machine: &Machine) -> i32 {
    use super::RegState;
    let state = match (machine.bound_until, machine.is_busy(), machine.disabled) {
        (Some(_), ..) => RegState::Online,
        (None, true, _) => RegState::Ongoing,
        (None, false, true) => RegState::Disabled,
        (None, false, false) => RegState::Idle,
    };
    state.number()
}

/// Has the owner do something; every shard is asked, and the owner is one of them.
fn order(
    uac: &mut Uac,
    host: &mut impl Host<Uac>,
    arguments: &[&str],
    order: Order,
) -> Option<Answer> {
    let uuid = match named(uac, arguments) {
        Ok(entry) => entry.config.l_uuid.clone(),
        Err(fault) => return Some(Err(fault)),
    };
    if owner(host.map(), &uuid) != host.shard() {
        return None;
    }
    uac.order(host, &uuid, order);
    Some(done())
}

fn reload(uac: &mut Uac, host: &mut impl Host<Uac>) -> Answer {
    let (now, delta) = (host.now(), uac.settings.reg.reload_delta);
    if uac.registrations.last_reload.is_some_and(|last| now.since(last) < delta) {
        return Err(fault(500, format!("reloaded less than {} s ago", delta.as_secs())));
    }
    uac.registrations.last_reload = Some(now);
    uac.registrations.only.clear();
    host.store(Row::Wanted);
    done()
}

fn refresh(uac: &mut Uac, host: &mut impl Host<Uac>, arguments: &[&str]) -> Option<Answer> {
    let [uuid] = arguments else { return Some(Err(fault(400, "expected: l_uuid"))) };
    uac.registrations.refresh(uuid);
    host.store(Row::Wanted);
    is_first(host).then(done)
}

impl super::Registrations {
    /// The next reading is for this record, beside others that were asked for.
    pub(super) fn refresh(&mut self, uuid: &str) {
        /// Names that wait for a reading; beyond, everything is taken from it.
        const ONLY_MAX: usize = 256;
        if self.only.len() >= ONLY_MAX {
            self.only.clear();
        } else if !self.only.iter().any(|own| own == uuid) {
            self.only.push(uuid.to_owned());
        }
    }
}

fn active(uac: &mut Uac, host: &mut impl Host<Uac>, arguments: &[&str]) -> Option<Answer> {
    let before = uac.registrations.active;
    let after = match arguments {
        ["0"] => false,
        ["1"] => true,
        _ => return Some(Err(fault(500, "expected: 0 or 1"))),
    };
    if after != before {
        uac.activate(host, after);
    }
    let answer = json::object(|json| {
        json.number("omode", i32::from(before)).number("nmode", i32::from(after));
    });
    is_first(host).then_some(Ok(answer))
}

fn add(uac: &mut Uac, host: &mut impl Host<Uac>, arguments: &[&str]) -> Option<Answer> {
    let record = match fields(arguments).and_then(|fields| {
        let refused = |Unusable { column, allowed }: Unusable| {
            let code = if column.starts_with("auth_") { 500 } else { 400 };
            fault(code, format!("{column}: allowed: {allowed}"))
        };
        fields.check().map_err(refused)
    }) {
        Ok(record) => record,
        Err(fault) => return Some(Err(fault)),
    };
    if uac.registrations.book.contains_key(record.uuid()) {
        return Some(Err(fault(409, "l_uuid already exists")));
    }
    if uac.registrations.book.len() >= super::REGISTRATIONS_MAX {
        return Some(Err(fault(500, "too many records")));
    }
    uac.put_record(host, record, Duration::ZERO);
    is_first(host).then(done)
}

/// `l_uuid l_username l_domain r_username r_domain realm auth_username auth_password auth_ha1
/// auth_proxy expires flags reg_delay socket contact_addr [contact_user]`; a point is no value
/// where there may be none.
fn fields(arguments: &[&str]) -> Result<Fields, Fault> {
    if !(15..=16).contains(&arguments.len()) {
        return Err(fault(400, "expected: 15 or 16 parameters"));
    }
    let text = |place: usize| arguments.get(place).copied().unwrap_or_default().to_owned();
    let optional = |place: usize| match text(place) {
        point if point == "." => String::new(),
        text => text,
    };
    let number = |place: usize, name: &str| {
        text(place).parse::<u64>().map_err(|_| fault(400, format!("{name}: a number")))
    };
    Ok(Fields {
        l_uuid: text(0),
        l_username: text(1),
        l_domain: text(2),
        r_username: text(3),
        r_domain: text(4),
        realm: optional(5),
        auth_username: text(6),
        auth_password: optional(7),
        auth_ha1: optional(8),
        auth_proxy: text(9),
        expires: number(10, "expires")?,
        flags: number(11, "flags")?,
        reg_delay: number(12, "reg_delay")?,
        socket: optional(13),
        contact_addr: optional(14),
        contact_user: optional(15),
    })
}

fn remove(uac: &mut Uac, host: &mut impl Host<Uac>, arguments: &[&str]) -> Option<Answer> {
    let [uuid] = arguments else { return Some(Err(fault(400, "expected: l_uuid"))) };
    if !uac.remove_record(host, uuid) {
        return Some(Err(fault(404, "record not found")));
    }
    is_first(host).then(done)
}

/// `uac.reg_faults`: the rows that are left out, and why.
fn faults(uac: &Uac, host: &impl Host<Uac>) -> Option<Answer> {
    let answer = json::array(|json| {
        for fault in &uac.registrations.faults {
            json.text("", fault);
        }
    });
    is_first(host).then_some(Ok(answer))
}
