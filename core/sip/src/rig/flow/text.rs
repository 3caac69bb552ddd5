//! A SIP message as a script sees it: a start line, headers in order, a body.
//!
//! For: writing and reading messages in the plainest way, apart from the parser and the writers of
//! `message/`, so that a flow checks them too.
//! Not here: which headers a user agent writes (`compose.rs`), what is expected (`check.rs`).
//! Invariants: `from_bytes` and `to_bytes` lose no octet of a message with a head that ends.

/// Octets that are not UTF-8 stand as this character and those that follow it (private use).
const OCTETS: u32 = 0xF700;

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    /// The request line or status line.
    pub(super) start: String,
    /// Names and values, in order.
    pub(super) headers: Vec<(String, String)>,
    /// What follows the empty line.
    pub(super) body: String,
}

/// The character that stands for one octet.
pub(super) fn octet(byte: u8) -> char {
    if byte < 0x80 {
        return char::from(byte);
    }
    char::from_u32(OCTETS + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Text with its octets as they go over the wire.
pub(super) fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for character in text.chars() {
        match u32::from(character).checked_sub(OCTETS).and_then(|n| u8::try_from(n).ok()) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// The reverse of [`encode`].
pub(super) fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().copied().map(octet));
    }
    text
}

impl Text {
    /// Reads a message; a line without a colon becomes a header without a value.
    pub(super) fn from_bytes(bytes: &[u8]) -> Text {
        let whole = decode(bytes);
        let (head, body) = whole.split_once("\r\n\r\n").unwrap_or((&whole, ""));
        let mut lines = head.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let mut headers: Vec<(String, String)> = Vec::new();
        for line in lines {
            if line.starts_with([' ', '\t'])
                && let Some((_, value)) = headers.last_mut()
            {
                value.push(' ');
                value.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
        Text { start, headers, body: body.to_owned() }
    }

    /// Writes it; nothing is added, not even Content-Length.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{}\r\n", self.start);
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        encode(&text)
    }

    /// The status code; `None` for a request.
    pub(super) fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.split(' ').next()?.parse().ok()
    }

    /// What follows the status code.
    pub(super) fn reason(&self) -> &str {
        self.start.splitn(3, ' ').nth(2).unwrap_or_default()
    }

    /// The method of a request; of a response, that of its CSeq.
    pub(super) fn method(&self) -> &str {
        let source = match self.status() {
            Some(_) => self.get("CSeq").and_then(|cseq| cseq.split_whitespace().nth(1)),
            None => self.start.split(' ').next(),
        };
        source.unwrap_or_default()
    }

    /// The Request-URI.
    pub(super) fn uri(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    /// The number in CSeq.
    pub(super) fn cseq(&self) -> u32 {
        let number = self.get("CSeq").and_then(|cseq| cseq.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// The value of the first header of this name.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// The values of all headers of this name.
    pub(super) fn all<'t>(&'t self, name: &str) -> impl Iterator<Item = &'t str> + use<'t> {
        let wanted = canonical(name);
        self.headers
            .iter()
            .filter(move |(name, _)| canonical(name).eq_ignore_ascii_case(&wanted))
            .map(|(_, value)| value.as_str())
    }

    /// The members of all headers of this name that hold a list.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        self.all(name).flat_map(split_list).collect()
    }

    /// A parameter of the first header of this name: what follows `;name=`.
    pub(super) fn param(&self, header: &str, name: &str) -> Option<String> {
        let value = self.list(header).into_iter().next()?;
        // Parameters of the URI in angle brackets are not the header's.
        let outside = value.rsplit_once('>').map_or(value.as_str(), |(_, rest)| rest);
        outside.split(';').skip(1).find_map(|param| {
            let (key, value) = param.split_once('=').unwrap_or((param, ""));
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }

    /// Sets a header in the place where it is, or at the end; further ones of its name go.
    pub(super) fn set(&mut self, name: &str, value: &str) {
        let wanted = canonical(name);
        let is_one = |have: &str| canonical(have).eq_ignore_ascii_case(&wanted);
        let place = self.headers.iter().position(|(have, _)| is_one(have));
        self.headers.retain(|(have, _)| !is_one(have));
        let place = place.unwrap_or(self.headers.len()).min(self.headers.len());
        self.headers.insert(place, (name.to_owned(), value.to_owned()));
    }

    /// Adds a header after those of its name, or at the end.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        let wanted = canonical(name);
        let last = self
            .headers
            .iter()
            .rposition(|(have, _)| canonical(have).eq_ignore_ascii_case(&wanted))
            .map_or(self.headers.len(), |last| last + 1);
        self.headers.insert(last, (name.to_owned(), value.to_owned()));
    }

    /// Removes every header of this name.
    pub(super) fn remove(&mut self, name: &str) {
        let wanted = canonical(name);
        self.headers.retain(|(have, _)| !canonical(have).eq_ignore_ascii_case(&wanted));
    }
}

/// The long form of a header name (RFC 3261 §7.3.3 and its kin).
fn canonical(name: &str) -> String {
    let long = match name.to_ascii_lowercase().as_str() {
        "c" => "Content-Type",
        "e" => "Content-Encoding",
        "f" => "From",
        "i" => "Call-ID",
        "k" => "Supported",
        "l" => "Content-Length",
        "m" => "Contact",
        "o" => "Event",
        "r" => "Refer-To",
        "s" => "Subject",
        "t" => "To",
        "u" => "Allow-Events",
        "v" => "Via",
        "x" => "Session-Expires",
        _ => name,
    };
    long.to_owned()
}

/// Splits a comma-separated list; commas in quotes or angle brackets belong to a member.
fn split_list(value: &str) -> Vec<String> {
    let (mut members, mut start) = (Vec::new(), 0);
    let (mut quoted, mut angle) = (false, false);
    for (place, character) in value.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '<' if !quoted => angle = true,
            '>' if !quoted => angle = false,
            ',' if !quoted && !angle => {
                members.push(value[start..place].trim().to_owned());
                start = place + 1;
            }
            _ => {}
        }
    }
    members.push(value[start..].trim().to_owned());
    members
}

/// The URI in a name-addr or addr-spec.
pub(super) fn uri_of(value: &str) -> &str {
    if let Some((_, rest)) = value.split_once('<') {
        return rest.split('>').next().unwrap_or_default();
    }
    value.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_survive() {
        let bytes = b"OPTIONS sip:b SIP/2.0\r\nX: \xff\xc3\xa4\0\r\n\r\n\x80body";
        assert_eq!(Text::from_bytes(bytes).to_bytes(), bytes);
    }

    #[test]
    fn lists_are_split_at_their_own_commas() {
        let mut text = Text::default();
        text.add("Route", "<sip:a;x=1,2>, \"b, c\" <sip:d>;e=f");
        assert_eq!(text.list("route"), ["<sip:a;x=1,2>", "\"b, c\" <sip:d>;e=f"]);
        text.set("t", "<sip:b;tag=uri>;tag=own");
        assert_eq!(text.param("To", "tag").as_deref(), Some("own"));
        assert_eq!(uri_of(text.get("To").unwrap()), "sip:b;tag=uri");
    }

    #[test]
    fn set_keeps_the_place() {
        let mut text = Text::default();
        for (name, value) in [("Via", "1"), ("To", "2"), ("Via", "3")] {
            text.headers.push((name.into(), value.into()));
        }
        text.set("v", "4");
        assert_eq!(text.headers, [("v".into(), "4".into()), ("To".into(), "2".into())]);
    }
}
