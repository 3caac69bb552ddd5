//! Least-cost trunks: customers call out over the cheapest carrier that works.
//!
//! For: customers that are known by their address, each with so many calls at a time; carriers in
//! order of their price for each prefix, each with gateways of its own.
//! Not here: which gateways a carrier has, and whether they are alive (`[dispatcher]`); who is a
//! customer (`[permissions]`).

use strowger::prelude::*;

/// The group of `[[permissions.address]]` that holds customers; the row's tag is the customer.
const CUSTOMERS: u32 = 1;

/// Calls of each customer: `[dialog] profiles_with_value` names it too.
struct Customer;

impl Profile for Customer {
    const NAME: &'static str = "customer";
}

/// Where numbers of a prefix go: sets of `[dispatcher]`, the cheapest first.
#[derive(Clone, Debug)]
struct Tariff {
    prefix: String,
    carriers: Vec<u32>,
}

/// The routing; `[routing]` says what it does.
#[derive(Clone, Debug)]
pub struct LeastCost {
    tariffs: Vec<Tariff>,
    limits: Vec<(String, u32)>,
    default_limit: u32,
}

impl LeastCost {
    /// Reads `[routing]`: `default_limit`, `[[routing.tariff]]` with `prefix` and `carriers`,
    /// `[[routing.customer]]` with `name` and `limit`.
    pub fn from_config(section: &mut Section<'_>) -> LeastCost {
        let default_limit = number(section, "default_limit", 10);
        let mut tariffs = section.sections("tariff", |tariff| Tariff {
            prefix: tariff.string_or("prefix", ""),
            carriers: carriers(tariff),
        });
        // The longest prefix that fits counts.
        tariffs.sort_by_key(|tariff| std::cmp::Reverse(tariff.prefix.len()));
        let limits = section.sections("customer", |customer| {
            (customer.string_or("name", ""), number(customer, "limit", default_limit))
        });
        LeastCost { tariffs, limits, default_limit }
    }

    fn limit(&self, customer: &str) -> u32 {
        let own = self.limits.iter().find(|(name, _)| name == customer);
        own.map_or(self.default_limit, |(_, limit)| *limit)
    }

    /// The carriers of the longest prefix, the cheapest first, each tried gateway by gateway.
    fn carriers(&self, number: &str) -> Option<Vec<(u32, Algorithm)>> {
        let tariff = self.tariffs.iter().find(|tariff| number.starts_with(&tariff.prefix))?;
        Some(tariff.carriers.iter().map(|set| (*set, Algorithm::Serial)).collect())
    }
}

impl Routing for LeastCost {
    type Modules = (Permissions, Dispatcher, Dialog);

    async fn request(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        if let Some(within) = request.loose_route()? {
            return if within.is_in_dialog() {
                Ok(within.relay().into())
            } else {
                Err(Reply::forbidden())
            };
        }
        match request.method() {
            MethodKind::Invite if !request.is_within_dialog() => self.call(request).await,
            MethodKind::Options if request.is_for_this_node() => {
                Err(Reply::new(200).header("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS"))
            }
            MethodKind::Ack => Ok(Answer::Drop),
            _ => Err(Reply::new(405).header("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS")),
        }
    }
}

impl LeastCost {
    async fn call(&self, mut request: Request<'_, Self>) -> Result<Answer, Reply> {
        let known = request.permissions().allow_source_address(CUSTOMERS);
        let customer = known.ok_or_else(Reply::forbidden)?;
        let customer = customer.tag().unwrap_or("unnamed").to_owned();

        let number = dialled(&request).ok_or_else(Reply::not_found)?;
        let carriers = self.carriers(&number).ok_or_else(Reply::not_found)?;

        request.record_route();
        let limit = self.limit(&customer);
        let taken = request.dialog().reserve_in(Customer, &customer, limit).await;
        taken.or(Reply::busy_here().reason("Too many calls"))?;

        // What does not answer, or answers with 5xx, is passed over; a busy callee is busy.
        let selection = request.dispatcher().select_routes(&carriers)?;
        Ok(request.dispatcher().relay_selection(selection).await.into())
    }
}

/// The number that was dialled, as `+` and digits.
fn dialled(request: &Request<'_, LeastCost>) -> Option<String> {
    let uri = request.target()?;
    let user = String::from_utf8_lossy(uri.user?).into_owned();
    let digits: String = user.chars().filter(|c| !"-. ()".contains(*c)).collect();
    let number = match (digits.strip_prefix("00"), digits.strip_prefix('+')) {
        (Some(rest), _) | (None, Some(rest)) => rest.to_owned(),
        (None, None) => return None,
    };
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| format!("+{number}"))
}

fn number(section: &mut Section<'_>, key: &'static str, default: u32) -> u32 {
    let number = section.integer(key, default.into(), 0..=1_000_000);
    u32::try_from(number).unwrap_or(default)
}

fn carriers(section: &mut Section<'_>) -> Vec<u32> {
    let sets = section.integers("carriers", 0..=u64::from(u32::MAX)).unwrap_or_default();
    if sets.is_empty() {
        section.problem("carriers", "a tariff without carriers", "[1, 2]: the cheapest first");
    }
    sets.into_iter().filter_map(|set| u32::try_from(set).ok()).collect()
}
