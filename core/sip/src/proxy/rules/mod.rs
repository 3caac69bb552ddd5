//! What a proxy may decide one way or the other: the switches of Kamailio's `tm` and `rr`.
//!
//! For: one place that names each with its default and its meaning here.
//! Not here: timers (`transaction/timer.rs`), bounds (`limits.rs`), reading them (`read.rs`).

mod read;

use crate::message::{Method, MethodKind, StatusCode};
use crate::time::{Duration, secs};

/// Rules of relaying; the default is what RFC 3261 asks for where it says anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// `restart_fr_on_each_reply`: every provisional response restarts timer C (§16.7 step 2).
    /// Without it, only the first one and one with a higher status from 180 do.
    pub restart_fr_on_each_reply: bool,
    /// `fr_inv_timer_next`: how long a group of contacts may ring while another group is left.
    pub fr_inv_timer_next: Duration,
    /// `auto_inv_100`: an INVITE gets its 100 at once.
    pub auto_inv_100: bool,
    /// `relay_100`: a 100 from downstream goes upstream too.
    pub relay_100: bool,
    /// `reply_408_code`: what stands for a branch that did not answer.
    pub reply_408_code: StatusCode,
    /// `reply_408_reason`: its reason phrase, where it is not the usual one.
    pub reply_408_reason: Option<String>,
    /// `remap_503_500`: a 503 from downstream goes upstream as 500 (§16.7 step 6).
    pub remap_503_500: bool,
    /// `faked_reply_prio`: added to the rank of a status that stands for no response, so that
    /// real ones win.
    pub faked_reply_prio: u16,
    /// `failure_reply_mode`: which responses of earlier rounds take part in the next choice.
    pub failure_reply_mode: EarlierReplies,
    /// `aggregate_challenges`: a 401 or 407 carries the challenges of all branches (§16.7 step 7).
    pub aggregate_challenges: bool,
    /// `disable_6xx_block`: a 6xx does not end the other branches of its round.
    pub disable_6xx_block: bool,
    /// `unmatched_cancel`: what becomes of a CANCEL without its INVITE.
    pub unmatched_cancel: UnmatchedCancel,
    /// `cancel_b_method`: how a branch is cancelled that has not answered at all.
    pub cancel_b_method: CancelUnanswered,
    /// `e2e_cancel_reason`: a caller's Reason goes on in the CANCELs that follow from it.
    pub e2e_cancel_reason: bool,
    /// `local_cancel_reason`: CANCELs of our own say why (RFC 3326).
    pub local_cancel_reason: bool,
    /// `error_map`: the status of a branch that could not be sent.
    pub error_map: ErrorMap,
    /// `ruri_matching`: transactions without an RFC 3261 branch are told apart by Request-URI.
    pub ruri_matching: bool,
    /// `via1_matching`: and by their top Via.
    pub via1_matching: bool,
    /// `callid_matching`: transactions with an RFC 3261 branch are told apart by Call-ID too.
    pub callid_matching: bool,
    /// `[rr]`: how Record-Route entries are written.
    pub record_route: RecordRoute,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            restart_fr_on_each_reply: true,
            fr_inv_timer_next: secs(30),
            auto_inv_100: true,
            relay_100: false,
            reply_408_code: StatusCode::REQUEST_TIMEOUT,
            reply_408_reason: None,
            remap_503_500: true,
            faked_reply_prio: 0,
            failure_reply_mode: EarlierReplies::Drop,
            aggregate_challenges: true,
            disable_6xx_block: false,
            unmatched_cancel: UnmatchedCancel::Refuse,
            cancel_b_method: CancelUnanswered::Wait,
            e2e_cancel_reason: true,
            local_cancel_reason: true,
            error_map: ErrorMap::Rfc,
            ruri_matching: true,
            via1_matching: true,
            callid_matching: false,
            record_route: RecordRoute::default(),
        }
    }
}

/// Which responses of earlier rounds take part when the best one is chosen (`failure_reply_mode`,
/// `t_drop_replies`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierReplies {
    /// All of them.
    Keep,
    /// All but those of the round just before.
    DropLast,
    /// None: a new round discards them.
    Drop,
}

/// What becomes of a CANCEL without its INVITE (`unmatched_cancel`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnmatchedCancel {
    /// It gets 481 (RFC 3261 §9.2).
    Refuse,
    /// The routing sees it like any request, in a transaction of its own.
    Stateful,
    /// The routing sees it, and it goes on without a transaction (§16.11).
    Stateless,
    /// It is dropped.
    Drop,
}

