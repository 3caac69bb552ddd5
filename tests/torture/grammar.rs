//! What the grammar allows and habit would refuse, and what it forbids and habit would let pass.
//!
//! For: RFC 3261 §7.3, §18.3, §20, §25: white space, tokens, numbers, Content-Length, repetition.

use crate::proxy::{Proxy, request, unfolded};
use strowger_sip::message::HeaderName;

/// Whether it is relayed; else the status that refuses it.
fn relayed(bytes: &[u8]) -> Result<(), u16> {
    let mut proxy = Proxy::new();
    let sent = proxy.reaction(bytes);
    let [mail] = sent.as_slice() else { panic!("{} messages", sent.len()) };
    match mail.status() {
        0 => Ok(()),
        status => Err(status),
    }
}

fn with(lines: &[(&str, &str)], body: &str) -> Result<(), u16> {
    relayed(&request("MESSAGE", lines, body))
}

#[test]
fn white_space_may_stand_where_the_grammar_has_it() {
    for lines in [
        [("CSeq", "\r\n 1\r\n\t MESSAGE\r\n ")],
        [("CSeq", "0000000001\tMESSAGE")],
        [("CSeq ", "1 MESSAGE")],
        [("From\t ", "\r\n <sip:alice@192.0.2.77> \r\n ; tag \r\n = a")],
        [("Max-Forwards", "\r\n\t070 ")],
        [("Call-ID", "\r\n hostile@192.0.2.77")],
        [("Via", "sip / 2.0 / udp 192.0.2.77 : 5060 ; branch = z9hG4bKhostile")],
        [("Subject", "")],
        [("X-Empty\t", "\r\n ")],
    ] {
        let name = lines[0].0.trim();
        let text = String::from_utf8(request("MESSAGE", &lines, "")).expect("text");
        // The helper replaces by exact name only.
        let twice = text.matches(&format!("\r\n{name}: ")).count();
        let cut = text.find(&format!("\r\n{name}: ")).filter(|_| name != lines[0].0 && twice == 1);
        let text = match cut {
            Some(at) => {
                let end = at + 2 + text[at + 2..].find("\r\n").expect("a line end");
                format!("{}{}", &text[..at], &text[end..])
            }
            None => text,
        };
        assert_eq!(relayed(text.as_bytes()), Ok(()), "{text}");
    }
}

#[test]
fn a_blank_before_the_colon_makes_no_difference() {
    let plain = request("MESSAGE", &[("Content-Length", "2")], "hi there");
    let text = String::from_utf8(plain).expect("text");
    let mut results = Vec::new();
    for separator in [": ", ":", " : ", "\t:", " \t :\t "] {
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        let mut lines = head.split("\r\n");
        let mut odd = lines.next().expect("a line").to_owned();
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header");
            odd.push_str(&format!("\r\n{name}{separator}{value}"));
        }
        let mut proxy = Proxy::new();
        let sent = proxy.hear(format!("{odd}\r\n\r\n{body}").as_bytes());
        let message = sent[0].message();
        let fields = message.fields().filter(|field| field.name != HeaderName::Via);
        results.push(
            fields
                .map(|field| (unfolded(field.name_bytes), unfolded(field.value)))
                .collect::<Vec<_>>(),
        );
        assert_eq!(message.body(), b"hi", "{separator:?}");
    }
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
}

#[test]
fn tokens_have_all_the_letters_they_may() {
    let odd = "-.!%*_+`'~";
    let method = format!("A{odd}z");
    assert_eq!(relayed(&request(&method, &[], "")), Ok(()));
    assert_eq!(with(&[(&format!("X{odd}"), "1")], ""), Ok(()));
    assert_eq!(with(&[("From", &format!("<sip:a@h>;tag={odd};{odd}={odd}"))], ""), Ok(()));
    assert_eq!(with(&[("Call-ID", "()<>:\\\"/[]?{}@-.!%*_+`'~")], ""), Ok(()));
    let via = format!("SIP/2.0/X{odd} 192.0.2.77;branch=z9hG4bK{odd};{odd}");
    assert_eq!(with(&[("Via", &via)], ""), Ok(()));
    let user = "sip:;&=+$,?/-_.!~*'():pass&=+$,@h;lr;x=[]/:&+$?a=b";
    assert_eq!(with(&[("From", &format!("<{user}>;tag=1"))], ""), Ok(()));
}

