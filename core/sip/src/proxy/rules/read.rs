//! Reading the rules: `[tm]`, `[rr]` and `[overload]`, under Kamailio's names.
//!
//! For: every parameter of its `tm` and `rr` that is no timer. What has no meaning here is refused
//! with a word on where it went, never ignored.
//! Not here: what the rules do.

use super::{
    CancelUnanswered, DoubleRecordRoute, EarlierReplies, ErrorMap, OverloadRules, RecordRoute,
    Rules, UnmatchedCancel,
};
use crate::blocklist::{BlocklistRules, ENTRY_BYTES};
use crate::message::{Method, MethodKind, StatusCode};
use crate::settings::{Section, Unit};
use crate::time::{Duration, ms, secs};

/// Parameters of `tm` that a script needed and a routing does not, with what to use instead.
const ELSEWHERE: [(&str, &str); 7] = [
    ("fr_timer_avp", "a relay's `.no_answer_after(span)`"),
    ("fr_inv_timer_avp", "a relay's `.ring_for(span)`"),
    ("contacts_avp", "one `request.fork()` for each group of contacts"),
    ("unix_tx_timeout", "the control plane's own time-outs"),
    ("delayed_reply", "nothing: a routing that ends without an answer is answered for at its end"),
    ("pass_provisional_replies", "`Routing::response`, which sees every provisional response"),
    ("noisy_ctimer", "nothing: a branch that rings too long is always cancelled and answered for"),
];

impl Rules {
    /// Reads `[tm]`; the timers in it are for somebody else, `[rr]` has a reader of its own.
    pub fn read(tm: &mut Section<'_>) -> Rules {
        for (key, instead) in ELSEWHERE {
            if tm.is_set(key) {
                tm.problem(key, "there is no such setting here", &format!("use {instead}"));
            }
        }
        let default = Rules::default();
        let hour = ms(1)..=secs(3600);
        let earlier = [
            ("keep", EarlierReplies::Keep),
            ("drop_all", EarlierReplies::Drop),
            ("drop_last", EarlierReplies::DropLast),
            ("drop", EarlierReplies::Drop),
        ];
        let unanswered = [
            ("end_now", CancelUnanswered::EndNow),
            ("wait", CancelUnanswered::Wait),
            ("send_now", CancelUnanswered::SendNow),
        ];
        let unmatched = [
            ("stateful", UnmatchedCancel::Stateful),
            ("stateless", UnmatchedCancel::Stateless),
            ("drop", UnmatchedCancel::Drop),
            ("refuse", UnmatchedCancel::Refuse),
        ];
        let map = [("rfc", ErrorMap::Rfc), ("kamailio", ErrorMap::Kamailio)];
        Rules {
            restart_fr_on_each_reply: tm.switch("restart_fr_on_each_reply", true),
            fr_inv_timer_next: tm.duration(
                "fr_inv_timer_next",
                default.fr_inv_timer_next,
                hour,
                Unit::Milliseconds,
            ),
            auto_inv_100: tm.switch("auto_inv_100", true),
            relay_100: tm.switch("relay_100", false),
            reply_408_code: reply_408_code(tm),
            reply_408_reason: tm.string("reply_408_reason"),
            remap_503_500: tm.switch("remap_503_500", true),
            faked_reply_prio: u16::try_from(tm.integer("faked_reply_prio", 0, 0..=10_000))
                .unwrap_or(0),
            failure_reply_mode: tm.mode("failure_reply_mode", default.failure_reply_mode, &earlier),
            aggregate_challenges: tm.switch("aggregate_challenges", true),
            disable_6xx_block: tm.switch("disable_6xx_block", false),
            unmatched_cancel: tm.mode("unmatched_cancel", default.unmatched_cancel, &unmatched),
            cancel_b_method: tm.mode("cancel_b_method", default.cancel_b_method, &unanswered),
            e2e_cancel_reason: tm.switch("e2e_cancel_reason", true),
            local_cancel_reason: tm.switch("local_cancel_reason", true),
            error_map: tm.choice("error_map", default.error_map, &map),
            ruri_matching: tm.switch("ruri_matching", true),
            via1_matching: tm.switch("via1_matching", true),
            callid_matching: tm.switch("callid_matching", false),
            record_route: default.record_route,
        }
    }
}

/// A final status that says that nobody answered: any of 4xx to 6xx.
fn reply_408_code(tm: &mut Section<'_>) -> StatusCode {
    let code = tm.integer("reply_408_code", 408, 400..=699);
    u16::try_from(code).ok().and_then(StatusCode::new).unwrap_or(StatusCode::REQUEST_TIMEOUT)
}

impl RecordRoute {
    /// Reads `[rr]`.
    pub fn read(rr: &mut Section<'_>) -> RecordRoute {
        let default = RecordRoute::default();
        let mode = rr.integer("loose_route_mode", 0, 0..=3);
        let double = [
            ("never", DoubleRecordRoute::Never),
            ("when_different", DoubleRecordRoute::WhenDifferent),
            ("always", DoubleRecordRoute::Always),
        ];
        RecordRoute {
            append_fromtag: rr.switch("append_fromtag", true),
            double: rr.mode("enable_double_rr", default.double, &double),
            full_lr: rr.switch("enable_full_lr", false),
            add_username: rr.switch("add_username", false),
            strict_recovery: mode & 1 == 0,
            flow_tokens: mode & 2 == 0,
        }
    }
}

