//! Allow and deny files: pairs of URIs that may go together.
//!
//! For: `allow_routing`, `allow_register` and `allow_uri`, with rules as Kamailio's files hold
//! them: `LEFT [EXCEPT LEFT] : RIGHT [EXCEPT RIGHT]`, where a side is `ALL` or a list of quoted
//! regular expressions.
//! Not here: which URIs are compared (`request.rs`), reading files (the edge).
//! Invariants: a pair that the allow file matches is allowed, else one that the deny file matches
//! is denied, else it is allowed. Expressions match in time linear in the URI (`regex-lite`),
//! whatever the case of its letters.

use super::trusted::PATTERN_BYTES_MAX;
use regex_lite::{Regex, RegexBuilder};
use strowger_sip::message::Uri;

/// Most rules of one file. A guess; each costs some compiled patterns.
const RULES_MAX: usize = 1 << 14;

/// The rules of one allow file and one deny file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// What it is called; empty for the default.
    pub name: String,
    /// What the allow file says.
    pub allow: Vec<Rule>,
    /// What the deny file says.
    pub deny: Vec<Rule>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    left: Side,
    right: Side,
}

/// One side of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Side {
    which: Which,
    except: Option<Which>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Which {
    All,
    /// Regular expressions that were tried; any of them.
    Any(Vec<String>),
}

/// Reads an allow or deny file. Lines that begin with `#` are comments.
///
/// # Errors
/// Every line that cannot be read, with its number.
pub fn parse_rules(text: &str) -> Result<Vec<Rule>, Vec<(usize, String)>> {
    let (mut rules, mut problems) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_rule(line) {
            Ok(_) if rules.len() == RULES_MAX => {
                problems.push((number, format!("more than {RULES_MAX} rules")));
                break;
            }
            Ok(rule) => rules.push(rule),
            Err(problem) => problems.push((number, problem)),
        }
    }
    if problems.is_empty() { Ok(rules) } else { Err(problems) }
}

#[derive(Debug, PartialEq, Eq)]
enum Word {
    All,
    Except,
    Colon,
    Comma,
    Quoted(String),
}

fn parse_rule(line: &str) -> Result<Rule, String> {
    let words = words(line)?;
    let mut sides = words.split(|word| *word == Word::Colon);
    let (Some(left), Some(right), None) = (sides.next(), sides.next(), sides.next()) else {
        return Err("a rule is two sides with one colon between them".to_owned());
    };
    Ok(Rule { left: parse_side(left)?, right: parse_side(right)? })
}

fn parse_side(words: &[Word]) -> Result<Side, String> {
    let mut parts = words.split(|word| *word == Word::Except);
    let which = parse_which(parts.next().unwrap_or_default())?;
    let except = parts.next().map(parse_which).transpose()?;
    match parts.next() {
        Some(_) => Err("EXCEPT stands twice on one side".to_owned()),
        None => Ok(Side { which, except }),
    }
}

fn parse_which(words: &[Word]) -> Result<Which, String> {
    let mut list = Vec::new();
    for word in words.split(|word| *word == Word::Comma) {
        match word {
            [Word::All] if words.len() == 1 => return Ok(Which::All),
            [Word::Quoted(text)] => match matcher(text) {
                Some(_) => list.push(text.clone()),
                None => return Err(format!("{text:?} is no regular expression")),
            },
            _ => return Err("expected: ALL, or \"expression\", \"expression\" ...".to_owned()),
        }
    }
    Ok(Which::Any(list))
}

fn words(line: &str) -> Result<Vec<Word>, String> {
    let (mut words, mut rest) = (Vec::new(), line.trim_start());
    while let Some(first) = rest.chars().next() {
        let (word, length) = match first {
            ':' => (Word::Colon, 1),
            ',' => (Word::Comma, 1),
            '#' => break,
            '"' => {
                let inside = rest.get(1..).unwrap_or_default();
                let end = inside.find('"').ok_or("a quote is not closed")?;
                (Word::Quoted(inside.get(..end).unwrap_or_default().to_owned()), end + 2)
            }
            _ => {
                let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
                match rest.get(..end) {
                    Some("ALL") => (Word::All, end),
                    Some("EXCEPT") => (Word::Except, end),
                    Some(_) | None => {
                        return Err(format!("{rest:?}: expected ALL, EXCEPT or a quote"));
                    }
                }
            }
        };
        words.push(word);
        rest = rest.get(length..).unwrap_or_default().trim_start();
    }
    Ok(words)
}

fn matcher(text: &str) -> Option<Regex> {
    let fits = text.len() <= PATTERN_BYTES_MAX;
    RegexBuilder::new(text).case_insensitive(true).build().ok().filter(|_| fits)
}

/// What the rules say about a pair of URIs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Permit {
    /// They may go together.
    Allowed,
    /// They may not.
    Denied,
    /// There is no set of rules of this name, or a URI cannot be read.
    Unknown,
}

impl Permit {
    /// Whether the pair may go together; not when nobody can say.
    pub fn is_allowed(self) -> bool {
        self == Permit::Allowed
    }
}

