//! One account elsewhere: a row of table `uacreg`, or a `[[uac.registration]]`.
//!
//! For: reading it from the configuration, from storage and from the command `uac.reg_add`, with
//! the same checks.
//! Not here: how it goes (`machine.rs`).
//! Invariants: whatever a record holds can be written into a message as it is.

use super::super::secret::{Secret, is_quotable};
use super::super::settings::{contact_addr, socket};
use strowger_sip::message::Uri;
use strowger_sip::settings::Section;
use strowger_sip::time::{Duration, secs};

/// An account at another registrar. Fields are the columns of table `uacreg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub(super) l_uuid: String,
    pub(super) l_username: String,
    pub(super) l_domain: String,
    pub(super) r_username: String,
    pub(super) r_domain: String,
    pub(super) realm: String,
    pub(super) auth_username: String,
    pub(super) secret: Secret,
    pub(super) auth_proxy: String,
    pub(super) expires_seconds: u32,
    pub(super) flags: u32,
    pub(super) reg_delay: Duration,
    pub(super) contact_addr: String,
    pub(super) contact_user: String,
    pub(super) socket: String,
}

/// The columns as they are written, before any check.
#[derive(Clone, Default)]
pub(super) struct Fields {
    pub(super) l_uuid: String,
    pub(super) l_username: String,
    pub(super) l_domain: String,
    pub(super) r_username: String,
    pub(super) r_domain: String,
    pub(super) realm: String,
    pub(super) auth_username: String,
    pub(super) auth_password: String,
    pub(super) auth_ha1: String,
    pub(super) auth_proxy: String,
    pub(super) expires: u64,
    pub(super) flags: u64,
    pub(super) reg_delay: u64,
    pub(super) contact_addr: String,
    pub(super) contact_user: String,
    pub(super) socket: String,
}

/// A value that cannot be used: its column, and what would be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub(super) column: &'static str,
    pub(super) allowed: &'static str,
}

/// Longest lifetime that is asked for. A guess: a month is for ever.
const EXPIRES_MAX: u64 = 31 * 86_400;
/// Longest delay.
const DELAY_MAX: u64 = 86_400;

impl Fields {
    /// Checks everything.
    pub(super) fn check(self) -> Result<Registration, Unusable> {
        self.check_names()?;
        self.check_way()?;
        let secret = self.secret()?;
        let fault = |column, allowed| Unusable { column, allowed };
        let expires = u32::try_from(self.expires).ok().filter(|_| self.expires <= EXPIRES_MAX);
        let expires_seconds = expires.ok_or(fault("expires", "0 to 2678400"))?;
        if self.reg_delay > DELAY_MAX {
            return Err(fault("reg_delay", "0 to 86400"));
        }
        let flags = u32::try_from(self.flags).map_err(|_| fault("flags", "32 bits"))?;
        Ok(Registration {
            secret,
            expires_seconds,
            flags,
            reg_delay: secs(self.reg_delay),
            l_uuid: self.l_uuid,
            l_username: self.l_username,
            l_domain: self.l_domain,
            r_username: self.r_username,
            r_domain: self.r_domain,
            realm: self.realm,
            auth_username: self.auth_username,
            auth_proxy: self.auth_proxy,
            contact_addr: self.contact_addr,
            contact_user: self.contact_user,
            socket: self.socket,
        })
    }

    /// Who it is, here and there.
    fn check_names(&self) -> Result<(), Unusable> {
        let fault = |column, allowed| Err(Unusable { column, allowed });
        for (column, text) in [
            ("l_uuid", &self.l_uuid),
            ("l_username", &self.l_username),
            ("l_domain", &self.l_domain),
            ("r_username", &self.r_username),
            ("r_domain", &self.r_domain),
        ] {
            if !is_part(text, 64) {
                return fault(column, "1 to 64 characters that a SIP URI may hold");
            }
        }
        let is_uri =
            |user: &str, host: &str| Uri::parse(format!("sip:{user}@{host}").as_bytes()).is_ok();
        if !is_uri(&self.l_username, &self.l_domain) {
            return fault("l_domain", "a host");
        }
        if !is_uri(&self.r_username, &self.r_domain) {
            return fault("r_domain", "a host");
        }
        let quotable = |text: &str| text.len() <= 64 && is_quotable(text);
        if !quotable(&self.auth_username) || self.auth_username.is_empty() {
            return fault("auth_username", "1 to 64 characters without quotes");
        }
        if !quotable(&self.realm) {
            return fault("realm", "at most 64 characters without quotes");
        }
        Ok(())
    }

