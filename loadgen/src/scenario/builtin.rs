//! The scenarios that come with the generator, as XML like anybody's own.
//!
//! For: `call`, `register`, `options`, `publish`; `--print-scenario` shows what they say.
//! Not here: the texts (`builtin/*.xml`).

use super::{Scenario, ScenarioError};
use strowger_sip::message::StatusCode;
use strowger_sip::time::Duration;

const TALK: &str = include_str!("builtin/talk.xml");
const REINVITE: &str = include_str!("builtin/reinvite.xml");
const UPDATE: &str = include_str!("builtin/update.xml");
const CANCEL: &str = include_str!("builtin/cancel.xml");
const ANSWER: &str = include_str!("builtin/answer.xml");
const RINGING: &str = include_str!("builtin/ringing.xml");
const REFUSE: &str = include_str!("builtin/refuse.xml");
const ASK: &str = include_str!("builtin/ask.xml");

/// What the built-in scenarios leave open.
#[derive(Clone, Debug)]
pub(crate) struct Choices {
    /// The Request-URI; may hold keywords.
    pub(crate) to: String,
    /// The domain of users, for requests about themselves.
    pub(crate) domain: String,
    /// Who calls: a user part; may be a keyword.
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) hold: Duration,
    pub(crate) ring: Duration,
    /// How long an answer is waited for.
    pub(crate) patience: Duration,
    /// Whether Contact names TCP.
    pub(crate) tcp: bool,
    pub(crate) expires: u32,
}

/// A scenario of one's own kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Talk,
    Reinvite,
    Update,
    Cancel,
    Answer,
    Refuse(StatusCode),
    Register,
    Options,
    Publish,
}

impl Kind {
    /// Its name.
    pub(crate) fn name(self) -> String {
        match self {
            Kind::Talk => "talk".to_owned(),
            Kind::Reinvite => "reinvite".to_owned(),
            Kind::Update => "update".to_owned(),
            Kind::Cancel => "cancel".to_owned(),
            Kind::Answer => "answer".to_owned(),
            Kind::Refuse(status) => format!("refuse with {}", status.code()),
            Kind::Register => "register".to_owned(),
            Kind::Options => "options".to_owned(),
            Kind::Publish => "publish".to_owned(),
        }
    }

    /// The scenario as XML.
    pub(crate) fn text(self, choices: &Choices) -> String {
        match self {
            Kind::Talk => common(&TALK.replace("  {middle}\n", ""), choices, 1),
            Kind::Reinvite => {
                let text = TALK.replace("name=\"talk\"", "name=\"reinvite\"");
                common(&text.replace("  {middle}\n", REINVITE), choices, 2)
            }
            Kind::Update => {
                let text = TALK.replace("name=\"talk\"", "name=\"update\"");
                common(&text.replace("  {middle}\n", UPDATE), choices, 2)
            }
            Kind::Cancel => common(CANCEL, choices, 1),
            Kind::Answer => answer(choices),
            Kind::Refuse(status) => {
                let status = format!("{} {}", status.code(), status.reason());
                common(&REFUSE.replace("{status}", &status), choices, 1)
            }
            Kind::Register => register(choices),
            Kind::Options => ask(choices, "OPTIONS", "response", "Accept: application/sdp", ""),
            Kind::Publish => publish(choices),
        }
    }

    /// The scenario.
    pub(crate) fn scenario(self, choices: &Choices) -> Result<Scenario, ScenarioError> {
        let name = self.name();
        let read = Scenario::read(&name, &self.text(choices))?;
        Ok(Scenario { name, ..read })
    }
}

/// Fills in what all of them have; the hold is spent in so many pauses.
fn common(text: &str, choices: &Choices, pauses: u32) -> String {
    let hold = choices.hold / pauses;
    text.replace("{to}", &choices.to)
        .replace("{user}", &choices.user)
        .replace("{password}", &choices.password)
        .replace("{hold}", &hold.as_millis().to_string())
        .replace("{ring}", &choices.ring.as_millis().to_string())
        .replace("{patience}", &choices.patience.as_millis().to_string())
        .replace("{transport}", if choices.tcp { ";transport=tcp" } else { "" })
}

