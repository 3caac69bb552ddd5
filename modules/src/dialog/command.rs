//! Commands of the control plane: `dlg.list`, `dlg.end_dlg` and their kin.
//!
//! For: operators and their scripts, with Kamailio's names and arguments, older ones too; answers
//! are JSON.
//! Not here: asking every shard and putting answers together (`core/node`). Each shard answers for
//! the dialogs that are at home there: lists are to be joined, numbers added; a 404 counts only
//! when every shard says it. A list comes in pages: `next` of one is the last argument of the call
//! for the page after it, on the same shard.

use super::Dialog;
use super::bridge::{Asked, BridgeMode, NotBridged};
use super::cookie::Key;
use super::end::Terminated;
use super::event::text;
use super::listing::Page;
use super::record::{Cause, Record, Side};
use super::settings::header_lines;
use super::state::State;
use super::table::DialogId;
use super::texts::Field;
use crate::json;
use strowger_sip::module::{Command, Fault, Host};

type Result<T> = std::result::Result<T, Fault>;

fn fault(code: u16, message: &str) -> Fault {
    Fault { code, message: message.to_owned() }
}

fn not_found() -> Fault {
    fault(404, "no such dialog")
}

fn argument<'a>(arguments: &[&'a str], place: usize, name: &str) -> Result<&'a str> {
    arguments.get(place).copied().ok_or_else(|| fault(400, &format!("{name}: missing")))
}

fn number<T: std::str::FromStr>(arguments: &[&str], place: usize, name: &str) -> Result<T> {
    let text = argument(arguments, place, name)?;
    text.parse().map_err(|_| fault(400, &format!("{name}: not a number")))
}

/// The page that the arguments from `place` on ask for: limit, then where it begins.
fn page(arguments: &[&str], place: usize) -> Result<Page> {
    let read = |place: usize, name: &str, default: usize| match arguments.get(place) {
        None => Ok(default),
        Some(&"0") => Ok(default),
        Some(text) => text.parse().map_err(|_| fault(500, &format!("{name}: not a number"))),
    };
    let limit = read(place, "limit", Page::FIRST.limit)?;
    Ok(Page { limit, from: read(place + 1, "next", 0)? })
}

impl Dialog {
    pub(super) fn answer_command(
        &mut self,
        host: &mut impl Host<Dialog>,
        command: &Command,
    ) -> Option<Result<String>> {
        let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        let arguments = arguments.as_slice();
        Some(match command.name.as_str() {
            "dlg.list" => self.list(host, arguments, false),
            "dlg.list_ctx" => self.list(host, arguments, true),
            "dlg.list_match" => self.list_match(host, arguments, false),
            "dlg.list_match_ctx" => self.list_match(host, arguments, true),
            "dlg.dlg_list" => self.one(host, arguments, false),
            "dlg.dlg_list_ctx" => self.one(host, arguments, true),
            "dlg_list" if arguments.is_empty() => self.list(host, arguments, false),
            "dlg_list_ctx" if arguments.is_empty() => self.list(host, arguments, true),
            "dlg_list" => self.one(host, arguments, false),
            "dlg_list_ctx" => self.one(host, arguments, true),
            "dlg.briefing" => self.briefing(arguments),
            "dlg.dump_file" => self.dump(host, arguments),
            "dlg.end_dlg" | "dlg_end_dlg" => self.end_dlg(host, arguments),
            "dlg.terminate_dlg" | "dlg_terminate_dlg" => self.terminate_dlg(host, arguments),
            "dlg.set_state" => self.set_state_of(host, arguments),
            "dlg.is_alive" => self.is_alive(arguments),
            "dlg.profile_get_size" | "profile_get_size" => self.profile_get_size(arguments),
            "dlg.profile_list" | "profile_list_dlgs" => self.profile_list(host, arguments),
            "dlg.profile_values" => self.profile_values(arguments),
            "dlg.bridge_dlg" | "dlg_bridge" => self.bridge_dlg(host, arguments),
            "dlg.bridge_status" => self.bridge_status(host, arguments),
            "dlg.stats_active" => Ok(self.stats_active()),
            "dlg.db_load_extra" => self.db_load_extra(host),
            "dlg.db_load_callid" => self.db_load_callid(host, arguments),
            _ => return None,
        })
    }

