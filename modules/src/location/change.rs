//! What a REGISTER does to an address: RFC 3261 §10.3 steps 6 and 7, as a plan.
//!
//! For: deciding what becomes of each binding before anything is touched.
//! Not here: reading the request (`registrar/`), carrying the plan out (`apply.rs`).
//! Invariants: a plan applies to all contacts of a request or there is none; no two steps of a plan
//! name the same binding.

use super::aor::Aor;
use super::contact::{Contact, Origin, Source};
use super::import;
use super::settings::Matching;
use std::fmt;
use strowger_sip::date::UnixTime;
use strowger_sip::time::Duration;

/// Most contacts of one address, whatever the settings say. A guess: no household has as many.
pub const CONTACTS_PER_AOR_MAX: usize = 256;

/// What somebody wants of an address.
#[derive(Clone, Debug)]
pub struct Change {
    /// Of which.
    pub aor: Aor,
    /// What.
    pub wish: Wish,
    /// Which requests count as older.
    pub ordering: Ordering,
    /// Call-ID of the request.
    pub call_id: Box<[u8]>,
    /// Its CSeq.
    pub cseq: u32,
    /// `max_contacts`: most contacts afterwards; 0 for no bound.
    pub contacts_max: usize,
    /// The contacts of this request replace all others.
    pub one_contact: bool,
    /// Whether those who publish are to leave this change out.
    pub quiet: bool,
    /// Whether the address's presence is to be published.
    pub presence: bool,
}

/// What is to become of the contacts.
#[derive(Clone, Debug)]
pub enum Wish {
    /// Nothing; they are asked for.
    Query,
    /// All go: `Contact: *` with `Expires: 0`.
    RemoveAll,
    /// Some go, by name.
    Remove(Which),
    /// These are set or go.
    Set(Vec<Wanted>),
    /// Another registrar tells of these. Contacts that were registered here stay as they are.
    Import {
        /// What it tells.
        told: Vec<Wanted>,
        /// Who tells it.
        source: Source,
        /// Whether it tells everything: what it has told before, and not this time, goes.
        full: bool,
    },
}

/// Which contacts of an address are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// All.
    All,
    /// The one of this name.
    Ruid(Box<str>),
    /// Those of this URI.
    Uri(Box<[u8]>),
}

/// One Contact value of a request.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// It is to be a binding.
    Bind(Contact),
    /// It is to be none.
    Unbind(Contact),
}

impl Wanted {
    fn contact(&self) -> &Contact {
        match self {
            Wanted::Bind(contact) => contact,
            Wanted::Unbind(contact) => contact,
        }
    }
}

/// Which requests are refused as older than what is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordering {
    /// RFC 3261 §10.3: with the same Call-ID the CSeq must be higher.
    Strict,
    /// The same CSeq passes too: documents of another registrar.
    EqualPasses,
    /// Whatever it says: commands.
    Any,
}

/// Why a change was not made; the bindings are as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is older than what is stored.
    OutOfOrder,
    /// More contacts than an address may have.
    TooMany {
        /// How many it may have.
        limit: usize,
    },
    /// The shard's table is full.
    Full,
    /// There is no such address.
    NoAor,
    /// The address has no such contact.
    NoContact,
    /// Storage could not promise to keep it.
    NotDurable,
    /// The owner of the address did not answer in time.
    Unavailable,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::OutOfOrder => f.write_str("CSeq is not higher than before"),
            Refusal::TooMany { limit } => write!(f, "more than {limit} contacts"),
            Refusal::Full => f.write_str("the location table is full"),
            Refusal::NoAor => f.write_str("no such address"),
            Refusal::NoContact => f.write_str("no such contact"),
            Refusal::NotDurable => f.write_str("storage does not answer"),
            Refusal::Unavailable => f.write_str("the location does not answer"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What the table's settings say about plans.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlanRules {
    pub(crate) matching: Matching,
    pub(crate) cseq_delay: Duration,
    pub(crate) now: UnixTime,
}

/// What happens to the bindings of an address.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) insert: Vec<Contact>,
    /// By their places among the bindings.
    pub(crate) update: Vec<(usize, Contact)>,
    pub(crate) remove: Vec<usize>,
}

impl Plan {
    fn touches(&self, place: usize) -> bool {
        self.remove.contains(&place) || self.update.iter().any(|(updated, _)| *updated == place)
    }
}

