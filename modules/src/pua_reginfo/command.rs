//! Commands: `reginfo.subs`, `reginfo.publish`, `reginfo.subscribe`.
//!
//! For: seeing who is followed, having somebody published, following somebody.
//! Invariants: what is about one address or URI is answered by the shard that owns it.

use super::PuaReginfo;
use super::watch::SUBSCRIBE_SECONDS;
use crate::json;
use crate::location::Aor;
use crate::pua::Wanted;
use strowger_sip::module::{Command, Fault, Host};

type Result<T> = std::result::Result<T, Fault>;

impl PuaReginfo {
    pub(super) fn answer_command(
        &mut self,
        host: &mut impl Host<Self>,
        command: &Command,
    ) -> Option<Result<String>> {
        let arguments: Vec<&str> = command.arguments.iter().map(String::as_str).collect();
        Some(match command.name.as_str() {
            "reginfo.subs" => Ok(self.list()),
            "reginfo.publish" => self.publish_command(host, &arguments),
            "reginfo.subscribe" => self.subscribe_command(host, &arguments),
            _ => return None,
        })
    }

    fn list(&self) -> String {
        json::array(|json| {
            for (uri, watch) in &self.watches {
                json.object("", |json| {
                    json.text("presentity", uri).number("documents", watch.documents);
                });
            }
        })
    }

    /// `reginfo.publish aor`.
    fn publish_command(
        &mut self,
        host: &mut impl Host<Self>,
        arguments: &[&str],
    ) -> Result<String> {
        let [aor] = arguments else { return Err(wrong("the key of an address is wanted")) };
        let aor = Aor::new(aor).map_err(|fault| wrong(&fault.to_string()))?;
        if !self.settings.publish_reginfo {
            return Err(Fault { code: 500, message: "nothing is published".to_owned() });
        }
        if aor.home(host.map()) != host.shard() {
            return Err(elsewhere());
        }
        if self.ask_and_publish(host, aor) { Ok("\"OK\"".to_owned()) } else { Err(busy()) }
    }

    /// `reginfo.subscribe uri [expires]`.
    fn subscribe_command(
        &mut self,
        host: &mut impl Host<Self>,
        arguments: &[&str],
    ) -> Result<String> {
        let (uri, seconds) = match arguments {
            [uri] => (*uri, i64::from(SUBSCRIBE_SECONDS)),
            [uri, seconds] => (*uri, seconds.parse().map_err(|_| wrong("expires: no number"))?),
            _ => return Err(wrong("a URI and, if wanted, a lifetime in seconds")),
        };
        if host.map().home(uri.as_bytes()) != host.shard() {
            return Err(elsewhere());
        }
        match self.follow(host, uri, Wanted::from_number(seconds)) {
            Ok(()) => Ok("\"OK\"".to_owned()),
            Err(cause) => Err(wrong(&cause.to_string())),
        }
    }
}

fn wrong(message: &str) -> Fault {
    Fault { code: 400, message: message.to_owned() }
}

fn elsewhere() -> Fault {
    Fault { code: 404, message: "not here".to_owned() }
}

fn busy() -> Fault {
    Fault { code: 503, message: "too much is waiting".to_owned() }
}
