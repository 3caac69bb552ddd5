//! The stock routing: what the `strowger` binary does, set up by TOML alone.
//!
//! For: the common carrier without a line of Rust: users register and are called, trunks are
//! reached through the dispatcher or one next hop, everybody else where they are addressed; calls
//! stay on this node's path.
//! Not here: reading files and command lines (`start.rs`).

use crate::nat::is_behind_nat;
use strowger_modules::auth::{Auth, Authenticating};
use strowger_modules::dialog::{CALLER_PROFILE, Dialog, DialogRequest};
use strowger_modules::dispatcher::{Algorithm, Dispatcher, DispatcherRequest};
use strowger_modules::location::Location;
use strowger_modules::nathelper::{AliasWhen, Nat, NatRequest, NatTests};
use strowger_modules::path::{PathEntry, PathRequest};
use strowger_modules::permissions::{Permissions, PermissionsRequest};
use strowger_modules::pike::Pike;
use strowger_modules::pua::Pua;
use strowger_modules::pua_dialoginfo::PuaDialoginfo;
use strowger_modules::pua_reginfo::PuaReginfo;
use strowger_modules::pua_usrloc::PuaUsrloc;
use strowger_modules::registrar::{
    ForkingTo, Found, LookingUp, Registrar, SaveOptions, Saving, Trusted,
};
use strowger_modules::uac::{RequestBy, Uac, UacRequest};
use strowger_sip::message::{Host, MethodKind, NameAddr, Scheme, Uri};
use strowger_sip::routing::{
    Answer, Destination, Outcome, Relay, Reply, Request, Response, Routing, Within,
};
use strowger_sip::settings::Section;

/// Methods that this node answers for itself (RFC 3261 §20.5).
const ALLOW: &str = "INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, REFER, SUBSCRIBE, \
                     NOTIFY, MESSAGE, PUBLISH, REGISTER";

/// The stock routing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stock {
    next_hop: Option<String>,
    registrar: bool,
    nat: bool,
    realm: Option<String>,
    trusted_group: Option<u32>,
    trunk_set: Option<u32>,
    trunk_algorithm: Algorithm,
    path: bool,
    rules: bool,
    dialog: bool,
    caller_limit: Option<u32>,
    presence: bool,
    uac_auth: bool,
    uac_from: Option<(String, String)>,
    uac_trunk: Option<String>,
    uac_registrations: bool,
}

impl Stock {
    /// Reads `[routing]`. Every key is optional:
    ///
    /// - `next_hop`: a SIP URI to which requests that are not for a registered user go; without it
    ///   they go to their Request-URI.
    /// - `registrar` (default false): serve REGISTER for this node's domains and call the users.
    /// - `nat` (default false): users whose address is translated on the way are reached where
    ///   their REGISTER came from, and kept alive as `[usrloc] natping_interval` and `ka_mode` say;
    ///   their contacts in other messages get an alias, which requests within a dialog follow.
    /// - `realm`: challenge REGISTER and what a user of this node's domains sends, in this realm.
    /// - `trusted_group`: requests from addresses of this group of `[permissions]` are not
    ///   challenged.
    /// - `trunk_set`, `trunk_algorithm` (a number of Kamailio's, default 8): a set of
    ///   `[dispatcher]` in place of `next_hop`, with failover.
    /// - `path` (default false): REGISTER that is sent on to a registrar gets this node's Path, and
    ///   what comes back by it goes to where the registration came from.
    /// - `rules` (default false): who may call whom, and register what, stands in the default allow
    ///   and deny files of `[permissions]`; others get 403.
    /// - `dialog` (default false): track calls, as `[dialog]` says.
    /// - `caller_limit`: how many calls one caller, by the URI in From, may have at a time; one
    ///   more gets 486. Tracks calls.
    /// - `presence` (default false): users who register are published as present, as
    ///   `[pua_usrloc]` says.
    /// - `uac_auth` (default false): challenges of the trunks, or of the next hop, are answered
    ///   with what `[uac]` has; in calls that are tracked also those within the call.
    /// - `uac_from`: a URI, or a name and a URI in brackets, that trunks see in From of what comes
    ///   from others; each party goes on seeing what it knows.
    /// - `uac_trunk`: the `l_uuid` of an account of `[uac]`; what would go to the next hop goes
    ///   over it, to the provider's domain and with its credentials.
    /// - `uac_registrations` (default false): a call to the contact of an account of `[uac]` goes
    ///   to the account's local user.
    pub fn from_config(section: &mut Section<'_>) -> Stock {
        let number = section.integer("trunk_algorithm", 8, 0..=64);
        let known = u8::try_from(number).ok().and_then(Algorithm::from_number);
        if known.is_none() {
            section.problem("trunk_algorithm", format!("{number} is not known"), "0 to 15, 64");
        }
        let mut group = |key| section.integer_if_set(key, 0..=u64::from(u32::MAX));
        let (trusted, trunks) = (group("trusted_group"), group("trunk_set"));
        let limit = section.integer_if_set("caller_limit", 1..=1_000_000);
        Stock {
            next_hop: section.parsed("next_hop", next_hop),
            registrar: section.boolean("registrar", false),
            nat: section.boolean("nat", false),
            realm: section.string("realm"),
            trusted_group: trusted.and_then(|group| u32::try_from(group).ok()),
            trunk_set: trunks.and_then(|set| u32::try_from(set).ok()),
            trunk_algorithm: known.unwrap_or(Algorithm::Serial),
            path: section.boolean("path", false),
            rules: section.boolean("rules", false),
            dialog: section.boolean("dialog", false),
            caller_limit: limit.and_then(|limit| u32::try_from(limit).ok()),
            presence: section.boolean("presence", false),
            uac_auth: section.boolean("uac_auth", false),
            uac_from: section.parsed("uac_from", name_and_uri),
            uac_trunk: section.string("uac_trunk"),
            uac_registrations: section.boolean("uac_registrations", false),
        }
    }
}

