//! `authenticate`: from a request's credentials to the proof that they were right.
//!
//! For: the methods on requests, and the results that Kamailio's functions have as numbers.
//! Not here: the parts of the proof (`digest.rs`, `nonce.rs`, `replay.rs`, `account.rs`).
//! Invariants: `Authenticated` is constructed once, at the end of `check`; a wrong password uses no
//! nonce up and tells nothing about whether the user exists.

use super::account::{Known, Secret};
use super::algorithm::{Algorithm, Hash};
use super::challenge::{Challenger, Staleness};
use super::credentials::{self, Credentials, CredentialsFault, Qop};
use super::digest::{self, Covered};
use super::nonce::Nonce;
use super::replay::Use;
use super::settings::{Checks, Settings};
use super::{Answer, Auth};
use crate::ask::{self, AskId};
use crate::location::unescape;
use std::fmt;
use std::rc::Rc;
use strowger_sip::message::{EditError, HeaderName, MethodKind, Uri};
use strowger_sip::module::{Has, Host};
use strowger_sip::routing::{ListOf, Reply, Request, Routing};

/// A user who has proved to know the password, for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticated {
    user: Box<str>,
    realm: Box<str>,
    challenger: Challenger,
    /// Which of the headers of that name holds the credentials.
    nth: usize,
}

impl Authenticated {
    /// The user as it calls itself.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The realm in which it is known.
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// Whether a URI names this user: its user part is the same, or the same with the host.
    pub fn is_user_of(&self, uri: &Uri<'_>) -> bool {
        let mut user = Vec::new();
        unescape(uri.user.unwrap_or_default(), &mut user);
        if user.is_empty() {
            return false;
        }
        if self.user.as_bytes() == user {
            return true;
        }
        match self.user.rsplit_once('@') {
            Some((own, domain)) => {
                own.as_bytes() == user && domain.eq_ignore_ascii_case(&uri.host.to_string())
            }
            None => false,
        }
    }
}

/// Why a request is not authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthFailure {
    /// -1: the credentials cannot be read.
    Malformed,
    /// -1: an algorithm or protection that was not offered.
    NotOffered,
    /// -1: the account has no hash of this algorithm, but one of that.
    NotStored {
        /// Which one it has.
        stored: Hash,
    },
    /// -1: another shard or storage does not answer.
    Unavailable,
    /// -2: a wrong password.
    WrongPassword,
    /// -3: nobody of this name.
    UnknownUser,
    /// -4: the nonce is too old or not ours.
    StaleNonce,
    /// -5: no credentials for this realm.
    NoCredentials,
    /// -6: these credentials were seen before.
    NonceReuse,
    /// -8: another user than From (for REGISTER: To) names.
    UserMismatch,
}

impl AuthFailure {
    /// Kamailio's number.
    pub const fn code(self) -> i8 {
        match self {
            AuthFailure::Malformed => -1,
            AuthFailure::NotOffered => -1,
            AuthFailure::NotStored { .. } => -1,
            AuthFailure::Unavailable => -1,
            AuthFailure::WrongPassword => -2,
            AuthFailure::UnknownUser => -3,
            AuthFailure::StaleNonce => -4,
            AuthFailure::NoCredentials => -5,
            AuthFailure::NonceReuse => -6,
            AuthFailure::UserMismatch => -8,
        }
    }
}

impl fmt::Display for AuthFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AuthFailure::Malformed => "credentials that cannot be read",
            AuthFailure::NotOffered => "an algorithm or protection that was not offered",
            AuthFailure::NotStored { .. } => "an algorithm that this account has no hash of",
            AuthFailure::Unavailable => "the account could not be looked up",
            AuthFailure::WrongPassword => "wrong password",
            AuthFailure::UnknownUser => "unknown user",
            AuthFailure::StaleNonce => "stale nonce",
            AuthFailure::NoCredentials => "no credentials",
            AuthFailure::NonceReuse => "credentials used before",
            AuthFailure::UserMismatch => "another user than the request names",
        })
    }
}

