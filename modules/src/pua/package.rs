//! Event packages: their names, default content types, and what is done to a document before it is
//! published.
//!
//! For: `add_event`, and the packages that are known without it.
//! Not here: the documents themselves (`bodies/`).
//! Invariants: a package's number names it in the column `event`; the first to register a name or
//! number keeps it.

use super::bodies::process;
use std::fmt;

/// Most packages. A guess: twice what the RFCs define and anybody uses.
pub const PACKAGES_MAX: usize = 31;

/// An event package; the numbers are those of the column `event`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u32);

impl EventId {
    /// `presence` (RFC 3856).
    pub const PRESENCE: EventId = EventId(1);
    /// `presence.winfo` (RFC 3857).
    pub const PRESENCE_WINFO: EventId = EventId(2);
    /// `dialog;sla`: bridged line appearance.
    pub const DIALOG_SLA: EventId = EventId(4);
    /// `message-summary` (RFC 3842).
    pub const MESSAGE_SUMMARY: EventId = EventId(8);
    /// `conference` (RFC 4575).
    pub const CONFERENCE: EventId = EventId(16);
    /// `dialog` (RFC 4235).
    pub const DIALOG: EventId = EventId(32);
    /// `reg` (RFC 3680).
    pub const REG: EventId = EventId(64);
    /// `xcap-diff` (RFC 5875).
    pub const XCAP_DIFF: EventId = EventId(128);
    /// `as-feature-event`.
    pub const FEATURES: EventId = EventId(256);
}

/// A document that is about to be published, as a body processor sees it.
#[derive(Clone, Copy, Debug)]
pub struct Document<'d> {
    /// As its owner gave it.
    pub body: &'d [u8],
    /// How many documents of this series were sent before: 0, 1, 2 ...
    pub version: u32,
    /// The PIDF tuple's id of this series, when there is one yet.
    pub tuple_id: Option<&'d str>,
    /// A new random id, to be used when one is needed.
    pub fresh_id: &'d str,
}

/// What a body processor makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Processed {
    /// The body to send; `None` to send it as it was given.
    pub body: Option<Vec<u8>>,
    /// The tuple's id, to be remembered for this series.
    pub tuple_id: Option<String>,
}

/// A document that cannot be published, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyFault {
    /// One sentence.
    pub what: String,
}

impl fmt::Display for BodyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for BodyFault {}

/// A body processor (`evs_process_body_t`): called each time a document is sent, not for refreshes.
pub type Process = fn(&Document<'_>) -> Result<Processed, BodyFault>;

/// An event package (`add_event`).
#[derive(Clone, Debug)]
pub struct Package {
    /// Its number.
    pub id: EventId,
    /// The value of the Event header.
    pub name: String,
    /// The Content-Type of a document whose owner names none.
    pub content_type: Option<String>,
    /// What is done to a document; nothing without one.
    pub process: Option<Process>,
    /// The Accept header of a SUBSCRIBE.
    pub accept: Option<String>,
}

/// Why a package cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotAdded {
    /// There are [`PACKAGES_MAX`] already.
    Full,
    /// Its number belongs to a package of another name, or is not a single bit.
    Number,
    /// Its name is no token.
    Name,
}

/// The packages that are known.
#[derive(Clone, Debug)]
pub struct Packages {
    list: Vec<Package>,
}

