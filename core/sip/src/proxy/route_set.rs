//! Following the Route header: RFC 3261 §16.4 and §16.12.
//!
//! For: removing our own entries, recovering from a strict router before us, and finding out where
//! the rest of the route set leads.
//! Invariants: the message is not changed; what was found is recorded in the plan.

use super::identity::Identity;
use crate::engine::plan::Plan;
use crate::message::{Message, NameAddr, ParseError, Uri};

/// Removes our own entries from the top of the route set. `false` when there is no Route header.
pub(crate) fn follow(
    message: &Message<'_>,
    identity: &Identity,
    plan: &mut Plan,
) -> Result<bool, ParseError> {
    plan.routes_dropped = 0;
    plan.last_route_taken = false;
    plan.request_uri = None;
    let Some(first) = message.routes().next().transpose()? else { return Ok(false) };
    if is_strict_upstream(message, identity, &first)? {
        recover(message, identity, plan, &first)?;
        return Ok(true);
    }
    if is_ours(identity, &first)? {
        plan.routes_dropped = 1;
        let second = message.routes().nth(1).transpose()?;
        // With double record-routing (`r2`) the next entry is ours too, by another listener.
        if let Some(second) = second
            && first.uri()?.r2()
            && is_ours(identity, &second)?
        {
            plan.routes_dropped = 2;
        }
    }
    Ok(true)
}

/// Whether the hop before us routes strictly: it has put what we wrote into Record-Route into the
/// Request-URI (§16.4). What we write has no user part, so an ordinary contact is not mistaken for
/// it.
fn is_strict_upstream(
    message: &Message<'_>,
    identity: &Identity,
    first: &NameAddr<'_>,
) -> Result<bool, ParseError> {
    if message.to_tag().is_none() {
        return Ok(false);
    }
    let Ok(target) = Uri::parse(message.request_uri().unwrap_or(&[])) else { return Ok(false) };
    if target.user.is_some() || !identity.is_ours(&target) {
        return Ok(false);
    }
    Ok(!is_ours(identity, first)? || target.r2())
}

/// §16.4: the last Route value is the Request-URI that the strict router pushed to the end; it
/// goes back to its place. Where the first value is strict itself, §16.6 step 6 deals with it when
/// the request is forwarded.
fn recover(
    message: &Message<'_>,
    identity: &Identity,
    plan: &mut Plan,
    first: &NameAddr<'_>,
) -> Result<(), ParseError> {
    if first.uri()?.r2() && is_ours(identity, first)? {
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
