//! Small checks and headers of a request: what Kamailio keeps in `siputils`.
//!
//! For: routings that want one question answered or one header written.
//! Not here: checks that every request passes before its routing (`proxy/admission.rs`), questions
//! about a URI alone (`message/`).

use super::{Reply, Request, Response, Routing};
use crate::date::UnixTime;
use crate::message::{ChangedContact, EditError, HeaderName, Uri};
use crate::time::Duration;

/// How the Date of a request is beside this node's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum DateCheck {
    /// Close enough.
    Fresh,
    /// Too far from now, either way.
    Stale,
    /// There is none.
    Missing,
    /// It cannot be read.
    Unreadable,
}

/// What to do about P-Charging-Vector (RFC 7315 §5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChargingVector {
    /// Take it away (`r`).
    Remove,
    /// Write one where there is none (`g`).
    Generate,
    /// Write one in place of what is there (`f`).
    Replace,
}

const P_CHARGING_VECTOR: &str = "P-Charging-Vector";

impl<R: Routing> Request<'_, R> {
    /// Whether this node is the first one that its sender met: it has one Via.
    pub fn is_first_hop(&self) -> bool {
        self.message().vias().count() == 1
    }

    /// Whether it may go fewer than `hops` hops further (`is_maxfwd_lt`); not without a
    /// Max-Forwards.
    pub fn is_max_forwards_below(&self, hops: u32) -> bool {
        self.message().max_forwards().is_ok_and(|left| left.is_some_and(|left| left < hops))
    }

    /// The date of this turn.
    pub fn date(&self) -> UnixTime {
        UnixTime::from_secs(self.unix_time().as_secs())
    }

    /// Whether its Date is within so much time of this node's clock (`hdr_date_check`).
    pub fn check_date(&self, within: Duration) -> DateCheck {
        let Some(field) = self.message().header(HeaderName::Date) else {
            return DateCheck::Missing;
        };
        let text = std::str::from_utf8(field.value).ok();
        let Some(date) = text.and_then(UnixTime::parse_rfc1123) else {
            return DateCheck::Unreadable;
        };
        let now = self.date();
        let apart = now.since(date).max(date.since(now));
        if apart <= within { DateCheck::Fresh } else { DateCheck::Stale }
    }

    /// Appends a Remote-Party-ID that names this URI (`append_rpid_hf`). Without parameters of
    /// its own it says `party=calling;id-type=subscriber;screen=yes`.
    ///
    /// # Errors
    /// When a text would split the header.
    pub fn append_rpid(&mut self, uri: &str, parameters: Option<&str>) -> Result<(), EditError> {
        let parameters = parameters.unwrap_or("party=calling;id-type=subscriber;screen=yes");
        self.append_header("Remote-Party-ID", &format!("<{uri}>;{parameters}"))
    }

    /// Writes or removes P-Charging-Vector (`sip_p_charging_vector`); the identifier is random,
    /// `generated_at` is this node's host. Yields the identifier that goes on, if one does.
    ///
    /// # Errors
    /// When a text would split the header.
    pub fn charging_vector(
        &mut self,
        what: ChargingVector,
        generated_at: &str,
    ) -> Result<Option<String>, EditError> {
        let present = self.message().header_named(P_CHARGING_VECTOR.as_bytes()).map(|field| {
            let value = String::from_utf8_lossy(field.value);
            let parameters = value.split(';').map(str::trim);
            let mut pairs = parameters.filter_map(|parameter| parameter.split_once('='));
            let icid = pairs.find(|(name, _)| name.eq_ignore_ascii_case("icid-value"));
            icid.map_or_else(String::new, |(_, value)| value.trim_matches('"').to_owned())
        });
        match (what, present) {
            (ChargingVector::Generate, Some(icid)) => return Ok(Some(icid)),
            (ChargingVector::Remove | ChargingVector::Replace, Some(_)) => {
                self.remove_header(P_CHARGING_VECTOR)?;
            }
            (_, None) => {}
        }
        if what == ChargingVector::Remove {
            return Ok(None);
        }
        let [one, other] = self.random();
        let icid = format!("{one:016x}{other:016x}");
        let value = format!("icid-value={icid};icid-generated-at={generated_at}");
        self.append_header(P_CHARGING_VECTOR, &value)?;
        Ok(Some(icid))
    }

    /// Packs every contact into a URI of `host` (`encode_contact`); how many Contact fields have
    /// changed. [`Uri::decoded`] of a Request-URI unpacks it (`decode_contact`).
    ///
    /// # Errors
    /// When an edit is refused.
    pub fn encode_contacts(&mut self, prefix: &str, host: &str) -> Result<usize, EditError> {
        let fields = self.message().changed_contacts(|_, uri| packed(uri, prefix, host));
        self.edit(|edits| edits.replace_contacts(&fields))
    }
}