/// Makes the plan for a change of these bindings.
pub(crate) fn plan(
    bindings: &[Contact],
    change: Change,
    rules: &PlanRules,
) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    match &change.wish {
        Wish::Query => return Ok(plan),
        Wish::RemoveAll => {
            for (place, binding) in bindings.iter().enumerate() {
                match age(binding, &change, rules)? {
                    Age::Newer => plan.remove.push(place),
                    Age::Repeated => {}
                }
            }
            return Ok(plan);
        }
        Wish::Remove(which) => {
            plan.remove = chosen(bindings, which)?;
            return Ok(plan);
        }
        Wish::Import { told, source, full } => {
            return import::plan(bindings, told, (*source, *full), rules);
        }
        Wish::Set(_) => {}
    }
    let (contacts_max, one_contact) = (change.contacts_max, change.one_contact);
    let mut kept = Vec::new();
    set(bindings, change, rules, &mut plan, &mut kept)?;
    if one_contact && plan.insert.len() + plan.update.len() + kept.len() > 0 {
        let others = (0..bindings.len()).filter(|at| !plan.touches(*at) && !kept.contains(at));
        let others: Vec<usize> = others.collect();
        plan.remove.extend(others);
    }
    check_count(bindings, &plan, (contacts_max, one_contact), rules.now)?;
    Ok(plan)
}

/// Plans each Contact value; `kept` gets the bindings that a retransmission names.
fn set(
    bindings: &[Contact],
    mut change: Change,
    rules: &PlanRules,
    plan: &mut Plan,
    kept: &mut Vec<usize>,
) -> Result<(), Refusal> {
    let Wish::Set(wanted) = std::mem::replace(&mut change.wish, Wish::Query) else {
        return Ok(());
    };
    for wanted in wanted {
        let found = bindings.iter().position(|old| is_same(old, wanted.contact(), rules.matching));
        if let Some(place) = found
            && let Some(binding) = bindings.get(place)
            && let Age::Repeated = age(binding, &change, rules)?
        {
            kept.push(place);
            continue;
        }
        match (wanted, found) {
            // Of two values for one binding the last counts.
            (Wanted::Bind(contact), Some(place)) if is_imported(bindings.get(place)) => {
                // It is registered here from this moment on, under a name that says so.
                if !plan.remove.contains(&place) {
                    plan.remove.push(place);
                }
                plan.insert.retain(|other| !is_same(other, &contact, rules.matching));
                plan.insert.push(contact);
            }
            (Wanted::Bind(contact), Some(place)) => {
                plan.remove.retain(|removed| *removed != place);
                plan.update.retain(|(updated, _)| *updated != place);
                plan.update.push((place, contact));
            }
            (Wanted::Bind(contact), None) => {
                plan.insert.retain(|other| !is_same(other, &contact, rules.matching));
                plan.insert.push(contact);
            }
            (Wanted::Unbind(contact), Some(place)) => {
                plan.insert.retain(|other| !is_same(other, &contact, rules.matching));
                plan.update.retain(|(updated, _)| *updated != place);
                if !plan.remove.contains(&place) {
                    plan.remove.push(place);
                }
            }
            (Wanted::Unbind(contact), None) => {
                plan.insert.retain(|other| !is_same(other, &contact, rules.matching));
            }
        }
    }
    Ok(())
}

fn is_imported(binding: Option<&Contact>) -> bool {
    binding.is_some_and(|binding| binding.facts.origin != Origin::Local)
}

pub(super) fn check_count(
    bindings: &[Contact],
    plan: &Plan,
    (contacts_max, one_contact): (usize, bool),
    now: UnixTime,
) -> Result<(), Refusal> {
    if plan.insert.is_empty() {
        return Ok(());
    }
    let stays = |(place, old): (usize, &Contact)| {
        (old.is_current(now) || plan.update.iter().any(|(at, _)| *at == place))
            && !plan.remove.contains(&place)
    };
    let after = bindings.iter().enumerate().filter(|old| stays(*old)).count() + plan.insert.len();
    let limit = match (one_contact, contacts_max) {
        (true, _) => 1,
        (false, 0) => CONTACTS_PER_AOR_MAX,
        (false, most) => most.min(CONTACTS_PER_AOR_MAX),
    };
    if after > limit { Err(Refusal::TooMany { limit }) } else { Ok(()) }
}

