//! Registrations at other registrars (uac.md b.1, f.10 to f.12).
//!
//! For: accounts of the configuration and of table `uacreg`, kept registered; what every shard
//! knows of them; calls that come in by them and go out over them.
//! Not here: proofs (`proof.rs`).
//! Invariants: every shard knows every record; one shard owns it and tells the others how it is. A
//! reload changes what has changed and nothing else.

mod attempt;
mod command;
mod machine;
mod message;
mod registration;
mod request;
mod row;

pub(super) use command::answer as command;
pub use registration::Registration;
pub use request::{RequestBy, Trunk};
pub(super) use row::lists;
pub use row::{Row, UACREG};

use super::settings::RegSettings;
use super::{Peer, Uac};
use machine::{Goal, Machine, Phase, Wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use strowger_sip::date::UnixTime;
use strowger_sip::module::Host;
use strowger_sip::shard::{ShardId, ShardMap};
use strowger_sip::time::{Duration, Instant, ms, secs};
use strowger_sip::transaction::{Id, Slab};

/// Most registrations of a node. A guess: ten times what the largest of operators have.
pub const REGISTRATIONS_MAX: usize = 1 << 20;

/// First attempts of one shard come no closer than this, so that a large table makes no burst.
const APART: Duration = ms(1);
/// How soon a record tries that an operator has switched on, as Kamailio has it.
const ENABLED: Duration = secs(1);

/// Marks ids of registrations.
#[derive(Debug)]
pub enum RegMark {}
/// Names a registration on its owner.
pub type RegId = Id<RegMark>;

/// How a registration is (`uac_reg_status`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegState {
    /// 1: registered, and the binding holds.
    Online,
    /// -2: an answer is awaited.
    Ongoing,
    /// -3: an operator, or the row, has taken it out.
    Disabled,
    /// -99: it waits for its time, or has nothing to do.
    Idle,
}

impl RegState {
    /// Kamailio's number.
    pub const fn number(self) -> i32 {
        match self {
            RegState::Online => 1,
            RegState::Ongoing => -2,
            RegState::Disabled => -3,
            RegState::Idle => -99,
        }
    }
}

/// A registration has changed: published on its owner to whoever listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegEvent {
    /// Its id.
    pub l_uuid: String,
    /// How it is.
    pub state: RegState,
    /// The last final status; 408 and 503 where none came, 0 before the first.
    pub code: u16,
    /// How much longer the binding holds.
    pub left: Option<Duration>,
}

/// By what records are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attribute {
    /// `l_uuid`
    Uuid,
    /// `l_username`
    LocalUser,
    /// `r_username`
    RemoteUser,
    /// `auth_username`
    AuthUser,
}

impl Attribute {
    /// The attribute of this name.
    pub fn from_name(name: &str) -> Option<Attribute> {
        match name {
            "l_uuid" => Some(Attribute::Uuid),
            "l_username" => Some(Attribute::LocalUser),
            "r_username" => Some(Attribute::RemoteUser),
            "auth_username" => Some(Attribute::AuthUser),
            _ => None,
        }
    }
}

/// What shards tell each other of registrations.
#[derive(Clone, Debug)]
pub enum Word {
    /// From the owner: how it is.
    Is(Arc<str>, Shown),
    /// To the owner: do this.
    Do(Arc<str>, Order),
}

/// What is to be done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Register now, whatever holds.
    Register,
    /// Unregister now, and leave it so.
    Unregister,
    /// Take it in.
    Enable,
    /// Take it out.
    Disable,
}

/// What every shard knows of a record's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    state: RegState,
    until: Option<UnixTime>,
    code: u16,
    service_route: Option<Arc<str>>,
}

impl Default for Shown {
    fn default() -> Shown {
        Shown { state: RegState::Idle, until: None, code: 0, service_route: None }
    }
}

impl Shown {
    /// How it is at this date.
    fn at(&self, today: UnixTime) -> RegState {
        match self.state {
            RegState::Online if self.until.is_none_or(|until| until <= today) => RegState::Idle,
            state
            @ (RegState::Online | RegState::Ongoing | RegState::Disabled | RegState::Idle) => state,
        }
    }
}

/// A record as every shard has it.
#[derive(Debug)]
struct Entry {
    config: Rc<Registration>,
    shown: Shown,
    /// On its owner.
    machine: Option<RegId>,
}