    /// Where it is sent, from where, and what leads back.
    fn check_way(&self) -> Result<(), Unusable> {
        let fault = |column, allowed| Err(Unusable { column, allowed });
        let is_sip = Uri::parse(self.auth_proxy.as_bytes()).is_ok_and(|uri| uri.scheme.is_sip());
        if !is_sip || self.auth_proxy.len() > 255 {
            return fault("auth_proxy", "a SIP URI, where REGISTER is sent");
        }
        if !self.contact_addr.is_empty() && contact_addr(&self.contact_addr).is_err() {
            return fault("contact_addr", "host[:port][;params] without a parameter `line`");
        }
        if !self.contact_user.is_empty() && !is_part(&self.contact_user, 255) {
            return fault("contact_user", "at most 255 characters that a SIP URI may hold");
        }
        if !self.socket.is_empty() && socket(&self.socket).is_err() {
            return fault("socket", "a listener of this node, such as \"udp:192.0.2.1:5060\"");
        }
        Ok(())
    }

    fn secret(&self) -> Result<Secret, Unusable> {
        let fault = |column, allowed| Unusable { column, allowed };
        if self.auth_password.len() > 64 || self.auth_password.contains(char::is_control) {
            return Err(fault("auth_password", "at most 64 characters"));
        }
        let mut secret = Secret::password(&self.auth_password);
        if !self.auth_ha1.is_empty() {
            let with = secret.with_ha1(&self.auth_ha1);
            secret = with.ok_or(fault("auth_ha1", "32 or 64 hexadecimal digits"))?;
        }
        match secret.is_empty() {
            true => Err(fault("auth_password", "a password or auth_ha1")),
            false => Ok(secret),
        }
    }
}

/// Whether a text may be a user or a host as it is.
fn is_part(text: &str, most: usize) -> bool {
    let fits = |c: char| c.is_ascii_graphic() && !"\"<>@;,?".contains(c);
    !text.is_empty() && text.len() <= most && text.chars().all(fits)
}

/// The bit of column `flags` with which a record is disabled.
const DISABLED: u32 = 1;

impl Registration {
    /// Its id, unique in the node and every node that shares its tables.
    pub fn uuid(&self) -> &str {
        &self.l_uuid
    }

    /// The local user that is called when the account is: `sip:user@domain`.
    pub fn local_uri(&self) -> String {
        format!("sip:{}@{}", self.l_username, self.l_domain)
    }

    /// The account's own address: `sip:user@domain`.
    pub fn remote_uri(&self) -> String {
        format!("sip:{}@{}", self.r_username, self.r_domain)
    }

    /// Where requests for the account's provider are sent.
    pub fn auth_proxy(&self) -> &str {
        &self.auth_proxy
    }

    pub(super) fn is_disabled(&self) -> bool {
        self.flags & DISABLED != 0
    }

    /// Whether both bind the same contact to the same account by the same way.
    pub(super) fn binds_as(&self, other: &Registration) -> bool {
        let own = |one: &Registration| {
            [
                one.r_username.clone(),
                one.r_domain.clone(),
                one.auth_proxy.clone(),
                one.contact_addr.clone(),
                one.contact_user.clone(),
                one.socket.clone(),
            ]
        };
        own(self) == own(other)
    }

    /// The URI of its contact, with this host where the record has none.
    pub(super) fn contact(&self, default_addr: &str) -> String {
        let addr = match self.contact_addr.is_empty() {
            true => default_addr,
            false => &self.contact_addr,
        };
        match self.contact_user.is_empty() {
            true => format!("sip:{}@{addr}", self.l_uuid),
            false => format!("sip:{}@{addr};line={}", self.contact_user, self.l_uuid),
        }
    }