/// A display name, which may be empty, and a SIP URI.
fn name_and_uri(text: &str) -> Result<(String, String), String> {
    let read = NameAddr::parse(text.as_bytes()).ok();
    let read = read.filter(|read| read.params.as_bytes().is_empty());
    let usable = read.filter(|read| read.uri().is_ok_and(|uri| uri.scheme.is_sip()));
    let own = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    usable
        .map(|read| (own(read.display), own(read.uri)))
        .ok_or_else(|| "a SIP URI, or a name and a SIP URI in brackets".to_owned())
}

/// Checks a next hop; the error says what is allowed.
pub fn next_hop(text: &str) -> Result<String, String> {
    let allowed = || "a SIP URI, such as \"sip:192.0.2.20:5060\" or \"sip:example.com\"".to_owned();
    let uri = Uri::parse(text.as_bytes()).map_err(|_| allowed())?;
    match (uri.scheme, uri.host) {
        (Scheme::Sip, Host::V4(_) | Host::V6(_) | Host::Name(_)) => Ok(text.to_owned()),
        (_, Host::V4(_) | Host::V6(_) | Host::Name(_)) => Err(allowed()),
    }
}

impl Routing for Stock {
    type Modules = (
        Pike,
        Permissions,
        Auth,
        Location,
        Registrar,
        Dispatcher,
        Dialog,
        Uac,
        Pua,
        PuaReginfo,
        PuaUsrloc,
        PuaDialoginfo,
    );

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let follows_a_route = match request.loose_route()? {
            Some(within) if within.is_in_dialog() => return self.within_dialog(within).await,
            Some(within) => within.has_more(),
            None => false,
        };
        if request.method() == MethodKind::Ack {
            return Ok(self.acknowledge(&mut request));
        }
        let for_this_node = request.is_for_this_node() && !follows_a_route;
        if self.registrar && for_this_node && request.method() == MethodKind::Register {
            return self.register(&request).await;
        }
        self.see_nat(&mut request)?;
        if !request.is_within_dialog() {
            self.challenge_own_users(&request).await?;
            if self.rules && !request.permissions().allow_routing().is_allowed() {
                return Err(Reply::forbidden());
            }
        }
        if let Some(next_hop) = request.path_received().filter(|_| self.path) {
            return Ok(request.relay_by(next_hop).into());
        }
        if forms_dialog(request.method()) {
            request.record_route();
        }
        self.track(&mut request).await?;
        if for_this_node {
            return self.for_this_node(request).await;
        }
        if request.is_within_dialog() || follows_a_route {
            return Ok(request.relay_to_target().into());
        }
        if self.path && request.method() == MethodKind::Register {
            request.add_path(&PathEntry::new().received())?;
        }
        self.onward(&mut request).await
    }

    fn response(&self, response: &mut Response<'_>) {
        let tests = NatTests::CONTACT | NatTests::CONTACT_PORT;
        let status = response.status().code();
        if self.nat
            && (101..300).contains(&status)
            && response.is_first_hop()
            && !response.nat_uac_test(tests).is_empty()
        {
            // Without room for the edit the response goes as it is.
            let _ = response.contact_alias(AliasWhen::Different);
        }
    }
}