impl Packages {
    /// The packages that are there without anybody adding them.
    pub fn standard() -> Packages {
        let package = |id: EventId, name: &str, content_type: Option<&str>| Package {
            id,
            name: name.to_owned(),
            content_type: content_type.map(str::to_owned),
            process: None,
            accept: content_type.map(str::to_owned),
        };
        let dialog_info = Some("application/dialog-info+xml");
        let mut winfo = package(EventId::PRESENCE_WINFO, "presence.winfo", None);
        winfo.accept = Some("application/watcherinfo+xml".to_owned());
        let mut packages = Packages {
            list: vec![
                package(EventId::PRESENCE, "presence", Some("application/pidf+xml")),
                winfo,
                package(EventId::DIALOG_SLA, "dialog;sla", dialog_info),
                package(
                    EventId::MESSAGE_SUMMARY,
                    "message-summary",
                    Some("application/simple-message-summary"),
                ),
                package(EventId::CONFERENCE, "conference", Some("application/conference-info+xml")),
                package(EventId::DIALOG, "dialog", dialog_info),
                package(EventId::REG, "reg", Some("application/reginfo+xml")),
                package(EventId::XCAP_DIFF, "xcap-diff", Some("application/xcap-diff+xml")),
                package(
                    EventId::FEATURES,
                    "as-feature-event",
                    Some("application/x-as-feature-event+xml"),
                ),
            ],
        };
        packages.set_process(EventId::PRESENCE, Some(process::presence));
        packages.set_process(EventId::DIALOG_SLA, Some(process::dialog_info));
        packages.set_process(EventId::DIALOG, Some(process::dialog_info));
        packages.set_process(EventId::REG, Some(process::reginfo));
        packages
    }

    /// Adds a package (`add_event`). One whose name is known already is left as it is.
    ///
    /// # Errors
    /// When it cannot be added.
    pub fn add(&mut self, package: Package) -> Result<(), NotAdded> {
        if self.named(&package.name).is_some() {
            return Ok(());
        }
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~;=".contains(&byte);
        if package.name.is_empty() || !package.name.bytes().all(is_name) {
            return Err(NotAdded::Name);
        }
        if !package.id.0.is_power_of_two() || self.get(package.id).is_some() {
            return Err(NotAdded::Number);
        }
        if self.list.len() >= PACKAGES_MAX {
            return Err(NotAdded::Full);
        }
        self.list.push(package);
        Ok(())
    }

    /// The package with this number.
    pub fn get(&self, id: EventId) -> Option<&Package> {
        self.list.iter().find(|package| package.id == id)
    }

    /// The package with this name.
    pub fn named(&self, name: &str) -> Option<&Package> {
        self.list.iter().find(|package| package.name.eq_ignore_ascii_case(name))
    }

    /// Sets what is done to a package's documents.
    pub fn set_process(&mut self, id: EventId, process: Option<Process>) {
        if let Some(package) = self.list.iter_mut().find(|package| package.id == id) {
            package.process = process;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(bit: u32, name: &str) -> Package {
        Package {
            id: EventId(bit),
            name: name.to_owned(),
            content_type: None,
            process: None,
            accept: None,
        }
    }

    #[test]
    fn the_first_to_register_a_name_keeps_it() {
        let mut packages = Packages::standard();
        assert_eq!(packages.add(package(512, "ua-profile")), Ok(()));
        assert_eq!(packages.add(package(1024, "UA-profile")), Ok(()));
        assert_eq!(packages.named("ua-profile").map(|known| known.id), Some(EventId(512)));
        assert_eq!(packages.add(package(512, "other")), Err(NotAdded::Number));
        assert_eq!(packages.add(package(3, "other")), Err(NotAdded::Number));
        assert_eq!(packages.add(package(2048, "a b")), Err(NotAdded::Name));
    }

    #[test]
    fn the_standard_packages_have_their_numbers_and_types() {
        let packages = Packages::standard();
        for (bit, name) in [
            (1, "presence"),
            (2, "presence.winfo"),
            (4, "dialog;sla"),
            (8, "message-summary"),
            (16, "conference"),
            (32, "dialog"),
            (64, "reg"),
            (128, "xcap-diff"),
            (256, "as-feature-event"),
        ] {
            let known = packages.get(EventId(bit)).expect(name);
            assert_eq!(known.name, name);
        }
        let reg = packages.get(EventId::REG).and_then(|known| known.content_type.as_deref());
        assert_eq!(reg, Some("application/reginfo+xml"));
    }
}
