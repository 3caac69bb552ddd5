//! What the counts and commands of this module mean, for `/metrics` and the listing of commands.
//!
//! Not here: counting (`mod.rs`), answering.

use strowger_sip::module::{CommandNote, MetricNote};

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::gauge("dialog_active_dialogs", "Dialogs that are answered."),
    MetricNote::gauge("dialog_early_dialogs", "Dialogs that ring."),
    MetricNote::counter("dialog_processed_dialogs", "Dialogs that were begun."),
    MetricNote::counter(
        "dialog_expired_dialogs",
        "Dialogs that reached the end of their lifetime.",
    ),
    MetricNote::counter("dialog_failed_dialogs", "Dialogs that were never answered."),
    MetricNote::counter("dialog_ended_caller_bye", "Dialogs that ended by a BYE of the caller."),
    MetricNote::counter("dialog_ended_callee_bye", "Dialogs that ended by a BYE of the callee."),
    MetricNote::counter("dialog_ended_timeout", "Dialogs that ended by the end of their lifetime."),
    MetricNote::counter("dialog_ended_admin", "Dialogs that ended by a command."),
    MetricNote::counter("dialog_ended_script", "Dialogs that ended by the routing."),
    MetricNote::counter(
        "dialog_ended_keepalive",
        "Dialogs that ended by a party that did not answer keep-alives.",
    ),
    MetricNote::counter("dialog_ended_noack", "Dialogs that ended by an ACK that never came."),
    MetricNote::counter(
        "dialog_ended_session_expired",
        "Dialogs that ended by a session timer that was not refreshed.",
    ),
    MetricNote::counter(
        "dialog_ended_extra_answer",
        "Dialogs that ended by another answer of a forked call.",
    ),
    MetricNote::counter(
        "dialog_bogus_events",
        "Messages that did not fit the state of their dialog.",
    ),
    MetricNote::counter(
        "dialog_unmatched_requests",
        "Requests within a dialog that is not known here.",
    ),
    MetricNote::counter("dialog_incomplete_answers", "Answers that lack what a dialog needs."),
    MetricNote::counter("dialog_limits_reached", "Calls refused because a profile was full."),
    MetricNote::counter("dialog_early_timeouts", "Dialogs given up because they rang too long."),
    MetricNote::counter("dialog_unsent_requests", "Requests of our own that could not be sent."),
    MetricNote::counter(
        "dialog_overdue_dialogs",
        "Dialogs that outlived their lifetime and were removed.",
    ),
    MetricNote::counter("dialog_rows_refused", "Rows of storage that could not be used."),
    MetricNote::counter("dialog_rows_too_long", "Rows with a value that its column cannot hold."),
    MetricNote::gauge("dialog_answers_held", "Answers that wait for storage."),
    MetricNote::counter(
        "dialog_answers_not_promised",
        "Answers that went upstream without waiting for storage.",
    ),
    MetricNote::counter("dialog_answers_not_durable", "Answers that storage did not keep."),
    MetricNote::histogram("dialog_ringing_seconds", "From the INVITE until it rings."),
    MetricNote::histogram("dialog_answer_seconds", "From the INVITE until it is answered."),
    MetricNote::histogram("dialog_lasted_seconds", "From the answer until the end."),
    MetricNote::gauge("dialog_profile_size", "Calls in a profile, if `profile_gauges` is set."),
];

pub(super) const COMMANDS: &[CommandNote] = &[
    CommandNote::pages("dialogs", "dlg.list", "limit?=0 next?", "Lists dialogs."),
    CommandNote::pages(
        "dialogs",
        "dlg.list_ctx",
        "limit?=0 next?",
        "Lists dialogs, each with its context.",
    ),
    CommandNote::pages(
        "dialogs",
        "dlg.list_match",
        "key op value limit?=0 next?",
        "Lists dialogs by ruri, furi, turi or callid (eq, re, sw) or start_ts (gt, lt).",
    ),
    CommandNote::pages(
        "dialogs",
        "dlg.list_match_ctx",
        "key op value limit?=0 next?",
        "The same, each with its context.",
    ),
    CommandNote::each("dlg.dlg_list", "callid from_tag?", "Shows the dialog of a Call-ID."),
    CommandNote::each("dlg.dlg_list_ctx", "callid from_tag?", "The same with its context."),
    CommandNote::each(
        "dlg_list",
        "callid? from_tag?",
        "Older name of dlg.list and dlg.dlg_list; the first page only.",
    ),
    CommandNote::each(
        "dlg_list_ctx",
        "callid? from_tag?",
        "Older name of dlg.list_ctx and dlg.dlg_list_ctx; the first page only.",
    ),
    CommandNote::pages(
        "dialogs",
        "dlg.briefing",
        "format?=ftcFT limit?=0 next?",
        "Lists dialogs by the fields that the letters ftcFTISEs name.",
    ),
    CommandNote::pages(
        "dialogs",
        "dlg.dump_file",
        "path limit?=0 next?",
        "Appends every dialog to a file, a line of JSON each.",
    ),
    CommandNote::each(
        "dlg.end_dlg",
        "h_entry h_id headers?",
        "Ends a dialog by BYE to both parties.",
    ),
    CommandNote::each("dlg_end_dlg", "h_entry h_id headers?", "Older name of dlg.end_dlg."),
    CommandNote::each(
        "dlg.terminate_dlg",
        "callid ftag ttag",
        "Ends a dialog by BYE to both parties.",
    ),
    CommandNote::each(
        "dlg_terminate_dlg",
        "callid ftag? ttag?",
        "Older name of dlg.terminate_dlg.",
    ),
    CommandNote::each(
        "dlg.set_state",
        "callid ftag ttag state?=5",
        "Sets the state of a dialog and sends nothing.",
    ),
    CommandNote::each("dlg.is_alive", "callid ftag ttag", "Says whether a dialog is confirmed."),
    CommandNote::each("dlg.profile_get_size", "profile value?", "Counts the dialogs of a profile."),
    CommandNote::each("profile_get_size", "profile value?", "Older name of dlg.profile_get_size."),
    CommandNote::pages(
        "dialogs",
        "dlg.profile_list",
        "profile value?= limit?=0 next?",
        "Lists the dialogs of a profile.",
    ),
    CommandNote::pages(
        "dialogs",
        "profile_list_dlgs",
        "profile value?= limit?=0 next?",
        "Older name of dlg.profile_list.",
    ),
    CommandNote::pages(
        "values",
        "dlg.profile_values",
        "profile limit?=0 next?",
        "Counts the dialogs of each value of a profile.",
    ),
    CommandNote::each(
        "dlg.bridge_dlg",
        "from to outbound_proxy?=. body?=. mode?",
        "Calls two parties and connects them, by refer or 3pcc; answers with a name for it.",
    ),
    CommandNote::each("dlg.bridge_status", "bridge", "Says how far dlg.bridge_dlg has come."),
    CommandNote::each("dlg_bridge", "from to outbound_proxy?", "Older name of dlg.bridge_dlg."),
    CommandNote::each("dlg.stats_active", "", "Counts dialogs by state."),
    CommandNote::each(
        "dlg.db_load_callid",
        "callid",
        "Loads the dialogs of a Call-ID from storage.",
    ),
    CommandNote::each(
        "dlg.db_load_extra",
        "",
        "Loads every dialog of storage that is not known here.",
    ),
];