impl std::error::Error for AuthFailure {}

/// Whether somebody has an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subscriber {
    /// Yes.
    Yes,
    /// No.
    No,
    /// Storage does not say.
    Unknown,
}

/// What a caller is told to wait when an account could not be looked up, in seconds. A guess.
const RETRY_AFTER_SECONDS: u32 = 5;

/// Digest authentication, on requests.
pub trait Authenticating<N> {
    /// Who sends this; otherwise the response that asks for it: 401 to REGISTER, 407 to all else.
    fn authenticate(&self, realm: &str) -> impl Future<Output = Result<Authenticated, Reply>>;

    /// The same with 401.
    fn www_authenticate(&self, realm: &str) -> impl Future<Output = Result<Authenticated, Reply>>;

    /// The same with 407.
    fn proxy_authenticate(&self, realm: &str)
    -> impl Future<Output = Result<Authenticated, Reply>>;

    /// The same, and it must be who From (for REGISTER: To) names, else 403.
    fn authenticate_sender(
        &self,
        realm: &str,
    ) -> impl Future<Output = Result<Authenticated, Reply>>;

    /// Checks credentials, against this secret where one is given, and says what was wrong.
    fn check_credentials(
        &self,
        realm: &str,
        challenger: Challenger,
        secret: Option<&Secret>,
    ) -> impl Future<Output = Result<Authenticated, AuthFailure>>;

    /// The response to a failure: a challenge where that can help.
    fn refusal(&self, realm: &str, challenger: Challenger, failure: AuthFailure) -> Reply;

    /// Whether there are credentials for this realm.
    fn has_credentials(&self, realm: &str) -> bool;

    /// Takes the credentials out of what is forwarded.
    ///
    /// # Errors
    /// When the edit is refused.
    fn consume_credentials(&mut self, who: &Authenticated) -> Result<(), EditError>;

