//! Following the Route header: RFC 3261 §16.4 and §16.12.
//!
//! For: removing our own entries, recovering from a strict router before us, and finding out where
//! the rest of the route set leads.
//! Invariants: the message is not changed; what was found is recorded in the plan.

use super::branch::Digest;
use super::flow_token::{self, Token};
use super::identity::Identity;
use super::rules::RecordRoute;
use crate::engine::plan::Plan;
use crate::message::{Message, NameAddr, ParseError, Uri};
use crate::transport::Flow;
use memchr::memchr;

/// What following a route set found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Followed {
    /// No Route header.
    Nothing,
    /// A route set.
    Route,
    /// A flow token that this node did not write.
    Altered,
}

/// Removes our own entries from the top of the route set, and takes the flow that a token of ours
/// names. `received` is where the request came from, `digest` keyed with the node's secret.
pub(crate) fn follow(
    (message, received): (&Message<'_>, Flow),
    (identity, rules): (&Identity, &RecordRoute),
    digest: Digest,
    plan: &mut Plan,
) -> Result<Followed, ParseError> {
    plan.routes_dropped = 0;
    plan.last_route_taken = false;
    plan.request_uri = None;
    plan.flow = None;
    let Some(first) = message.routes().next().transpose()? else { return Ok(Followed::Nothing) };
    let first = first.uri()?;
    if rules.strict_recovery && is_strict_upstream(message, identity, &first) {
        recover(message, identity, plan, &first)?;
        return Ok(Followed::Route);
    }
    if identity.is_ours(&first) {
        plan.routes_dropped = 1;
        let user = first.user.filter(|_| rules.flow_tokens);
        match user.and_then(|user| flow_token::read(user, digest)) {
            Some(Token::Altered) => return Ok(Followed::Altered),
            // What comes from the flow itself goes the other way (RFC 5626 §5.3.1).
            Some(Token::Of(flow)) if !is_same(&flow, &received) => plan.flow = Some(flow),
            Some(Token::Of(_)) | None => {}
        }
        let second = message.routes().nth(1).transpose()?;
        // With double record-routing (`r2`) the next entry is ours too, by another listener.
        if let Some(second) = second
            && first.r2()
            && is_ours(identity, &second)?
        {
            plan.routes_dropped = 2;
        }
    }
    Ok(Followed::Route)
}

fn is_same(flow: &Flow, received: &Flow) -> bool {
    match (flow.connection, received.connection) {
        (None, None) => flow.listener == received.listener && flow.remote == received.remote,
        (own, theirs) => own == theirs,
    }
}

/// Whether the hop before us routes strictly: it has put what we wrote into Record-Route into the
/// Request-URI (§16.4). What we write has no user part, so an ordinary contact is not mistaken for
/// it.
fn is_strict_upstream(message: &Message<'_>, identity: &Identity, first: &Uri<'_>) -> bool {
    let target = message.request_uri().unwrap_or(&[]);
    // A user part, which most have, is told without reading the rest.
    if memchr(b'@', target).is_some() || message.to_tag().is_none() {
        return false;
    }
    let Ok(target) = Uri::parse(target) else { return false };
    if target.user.is_some() || !identity.is_ours(&target) {
        return false;
    }
    !identity.is_ours(first) || target.r2()
}

/// §16.4: the last Route value is the Request-URI that the strict router pushed to the end; it
/// goes back to its place. Where the first value is strict itself, §16.6 step 6 deals with it when
/// the request is forwarded.
fn recover(
    message: &Message<'_>,
    identity: &Identity,
    plan: &mut Plan,
    first: &Uri<'_>,
) -> Result<(), ParseError> {
    if first.r2() && identity.is_ours(first) {
        plan.routes_dropped = 1;
    }
    let mut last = None;
    for (index, route) in message.routes().enumerate() {
        let route = route?;
        if index >= plan.routes_dropped {
            last = Some(route);
        }
    }
    if let Some(last) = last {
        plan.request_uri = Some(plan.keep(last.uri));
        plan.last_route_taken = true;
    }
    Ok(())
}

fn is_ours(identity: &Identity, route: &NameAddr<'_>) -> Result<bool, ParseError> {
    Ok(identity.is_ours(&route.uri()?))
}
