//! Commands of the control plane: `permissions.*`.

use super::prefix::Prefix;
use super::rules::Permit;
use super::{Permissions, Row};
use crate::json;
use strowger_sip::module::{Command, Fault, Host};

/// Most rows that one dump shows.
const DUMP_ROWS_MAX: usize = 10_000;

pub(super) fn answer(
    permissions: &mut Permissions,
    host: &mut impl Host<Permissions>,
    command: &Command,
) -> Option<Result<String, Fault>> {
    Some(match command.name.strip_prefix("permissions.")? {
        "addressReload" => reload(permissions, host, (0, Row::AddressesWanted)),
        "trustedReload" => reload(permissions, host, (1, Row::TrustedWanted)),
        "rulesReload" => reload(permissions, host, (2, Row::RulesWanted)),
        "allowUri" => allow_uri(permissions, &command.arguments),
        "testUri" => test_uri(permissions, &command.arguments),
        "addressDump" => Ok(dump_addresses(permissions, is_host)),
        "subnetDump" => Ok(dump_addresses(permissions, |prefix| !is_host(prefix))),
        "trustedDump" => Ok(dump_trusted(permissions)),
        _ => return None,
    })
}

fn reload(
    permissions: &mut Permissions,
    host: &mut impl Host<Permissions>,
    (list, wanted): (usize, Row),
) -> Result<String, Fault> {
    let now = host.now();
    let delta = permissions.settings.reload_delta;
    let Some(last) = permissions.last_reloads.get_mut(list) else {
        return Err(Fault { code: 500, message: "no such list".to_owned() });
    };
    if last.is_some_and(|last| now.since(last) < delta) {
        let message = format!("reloaded less than {} s ago", delta.as_secs());
        return Err(Fault { code: 500, message });
    }
    *last = Some(now);
    host.store(wanted);
    Ok("\"Reload requested\"".to_owned())
}

/// `permissions.allowUri rules from uri`; the default rules are called `.`.
fn allow_uri(permissions: &Permissions, arguments: &[String]) -> Result<String, Fault> {
    let [rules, from, uri] = arguments else {
        let message = "expected: rules from uri".to_owned();
        return Err(Fault { code: 400, message });
    };
    judged(permissions, rules, from, uri)
}

/// `permissions.testUri rules uri contact`: what `allow_register` would say.
fn test_uri(permissions: &Permissions, arguments: &[String]) -> Result<String, Fault> {
    let [rules, uri, contact] = arguments else {
        let message = "expected: rules uri contact".to_owned();
        return Err(Fault { code: 400, message });
    };
    judged(permissions, rules, uri, contact)
}

fn judged(
    permissions: &Permissions,
    rules: &str,
    left: &str,
    right: &str,
) -> Result<String, Fault> {
    let rules = if rules == "." { "" } else { rules };
    match permissions.rules.judge(rules, left.as_bytes(), right.as_bytes()) {
        Permit::Allowed => Ok("\"Allowed\"".to_owned()),
        Permit::Denied => Ok("\"Denied\"".to_owned()),
        Permit::Unknown => {
            let message = "no such rules, or a URI that cannot be read".to_owned();
            Err(Fault { code: 404, message })
        }
    }
}

fn is_host(prefix: &Prefix) -> bool {
    prefix.bits() == if prefix.address().is_ipv4() { 32 } else { 128 }
}

fn dump_addresses(permissions: &Permissions, wanted: impl Fn(&Prefix) -> bool) -> String {
    let rows = permissions.addresses.rows().filter(|(_, prefix, _, _)| wanted(prefix));
    json::object(|json| {
        json.number("count", permissions.addresses.len() as u64);
        json.array("list", |json| {
            for (group, prefix, port, tag) in rows.take(DUMP_ROWS_MAX) {
                json.object("", |json| {
                    json.number("group", group.0);
                    json.text("ip", &prefix.address().to_string()).number("mask", prefix.bits());
                    json.number("port", port).text("tag", tag.unwrap_or(""));
                });
            }
        });
    })
}

fn dump_trusted(permissions: &Permissions) -> String {
    json::object(|json| {
        json.number("count", permissions.trusted.len() as u64);
        json.array("list", |json| {
            for row in permissions.trusted.rows().take(DUMP_ROWS_MAX) {
                json.object("", |json| {
                    json.text("ip", &row.source).text("proto", row.proto);
                    json.text("pattern", row.from_pattern).text("ruri_pattern", row.ruri_pattern);
                    json.text("tag", row.tag).number("priority", row.priority);
                });
            }
        });
    })
}
