//! Commands of the control plane: `pike.*`.

use super::Pike;
use crate::json;
use strowger_sip::module::{Command, Fault, Host};
use strowger_sip::time::Duration;

/// Most sources that one answer shows.
const SHOWN_MAX: usize = 1000;

pub(super) fn answer(
    pike: &Pike,
    host: &mut impl Host<Pike>,
    command: &Command,
) -> Option<Result<String, Fault>> {
    if command.name != "pike.top" {
        return None;
    }
    let all = match command.arguments.first().map(String::as_str) {
        None | Some("HOT") => false,
        Some("ALL") => true,
        Some(other) => {
            let message = format!("{other:?} is neither HOT nor ALL");
            return Some(Err(Fault { code: 400, message }));
        }
    };
    Some(Ok(top(pike, host, all)))
}

/// Each source is shown by its owner alone, so that the answers of all shards add up.
fn top(pike: &Pike, host: &mut impl Host<Pike>, all: bool) -> String {
    json::object(|json| {
        let Some(limits) = &pike.limits else { return };
        json.number("max_hits", limits.settings.reqs_density_per_unit);
        json.array("list", |json| {
            let sources = limits.rates.owned(host.now());
            let wanted = sources.filter(|(_, _, _, blocked)| all || *blocked > Duration::ZERO);
            for (source, before, present, blocked) in wanted.take(SHOWN_MAX) {
                json.object("", |json| {
                    json.text("ip_addr", &source.address().to_string());
                    json.number("leaf_hits_prev", before).number("leaf_hits_curr", present);
                    json.number("expires", blocked.as_secs());
                    let hot = blocked > Duration::ZERO;
                    json.text("status", if hot { "HOT" } else { "" });
                });
            }
        });
    })
}
