//! The routing and the module that the simulated node runs: what a call's URI asks for.
//!
//! For: every way in which a routing can treat a request, picked by the caller's Request-URI, for
//! example `sip:fork.10-0-7-2.10-0-7-3@192.0.2.1`.
//! Not here: which call asks for what (`cast.rs`).

use strowger_modules::dialog::{Dialog, DialogRequest, MatchMode, Settings};
use strowger_sip::message::MethodKind;
use strowger_sip::module::{Arrived, Host, Module, Outgoing, Verdict};
use strowger_sip::routing::{Answer, Outcome, Progress, Reply, Request, Routing};
use strowger_sip::time::{Duration, ms, secs};

/// The routing.
pub(crate) struct Policy;

/// How long a dialog may outlive the last message and the last transaction of its call, lifetime,
/// silence and lingering together.
pub(crate) const DIALOGS_OUTLIVE: Duration = secs(30 + 30 + 240);

/// Dialogs that do not outlive a run by much.
pub(crate) fn dialogs() -> Dialog {
    let settings = Settings {
        match_mode: MatchMode::CookieThenTags,
        lifetime: secs(30),
        noack_timeout: secs(20),
        end_timeout: secs(240),
        ..Settings::default()
    };
    Dialog::new(settings, b"simulated")
}

/// The Request-URI's wish: a word, and its arguments.
struct Wish {
    word: String,
    arguments: Vec<String>,
}

impl Wish {
    fn of(request: &Request<'_, Policy>) -> Wish {
        let uri = request.target();
        let user = uri.and_then(|uri| uri.user).map(String::from_utf8_lossy).unwrap_or_default();
        let mut parts = user.split('.').map(str::to_owned);
        Wish { word: parts.next().unwrap_or_default(), arguments: parts.collect() }
    }

    fn targets(&self) -> Vec<String> {
        self.arguments.iter().map(|host| format!("sip:u@{}", host.replace('-', "."))).collect()
    }
}

impl Routing for Policy {
    type Modules = (Ledger, Dialog);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return Ok(within.relay().into());
        }
        if !request.is_for_this_node() {
            request.record_route();
            return Ok(request.relay_to_target().into());
        }
        let wish = Wish::of(&request);
        let targets = wish.targets();
        if wish.word != "plain" {
            request.record_route();
            if request.method() == MethodKind::Invite {
                // One that cannot be tracked goes its way all the same.
                let _ = request.dialog().manage();
            }
        }
        match (wish.word.as_str(), targets.as_slice()) {
            ("plain", [target, ..]) => Ok(request.relay_to(target).into()),
            ("fork", [_, ..]) => Ok(fork(&mut request, &targets).into()),
            ("await", [_, ..]) => match fork(&mut request, &targets).await {
                Outcome::Answered(_) => Ok(Answer::Done),
                Outcome::Failed(failed) => Ok(failed.into()),
            },
            ("serial", [_, ..]) => serial(request, &targets).await,
            ("both", [first, second, last, ..]) => {
                let both = fork(&mut request, &[first.clone(), second.clone()]).await;
                match both {
                    Outcome::Answered(_) => Ok(Answer::Done),
                    Outcome::Failed(_) => Ok(request.relay_to(last).into()),
                }
            }
            ("pause", [target, ..]) => {
                request.progress(&Progress::session());
                request.pause(ms(2_500)).await;
                match request.relay_to(target).await {
                    Outcome::Answered(_) => Ok(Answer::Done),
                    Outcome::Failed(failed) => Ok(failed.into()),
                }
            }
            ("after", [first, second, ..]) => after(request, first, second).await,
            ("refuse", _) => Err(Reply::new(404).reason("No such user")),
            ("hold", _) => {
                request.pause(secs(400)).await;
                Err(Reply::server_error())
            }
            ("own", _) if request.method() == MethodKind::Ack => Ok(Answer::Done),
            ("own", _) => Ok(Reply::new(200).header("Contact", "<sip:own@192.0.2.1>").into()),
            ("silence", _) => Ok(Answer::Drop),
            _ => Err(Reply::bad_request()),
        }
    }
}

fn fork<'r, 'a>(
    request: &'r mut Request<'a, Policy>,
    targets: &[String],
) -> strowger_sip::routing::Relay<'r, 'a, Policy> {
    targets.iter().fold(request.fork(), |relay, target| relay.to(target))
}

async fn serial(mut request: Request<'_, Policy>, targets: &[String]) -> Result<Answer, Reply> {
    let mut last = None;
    for target in targets {
        match request.relay_to(target).await {
            Outcome::Answered(_) => return Ok(Answer::Done),
            Outcome::Failed(failed) if failed.is_cancelled() => return Ok(failed.into()),
            Outcome::Failed(failed) => last = Some(failed),
        }
    }
    last.map(Answer::from).ok_or(Reply::not_found())
}

/// A routing that goes on after its relay ended, and one more relay after a pause.
async fn after(
    mut request: Request<'_, Policy>,
    first: &str,
    second: &str,
) -> Result<Answer, Reply> {
    let outcome = request.relay_to(first).await;
    let answered = matches!(outcome, Outcome::Answered(_));
    drop(outcome);
    request.pause(secs(3)).await;
    if answered {
        request.pause(secs(40)).await;
        return Ok(Answer::Done);
    }
    Ok(request.relay_to(second).into())
}

/// A module that keeps an account of transactions: what it hung on them must come back.
#[derive(Default)]
pub(crate) struct Ledger {
    attached: usize,
    timers: usize,
}

impl Module for Ledger {
    const NAME: &'static str = "ledger";
    type Attached = bool;
    type Peer = ();
    type Timer = ();
    type Token = ();
    type Row = ();

    fn request(&mut self, host: &mut impl Host<Self>, request: &Arrived<'_>) -> Verdict {
        let attached = request.transaction.and_then(|transaction| host.attached(transaction));
        if let Some(attached) = attached {
            *attached = true;
            self.attached += 1;
        }
        self.timers += 1;
        let deadline = host.now() + secs(3);
        host.arm(deadline, ());
        let uri = request.incoming.message().request_uri().unwrap_or(&[]);
        let is_ack = request.transaction.is_none();
        if uri.starts_with(b"sip:blocked") && !is_ack {
            return Verdict::Reply(Reply::forbidden());
        }
        Verdict::Continue
    }

    fn forward(
        &mut self,
        host: &mut impl Host<Self>,
        _: &Arrived<'_>,
        outgoing: &mut Outgoing<'_>,
    ) {
        let shard = host.shard().0.to_string();
        outgoing.edits.append(b"X-Shard", shard.as_bytes()).expect("a header");
    }

    fn transaction_end(&mut self, _: &mut impl Host<Self>, attached: bool) {
        self.attached -= usize::from(attached);
    }

    fn timer(&mut self, _: &mut impl Host<Self>, (): ()) {
        self.timers -= 1;
    }

    fn live(&self) -> usize {
        self.attached + self.timers
    }
}