    /// Whether a URI's user has an account.
    fn is_subscriber(&self, uri: &Uri<'_>) -> impl Future<Output = Subscriber>;

    /// What a URI's user proves itself with, for [`Authenticating::check_credentials`].
    fn load_credentials(&self, uri: &Uri<'_>) -> impl Future<Output = Result<Secret, AuthFailure>>;
}

impl<R: Routing, N> Authenticating<N> for Request<'_, R>
where
    ListOf<R>: Has<Auth, N>,
{
    async fn authenticate(&self, realm: &str) -> Result<Authenticated, Reply> {
        let challenger =
            if self.method() == MethodKind::Register { Challenger::Www } else { Challenger::Proxy };
        let checked = self.check_credentials(realm, challenger, None).await;
        checked.map_err(|failure| self.refusal(realm, challenger, failure))
    }

    async fn www_authenticate(&self, realm: &str) -> Result<Authenticated, Reply> {
        let checked = self.check_credentials(realm, Challenger::Www, None).await;
        checked.map_err(|failure| self.refusal(realm, Challenger::Www, failure))
    }

    async fn proxy_authenticate(&self, realm: &str) -> Result<Authenticated, Reply> {
        let checked = self.check_credentials(realm, Challenger::Proxy, None).await;
        checked.map_err(|failure| self.refusal(realm, Challenger::Proxy, failure))
    }

    async fn authenticate_sender(&self, realm: &str) -> Result<Authenticated, Reply> {
        let who = self.authenticate(realm).await?;
        let message = self.message();
        let named =
            if self.method() == MethodKind::Register { message.to() } else { message.from() };
        match named.and_then(|named| named.uri()) {
            Ok(uri) if who.is_user_of(&uri) => Ok(who),
            Ok(_) | Err(_) => Err(self.refusal(realm, who.challenger, AuthFailure::UserMismatch)),
        }
    }

    async fn check_credentials(
        &self,
        realm: &str,
        challenger: Challenger,
        secret: Option<&Secret>,
    ) -> Result<Authenticated, AuthFailure> {
        let checked = check(self, realm, challenger, secret).await;
        self.module(|auth: &mut Auth, _, _| auth.count(checked.as_ref().err().copied()));
        checked
    }

    fn refusal(&self, realm: &str, challenger: Challenger, failure: AuthFailure) -> Reply {
        let (staleness, only) = match failure {
            AuthFailure::Malformed => return Reply::bad_request(),
            AuthFailure::Unavailable => return Reply::unavailable(RETRY_AFTER_SECONDS),
            AuthFailure::UserMismatch => return Reply::forbidden(),
            AuthFailure::StaleNonce | AuthFailure::NonceReuse => (Staleness::Stale, None),
            // The same password will do, with an algorithm that can be checked.
            AuthFailure::NotStored { stored } => (Staleness::Stale, Some(stored)),
            AuthFailure::NotOffered
            | AuthFailure::WrongPassword
            | AuthFailure::UnknownUser
            | AuthFailure::NoCredentials => (Staleness::NotStale, None),
        };
        self.module(|auth: &mut Auth, host, _| {
            let realm = auth.realm(realm);
            let only = only.map(|hash| auth.offered_with(hash));
            let source = self.source().remote.ip().to_string();
            let bound = bound(self, &auth.settings, realm, source.as_bytes());
            auth.challenge(host, (realm, challenger), (&bound, staleness), only.as_deref())
        })
    }

    fn has_credentials(&self, realm: &str) -> bool {
        [Challenger::Www, Challenger::Proxy]
            .into_iter()
            .any(|challenger| credentials_for(self, realm, challenger).is_ok())
    }

    fn consume_credentials(&mut self, who: &Authenticated) -> Result<(), EditError> {
        let name = match who.challenger {
            Challenger::Www => "Authorization",
            Challenger::Proxy => "Proxy-Authorization",
        };
        self.edit(|edits| edits.remove_nth(name.as_bytes(), who.nth))
    }

    async fn load_credentials(&self, uri: &Uri<'_>) -> Result<Secret, AuthFailure> {
        let mut user = Vec::new();
        unescape(uri.user.unwrap_or_default(), &mut user);
        secret_of(self, &user, &uri.host.to_string()).await
    }

    async fn is_subscriber(&self, uri: &Uri<'_>) -> Subscriber {
        match self.load_credentials(uri).await {
            Ok(_) => Subscriber::Yes,
            Err(AuthFailure::UnknownUser) => Subscriber::No,
            Err(_) => Subscriber::Unknown,
        }
    }
}

impl Auth {
    fn count(&mut self, failure: Option<AuthFailure>) {
        let counters = &mut self.counters;
        match failure {
            None => counters.accepted += 1,
            Some(AuthFailure::WrongPassword | AuthFailure::UnknownUser) => counters.wrong += 1,
            Some(AuthFailure::StaleNonce) => counters.stale += 1,
            Some(AuthFailure::NonceReuse) => counters.replayed += 1,
            Some(AuthFailure::Unavailable) => counters.unanswered += 1,
            Some(
                AuthFailure::Malformed
                | AuthFailure::NotOffered
                | AuthFailure::NotStored { .. }
                | AuthFailure::NoCredentials
                | AuthFailure::UserMismatch,
            ) => {}
        }
    }

    fn offered_with(&self, hash: Hash) -> Vec<Algorithm> {
        let offered = self.settings.algorithms.iter().copied();
        offered.filter(|algorithm| algorithm.hash == hash).collect()
    }
}

/// What a nonce is bound to: its realm, and the parts of the request that the settings name.
fn bound<'m, R: Routing>(
    request: &'m Request<'_, R>,
    settings: &Settings,
    realm: &'m str,
    source: &'m [u8],
) -> [&'m [u8]; 5] {
    let message = request.message();
    let is_register = request.method() == MethodKind::Register;
    let checks = match (is_register, request.is_within_dialog()) {
        (true, _) => settings.checks_register,
        (false, true) => settings.checks_in_dialog,
        (false, false) => settings.checks_no_dialog,
    };
    let part = |bit, text: &'m [u8]| if checks.has(bit) { text } else { &[] };
    [
        realm.as_bytes(),
        part(Checks::REQUEST_URI, message.request_uri().unwrap_or_default()),
        part(Checks::CALL_ID, message.call_id().unwrap_or_default()),
        part(Checks::FROM_TAG, message.from_tag().unwrap_or_default()),
        part(Checks::SOURCE, source),
    ]
}

/// The credentials for a realm, and which of the headers holds them.
fn credentials_for<'m, R: Routing>(
    request: &'m Request<'_, R>,
    realm: &str,
    challenger: Challenger,
) -> Result<(usize, Credentials<'m>), AuthFailure> {
    let headers: HeaderName = challenger.credentials_header();
    let mut worst = AuthFailure::NoCredentials;
    for (nth, field) in request.message().headers(headers).enumerate() {
        match credentials::read(field.value) {
            Ok(read) if read.realm == realm.as_bytes() => return Ok((nth, read)),
            Ok(_) | Err(CredentialsFault::OtherScheme) => {}
            Err(
                CredentialsFault::Malformed
                | CredentialsFault::TooLong
                | CredentialsFault::Repeated
                | CredentialsFault::Incomplete,
            ) => worst = AuthFailure::Malformed,
        }
    }
    Err(worst)
}

