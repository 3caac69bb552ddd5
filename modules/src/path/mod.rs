//! `path`: this node on the way to the user agents that register through it (RFC 3327).
//!
//! For: an edge proxy before a registrar: `add_path` and its kin, and `use_received` (base.md §20).
//! Methods of a request and of a branch; no state.
//! Not here: the Path of a registration that this node keeps (`registrar/`).
//! Invariants: what is added is a loose route that names this node, so `loose_route` takes it off
//! again.

use crate::nathelper::source_uri;
use strowger_sip::message::{EditError, Edits, Scheme, UriBuilder};
use strowger_sip::routing::{Branch, Request, Routing};
use strowger_sip::transport::{Flow, Listener, ListenerId, Listeners, Transport};

/// How a Path is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct PathEntry {
    user: Option<String>,
    received: bool,
    both_sides: bool,
    host: Option<String>,
}

impl PathEntry {
    /// `<sip:HOST;lr>`
    pub fn new() -> PathEntry {
        PathEntry::default()
    }

    /// With a user part (`add_path(user)`).
    pub fn user(mut self, user: &str) -> PathEntry {
        self.user = Some(user.to_owned());
        self
    }

    /// With `received`, a URI of the source (`add_path_received`): requests to the agent are sent
    /// there by [`PathRequest::path_received`].
    pub fn received(mut self) -> PathEntry {
        self.received = true;
        self
    }

    /// Two entries where the request leaves by another listener than it came in (`enable_r2`); on a
    /// branch only, for a request does not know yet where it leaves.
    pub fn both_sides(mut self) -> PathEntry {
        self.both_sides = true;
        self
    }

    /// Another host than the listener's (`add_path_advertised_address`).
    pub fn host(mut self, host: &str) -> PathEntry {
        self.host = Some(host.to_owned());
        self
    }

    /// The header's value for one side.
    fn value(&self, listener: &Listener, source: Option<Flow>, r2: bool) -> String {
        let host = self.host.as_deref().unwrap_or(&listener.advertised);
        let mut uri = UriBuilder::new(Scheme::Sip, host);
        if let Some(user) = &self.user {
            uri = uri.user(user);
        }
        uri = match listener.transport {
            Transport::Udp => uri,
            other @ (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss) => {
                uri.param("transport", Some(other.uri_name()))
            }
        };
        if let Some(source) = source.filter(|_| self.received) {
            uri = uri.param("received", Some(&source_uri(source)));
        }
        if r2 {
            uri = uri.param("r2", Some("on"));
        }
        format!("<{}>", uri.param("lr", None))
    }

    fn insert(
        &self,
        edits: &mut Edits,
        listeners: &Listeners,
        source: Flow,
        leaving: Option<ListenerId>,
    ) -> Result<(), EditError> {
        // A listener that is gone cannot be named; there is none such while the node runs.
        let Some(inner) = listeners.get(source.listener) else { return Ok(()) };
        let outer = leaving.filter(|id| self.both_sides && *id != source.listener);
        let outer = outer.and_then(|id| listeners.get(id));
        let value = self.value(inner, Some(source), outer.is_some());
        edits.insert_top(b"Path", value.as_bytes())?;
        // Inserted last, it stands first: the registrar sends to it.
        match outer {
            Some(outer) => edits.insert_top(b"Path", self.value(outer, None, true).as_bytes()),
            None => Ok(()),
        }
    }
}

/// Path on a request.
pub trait PathRequest {
    /// Adds this node to the Path of what is forwarded, on every branch.
    ///
    /// # Errors
    /// When the edit is refused.
    fn add_path(&mut self, entry: &PathEntry) -> Result<(), EditError>;

    /// Where a request goes that came back by a Path with `received` (`use_received`): to be sent
    /// there in place of where its Request-URI says. `None` when its own topmost Route has none.
    ///
    /// ```text
    /// if let Some(next_hop) = request.path_received() {
    ///     return Ok(request.relay_by(next_hop).into());
    /// }
    /// ```
    fn path_received(&self) -> Option<String>;
}

impl<R: Routing> PathRequest for Request<'_, R> {
    fn add_path(&mut self, entry: &PathEntry) -> Result<(), EditError> {
        let (listeners, source) = (self.listeners(), self.source());
        self.edit(|edits| entry.insert(edits, &listeners, source, None))
    }

    fn path_received(&self) -> Option<String> {
        let message = self.message();
        let routes = message.routes().take(2).map_while(Result::ok);
        let own = routes.map_while(|route| route.uri().ok().filter(|uri| self.is_ours(uri)));
        let received = own.into_iter().find_map(|uri| uri.params.value(b"received"))?;
        let mut uri = Vec::with_capacity(received.len());
        crate::location::unescape(received, &mut uri);
        String::from_utf8(uri).ok()
    }
}