impl Stock {
    /// Along the route set; where that ends here, to the alias of a user behind a NAT.
    async fn within_dialog(&self, mut within: Within<'_, '_, Stock>) -> Result<Answer, Reply> {
        self.see_nat(within.request())?;
        let by_dialog = within.request().module(|uac: &mut Uac, _, _| uac.settings().restore_dlg);
        if by_dialog {
            within.request().uac().restore_by_dialog();
        }
        let ends_here = !within.has_more();
        let aliased = within.request().handle_ruri_alias().filter(|_| self.nat && ends_here);
        if let Some(aliased) = aliased {
            return Ok(within.request().fork().to_by(aliased.uri, aliased.next_hop).into());
        }
        let request = within.request();
        if !self.answers_within(request) {
            return Ok(within.relay().into());
        }
        loop {
            match request.relay_to_target().await {
                Outcome::Answered(_) => return Ok(Answer::Done),
                Outcome::Failed(failed) => {
                    if request.uac().auth_in_dialog(&failed).is_err() {
                        return Ok(failed.into());
                    }
                }
            }
        }
    }

    /// Whether a challenge of this request within a dialog is to be answered: of the caller's, in a
    /// call that is tracked. Whoever challenges the callee is no trunk.
    fn answers_within(&self, request: &mut Request<'_, Stock>) -> bool {
        let account = self.uac_trunk.as_ref();
        let has_trunks = self.next_hop.is_some() || self.trunk_set.is_some();
        let answers = (self.uac_auth && has_trunks) || account.is_some();
        if !answers || request.method() == MethodKind::Ack {
            return false;
        }
        let from_caller = request.dialog().snapshot().is_some_and(|call| call.direction == 1);
        if let Some(account) = account.filter(|_| from_caller) {
            // Its credentials are kept for this request; where it goes is known already.
            let _ = request.uac().reg_request_to(account, RequestBy::Uuid);
        }
        from_caller
    }

    /// A sender behind a NAT gets an alias in its contact.
    fn see_nat(&self, request: &mut Request<'_, Stock>) -> Result<(), Reply> {
        let behind = is_behind_nat(request.message(), request.source().remote);
        if self.nat && behind && request.method() != MethodKind::Register {
            request.contact_alias(AliasWhen::Different)?;
        }
        Ok(())
    }

    /// An ACK gets no answer, so it is sent on or dropped.
    fn acknowledge(&self, request: &mut Request<'_, Stock>) -> Answer {
        if request.is_for_this_node() { Answer::Drop } else { request.relay_to_target().into() }
    }

    /// REGISTER for one of this node's domains.
    async fn register(&self, request: &Request<'_, Stock>) -> Result<Answer, Reply> {
        if self.rules && !request.permissions().allow_register("").is_allowed() {
            return Err(Reply::forbidden());
        }
        let mut options = SaveOptions::default();
        if self.nat && is_behind_nat(request.message(), request.source().remote) {
            options = options.behind_nat();
        }
        let flag = request
            .module(|registrar: &mut Registrar, _, _| registrar.settings().tcp_persistent_flag);
        if let Some(bit) = flag {
            options = options.flags(1 << bit, 0);
        }
        if self.presence {
            options = options.presence();
        }
        let saved = match &self.realm {
            Some(realm) if !self.is_trusted(request) => {
                let user = request.authenticate(realm).await?;
                request.save_with(user, &options).await
            }
            Some(_) | None => request.save_with(Trusted, &options).await,
        };
        Ok(saved?.into())
    }