    /// Reads a `[[uac.registration]]`.
    pub(in super::super) fn from_section(section: &mut Section<'_>) -> Option<Registration> {
        let fields = Fields {
            l_uuid: section.string_or("l_uuid", ""),
            l_username: section.string_or("l_username", ""),
            l_domain: section.string_or("l_domain", ""),
            r_username: section.string_or("r_username", ""),
            r_domain: section.string_or("r_domain", ""),
            realm: section.string_or("realm", ""),
            auth_username: section.string_or("auth_username", ""),
            auth_password: section.string_or("auth_password", ""),
            auth_ha1: section.string_or("auth_ha1", ""),
            auth_proxy: section.string_or("auth_proxy", ""),
            expires: section.integer("expires", 3600, 0..=EXPIRES_MAX),
            flags: section.integer("flags", 0, 0..=u64::from(u32::MAX)),
            reg_delay: section.integer("reg_delay", 0, 0..=DELAY_MAX),
            contact_addr: section.string_or("contact_addr", ""),
            contact_user: section.string_or("contact_user", ""),
            socket: section.string_or("socket", ""),
        };
        match fields.check() {
            Ok(registration) => Some(registration),
            Err(Unusable { column, allowed }) => {
                section.problem(column, "missing or not usable", allowed);
                None
            }
        }
    }
}

#[cfg(test)]
pub(in super::super) mod tests {
    use super::*;

    /// The record of uac.md (h) A15.
    pub(in super::super) fn fields() -> Fields {
        let text = str::to_owned;
        Fields {
            l_uuid: text("u1"),
            l_username: text("bob"),
            l_domain: text("local.example"),
            r_username: text("trunk01"),
            r_domain: text("sip.provider.example"),
            realm: text("sip.provider.example"),
            auth_username: text("trunk01"),
            auth_password: text("pw1"),
            auth_proxy: text("sip:192.0.2.74:7074"),
            expires: 360,
            ..Fields::default()
        }
    }

    #[test]
    fn contacts_have_the_id_as_user_or_as_line() {
        let one = fields().check().expect("a record");
        assert_eq!(one.contact("192.0.2.1:5060"), "sip:u1@192.0.2.1:5060");
        let with = Fields { contact_user: "trunkA".into(), ..fields() }.check().expect("a record");
        assert_eq!(with.contact("192.0.2.1:5060"), "sip:trunkA@192.0.2.1:5060;line=u1");
        assert!(!one.binds_as(&with));
    }

    #[test]
    fn what_would_break_a_message_is_refused() {
        let column = |fields: Fields| fields.check().map_err(|fault| fault.column).err();
        assert_eq!(column(fields()), None);
        let bad = |text: &str| text.to_owned();
        for (fields, wanted) in [
            (Fields { l_uuid: bad(""), ..fields() }, "l_uuid"),
            (Fields { l_uuid: bad("a b"), ..fields() }, "l_uuid"),
            (Fields { r_domain: bad("h\r\nX: y"), ..fields() }, "r_domain"),
            (Fields { realm: bad("a\"b"), ..fields() }, "realm"),
            (Fields { auth_proxy: bad("tel:+39"), ..fields() }, "auth_proxy"),
            (Fields { auth_password: bad(""), ..fields() }, "auth_password"),
            (Fields { auth_ha1: bad("xyz"), ..fields() }, "auth_ha1"),
            (Fields { contact_addr: bad("h;line=u2"), ..fields() }, "contact_addr"),
            (Fields { contact_user: bad("a>b"), ..fields() }, "contact_user"),
            (Fields { socket: bad("192.0.2.1"), ..fields() }, "socket"),
            (Fields { expires: u64::MAX, ..fields() }, "expires"),
        ] {
            assert_eq!(column(fields), Some(wanted));
        }
    }

    #[test]
    fn no_secret_is_shown() {
        let shown = format!("{:?}", fields().check().expect("a record"));
        assert!(!shown.contains("pw1"), "{shown}");
    }
}