async fn check<R: Routing, N>(
    request: &Request<'_, R>,
    realm: &str,
    challenger: Challenger,
    secret: Option<&Secret>,
) -> Result<Authenticated, AuthFailure>
where
    ListOf<R>: Has<Auth, N>,
{
    let settings = request.module(|auth: &mut Auth, _, _| Rc::clone(&auth.settings));
    let realm = realm.strip_prefix(settings.realm_prefix.as_str()).unwrap_or(realm);
    let (nth, credentials) = credentials_for(request, realm, challenger)?;
    let algorithm = offered(&credentials, &settings)?;
    let source = request.source().remote.ip().to_string();
    let bound = bound(request, &settings, realm, source.as_bytes());
    let nonce = request
        .module(|auth: &mut Auth, host, _| auth.check_nonce(host, credentials.nonce, &bound))
        .map_err(|_| AuthFailure::StaleNonce)?;
    let user = credentials.username;
    let secret = match secret {
        Some(secret) => secret.clone(),
        None => secret_of(request, user, realm).await?,
    };
    let ha1 = match (secret.ha1(algorithm, user, realm.as_bytes()), secret.stored()) {
        (Some(ha1), _) => ha1,
        (None, Some(stored)) => return Err(AuthFailure::NotStored { stored }),
        (None, None) => return Err(AuthFailure::WrongPassword),
    };
    let message = request.message();
    let method = message.method().map_or(&b""[..], |method| method.as_bytes());
    let covered = Covered { method, body: message.body() };
    if !digest::response(&ha1, algorithm, &credentials, covered).is(credentials.response) {
        return Err(AuthFailure::WrongPassword);
    }
    count_use(request, &settings, nonce, &credentials).await?;
    if settings.add_authinfo {
        let info = digest::authentication_info(&ha1, algorithm, &credentials);
        request.module(|_: &mut Auth, host, ids| {
            let transaction = ids.transaction;
            if let Some(attached) = transaction.and_then(|id| host.attached(id)) {
                attached.0 = Some(info.into());
            }
        });
    }
    let user = std::str::from_utf8(user).map_err(|_| AuthFailure::Malformed)?;
    Ok(Authenticated { user: user.into(), realm: realm.into(), challenger, nth })
}