    /// Whoever claims in From to be a user of this node's domains has to prove it.
    async fn challenge_own_users(&self, request: &Request<'_, Stock>) -> Result<(), Reply> {
        let Some(realm) = &self.realm else { return Ok(()) };
        let from = request.message().from().and_then(|from| from.uri());
        let is_own = from.is_ok_and(|uri| uri.user.is_some() && request.is_ours(&uri));
        if is_own && request.method() != MethodKind::Cancel && !self.is_trusted(request) {
            let user = request.authenticate(realm).await?;
            let from = request.message().from().and_then(|from| from.uri());
            if !from.is_ok_and(|uri| user.is_user_of(&uri)) {
                return Err(Reply::forbidden());
            }
        }
        Ok(())
    }

    /// Tracks the call that an INVITE begins, and counts it for its caller.
    async fn track(&self, request: &mut Request<'_, Stock>) -> Result<(), Reply> {
        let tracks = self.dialog || self.caller_limit.is_some();
        if !tracks || request.method() != MethodKind::Invite || request.is_within_dialog() {
            return Ok(());
        }
        match self.caller_limit {
            Some(limit) => {
                let caller = caller(request).ok_or_else(Reply::bad_request)?;
                let reserved = request.dialog().reserve(CALLER_PROFILE, &caller, limit).await;
                reserved.or(Reply::busy_here())
            }
            None => Ok(request.dialog().manage()?),
        }
    }

    fn is_trusted(&self, request: &Request<'_, Stock>) -> bool {
        let Some(group) = self.trusted_group else { return false };
        request.permissions().allow_source_address(group).is_some()
    }

    /// Addressed to this node: one of its users, or the node itself.
    async fn for_this_node(&self, mut request: Request<'_, Stock>) -> Result<Answer, Reply> {
        let user = request.target().is_some_and(|uri| uri.user.is_some());
        if request.method() == MethodKind::Options && !user {
            return Err(Reply::options(ALLOW));
        }
        if request.is_within_dialog() && request.method() == MethodKind::Notify {
            // Of a subscription that this node has not (RFC 6665 §4.1.3).
            return Err(Reply::new(481));
        }
        if request.is_within_dialog() || !user {
            return Err(Reply::not_found());
        }
        if self.uac_registrations {
            let target = String::from_utf8_lossy(request.request_uri()).into_owned();
            if let Some(local) = request.uac().reg_lookup(&target) {
                return self.call_local(&mut request, &local).await;
            }
        }
        if self.registrar {
            let found = request.lookup().await?;
            return call_user(&mut request, &found).await;
        }
        // Sent on to where it is addressed, it would come back here.
        let leads_on = self.next_hop.is_some() || self.trunk_set.is_some();
        if !leads_on && self.uac_trunk.is_none() {
            return Err(Reply::not_found());
        }
        self.onward(&mut request).await
    }

    /// A call that came in by an account elsewhere, to the account's local user.
    async fn call_local(
        &self,
        request: &mut Request<'_, Stock>,
        local: &str,
    ) -> Result<Answer, Reply> {
        if self.registrar {
            let found = request.lookup_uri(local.as_bytes()).await?;
            return call_user(request, &found).await;
        }
        let next_hop = self.next_hop.as_ref().map(|uri| uri.as_bytes());
        let (uri, path, flow) = (local.as_bytes(), None, None);
        Ok(request.fork().to_destination(&Destination { uri, path, next_hop, flow }).into())
    }

    /// To the trunks, to the next hop, or to where the request is addressed.
    async fn onward(&self, request: &mut Request<'_, Stock>) -> Result<Answer, Reply> {
        self.show_as(request)?;
        if let Some(account) = &self.uac_trunk {
            return over_account(request, account).await;
        }
        if let Some(set) = self.trunk_set {
            let outcome = request.dispatcher().relay(set, self.trunk_algorithm).await?;
            return Ok(self.answer_challenges(request, outcome).await);
        }
        // Whoever is called somewhere else gets no proof of ours.
        if let Some(next_hop) = self.next_hop.as_ref().filter(|_| self.uac_auth) {
            let (uri, next_hop) = (request.request_uri().to_vec(), Some(next_hop.as_bytes()));
            let destination = Destination { uri: &uri, path: None, next_hop, flow: None };
            return Ok(request.uac().relay_in_dialog(&destination).await.into());
        }
        let relay: Relay<'_, '_, Stock> = match &self.next_hop {
            Some(next_hop) => request.relay_by(next_hop),
            None => request.relay_to_target(),
        };
        Ok(relay.into())
    }

