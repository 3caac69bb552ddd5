//! The 200 to a REGISTER: RFC 3261 §10.3 step 8, RFC 3327, 5626, 5627.
//!
//! For: listing what an address is bound to.
//! Invariants: every Contact value has its `expires`; nothing in a stored text ends a header.

use super::gruu::GruuKeys;
use super::read::Echo;
use super::settings::Settings;
use crate::location::{Aor, Contact};
use strowger_sip::date::UnixTime;
use strowger_sip::entropy::Entropy;
use strowger_sip::message::Uri;
use strowger_sip::routing::Reply;

/// What a 200 is written with.
pub(crate) struct Writing<'w> {
    pub(crate) settings: &'w Settings,
    pub(crate) gruu: &'w GruuKeys,
    pub(crate) entropy: &'w mut Entropy,
    pub(crate) today: UnixTime,
}

impl Writing<'_> {
    /// The 200 for these bindings.
    pub(crate) fn ok(
        &mut self,
        aor: &Aor,
        to: &Uri<'_>,
        bindings: &[Contact],
        echo: &Echo,
    ) -> Reply {
        let mut reply = Reply::new(200);
        for contact in bindings {
            let value = self.contact(aor, to, contact, echo.gruu);
            reply = reply.header("Contact", &value);
        }
        if let Some(path) = &echo.path {
            reply = reply.header("Supported", "path").header("Path", path);
        }
        if echo.gruu {
            reply = reply.header("Supported", "gruu");
        }
        if echo.outbound {
            reply = reply.header("Supported", "outbound").header("Require", "outbound");
            if self.settings.flow_timer > 0 {
                reply = reply.header("Flow-Timer", &self.settings.flow_timer.to_string());
            }
        }
        reply
    }

    fn contact(&mut self, aor: &Aor, to: &Uri<'_>, contact: &Contact, gruu: bool) -> String {
        let (texts, facts) = (contact.texts(), &contact.facts);
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let mut value = format!("<{}>", text(texts.uri));
        // A permanent binding is shown with the longest lifetime there is.
        let expires = contact.remaining_seconds(self.today).unwrap_or(u64::from(u32::MAX));
        value.push_str(&format!(";expires={expires}"));
        if let Some(q) = facts.q {
            value.push_str(&format!(";q={}", thousandths(q)));
        }
        let received = &self.settings.received_param;
        if !received.is_empty() && !texts.received.is_empty() {
            value.push_str(&format!(";{received}=\"{}\"", text(texts.received)));
        }
        if !texts.instance.is_empty() {
            if gruu {
                let temporary = self.gruu.temporary(aor, contact, self.entropy.next_u64());
                let (host, instance) = (text(to.host_port), text(texts.instance));
                let user = text(to.user.unwrap_or_default());
                value.push_str(&format!(
                    ";pub-gruu=\"sip:{user}@{host};gr={instance}\"\
                     ;temp-gruu=\"sip:{temporary}@{host};gr\""
                ));
            }
            value.push_str(&format!(";+sip.instance=\"<{}>\"", text(texts.instance)));
        }
        if facts.reg_id > 0 {
            value.push_str(&format!(";reg-id={}", facts.reg_id));
        }
        value
    }
}

/// `1`, `0.5`, `0.125`.
fn thousandths(q: u16) -> String {
    let text = format!("{}.{:03}", q / 1000, q % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_is_written_as_short_as_it_can() {
        let written: Vec<String> = [0, 1000, 500, 125, 1].into_iter().map(thousandths).collect();
        assert_eq!(written, ["0", "1", "0.5", "0.125", "0.001"]);
    }
}
