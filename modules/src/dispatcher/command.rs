//! Commands of the control plane: `dispatcher.*`, with Kamailio's names and fields.
//!
//! Invariants: a command may be given to one shard or to all. What decides about a destination goes
//! to its owner; what changes the list is the same when it is done twice.

use super::destination::{Attributes, Destination, DestinationId, Mark, SetId, State};
use super::select::hash;
use super::sets::{Member, Set};
use super::{Dispatcher, Row};
use crate::json::{self, Json};
use strowger_sip::module::{Command, Fault, Host};

type Answer = Result<String, Fault>;

pub(super) fn answer(
    dispatcher: &mut Dispatcher,
    host: &mut impl Host<Dispatcher>,
    command: &Command,
) -> Option<Answer> {
    let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
    let arguments = arguments.as_slice();
    Some(match command.name.strip_prefix("dispatcher.")? {
        "list" => list(dispatcher, arguments),
        "reload" => reload(dispatcher, host),
        "set_state" => set_state(dispatcher, host, arguments),
        "set_duid_state" => set_duid_state(dispatcher, host, arguments),
        "ping_active" => ping_active(dispatcher, host, arguments),
        "add" => add(dispatcher, host, arguments),
        "remove" => remove(dispatcher, host, arguments),
        "hash" => hash_of(arguments),
        "oclist" => overload_list(dispatcher, arguments),
        _ => return None,
    })
}

fn fault(code: u16, message: impl Into<String>) -> Fault {
    Fault { code, message: message.into() }
}

fn done() -> Answer {
    Ok("\"Ok\"".to_owned())
}

fn set_id(text: &str) -> Result<SetId, Fault> {
    text.parse().map(SetId).map_err(|_| fault(400, format!("{text:?} is no set id")))
}

fn list(dispatcher: &Dispatcher, arguments: &[&str]) -> Answer {
    let only = arguments.first().map(|text| set_id(text)).transpose()?;
    if let Some(only) = only
        && dispatcher.sets.index(only).is_none()
    {
        return Err(fault(404, format!("no set {}", only.0)));
    }
    let wanted = |set: &&Set| only.is_none_or(|only| set.id == only);
    Ok(json::object(|json| {
        json.number("NRSETS", dispatcher.sets.iter().filter(wanted).count() as u64);
        json.array("RECORDS", |json| {
            for set in dispatcher.sets.iter().filter(wanted) {
                json.object("", |json| {
                    json.object("SET", |json| {
                        json.number("ID", set.id.0);
                        json.array("TARGETS", |json| {
                            for member in &set.members {
                                json.object("", |json| {
                                    json.object("DEST", |json| show(dispatcher, member, json));
                                });
                            }
                        });
                    });
                });
            }
        });
    }))
}

fn show(dispatcher: &Dispatcher, member: &Member, json: &mut Json<'_>) {
    let Some(live) = dispatcher.lives.list.get(member.place) else { return };
    let Destination { uri, priority, attributes, .. } = &member.destination;
    json.text("URI", uri).text("FLAGS", &live.health.state().to_string());
    json.number("PRIORITY", *priority);
    json.object("ATTRS", |json| {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        json.text("BODY", &attributes.body).text("DUID", &text(&attributes.duid));
        json.number("MAXLOAD", attributes.maxload).number("WEIGHT", attributes.weight);
        json.number("RWEIGHT", attributes.rweight).text("SOCKET", &text(&attributes.socket));
        json.text("SOCKNAME", &text(&attributes.sockname));
        json.text("OBPROXY", &text(&attributes.obproxy));
    });
    let ([average, deviation, estimate, most], timeouts) = live.latency.figures();
    json.object("LATENCY", |json| {
        json.decimal("AVG", average).decimal("STD", deviation).decimal("EST", estimate);
        json.decimal("MAX", most).number("TIMEOUT", timeouts);
    });
    json.object("RUNTIME", |json| {
        json.number("DLOAD", live.load());
    });
}

fn reload(dispatcher: &mut Dispatcher, host: &mut impl Host<Dispatcher>) -> Answer {
    let (now, delta) = (host.now(), dispatcher.settings.reload_delta);
    if dispatcher.last_reload.is_some_and(|last| now.since(last) < delta) {
        return Err(fault(500, format!("reloaded less than {} s ago", delta.as_secs())));
    }
    dispatcher.last_reload = Some(now);
    host.store(Row::Wanted);
    Ok("\"Reload requested\"".to_owned())
}

fn mark(text: &str) -> Result<Mark, Fault> {
    let allowed = "a, i, t or d, then p or x if wanted";
    Mark::parse(text).ok_or_else(|| fault(400, format!("{text:?} is no state: {allowed}")))
}

fn set_state(
    dispatcher: &mut Dispatcher,
    host: &mut impl Host<Dispatcher>,
    arguments: &[&str],
) -> Answer {
    let [state, set, uri] = arguments else {
        return Err(fault(400, "expected: state set uri"));
    };
    let (mark, set) = (mark(state)?, set_id(set)?);
    let index = dispatcher.sets.index(set);
    let members = index
        .and_then(|index| dispatcher.sets.get(index))
        .map_or(&[][..], |set| set.members.as_slice());
    let all = *uri == "all";
    let wanted = members.iter().filter(|member| all || member.destination.uri == *uri);
    let ids: Vec<DestinationId> = wanted.map(|member| member.id).collect();
    if ids.is_empty() {
        return Err(fault(404, format!("no destination {uri} in set {}", set.0)));
    }
    ids.into_iter().for_each(|id| dispatcher.mark(host, id, mark));
    done()
}