    /// Trunks see one caller.
    fn show_as(&self, request: &mut Request<'_, Stock>) -> Result<(), Reply> {
        let Some((name, uri)) = self.uac_from.as_ref().filter(|_| !request.is_within_dialog())
        else {
            return Ok(());
        };
        let by_dialog = request.module(|uac: &mut Uac, _, _| uac.settings().restore_dlg);
        match by_dialog {
            true => request.uac().replace_from_in_dialog(Some(name), uri)?,
            false => request.uac().replace_from(name, uri)?,
        }
        Ok(())
    }

    /// The trunk that was chosen wants credentials: it, and no other, gets them.
    async fn answer_challenges(
        &self,
        request: &mut Request<'_, Stock>,
        mut outcome: Outcome,
    ) -> Answer {
        loop {
            let Outcome::Failed(failed) = &outcome else { return outcome.into() };
            let Some(trunk) = failed.source().filter(|_| self.uac_auth) else {
                return outcome.into();
            };
            if request.uac().auth_in_dialog(failed).is_err() {
                return outcome.into();
            }
            let next_hop = format!("sip:{};transport={}", trunk.remote, trunk.transport);
            outcome = request.relay_by(next_hop).await;
        }
    }
}

/// To a number of an account's provider, with the account's credentials.
async fn over_account(request: &mut Request<'_, Stock>, account: &str) -> Result<Answer, Reply> {
    let trunk = request.uac().reg_request_to(account, RequestBy::Uuid);
    let trunk = trunk.map_err(|_| Reply::new(503))?;
    let number = request.target().and_then(|uri| uri.user).map(<[u8]>::to_vec);
    let number = number.map(|number| String::from_utf8_lossy(&number).into_owned());
    let uri = number.and_then(|number| trunk.user(&number)).ok_or_else(Reply::not_found)?;
    Ok(request.uac().relay_in_dialog(&trunk.to(uri.as_bytes())).await.into())
}

/// Tries a user's contacts, those of equal preference together, the best first.
async fn call_user(request: &mut Request<'_, Stock>, found: &Found) -> Result<Answer, Reply> {
    let mut groups = found.groups().peekable();
    while let Some(group) = groups.next() {
        if groups.peek().is_none() {
            return Ok(request.fork_to(group).with_own_timers().into());
        }
        match request.fork_to(group).before_others().await {
            Outcome::Answered(_) => return Ok(Answer::Done),
            Outcome::Failed(failed) if failed.is_cancelled() => return Ok(failed.into()),
            Outcome::Failed(_) => {}
        }
    }
    Err(Reply::temporarily_unavailable())
}

/// Who calls, by the URI in From: `user@host`.
fn caller(request: &Request<'_, Stock>) -> Option<String> {
    let from = request.message().from().and_then(|from| from.uri()).ok()?;
    let user = String::from_utf8_lossy(from.user.unwrap_or(&[]));
    Some(format!("{user}@{}", from.host).to_ascii_lowercase())
}

/// Whether requests of this method create dialogs, so that this node wants to stay in their path.
fn forms_dialog(method: MethodKind) -> bool {
    matches!(method, MethodKind::Invite | MethodKind::Subscribe | MethodKind::Refer)
}

#[cfg(test)]
mod tests {
    use super::next_hop;

    #[test]
    fn a_next_hop_is_a_sip_uri() {
        assert!(next_hop("sip:192.0.2.20").is_ok());
        assert!(next_hop("sip:[2001:db8::1]:5070;transport=udp").is_ok());
        assert!(next_hop("sip:example.com").is_ok());
        for wrong in ["192.0.2.20", "tel:+123", "sips:192.0.2.20", ""] {
            assert!(next_hop(wrong).is_err(), "{wrong}");
        }
    }
}
