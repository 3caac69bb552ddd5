//! Replaced headers that the call's dialog remembers (`restore_dlg`), by Kamailio's names.
//!
//! For: calls whose parties do not repeat the route set as it was; display names in Kamailio's
//! variables `_uac_fu` and their kin; calls that go on after a restart.
//! Not here: variables themselves (`dialog/`).
//! Invariants: the original of a dialog is stored once; later replacements change the new value.

use super::Uac;
use super::cookie::{Header, Pair, Shown, Way};
use super::request::{NotReplaced, UacOf};
use super::rewrite::{Restored, of_pair};
use crate::dialog::{Dialog, DialogRequest};
use strowger_sip::module::Has;
use strowger_sip::routing::{ListOf, Request, Routing};

/// The variables of a header: original URI, new URI, original name, new name.
const fn names(header: Header) -> [&'static str; 4] {
    match header {
        Header::From => ["_uac_fu", "_uac_funew", "_uac_fdp", "_uac_fdpnew"],
        Header::To => ["_uac_to", "_uac_tonew", "_uac_tdp", "_uac_tdpnew"],
    }
}

/// Says of a pair that names belong to it: an absent name is an empty variable, and those are not
/// kept.
const NAMED: &str = "_uac_dp";

/// Who called, so that an ACK is told apart from one of the callee.
const CALLER: &str = "_uac_ftag";

impl<'q, 'a, R: Routing, N> UacOf<'q, 'a, R, N>
where
    ListOf<R>: Has<Uac, N>,
{
    /// Like [`UacOf::replace_from`]; the call's dialog remembers it, where the call is tracked.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub fn replace_from_in_dialog<D>(
        &mut self,
        display: Option<&str>,
        uri: &str,
    ) -> Result<(), NotReplaced>
    where
        ListOf<R>: Has<Dialog, D>,
    {
        self.replace_in_dialog::<D>(Header::From, display, uri)
    }

    /// Like [`UacOf::replace_to`]; the call's dialog remembers it, where the call is tracked.
    ///
    /// # Errors
    /// Why it stays as it is.
    pub fn replace_to_in_dialog<D>(
        &mut self,
        display: Option<&str>,
        uri: &str,
    ) -> Result<(), NotReplaced>
    where
        ListOf<R>: Has<Dialog, D>,
    {
        self.replace_in_dialog::<D>(Header::To, display, uri)
    }

    fn replace_in_dialog<D>(
        &mut self,
        header: Header,
        display: Option<&str>,
        uri: &str,
    ) -> Result<(), NotReplaced>
    where
        ListOf<R>: Has<Dialog, D>,
    {
        let is_known = DialogRequest::<R, D>::dialog(self.request).is_known();
        self.replace(header, display, uri, is_known)?;
        if !is_known {
            return Ok(());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let message = self.request.message();
        let address = header.of(message).ok_or(NotReplaced::Unusable)?;
        let (old_uri, old_display) = (text(address.uri), text(address.display));
        let tag = text(message.from_tag().unwrap_or_default());
        let new_uri = if uri.is_empty() { old_uri.clone() } else { uri.to_owned() };
        let [original, new, original_name, new_name] = names(header);
        let mut dialog = DialogRequest::<R, D>::dialog(self.request);
        let mut kept = dialog.set_variable(CALLER, &tag);
        if dialog.variable(original).is_none() {
            kept &= dialog.set_variable(original, &old_uri);
            kept &= dialog.set_variable(original_name, &old_display);
        }
        kept &= dialog.set_variable(new, &new_uri);
        kept &= dialog.set_variable(new_name, display.unwrap_or_default());
        let named = format!("{NAMED}{}", header.place());
        kept &= dialog.set_variable(&named, if display.is_some() { "1" } else { "" });
        if kept { Ok(()) } else { Err(NotReplaced::NoRoom) }
    }

    /// Shows the party that this request goes to what it knows, as the call's dialog remembers it:
    /// for every request within a dialog, ACK too. `false` when nothing was replaced in this call.
    pub fn restore_by_dialog<D>(&mut self) -> bool
    where
        ListOf<R>: Has<Dialog, D>,
    {
        let mut done = false;
        for replaced in Header::BOTH {
            let Some((pair, way)) = remembered::<R, D>(self.request, replaced) else { continue };
            let message = self.request.message();
            let Some((header, value)) = of_pair(message, replaced, &pair, way) else { continue };
            done |= self.apply(&Restored { header, value, param: Vec::new() });
        }
        done
    }
}

/// What the dialog of a request remembers of a header, and which way the request goes.
fn remembered<R: Routing, D>(request: &mut Request<'_, R>, replaced: Header) -> Option<(Pair, Way)>
where
    ListOf<R>: Has<Dialog, D>,
{
    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or(b"")).into_owned();
    let message = request.message();
    let (call_id, from) = (text(message.call_id().ok()), text(message.from_tag()));
    let to = text(message.to_tag());
    let dialog = DialogRequest::<R, D>::dialog(request);
    // An ACK has no transaction that would know its dialog.
    let key = dialog.of_call(&call_id, &from, &to)?;
    let get = |name: &str| dialog.variable_of(key, name);
    let [original, new, original_name, new_name] = names(replaced);
    let named = get(&format!("{NAMED}{}", replaced.place())).is_some();
    let shown = |uri: String, name: &str| Shown {
        display: named.then(|| get(name).unwrap_or_default().into_bytes()),
        uri: uri.into_bytes(),
    };
    let pair =
        Pair { original: shown(get(original)?, original_name), new: shown(get(new)?, new_name) };
    let way = if get(CALLER)? == from { Way::Downstream } else { Way::Upstream };
    Some((pair, way))
}
