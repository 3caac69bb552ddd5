//! Tests of what a routing can do, each against one shard in virtual time.

use super::{Answer, Branch, Outcome, Reply, Request, Response, Routing};
use crate::engine::{Census, Settings};
use crate::message::{MethodKind, Uri, UriBuilder};
use crate::module::Command;
use crate::rig::Bench;
use crate::time::secs;
use crate::transport::ListenerId;

const CALLER: &str = "192.0.2.10:5060";
const CALLEE: &str = "192.0.2.20:5060";

/// Does what the user part of the Request-URI says.
struct AsTold;

impl Routing for AsTold {
    type Modules = ();

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if request.method() == MethodKind::Ack {
            return Ok(request.relay_to_target().into());
        }
        let told = request.target().and_then(|uri| uri.user).unwrap_or(b"").to_vec();
        match told.as_slice() {
            b"stateless" => Ok(Answer::Stateless(Reply::not_found())),
            b"drop" => Ok(Answer::Drop),
            b"forgotten" => Ok(Answer::Done),
            b"rewritten" => {
                let uri = request.target().map(|uri| UriBuilder::from(&uri).user("bob"));
                request.append_header("X-Why", "rewritten")?;
                Ok(request.relay_to(uri.ok_or(Reply::bad_request())?.to_string()).into())
            }
            b"split" => {
                request.append_header("X-Why", "a\r\nX-Evil: 1")?;
                Ok(request.relay_to_target().into())
            }
            b"variables" => {
                request.set("a", "1");
                request.set("a", "2");
                let reason = format!("{:?} {:?}", request.get("a"), request.get("b"));
                Err(Reply::new(480).reason(&reason))
            }
            b"impatient" => match request.relay_to_target().no_answer_after(secs(2)).await {
                Outcome::Failed(failed) if failed.is_timeout() => Err(Reply::busy_here()),
                outcome @ (Outcome::Answered(_) | Outcome::Failed(_)) => Ok(outcome.into()),
            },
            b"brief" => Ok(request.relay_to_target().ring_for(secs(10)).into()),
            b"cancel-the-first" => {
                request.cancel_call(b"c", 1);
                Err(Reply::new(200))
            }
            b"answer-the-first" => {
                request.answer_call(b"c", 1, Reply::new(480));
                Err(Reply::new(200))
            }
            _ => self.follow_redirections(request).await,
        }
    }

    fn branch(&self, branch: &mut Branch<'_>) {
        branch.record_route_param("x", "1;lr");
        let to = branch.destination().remote.to_string();
        branch.append_header("X-Branch", &to).expect("a header");
    }

    fn response(&self, response: &mut Response<'_>) {
        if response.status().code() == 183 {
            response.drop_provisional();
        }
        response.append_header("X-Seen", response.status().reason()).expect("a header");
    }
}

impl AsTold {
    async fn follow_redirections(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        request.record_route();
        let mut outcome = request.relay_to_target().await;
        loop {
            let failed = match outcome {
                Outcome::Answered(_) => return Ok(Answer::Done),
                Outcome::Failed(failed) => failed,
            };
            outcome = match request.relay_to_contacts(&failed) {
                Some(relay) => relay.await,
                None => return Ok(failed.into()),
            };
        }
    }
}

struct Call {
    bench: Bench<AsTold>,
}

impl Call {
    fn to(user: &str) -> Call {
        let mut bench = Bench::alone(&["192.0.2.1:5060"], Settings::default(), AsTold, ());
        let invite = format!(
            "INVITE sip:{user}@192.0.2.20 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bKa\r\n\
             From: <sip:a@192.0.2.10>;tag=a\r\nTo: <sip:b@192.0.2.20>\r\nCall-ID: c\r\n\
             CSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.10>\r\nContent-Length: 0\r\n\r\n"
        );
        let from = CALLER.parse().expect("an address");
        bench.receive(ListenerId(0), from, invite.as_bytes());
        Call { bench }
    }

    /// What was sent to an address, in order, without the 100.
    fn sent_to(&mut self, address: &str) -> Vec<String> {
        let address = address.parse().expect("an address");
        let all = self.bench.take_sent().into_iter();
        all.filter(|sent| sent.flow.remote == address)
            .map(|sent| String::from_utf8(sent.bytes).expect("text"))
            .filter(|message| !message.starts_with("SIP/2.0 100"))
            .collect()
    }

