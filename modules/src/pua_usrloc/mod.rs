//! Users who are registered are present (Kamailio's `pua_usrloc`): RFC 3863.
//!
//! For: phones that publish no presence themselves are seen open while they are registered, and
//! closed afterwards. `pua_set_publish` is [`crate::registrar::SaveOptions::presence`].
//! Not here: PUBLISH (`pua`), the document (`pua/bodies`).
//! Invariants: one publication for each user, open as long as one of the user's contacts is there;
//! contacts that were imported are published where they were registered.

mod settings;
#[cfg(test)]
mod tests;

pub use settings::Settings;

use crate::keyed::hmac;
use crate::location::{Aor, Contact, ContactEvent, ContactEventKind, Origin};
use crate::pua::bodies::pidf::{self, Basic};
use crate::pua::{EventId, Publication, SendPublish, Source, Wanted};
use std::rc::Rc;
use strowger_sip::date::{Epoch, UnixTime};
use strowger_sip::module::{Configured, Ears, Event, Host, MetricNote, Module, NodeFacts};
use strowger_sip::settings::Section;
use strowger_sip::table::Map;

/// Most users of one shard whose presence is published: as many as there may be contacts by
/// default.
const USERS_MAX: usize = 1 << 20;

/// The module: one instance a shard.
#[derive(Debug)]
pub struct PuaUsrloc {
    settings: Rc<Settings>,
    epoch: Epoch,
    /// Who is open, by keys of addresses.
    open: Map<Box<str>, ()>,
    counters: Counters,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    opened: u64,
    closed: u64,
    unpublished: u64,
}

const METRICS: &[MetricNote] = &[
    MetricNote::gauge("pua_usrloc_open", "Users who are published as open."),
    MetricNote::counter("pua_usrloc_opened", "Publications of users who are registered."),
    MetricNote::counter("pua_usrloc_closed", "Publications of users who are so no longer."),
    MetricNote::counter("pua_usrloc_unpublished", "Users not published: there are too many."),
];

impl PuaUsrloc {
    /// A module with these settings; `epoch` is the location's.
    pub fn new(settings: Settings, epoch: Epoch) -> PuaUsrloc {
        PuaUsrloc {
            settings: Rc::new(settings),
            epoch,
            open: Map::new((0, 0)),
            counters: Counters::default(),
        }
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn contact_changed(&mut self, host: &mut impl Host<Self>, event: &ContactEvent) {
        let ContactEvent { kind, aor, contact, bindings, presence, .. } = event;
        if contact.facts.origin != Origin::Local {
            return;
        }
        let is_open = self.open.contains(aor.as_str());
        let is_marked = self.settings.marks(contact);
        let concerns = match kind {
            ContactEventKind::Insert => is_open || is_marked || *presence,
            ContactEventKind::Update => is_open || is_marked || *presence,
            // Its publication outlives a restart as it is; its end is told by what follows.
            ContactEventKind::Load => {
                if is_marked {
                    self.remember(aor);
                }
                false
            }
            ContactEventKind::Delete => is_open,
            ContactEventKind::Expire => is_open,
        };
        if !concerns {
            return;
        }
        let today = self.epoch.date(host.now());
        match lifetime(bindings, today) {
            Some(wanted) => {
                if !is_open && !self.remember(aor) {
                    self.counters.unpublished += 1;
                    return;
                }
                self.counters.opened += 1;
                self.publish(host, aor, Basic::Open, wanted);
            }
            None => {
                self.open.remove(aor.as_str());
                self.counters.closed += 1;
                let wanted = Wanted::from_number(self.settings.closed_expires.into());
                self.publish(host, aor, Basic::Closed, wanted);
            }
        }
    }

    fn remember(&mut self, aor: &Aor) -> bool {
        if self.open.len() >= USERS_MAX && !self.open.contains(aor.as_str()) {
            return false;
        }
        self.open.insert(aor.as_str().into(), ());
        true
    }

    fn publish(&mut self, host: &mut impl Host<Self>, aor: &Aor, basic: Basic, wanted: Wanted) {
        let Some(domain) = self.settings.default_domain.as_deref() else { return };
        let uri = aor.uri(domain);
        let entity = match self.settings.entity_prefix.as_deref() {
            Some(prefix) => format!("{prefix}:{}", uri.trim_start_matches("sip:")),
            None => uri.clone(),
        };
        let digest = hmac(b"presence tuple", &[aor.as_str().as_bytes()]);
        let tuple: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let name = format!("UL_PUBLISH.{aor}");
        let mut publication =
            Publication::new(Source::UsrlocPublish, EventId::PRESENCE, &uri, &name);
        publication.wanted = wanted;
        // A removal has no document.
        let body = pidf::write(&entity, &format!("t{tuple}"), basic);
        publication.body = (wanted != Wanted::Not).then(|| body.into_bytes());
        host.publish(SendPublish(publication));
    }
}

/// As long as the user's contact that lasts longest; `None` without one.
fn lifetime(bindings: &[Contact], today: UnixTime) -> Option<Wanted> {
    let own =
        |contact: &&Contact| contact.facts.origin == Origin::Local && contact.is_current(today);
    let mut longest = None;
    for contact in bindings.iter().filter(own) {
        match contact.remaining_seconds(today) {
            None => return Some(Wanted::Forever),
            Some(left) => longest = longest.max(Some(left.max(1))),
        }
    }
    longest.map(|left| Wanted::from_number(i64::try_from(left).unwrap_or(-1)))
}

impl Module for PuaUsrloc {
    const NAME: &'static str = "pua_usrloc";
    const LISTENS: bool = true;
    const METRICS: &'static [MetricNote] = METRICS;
    type Attached = ();
    type Peer = ();
    type Timer = ();
    type Token = ();
    type Row = ();

    fn start(&mut self, host: &mut impl Host<Self>) {
        self.open = Map::new(host.entropy().keys());
    }

    fn hears(&self, ears: &mut Ears) {
        if self.settings.default_domain.is_some() {
            ears.hear::<ContactEvent>();
        }
    }

    fn event(&mut self, host: &mut impl Host<Self>, event: &Event) {
        if let Some(changed) = event.of::<ContactEvent>()
            && self.settings.default_domain.is_some()
        {
            self.contact_changed(host, changed);
        }
    }

    fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        each("pua_usrloc_open", self.open.len() as u64);
        each("pua_usrloc_opened", self.counters.opened);
        each("pua_usrloc_closed", self.counters.closed);
        each("pua_usrloc_unpublished", self.counters.unpublished);
    }
}

impl Configured for PuaUsrloc {
    fn configured(section: &mut Section<'_>, node: &NodeFacts<'_>) -> PuaUsrloc {
        PuaUsrloc::new(Settings::from_config(section), node.epoch)
    }
}
