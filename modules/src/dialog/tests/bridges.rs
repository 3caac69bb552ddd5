//! Calls that this node sets up between two others: acceptance example 21.

use super::rig::{A, Call, Sent, find, settings};
use strowger_sip::time::secs;

const FROM: &str = "sip:A@192.0.2.10";
const TO: &str = "sip:B@192.0.2.20";

fn begun() -> (Call, Sent) {
    let mut call = Call::new(settings());
    assert_eq!(call.command("dlg.bridge_dlg", &[FROM, TO, "."]), Ok("null".into()));
    let invite = find(&call.sent(), "INVITE");
    (call, invite)
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