    fn answer(&mut self, from: &str, request: &str, status: &str, more: &str) {
        let copied: String = request
            .lines()
            .filter(|line| {
                ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name))
            })
            .map(|line| format!("{line}\r\n"))
            .collect();
        let text = format!(
            "SIP/2.0 {status}\r\n{copied}To: <sip:b@192.0.2.20>;tag=b\r\n{more}\
             Content-Length: 0\r\n\r\n"
        );
        self.bench.receive(ListenerId(0), from.parse().expect("an address"), text.as_bytes());
    }

    /// Another request meanwhile.
    fn also(&mut self, user: &str) {
        let message = format!(
            "MESSAGE sip:{user}@192.0.2.20 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.30;branch=z9hG4bKm\r\n\
             From: <sip:c@192.0.2.30>;tag=c\r\nTo: <sip:b@192.0.2.20>\r\nCall-ID: d\r\n\
             CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
        );
        let from = "192.0.2.30:5060".parse().expect("an address");
        self.bench.receive(ListenerId(0), from, message.as_bytes());
    }

    fn ends_empty(mut self) {
        self.bench.advance(secs(300));
        assert_eq!(self.bench.census(), Census::default());
    }
}

#[test]
fn a_stateless_reply_keeps_nothing() {
    let mut call = Call::to("stateless");
    assert!(call.sent_to(CALLER)[0].starts_with("SIP/2.0 404"));
    assert_eq!(call.bench.census(), Census::default());
}

#[test]
fn a_dropped_request_gets_no_final_answer() {
    let mut call = Call::to("drop");
    assert!(call.sent_to(CALLER).is_empty());
    call.ends_empty();
}

#[test]
fn a_forgotten_answer_is_500() {
    let mut call = Call::to("forgotten");
    assert!(call.sent_to(CALLER)[0].starts_with("SIP/2.0 500"));
    assert_eq!(call.bench.metric("routings_without_answer"), Some(1));
}

#[test]
fn uri_and_headers_are_rewritten_and_the_branch_hook_comes_after() {
    let mut call = Call::to("rewritten");
    let invite = call.sent_to(CALLEE).remove(0);
    assert!(invite.starts_with("INVITE sip:bob@192.0.2.20 SIP/2.0\r\n"), "{invite}");
    assert!(invite.contains("X-Why: rewritten\r\nX-Branch: 192.0.2.20:5060\r\n"), "{invite}");
}

#[test]
fn an_edit_that_would_split_a_header_is_refused() {
    let mut call = Call::to("split");
    let sent = call.bench.take_sent();
    assert!(sent.iter().all(|sent| !sent.bytes.windows(6).any(|part| part == b"X-Evil")));
    assert_eq!(sent.last().map(|sent| sent.bytes.starts_with(b"SIP/2.0 500")), Some(true));
}

#[test]
fn variables_keep_their_last_value() {
    let mut call = Call::to("variables");
    assert!(call.sent_to(CALLER)[0].starts_with("SIP/2.0 480 Some(\"2\") None\r\n"));
}

#[test]
fn a_relay_has_timers_of_its_own() {
    let mut call = Call::to("impatient");
    call.bench.advance(secs(3));
    let sent = call.sent_to(CALLER);
    assert!(sent.iter().any(|message| message.starts_with("SIP/2.0 486")), "{sent:?}");
    call.ends_empty();
}

#[test]
fn a_short_ringing_time_ends_in_cancel_and_408() {
    let mut call = Call::to("brief");
    let invite = call.sent_to(CALLEE).remove(0);
    call.answer(CALLEE, &invite, "180 Ringing", "");
    call.bench.advance(secs(11));
    let sent = call.bench.take_sent();
    let starts = |text: &str| sent.iter().any(|sent| sent.bytes.starts_with(text.as_bytes()));
    assert!(starts("CANCEL sip:brief@192.0.2.20"));
    assert!(starts("SIP/2.0 408"));
    call.ends_empty();
}

#[test]
fn redirections_are_followed_each_contact_once() {
    let mut call = Call::to("moved");
    let first = call.sent_to(CALLEE).remove(0);
    assert!(first.contains("Record-Route: <sip:192.0.2.1;lr;ftag=a;x=1lr>"), "{first}");
    let contacts = "Contact: <sip:moved@192.0.2.30>, <sip:moved@192.0.2.40>;q=0.5\r\n";
    call.answer(CALLEE, &first, "302 Moved", contacts);
    let sent = call.bench.take_sent();
    let invites: Vec<&[u8]> = sent
        .iter()
        .map(|sent| sent.bytes.as_slice())
        .filter(|bytes| bytes.starts_with(b"INVITE"))
        .collect();
    assert_eq!(invites.len(), 2);
    assert!(invites[0].starts_with(b"INVITE sip:moved@192.0.2.30 SIP/2.0"));
    // Both point at each other: the search ends, and the caller gets the redirection.
    for (from, invite) in [("192.0.2.30:5060", invites[0]), ("192.0.2.40:5060", invites[1])] {
        let invite = String::from_utf8_lossy(invite).into_owned();
        call.answer(from, &invite, "302 Moved", contacts);
    }
    let sent = call.sent_to(CALLER);
    assert!(sent[0].starts_with("SIP/2.0 302"), "{sent:?}");
    assert!(sent[0].contains("X-Seen: Moved Temporarily"));
    call.ends_empty();
}

