//! From and To of calls: uac.md (h) A1 to A8.

use super::super::{CookieForm, Settings};
use super::rig::{A, B, Node, Plan, begin, header, response, within};

const BOB: &str = "\"Bob\" <sip:1001@pbx.example.com>";
const MAIN: (bool, &str, &str) = (true, "\"Main\"", "sip:+4930123456@trunk.example.net");

fn kamailio(password: Option<&str>) -> Settings {
    let restore_passwd = password.map(str::to_owned);
    Settings { form: CookieForm::Kamailio, restore_passwd, ..Settings::default() }
}

/// What both parties see of a call: the INVITE, its 200, and requests in both directions.
struct Seen {
    invite: String,
    ok: String,
    ack: String,
    bye: String,
    bye_ok: String,
    info: String,
    info_ok: String,
    reinvite: String,
}

/// A call whose caller sends `from` in its later requests.
fn call(node: &mut Node, later: &str) -> Seen {
    let invite = node.gets(A, &begin("INVITE", 1, BOB), "INVITE");
    let ok = node.gets(B, &response(&invite, "200 OK", ""), "SIP/2.0 200");
    // B's own copy of the route set is that of the INVITE.
    let (caller, callee) = (format!("{later};tag=a1"), header(&ok, "To"));
    let ack = node.gets(A, &within("ACK", 1, &ok, &caller, &callee), "ACK");
    let from = header(&invite, "From");
    let callee_own = "<sip:x@b>;tag=b";
    let sent = within("INFO", 1, &invite, callee_own, &from);
    let info = node.gets(B, &sent, "INFO");
    let info_ok = node.gets(A, &response(&info, "200 OK", ""), "SIP/2.0 200");
    let reinvite = node.gets(A, &within("INVITE", 2, &ok, &caller, &callee), "INVITE");
    node.receive(B, &response(&reinvite, "200 OK", ""));
    let bye = node.gets(A, &within("BYE", 3, &ok, &caller, &callee), "BYE");
    let bye_ok = node.gets(B, &response(&bye, "200 OK", ""), "SIP/2.0 200");
    Seen { invite, ok, ack, bye, bye_ok, info, info_ok, reinvite }
}

fn check(seen: &Seen, named: bool) {
    let shown = if named { "\"Main\" " } else { "" };
    let new = format!("{shown}<sip:+4930123456@trunk.example.net>;tag=a1");
    assert_eq!(header(&seen.invite, "From"), "\"Main\" <sip:+4930123456@trunk.example.net>;tag=a1");
    assert_eq!(header(&seen.ok, "From"), format!("{BOB};tag=a1"));
    assert_eq!(header(&seen.ok, "To"), "<sip:callee@example.org>;tag=b");
    for request in [&seen.ack, &seen.bye, &seen.reinvite] {
        let from = header(request, "From");
        assert!(from.ends_with("<sip:+4930123456@trunk.example.net>;tag=a1"), "{request}");
        assert!(!named || from == new, "{request}");
    }
    let name = if named { "\"Bob\" " } else { "\"Main\" " };
    assert_eq!(header(&seen.info, "To"), format!("{name}<sip:1001@pbx.example.com>;tag=a1"));
    assert_eq!(header(&seen.info, "From"), "<sip:x@b>;tag=b");
    // Who has sent the request sees what it has sent.
    assert_eq!(header(&seen.info_ok, "To"), header(&seen.invite, "From"));
    assert_eq!(header(&seen.bye_ok, "From"), format!("{BOB};tag=a1"));
}

/// A1 to A4.
#[test]
fn a_cookie_of_kamailios_form_restores_the_uris() {
    for (password, cookie) in [
        (None, ";vsf=AAAAABoECQJwQVBLGlBOIRkCGQtFTQoVYW1wbGUubmV0"),
        (Some("k3y"), ";vsf=azN5ayl9YjEJKmMycWM3Sip7cjg8JjlsCl4JB1ZXBVYN"),
    ] {
        let mut node = Node::new(Plan::Replace(vec![MAIN]), kamailio(password));
        let seen = call(&mut node, BOB);
        let entry = header(&seen.invite, "Record-Route");
        assert!(entry.contains(&format!(";ftag=a1{cookie}")), "{entry}");
        check(&seen, false);
    }
}

/// The same, and names too.
#[test]
fn a_sealed_cookie_restores_names_and_uris() {
    let mut node = Node::new(Plan::Replace(vec![MAIN]), Settings::default());
    let seen = call(&mut node, BOB);
    let entry = header(&seen.invite, "Record-Route");
    assert!(entry.contains(";vsf=") && !entry.contains("1001"), "{entry}");
    check(&seen, true);
}

