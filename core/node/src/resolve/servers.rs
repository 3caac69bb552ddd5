//! Name servers, asked with hickory.
//!
//! For: resolv.conf and /etc/hosts, retries, CNAMEs, and telling "no such name" from "no answer".
//! Not here: which records are asked for (`procedure.rs`).
//! Invariants: nothing is remembered for longer than a shard remembers it.

use super::lookup::{Answer, Family, Lookup, Naptr, Srv};
use super::settings::DnsSettings;
use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{TokioResolver, system_conf};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use strowger_sip::time::secs;

/// Responses that are remembered for all shards together: as many names as one shard remembers.
const RESPONSES_MAX: u64 = 4096;
/// As long as a shard remembers an address at most (`core/sip/src/proxy/resolver.rs`).
const TTL_MAX: Duration = secs(3600);
/// As long as a shard remembers that there is none, at most.
const TTL_NEGATIVE_MAX: Duration = secs(60);
/// Questions in flight over one TCP connection to a name server. As many as there can be.
const IN_FLIGHT_MAX: usize = 4096;

/// Who is asked.
#[derive(Debug)]
pub(super) struct NameServers {
    resolver: TokioResolver,
    use_search_list: bool,
}

impl NameServers {
    /// Those of the settings or, where they name none, of resolv.conf; and what the operator should
    /// know.
    pub(super) fn of(settings: &DnsSettings) -> Result<(NameServers, Option<String>), String> {
        let (servers, mut options, notice) = if settings.nameservers.is_empty() {
            of_the_system()
        } else {
            let servers = settings.nameservers.iter().copied().map(name_server).collect();
            let servers = ResolverConfig::from_parts(None, Vec::new(), servers);
            (servers, ResolverOpts::default(), None)
        };
        options.timeout = settings.retr_time.unwrap_or(options.timeout);
        options.attempts = settings.retr_no.unwrap_or(options.attempts);
        options.cache_size = RESPONSES_MAX;
        options.positive_max_ttl = Some(TTL_MAX);
        options.negative_max_ttl = Some(TTL_NEGATIVE_MAX);
        options.max_active_requests = IN_FLIGHT_MAX;
        let provider = TokioRuntimeProvider::default();
        let builder = TokioResolver::builder_with_config(servers, provider).with_options(options);
        let resolver = builder.build().map_err(|cause| cause.to_string())?;
        Ok((NameServers { resolver, use_search_list: settings.use_search_list }, notice))
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        read: impl Fn(&RData) -> Option<T>,
    ) -> Result<Answer<T>, NetError> {
        let Some(name) = self.name(name) else { return Ok(Answer::Nothing) };
        let lookup = self.resolver.lookup(name, kind).await?;
        let read = |record: &Record| Some((read(&record.data)?, record.ttl));
        let (found, ttls): (Vec<T>, Vec<u32>) = lookup.answers().iter().filter_map(read).unzip();
        let least = ttls.into_iter().min().map(|ttl| Duration::from_secs(ttl.into()));
        Ok(least.map_or(Answer::Nothing, |ttl| Answer::Found(found, ttl)))
    }

    /// A name as it is asked for; `None` if there can be none such. Only names without a dot are
    /// relative: those of SIP are fully qualified (RFC 3261 §19.1.1).
    fn name(&self, text: &str) -> Option<Name> {
        let mut name = Name::from_ascii(text).ok()?;
        if !self.use_search_list || text.contains('.') {
            name.set_fqdn(true);
        }
        Some(name)
    }

    /// Where an alias leads.
    async fn alias_of(&self, name: &str) -> Option<(String, Duration)> {
        let read = |data: &RData| {
            let RData::CNAME(alias) = data else { return None };
            Some(alias.to_ascii())
        };
        match self.ask(name, RecordType::CNAME, read).await {
            Ok(Answer::Found(names, ttl)) => names.into_iter().next().map(|name| (name, ttl)),
            Ok(Answer::Nothing | Answer::Failed) | Err(_) => None,
        }
    }
}

fn of_the_system() -> (ResolverConfig, ResolverOpts, Option<String>) {
    match system_conf::read_system_conf() {
        Ok((servers, options)) => (servers, options, None),
        Err(cause) => {
            let notice = format!(
                "no name servers: /etc/resolv.conf: {cause}; names are known from /etc/hosts \
                 alone, requests to others get 503; [dns] nameservers = [\"ADDRESS\"] names some"
            );
            let nobody = ResolverConfig::from_parts(None, Vec::new(), Vec::new());
            (nobody, ResolverOpts::default(), Some(notice))
        }
    }
}

fn name_server(address: SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections.iter_mut().for_each(|connection| connection.port = address.port());
    server
}

/// What an error means.
fn failed<T>(error: &NetError) -> Answer<T> {
    if error.is_no_records_found() { Answer::Nothing } else { Answer::Failed }
}

impl Lookup for NameServers {
    async fn naptr(&self, name: &str) -> Answer<Naptr> {
        let read = |data: &RData| {
            let RData::NAPTR(record) = data else { return None };
            Some(Naptr {
                order: record.order,
                preference: record.preference,
                flags: record.flags.to_vec(),
                services: record.services.to_vec(),
                replacement: record.replacement.to_ascii(),
            })
        };
        self.ask(name, RecordType::NAPTR, read).await.unwrap_or_else(|error| failed(&error))
    }

    async fn srv(&self, name: &str) -> Answer<Srv> {
        let read = |data: &RData| {
            let RData::SRV(record) = data else { return None };
            Some(Srv {
                priority: record.priority,
                weight: record.weight,
                port: record.port,
                target: (!record.target.is_root()).then(|| record.target.to_ascii()),
            })
        };
        let error = match self.ask(name, RecordType::SRV, read).await {
            Ok(answer) => return answer,
            Err(error) => error,
        };
        // hickory 0.26 takes the target of an SRV record for another alias: behind a CNAME it goes
        // on to the target and finds no SRV records there. Its error names what it asked for last.
        if !is_about_another(&error, name) {
            return failed(&error);
        }
        let Some((alias, alias_ttl)) = self.alias_of(name).await else { return failed(&error) };
        match self.ask(&alias, RecordType::SRV, read).await {
            Ok(Answer::Found(records, ttl)) => Answer::Found(records, ttl.min(alias_ttl)),
            Ok(Answer::Nothing) => Answer::Nothing,
            Ok(Answer::Failed) => Answer::Failed,
            Err(error) => failed(&error),
        }
    }

    async fn addresses(&self, name: &str, family: Family) -> Answer<IpAddr> {
        let kind = match family {
            Family::V4 => RecordType::A,
            Family::V6 => RecordType::AAAA,
        };
        let read = |data: &RData| match (family, data) {
            (Family::V4, RData::A(address)) => Some(IpAddr::V4(address.0)),
            (Family::V6, RData::AAAA(address)) => Some(IpAddr::V6(address.0)),
            (Family::V4 | Family::V6, _) => None,
        };
        self.ask(name, kind, read).await.unwrap_or_else(|error| failed(&error))
    }
}

/// Whether records were missing for another name than the one asked for.
fn is_about_another(error: &NetError, name: &str) -> bool {
    let NetError::Dns(DnsError::NoRecordsFound(missing)) = error else { return false };
    let asked = Name::from_ascii(name).map(|mut name| {
        name.set_fqdn(true);
        name
    });
    asked.is_ok_and(|asked| *missing.query.name() != asked)
}