    fn show(
        &self,
        host: &impl Host<Dialog>,
        page: Page,
        context: bool,
        fits: impl Fn(&Record) -> bool,
    ) -> String {
        self.page(page, fits, |json, _, record| {
            self.write_dialog(host, json, record);
            if context {
                self.write_context(host, json, record);
            }
        })
    }

    fn list(&self, host: &impl Host<Dialog>, arguments: &[&str], context: bool) -> Result<String> {
        Ok(self.show(host, page(arguments, 0)?, context, |_| true))
    }

    fn list_match(
        &self,
        host: &impl Host<Dialog>,
        arguments: &[&str],
        context: bool,
    ) -> Result<String> {
        let fits = filter(arguments)?;
        let page = page(arguments, 3)?;
        let shown = self.show(host, page, context, fits);
        let nothing = shown == "{\"dialogs\":[]}" && page.from == 0;
        if nothing { Err(not_found()) } else { Ok(shown) }
    }

    fn one(&self, host: &impl Host<Dialog>, arguments: &[&str], context: bool) -> Result<String> {
        let call_id = argument(arguments, 0, "callid")?.as_bytes();
        let tag = arguments.get(1).map(|tag| tag.as_bytes());
        let fits = |record: &Record| {
            tag.is_none_or(|tag| record.text(Field::FromTag) == tag || record.is_callee_tag(tag))
        };
        let mut found = self.table.of_call(call_id).filter(|(_, record)| fits(record));
        let (_, record) = found.next().ok_or_else(not_found)?;
        Ok(json::object(|json| {
            self.write_dialog(host, json, record);
            if context {
                self.write_context(host, json, record);
            }
        }))
    }

    fn briefing(&self, arguments: &[&str]) -> Result<String> {
        let format = arguments.first().copied().filter(|text| !text.is_empty()).unwrap_or("ftcFT");
        if !format.chars().all(|letter| "ftcFTISEs".contains(letter)) {
            return Err(fault(500, "format: letters of ftcFTISEs"));
        }
        let page = page(arguments, 1)?;
        Ok(self.page(page, |_| true, |json, _, record| Dialog::write_brief(json, record, format)))
    }

    /// The lines that the control plane appends to the file.
    fn dump(&self, host: &impl Host<Dialog>, arguments: &[&str]) -> Result<String> {
        argument(arguments, 0, "path")?;
        Ok(self.show(host, page(arguments, 1)?, false, |_| true))
    }

    fn end(
        &mut self,
        host: &mut impl Host<Dialog>,
        id: DialogId,
        headers: Option<&&str>,
    ) -> Result<String> {
        let headers = header_lines(headers.copied().unwrap_or_default())
            .map_err(|allowed| fault(500, &format!("headers: {allowed}")))?;
        match self.terminate(host, id, Cause::Admin, &Side::BOTH, &headers) {
            Terminated::Asked | Terminated::Refused => Ok("null".to_owned()),
            Terminated::Already => Err(fault(500, "it is ending already")),
            Terminated::Unknown => Err(not_found()),
            Terminated::Unreachable => Err(fault(500, "neither party can be reached")),
        }
    }

    fn end_dlg(&mut self, host: &mut impl Host<Dialog>, arguments: &[&str]) -> Result<String> {
        let key =
            Key { entry: number(arguments, 0, "h_entry")?, id: number(arguments, 1, "h_id")? };
        let id = self.table.by_key(key).ok_or_else(not_found)?;
        self.end(host, id, arguments.get(2))
    }

    /// The dialog that a Call-ID and tags name, on this shard; the older form has one tag or none.
    fn named(&self, arguments: &[&str]) -> Result<DialogId> {
        let call_id = argument(arguments, 0, "callid")?.as_bytes();
        let (from, to) = (arguments.get(1), arguments.get(2));
        let found = match (from, to) {
            (Some(from), Some(to)) => self
                .table
                .by_tags(call_id, from.as_bytes(), to.as_bytes())
                .map(|found| found.dialog),
            (Some(from), None) => self
                .table
                .of_call(call_id)
                .find(|(_, record)| record.text(Field::FromTag) == from.as_bytes())
                .map(|(id, _)| id),
            (None, _) => self.table.of_call(call_id).next().map(|(id, _)| id),
        };
        found.ok_or_else(not_found)
    }