/// An agent chooses among what it was offered; protection may be left out, for RFC 2069's sake.
fn offered(credentials: &Credentials<'_>, settings: &Settings) -> Result<Algorithm, AuthFailure> {
    let algorithm = credentials.algorithm.ok_or(AuthFailure::NotOffered)?;
    let protected = match credentials.qop {
        Qop::None => true,
        Qop::Auth(_) => settings.qop.contains(&"auth"),
        Qop::AuthInt(_) => settings.qop.contains(&"auth-int"),
    };
    if protected && settings.algorithms.contains(&algorithm) {
        Ok(algorithm)
    } else {
        Err(AuthFailure::NotOffered)
    }
}

/// Has the use of a nonce counted by the shard that owns it.
async fn count_use<R: Routing, N>(
    request: &Request<'_, R>,
    settings: &Settings,
    nonce: Nonce,
    credentials: &Credentials<'_>,
) -> Result<(), AuthFailure>
where
    ListOf<R>: Has<Auth, N>,
{
    if !settings.nonce_count && !settings.one_time_nonce {
        return Ok(());
    }
    let (count, once) = match credentials.qop {
        Qop::Auth(count) | Qop::AuthInt(count) => (count.number, settings.one_time_nonce),
        // Without a count there is nothing to tell uses apart by.
        Qop::None => (1, true),
    };
    let counted = request.module(|auth: &mut Auth, host, ids| {
        auth.count_use(host, ids.context, (nonce, count, once))
    });
    let used = match counted {
        Ok(used) => used,
        Err(None) => return Err(AuthFailure::Unavailable),
        Err(Some(ask)) => match answer(request, ask).await {
            Some(Answer::Used(used)) => used,
            Some(Answer::Rows(_) | Answer::Unknown) | None => {
                return Err(AuthFailure::Unavailable);
            }
        },
    };
    match used {
        Use::Fresh => Ok(()),
        Use::Repeated => Err(AuthFailure::NonceReuse),
        Use::Forgotten => Err(AuthFailure::StaleNonce),
    }
}

/// The secret of a user: from the configuration, the memory, or storage.
async fn secret_of<R: Routing, N>(
    request: &Request<'_, R>,
    user: &[u8],
    realm: &str,
) -> Result<Secret, AuthFailure>
where
    ListOf<R>: Has<Auth, N>,
{
    let known = request.module(|auth: &mut Auth, host, _| auth.known(host, user, realm));
    match known {
        Some(Known::Present(secret)) => return Ok(secret),
        Some(Known::Absent) => return Err(AuthFailure::UnknownUser),
        None => {}
    }
    let name = std::str::from_utf8(user).map_err(|_| AuthFailure::UnknownUser)?;
    let (name, own_domain) = match name.rsplit_once('@') {
        Some((name, domain)) => (name, Some(domain)),
        None => (name, None),
    };
    let ask = request.module(|auth: &mut Auth, host, ids| {
        let domain = auth.settings.use_domain.then_some(own_domain.unwrap_or(realm));
        auth.ask_storage(host, ids.context, name, domain)
    });
    let rows = match ask {
        Some(ask) => answer(request, ask).await,
        None => None,
    };
    let Some(Answer::Rows(rows)) = rows else {
        let outdated = request.module(|auth: &mut Auth, host, _| auth.outdated(host, user, realm));
        return outdated.ok_or(AuthFailure::Unavailable);
    };
    request.module(|auth: &mut Auth, host, _| {
        let plain = auth.settings.calculate_ha1;
        let secret = rows.first().and_then(|row| row.secret(plain, own_domain.is_some()));
        match secret {
            Some(secret) => {
                auth.remember(host, user, realm, Known::Present(secret.clone()));
                Ok(secret)
            }
            None => {
                auth.remember(host, user, realm, Known::Absent);
                Err(AuthFailure::UnknownUser)
            }
        }
    })
}

async fn answer<R: Routing, N>(request: &Request<'_, R>, ask: AskId) -> Option<Answer>
where
    ListOf<R>: Has<Auth, N>,
{
    ask::answer(request, ask, |auth: &mut Auth| &mut auth.asks).await
}
