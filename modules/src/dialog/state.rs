//! The states of a dialog and what moves it from one to the next.
//!
//! For: one pure function of state and event, tested cell by cell.
//! Not here: what a change brings with it (`reply.rs`, `within.rs`, `end.rs`).
//! Invariants: nothing leads out of `Deleted` but a late 2xx, which makes a record of its own.

use strowger_sip::message::MethodKind;

/// How far a dialog has come; the numbers are those of listings and of the table `dialog`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// The INVITE was seen, no response yet.
    Unconfirmed = 1,
    /// A provisional response was relayed upstream.
    Early = 2,
    /// A 2xx went upstream, its ACK was not seen.
    ConfirmedNa = 3,
    /// The ACK was seen.
    Confirmed = 4,
    /// It has ended; kept for late messages.
    Deleted = 5,
}

impl State {
    /// All of them, in the order of their numbers.
    pub const ALL: [State; 5] =
        [State::Unconfirmed, State::Early, State::ConfirmedNa, State::Confirmed, State::Deleted];

    /// Its number.
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The state of this number.
    pub fn from_number(number: u8) -> Option<State> {
        State::ALL.into_iter().find(|state| state.number() == number)
    }

    /// The state that a name means; only its first letter counts, as in `dlg_set_state`.
    pub fn from_name(name: &str) -> Option<State> {
        match name.bytes().next()?.to_ascii_lowercase() {
            b'u' => Some(State::Unconfirmed),
            b'e' => Some(State::Early),
            b'a' => Some(State::ConfirmedNa),
            b'c' => Some(State::Confirmed),
            b'd' => Some(State::Deleted),
            _ => None,
        }
    }

    /// Whether it was answered and has not ended.
    pub const fn is_active(self) -> bool {
        matches!(self, State::ConfirmedNa | State::Confirmed)
    }

    /// Whether it waits for an answer.
    pub const fn is_early(self) -> bool {
        matches!(self, State::Unconfirmed | State::Early)
    }
}

/// What happens to a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incident {
    /// A provisional response from downstream goes upstream.
    Provisional,
    /// A 2xx goes upstream.
    Success,
    /// Another final response goes upstream.
    Failure,
    /// An ACK.
    Ack,
    /// A BYE.
    Bye,
    /// A PRACK.
    Prack,
    /// Any other request within the dialog.
    Within,
    /// The INVITE's transaction has ended.
    TransactionEnd,
}

impl Incident {
    /// What a request within the dialog is to it.
    pub fn of_request(method: MethodKind) -> Incident {
        match method {
            MethodKind::Ack => Incident::Ack,
            MethodKind::Bye => Incident::Bye,
            MethodKind::Prack => Incident::Prack,
            MethodKind::Invite
            | MethodKind::Cancel
            | MethodKind::Options
            | MethodKind::Register
            | MethodKind::Subscribe
            | MethodKind::Notify
            | MethodKind::Publish
            | MethodKind::Info
            | MethodKind::Refer
            | MethodKind::Message
            | MethodKind::Update
            | MethodKind::Other => Incident::Within,
        }
    }
}

/// What an incident does to the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing, as it should be.
    Stay,
    /// Nothing, and it ought not to happen; counted.
    Bogus,
    /// On to this state, which may be the same one.
    To(State),
    /// A 2xx after the end: the call is up all the same, in a record of its own.
    Late,
}

/// What an incident does in this state; `has_bye`: whether a BYE ended the dialog.
pub fn step(state: State, incident: Incident, has_bye: bool) -> Step {
    use State::{Confirmed, ConfirmedNa, Deleted, Early, Unconfirmed};
    match (incident, state) {
        (Incident::Provisional, Unconfirmed | Early) => Step::To(Early),
        (Incident::Provisional, ConfirmedNa | Confirmed | Deleted) => Step::Bogus,
        (Incident::Success, Unconfirmed | Early) => Step::To(ConfirmedNa),
        (Incident::Success, ConfirmedNa | Confirmed) => Step::Stay,
        (Incident::Success, Deleted) if has_bye => Step::Bogus,
        (Incident::Success, Deleted) => Step::Late,
        (Incident::Failure, Unconfirmed | Early) => Step::To(Deleted),
        (Incident::Failure, ConfirmedNa | Confirmed | Deleted) => Step::Bogus,
        (Incident::Ack, Unconfirmed | Early) => Step::Bogus,
        (Incident::Ack, ConfirmedNa) => Step::To(Confirmed),
        (Incident::Ack, Confirmed | Deleted) => Step::Stay,
        (Incident::Bye, Unconfirmed) => Step::Bogus,
        (Incident::Bye, Early | Deleted) => Step::Stay,
        (Incident::Bye, ConfirmedNa | Confirmed) => Step::To(Deleted),
        // In `Unconfirmed` too: the reliable 18x that it answers may not have been seen here.
        (Incident::Prack, Unconfirmed | Early | ConfirmedNa | Deleted) => Step::Stay,
        (Incident::Prack, Confirmed) => Step::Bogus,
        (Incident::Within, Unconfirmed | Early | ConfirmedNa | Confirmed | Deleted) => Step::Stay,
        (Incident::TransactionEnd, Unconfirmed | Early) => Step::To(Deleted),
        (Incident::TransactionEnd, ConfirmedNa | Confirmed | Deleted) => Step::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One line an incident; its five columns are the states 1 to 5. `-` is nothing, `!` bogus, `L`
    /// a late answer.
    const TABLE: &[(Incident, &str)] = &[
        (Incident::Provisional, "2 2 ! ! !"),
        (Incident::Success, "3 3 - - L"),
        (Incident::Failure, "5 5 ! ! !"),
        (Incident::Ack, "! ! 4 - -"),
        (Incident::Bye, "! - 5 5 -"),
        (Incident::Prack, "- - - ! -"),
        (Incident::Within, "- - - - -"),
        (Incident::TransactionEnd, "5 5 - - -"),
    ];

    #[test]
    fn every_incident_in_every_state() {
        for (incident, row) in TABLE {
            let cells: Vec<&str> = row.split(' ').collect();
            assert_eq!(cells.len(), State::ALL.len());
            for (state, cell) in State::ALL.into_iter().zip(cells) {
                let wanted = match cell {
                    "-" => Step::Stay,
                    "!" => Step::Bogus,
                    "L" => Step::Late,
                    number => {
                        let number = number.parse().expect("a number");
                        Step::To(State::from_number(number).expect("a state"))
                    }
                };
                assert_eq!(step(state, *incident, false), wanted, "{incident:?} in {state:?}");
                let after_bye = match wanted {
                    Step::Late => Step::Bogus,
                    same @ (Step::Stay | Step::Bogus | Step::To(_)) => same,
                };
                assert_eq!(step(state, *incident, true), after_bye, "{incident:?} in {state:?}");
            }
        }
    }

    #[test]
    fn states_have_names_and_numbers() {
        for (name, state) in [
            ("unconfirmed", State::Unconfirmed),
            ("early", State::Early),
            ("answered", State::ConfirmedNa),
            ("Confirmed", State::Confirmed),
            ("deleted", State::Deleted),
        ] {
            assert_eq!(State::from_name(name), Some(state));
            assert_eq!(State::from_number(state.number()), Some(state));
        }
        assert_eq!(State::from_name("x"), None);
        assert_eq!(State::from_number(6), None);
    }
}