impl Response<'_> {
    /// The same for a response; nothing for one that is made here.
    ///
    /// # Errors
    /// When an edit is refused.
    pub fn encode_contacts(&mut self, prefix: &str, host: &str) -> Result<usize, EditError> {
        let Some(message) = self.message() else { return Ok(0) };
        let fields = message.changed_contacts(|_, uri| packed(uri, prefix, host));
        self.edits().replace_contacts(&fields)
    }

    /// Whether it comes from a user agent and from no further proxy that stays in the path: there
    /// is no Record-Route, or its topmost value is ours.
    pub fn is_first_hop(&self) -> bool {
        let Some(message) = self.message() else { return false };
        match message.record_routes().next() {
            None => true,
            Some(route) => route.is_ok_and(|route| route.uri().is_ok_and(|uri| self.is_ours(&uri))),
        }
    }
}

fn packed(uri: &Uri<'_>, prefix: &str, host: &str) -> Option<ChangedContact> {
    let uri = uri.encoded(prefix, host)?.to_string();
    Some(ChangedContact { uri, more: String::new() })
}

impl Reply {
    /// 200 to an OPTIONS for this node (`options_reply`, RFC 3261 §11.2), with the methods that it
    /// allows.
    pub fn options(allow: &str) -> Reply {
        Reply::new(200)
            .header("Accept", "*/*")
            .header("Accept-Encoding", "")
            .header("Accept-Language", "en")
            .header("Allow", allow)
            .header("Supported", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Settings;
    use crate::message::Edits;
    use crate::rig::Bench;
    use crate::routing::Answer;
    use crate::time::{Duration, secs};
    use crate::transport::ListenerId;

    /// Answers what is asked by the subject.
    struct Asked;

    impl Routing for Asked {
        type Modules = ();

        async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
            let subject = request.message().header(HeaderName::Subject);
            let subject = subject.map_or(Vec::new(), |field| field.value.to_vec());
            let vector = |what| (what, "gw.example.com");
            let (what, host) = match subject.as_slice() {
                b"hop" => {
                    let first = request.is_first_hop();
                    let near = request.is_max_forwards_below(10);
                    return Err(Reply::new(480).reason(&format!("{first} {near}")));
                }
                b"date" => {
                    let checked = request.check_date(secs(600));
                    return Err(Reply::new(480).reason(&format!("{checked:?}")));
                }
                b"options" => return Err(Reply::options("INVITE, ACK")),
                b"remove" => vector(ChargingVector::Remove),
                b"replace" => vector(ChargingVector::Replace),
                _ => vector(ChargingVector::Generate),
            };
            let icid = request.charging_vector(what, host)?;
            request.append_header("X-Icid", icid.as_deref().unwrap_or("none"))?;
            request.append_rpid("sip:+3901@example.com", None)?;
            request.encode_contacts("enc", host)?;
            Ok(request.relay_to_target().into())
        }
    }

    /// Date: Sat, 13 Nov 2010 23:29:00 GMT
    const NOW: Duration = Duration::from_secs(1_289_690_940);

    fn ask(lines: &str) -> String {
        let settings = Settings { unix_start: NOW, ..Settings::default() };
        let mut bench = Bench::alone(&["192.0.2.1:5060"], settings, Asked, ());
        let text = format!(
            "OPTIONS sip:bob@192.0.2.20 SIP/2.0\r\n\
             Via: SIP/2.0/UDP 192.0.2.10;branch=z9hG4bK1\r\n{lines}\
             From: <sip:a@192.0.2.10>;tag=a\r\nTo: <sip:bob@192.0.2.20>\r\n\
             Call-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        let caller = "192.0.2.10:5060".parse().expect("an address");
        bench.receive(ListenerId(0), caller, text.as_bytes());
        let sent = bench.take_sent();
        let sent = &sent.last().expect("something was sent").bytes;
        String::from_utf8_lossy(sent).into_owned()
    }

    fn value<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
        text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).collect()
    }