impl OverloadRules {
    /// Reads `[overload]`.
    pub fn read(section: &mut Section<'_>) -> OverloadRules {
        let default = OverloadRules::default();
        let span = Duration::ZERO..=secs(60);
        let bound = default.queueing_delay.unwrap_or_default();
        let bound = section.duration("queueing_delay", bound, span.clone(), Unit::Milliseconds);
        let seconds = section.integer("retry_after", default.retry_after_seconds.into(), 1..=3600);
        OverloadRules {
            queueing_delay: (!bound.is_zero()).then_some(bound),
            interval: section.duration("interval", default.interval, span, Unit::Milliseconds),
            methods: methods(section, "methods", OverloadRules::method).unwrap_or(default.methods),
            retry_after_seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
        }
    }
}

impl BlocklistRules {
    /// Reads `use_dst_blocklist` and its kin from `[tm]`; `None` unless it is on.
    pub fn read(tm: &mut Section<'_>) -> Option<BlocklistRules> {
        let default = BlocklistRules::default();
        let on = tm.switch("use_dst_blocklist", false);
        let span = secs(1)..=secs(86_400);
        let kib = tm.integer("dst_blocklist_mem", 250, 1..=1 << 20);
        let by_503 = tm.switch("blst_503", false);
        let mut of_503 = |key, seconds| {
            tm.duration(key, secs(seconds), Duration::ZERO..=secs(86_400), Unit::Seconds)
        };
        let times = [
            of_503("blst_503_min_timeout", 0),
            of_503("blst_503_max_timeout", 3600),
            of_503("blst_503_def_timeout", 0),
        ];
        let any = |name: &str| Ok(Method::from_bytes(name.as_bytes()).kind());
        let rules = BlocklistRules {
            expire: tm.duration("dst_blocklist_expire", default.expire, span, Unit::Seconds),
            entries_max: usize::try_from(kib << 10).unwrap_or(usize::MAX) / ENTRY_BYTES,
            on_503: by_503.then_some(times),
            methods_add: methods(tm, "blst_methods_add", any).unwrap_or(default.methods_add),
            methods_lookup: methods(tm, "blst_methods_lookup", any),
        };
        on.then_some(rules)
    }
}

/// A list of method names.
fn methods(
    section: &mut Section<'_>,
    key: &'static str,
    read: impl Fn(&str) -> Result<MethodKind, String>,
) -> Option<Vec<MethodKind>> {
    let mut methods = Vec::new();
    for text in section.strings(key)? {
        match read(&text.value) {
            Ok(MethodKind::Other) => {
                let what = format!("{:?} is not a method that is known", text.value);
                section.problem_at(text.place, key, what, "for example \"INVITE\"");
            }
            Ok(kind) => methods.push(kind),
            Err(allowed) => {
                let what = format!("{:?} cannot be used", text.value);
                section.problem_at(text.place, key, what, &allowed);
            }
        }
    }
    Some(methods)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Configuration, Place, Value};

    fn read(keys: &[(&str, Value)]) -> (Rules, Option<BlocklistRules>, String) {
        let mut configuration = Configuration::empty("t");
        for (key, value) in keys {
            configuration.set("tm", key, Place::default(), value.clone());
        }
        let ((rules, list), problems) = configuration.read(|root| {
            let mut tm = root.section("tm");
            (Rules::read(&mut tm), BlocklistRules::read(&mut tm))
        });
        (rules, list, problems.to_string())
    }

    fn text(value: &str) -> Value {
        Value::String(value.to_owned())
    }

    #[test]
    fn nothing_written_is_the_default() {
        let (rules, list, problems) = read(&[]);
        assert_eq!((rules, list, problems.as_str()), (Rules::default(), None, ""));
    }

    #[test]
    fn modes_are_kamailios_numbers_or_words() {
        let (rules, _, problems) = read(&[
            ("failure_reply_mode", Value::Integer(2)),
            ("cancel_b_method", Value::Integer(0)),
            ("unmatched_cancel", text("drop")),
            ("error_map", text("kamailio")),
            ("relay_100", Value::Boolean(true)),
            ("reply_408_code", Value::Integer(480)),
        ]);
        assert_eq!(problems, "");
        assert_eq!(rules.failure_reply_mode, EarlierReplies::DropLast);
        assert_eq!(rules.cancel_b_method, CancelUnanswered::EndNow);
        assert_eq!(rules.unmatched_cancel, UnmatchedCancel::Drop);
        assert_eq!(rules.error_map, ErrorMap::Kamailio);
        assert_eq!((rules.relay_100, rules.reply_408_code.code()), (true, 480));
    }

    #[test]
    fn what_has_no_place_here_says_where_it_went() {
        let (_, _, problems) = read(&[
            ("fr_timer_avp", text("$avp(x)")),
            ("failure_reply_mode", Value::Integer(4)),
            ("reply_408_code", Value::Integer(200)),
        ]);
        assert_eq!(problems.lines().count(), 3, "{problems}");
        assert!(problems.contains("use a relay's `.no_answer_after(span)`"), "{problems}");
        assert!(problems.contains("\"drop_last\""), "{problems}");
    }

    #[test]
    fn the_blocklist_is_off_unless_switched_on() {
        let by_503 = ("blst_503", Value::Integer(1));
        assert_eq!(read(std::slice::from_ref(&by_503)).1, None);
        let on = ("use_dst_blocklist", Value::Integer(1));
        let wrong = ("blst_methods_add", text("INVTE"));
        let (_, list, problems) = read(&[on, by_503, wrong]);
        let list = list.expect("switched on");
        assert_eq!(list.on_503, Some([Duration::ZERO, secs(3600), Duration::ZERO]));
        assert!(problems.contains("INVTE"), "{problems}");
    }
}
