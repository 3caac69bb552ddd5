//! What the counts and commands of this module mean, for `/metrics` and the listing of commands.
//!
//! Not here: counting (`mod.rs`), answering (`reg/command.rs`).

use strowger_sip::module::{CommandNote, MetricNote};

pub(super) const METRICS: &[MetricNote] = &[
    MetricNote::counter("uac_challenges_answered", "Challenges answered for a relayed request."),
    MetricNote::counter("uac_replaced", "Requests whose From or To was replaced."),
    MetricNote::counter("uac_requests_sent", "Requests sent for the routing."),
    MetricNote::counter("uac_requests_failed", "Requests sent for the routing that failed."),
    MetricNote::counter("uac_registers_sent", "REGISTER requests sent."),
    MetricNote::counter("uac_reg_successes", "Registrations that were accepted."),
    MetricNote::counter("uac_reg_failures", "Registrations that were refused."),
    MetricNote::counter("uac_reg_auth_failures", "Registrations refused for their credentials."),
    MetricNote::counter("uac_reg_timeouts", "Registrations that nobody answered."),
    MetricNote::counter("uac_reg_failovers", "Registrations that went on to another address."),
    MetricNote::counter("uac_reg_rows_refused", "Rows of storage that could not be used."),
    MetricNote::counter("uac_sockets_unknown", "Registrations whose socket is none of ours."),
    MetricNote::counter("uac_reg_latency_ms", "Time that accepted registrations took together."),
    MetricNote::gauge("uac_regtotal", "Registrations that are known."),
    MetricNote::gauge("uac_regactive", "Registrations that are in force."),
    MetricNote::gauge("uac_regdisabled", "Registrations that are switched off."),
    MetricNote::gauge("uac_reg_ongoing", "Registrations that are being made."),
    MetricNote::gauge("uac_reg_waiting", "Registrations that wait for their turn."),
    MetricNote::gauge("uac_reg_leaving", "Registrations that are being ended."),
];

pub(super) const COMMANDS: &[CommandNote] = &[
    CommandNote::each("uac.reg_dump", "", "Shows every registration."),
    CommandNote::each("uac.reg_info", "attr val", "Shows the registration with this attribute."),
    CommandNote::each("uac.reg_enable", "attr val", "Switches a registration on."),
    CommandNote::each("uac.reg_disable", "attr val", "Switches a registration off."),
    CommandNote::each("uac.reg_register", "attr val", "Registers at once."),
    CommandNote::each("uac.reg_unregister", "attr val", "Ends a registration."),
    CommandNote::each("uac.reg_reload", "", "Reads the registrations of storage again."),
    CommandNote::each("uac.reg_refresh", "l_uuid", "Reads one registration of storage again."),
    CommandNote::each("uac.reg_active", "active", "Switches registering on (1) or off (0)."),
    CommandNote::each(
        "uac.reg_add",
        "l_uuid l_username l_domain r_username r_domain realm auth_username auth_password \
         auth_ha1 auth_proxy expires flags reg_delay socket contact_addr contact_user?",
        "Adds a registration until the restart; a dot stands for nothing.",
    ),
    CommandNote::each("uac.reg_remove", "l_uuid", "Forgets a registration."),
    CommandNote::each("uac.reg_faults", "", "Shows the rows that are left out, and why."),
];
