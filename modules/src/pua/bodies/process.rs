//! The body processors of the packages that are known without anybody adding them.
//!
//! For: [`super::super::Packages::set_process`]: the tuple's id of `presence`, the version of
//! `dialog;sla`, of `dialog` with `dlginfo_increase_version`, of `reg` with
//! `reginfo_increase_version`.
//! Not here: when they are called.

use super::{Fault, pidf, set_version};
use crate::pua::{BodyFault, Document, Processed};

impl From<Fault> for BodyFault {
    fn from(fault: Fault) -> BodyFault {
        BodyFault { what: fault.to_string() }
    }
}

/// Of `presence`: all documents of a series have one tuple id.
///
/// # Errors
/// When it is no PIDF document.
pub fn presence(document: &Document<'_>) -> Result<Processed, BodyFault> {
    let Document { body, tuple_id, fresh_id, .. } = *document;
    let (body, id) = pidf::with_tuple_id(body, tuple_id, fresh_id)?;
    Ok(Processed { body: Some(body), tuple_id: Some(id) })
}

/// Of `dialog;sla`, and of `dialog` where that is wanted: documents are numbered.
///
/// # Errors
/// When it is no dialog-info document.
pub fn dialog_info(document: &Document<'_>) -> Result<Processed, BodyFault> {
    numbered(document, "dialog-info")
}

/// Of `reg` where that is wanted: documents are numbered.
///
/// # Errors
/// When it is no reginfo document.
pub fn reginfo(document: &Document<'_>) -> Result<Processed, BodyFault> {
    numbered(document, "reginfo")
}

fn numbered(document: &Document<'_>, root: &'static str) -> Result<Processed, BodyFault> {
    let body = set_version(document.body, root, document.version)?;
    Ok(Processed { body: Some(body), tuple_id: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_numbered_and_tuples_named() {
        let document = |body| Document { body, version: 2, tuple_id: None, fresh_id: "f" };
        let body = |processed: Result<Processed, BodyFault>| {
            let body = processed.expect("a body").body.expect("a new one");
            String::from_utf8(body).expect("text")
        };
        assert_eq!(body(reginfo(&document(b"<reginfo/>"))), "<reginfo version=\"2\"/>");
        assert_eq!(body(dialog_info(&document(b"<dialog-info/>"))), "<dialog-info version=\"2\"/>");
        let named = presence(&document(b"<presence><tuple/></presence>")).expect("a body");
        assert_eq!(named.tuple_id.as_deref(), Some("f"));
        let fault = reginfo(&document(b"<r/>")).expect_err("no reginfo");
        assert_eq!(fault.to_string(), "no element reginfo at the root");
    }
}