/// A6.
#[test]
fn a_caller_that_changes_its_from() {
    let foreign = "<sip:zz@other.example.org>";
    let mut node = Node::new(Plan::Replace(vec![MAIN]), kamailio(None));
    let seen = call(&mut node, foreign);
    assert_eq!(header(&seen.bye, "From"), format!("{foreign};tag=a1"));
    let mut node = Node::new(Plan::Replace(vec![MAIN]), Settings::default());
    let seen = call(&mut node, foreign);
    let wanted = "\"Main\" <sip:+4930123456@trunk.example.net>;tag=a1";
    assert_eq!(header(&seen.bye, "From"), wanted);
    assert_eq!(header(&seen.bye_ok, "From"), format!("{foreign};tag=a1"));
}

#[test]
fn to_is_replaced_like_from() {
    let to = (false, "", "sip:shown@example.net");
    let mut node = Node::new(Plan::Replace(vec![to]), Settings::default());
    let invite = node.gets(A, &begin("INVITE", 1, BOB), "INVITE");
    assert_eq!(header(&invite, "To"), "<sip:shown@example.net>");
    let ok = node.gets(B, &response(&invite, "200 OK", ""), "SIP/2.0 200");
    assert_eq!(header(&ok, "To"), "<sip:callee@example.org>;tag=b");
    let caller = format!("{BOB};tag=a1");
    let bye = node.gets(A, &within("BYE", 2, &ok, &caller, &header(&ok, "To")), "BYE");
    assert_eq!(header(&bye, "To"), "<sip:shown@example.net>;tag=b");
    let from = "<sip:shown@example.net>;tag=b";
    let info = node.gets(B, &within("INFO", 1, &invite, from, &caller), "INFO");
    assert_eq!(header(&info, "From"), "<sip:callee@example.org>;tag=b");
}

#[test]
fn of_several_replacements_the_last_one_counts() {
    let list = vec![(true, "x", "sip:one@h"), MAIN, (true, "", "sip:last@h")];
    let mut node = Node::new(Plan::Replace(list), Settings::default());
    let invite = node.gets(A, &begin("INVITE", 1, BOB), "INVITE");
    assert_eq!(header(&invite, "From"), "<sip:last@h>;tag=a1");
    let busy = node.gets(B, &response(&invite, "486 Busy Here", ""), "SIP/2.0 486");
    assert_eq!(header(&busy, "From"), format!("{BOB};tag=a1"));
}

/// A8.
#[test]
fn within_a_dialog_uris_stay() {
    let plan = Plan::Replace(vec![(false, "", "sip:n@h"), (false, "X", "")]);
    let mut node = Node::new(plan, Settings::default());
    let text = begin("INVITE", 1, BOB).replace("callee@example.org>", "callee@example.org>;tag=b");
    let invite = node.gets(A, &text, "INVITE");
    assert_eq!(header(&invite, "To"), "X <sip:callee@example.org>;tag=b");
    assert_eq!(*node.log.borrow(), ["Err(WithinDialog)", "Ok(())"]);
}

#[test]
fn what_cannot_stand_in_a_header_is_refused() {
    let list = vec![(true, "a\r\nX: y", ""), (true, "", "sip:a>@b"), (true, "\"x", "")];
    let mut node = Node::new(Plan::Replace(list), Settings::default());
    let invite = node.gets(A, &begin("INVITE", 1, BOB), "INVITE");
    assert_eq!(header(&invite, "From"), format!("{BOB};tag=a1"));
    assert_eq!(*node.log.borrow(), ["Err(Unusable)"; 3]);
}

#[test]
fn a_dialog_remembers_too() {
    let plan = Plan::ReplaceInDialog("\"Main\"", "sip:+4930123456@trunk.example.net");
    let mut node = Node::new(plan, Settings::default());
    // Not even its own From is repeated by this caller.
    let seen = call(&mut node, BOB);
    assert!(!header(&seen.invite, "Record-Route").contains("vsf="), "{}", seen.invite);
    check(&seen, true);
    assert_eq!(*node.log.borrow(), ["Ok(())"]);
}

#[test]
fn a_call_that_is_not_replaced_stays_as_it_is() {
    let mut node = Node::new(Plan::Replace(Vec::new()), Settings::default());
    let seen = call(&mut node, BOB);
    assert_eq!(header(&seen.bye, "From"), format!("{BOB};tag=a1"));
    assert!(!header(&seen.invite, "Record-Route").contains("vs"), "{}", seen.invite);
}
