//! Calls that this node sets up between two others: acceptance example 21.

use super::super::{BridgeRules, Settings};
use super::rig::{A, B, Call, Sent, find, settings};
use strowger_sip::time::{ms, secs};

const FROM: &str = "sip:A@192.0.2.10";
const TO: &str = "sip:B@192.0.2.20";

fn begun() -> (Call, Sent) {
    let mut call = Call::new(settings());
    let invite = begin(&mut call, &[FROM, TO, "."]).1;
    (call, invite)
}

/// Begins a bridge: its name, and its first INVITE.
fn begin(call: &mut Call, arguments: &[&str]) -> (String, Sent) {
    let begun = call.command("dlg.bridge_dlg", arguments).expect("begun");
    let handle = begun.trim_start_matches("{\"bridge\":\"").trim_end_matches("\"}").to_owned();
    (handle, find(&call.sent(), "INVITE"))
}

/// Bridges that wait for the end of a transfer, so many seconds.
fn waiting(seconds: u64) -> Settings {
    let settings = settings();
    let bridge = BridgeRules { waits: true, timeout: secs(seconds), ..settings.bridge };
    Settings { bridge, ..settings }
}

/// What `dlg.bridge_status` says: the stage, and the status.
fn status(call: &mut Call, handle: &str) -> String {
    let text = call.command("dlg.bridge_status", &[handle]).expect("known");
    text.split_once("\"stage\":").map(|(_, rest)| rest.replace(['"', '}'], "")).unwrap_or_default()
}

/// The first party's own request within a bridge.
fn asks(call: &mut Call, from: &str, invite: &Sent, method: &str, more: &str) -> Vec<Sent> {
    let host = from.trim_end_matches(":5060");
    let text = format!(
        "{method} sip:controller@kamailio.org:5060 SIP/2.0
Via: SIP/2.0/UDP {host};branch=z9hG4bK{method}{host}
From: {};tag=x
To: {}
Call-ID: {}
CSeq: 1 {method}
Max-Forwards: 70
{more}",
        invite.header("To"),
        invite.header("From"),
        invite.header("Call-ID"),
    );
    call.receive(from, &text)
}

/// The answer of a party that can be reached at its own address, with this body.
fn answer(request: &Sent, status: &str, body: &str) -> String {
    let contact = if request.to == A { "sip:A@192.0.2.10" } else { "sip:B@192.0.2.20" };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
    super::rig::response(request, status, "x").replace("sip:b@192.0.2.20", contact).replace(
        "Content-Length: 0\n\n",
        &format!("{kind}Content-Length: {}\n\n{body}", body.len() + body.matches('\n').count()),
    )
}

#[test]
fn a_party_is_called_and_referred_example_21() {
    let (mut call, invite) = begun();
    assert!(invite.is("INVITE sip:A@192.0.2.10 SIP/2.0\r\n"));
    assert_eq!((invite.to.as_str(), invite.header("CSeq").as_str()), (A, "10 INVITE"));
    assert!(invite.header("From").starts_with("<sip:controller@kamailio.org>;tag="));
    assert!(invite.text.contains("c=IN IP4 0.0.0.0\r\n"));
    let length: usize = invite.header("Content-Length").parse().expect("a length");
    assert_eq!(invite.text.split("\r\n\r\n").nth(1).map(str::len), Some(length));
    let ok = super::rig::response(&invite, "200 OK", "x")
        .replace("<sip:b@192.0.2.20>", "<sip:A@192.0.2.10>");
    let sent = call.receive(A, &ok);
    let (ack, refer) = (find(&sent, "ACK"), find(&sent, "REFER"));
    assert_eq!(ack.header("CSeq"), "10 ACK");
    assert_eq!(ack.header("To"), "<sip:A@192.0.2.10>;tag=x");
    assert_eq!(refer.header("CSeq"), "11 REFER");
    assert_eq!(refer.header("Refer-To"), TO);
    // The ACK was lost: the answer comes again, and gets another one.
    assert_eq!(call.receive(A, &ok).len(), 1);
    let bye = find(&call.answer(A, &refer, "202 Accepted", "x"), "BYE");
    assert_eq!(bye.header("CSeq"), "12 BYE");
    call.answer(A, &bye, "200 OK", "x");
    call.ends_empty();
}

#[test]
fn a_party_that_is_busy_is_left_alone_example_21() {
    let (mut call, invite) = begun();
    let sent = call.answer(A, &invite, "486 Busy Here", "x");
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert!(sent[0].is("ACK"));
    call.ends_empty();
}

#[test]
fn a_party_that_is_not_there_leaves_nothing() {
    let (mut call, _) = begun();
    call.skip(secs(200));
    call.ends_empty();
}

#[test]
fn what_is_no_uri_is_refused() {
    let mut call = Call::new(settings());
    for (from, to) in [("A", TO), (FROM, "B"), (FROM, "sip:B@h>\r\nX: y")] {
        let refused = call.command("dlg.bridge_dlg", &[from, to]);
        assert_eq!(refused.map_err(|fault| fault.code), Err(500), "{from} {to}");
    }
}

