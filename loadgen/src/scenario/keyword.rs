//! The keywords of a template: what stands between brackets.
//!
//! For: `template.rs`.
//! Not here: what is written for them (`desk/render.rs`).

use super::action::Names;
use super::template::Template;
use super::{ScenarioError, VariableId};
use strowger_sip::message::{Field, HeaderName, Message};

/// One keyword.
#[derive(Clone, Debug)]
pub(crate) enum Keyword {
    Service,
    RemoteIp,
    RemotePort,
    Transport,
    /// With brackets, if it is of IPv6.
    LocalIp,
    /// Without brackets.
    MediaIp,
    LocalIpType,
    LocalPort(i64),
    MediaPort(i64),
    Length,
    CallNumber,
    CallId,
    CSeq(i64),
    Pid,
    /// The branch of the step with this index.
    Branch(usize),
    MessageIndex,
    Timestamp,
    /// Milliseconds since the run began.
    ClockTick,
    Date,
    Version,
    /// What was received last, or the message that opened the call.
    Last(LastPart),
    First(LastPart),
    NextUrl,
    Routes,
    PeerTagParam,
    Field {
        column: usize,
        file: Option<String>,
    },
    Authentication(Box<Credentials>),
    Variable(VariableId),
    /// As many letters as the variable says.
    Fill {
        text: String,
        variable: VariableId,
    },
    /// A number that no other use of this keyword has.
    DynamicId,
}

/// Which part of a message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LastPart {
    /// All header lines of that name, name and all.
    Lines(Header),
    /// The value of the first one.
    Value(Header),
    RequestUri,
    CSeqNumber(i64),
    Message,
}

/// The name of a header, recognised once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) known: HeaderName,
    pub(crate) name: String,
}

impl Header {
    pub(crate) fn new(name: &str) -> Header {
        Header { known: HeaderName::from_bytes(name.as_bytes()), name: name.to_owned() }
    }

    /// All fields of that name.
    pub(crate) fn fields<'a>(
        &'a self,
        message: Message<'a>,
    ) -> impl Iterator<Item = Field<'a>> + Clone {
        message.headers(self.known).filter(|field| {
            self.known != HeaderName::Other
                || field.name_bytes.eq_ignore_ascii_case(self.name.as_bytes())
        })
    }
}

/// Who answers a challenge.
#[derive(Clone, Debug)]
pub(crate) struct Credentials {
    pub(crate) user: Template,
    pub(crate) password: Template,
}

/// Where a keyword stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site {
    pub(super) line: u32,
    /// The index of the step.
    pub(super) step: usize,
}

/// Whether what follows a bracket could be a keyword; if not, the bracket is just a bracket.
pub(super) fn begins(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '$')
}

/// Reads what stands between the brackets.
pub(super) fn parse(text: &str, site: Site, names: &mut Names) -> Result<Keyword, ScenarioError> {
    let error = |what: String| ScenarioError::new(site.line, what);
    if let Some(name) = text.strip_prefix('$') {
        return Ok(Keyword::Variable(names.id(name)));
    }
    let (name, parameters) = text.split_once(' ').unwrap_or((text, ""));
    if let Some(part) = name.strip_prefix("last_") {
        return Ok(Keyword::Last(last_part(part)));
    }
    if let Some(part) = name.strip_prefix("first_") {
        return Ok(Keyword::First(last_part(part)));
    }
    if let Some(column) = name.strip_prefix("field").and_then(|column| column.parse().ok()) {
        let file = parameter(parameters, "file").map(str::to_owned);
        return Ok(Keyword::Field { column, file });
    }
    let (bare, offset) = split_offset(name);
    let keyword = match bare {
        "service" => Keyword::Service,
        "remote_ip" | "remote_host" | "server_ip" => Keyword::RemoteIp,
        "remote_port" => Keyword::RemotePort,
        "transport" => Keyword::Transport,
        "local_ip" => Keyword::LocalIp,
        "media_ip" => Keyword::MediaIp,
        "local_ip_type" | "media_ip_type" => Keyword::LocalIpType,
        "local_port" => Keyword::LocalPort(offset),
        "media_port" | "auto_media_port" => Keyword::MediaPort(offset),
        "len" => Keyword::Length,
        "call_number" => Keyword::CallNumber,
        "call_id" => Keyword::CallId,
        "cseq" => Keyword::CSeq(offset),
        "pid" => Keyword::Pid,
        "branch" => Keyword::Branch(branch_step(site.step, offset)),
        "msg_index" => Keyword::MessageIndex,
        "timestamp" => Keyword::Timestamp,
        "clock_tick" => Keyword::ClockTick,
        "date" => Keyword::Date,
        "sipp_version" => Keyword::Version,
        "next_url" => Keyword::NextUrl,
        "routes" => Keyword::Routes,
        "peer_tag_param" => Keyword::PeerTagParam,
        "dynamic_id" => Keyword::DynamicId,
        "authentication" => Keyword::Authentication(credentials(parameters, site, names)?),
        "fill" => {
            let variable = parameter(parameters, "variable")
                .ok_or_else(|| error("[fill] needs variable=\"...\"".to_owned()))?;
            let text = parameter(parameters, "text").filter(|text| !text.is_empty());
            let text = text.unwrap_or("X").to_owned();
            Keyword::Fill { text, variable: names.id(variable) }
        }
        _ => return Err(error(format!("[{text}] is not a known keyword"))),
    };
    Ok(keyword)
}