/// All registrations of one shard.
#[derive(Debug)]
pub(super) struct Registrations {
    book: BTreeMap<String, Entry>,
    /// Ids by local user.
    users: BTreeMap<String, Vec<String>>,
    machines: Slab<Machine, RegMark>,
    active: bool,
    last_reload: Option<Instant>,
    /// Records that alone are to be taken from the next reading; empty for all.
    only: Vec<String>,
    /// What is wrong with rows of the table.
    faults: Vec<String>,
    /// The table as it was read last.
    listed: Vec<Registration>,
}

impl Registrations {
    pub(super) fn new(settings: &RegSettings) -> Registrations {
        Registrations {
            book: BTreeMap::new(),
            users: BTreeMap::new(),
            machines: Slab::new(0, REGISTRATIONS_MAX),
            active: settings.active,
            last_reload: None,
            only: Vec::new(),
            faults: Vec::new(),
            listed: Vec::new(),
        }
    }

    fn insert(&mut self, entry: Entry) {
        let uuid = entry.config.l_uuid.clone();
        let of_user = self.users.entry(entry.config.l_username.clone()).or_default();
        if let Err(place) = of_user.binary_search(&uuid) {
            of_user.insert(place, uuid.clone());
        }
        self.book.insert(uuid, entry);
    }

    fn remove(&mut self, uuid: &str) -> Option<Entry> {
        let entry = self.book.remove(uuid)?;
        if let Some(of_user) = self.users.get_mut(&entry.config.l_username) {
            of_user.retain(|own| own != uuid);
            if of_user.is_empty() {
                self.users.remove(&entry.config.l_username);
            }
        }
        Some(entry)
    }

    /// The first record with this value.
    fn find(&self, attribute: Attribute, value: &str) -> Option<&Entry> {
        match attribute {
            Attribute::Uuid => self.book.get(value),
            Attribute::LocalUser => {
                self.users.get(value)?.first().and_then(|uuid| self.book.get(uuid))
            }
            Attribute::RemoteUser => {
                self.book.values().find(|entry| entry.config.r_username == value)
            }
            Attribute::AuthUser => {
                self.book.values().find(|entry| entry.config.auth_username == value)
            }
        }
    }

    /// Records by state, counted from the records themselves.
    pub(super) fn metrics(&self, each: &mut dyn FnMut(&'static str, u64)) {
        let (mut total, mut active, mut disabled) = (0, 0, 0);
        let (mut ongoing, mut waiting, mut leaving) = (0, 0, 0);
        for (_, machine) in self.machines.iter() {
            if machine.wanted == Wanted::Gone {
                leaving += 1;
                continue;
            }
            total += 1;
            active += u64::from(machine.bound_until.is_some());
            disabled += u64::from(machine.disabled);
            ongoing += u64::from(machine.is_busy());
            waiting += u64::from(matches!(machine.phase, Phase::Waiting(_)));
        }
        each("uac_regtotal", total);
        each("uac_regactive", active);
        each("uac_regdisabled", disabled);
        each("uac_reg_ongoing", ongoing);
        each("uac_reg_waiting", waiting);
        each("uac_reg_leaving", leaving);
    }
}

/// The shard that registers a record.
fn owner(map: ShardMap, uuid: &str) -> ShardId {
    map.home(uuid.as_bytes())
}

impl Uac {
    /// Takes the configuration's records into use; those of the table come as a reading.
    pub(super) fn start_registrations(&mut self, host: &mut impl Host<Uac>) {
        let configured = self.settings.reg.registrations.clone();
        self.replace_records(host, configured, |_| true);
    }

    /// The table was read.
    pub(super) fn registrations_read(
        &mut self,
        host: &mut impl Host<Uac>,
        list: Vec<Registration>,
        faults: Vec<String>,
    ) {
        self.counters.reg_rows_refused += faults.len() as u64;
        self.registrations.faults = faults;
        self.registrations.listed = list;
        let only = std::mem::take(&mut self.registrations.only);
        let all = self.wanted_records();
        self.replace_records(host, all, |uuid| {
            only.is_empty() || only.iter().any(|own| own == uuid)
        });
        for uuid in only {
            // Also one that has not changed registers again.
            self.order(host, &uuid, Order::Enable);
        }
    }

    /// Records of configuration and table, by id; of two with one id that of the table counts.
    fn wanted_records(&self) -> Vec<Registration> {
        let configured = self.settings.reg.registrations.iter();
        let mut all: BTreeMap<&str, &Registration> = BTreeMap::new();
        for one in configured.chain(&self.registrations.listed) {
            all.insert(one.uuid(), one);
        }
        all.into_values().cloned().collect()
    }

