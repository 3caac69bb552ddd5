//! A residential registrar: users register, call each other, and are called from outside; a server
//! is told who is registered (`reginfo`, RFC 3680).
//!
//! For: users with passwords, often behind a router at home; contacts outlive a restart.
//! Not here: who has an account (`[auth]` and the table `subscriber`), where contacts are kept
//! (`[usrloc]`).

use strowger::modules::pua_reginfo::PuaReginfo;
use strowger::prelude::*;

/// The group of `[[permissions.address]]` that holds the way to the telephone network.
const NETWORK: u32 = 1;

/// A contact that nobody out here can reach, or that is not where the message came from.
fn behind_router() -> NatTests {
    NatTests::CONTACT | NatTests::CONTACT_PORT
}

/// The routing; `[routing]` says what it does.
#[derive(Clone, Debug)]
pub struct Residential {
    realm: String,
    network: Option<String>,
}

impl Residential {
    /// Reads `[routing]`: `realm`, and `network`, where numbers go.
    pub fn from_config(section: &mut Section<'_>) -> Residential {
        let realm = section.string_or("realm", "");
        if realm.is_empty() {
            section.problem("realm", "missing", "the domain of your users");
        }
        Residential { realm, network: section.parsed("network", strowger::stock::next_hop) }
    }
}

impl Routing for Residential {
    type Modules = (Pike, Permissions, Auth, Location, Registrar, Dialog, Pua, PuaReginfo);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return self.within(within);
        }
        let registers = request.method() == MethodKind::Register;
        if !registers && !request.nat_uac_test(behind_router()).is_empty() {
            request.contact_alias(AliasWhen::Different)?;
        }
        match request.method() {
            MethodKind::Register if request.is_for_this_node() => self.register(&request).await,
            MethodKind::Invite | MethodKind::Message | MethodKind::Subscribe => {
                self.begin(request).await
            }
            MethodKind::Ack => Ok(Answer::Drop),
            MethodKind::Options => Err(Reply::new(200)),
            _ => Err(Reply::new(405)),
        }
    }

    fn response(&self, response: &mut Response<'_>) {
        let is_answer = (101..300).contains(&response.status().code());
        if is_answer
            && response.is_first_hop()
            && !response.nat_uac_test(behind_router()).is_empty()
        {
            // Without room for the edit the response goes as it is.
            let _ = response.contact_alias(AliasWhen::Different);
        }
    }
}

impl Residential {
    /// Along the route set; where that ends here, to where a user behind a router really is.
    fn within(&self, mut within: Within<'_, '_, Self>) -> Result<Answer, Reply> {
        if !within.is_in_dialog() {
            return Err(Reply::forbidden());
        }
        let ends_here = !within.has_more();
        match within.request().handle_ruri_alias().filter(|_| ends_here) {
            Some(to) => Ok(within.request().fork().to_by(to.uri, to.next_hop).into()),
            None => Ok(within.relay().into()),
        }
    }

    /// Whoever proves to be a user may change the contacts of that user.
    async fn register(&self, request: &Request<'_, Self>) -> Result<Answer, Reply> {
        let user = request.authenticate(&self.realm).await?;
        // Answered where it came from, and reached there: most homes have a router in between.
        let options = SaveOptions::default().behind_nat();
        Ok(request.save_with(user, &options).await?.into())
    }

    /// A call, a message or a subscription begins.
    async fn begin(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if request.permissions().allow_source_address(NETWORK).is_none() {
            let user = request.authenticate_sender(&self.realm).await?;
            request.consume_credentials(&user)?;
        }
        request.record_route();
        if request.method() == MethodKind::Invite {
            request.dialog().manage()?;
        }
        if request.is_for_this_node() && !dials_a_number(&request) {
            return self.to_user(request).await;
        }
        let network = self.network.as_ref().ok_or_else(Reply::not_found)?;
        Ok(request.relay_by(network).into())
    }

    /// All of a user's telephones ring, the preferred ones first.
    async fn to_user(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let found = request.lookup().await?;
        let groups: Vec<_> = found.groups().map(<[_]>::to_vec).collect();
        let (last, others) = groups.split_last().ok_or_else(Reply::temporarily_unavailable)?;
        for group in others {
            request = match request.attempt(|r| r.fork_to(group).before_others()).await {
                Attempt::Answered(answer) => return Ok(answer),
                Attempt::Failed(failed, _) if failed.is_cancelled() => return Ok(failed.into()),
                Attempt::Failed(_, request) => request,
            };
        }
        Ok(request.fork_to(last).with_own_timers().into())
    }
}

fn dials_a_number(request: &Request<'_, Residential>) -> bool {
    let user = request.target().and_then(|uri| uri.user.map(<[u8]>::to_vec)).unwrap_or_default();
    user.starts_with(b"+") || (!user.is_empty() && user.iter().all(u8::is_ascii_digit))
}
