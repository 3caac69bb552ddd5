//! What is wrong with a message: which header, where, why, and which status answers it.
//!
//! For: every parser of this folder.
//! Not here: mistakes in header edits (`edits.rs`), refusals by policy (`proxy/`).

use std::error::Error;
use std::fmt;

use super::header::HeaderName;
use super::status::StatusCode;

/// A peer's mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The header that is wrong; `HeaderName::StartLine` for the first line, `HeaderName::Other`
    /// where the line's name could not be read or does not matter.
    pub header: HeaderName,
    /// Where: octets from the start of what was parsed (the message, when the message was asked).
    pub offset: usize,
    /// Why.
    pub cause: ParseCause,
}

/// Why a message, or a part of it, cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParseCause {
    /// The header is not there.
    Missing,
    /// A header that may stand once stands twice.
    Duplicate,
    /// The grammar allows something else here.
    UnexpectedByte(u8),
    /// The grammar demands more.
    UnexpectedEnd,
    /// Longer than this element accepts.
    TooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A Request-URI longer than this element accepts.
    UriTooLong {
        /// How long it is.
        length: usize,
        /// How long it may be.
        limit: usize,
    },
    /// More of them than this element accepts.
    TooMany {
        /// How many there may be.
        limit: usize,
    },
    /// A number beyond what its header allows.
    OutOfRange,
    /// SIP, but not version 2.0.
    UnsupportedVersion,
    /// A URI of a scheme that this element cannot route.
    UnsupportedScheme,
    /// Content-Length promises more than arrived.
    BodyCutShort {
        /// What Content-Length says.
        promised: usize,
        /// What is there.
        present: usize,
    },
    /// No SIP message at all: nothing to answer.
    NotSip,
}

impl ParseError {
    /// The same mistake, told with its header and with its place in the whole message.
    #[must_use]
    pub(super) fn within(self, header: HeaderName, base: usize) -> ParseError {
        ParseError { header, offset: self.offset.saturating_add(base), ..self }
    }

    /// The status that answers a request with this mistake.
    pub fn status(&self) -> StatusCode {
        match self.cause {
            ParseCause::Missing => StatusCode::BAD_REQUEST,
            ParseCause::Duplicate => StatusCode::BAD_REQUEST,
            ParseCause::UnexpectedByte(_) => StatusCode::BAD_REQUEST,
            ParseCause::UnexpectedEnd => StatusCode::BAD_REQUEST,
            ParseCause::TooLong { .. } => StatusCode::MESSAGE_TOO_LARGE,
            ParseCause::UriTooLong { .. } => StatusCode::REQUEST_URI_TOO_LONG,
            ParseCause::TooMany { .. } => StatusCode::MESSAGE_TOO_LARGE,
            ParseCause::OutOfRange => StatusCode::BAD_REQUEST,
            ParseCause::UnsupportedVersion => StatusCode::VERSION_NOT_SUPPORTED,
            ParseCause::UnsupportedScheme => StatusCode::UNSUPPORTED_URI_SCHEME,
            ParseCause::BodyCutShort { .. } => StatusCode::BAD_REQUEST,
            ParseCause::NotSip => StatusCode::BAD_REQUEST,
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at octet {}: {}", self.header.canonical(), self.offset, self.cause)
    }
}

impl fmt::Display for ParseCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseCause::Missing => f.write_str("missing"),
            ParseCause::Duplicate => f.write_str("given more than once"),
            ParseCause::UnexpectedByte(byte) => {
                write!(f, "unexpected '{}'", byte.escape_ascii())
            }
            ParseCause::UnexpectedEnd => f.write_str("unexpected end"),
            ParseCause::TooLong { length, limit } => {
                write!(f, "{length} octets, at most {limit} allowed")
            }
            ParseCause::UriTooLong { length, limit } => {
                write!(f, "URI of {length} octets, at most {limit} allowed")
            }
            ParseCause::TooMany { limit } => write!(f, "more than {limit}"),
            ParseCause::OutOfRange => f.write_str("number out of range"),
            ParseCause::UnsupportedVersion => f.write_str("not version 2.0"),
            ParseCause::UnsupportedScheme => f.write_str("URI scheme not supported"),
            ParseCause::BodyCutShort { promised, present } => {
                write!(f, "{promised} octets of body promised, {present} present")
            }
            ParseCause::NotSip => f.write_str("not a SIP message"),
        }
    }
}

impl Error for ParseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_header_place_and_cause() {
        let error = ParseError {
            header: HeaderName::CSeq,
            offset: 17,
            cause: ParseCause::UnexpectedByte(b'\n'),
        };
        assert_eq!(error.to_string(), "CSeq at octet 17: unexpected '\\n'");
    }

    #[test]
    fn each_cause_knows_its_status() {
        let status =
            |cause| ParseError { header: HeaderName::StartLine, offset: 0, cause }.status().code();
        assert_eq!(status(ParseCause::Missing), 400);
        assert_eq!(status(ParseCause::UriTooLong { length: 2, limit: 1 }), 414);
        assert_eq!(status(ParseCause::UnsupportedScheme), 416);
        assert_eq!(status(ParseCause::UnsupportedVersion), 505);
        assert_eq!(status(ParseCause::TooMany { limit: 1 }), 513);
    }
}
