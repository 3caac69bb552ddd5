//! Contact: RFC 3261 §20.10.
//!
//! For: the star of a REGISTER, the list of bindings or redirections, and their `q` and `expires`.
//! Not here: `name-addr` itself (`name_addr.rs`), bindings (`modules/registrar`).

use super::error::{ParseCause, ParseError};
use super::header::HeaderName;
use super::message::{Message, NameAddrs};
use super::name_addr::NameAddr;
use super::octet::decimal;

/// What the Contact fields of a message say.
#[derive(Clone)]
pub enum Contacts<'a> {
    /// `*`: all bindings, in a REGISTER that removes them.
    Star,
    /// Values in order; none when there is no Contact field.
    List(NameAddrs<'a>),
}

impl<'a> Contacts<'a> {
    /// Reads the Contact fields. A star beside other values is a mistake (§10.3 step 6).
    pub(super) fn of(message: Message<'a>) -> Result<Contacts<'a>, ParseError> {
        let mut values = message.values(HeaderName::Contact);
        let Some(star) = values.find(|value| value.bytes == b"*") else {
            return Ok(Contacts::List(message.name_addrs(HeaderName::Contact)));
        };
        if message.values(HeaderName::Contact).nth(1).is_none() {
            return Ok(Contacts::Star);
        }
        let cause = ParseCause::UnexpectedByte(b'*');
        Err(ParseError { header: HeaderName::Contact, offset: star.offset, cause })
    }
}

impl NameAddr<'_> {
    /// The parameter `q` in thousandths, 0 to 1000; `None` when absent or unreadable.
    pub fn q(&self) -> Option<u16> {
        thousandths(self.params.value(b"q")?)
    }

    /// The parameter `expires` in seconds; `None` when absent or unreadable.
    pub fn expires(&self) -> Option<u32> {
        self.params.value(b"expires").and_then(decimal)
    }
}

/// `0`, `1`, and either with up to three decimals.
fn thousandths(text: &[u8]) -> Option<u16> {
    let (whole, decimals) = match text {
        [whole] => (*whole, &b""[..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (*whole, decimals),
        _ => return None,
    };
    if !matches!(whole, b'0' | b'1') || !decimals.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |place: usize| u16::from(decimals.get(place).map_or(0, |digit| digit - b'0'));
    let fraction = digit(0) * 100 + digit(1) * 10 + digit(2);
    let q = u16::from(whole - b'0') * 1000 + fraction;
    (q <= 1000).then_some(q)
}

#[cfg(test)]
mod tests {
    use super::super::head::Head;
    use super::*;
    use crate::limits::Limits;

    fn contacts(lines: &str) -> Result<Vec<String>, ParseError> {
        let text = format!("REGISTER sip:h SIP/2.0\r\n{lines}\r\n");
        let mut head = Head::default();
        head.parse(text.as_bytes(), &Limits::DATAGRAM).expect("a message");
        match head.message(text.as_bytes()).contacts()? {
            Contacts::Star => Ok(vec!["*".to_string()]),
            Contacts::List(list) => list
                .map(|contact| contact.map(|c| String::from_utf8_lossy(c.uri).into_owned()))
                .collect(),
        }
    }

    #[test]
    fn values_of_all_fields_are_read_in_order() {
        let list = contacts("m: <sip:a>;q=0.5, \"b, c\" <sip:b>\r\nContact: sip:c;expires=5\r\n");
        assert_eq!(list.expect("a list"), ["sip:a", "sip:b", "sip:c"]);
    }

    #[test]
    fn a_star_stands_alone() {
        assert_eq!(contacts("Contact:  * \r\n").expect("a star"), ["*"]);
        assert!(contacts("Contact: *, <sip:a>\r\n").is_err());
        assert!(contacts("Contact: <sip:a>\r\nContact: *\r\n").is_err());
    }

    #[test]
    fn no_contact_is_an_empty_list() {
        assert!(contacts("").expect("nothing").is_empty());
    }

    #[test]
    fn q_has_at_most_three_decimals() {
        for (text, q) in
            [("0", 0), ("1", 1000), ("0.5", 500), ("0.123", 123), ("1.000", 1000), ("1.", 1000)]
        {
            assert_eq!(thousandths(text.as_bytes()), Some(q), "{text}");
        }
        for text in ["", "2", "1.001", "0.1234", ".5", "-1", "0,5", "0.x"] {
            assert_eq!(thousandths(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn expires_beyond_32_bits_counts_as_unreadable() {
        let parse = |text| NameAddr::parse(text).expect("a contact").expires();
        assert_eq!(parse(b"<sip:a>;expires=3600"), Some(3600));
        assert_eq!(parse(b"<sip:a>;expires=280297596632815"), None);
    }
}