fn last_part(part: &str) -> LastPart {
    if part == "message" {
        return LastPart::Message;
    }
    if part.eq_ignore_ascii_case("Request_URI") {
        return LastPart::RequestUri;
    }
    let (bare, offset) = split_offset(part);
    if bare.eq_ignore_ascii_case("cseq_number") {
        return LastPart::CSeqNumber(offset);
    }
    match part.strip_suffix(':') {
        Some(name) => LastPart::Lines(Header::new(name)),
        None => LastPart::Value(Header::new(part)),
    }
}

/// `cseq+2` is `cseq` and 2. A dash may also be part of a name.
fn split_offset(name: &str) -> (&str, i64) {
    let Some(at) = name.rfind(['+', '-']) else { return (name, 0) };
    let (bare, offset) = name.split_at(at);
    offset.parse().map_or((name, 0), |offset| (bare, offset))
}

/// `[branch-3]` is the branch of the step three steps before.
fn branch_step(step: usize, offset: i64) -> usize {
    i64::try_from(step).ok().and_then(|step| usize::try_from(step + offset).ok()).unwrap_or(0)
}

/// `name=value` or `name="value"` among parameters.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = parameters.trim_start();
    while let Some((found, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => split_word(after),
        };
        if found.trim() == name {
            return Some(value);
        }
        rest = next.trim_start();
    }
    None
}

/// Up to the next blank outside of brackets.
fn split_word(text: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, letter) in text.char_indices() {
        match letter {
            '[' => depth += 1,
            ']' => depth -= 1,
            ' ' if depth == 0 => return text.split_at(at),
            _ => {}
        }
    }
    (text, "")
}

fn credentials(
    parameters: &str,
    site: Site,
    names: &mut Names,
) -> Result<Box<Credentials>, ScenarioError> {
    let mut part = |name: &str, otherwise: &str| {
        Template::inline(parameter(parameters, name).unwrap_or(otherwise), site, names)
    };
    // What is not named is taken from the command line.
    let user = part("username", "")?;
    let password = part("password", "")?;
    Ok(Box::new(Credentials { user, password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Keyword, ScenarioError> {
        parse(text, Site { line: 7, step: 4 }, &mut Names::default())
    }

    #[test]
    fn offsets_and_parts_are_read() {
        assert!(matches!(read("branch-3"), Ok(Keyword::Branch(1))));
        assert!(matches!(read("cseq+2"), Ok(Keyword::CSeq(2))));
        assert!(matches!(read("media_port+2"), Ok(Keyword::MediaPort(2))));
        let lines = LastPart::Lines(Header::new("Call-ID"));
        assert!(matches!(read("last_Call-ID:"), Ok(Keyword::Last(part)) if part == lines));
        let number = LastPart::CSeqNumber(1);
        assert!(matches!(read("last_cseq_number+1"), Ok(Keyword::Last(part)) if part == number));
        assert!(matches!(read("field12 file=\"a.csv\""),
            Ok(Keyword::Field { column: 12, file: Some(file) }) if file == "a.csv"));
    }

    #[test]
    fn parameters_may_hold_keywords() {
        let text = "username=[field0] password=\"a b\"";
        assert_eq!(parameter(text, "username"), Some("[field0]"));
        assert_eq!(parameter(text, "password"), Some("a b"));
        assert!(read(&format!("authentication {text}")).is_ok());
    }

    #[test]
    fn the_unknown_is_refused_with_its_line() {
        let error = read("rtpstream_audio_port").expect_err("unknown");
        assert_eq!((error.line, error.what.contains("rtpstream_audio_port")), (7, true));
    }
}
