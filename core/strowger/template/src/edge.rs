//! An edge between a telephone system and its provider: the provider sees one subscriber who
//! registers and proves who it is; the telephone system sees neither passwords nor challenges.
//!
//! For: an account at a provider, kept registered; calls out over it, challenges answered here;
//! calls that come in by it.
//! Not here: the account itself (`[[uac.registration]]`, or rows of the table `uacreg`).

use strowger::prelude::*;

/// The group of `[[permissions.address]]` that holds the telephone system.
const INSIDE: u32 = 1;

/// The routing; `[routing]` says what it does.
#[derive(Clone, Debug)]
pub struct Edge {
    account: String,
    inside: String,
}

impl Edge {
    /// Reads `[routing]`: `account`, the `l_uuid` of the account that calls go out over, and
    /// `inside`, the telephone system.
    pub fn from_config(section: &mut Section<'_>) -> Edge {
        let account = section.string_or("account", "");
        if account.is_empty() {
            section.problem("account", "missing", "the l_uuid of a [[uac.registration]]");
        }
        let inside = section.parsed("inside", strowger::stock::next_hop);
        if inside.is_none() {
            section.problem("inside", "missing", "the SIP URI of your telephone system");
        }
        Edge { account, inside: inside.unwrap_or_default() }
    }
}

impl Routing for Edge {
    type Modules = (Permissions, Dialog, Uac);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return if within.is_in_dialog() {
                self.within(request).await
            } else {
                Err(Reply::forbidden())
            };
        }
        match request.method() {
            MethodKind::Invite if !request.is_within_dialog() => {
                request.record_route();
                request.dialog().manage()?;
                if request.permissions().allow_source_address(INSIDE).is_some() {
                    self.out(request).await
                } else {
                    self.come_in(request)
                }
            }
            MethodKind::Options => Err(Reply::new(200)),
            MethodKind::Ack => Ok(Answer::Drop),
            _ => Err(Reply::new(405)),
        }
    }
}

impl Edge {
    /// From the telephone system to a number of the provider's.
    async fn out(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let trunk = request.uac().reg_request_to(&self.account, RequestBy::Uuid);
        let trunk = trunk.map_err(|_| Reply::unavailable(30))?;
        let number = request.target().and_then(|uri| uri.user.map(<[u8]>::to_vec));
        let number = String::from_utf8(number.unwrap_or_default()).unwrap_or_default();
        let uri = trunk.user(&number).ok_or_else(Reply::not_found)?;

        // The provider sees its subscriber; the telephone system goes on seeing its own user.
        request.uac().replace_from("", &trunk.identity)?;
        Ok(request.uac().relay_in_dialog(&trunk.to(uri.as_bytes())).await.into())
    }

    /// From the provider, to the contact that was registered there.
    fn come_in(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let target = String::from_utf8_lossy(request.request_uri()).into_owned();
        let local = request.uac().reg_lookup(&target).ok_or_else(Reply::not_found)?;
        Ok(request.fork().to_by(local, &self.inside).into())
    }

    /// Within a call: what the provider challenges of its subscriber's requests is answered too.
    async fn within(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let goes_out = request.dialog().snapshot().is_some_and(|call| call.direction == 1)
            && request.permissions().allow_source_address(INSIDE).is_some();
        if request.method() == MethodKind::Ack || !goes_out {
            return Ok(request.relay_to_target().into());
        }
        // Its credentials are kept for this request; the route set says where it goes.
        let _ = request.uac().reg_request_to(&self.account, RequestBy::Uuid);
        loop {
            request = match request.attempt(Request::relay_to_target).await {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Failed(failed, mut request) => {
                    // A failure is the only place from which a challenge can be answered.
                    if !failed.is_challenge() || request.uac().auth_in_dialog(&failed).is_err() {
                        return Ok(failed.into());
                    }
                    request
                }
            };
        }
    }
}