/// How a branch is cancelled whose INVITE has had no response (`cancel_b_method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CancelUnanswered {
    /// It ends with 487 at once; should it ring later, it is cancelled then.
    EndNow,
    /// The CANCEL goes out when the first provisional response comes (§9.1).
    Wait,
    /// The CANCEL goes out at once, against §9.1; for peers that never answer provisionally.
    SendNow,
}

/// The status of a branch that could not be sent (`error_map`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorMap {
    /// Those of RFC 3261: 503, 404, 400.
    Rfc,
    /// Kamailio's: 477 not sent, 478 unresolvable, 479 unusable.
    Kamailio,
}

impl ErrorMap {
    /// The status for one that could not be sent.
    pub(crate) fn not_sent(self) -> StatusCode {
        self.pick(StatusCode::SERVICE_UNAVAILABLE, 477)
    }

    /// The status in place of this one, under Kamailio's number.
    pub(crate) fn pick(self, rfc: StatusCode, kamailio: u16) -> StatusCode {
        match self {
            ErrorMap::Rfc => rfc,
            ErrorMap::Kamailio => StatusCode::new(kamailio).unwrap_or(rfc),
        }
    }
}

/// How Record-Route entries are written (`[rr]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRoute {
    /// `append_fromtag`: `;ftag=`, by which later requests show their direction.
    pub append_fromtag: bool,
    /// `enable_double_rr`: when there are two entries.
    pub double: DoubleRecordRoute,
    /// `enable_full_lr`: `;lr=on`, for peers that want a value.
    pub full_lr: bool,
    /// `add_username`: the user part of the Request-URI before the address.
    pub add_username: bool,
    /// `loose_route_mode` without bit 1: recover from a strict router before us (RFC 3261 §16.4).
    pub strict_recovery: bool,
    /// `loose_route_mode` without bit 2: flow tokens in Route lead back over their flow (RFC 5626).
    pub flow_tokens: bool,
}

impl Default for RecordRoute {
    fn default() -> RecordRoute {
        let double = DoubleRecordRoute::WhenDifferent;
        RecordRoute {
            append_fromtag: true,
            double,
            full_lr: false,
            add_username: false,
            strict_recovery: true,
            flow_tokens: true,
        }
    }
}

/// When a request is record-routed with two entries (`enable_double_rr`, RFC 5658).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoubleRecordRoute {
    /// Never: a peer on the other side has to find its way by one.
    Never,
    /// When the listener that sends is not the one that received.
    WhenDifferent,
    /// Always.
    Always,
}

/// What is refused, and when, while messages wait too long (RFC 7339 in spirit; base.md §23).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverloadRules {
    /// `queueing_delay`: how long a message may have waited before it is handled. `None`: no bound.
    pub queueing_delay: Option<Duration>,
    /// `interval`: for how long the bound has to be passed without a break.
    pub interval: Duration,
    /// `methods`: requests outside of dialogs that are refused then.
    pub methods: Vec<MethodKind>,
    /// `retry_after`, in seconds.
    pub retry_after_seconds: u32,
}

impl Default for OverloadRules {
    /// 200 ms and 500 ms: less than T1, after which callers repeat and make it worse; longer than
    /// what a batch or a short freeze of the machine costs.
    fn default() -> OverloadRules {
        OverloadRules {
            queueing_delay: Some(Duration::from_millis(200)),
            interval: Duration::from_millis(500),
            methods: vec![MethodKind::Invite, MethodKind::Subscribe, MethodKind::Register],
            retry_after_seconds: 5,
        }
    }
}

impl OverloadRules {
    /// Whether this kind of request is one of those that are refused.
    pub(crate) fn concerns(&self, method: MethodKind) -> bool {
        self.methods.contains(&method)
    }

    /// Reads the name of a method that may be refused.
    ///
    /// # Errors
    /// With what is allowed, for a method that belongs to a dialog or to a transaction.
    pub fn method(name: &str) -> Result<MethodKind, String> {
        let kind = Method::from_bytes(name.as_bytes()).kind();
        match kind {
            MethodKind::Ack | MethodKind::Cancel | MethodKind::Bye | MethodKind::Prack => {
                Err("a method that begins something, such as \"INVITE\" or \"REGISTER\"".to_owned())
            }
            MethodKind::Invite
            | MethodKind::Options
            | MethodKind::Register
            | MethodKind::Subscribe
            | MethodKind::Notify
            | MethodKind::Publish
            | MethodKind::Info
            | MethodKind::Refer
            | MethodKind::Message
            | MethodKind::Update
            | MethodKind::Other => Ok(kind),
        }
    }
}
