//! What another registrar's document does to an address.
//!
//! For: the plan of [`super::Wish::Import`].
//! Not here: reading documents (`pua_reginfo/`), plans of requests (`change.rs`).
//! Invariants: no contact that was registered here is touched; of the imported ones, `full` removes
//! those of its own source alone.

use super::change::{Plan, PlanRules, Refusal, Wanted, check_count, is_same};
use super::contact::{Contact, Origin, Source};

/// Plans what was told.
pub(super) fn plan(
    bindings: &[Contact],
    told: &[Wanted],
    (source, full): (Source, bool),
    rules: &PlanRules,
) -> Result<Plan, Refusal> {
    let mut plan = Plan::default();
    let mut named = Vec::new();
    for wanted in told {
        let (Wanted::Bind(contact) | Wanted::Unbind(contact)) = wanted;
        let found = bindings.iter().position(|old| is_same(old, contact, rules.matching));
        let old = found.and_then(|place| Some((place, bindings.get(place)?)));
        match (wanted, old) {
            (_, Some((_, old))) if old.facts.origin == Origin::Local => {}
            (Wanted::Bind(contact), Some((place, old))) => {
                named.push(place);
                plan.remove.retain(|removed| *removed != place);
                plan.update.retain(|(updated, _)| *updated != place);
                if !is_older(contact, old) {
                    plan.update.push((place, contact.clone()));
                }
            }
            (Wanted::Unbind(_), Some((place, _))) => {
                named.push(place);
                plan.update.retain(|(updated, _)| *updated != place);
                if !plan.remove.contains(&place) {
                    plan.remove.push(place);
                }
            }
            (Wanted::Bind(contact), None) => {
                plan.insert.retain(|other| !is_same(other, contact, rules.matching));
                plan.insert.push(contact.clone());
            }
            (Wanted::Unbind(contact), None) => {
                plan.insert.retain(|other| !is_same(other, contact, rules.matching));
            }
        }
    }
    if full {
        let own = |binding: &Contact| binding.facts.origin == Origin::Imported(source);
        let forgotten = bindings.iter().enumerate().filter(|(_, binding)| own(binding));
        let forgotten = forgotten.map(|(place, _)| place).filter(|place| !named.contains(place));
        plan.remove.extend(forgotten);
    }
    check_count(bindings, &plan, (0, false), rules.now)?;
    Ok(plan)
}

/// Whether what is told is older than what is known of the same registration.
fn is_older(told: &Contact, known: &Contact) -> bool {
    told.texts().call_id == known.texts().call_id && told.facts.cseq < known.facts.cseq
}

#[cfg(test)]
mod tests {
    use super::super::contact::{Facts, Texts};
    use super::super::settings::Matching;
    use super::*;
    use strowger_sip::date::UnixTime;
    use strowger_sip::time::secs;

    const NOW: UnixTime = UnixTime::from_secs(1000);
    const HERE: Source = Source(1);

    fn contact(uri: &str, cseq: u32, origin: Origin) -> Contact {
        let mut facts = Facts::new(NOW, Some(NOW + secs(60)));
        (facts.cseq, facts.origin) = (cseq, origin);
        Contact::new(&Texts { uri: uri.as_bytes(), call_id: b"c", ..Texts::default() }, facts)
    }

    /// Places removed and updated, and how many are inserted.
    fn planned(
        bindings: &[Contact],
        told: &[Wanted],
        full: bool,
    ) -> (Vec<usize>, Vec<usize>, usize) {
        let rules = PlanRules { matching: Matching::Uri, cseq_delay: secs(20), now: NOW };
        let plan = plan(bindings, told, (HERE, full), &rules).expect("a plan");
        let updated = plan.update.iter().map(|(place, _)| *place).collect();
        (plan.remove, updated, plan.insert.len())
    }

    #[test]
    fn a_full_document_removes_what_its_source_tells_no_longer() {
        let imported = Origin::Imported(HERE);
        let elsewhere = Origin::Imported(Source(2));
        let known = [
            contact("sip:b@h1", 5, imported),
            contact("sip:b@h2", 5, imported),
            contact("sip:b@h3", 5, Origin::Local),
            contact("sip:b@h4", 5, elsewhere),
        ];
        let bind = |uri, cseq| Wanted::Bind(contact(uri, cseq, imported));
        assert_eq!(planned(&known, &[bind("sip:b@h1", 5)], true), (vec![1], vec![0], 0));
        assert_eq!(planned(&known, &[bind("sip:b@h1", 5)], false), (vec![], vec![0], 0));
        assert_eq!(planned(&known, &[], true), (vec![0, 1], vec![], 0));
        // An older state of a contact does not remove it, and does not count.
        assert_eq!(planned(&known, &[bind("sip:b@h1", 4)], true), (vec![1], vec![], 0));
        assert_eq!(planned(&known, &[bind("sip:b@h5", 4)], false), (vec![], vec![], 1));
    }

    #[test]
    fn what_is_registered_here_is_not_touched() {
        let known = [contact("sip:b@h", 5, Origin::Local)];
        let told = || contact("sip:b@h", 9, Origin::Imported(HERE));
        let nothing = (vec![], vec![], 0);
        assert_eq!(planned(&known, &[Wanted::Bind(told())], true), nothing);
        assert_eq!(planned(&known, &[Wanted::Unbind(told())], true), nothing);
    }

    #[test]
    fn more_contacts_than_an_address_may_have_are_refused() {
        let many = (0..300).map(|n| contact(&format!("sip:b@h{n}"), 1, Origin::Imported(HERE)));
        let told: Vec<Wanted> = many.map(Wanted::Bind).collect();
        let rules = PlanRules { matching: Matching::Uri, cseq_delay: secs(20), now: NOW };
        let refused = plan(&[], &told, (HERE, true), &rules);
        assert!(matches!(refused, Err(Refusal::TooMany { limit: 256 })));
    }
}