    /// The configuration has changed: its records, those of before among them, and no others.
    pub(super) fn renew_registrations(
        &mut self,
        host: &mut impl Host<Uac>,
        before: &[Registration],
    ) {
        let settings = Rc::clone(&self.settings);
        let configured = before.iter().chain(&settings.reg.registrations);
        let concerned: BTreeSet<&str> = configured.map(Registration::uuid).collect();
        let all = self.wanted_records();
        self.replace_records(host, all, |uuid| concerned.contains(uuid));
    }

    /// Brings the records in line with a new list, as far as they concern us: what has not changed
    /// goes on as it is.
    fn replace_records(
        &mut self,
        host: &mut impl Host<Uac>,
        list: Vec<Registration>,
        concerns: impl Fn(&str) -> bool,
    ) {
        let gone: Vec<String> = {
            let kept: BTreeSet<&str> = list.iter().map(Registration::uuid).collect();
            let is_gone = |uuid: &&String| concerns(uuid) && !kept.contains(uuid.as_str());
            self.registrations.book.keys().filter(is_gone).cloned().collect()
        };
        for uuid in gone {
            self.remove_record(host, &uuid);
        }
        let mut delay = Duration::ZERO;
        for one in list {
            if concerns(&one.l_uuid) && self.put_record(host, one, delay) {
                delay += APART;
            }
        }
    }

    /// Switches registering on or off for all (`uac.reg_active`).
    fn activate(&mut self, host: &mut impl Host<Uac>, active: bool) {
        self.registrations.active = active;
        let ids: Vec<RegId> = self.registrations.machines.iter().map(|(id, _)| id).collect();
        let mut at = host.now();
        for id in ids {
            let Some(machine) = self.registrations.machines.get_mut(id) else { continue };
            let registers = machine.goal(active, &self.settings.reg) == Goal::Register;
            if registers && machine.phase == Phase::Resting {
                at = at + APART;
                machine.phase = Phase::Waiting(at);
                self.rearm(host, id);
                self.share(host, id);
            } else if !registers {
                self.advance(host, id);
            }
        }
    }

    /// Adds a record or takes a changed one into use; `true` when it is new and of this shard.
    fn put_record(
        &mut self,
        host: &mut impl Host<Uac>,
        record: Registration,
        delay: Duration,
    ) -> bool {
        let uuid = record.l_uuid.clone();
        let known = self.registrations.book.get(&uuid);
        if known.is_some_and(|entry| *entry.config == record) {
            return false;
        }
        let (config, before) = (Rc::new(record), self.registrations.remove(&uuid));
        let (shown, machine) = match before {
            Some(entry) => (entry.shown, entry.machine),
            None => (Shown::default(), None),
        };
        let entry = Entry { config: Rc::clone(&config), shown, machine };
        self.registrations.insert(entry);
        if owner(host.map(), &uuid) != host.shard() {
            return false;
        }
        if let Some(id) = machine
            && let Some(known) = self.registrations.machines.get_mut(id)
        {
            if known.config.binds_as(&config) {
                known.disabled = config.is_disabled();
                (known.session, known.raised_expires, known.failures) = (None, None, 0);
                known.config = config;
                self.advance(host, id);
                return false;
            }
            // Another binding: the old one is taken back under its own account.
            known.wanted = Wanted::Gone;
            self.advance(host, id);
        }
        self.start_machine(host, config, delay);
        true
    }

    fn start_machine(
        &mut self,
        host: &mut impl Host<Uac>,
        config: Rc<Registration>,
        delay: Duration,
    ) {
        let loaded = UnixTime::from_secs(host.unix_time().as_secs());
        let random = u64::try_from(self.settings.reg.random_delay.as_micros()).unwrap_or(u64::MAX);
        let delay = match (config.reg_delay, random) {
            (Duration::ZERO, 0) => delay,
            (Duration::ZERO, random) => Duration::from_micros(host.entropy().below(random)),
            (own, _) => own,
        };
        let uuid = config.l_uuid.clone();
        let mut machine = Machine::new(config, loaded);
        let rests = machine.goal(true, &self.settings.reg) == Goal::Rest;
        machine.phase = if rests { Phase::Resting } else { Phase::Waiting(host.now() + delay) };
        // As many as there may be records: this one stays idle.
        let Ok(id) = self.registrations.machines.insert(machine) else { return };
        if let Some(entry) = self.registrations.book.get_mut(&uuid) {
            entry.machine = Some(id);
        }
        self.rearm(host, id);
        self.share(host, id);
    }

