//! A whole run: starts the workers, listens to them, ends them.
//!
//! For: every command that makes or takes calls.
//! Not here: what the command line said (`command/`), sums (`measure.rs`).
//! Invariants: every run ends: calls begin for a bounded time, what is still under way after the
//! drain has failed.

use crate::desk::Parties;
use crate::desk::call::Role;
use crate::measure::{Measure, ROW};
use crate::net::{Drops, NetError, Wanted};
use crate::report::{Report, System, table};
use crate::sample::{self, Numbers, Page, Usage};
use crate::schedule::Plan;
use crate::worker::{self, Assignment, Flags, Identity, Word};
use std::fmt;
use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How often the control thread looks whether the run is over.
const LOOK: Duration = Duration::from_millis(50);
/// From the opening of sockets to the first call: time for every thread to be ready.
const LEAD: Duration = Duration::from_millis(100);
/// How long callees may still wait for what callers have sent when these are done.
const CALLEES_PATIENCE: Duration = Duration::from_secs(4);
/// Without a terminal, a line of progress this often.
const QUIET_LINES: u64 = 10;
/// Most numbers of a metrics page that are kept for every second.
const METRICS_KEPT: usize = 60;

/// Everything that a run needs to know.
pub(crate) struct Job {
    pub(crate) parties: Parties,
    pub(crate) plan: Plan,
    /// The addresses of each worker.
    pub(crate) workers: Vec<Vec<(Role, Wanted)>>,
    pub(crate) cores: Vec<Option<usize>>,
    pub(crate) offload: bool,
    /// How long calls may go on after the last one has begun.
    pub(crate) drain: Duration,
    /// How long callees alone wait for calls, and how many they take.
    pub(crate) callees_for: Duration,
    pub(crate) callees_take: u64,
    pub(crate) late_max: f64,
    pub(crate) page: Option<(String, Page)>,
    pub(crate) pid: Option<u32>,
    pub(crate) command: String,
    pub(crate) transport: String,
    pub(crate) rate: String,
    pub(crate) quiet: bool,
    pub(crate) seed: Option<u64>,
}

/// Why a run could not begin.
#[derive(Debug)]
pub(crate) enum RunError {
    Net(NetError),
    Thread(std::io::Error),
    Entropy(getrandom::Error),
    NoProcess(u32),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::Net(error) => write!(f, "{error}"),
            RunError::Thread(error) => write!(f, "a thread does not start: {error}"),
            RunError::Entropy(error) => write!(f, "no random numbers: {error}"),
            RunError::NoProcess(pid) => write!(f, "--pid: there is no process {pid}"),
        }
    }
}

impl std::error::Error for RunError {}

/// SIGINT and SIGTERM: the first one lets calls end, the second one ends them.
static SIGNALLED: LazyLock<Arc<AtomicBool>> = LazyLock::new(|| {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // Without it the process ends at once, as any does.
        let _ = signal_hook::flag::register(signal, Arc::clone(&flag));
    }
    flag
});

/// Whether a signal has come since this was asked last.
pub(crate) fn signalled() -> bool {
    SIGNALLED.swap(false, Ordering::Relaxed)
}

/// Carries a run out.
pub(crate) fn run(job: &Job) -> Result<Report, RunError> {
    signalled();
    let before = match job.pid {
        Some(pid) => Some(sample::usage(pid).ok_or(RunError::NoProcess(pid))?),
        None => None,
    };
    let flags = Flags::default();
    std::thread::scope(|scope| {
        let (told, words) = mpsc::channel();
        let starts = start_workers(scope, job, &flags, &told)?;
        drop(told);
        let drops = match wait_for_sockets(&words, job) {
            Ok(drops) => drops,
            Err(error) => {
                flags.stop.store(true, Ordering::Relaxed);
                return Err(error);
            }
        };
        let epoch = Instant::now() + LEAD;
        std::thread::sleep(LEAD);
        for start in starts {
            // A worker that is gone already has said why.
            let _ = start.send(epoch);
        }
        Ok(Control::new(job, &flags, epoch, drops, before).listen(&words))
    })
}