    fn terminate_dlg(
        &mut self,
        host: &mut impl Host<Dialog>,
        arguments: &[&str],
    ) -> Result<String> {
        argument(arguments, 0, "callid")?;
        let id = self.named(arguments).map_err(|_| fault(500, "no such dialog"))?;
        self.end(host, id, None)
    }

    fn set_state_of(&mut self, host: &mut impl Host<Dialog>, arguments: &[&str]) -> Result<String> {
        argument(arguments, 2, "ttag")?;
        let state = match arguments.get(3) {
            None => State::Deleted,
            Some(text) => text
                .parse()
                .ok()
                .and_then(State::from_number)
                .or_else(|| State::from_name(text))
                .ok_or_else(|| fault(400, "state: 1 to 5"))?,
        };
        let id = self.named(arguments).map_err(|_| fault(500, "no such dialog"))?;
        self.force_state(host, id, state);
        Ok("\"Done\"".to_owned())
    }

    fn is_alive(&self, arguments: &[&str]) -> Result<String> {
        argument(arguments, 2, "ttag")?;
        let id = self.named(arguments)?;
        match self.table.get(id).map(|record| record.state) {
            Some(State::Confirmed) => Ok("\"Alive\"".to_owned()),
            Some(_) => Err(fault(500, "not confirmed")),
            None => Err(not_found()),
        }
    }

    fn profile_get_size(&self, arguments: &[&str]) -> Result<String> {
        let name = argument(arguments, 0, "profile")?;
        let (number, with_value) =
            self.profile(name).ok_or_else(|| fault(404, "no such profile"))?;
        let size = match arguments.get(1).filter(|_| with_value) {
            Some(value) => {
                self.group(name, value).map_or(0, |group| u64::from(self.profiles.of(&group)))
            }
            None => self.profiles.of_profile(number),
        };
        Ok(size.to_string())
    }

    fn profile_list(&self, host: &impl Host<Dialog>, arguments: &[&str]) -> Result<String> {
        let name = argument(arguments, 0, "profile")?;
        let (number, with_value) =
            self.profile(name).ok_or_else(|| fault(404, "no such profile"))?;
        let value = arguments.get(1).copied().filter(|value| with_value && !value.is_empty());
        let page = page(arguments, 2)?;
        Ok(self.show(host, page, false, |record| {
            record.pairs.memberships().any(|(own, member)| {
                own == number && value.is_none_or(|value| value.as_bytes() == member)
            })
        }))
    }

    /// The values of a profile that this shard counts, with their sizes.
    fn profile_values(&self, arguments: &[&str]) -> Result<String> {
        let name = argument(arguments, 0, "profile")?;
        let (number, _) = self.profile(name).ok_or_else(|| fault(404, "no such profile"))?;
        let page = page(arguments, 1)?;
        let limit = page.limit.clamp(1, Page::FIRST.limit);
        let mut next = None;
        Ok(json::object(|json| {
            json.object("values", |json| {
                for (shown, (place, value, size)) in
                    self.profiles.values(number, page.from).enumerate()
                {
                    if shown == limit {
                        next = Some(place as u64);
                        break;
                    }
                    json.number(&text(value), size);
                }
            });
            if let Some(next) = next {
                json.number("next", next);
            }
        }))
    }