#[test]
fn a_method_has_a_case() {
    assert_eq!(relayed(&request("invite", &[], "")), Ok(()));
    assert_eq!(relayed(&request("MESSAGE", &[("CSeq", "1 message")], "")), Err(400));
}

#[test]
fn octets_behind_the_body_are_cut_off() {
    let mut proxy = Proxy::new();
    let bytes = request("MESSAGE", &[("Content-Length", "4")], "bodyINVITE sip:x SIP/2.0\r\n\r\n");
    assert_eq!(proxy.hear(&bytes)[0].message().body(), b"body");
}

#[test]
fn content_length_has_one_shape() {
    for good in ["4", "004", " 4\t", "\r\n 4", "0", "3"] {
        assert_eq!(with(&[("Content-Length", good)], "body"), Ok(()), "{good:?}");
    }
    for bad in [
        "",
        "-1",
        "+4",
        "4.0",
        "0x4",
        "4 4",
        "4,4",
        "4;x",
        "four",
        "5",
        "65536",
        "4294967295",
        "4294967296",
        "4294967300",
        "18446744073709551616",
        "99999999999999999999999999999999999999",
        "4\u{a0}",
        "\u{664}",
    ] {
        assert_eq!(with(&[("Content-Length", bad)], "body"), Err(400), "{bad:?}");
        assert_eq!(with(&[("l", bad)], "body"), Err(400), "{bad:?}");
        let twice = [("Content-Length", "4"), ("l", bad)];
        assert_eq!(with(&twice, "body"), Err(400), "{bad:?}");
    }
    for second in ["4", "0", "5"] {
        let twice = [("Content-Length", "4"), ("l", second)];
        assert_eq!(with(&twice, "body"), Err(400), "two that say 4 and {second}");
    }
}

#[test]
fn cseq_has_its_bounds() {
    for good in ["0", "1", "00000000000000000001", "2147483647"] {
        assert_eq!(with(&[("CSeq", &format!("{good} MESSAGE"))], ""), Ok(()), "{good}");
    }
    for bad in ["2147483648", "4294967295", "4294967296", "-1", "+1", "1.0", "0x1", "", "1e3"] {
        assert_eq!(with(&[("CSeq", &format!("{bad} MESSAGE"))], ""), Err(400), "{bad}");
    }
    for bad in
        ["1MESSAGE", "1 MESSAGE x", "1 MESS@GE", "1 , MESSAGE", "MESSAGE 1", "1\u{a0}MESSAGE"]
    {
        assert_eq!(with(&[("CSeq", bad)], ""), Err(400), "{bad}");
    }
}

#[test]
fn what_may_stand_once_may_not_stand_twice() {
    let twice: [(&str, &str); 10] = [
        ("t", "<sip:bob@203.0.113.20>"),
        ("f", "<sip:alice@192.0.2.77>;tag=a"),
        ("i", "hostile@192.0.2.77"),
        ("cseq", "1 MESSAGE"),
        ("max-forwards", "70"),
        ("c", "text/plain"),
        ("Max-Breadth", "60"),
        ("Expires", "5"),
        ("Event", "reg"),
        ("r", "<sip:x@y>"),
    ];
    for (name, value) in twice {
        // Even when both say the same: the next hop may count another of them.
        let lines = [(name, value), (name, value)];
        assert_eq!(with(&lines, ""), Err(400), "{name}");
    }
}

#[test]
fn what_may_stand_often_is_relayed_in_order() {
    let lines = [("Subject", "1"), ("Z", "2"), ("s", "3"), ("z", "4"), ("Contact", "<sip:a@b>")];
    let sent = Proxy::new().hear(&request("MESSAGE", &lines, ""));
    let order: Vec<String> = sent[0]
        .message()
        .fields()
        .map(|field| unfolded(field.value))
        .filter(|value| value.len() == 1 && value != "0")
        .collect();
    assert_eq!(order, ["1", "2", "3", "4"]);
}