fn chosen(bindings: &[Contact], which: &Which) -> Result<Vec<usize>, Refusal> {
    if bindings.is_empty() {
        return Err(Refusal::NoAor);
    }
    let is_meant = |contact: &Contact| match which {
        Which::All => true,
        Which::Ruid(ruid) => contact.ruid() == &**ruid,
        Which::Uri(uri) => contact.has_uri(uri),
    };
    let places = bindings.iter().enumerate().filter(|(_, contact)| is_meant(contact));
    let places: Vec<usize> = places.map(|(place, _)| place).collect();
    if places.is_empty() { Err(Refusal::NoContact) } else { Ok(places) }
}

enum Age {
    Newer,
    /// A retransmission that its transaction did not absorb.
    Repeated,
}

/// RFC 3261 §10.3 step 7: whether the request is newer than what it wants to change.
fn age(binding: &Contact, change: &Change, rules: &PlanRules) -> Result<Age, Refusal> {
    if change.ordering == Ordering::Any || binding.texts().call_id != &*change.call_id {
        return Ok(Age::Newer);
    }
    let before = binding.facts.cseq;
    if change.cseq > before || (change.cseq == before && change.ordering == Ordering::EqualPasses) {
        return Ok(Age::Newer);
    }
    let recent = rules.now.since(binding.facts.modified) <= rules.cseq_delay;
    if change.cseq == before && recent { Ok(Age::Repeated) } else { Err(Refusal::OutOfOrder) }
}

/// Whether a contact of a request is this binding.
pub(super) fn is_same(old: &Contact, new: &Contact, matching: Matching) -> bool {
    let (before, after) = (old.texts(), new.texts());
    if !before.instance.is_empty() && !after.instance.is_empty() {
        // RFC 5626 §6: instance and reg-id name a binding, wherever it is.
        return before.instance == after.instance && old.facts.reg_id == new.facts.reg_id;
    }
    match matching {
        Matching::Uri => old.has_uri(after.uri),
        Matching::UriAndCallId => before.call_id == after.call_id && old.has_uri(after.uri),
        Matching::UriAndPath => before.path == after.path && old.has_uri(after.uri),
        Matching::CallId => before.call_id == after.call_id,
    }
}

#[cfg(test)]
mod tests {
    use super::super::contact::{Facts, Texts};
    use super::*;
    use strowger_sip::time::secs;

    const NOW: UnixTime = UnixTime::from_secs(1000);

    fn contact(uri: &str, call_id: &str, cseq: u32) -> Contact {
        let mut facts = Facts::new(NOW, Some(NOW + secs(60)));
        facts.cseq = cseq;
        let texts = Texts { uri: uri.as_bytes(), call_id: call_id.as_bytes(), ..Texts::default() };
        Contact::new(&texts, facts)
    }

    fn change(wish: Wish, cseq: u32) -> Change {
        Change {
            aor: Aor::new("bob").expect("a key"),
            wish,
            ordering: Ordering::Strict,
            call_id: (*b"c1").into(),
            cseq,
            contacts_max: 0,
            one_contact: false,
            quiet: false,
            presence: false,
        }
    }

    fn bind(uris: &[&str]) -> Wish {
        Wish::Set(uris.iter().map(|uri| Wanted::Bind(contact(uri, "c1", 5))).collect())
    }

    fn rules(matching: Matching) -> PlanRules {
        PlanRules { matching, cseq_delay: secs(20), now: NOW }
    }

    fn make(old: &[Contact], change: Change) -> Result<(usize, usize, usize), Refusal> {
        let plan = plan(old, change, &rules(Matching::Uri))?;
        Ok((plan.insert.len(), plan.update.len(), plan.remove.len()))
    }

    #[test]
    fn a_higher_cseq_updates_and_a_lower_one_is_refused() {
        let old = [contact("sip:b@h", "c1", 4)];
        assert_eq!(make(&old, change(bind(&["sip:b@H"]), 5)), Ok((0, 1, 0)));
        assert_eq!(make(&old, change(bind(&["sip:b@h"]), 3)), Err(Refusal::OutOfOrder));
        // Within the delay the same CSeq is a retransmission.
        assert_eq!(make(&old, change(bind(&["sip:b@h"]), 4)), Ok((0, 0, 0)));
        let mut stale = old.clone();
        stale[0].facts.modified = UnixTime::from_secs(900);
        assert_eq!(make(&stale, change(bind(&["sip:b@h"]), 4)), Err(Refusal::OutOfOrder));
        let other = [contact("sip:b@h", "c2", 9)];
        assert_eq!(make(&other, change(bind(&["sip:b@h"]), 1)), Ok((0, 1, 0)));
    }