    fn bridge_dlg(&mut self, host: &mut impl Host<Dialog>, arguments: &[&str]) -> Result<String> {
        let (from, to) = (argument(arguments, 0, "from")?, argument(arguments, 1, "to")?);
        let given = |place: usize| {
            arguments.get(place).copied().filter(|text| !matches!(*text, "" | "." | "_"))
        };
        // Asked of every shard, it would be begun by each.
        if host.map().home(from.as_bytes()) != host.shard() {
            return Err(fault(404, "another shard's"));
        }
        let mode = match given(4) {
            None => self.settings.bridge.mode,
            Some("refer") => BridgeMode::Refer,
            Some("3pcc") => BridgeMode::ThirdParty,
            Some(_) => return Err(fault(500, "mode: refer or 3pcc")),
        };
        let asked = Asked { from, to, next_hop: given(2), body: given(3), mode };
        match self.bridge(host, &asked) {
            Ok(id) => Ok(json::object(|json| {
                json.text("bridge", &self.bridge_handle(host, id));
            })),
            Err(NotBridged::Full) => Err(fault(500, "too many bridges")),
            Err(NotBridged::NoUri) => Err(fault(500, "not a SIP URI")),
            Err(NotBridged::Unreachable) => Err(fault(500, "the next hop cannot be reached")),
        }
    }

    fn bridge_status(&self, host: &impl Host<Dialog>, arguments: &[&str]) -> Result<String> {
        let handle = argument(arguments, 0, "bridge")?;
        self.bridge_shown(host, handle).ok_or_else(|| fault(404, "no such bridge"))
    }

    fn stats_active(&self) -> String {
        let of = |state| self.table.in_state(state) as u64;
        json::object(|json| {
            json.number("starting", of(State::Unconfirmed)).number("connecting", of(State::Early));
            json.number("answering", of(State::ConfirmedNa))
                .number("ongoing", of(State::Confirmed));
            let all: u64 = State::ALL.into_iter().filter(|it| *it != State::Deleted).map(of).sum();
            json.number("all", all);
        })
    }

    fn db_load_extra(&mut self, host: &mut impl Host<Dialog>) -> Result<String> {
        if self.load_extra(host) { Ok("null".to_owned()) } else { Err(fault(500, "db_mode is 0")) }
    }

    fn db_load_callid(
        &mut self,
        host: &mut impl Host<Dialog>,
        arguments: &[&str],
    ) -> Result<String> {
        let call_id = argument(arguments, 0, "callid")?;
        if host.map().home(call_id.as_bytes()) != host.shard() {
            return Err(fault(404, "another shard's"));
        }
        if self.load_call(host, call_id) {
            Ok("null".to_owned())
        } else {
            Err(fault(500, "db_mode is 0"))
        }
    }
}

/// `key op value` as a test of dialogs.
fn filter(arguments: &[&str]) -> Result<impl Fn(&Record) -> bool + use<>> {
    let key = argument(arguments, 0, "key").map_err(|it| fault(500, &it.message))?;
    let op = argument(arguments, 1, "op").map_err(|it| fault(500, &it.message))?.to_owned();
    let value = argument(arguments, 2, "value").map_err(|it| fault(500, &it.message))?.to_owned();
    let field = match key {
        "ruri" => Some(Field::RequestUri),
        "furi" => Some(Field::FromUri),
        "turi" => Some(Field::ToUri),
        "callid" => Some(Field::CallId),
        "start_ts" => None,
        _ => return Err(fault(500, "key: ruri, furi, turi, callid or start_ts")),
    };
    let known = match field {
        Some(_) => matches!(op.as_str(), "eq" | "re" | "sw"),
        None => matches!(op.as_str(), "gt" | "lt"),
    };
    if !known {
        return Err(fault(500, "op: eq, re or sw; gt or lt for start_ts"));
    }
    let start: u64 = match field {
        Some(_) => 0,
        None => value.parse().map_err(|_| fault(500, "value: not a number"))?,
    };
    let pattern = match op.as_str() {
        "re" => {
            let made = regex_lite::RegexBuilder::new(&value).case_insensitive(true).build();
            Some(made.map_err(|_| fault(500, "value: no regular expression"))?)
        }
        _ => None,
    };
    Ok(move |record: &Record| match (field, op.as_str()) {
        (Some(field), "eq") => record.text(field) == value.as_bytes(),
        (Some(field), "sw") => record.text(field).starts_with(value.as_bytes()),
        (Some(field), _) => {
            pattern.as_ref().is_some_and(|pattern| pattern.is_match(&text(record.text(field))))
        }
        (None, "gt") => record.start.as_secs() > start,
        (None, _) => record.start.as_secs() < start,
    })
}
