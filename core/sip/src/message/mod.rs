//! SIP messages: bytes to meaning and back.
//!
//! For: an index over borrowed bytes (`Head`), typed views of what they say (`Message`), and
//! writers that emit a changed message once into an output buffer (`write`).
//! Not here: what to do with a message (`transaction/`, `proxy/`), how it travels (`core/node`).
//! Invariants: nothing a peer sends panics, everything is linear in the message's length, nothing
//! allocates once buffers have grown.

mod call_id;
mod contact;
mod contact_change;
mod contact_code;
mod cseq;
mod e164;
mod edits;
mod error;
mod head;
mod header;
mod host;
mod line;
mod list;
mod marks;
#[expect(clippy::module_inception, reason = "the view is what the folder is about")]
mod message;
mod method;
mod name_addr;
mod octet;
mod status;
mod stream;
#[cfg(test)]
mod torture;
mod transport;
mod uri;
mod uri_builder;
mod uri_equality;
mod via;
mod write;

pub use call_id::scan_call_id;
pub use contact::Contacts;
pub use contact_change::{ChangedContact, ChangedField};
pub use cseq::CSeq;
pub use e164::is_e164;
pub use edits::{EditError, Edits, NO_EDITS};
pub use error::{ParseCause, ParseError};
pub use head::Head;
pub use header::HeaderName;
pub use host::Host;
pub use list::{Param, Params};
pub use message::{Field, Message, NameAddrs, StartLine, Value};
pub use method::{Method, MethodKind};
pub use name_addr::NameAddr;
pub use status::StatusCode;
pub use stream::{Frame, FrameError, Framer};
pub use transport::TransportName;
pub use uri::{Scheme, Uri};
pub use uri_builder::UriBuilder;
pub(crate) use via::ViaParams;
pub use via::{MAGIC_COOKIE, Via};
pub use write::{
    Reply, RequestChanges, ResponseChanges, RouteChanges, TopVia, write_ack, write_cancel,
    write_forwarded_request, write_forwarded_response, write_reply,
};
