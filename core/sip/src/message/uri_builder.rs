//! Changing a URI: its parts read, replaced one by one, and written again.
//!
//! For: routings that rewrite a Request-URI: Kamailio's assignments to `$rU`, `$rd`, `$rp` and
//! `set_uri_user`, `add_uri_param` and their kin.
//! Not here: choosing the new parts.
//! Invariants: what is written can be read back; octets that a part may not hold are escaped.

use super::uri::{Scheme, Uri};

/// The parts of a SIP URI, to be changed.
///
/// ```
/// use strowger_sip::message::{Uri, UriBuilder};
/// let uri = Uri::parse(b"sip:0049301234@example.com;transport=tcp").unwrap();
/// let changed = UriBuilder::from(&uri).user("+49301234").host("192.0.2.7").port(5070);
/// assert_eq!(changed.to_string(), "sip:+49301234@192.0.2.7:5070;transport=tcp");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriBuilder {
    scheme: String,
    user: Option<String>,
    password: Option<String>,
    host: String,
    port: Option<u16>,
    params: Vec<(String, Option<String>)>,
    headers: Option<String>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl From<&Uri<'_>> for UriBuilder {
    /// Takes a URI apart. One without a host (`tel:`) keeps its number as the user.
    fn from(uri: &Uri<'_>) -> UriBuilder {
        let params = uri.params.into_iter().map(|param| (text(param.name), param.value.map(text)));
        UriBuilder {
            scheme: text(uri.scheme.as_bytes()),
            user: uri.user.map(text),
            password: uri.password.map(text),
            host: uri.host.to_string(),
            port: uri.port,
            params: params.collect(),
            headers: uri.headers.map(text),
        }
    }
}

impl UriBuilder {
    /// A URI of this scheme, `sip` or `sips`, that names this host.
    pub fn new(scheme: Scheme<'_>, host: &str) -> UriBuilder {
        UriBuilder {
            scheme: text(scheme.as_bytes()),
            user: None,
            password: None,
            host: escape(host, b"[]:"),
            port: None,
            params: Vec::new(),
            headers: None,
        }
    }

    /// The scheme, `sip` or `sips`.
    pub fn scheme(mut self, scheme: Scheme<'_>) -> UriBuilder {
        self.scheme = text(scheme.as_bytes());
        self
    }

    /// The user part; its password goes.
    pub fn user(mut self, user: &str) -> UriBuilder {
        self.user = Some(escape(user, b"&=+$,;?/%#"));
        self.password = None;
        self
    }

    /// The password after the user part. It stands in clear in every message (§19.1.1).
    pub fn password(mut self, password: &str) -> UriBuilder {
        self.password = Some(escape(password, b"&=+$,%"));
        self
    }

    /// Takes the user part away.
    pub fn no_user(mut self) -> UriBuilder {
        self.user = None;
        self.password = None;
        self
    }

    /// Puts digits or letters before the user part (`prefix`).
    pub fn prefix_user(self, prefix: &str) -> UriBuilder {
        let user = format!("{prefix}{}", self.user.as_deref().unwrap_or(""));
        self.user(&user)
    }

    /// Takes so many characters off the front of the user part (`strip`).
    pub fn strip_user(self, characters: usize) -> UriBuilder {
        let user: String =
            self.user.iter().flat_map(|user| user.chars()).skip(characters).collect();
        self.user(&user)
    }

    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(mut self, host: &str) -> UriBuilder {
        self.host = escape(host, b"[]:");
        self
    }

    /// The port.
    pub fn port(mut self, port: u16) -> UriBuilder {
        self.port = Some(port);
        self
    }

    /// Takes the port away.
    pub fn no_port(mut self) -> UriBuilder {
        self.port = None;
        self
    }

    /// Sets a parameter, in its place where it stands already.
    pub fn param(mut self, name: &str, value: Option<&str>) -> UriBuilder {
        let (name, value) = (escape(name, PARAM), value.map(|value| escape(value, PARAM)));
        match self.params.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(&name)) {
            Some((_, known)) => *known = value,
            None => self.params.push((name, value)),
        }
        self
    }

    /// Takes a parameter away.
    pub fn no_param(mut self, name: &str) -> UriBuilder {
        self.params.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// Takes the headers after the question mark away: a Request-URI has none (§19.1.1).
    pub fn no_headers(mut self) -> UriBuilder {
        self.headers = None;
        self
    }
}

/// What a parameter may hold beside the unreserved octets (§25.1).
const PARAM: &[u8] = b"[]/:&+$%";

fn escape(text: &str, also: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte) || also.contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

impl std::fmt::Display for UriBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:", self.scheme)?;
        if let Some(user) = &self.user {
            f.write_str(user)?;
            if let Some(password) = &self.password {
                write!(f, ":{password}")?;
            }
            if !self.host.is_empty() {
                f.write_str("@")?;
            }
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        for (name, value) in &self.params {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        match &self.headers {
            Some(headers) => write!(f, "?{headers}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(uri: &str, change: impl FnOnce(UriBuilder) -> UriBuilder) -> String {
        let parsed = Uri::parse(uri.as_bytes()).expect("a URI");
        let changed = change(UriBuilder::from(&parsed)).to_string();
        Uri::parse(changed.as_bytes()).expect("what is written can be read back");
        changed
    }

    #[test]
    fn nothing_changed_is_the_same_uri() {
        for uri in [
            "sip:alice@example.com",
            "sips:alice:secret@[2001:db8::1]:5071;lr;transport=tls?Subject=x",
            "sip:192.0.2.1",
            "tel:+4930123;phone-context=x",
        ] {
            assert_eq!(change(uri, |builder| builder), uri);
        }
    }

    #[test]
    fn parts_are_replaced() {
        let uri = "sip:0301234@example.com:5070;user=phone";
        assert_eq!(
            change(uri, |b| b.strip_user(1).prefix_user("+49")),
            "sip:+49301234@example.com:5070;user=phone"
        );
        assert_eq!(
            change(uri, |b| b.host("[2001:db8::7]").no_port()),
            "sip:0301234@[2001:db8::7];user=phone"
        );
        assert_eq!(
            change(uri, |b| b.param("USER", None).param("x", Some("y"))),
            "sip:0301234@example.com:5070;user;x=y"
        );
        assert_eq!(change(uri, |b| b.no_user().no_param("user")), "sip:example.com:5070");
    }

    #[test]
    fn nothing_breaks_out_of_a_part() {
        let hostile = change("sip:a@h", |b| b.user("b@evil> SIP/2.0\r\nX: y"));
        assert_eq!(hostile, "sip:b%40evil%3E%20SIP/2.0%0D%0AX%3A%20y@h");
        assert_eq!(change("sip:a@h", |b| b.param("p", Some("1;lr"))), "sip:a@h;p=1%3Blr");
    }
}