fn start_workers<'scope, 'env>(
    scope: &'scope std::thread::Scope<'scope, 'env>,
    job: &'env Job,
    flags: &'env Flags,
    told: &Sender<Word>,
) -> Result<Vec<Sender<Instant>>, RunError> {
    let mut random = [0u8; 12];
    getrandom::fill(&mut random).map_err(RunError::Entropy)?;
    let [a, b, c, d, seed @ ..] = random;
    let seed = job.seed.unwrap_or(u64::from_le_bytes(seed));
    let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let workers = u64::try_from(job.workers.len()).unwrap_or(1);
    let mut starts = Vec::new();
    for (number, wanted) in job.workers.iter().enumerate() {
        let worker = u64::try_from(number).unwrap_or(0);
        let id = u32::from_le_bytes([a, b, c, d]);
        let assignment = Assignment {
            parties: &job.parties,
            plan: &job.plan,
            flags,
            wanted: wanted.clone(),
            offload: job.offload,
            core: job.cores.get(number).copied().flatten(),
            run: Identity { worker, workers, id, seed: (seed, worker), began },
        };
        let (start, started) = mpsc::channel();
        let told = told.clone();
        let builder = std::thread::Builder::new().name(format!("load-{number}"));
        let work = move || worker::work(assignment, told, started);
        builder.spawn_scoped(scope, work).map_err(RunError::Thread)?;
        starts.push(start);
    }
    Ok(starts)
}

/// Waits until every worker has its sockets.
fn wait_for_sockets(words: &Receiver<Word>, job: &Job) -> Result<Drops, RunError> {
    let (mut waiting, mut all) = (job.workers.len(), Vec::new());
    while waiting > 0 {
        match words.recv() {
            Ok(Word::Opened { worker, addresses, inodes }) => {
                waiting -= 1;
                all.extend(inodes);
                if !job.quiet {
                    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                    eprintln!("worker {worker} at {}", list.join(" "));
                }
            }
            Ok(Word::Failed(error)) => return Err(RunError::Net(error)),
            Ok(Word::Counted(_)) => {}
            Err(mpsc::RecvError) => break,
        }
    }
    Ok(Drops::new(all))
}

/// The control thread's part.
struct Control<'j> {
    job: &'j Job,
    flags: &'j Flags,
    epoch: Instant,
    drops: Drops,
    measure: Measure<'j>,
    watch: Watch<'j>,
    stage: Stage,
    cut_short: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    Running,
    /// No more calls begin.
    Draining {
        since: Instant,
        callers_done: Option<Instant>,
    },
    Leaving,
}

impl<'j> Control<'j> {
    fn new(
        job: &'j Job,
        flags: &'j Flags,
        epoch: Instant,
        drops: Drops,
        before: Option<Usage>,
    ) -> Control<'j> {
        let measure = Measure::new(&job.parties, &job.plan, job.workers.len());
        let watch = Watch::new(job, before);
        Control {
            job,
            flags,
            epoch,
            drops,
            measure,
            watch,
            stage: Stage::Running,
            cut_short: false,
        }
    }

    fn listen(mut self, words: &Receiver<Word>) -> Report {
        loop {
            match words.recv_timeout(LOOK) {
                Ok(Word::Counted(snapshot)) => {
                    if self.measure.take(*snapshot) {
                        self.close_row(ROW);
                        self.show();
                    }
                }
                Ok(Word::Opened { .. } | Word::Failed(_)) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look();
        }
        let lasted = self.epoch.elapsed().as_secs_f64();
        let rows = self.measure.report.seconds.last().map_or(0.0, |second| second.at);
        if lasted > rows {
            self.close_row(lasted - rows);
        }
        self.finish(lasted)
    }

    fn close_row(&mut self, length: f64) {
        let at = self.measure.report.seconds.last().map_or(0.0, |second| second.at) + length;
        let watched = self.watch.look(at, length);
        self.measure.close_row(length, self.drops.count(), watched);
    }

    /// Whether calls stop to begin, and whether the run is over.
    fn look(&mut self) {
        let now = Instant::now();
        let has_callers = self.measure.has_callers();
        match self.stage {
            Stage::Running => {
                let length =
                    if has_callers { self.job.plan.length() } else { self.job.callees_for };
                let over = now > self.epoch + length;
                let taken = !has_callers && self.measure.taken().0 >= self.job.callees_take;
                let done = has_callers && self.measure.callers_done();
                let told = signalled() || self.measure.stop_asked();
                self.cut_short |= told;
                if over || taken || done || told {
                    // Calls that are due at the very end still begin: the plan bounds them.
                    if taken || told || !has_callers {
                        self.flags.wind_down.store(true, Ordering::Relaxed);
                    }
                    self.stage = Stage::Draining { since: now, callers_done: None };
                }
            }
            Stage::Draining { since, callers_done } => {
                let callers_done =
                    callers_done.or_else(|| self.measure.callers_done().then_some(now));
                self.stage = Stage::Draining { since, callers_done };
                let callees_done = self.measure.taken().1 == 0;
                let settled = callers_done.is_some_and(|at| {
                    let patience = if has_callers { CALLEES_PATIENCE } else { self.job.drain };
                    (callees_done && now > at + LOOK) || now > at + patience
                });
                if settled || now > since + self.job.drain || signalled() {
                    self.flags.stop.store(true, Ordering::Relaxed);
                    self.stage = Stage::Leaving;
                }
            }
            Stage::Leaving => {}
        }
    }

    fn show(&self) {
        let report = &self.measure.report;
        let Some(second) = report.seconds.last() else { return };
        if self.job.quiet {
            return;
        }
        let length =
            if self.measure.has_callers() { self.job.plan.length() } else { self.job.callees_for };
        let line = table::progress(report, second, length.as_secs_f64());
        let mut out = std::io::stderr();
        // Nobody to show it to is no reason to stop.
        let _ = if out.is_terminal() {
            write!(out, "\r\x1b[K{line}").and_then(|()| out.flush())
        } else if report.seconds.len() as u64 % QUIET_LINES == 1 {
            writeln!(out, "{line}")
        } else {
            Ok(())
        };
    }

    fn finish(mut self, lasted: f64) -> Report {
        let job = self.job;
        if !job.quiet && std::io::stderr().is_terminal() {
            eprintln!();
        }
        let of_calls = if self.measure.has_callers() {
            job.plan.length().as_secs_f64().min(lasted)
        } else {
            lasted
        };
        let report = &mut self.measure.report;
        report.generator.stolen_seconds = sample::stolen() - self.watch.stolen;
        let mut report = self.measure.finish((lasted, of_calls), job.late_max, self.cut_short);
        report.format = crate::report::FORMAT;
        report.tool = format!("strowger-load {}", env!("CARGO_PKG_VERSION"));
        report.command.clone_from(&job.command);
        report.target = job.parties.target.to_string();
        report.transport.clone_from(&job.transport);
        report.rate.clone_from(&job.rate);
        report.threads = job.workers.len();
        let began = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        report.began = began.as_secs_f64().max(lasted).floor() as u64 - lasted as u64;
        let calls = report.main_calls().begun;
        report.system = self.watch.finish(calls);
        report
    }
}

