//! What `[control]` says.

use std::net::SocketAddr;
use std::path::PathBuf;
use strowger_sip::settings::Section;

/// A token that is shorter could be guessed. A guess of ours: 16 characters of a random text.
const TOKEN_CHARACTERS_MIN: usize = 16;
const LISTEN_ALLOWED: &str = "\"ADDRESS:PORT\", for example \"127.0.0.1:9494\", or \"unix:/PATH\"";

/// Where the control plane listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlListen {
    /// Over TCP.
    Address(SocketAddr),
    /// On a unix socket; whoever may open it may ask everything.
    Unix(PathBuf),
}

/// The control plane's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSettings {
    /// `listen`
    pub listen: ControlListen,
    /// `token`: what a request must bring as `Authorization: Bearer`; none on loopback alone.
    pub token: Option<String>,
    /// `compat_names`: `/metrics` also has the names of Kamailio's exporters.
    pub compat_names: bool,
}

impl ControlSettings {
    /// Reads `[control]`; `None` unless it says where to listen.
    pub fn read(section: &mut Section<'_>) -> Option<ControlSettings> {
        let compat_names = section.switch("compat_names", false);
        let token = section.text("token").and_then(|text| {
            if text.value.len() >= TOKEN_CHARACTERS_MIN {
                return Some(text.value);
            }
            let allowed = format!("at least {TOKEN_CHARACTERS_MIN} characters");
            section.problem_at(text.place, "token", "too short", &allowed);
            None
        });
        let listen = section.parsed("listen", listen)?;
        if let ControlListen::Address(address) = &listen
            && !address.ip().is_loopback()
            && token.is_none()
        {
            let what = format!("{address} can be reached by others");
            section.problem("listen", what, "a loopback address, or a `token` beside it");
        }
        Some(ControlSettings { listen, token, compat_names })
    }
}

fn listen(text: &str) -> Result<ControlListen, String> {
    if let Some(path) = text.strip_prefix("unix:").filter(|path| path.starts_with('/')) {
        return Ok(ControlListen::Unix(PathBuf::from(path)));
    }
    text.parse().map(ControlListen::Address).map_err(|_| LISTEN_ALLOWED.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn read(text: &str) -> (Option<ControlSettings>, String) {
        let (configuration, problems) = config::parse("t.toml", text);
        assert!(problems.is_empty(), "{problems}");
        let (settings, problems) =
            configuration.read(|root| ControlSettings::read(&mut root.section("control")));
        (settings, problems.to_string())
    }

    #[test]
    fn it_is_off_unless_it_says_where() {
        assert_eq!(read(""), (None, String::new()));
        let (settings, problems) = read("[control]\nlisten = \"127.0.0.1:9494\"\n");
        let address = "127.0.0.1:9494".parse().expect("an address");
        assert_eq!(settings.map(|found| found.listen), Some(ControlListen::Address(address)));
        assert_eq!(problems, "");
        let (settings, _) = read("[control]\nlisten = \"unix:/run/s.sock\"\n");
        let path = PathBuf::from("/run/s.sock");
        assert_eq!(settings.map(|found| found.listen), Some(ControlListen::Unix(path)));
    }

    #[test]
    fn a_public_address_needs_a_token() {
        let open = "[control]\nlisten = \"0.0.0.0:9494\"\n";
        assert!(read(open).1.contains("can be reached by others"));
        assert!(read(&format!("{open}token = \"short\"\n")).1.contains("at least 16"));
        assert_eq!(read(&format!("{open}token = \"0123456789abcdef\"\n")).1, "");
        assert!(read("[control]\nlisten = \"9494\"\n").1.contains("unix:/PATH"));
    }
}
