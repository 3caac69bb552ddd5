//! Documents of event packages: written, read with limits, changed before they are published.
//!
//! For: `application/reginfo+xml` (RFC 3680, RFC 5628), `application/pidf+xml` (RFC 3863) and
//! `application/dialog-info+xml` (RFC 4235); the body processors of `pua`: versions, tuple ids.
//! Not here: when something is published (`pua_reginfo/`, `pua_usrloc/`, `pua_dialoginfo/`).
//! Invariants: what is written is well-formed whatever the texts hold; what is read has no entity
//! but the five predefined ones, no DTD, and a bounded size, depth and number of elements.

pub mod dialog_info;
pub mod pidf;
pub mod process;
pub mod reginfo;
mod text;
mod xml;

pub use text::set_version;
pub use xml::{Attributes, BYTES_MAX, DEPTH_MAX, ELEMENTS_MAX, Element, read};

use std::fmt;

/// The media type of [`reginfo`].
pub const REGINFO: &str = "application/reginfo+xml";
/// The media type of [`pidf`].
pub const PIDF: &str = "application/pidf+xml";
/// The media type of [`dialog_info`].
pub const DIALOG_INFO: &str = "application/dialog-info+xml";

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// More bytes than allowed.
    TooLong {
        /// How many.
        length: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// Elements nested deeper than allowed.
    TooDeep {
        /// How deep they may be.
        limit: usize,
    },
    /// More elements than allowed.
    TooMany {
        /// How many are allowed.
        limit: usize,
    },
    /// More attributes of one element than allowed.
    TooManyAttributes {
        /// How many are allowed.
        limit: usize,
    },
    /// Not UTF-8, or said to be something else.
    Encoding,
    /// It has a document type.
    DocumentType,
    /// An entity that XML does not predefine.
    Entity,
    /// Not well-formed.
    Malformed {
        /// Where it was noticed.
        offset: usize,
    },
    /// Another root element.
    Root {
        /// The one that was expected.
        expected: &'static str,
    },
    /// Something that must be there is not.
    Missing {
        /// In which element.
        element: &'static str,
        /// What.
        what: &'static str,
    },
    /// A value that means nothing here.
    Value {
        /// In which element.
        element: &'static str,
        /// Of what.
        what: &'static str,
    },
    /// The same name for two things.
    Twice {
        /// In which element.
        element: &'static str,
        /// Of what.
        what: &'static str,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::TooLong { length, limit } => write!(f, "{length} bytes, {limit} allowed"),
            Fault::TooDeep { limit } => write!(f, "deeper than {limit} elements"),
            Fault::TooMany { limit } => write!(f, "more than {limit} elements"),
            Fault::TooManyAttributes { limit } => {
                write!(f, "an element with more than {limit} attributes")
            }
            Fault::Encoding => f.write_str("not UTF-8"),
            Fault::DocumentType => f.write_str("a document type"),
            Fault::Entity => f.write_str("an entity that is not predefined"),
            Fault::Malformed { offset } => write!(f, "not well-formed at byte {offset}"),
            Fault::Root { expected } => write!(f, "no element {expected} at the root"),
            Fault::Missing { element, what } => write!(f, "{element} without {what}"),
            Fault::Value { element, what } => write!(f, "{element} with an absurd {what}"),
            Fault::Twice { element, what } => write!(f, "{element} with a repeated {what}"),
        }
    }
}

impl std::error::Error for Fault {}