/// The system under test and the machine, seen from outside.
struct Watch<'j> {
    job: &'j Job,
    system: System,
    last: Option<Usage>,
    pages: Vec<(f64, Numbers)>,
    stolen: f64,
}

impl<'j> Watch<'j> {
    fn new(job: &'j Job, before: Option<Usage>) -> Watch<'j> {
        let page = job.page.as_ref();
        let metrics_before = page.and_then(|(_, page)| page.fetch()).unwrap_or_default();
        let page = page.map(|(url, _)| url.clone());
        let system = System { pid: job.pid, before, page, metrics_before, ..System::default() };
        let stolen = sample::stolen();
        Watch { job, system, last: before, pages: Vec::new(), stolen }
    }

    /// A sample; the process's share of a core and its memory.
    fn look(&mut self, at: f64, length: f64) -> Option<(f64, u64)> {
        if let Some(numbers) = self.job.page.as_ref().and_then(|(_, page)| page.fetch()) {
            self.pages.push((at, numbers));
        }
        let usage = sample::usage(self.job.pid?)?;
        let before = self.last.replace(usage)?;
        let most = self.system.memory_bytes_most.get_or_insert(0);
        *most = usage.memory_bytes.max(*most);
        self.system.after = Some(usage);
        Some(((usage.cpu - before.cpu).max(0.0) / length.max(1e-3), usage.memory_bytes))
    }

    fn finish(mut self, calls: u64) -> System {
        if let Some(numbers) = self.job.page.as_ref().and_then(|(_, page)| page.fetch()) {
            self.system.metrics_after = numbers;
        }
        if let (Some(before), Some(after)) = (self.system.before, self.system.after) {
            let micros = (after.cpu - before.cpu) * 1e6;
            self.system.cpu_micros_per_call = Some(micros / calls.max(1) as f64);
        }
        let System { metrics_before, metrics_after, metrics_during, .. } = &mut self.system;
        let changed = metrics_after.iter().filter(|(name, after)| {
            metrics_before.get(*name).is_none_or(|before| before != *after)
        });
        for (name, _) in changed.take(METRICS_KEPT) {
            let points = self.pages.iter().filter_map(|(at, page)| Some((*at, *page.get(name)?)));
            metrics_during.insert(name.clone(), points.collect());
        }
        self.system
    }
}