fn set_duid_state(
    dispatcher: &mut Dispatcher,
    host: &mut impl Host<Dispatcher>,
    arguments: &[&str],
) -> Answer {
    let [state, duid] = arguments else { return Err(fault(400, "expected: state duid")) };
    let mark = mark(state)?;
    let wanted = |member: &&Member| member.destination.attributes.duid.as_deref() == Some(*duid);
    let ids: Vec<DestinationId> =
        dispatcher.sets.members().filter(wanted).map(|member| member.id).collect();
    if ids.is_empty() {
        return Err(fault(404, format!("no destination with duid {duid}")));
    }
    ids.into_iter().for_each(|id| dispatcher.mark(host, id, mark));
    done()
}

fn ping_active(
    dispatcher: &mut Dispatcher,
    host: &mut impl Host<Dispatcher>,
    arguments: &[&str],
) -> Answer {
    let old = dispatcher.ping_active;
    match arguments {
        [] => {}
        ["0"] => dispatcher.ping_active = false,
        ["1"] => {
            dispatcher.ping_active = true;
            dispatcher.schedule(host);
        }
        _ => return Err(fault(400, "expected: 0 or 1")),
    }
    Ok(json::object(|json| {
        json.number("OldPingState", i32::from(old));
        json.number("NewPingState", i32::from(dispatcher.ping_active));
    }))
}

fn add(
    dispatcher: &mut Dispatcher,
    host: &mut impl Host<Dispatcher>,
    arguments: &[&str],
) -> Answer {
    let [set, uri, rest @ ..] = arguments else {
        return Err(fault(400, "expected: set uri [flags [priority [attrs]]]"));
    };
    let mut added = Destination::new(set_id(set)?.0, uri).map_err(|problem| fault(400, problem))?;
    if let Some(flags) = rest.first() {
        let bits = flags.parse().ok().filter(|bits| *bits < 64);
        added.state = bits.map(State::from_bits).ok_or_else(|| fault(400, "flags: 0 to 63"))?;
    }
    if let Some(priority) = rest.get(1) {
        added.priority = priority.parse().map_err(|_| fault(400, "priority: a number"))?;
    }
    if let Some(attrs) = rest.get(2) {
        added.attributes = Attributes::parse(attrs).map_err(|problem| fault(400, problem))?;
    }
    let mut all: Vec<Destination> = configured(dispatcher);
    if all.len() >= super::list::DESTINATIONS_MAX {
        return Err(fault(500, "too many destinations"));
    }
    // One with the same id is replaced and keeps its state.
    all.push(added);
    dispatcher.replace(host, all);
    done()
}

fn remove(
    dispatcher: &mut Dispatcher,
    host: &mut impl Host<Dispatcher>,
    arguments: &[&str],
) -> Answer {
    let [set, uri] = arguments else { return Err(fault(400, "expected: set uri")) };
    let set = set_id(set)?;
    let mut all = configured(dispatcher);
    let before = all.len();
    all.retain(|row| row.set != set || row.uri != *uri);
    if all.len() == before {
        return Err(fault(404, format!("no destination {uri} in set {}", set.0)));
    }
    dispatcher.replace(host, all);
    done()
}

fn configured(dispatcher: &Dispatcher) -> Vec<Destination> {
    dispatcher.sets.members().map(|member| member.destination.clone()).collect()
}

/// `dispatcher.hash slots value...`: which of so many slots the values lead to.
fn hash_of(arguments: &[&str]) -> Answer {
    let [slots, values @ ..] = arguments else {
        return Err(fault(400, "expected: slots value [value ...]"));
    };
    let slots: u64 = slots.parse().map_err(|_| fault(400, "slots: a number"))?;
    let values: Vec<&[u8]> = values.iter().map(|value| value.as_bytes()).collect();
    let hash = hash(&values);
    let slot = (u128::from(hash) * u128::from(slots)) >> 64;
    Ok(json::object(|json| {
        json.number("hash", hash).number("slot", u64::try_from(slot).unwrap_or(0));
    }))
}

fn overload_list(dispatcher: &Dispatcher, arguments: &[&str]) -> Answer {
    let [set] = arguments else { return Err(fault(400, "expected: set")) };
    let set = set_id(set)?;
    let index = dispatcher.sets.index(set);
    let set = index.and_then(|index| dispatcher.sets.get(index));
    let set = set.ok_or_else(|| fault(404, "no such set"))?;
    Ok(json::array(|json| {
        for member in &set.members {
            let Some(live) = dispatcher.lives.list.get(member.place) else { continue };
            let attributes = &member.destination.attributes;
            json.object("", |json| {
                json.text("URI", &member.destination.uri).number("OCRATE", live.overload_rate);
                json.number("OCMIN", attributes.overload_min);
                json.number("OCMAX", attributes.overload_max.unwrap_or(100));
            });
        }
    }))
}
