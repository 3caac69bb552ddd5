//! Calls of this node's users, published (Kamailio's `pua_dialoginfo`): RFC 4235.
//!
//! For: lamps on telephones: who is called, rings, or talks.
//! Not here: calls (`dialog`), PUBLISH (`pua`), the document (`pua/bodies`).
//! Invariants: of one call and party a state is never followed by an earlier one; what is told of a
//! call follows from the dialog's state at that moment, so that nothing is kept here.

mod settings;
#[cfg(test)]
mod tests;

pub use settings::Settings;

use crate::dialog::{DialogEvent, DialogEventKind, Facts, LegFacts, Side, State};
use crate::pua::bodies::dialog_info::{self, Direction, Party};
use crate::pua::{EventId, Publication, SendPublish, Source, Wanted};
use std::rc::Rc;
use strowger_sip::message::Uri;
use strowger_sip::module::{Configured, Ears, Event, Host, MetricNote, Module, NodeFacts};
use strowger_sip::settings::Section;

/// How long the end of a call is published, in seconds.
const TERMINATED_SECONDS: u32 = 10;
/// How long a call without an end of its own is published before a refresh, in seconds.
const UNENDING_SECONDS: u32 = 43_200;

/// The module: one instance a shard.
#[derive(Debug)]
pub struct PuaDialoginfo {
    settings: Rc<Settings>,
    published: u64,
    foreign: u64,
}

const METRICS: &[MetricNote] = &[
    MetricNote::counter("pua_dialoginfo_published", "States of calls handed to pua."),
    MetricNote::counter("pua_dialoginfo_foreign", "States of calls of nobody of this node."),
];

