//! Request methods: RFC 3261 §7.1 and the RFCs that added to it.
//!
//! For: telling methods apart without comparing text twice.
//! Not here: what a method means for a transaction (`transaction/`) or a dialog.
//! Invariants: case matters ("invite" is an extension method, §7.1).

use std::fmt;

/// Defines both method types and their texts in one list, so that they cannot disagree.
macro_rules! methods {
    ($($variant:ident = $text:literal),+ $(,)?) => {
        /// A method as it stands in a message; an unknown one keeps its text.
        #[derive(Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Method<'a> {
            $(#[doc = $text] $variant,)+
            /// A method this element has no name for.
            Other(&'a [u8]),
        }

        /// A method without its text, to be stored.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum MethodKind {
            $(#[doc = $text] $variant,)+
            /// Any method this element has no name for.
            Other,
        }

        impl<'a> Method<'a> {
            /// Recognises a method.
            #[inline]
            pub fn from_bytes(text: &'a [u8]) -> Method<'a> {
                $(if text == $text.as_bytes() { return Method::$variant; })+
                Method::Other(text)
            }

            /// The method of this kind, whose text this is.
            #[inline]
            pub(super) fn of(kind: MethodKind, text: &'a [u8]) -> Method<'a> {
                match kind {
                    $(MethodKind::$variant => Method::$variant,)+
                    MethodKind::Other => Method::Other(text),
                }
            }

            /// The method's text.
            pub fn as_bytes(&self) -> &'a [u8] {
                match self {
                    $(Method::$variant => $text.as_bytes(),)+
                    Method::Other(text) => text,
                }
            }

            /// The method without its text.
            pub fn kind(&self) -> MethodKind {
                match self {
                    $(Method::$variant => MethodKind::$variant,)+
                    Method::Other(_) => MethodKind::Other,
                }
            }
        }

        impl MethodKind {
            /// The method's text, where it is known.
            pub fn as_str(self) -> Option<&'static str> {
                match self {
                    $(MethodKind::$variant => Some($text),)+
                    MethodKind::Other => None,
                }
            }
        }
    };
}

methods! {
    Invite = "INVITE",
    Ack = "ACK",
    Bye = "BYE",
    Cancel = "CANCEL",
    Options = "OPTIONS",
    Register = "REGISTER",
    Prack = "PRACK",
    Subscribe = "SUBSCRIBE",
    Notify = "NOTIFY",
    Publish = "PUBLISH",
    Info = "INFO",
    Refer = "REFER",
    Message = "MESSAGE",
    Update = "UPDATE",
}

impl MethodKind {
    /// Whether a 2xx (or a reliable 1xx) to this method creates a dialog, so that Record-Route
    /// matters in it: RFC 3261 §12.1, RFC 6665 §4.4.1, RFC 3515 §2.4.4.
    pub fn forms_dialog(self) -> bool {
        match self {
            MethodKind::Invite | MethodKind::Subscribe | MethodKind::Notify | MethodKind::Refer => {
                true
            }
            MethodKind::Ack
            | MethodKind::Bye
            | MethodKind::Cancel
            | MethodKind::Options
            | MethodKind::Register
            | MethodKind::Prack
            | MethodKind::Publish
            | MethodKind::Info
            | MethodKind::Message
            | MethodKind::Update
            | MethodKind::Other => false,
        }
    }
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognises_by_exact_case() {
        assert_eq!(Method::from_bytes(b"INVITE"), Method::Invite);
        assert_eq!(Method::from_bytes(b"invite"), Method::Other(b"invite"));
    }

    #[test]
    fn unknown_method_keeps_its_text() {
        let method = Method::from_bytes(b"!interesting-Method0123456789_*+`.%indeed'~");
        assert_eq!(method.as_bytes(), b"!interesting-Method0123456789_*+`.%indeed'~");
        assert_eq!(method.kind(), MethodKind::Other);
    }

    #[test]
    fn kind_and_method_share_their_text() {
        assert_eq!(Method::Publish.kind().as_str(), Some("PUBLISH"));
        assert_eq!(Method::Publish.to_string(), "PUBLISH");
    }
}