/// A callee who rings for no time answers within the same step, and can be cancelled no more.
fn answer(choices: &Choices) -> String {
    let rings = !choices.ring.is_zero();
    let text = ANSWER.replace("  {ringing}\n", if rings { RINGING } else { "" });
    let text = text.replace("{asked}", if rings { "first" } else { "last" });
    common(&text.replace("{late_tag}", ""), choices, 1)
}

fn ask(choices: &Choices, method: &str, timing: &str, headers: &str, body: &str) -> String {
    let text = ASK
        .replace("{name}", &method.to_ascii_lowercase())
        .replace("{method}", method)
        .replace("{ask}", "{to}")
        .replace("{about}", "{to}")
        .replace("{from}", "sip:{user}@[local_ip]:[local_port]");
    finish(&text, choices, timing, headers, body)
}

fn register(choices: &Choices) -> String {
    let contact = "Contact: &lt;sip:{user}@[local_ip]:[local_port]{transport}&gt;";
    let headers = format!("{contact}\n    Expires: {}", choices.expires);
    let text = about_oneself("REGISTER").replace("{ask}", "sip:{domain}");
    finish(&text, choices, "registration", &headers, "")
}

fn publish(choices: &Choices) -> String {
    let headers = format!(
        "Event: presence\n    Expires: {}\n    Content-Type: application/pidf+xml",
        choices.expires
    );
    let body = "<![CDATA[<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n    \
        <presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"sip:{user}@{domain}\">\n    \
        <tuple id=\"t[call_number]\"><status><basic>open</basic></status></tuple>\n    \
        </presence>]]>";
    let text = about_oneself("PUBLISH").replace("{ask}", "{about}").replace("{about}", ONESELF);
    finish(&text, choices, "publication", &headers, body)
}

const ONESELF: &str = "sip:{user}@{domain}";

fn about_oneself(method: &str) -> String {
    let text = ASK.replace("{name}", &method.to_ascii_lowercase()).replace("{method}", method);
    text.replace("{about}", ONESELF).replace("{from}", ONESELF)
}

fn finish(text: &str, choices: &Choices, timing: &str, headers: &str, body: &str) -> String {
    let headers = format!("{headers}\n    Content-Length: [len]");
    let text = text
        .replace("{timing}", timing)
        .replace("{headers}", &headers)
        .replace("{body}", body)
        .replace("{domain}", &choices.domain);
    common(&text, choices, 1)
}

#[cfg(test)]
mod tests {
    use super::super::{Does, Keyword};
    use super::*;
    use strowger_sip::time::{ms, secs};

    fn choices(ring: Duration) -> Choices {
        Choices {
            to: "sip:[service]@127.0.0.1:5080".to_owned(),
            domain: "example.com".to_owned(),
            user: "[field0]".to_owned(),
            password: "[field1]".to_owned(),
            hold: secs(5),
            ring,
            patience: secs(32),
            tcp: false,
            expires: 300,
        }
    }

    #[test]
    fn all_are_scenarios_and_leave_nothing_open() {
        let kinds = [
            Kind::Talk,
            Kind::Reinvite,
            Kind::Update,
            Kind::Cancel,
            Kind::Answer,
            Kind::Refuse(StatusCode::BUSY_HERE),
            Kind::Register,
            Kind::Options,
            Kind::Publish,
        ];
        for (kind, ring) in kinds.into_iter().flat_map(|kind| [(kind, ms(0)), (kind, ms(300))]) {
            let choices = choices(ring);
            let text = kind.text(&choices);
            assert!(!text.contains('{'), "{text}");
            let scenario = kind.scenario(&choices).expect("a scenario");
            let answers = matches!(kind, Kind::Answer | Kind::Refuse(_));
            assert_eq!(scenario.answers(), answers, "{kind:?}");
            assert!(answers || !scenario.timings.is_empty(), "{kind:?}");
        }
    }

    #[test]
    fn the_branches_of_a_cancelled_call_are_the_invites() {
        let scenario = Kind::Cancel.scenario(&choices(ms(300))).expect("a scenario");
        let branches = scenario.steps.iter().filter_map(|step| {
            let Does::Send(send) = &step.does else { return None };
            send.template
                .keywords()
                .into_iter()
                .find_map(|key| if let Keyword::Branch(step) = key { Some(*step) } else { None })
        });
        assert_eq!(branches.collect::<Vec<_>>(), [0, 0, 0, 0]);
    }
}