#[test]
fn a_bridge_waits_for_the_end_of_the_transfer() {
    let mut call = Call::new(waiting(180));
    let (handle, invite) = begin(&mut call, &[FROM, TO]);
    assert_eq!(status(&mut call, &handle), "calling the first party");
    let sent = call.receive(A, &answer(&invite, "200 OK", ""));
    assert_eq!(status(&mut call, &handle), "referring,status:200");
    assert!(call.answer(A, &find(&sent, "REFER"), "202 Accepted", "x").is_empty());
    let notify = |call: &mut Call, status: &str| {
        let length = status.len() + 2;
        let more = format!(
            "Event: refer\nContent-Type: message/sipfrag\nContent-Length: {length}\n\n{status}\n"
        );
        asks(call, A, &invite, "NOTIFY", &more)
    };
    let sent = notify(&mut call, "SIP/2.0 180 Ringing");
    assert_eq!(sent.len(), 1, "{sent:?}");
    find(&sent, "SIP/2.0 200");
    assert_eq!(status(&mut call, &handle), "transferring,status:180");
    call.skip(secs(35));
    // The answer to the NOTIFY goes before the BYE.
    find(&notify(&mut call, "SIP/2.0 486 Busy Here"), "SIP/2.0 200");
    let bye = find(&call.skip(ms(1)), "BYE");
    assert_eq!((bye.to.as_str(), bye.header("CSeq").as_str()), (A, "12 BYE"));
    call.answer(A, &bye, "200 OK", "x");
    assert_eq!(status(&mut call, &handle), "over,status:486");
    call.ends_empty();
}

#[test]
fn a_transfer_that_nobody_hears_of_is_given_up() {
    let mut call = Call::new(waiting(20));
    let (handle, invite) = begin(&mut call, &[FROM, TO]);
    let sent = call.receive(A, &answer(&invite, "200 OK", ""));
    call.answer(A, &find(&sent, "REFER"), "202 Accepted", "x");
    let bye = find(&call.skip(secs(20)), "BYE");
    call.answer(A, &bye, "200 OK", "x");
    assert_eq!(status(&mut call, &handle), "over,status:408");
    call.ends_empty();
}

#[test]
fn a_party_that_rings_too_long_is_cancelled() {
    let mut call = Call::new(waiting(20));
    let (handle, invite) = begin(&mut call, &[FROM, TO]);
    call.answer(A, &invite, "180 Ringing", "x");
    let cancel = find(&call.skip(secs(20)), "CANCEL");
    assert_eq!(cancel.header("CSeq"), "10 CANCEL");
    assert_eq!(cancel.header("Via"), invite.header("Via"));
    call.answer(A, &cancel, "200 OK", "x");
    find(&call.answer(A, &invite, "487 Request Terminated", "x"), "ACK");
    assert_eq!(status(&mut call, &handle), "over,status:408");
    call.ends_empty();
}

const OFFER: &str = "v=0\nm=audio 40000 RTP/AVP 0\n";
const ANSWER: &str = "v=0\nm=audio 50000 RTP/AVP 0\n";

/// Both parties are called; the second INVITE too.
fn both_called(call: &mut Call) -> (String, Sent, Sent) {
    let (handle, first) = begin(call, &[FROM, TO, ".", ".", "3pcc"]);
    assert_eq!(first.header("Content-Length"), "0");
    let sent = call.receive(A, &answer(&first, "200 OK", OFFER));
    let second = find(&sent, "INVITE sip:B@192.0.2.20");
    assert_eq!(sent.len(), 1, "no ACK before there is an answer: {sent:?}");
    assert!(second.text.ends_with("\r\n\r\nv=0\r\nm=audio 40000 RTP/AVP 0\r\n"));
    // A copy still waits.
    assert!(call.receive(A, &answer(&first, "200 OK", OFFER)).is_empty());
    (handle, first, second)
}

#[test]
fn two_parties_without_refer_get_each_others_session() {
    let mut call = Call::new(settings());
    let (handle, first, second) = both_called(&mut call);
    let sent = call.receive(B, &answer(&second, "200 OK", ANSWER));
    let acks: Vec<(&str, bool)> =
        sent.iter().map(|it| (it.to.as_str(), it.text.contains("audio 50000"))).collect();
    assert_eq!(acks, [(B, false), (A, true)], "{sent:?}");
    assert_eq!(status(&mut call, &handle), "connected,status:200");
    // The ACK to the first party was lost.
    let again = call.receive(A, &answer(&first, "200 OK", OFFER));
    assert!(again.len() == 1 && again[0].text.contains("audio 50000"), "{again:?}");
    call.skip(secs(300));
    let sent = asks(&mut call, B, &second, "UPDATE", "Content-Length: 0\n\n");
    find(&sent, "SIP/2.0 488");
    let sent = asks(&mut call, B, &second, "BYE", "Content-Length: 0\n\n");
    find(&sent, "SIP/2.0 200");
    let bye = find(&sent, "BYE");
    assert_eq!((bye.to.as_str(), bye.header("CSeq").as_str()), (A, "11 BYE"));
    call.answer(A, &bye, "200 OK", "x");
    assert_eq!(status(&mut call, &handle), "over,status:200");
    call.ends_empty();
}

#[test]
fn a_second_party_that_is_busy_frees_the_first() {
    let mut call = Call::new(settings());
    let (handle, _, second) = both_called(&mut call);
    let sent = call.receive(B, &answer(&second, "486 Busy Here", ""));
    let ack = sent.iter().find(|it| it.is("ACK") && it.to == A).expect("an ACK");
    assert!(ack.text.contains("m=audio 0 RTP/AVP 0"), "{ack:?}");
    let bye = find(&sent, "BYE");
    call.answer(A, &bye, "200 OK", "x");
    assert_eq!(status(&mut call, &handle), "over,status:486");
    call.ends_empty();
}

#[test]
fn a_first_party_that_hangs_up_stops_the_second_ones_phone() {
    let mut call = Call::new(settings());
    let (_, first, second) = both_called(&mut call);
    call.answer(B, &second, "180 Ringing", "x");
    let sent = asks(&mut call, A, &first, "BYE", "Content-Length: 0\n\n");
    find(&sent, "SIP/2.0 200");
    let cancel = find(&sent, "CANCEL");
    call.answer(B, &cancel, "200 OK", "x");
    call.receive(B, &answer(&second, "487 Request Terminated", ""));
    call.ends_empty();
}