#[test]
fn a_provisional_response_can_be_dropped_a_final_one_cannot() {
    let mut call = Call::to("moved");
    let invite = call.sent_to(CALLEE).remove(0);
    call.answer(CALLEE, &invite, "183 Session Progress", "");
    assert!(call.sent_to(CALLER).is_empty());
    call.answer(CALLEE, &invite, "200 OK", "Contact: <sip:b@192.0.2.20>\r\n");
    assert!(call.sent_to(CALLER)[0].starts_with("SIP/2.0 200"));
    call.ends_empty();
}

#[test]
fn a_built_uri_is_a_target() {
    let uri = Uri::parse(b"sip:moved@example.com;x").expect("a URI");
    let built = UriBuilder::from(&uri).host("192.0.2.9").no_param("x").to_string();
    assert_eq!(built, "sip:moved@192.0.2.9");
}

#[test]
fn a_routing_cancels_and_answers_other_calls() {
    for (user, status) in [("cancel-the-first", "SIP/2.0 487"), ("answer-the-first", "SIP/2.0 480")]
    {
        let mut call = Call::to("brief");
        let invite = call.sent_to(CALLEE).remove(0);
        call.answer(CALLEE, &invite, "180 Ringing", "");
        call.also(user);
        let sent = call.bench.take_sent();
        let starts = |text: &str| sent.iter().any(|sent| sent.bytes.starts_with(text.as_bytes()));
        assert!(starts("CANCEL sip:brief@192.0.2.20") && starts("SIP/2.0 200"), "{sent:?}");
        call.answer(CALLEE, &invite, "487 Request Terminated", "");
        let answers = call.bench.take_sent();
        let mut answers = sent.iter().chain(&answers);
        assert!(answers.any(|sent| sent.bytes.starts_with(status.as_bytes())), "{user}");
        call.ends_empty();
    }
}

#[test]
fn the_commands_do_the_same_and_say_what_they_want() {
    let mut call = Call::to("brief");
    let command = |name: &str, arguments: &[&str]| Command {
        name: name.to_owned(),
        arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
    };
    let fault = call.bench.command(&command("tm.cancel", &["c"])).expect("known");
    assert_eq!(fault.map_err(|fault| fault.code), Err(400));
    let reply = command("tm.reply_callid", &["486", "Busy", "c", "1"]);
    assert!(call.bench.command(&reply).expect("known").is_ok());
    assert!(call.sent_to(CALLER).iter().any(|text| text.starts_with("SIP/2.0 486 Busy\r\n")));
    call.ends_empty();
}

/// Every function of `tm`, the registrar and digest has a row that says what to write here instead.
#[test]
fn the_table_for_those_who_know_kamailio_is_complete() {
    let table = include_str!("from_kamailio.md");
    let named: Vec<&str> = table.split('`').skip(1).step_by(2).collect();
    let functions = "t_relay t_relay_to t_relay_to_udp t_relay_to_tcp t_relay_to_tls \
        t_relay_to_sctp t_forward_nonack t_replicate t_uac_send t_use_uac_headers t_reply \
        t_send_reply t_retransmit_reply t_set_disable_internal_reply t_newtran t_check_trans \
        t_lookup_request t_lookup_cancel t_exists t_release t_clean t_relay_cancel \
        t_cancel_branches t_cancel_callid t_reply_callid t_suspend t_continue t_drop \
        t_reuse_branch t_flush_flags t_on_failure t_on_reply t_on_branch t_is_set t_check_status \
        t_get_status_code t_grep_status t_is_canceled t_is_expired t_branch_timeout \
        t_branch_replied t_any_timeout t_any_replied t_is_failure_route t_is_branch_route \
        t_is_reply_route t_is_request_route t_is_retr_async_reply t_precheck_trans t_set_fr \
        t_reset_fr t_set_retr t_reset_retr t_set_max_lifetime t_reset_max_lifetime \
        t_set_auto_inv_100 t_set_disable_6xx t_set_disable_failover t_set_no_e2e_cancel_reason \
        t_set_no_auto_ack t_drop_replies t_save_lumps t_load_contacts t_next_contacts \
        t_next_contact_flow t_on_branch_failure save lookup lookup_to_dset lookup_branches \
        lookup_xavp registered unregister reg_fetch_contacts reg_free_contacts reg_send_reply \
        add_sock_hdr reg_from_user www_challenge proxy_challenge auth_challenge \
        pv_www_authenticate pv_proxy_authenticate pv_auth_check www_authenticate \
        proxy_authenticate auth_check is_subscriber load_credentials consume_credentials \
        has_credentials auth_get_www_authenticate";
    for function in functions.split_whitespace() {
        let is_it = |name: &&str| name.split('(').next() == Some(function);
        assert!(named.iter().any(is_it), "{function} has no row");
    }
}