    #[test]
    fn the_first_hop_and_the_hops_left() {
        let reason = |lines: &str| ask(lines).lines().next().expect("a line")[12..].to_owned();
        assert_eq!(reason("Subject: hop\r\nMax-Forwards: 9\r\n"), "true true");
        let two = "Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bK0\r\nSubject: hop\r\n";
        assert_eq!(reason(&format!("{two}Max-Forwards: 10\r\n")), "false false");
        let date = |date: &str| reason(&format!("Subject: date\r\n{date}"));
        assert_eq!(date("Date: Sat, 13 Nov 2010 23:20:00 GMT\r\n"), "Fresh");
        assert_eq!(date("Date: Sat, 13 Nov 2010 23:39:01 GMT\r\n"), "Stale");
        assert_eq!(date("Date: yesterday\r\n"), "Unreadable");
        assert_eq!(date(""), "Missing");
    }

    #[test]
    fn a_charging_vector_is_kept_replaced_or_removed() {
        let own = "P-Charging-Vector: icid-value=\"x1\";icid-generated-at=1.2.3.4\r\n";
        let kept = ask(own);
        let vector = "icid-value=\"x1\";icid-generated-at=1.2.3.4";
        assert_eq!(value(&kept, "P-Charging-Vector"), [vector]);
        assert_eq!(value(&kept, "X-Icid"), ["x1"]);
        let replaced = ask(&format!("Subject: replace\r\n{own}"));
        let icid = value(&replaced, "X-Icid")[0];
        let vector = format!("icid-value={icid};icid-generated-at=gw.example.com");
        assert_eq!(value(&replaced, "P-Charging-Vector"), [vector]);
        assert_eq!(icid.len(), 32);
        let removed = ask(&format!("Subject: remove\r\n{own}"));
        assert_eq!(value(&removed, "P-Charging-Vector"), [""; 0]);
        assert_eq!(value(&removed, "X-Icid"), ["none"]);
        assert_eq!(value(&ask(""), "P-Charging-Vector").len(), 1);
    }

    #[test]
    fn headers_and_contacts_are_written() {
        let text = ask("Contact: \"B\" <sip:b@10.0.0.5:5070>;expires=9\r\n");
        let contact = "\"B\" <sip:enc*b**10.0.0.5*5070*@gw.example.com>;expires=9";
        assert_eq!(value(&text, "Contact"), [contact]);
        let rpid = "<sip:+3901@example.com>;party=calling;id-type=subscriber;screen=yes";
        assert_eq!(value(&text, "Remote-Party-ID"), [rpid]);
        let options = ask("Subject: options\r\n");
        assert!(options.starts_with("SIP/2.0 200 "), "{options}");
        assert_eq!(value(&options, "Allow"), ["INVITE, ACK"]);
        assert!(Edits::default().replace_contacts(&[]).is_ok());
    }
}
