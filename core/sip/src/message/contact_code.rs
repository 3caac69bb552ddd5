//! Contacts packed into the user part of another URI, and unpacked again.
//!
//! For: hiding where a user agent is behind a host of one's own (`encode_contact`,
//! `decode_contact`).
//! Invariants: what is packed here is unpacked to an equivalent URI; what is not of the form
//! `PREFIX*USER*PASSWORD*HOST*PORT*TRANSPORT` is not unpacked.

use super::host::Host;
use super::uri::Uri;
use super::uri_builder::UriBuilder;

/// Stands between the parts.
const BETWEEN: char = '*';

impl Uri<'_> {
    /// This URI packed into the user part of a URI of `host`. `None` when it is no SIP URI or the
    /// prefix holds an asterisk.
    pub fn encoded(&self, prefix: &str, host: &str) -> Option<UriBuilder> {
        if !self.scheme.is_sip() || prefix.contains(BETWEEN) {
            return None;
        }
        let part = |bytes: Option<&[u8]>| match std::str::from_utf8(bytes.unwrap_or_default()) {
            // The escape means the same (§19.1.4).
            Ok(text) => Some(text.replace(BETWEEN, "%2A")),
            Err(_) => None,
        };
        let port = self.port.map(|port| port.to_string()).unwrap_or_default();
        let parts = [
            prefix.to_owned(),
            part(self.user)?,
            part(self.password)?,
            self.host.to_string(),
            port,
            part(self.params.value(b"transport"))?,
        ];
        let user = parts.join("*");
        let packed = UriBuilder::from(self).no_param("transport").no_port().no_headers();
        Some(packed.user(&user).host(host))
    }

    /// The URI that is packed into this one; `None` when there is none.
    pub fn decoded(&self) -> Option<UriBuilder> {
        let user = std::str::from_utf8(self.user?).ok()?;
        let mut parts = user.split(BETWEEN);
        let mut part = || parts.next();
        let (_prefix, user, password) = (part()?, part()?, part()?);
        let (host, port, transport) = (unescaped(part()?)?, part()?, part()?);
        if part().is_some() || !self.scheme.is_sip() {
            return None;
        }
        let host = Host::parse(host.as_bytes()).ok().filter(|host| !host.is_empty())?;
        let unpacked = UriBuilder::from(self).no_user().host(&host.to_string()).no_port();
        let unpacked = match (user, password) {
            ("", _) => unpacked,
            (user, "") => unpacked.user(user),
            (user, password) => unpacked.user(user).password(password),
        };
        let unpacked = match port {
            "" => unpacked,
            port => unpacked.port(port.parse().ok()?),
        };
        Some(match transport {
            "" => unpacked,
            transport => unpacked.param("transport", Some(transport)),
        })
    }
}

/// Text with its `%HH` decoded; `None` when that is no UTF-8.
fn unescaped(text: &str) -> Option<String> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        let digits = (*first == b'%').then(|| tail.get(..2)).flatten();
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(text: &str) -> String {
        let uri = Uri::parse(text.as_bytes()).expect("a URI");
        uri.encoded("enc", "gw.example.com").expect("a SIP URI").to_string()
    }

    fn unpacked(text: &str) -> Option<String> {
        Some(Uri::parse(text.as_bytes()).expect("a URI").decoded()?.to_string())
    }

    #[test]
    fn a_contact_is_packed_and_unpacked() {
        let packed_uri = packed("sip:bob:pw@10.0.0.5:5070;transport=tcp;ob");
        assert_eq!(packed_uri, "sip:enc*bob*pw*10.0.0.5*5070*tcp@gw.example.com;ob");
        let back = "sip:bob:pw@10.0.0.5:5070;ob;transport=tcp";
        assert_eq!(unpacked(&packed_uri).as_deref(), Some(back));
        for text in ["sip:10.0.0.5", "sips:b*b@[2001:db8::1]:5061", "sip:a;b=c@h"] {
            let back = unpacked(&packed(text)).expect("a packed URI");
            let [one, other] = [text, &back].map(|text| Uri::parse(text.as_bytes()));
            assert!(one.expect("a URI").is_equivalent(&other.expect("a URI")), "{text}: {back}");
        }
    }

    #[test]
    fn what_is_not_packed_is_not_unpacked() {
        for text in [
            "sip:bob@h",
            "sip:a*b*c*d*e@h",
            "sip:a*b*c*h*x*@h",
            "sip:a*b*c**5060*udp@h",
            "sip:a*b*c*h*5060*udp*more@h",
            "tel:+1",
        ] {
            assert_eq!(unpacked(text), None, "{text}");
        }
        assert!(Uri::parse(b"tel:+1").expect("a URI").encoded("e", "h").is_none());
        assert!(Uri::parse(b"sip:a").expect("a URI").encoded("e*", "h").is_none());
    }
}
