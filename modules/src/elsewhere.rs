//! Kamailio's settings that steer what is not there: refused with a word on what to use instead.
//!
//! For: a file that says something on which nobody would act.
//! Not here: settings with an effect (`settings.rs` of each module).
//! Invariants: no key is taken in silence, unless its value says what is done anyway.

use strowger_sip::settings::Section;

/// What may be written because it is done anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anyway {
    /// Nothing.
    Nothing,
    /// This position of a switch.
    Switch(bool),
    /// This number.
    Number(u64),
    /// This text.
    Text(&'static str),
}

/// A key, what it may say, and what to use instead of anything else.
pub(crate) type Elsewhere = (&'static str, Anyway, &'static str);

/// Reports what is set of these and says something else than what is done anyway.
pub(crate) fn refuse(section: &mut Section<'_>, list: &[Elsewhere]) {
    for (key, anyway, instead) in list {
        if !section.is_set(key) {
            continue;
        }
        // A value of a wrong kind is reported where it is read.
        let (agrees, allowed) = match anyway {
            Anyway::Nothing => (false, String::new()),
            Anyway::Switch(on) => (section.switch(key, *on) == *on, format!("{on}; else ")),
            Anyway::Number(number) => {
                let read = section.integer(key, *number, 0..=u64::MAX);
                (read == *number, format!("{number}; else "))
            }
            Anyway::Text(text) => {
                let read = section.string_or(key, text);
                (read == *text, format!("{text:?}; else "))
            }
        };
        if !agrees {
            let allowed = format!("{allowed}use {instead}");
            section.problem(key, "there is no such setting here", &allowed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_sip::settings::{Configuration, Place, Value};

    fn problems(list: &[Elsewhere], key: &str, value: Value) -> String {
        let mut configuration = Configuration::empty("test.toml");
        configuration.set("usrloc", key, Place::Line(1), value);
        let (_, problems) = configuration.read(|root| refuse(&mut root.section("usrloc"), list));
        problems.to_string()
    }

    #[test]
    fn a_key_is_refused_unless_it_says_what_is_done_anyway() {
        let list = [
            ("gone", Anyway::Nothing, "a method"),
            ("on", Anyway::Switch(true), "nothing"),
            ("one", Anyway::Number(1), "another key"),
            ("name", Anyway::Text("location"), "`table`"),
        ];
        for (key, value) in [
            ("on", Value::Boolean(true)),
            ("on", Value::Integer(1)),
            ("one", Value::Integer(1)),
            ("name", Value::String("location".into())),
        ] {
            assert_eq!(problems(&list, key, value), "", "{key}");
        }
        for (key, value, allowed) in [
            ("gone", Value::Integer(0), "allowed: use a method"),
            ("on", Value::Integer(0), "allowed: true; else use nothing"),
            ("one", Value::Integer(2), "allowed: 1; else use another key"),
            ("one", Value::Boolean(true), "a boolean cannot be used here"),
            ("name", Value::String("aliases".into()), "\"location\"; else use `table`"),
        ] {
            let problems = problems(&list, key, value);
            assert!(problems.contains(allowed), "{key}: {problems}");
            assert_eq!(problems.lines().count(), 1, "{key}: {problems}");
        }
    }
}
