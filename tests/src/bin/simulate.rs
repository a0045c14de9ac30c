//! `simulate`: runs seeds of the deterministic simulation and says whether the safety contract held.

use std::{
    collections::BTreeSet,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use clap::Parser;
use serde_json::json;
use wardround_signing::Digest;
use wardround_tests::sim::{Fault, Outcome, Setting, reproduction, shrink, trace};

/// Most violations that are told as stories: each is made smaller first, which takes many runs.
const STORIES_MAX: usize = 3;

/// Runs seeds of the deterministic simulation of controller, journal, nodes and network.
#[derive(Debug, Parser)]
#[command(name = "simulate", version)]
struct Args {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from_seed: u64,
    /// How many.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    seeds: u64,
    /// For people, or one JSON object.
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    output: String,
    /// Kinds of fault to leave out, with commas.
    #[arg(long, value_delimiter = ',')]
    without: Vec<Fault>,
    /// At most so many sites.
    #[arg(long)]
    sites: Option<usize>,
    /// At most so many devices at a site.
    #[arg(long)]
    devices: Option<usize>,
    /// Faults end after so many events.
    #[arg(long)]
    until: Option<u64>,
    /// Threads; as many as the machine has cores unless said.
    #[arg(long)]
    threads: Option<usize>,
    /// Stop at the first violation, and do not make it smaller.
    #[arg(long)]
    quick: bool,
    /// Name what is broken, and tell no story.
    #[arg(long)]
    plain: bool,
    /// Tell each event of each run, on standard error.
    #[arg(long)]
    trace: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let setting = Setting {
        without: args.without.iter().copied().collect::<BTreeSet<_>>(),
        sites_max: args.sites,
        devices_max: args.devices,
        until: args.until,
    };
    let begun = Instant::now();
    let outcomes = run_all(&args, &setting);
    let hours = begun.elapsed().as_secs_f64() / 3_600.0;
    let violations: Vec<&Outcome> = outcomes.iter().filter(|o| o.violation.is_some()).collect();
    let all: Vec<u8> = outcomes.iter().flat_map(|o| o.digest.as_bytes().to_vec()).collect();
    let digest = Digest::of(&all);
    let seeds = outcomes.len();
    // Truncated on purpose: a figure for people.
    let per_hour = (f64::from(u32::try_from(seeds).unwrap_or(u32::MAX)) / hours.max(1e-9)).min(1e12).round();
    for outcome in violations.iter().take(if args.plain { 0 } else { STORIES_MAX }) {
        tell(outcome, &setting, args.quick);
    }
    if args.output == "json" {
        let answer = json!({
            "seeds": seeds, "violations": violations.len(), "digest": digest, "seeds_per_hour": per_hour,
        });
        println!("{answer}");
    } else {
        let events: u64 = outcomes.iter().map(|o| o.events).sum();
        println!("{seeds} seeds, {events} events, {} violations, {per_hour:.0} seeds an hour", violations.len());
        println!("digest {digest}");
    }
    if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// All seeds on all cores, in the order of the seeds.
fn run_all(args: &Args, setting: &Setting) -> Vec<Outcome> {
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    let (next, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let failed = AtomicU64::new(u64::MAX);
    let found: Mutex<Vec<Outcome>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= args.seeds || (args.quick && at > failed.load(Ordering::Relaxed)) {
                        return;
                    }
                    let outcome = trace(args.from_seed.wrapping_add(at), setting, args.trace);
                    if outcome.violation.is_some() {
                        failed.fetch_min(at, Ordering::Relaxed);
                        let broken = outcome.violation.as_ref().map(|v| format!("{}: {}", v.invariant, v.sentence));
                        eprintln!("seed {} breaks {}", outcome.seed, broken.unwrap_or_default());
                    }
                    found.lock().unwrap_or_else(PoisonError::into_inner).push(outcome);
                    let count = done.fetch_add(1, Ordering::Relaxed) + 1;
                    if args.output == "text" && count.is_multiple_of(100) {
                        eprintln!("{count} of {} seeds", args.seeds);
                    }
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|outcome| outcome.seed.wrapping_sub(args.from_seed));
    found
}

/// A violation as a story, made as small as it gets.
fn tell(outcome: &Outcome, setting: &Setting, quick: bool) {
    let Some(violation) = &outcome.violation else { return };
    let (setting, violation) =
        if quick { (setting.clone(), violation.clone()) } else { shrink(outcome.seed, setting, violation) };
    eprintln!("\n{} is broken: {}\n", violation.invariant, violation.sentence);
    violation.story.iter().for_each(|line| eprintln!("  {line}"));
    eprintln!("\nafter {} events; again with:\n  {}", violation.event, reproduction(outcome.seed, &setting));
}