impl PuaDialoginfo {
    /// A module with these settings.
    pub fn new(settings: Settings) -> PuaDialoginfo {
        PuaDialoginfo { settings: Rc::new(settings), published: 0, foreign: 0 }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn dialog_changed(&mut self, host: &mut impl Host<Self>, event: &DialogEvent) {
        let Some(state) = self.state(event) else { return };
        let dialog = &event.dialog;
        for side in [Side::Caller, Side::Callee] {
            let is_callee = matches!(side, Side::Callee);
            if is_callee && state == dialog_info::State::Trying && !self.settings.callee_trying {
                continue;
            }
            let entities = self.entities(host, dialog, side);
            if entities.is_empty() {
                self.foreign += 1;
            }
            for entity in entities {
                self.publish(host, dialog, (side, &entity), state);
            }
        }
    }

    /// The state that an event leads to; `None` when it changes nothing that is told.
    fn state(&self, event: &DialogEvent) -> Option<dialog_info::State> {
        let is_up = matches!(event.dialog.state, State::ConfirmedNa | State::Confirmed);
        match event.kind {
            DialogEventKind::Created => Some(dialog_info::State::Trying),
            // Another branch may ring on when the call is answered already.
            DialogEventKind::Early(_) => match event.dialog.state {
                State::Unconfirmed | State::Early => Some(dialog_info::State::Early),
                State::ConfirmedNa | State::Confirmed | State::Deleted => None,
            },
            DialogEventKind::Start => Some(dialog_info::State::Confirmed),
            DialogEventKind::Refreshed(_) if self.settings.publish_dialog_req_within && is_up => {
                Some(dialog_info::State::Confirmed)
            }
            DialogEventKind::Failed(_) => Some(dialog_info::State::Terminated),
            DialogEventKind::End(_) => Some(dialog_info::State::Terminated),
            DialogEventKind::Spiraled
            | DialogEventKind::Response(_)
            | DialogEventKind::Confirmed
            | DialogEventKind::Within(..)
            | DialogEventKind::ResponseWithin(..)
            | DialogEventKind::Refreshed(_)
            | DialogEventKind::Ending(_)
            | DialogEventKind::EndConfirmed(_)
            | DialogEventKind::Timeout
            | DialogEventKind::Expired(_)
            | DialogEventKind::Loaded
            | DialogEventKind::ReferProgress(_)
            | DialogEventKind::Destroyed => None,
        }
    }

    /// As whom a party is published: as the dialog's variable says, or as itself if it is a user of
    /// this node.
    fn entities(&self, host: &impl Host<Self>, dialog: &Facts, side: Side) -> Vec<String> {
        let settings = &self.settings;
        let (variable, disabled, instead, leg) = match side {
            Side::Caller => (
                &settings.pubruri_caller_dlg_var,
                settings.disable_caller_publish_flag,
                &settings.caller_entity_when_publish_disabled,
                &dialog.caller,
            ),
            Side::Callee => (
                &settings.pubruri_callee_dlg_var,
                settings.disable_callee_publish_flag,
                &settings.callee_entity_when_publish_disabled,
                &dialog.callee,
            ),
        };
        let is_set =
            |flag: Option<u32>| flag.is_some_and(|bit| dialog.script_flags & (1 << bit) != 0);
        if is_set(disabled) {
            return instead.iter().cloned().collect();
        }
        let named = variable.as_ref().and_then(|variable| {
            dialog.variables.iter().find(|(name, _)| name == variable).map(|(_, value)| value)
        });
        if let Some(named) = named {
            let uris = named.split_whitespace().take(settings::ENTITIES_MAX);
            return uris.filter(|uri| is_sip(uri)).map(str::to_owned).collect();
        }
        let own = Uri::parse(leg.uri.as_bytes()).ok().filter(|uri| uri.scheme.is_sip());
        let Some(own) = own.filter(|uri| uri.user.is_some()) else { return Vec::new() };
        // With the flag only calls that have it are published, wherever their parties are.
        let wanted = match settings.send_publish_flag {
            Some(_) => is_set(settings.send_publish_flag),
            None => host.is_ours(&own),
        };
        let bare = own.raw.split(|byte| b";?".contains(byte)).next().unwrap_or_default();
        let bare = String::from_utf8_lossy(bare).into_owned();
        if wanted { vec![bare] } else { Vec::new() }
    }

    fn publish(
        &mut self,
        host: &mut impl Host<Self>,
        dialog: &Facts,
        (side, entity): (Side, &str),
        state: dialog_info::State,
    ) {
        let settings = &self.settings;
        let (own, other) = match side {
            Side::Caller => (&dialog.caller, &dialog.callee),
            Side::Callee => (&dialog.callee, &dialog.caller),
        };
        let shown = match (side, state) {
            (Side::Caller, dialog_info::State::Early) if settings.caller_confirmed => {
                dialog_info::State::Confirmed
            }
            (Side::Caller | Side::Callee, state) => state,
        };
        let text = |wanted: bool, text: &str| (wanted && !text.is_empty()).then(|| text.to_owned());
        let tags = settings.include_tags;
        let calls_itself = dialog.caller.uri == dialog.callee.uri && matches!(side, Side::Callee);
        let name = format!("{}{}", dialog.key, if calls_itself { "-callee" } else { "" });
        let told = dialog_info::Dialog {
            id: name.clone(),
            call_id: text(settings.include_callid, &dialog.call_id),
            local_tag: text(tags, &own.tag),
            remote_tag: text(tags, &other.tag),
            direction: match side {
                Side::Caller => Direction::Initiator,
                Side::Callee => Direction::Recipient,
            },
            state: shown,
            local: settings.include_localremote.then(|| self.party(dialog, side, own)),
            remote: settings.include_localremote.then(|| {
                let other_side = match side {
                    Side::Caller => Side::Callee,
                    Side::Callee => Side::Caller,
                };
                self.party(dialog, other_side, other)
            }),
        };
        let id = format!("DIALOG_PUBLISH.{name}");
        let mut publication = Publication::new(Source::DialogPublish, EventId::DIALOG, entity, &id);
        publication.body = Some(dialog_info::write(entity, 0, &[told]).into_bytes());
        publication.wanted = Wanted::Seconds(match state {
            dialog_info::State::Terminated => TERMINATED_SECONDS,
            dialog_info::State::Trying
            | dialog_info::State::Early
            | dialog_info::State::Confirmed => match settings.override_lifetime {
                0 if dialog.lifetime_seconds == 0 => UNENDING_SECONDS,
                0 => dialog.lifetime_seconds,
                seconds => seconds,
            },
        });
        self.published += 1;
        host.publish(SendPublish(publication));
    }

    /// A party; the callee is who was called, or with `include_req_uri` where the call went.
    fn party(&self, dialog: &Facts, side: Side, leg: &LegFacts) -> Party {
        let identity = match side {
            Side::Callee if self.settings.include_req_uri => &dialog.request_uri,
            Side::Caller | Side::Callee => &leg.uri,
        };
        let target = Some(leg.contact.as_str()).filter(|contact| !contact.is_empty());
        Party { identity: identity.clone(), display: None, target: target.map(str::to_owned) }
    }
}

fn is_sip(text: &str) -> bool {
    Uri::parse(text.as_bytes()).is_ok_and(|uri| uri.scheme.is_sip())
}

impl Module for PuaDialoginfo {
    const NAME: &'static str = "pua_dialoginfo";
    const LISTENS: bool = true;
    const METRICS: &'static [MetricNote] = METRICS;
    type Attached = ();
    type Peer = ();
    type Timer = ();
    type Token = ();
    type Row = ();

    fn hears(&self, ears: &mut Ears) {
        if self.settings.publish {
            ears.hear::<DialogEvent>();
        }
    }

    fn event(&mut self, host: &mut impl Host<Self>, event: &Event) {
        if self.settings.publish
            && let Some(changed) = event.of::<DialogEvent>()
        {
            self.dialog_changed(host, changed);
        }
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        each("pua_dialoginfo_published", self.published);
        each("pua_dialoginfo_foreign", self.foreign);
    }
}

impl Configured for PuaDialoginfo {
    fn configured(section: &mut Section<'_>, _: &NodeFacts<'_>) -> PuaDialoginfo {
        PuaDialoginfo::new(Settings::from_config(section))
    }
}