/// Path on one branch.
pub trait PathBranch {
    /// Adds this node to the Path of this branch.
    ///
    /// # Errors
    /// When the edit is refused.
    fn add_path(&mut self, entry: &PathEntry) -> Result<(), EditError>;
}

impl PathBranch for Branch<'_> {
    fn add_path(&mut self, entry: &PathEntry) -> Result<(), EditError> {
        let (listeners, source) = (self.listeners().clone(), self.source());
        let leaving = self.destination().listener;
        entry.insert(self.edits(), &listeners, source, Some(leaving))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{alone, request, send};
    use strowger_sip::routing::{Answer, Reply};

    /// An edge: REGISTER goes to the registrar with a Path, all else comes back by it.
    struct Edge {
        entry: PathEntry,
        on_branch: bool,
    }

    impl Routing for Edge {
        type Modules = ();

        async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
            if request.loose_route()?.is_some() {
                return match request.path_received() {
                    Some(next_hop) => Ok(request.relay_by(next_hop).into()),
                    None => Ok(request.relay_to_target().into()),
                };
            }
            if !self.on_branch {
                request.add_path(&self.entry)?;
            }
            Ok(request.relay_to_target().into())
        }

        fn branch(&self, branch: &mut Branch<'_>) {
            if self.on_branch {
                branch.add_path(&self.entry).expect("a Path");
            }
        }
    }

    fn paths(edge: Edge, to: &str) -> Vec<String> {
        let mut bench = alone(edge, ());
        let text = request("REGISTER", "1").replace("sip:bob@192.0.2.99 SIP", &format!("{to} SIP"));
        let text = text.replace("Max-Forwards", "Path: <sip:first.example.com;lr>\nMax-Forwards");
        let sent = send(&mut bench, "203.0.113.7:40000", &text);
        let text = &sent.last().expect("a request").text;
        let lines = text.lines().filter_map(|line| line.strip_prefix("Path: "));
        lines.map(str::to_owned).collect()
    }

    #[test]
    fn the_node_stands_above_those_before_it() {
        let edge = |entry| Edge { entry, on_branch: false };
        let plain = paths(edge(PathEntry::new()), "sip:192.0.2.99");
        assert_eq!(plain, ["<sip:192.0.2.1;lr>", "<sip:first.example.com;lr>"]);
        let entry = PathEntry::new().user("edge").received().host("e.example.com");
        let full = paths(edge(entry), "sip:192.0.2.99");
        let expected = "<sip:edge@e.example.com;received=sip:203.0.113.7:40000;lr>";
        assert_eq!(full.first().map(String::as_str), Some(expected));
    }

    #[test]
    fn both_sides_stand_in_it_when_they_differ() {
        let entry = PathEntry::new().both_sides().received();
        let edge = || Edge { entry: entry.clone(), on_branch: true };
        let same = paths(edge(), "sip:192.0.2.99");
        assert_eq!(same[0], "<sip:192.0.2.1;received=sip:203.0.113.7:40000;lr>");
        let both = paths(edge(), "sip:[2001:db8::99]");
        assert_eq!(both[0], "<sip:[2001:db8::1];r2=on;lr>");
        assert_eq!(both[1], "<sip:192.0.2.1;received=sip:203.0.113.7:40000;r2=on;lr>");
    }

    #[test]
    fn a_request_comes_back_to_where_the_registration_came_from() {
        let call = |route: &str| {
            let mut bench = alone(Edge { entry: PathEntry::new(), on_branch: false }, ());
            let line = format!("Route: {route}\nMax-Forwards");
            let text = request("OPTIONS", "1").replace("Max-Forwards", &line);
            send(&mut bench, "192.0.2.50:5060", &text).last().expect("a request").to.clone()
        };
        let received = "<sip:192.0.2.1;received=sip:203.0.113.7:40000%3Btransport=udp;lr>";
        assert_eq!(call(received), "203.0.113.7:40000");
        let twins =
            "<sip:[2001:db8::1];r2=on;lr>, <sip:192.0.2.1;received=sip:203.0.113.7:1;r2=on;lr>";
        assert_eq!(call(twins), "203.0.113.7:1");
        assert_eq!(call("<sip:192.0.2.1;lr>"), "192.0.2.99:5060");
        // Somebody else's entry says nothing here.
        assert_eq!(call("<sip:192.0.2.60;received=sip:203.0.113.7:1;lr>"), "192.0.2.60:5060");
    }
}