/// Rules in use. Each shard compiles its own: a shared one would share its scratch memory.
#[derive(Debug)]
pub(super) struct Rules {
    sets: Vec<(String, Vec<Compiled>, Vec<Compiled>)>,
}

#[derive(Debug)]
struct Compiled {
    left: CompiledSide,
    right: CompiledSide,
}

#[derive(Debug)]
struct CompiledSide {
    which: Matchers,
    except: Option<Matchers>,
}

/// `None` matches everything.
type Matchers = Option<Vec<Regex>>;

impl Compiled {
    fn new(rule: &Rule) -> Compiled {
        Compiled { left: CompiledSide::new(&rule.left), right: CompiledSide::new(&rule.right) }
    }

    fn matches(&self, left: &str, right: &str) -> bool {
        self.left.matches(left) && self.right.matches(right)
    }
}

impl CompiledSide {
    fn new(side: &Side) -> CompiledSide {
        let compile = |which: &Which| match which {
            Which::All => None,
            Which::Any(list) => Some(list.iter().filter_map(|text| matcher(text)).collect()),
        };
        CompiledSide { which: compile(&side.which), except: side.except.as_ref().map(compile) }
    }

    fn matches(&self, uri: &str) -> bool {
        let any = |matchers: &Matchers| {
            matchers.as_ref().is_none_or(|list| list.iter().any(|regex| regex.is_match(uri)))
        };
        any(&self.which) && !self.except.as_ref().is_some_and(any)
    }
}

impl Rules {
    pub(super) fn new(sets: &[RuleSet]) -> Rules {
        let compile = |rules: &[Rule]| rules.iter().map(Compiled::new).collect();
        let sets = sets.iter();
        Rules {
            sets: sets
                .map(|set| (set.name.clone(), compile(&set.allow), compile(&set.deny)))
                .collect(),
        }
    }

    /// What the set of this name says about two URIs.
    pub(super) fn judge(&self, name: &str, left: &[u8], right: &[u8]) -> Permit {
        let set = self.sets.iter().find(|(own, _, _)| own == name);
        let (Some((_, allow, deny)), Some(left), Some(right)) = (set, plain(left), plain(right))
        else {
            return Permit::Unknown;
        };
        let matches = |rules: &[Compiled]| rules.iter().any(|rule| rule.matches(&left, &right));
        if !matches(allow) && matches(deny) { Permit::Denied } else { Permit::Allowed }
    }
}

/// A URI as rules see it: scheme, user and host, nothing else.
fn plain(uri: &[u8]) -> Option<String> {
    let uri = Uri::parse(uri).ok()?;
    let scheme = std::str::from_utf8(uri.scheme.as_bytes()).ok()?.to_ascii_lowercase();
    let user = uri.user.map(std::str::from_utf8).transpose().ok()?;
    Some(match user {
        Some(user) if uri.host.is_empty() => format!("{scheme}:{user}"),
        Some(user) => format!("{scheme}:{user}@{}", uri.host),
        None => format!("{scheme}:{}", uri.host),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(allow: &str, deny: &str) -> Rules {
        let parse = |text| parse_rules(text).expect("rules");
        Rules::new(&[RuleSet { name: String::new(), allow: parse(allow), deny: parse(deny) }])
    }

    fn judge(rules: &Rules, left: &str, right: &str) -> Permit {
        rules.judge("", left.as_bytes(), right.as_bytes())
    }

    #[test]
    fn allow_comes_before_deny_and_what_neither_knows_is_allowed() {
        let rules = rules(
            "# trunks\nALL : \"^sip:361[0-9]*@abc\\.com$\" EXCEPT \"^sip:3619\"\n",
            "\"^sip:3\", \"^sip:4\" : ALL\n",
        );
        assert_eq!(judge(&rules, "sip:3@x", "sip:3615@ABC.com:5060;a=b"), Permit::Allowed);
        assert_eq!(judge(&rules, "sip:3@x", "sip:3619@abc.com"), Permit::Denied);
        assert_eq!(judge(&rules, "sips:5@x", "sip:3619@abc.com"), Permit::Allowed);
        assert_eq!(judge(&rules, "sip:4@x", "tel:+361"), Permit::Denied);
        assert_eq!(judge(&rules, "nonsense", "sip:3615@abc.com"), Permit::Unknown);
        assert_eq!(rules.judge("x", b"sip:a", b"sip:b"), Permit::Unknown);
        assert!(!Permit::Unknown.is_allowed());
    }

    #[test]
    fn every_wrong_line_is_named() {
        let text = "ALL : ALL\nALL\nALL : \"(\"\n\"a : ALL\nALL : any\nALL, \"a\" : ALL\n\
                    ALL : ALL EXCEPT \"a\" EXCEPT \"b\"\nALL : ALL : ALL\nALL :\n";
        let problems = parse_rules(text).expect_err("problems");
        let lines: Vec<usize> = problems.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [2, 3, 4, 5, 6, 7, 8, 9]);
    }
}