    #[test]
    fn one_old_contact_spoils_the_whole_request() {
        let old = [contact("sip:b@h", "c1", 9)];
        let wish = bind(&["sip:new@h", "sip:b@h"]);
        assert_eq!(make(&old, change(wish, 5)), Err(Refusal::OutOfOrder));
        assert_eq!(make(&old, change(Wish::RemoveAll, 5)), Err(Refusal::OutOfOrder));
        assert_eq!(make(&old, change(Wish::RemoveAll, 10)), Ok((0, 0, 1)));
    }

    #[test]
    fn one_address_twice_is_one_binding() {
        assert_eq!(make(&[], change(bind(&["sip:b@h", "sip:b@H"]), 5)), Ok((1, 0, 0)));
        let old = [contact("sip:b@h", "c1", 4)];
        assert_eq!(make(&old, change(bind(&["sip:b@h", "sip:b@h"]), 5)), Ok((0, 1, 0)));
        let both = Wish::Set(vec![
            Wanted::Bind(contact("sip:b@h", "c1", 5)),
            Wanted::Unbind(contact("sip:b@h", "c1", 5)),
        ]);
        assert_eq!(make(&old, change(both.clone(), 5)), Ok((0, 0, 1)));
        assert_eq!(make(&[], change(both, 5)), Ok((0, 0, 0)));
    }

    #[test]
    fn too_many_contacts_are_refused_and_refreshing_is_not() {
        let old = [contact("sip:b@h", "c1", 4)];
        let limited = |wish| Change { contacts_max: 1, ..change(wish, 5) };
        let refusal = Err(Refusal::TooMany { limit: 1 });
        assert_eq!(make(&old, limited(bind(&["sip:c@h"]))), refusal);
        assert_eq!(make(&old, limited(bind(&["sip:b@h"]))), Ok((0, 1, 0)));
        let uris: Vec<String> = (0..500).map(|n| format!("sip:b@h{n}")).collect();
        let uris: Vec<&str> = uris.iter().map(String::as_str).collect();
        let refusal = Err(Refusal::TooMany { limit: CONTACTS_PER_AOR_MAX });
        assert_eq!(make(&old, change(bind(&uris), 5)), refusal);
    }

    #[test]
    fn one_contact_replaces_all_others() {
        let old = [contact("sip:b@h", "c1", 4), contact("sip:c@h", "c9", 4)];
        let single = |wish| Change { one_contact: true, ..change(wish, 5) };
        assert_eq!(make(&old, single(bind(&["sip:new@h"]))), Ok((1, 0, 2)));
        assert_eq!(make(&old, single(bind(&["sip:b@h"]))), Ok((0, 1, 1)));
    }

    #[test]
    fn instance_and_reg_id_win_over_the_uri() {
        let mut old = contact("sip:b@h1", "c1", 4);
        old = old.with_texts(&Texts { instance: b"urn:uuid:1", ..old.texts() });
        let new = contact("sip:b@h2", "c2", 1);
        let mut new = new.with_texts(&Texts { instance: b"urn:uuid:1", ..new.texts() });
        assert!(is_same(&old, &new, Matching::Uri));
        new.facts.reg_id = 1;
        assert!(!is_same(&old, &new, Matching::Uri));
        let plain = contact("sip:b@h1", "c2", 1);
        assert!(is_same(&old, &plain, Matching::Uri));
        assert!(!is_same(&old, &plain, Matching::UriAndCallId));
    }

    #[test]
    fn what_is_not_there_cannot_be_removed_by_name() {
        let remove = |which| change(Wish::Remove(which), 1);
        assert_eq!(make(&[], remove(Which::All)), Err(Refusal::NoAor));
        let old = [contact("sip:b@h", "c1", 4)];
        assert_eq!(make(&old, remove(Which::Ruid("x".into()))), Err(Refusal::NoContact));
        assert_eq!(make(&old, remove(Which::Uri((*b"sip:b@h").into()))), Ok((0, 0, 1)));
    }
}
