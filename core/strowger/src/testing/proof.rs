//! A party's side of digest authentication: RFC 7616 §3.4.
//!
//! For: answering the first challenge that is understood, with `qop=auth` where that is offered.
//! Not here: the proxy's side (`strowger_modules::auth`, also the hashes).

use strowger_modules::auth::Algorithm;
use strowger_sip::rig::flow::Exchange;

/// Any value will do: the nonce is the server's, and a test replays.
const CNONCE: &str = "0a4f113b";

/// The header line that answers the challenge of an exchange.
pub(super) fn header(exchange: &Exchange, user: &str, password: &str) -> Result<String, String> {
    let name = match exchange.status {
        401 => "Authorization",
        407 => "Proxy-Authorization",
        other => return Err(format!("{other} is no challenge")),
    };
    let mut challenges = exchange.values.iter().filter_map(|value| Challenge::read(value));
    let challenge = challenges.next().ok_or("no challenge that can be understood")?;
    Ok(format!("{name}: {}", challenge.answer(exchange, user, password)))
}

struct Challenge<'c> {
    algorithm: Algorithm,
    parameters: Vec<(&'c str, &'c str)>,
}

impl<'c> Challenge<'c> {
    fn read(value: &'c str) -> Option<Challenge<'c>> {
        let rest = value.trim().strip_prefix("Digest ")?;
        let parameters: Vec<_> = split(rest).into_iter().filter_map(parameter).collect();
        let mut challenge = Challenge { algorithm: Algorithm::MD5, parameters };
        if let Some(name) = challenge.get("algorithm") {
            challenge.algorithm = Algorithm::from_name(name.as_bytes())?;
        }
        Some(challenge).filter(|challenge| !challenge.algorithm.session)
    }

    fn get(&self, name: &str) -> Option<&'c str> {
        let found = self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| *value)
    }

    fn answer(&self, exchange: &Exchange, user: &str, password: &str) -> String {
        let hash = self.algorithm.hash;
        let (realm, nonce) = (self.get("realm").unwrap_or(""), self.get("nonce").unwrap_or(""));
        let (method, uri) = (&exchange.method, &exchange.uri);
        let ha1 = hash.of(&[user.as_bytes(), realm.as_bytes(), password.as_bytes()]);
        let ha2 = hash.of(&[method.as_bytes(), uri.as_bytes()]);
        let (ha1, ha2, nonce_bytes) = (ha1.as_bytes(), ha2.as_bytes(), nonce.as_bytes());
        let offers = self.get("qop").unwrap_or("");
        let with_qop = offers.split(',').any(|qop| qop.trim() == "auth");
        let (response, more) = if with_qop {
            let parts = [ha1, nonce_bytes, b"00000001", CNONCE.as_bytes(), b"auth", ha2];
            (hash.of(&parts), format!(", qop=auth, nc=00000001, cnonce=\"{CNONCE}\""))
        } else {
            (hash.of(&[ha1, nonce_bytes, ha2]), String::new())
        };
        let opaque = self.get("opaque").map(|opaque| format!(", opaque=\"{opaque}\""));
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             algorithm={}, response=\"{}\"{more}{}",
            self.algorithm,
            response.as_str(),
            opaque.unwrap_or_default(),
        )
    }
}

/// Splits at commas outside of quotation marks.
fn split(text: &str) -> Vec<&str> {
    let mut quoted = false;
    text.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    })
    .collect()
}

fn parameter(text: &str) -> Option<(&str, &str)> {
    let (name, value) = text.split_once('=')?;
    Some((name.trim(), value.trim().trim_matches('"')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_challenge_that_is_understood_is_answered() {
        let exchange = Exchange {
            method: "REGISTER".into(),
            uri: "sip:example.com".into(),
            status: 401,
            values: vec![
                "Digest realm=\"r\", nonce=\"n\", algorithm=NEWER".into(),
                "Digest realm=\"example.com, it\", nonce=\"n\", qop=\"auth,auth-int\"".into(),
            ],
        };
        let header = header(&exchange, "alice", "secret").unwrap();
        assert!(header.starts_with("Authorization: Digest username=\"alice\""), "{header}");
        assert!(header.contains("realm=\"example.com, it\"") && header.contains("qop=auth,"));
        let known = strowger_modules::auth::read_credentials(&header.as_bytes()[15..]).unwrap();
        assert_eq!(known.username, b"alice");
    }

    #[test]
    fn what_is_no_challenge_is_said() {
        let exchange = Exchange {
            method: "INVITE".into(),
            uri: "sip:b@example.com".into(),
            status: 200,
            values: Vec::new(),
        };
        assert_eq!(header(&exchange, "a", "b"), Err("200 is no challenge".into()));
    }
}