    /// Takes a record out; its owner unregisters it.
    fn remove_record(&mut self, host: &mut impl Host<Uac>, uuid: &str) -> bool {
        let Some(entry) = self.registrations.remove(uuid) else { return false };
        if let Some(id) = entry.machine {
            if let Some(machine) = self.registrations.machines.get_mut(id) {
                machine.wanted = Wanted::Gone;
                machine.failures = 0;
            }
            self.advance(host, id);
        }
        true
    }

    /// The last of a record that is gone.
    pub(super) fn forget(&mut self, host: &mut impl Host<Uac>, id: RegId) {
        if let Some(timer) = self.registrations.machines.remove(id).and_then(|one| one.timer) {
            host.cancel(timer);
        }
    }

    /// Has the owner of a record do something.
    pub(super) fn order_owner(&mut self, host: &mut impl Host<Uac>, uuid: &str, order: Order) {
        let owner = owner(host.map(), uuid);
        if owner == host.shard() {
            self.order(host, uuid, order);
        } else {
            host.tell(owner, Peer::Registration(Word::Do(uuid.into(), order)));
        }
    }

    /// Does something with a record that this shard owns.
    pub(super) fn order(&mut self, host: &mut impl Host<Uac>, uuid: &str, order: Order) {
        let id = self.registrations.book.get(uuid).and_then(|entry| entry.machine);
        let Some(machine) = id.and_then(|id| self.registrations.machines.get_mut(id)) else {
            return;
        };
        let Some(id) = id else { return };
        match order {
            Order::Register => {
                machine.wanted = Wanted::Registered;
                machine.forced = Some(Goal::Register);
            }
            Order::Unregister => {
                machine.wanted = Wanted::Unregistered;
                machine.forced = Some(Goal::Unregister);
            }
            Order::Disable => machine.disabled = true,
            Order::Enable => {
                machine.disabled = false;
                machine.wanted = Wanted::Registered;
                machine.failures = 0;
                if !machine.is_busy() {
                    machine.phase = Phase::Waiting(host.now() + ENABLED);
                    self.rearm(host, id);
                    return self.share(host, id);
                }
            }
        }
        self.advance(host, id);
    }

    /// Another shard has a word about a registration.
    pub(super) fn registration_word(&mut self, host: &mut impl Host<Uac>, word: Word) {
        match word {
            Word::Do(uuid, order) => self.order(host, &uuid, order),
            Word::Is(uuid, shown) => {
                if let Some(entry) = self.registrations.book.get_mut(&*uuid) {
                    entry.shown = shown;
                }
            }
        }
    }

    /// Tells the other shards how a record is, and whoever listens, if that has changed.
    pub(super) fn share(&mut self, host: &mut impl Host<Uac>, id: RegId) {
        let Some(machine) = self.registrations.machines.get(id) else { return };
        let left = machine.bound_until.map(|until| until.since(host.now()));
        let state = match (left, machine.is_busy(), machine.disabled) {
            (Some(_), ..) => RegState::Online,
            (None, true, _) => RegState::Ongoing,
            (None, false, true) => RegState::Disabled,
            (None, false, false) => RegState::Idle,
        };
        let today = host.unix_time().as_secs();
        let shown = Shown {
            state,
            until: left.map(|left| UnixTime::from_secs(today + left.as_secs())),
            code: machine.code,
            service_route: machine.service_route.clone(),
        };
        let uuid = machine.config.l_uuid.clone();
        let own = self.registrations.book.get_mut(&uuid);
        // Of a record that is gone, or was replaced, nobody wants to know.
        let Some(entry) = own.filter(|entry| entry.machine == Some(id)) else { return };
        let before = std::mem::replace(&mut entry.shown, shown.clone());
        if before == shown {
            return;
        }
        if host.is_heard() && (before.state, before.code) != (state, shown.code) {
            let code = shown.code;
            host.publish(RegEvent { l_uuid: uuid.clone(), state, code, left });
        }
        let name: Arc<str> = uuid.into();
        let (own, count) = (host.shard(), host.map().count());
        for shard in (0..count).map(ShardId).filter(|shard| *shard != own) {
            let word = Word::Is(Arc::clone(&name), shown.clone());
            host.tell(shard, Peer::Registration(word));
        }
    }
}
