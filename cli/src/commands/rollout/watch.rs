//! `wardround rollout watch`: follows a rollout to its end.

use std::{
    collections::HashMap,
    io::{IsTerminal as _, stderr},
    time::Duration,
};

use clap::Args;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use wardround_proto::v1;

use super::shown::{self, count_in, count_words, has_ended, words};
use crate::{
    client::Controller,
    commands::alarms,
    failure::{Exit, Failure},
    output::{self, Format, one_line},
    session::Session,
    when,
};

/// How often a lost stream is opened again before giving up.
const RECONNECTS_MAX: u32 = 10;
/// Between two tries.
const RECONNECT_AFTER: Duration = Duration::from_secs(1);

/// Follow a rollout live until it ends: exit 0 when it completed, 6 when it was halted, rolled back or cancelled
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout watch winter-1")]
pub(super) struct Watch {
    /// Rollout id
    id: String,
}

#[derive(Serialize)]
struct Line {
    at: Option<String>,
    rollout: shown::Shown,
    alarms: Vec<alarms::Shown>,
}

impl Watch {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let mut view = match session.format() {
            Format::Json => View::Json,
            Format::Human if stderr().is_terminal() => View::Bars(Bars::default()),
            Format::Human => View::Lines(HashMap::new()),
        };
        tokio::select! {
            exit = follow(&controller, &self.id, |change| view.show(change)) => exit,
            _ = tokio::signal::ctrl_c() => Ok(Exit::Interrupted),
        }
    }
}

/// Follows until the end; a lost stream is opened again.
async fn follow(
    controller: &Controller,
    id: &str,
    mut show: impl FnMut(&v1::WatchRolloutResponse) -> Result<(), Failure>,
) -> Result<Exit, Failure> {
    let mut losses = 0;
    loop {
        let request = v1::WatchRolloutRequest { id: id.to_owned() };
        let lost = match controller.rollouts().watch_rollout(request).await {
            Err(status) => status,
            Ok(answer) => {
                let mut stream = answer.into_inner();
                loop {
                    match stream.message().await {
                        Ok(Some(change)) => {
                            losses = 0;
                            show(&change)?;
                            if let Some(rollout) = change.rollout.as_ref().filter(|r| has_ended(r)) {
                                return Ok(if rollout.state == "completed" { Exit::Ok } else { Exit::EndedBadly });
                            }
                        }
                        Ok(None) => break tonic::Status::unavailable("the controller closed the stream"),
                        Err(status) => break status,
                    }
                }
            }
        };
        losses += 1;
        let failure = Failure::from(lost);
        if failure.exit != Exit::Unreachable || losses > RECONNECTS_MAX {
            return Err(failure);
        }
        eprintln!("lost the controller ({}); trying again", one_line(&failure.message));
        tokio::time::sleep(RECONNECT_AFTER).await;
    }
}

/// How changes are shown.
enum View {
    Json,
    /// The last line said of each thing.
    Lines(HashMap<String, String>),
    Bars(Bars),
}

impl View {
    fn show(&mut self, change: &v1::WatchRolloutResponse) -> Result<(), Failure> {
        let Some(rollout) = &change.rollout else { return Ok(()) };
        match self {
            Self::Json => output::json(&Line {
                at: when::rfc3339(when::now_ms()),
                rollout: shown::Shown::new(rollout),
                alarms: change.alarms.iter().map(alarms::Shown::new).collect(),
            }),
            Self::Lines(said) => {
                for (subject, text) in sentences(rollout) {
                    if said.get(&subject) != Some(&text) {
                        output::text(&one_line(&format!("{} {subject}: {text}", when::local(when::now_ms()))))?;
                        said.insert(subject, text);
                    }
                }
                for alarm in &change.alarms {
                    output::text(&alarm_line(alarm))?;
                }
                Ok(())
            }
            Self::Bars(bars) => {
                bars.show(rollout, &change.alarms);
                if has_ended(rollout) {
                    bars.finish();
                    output::text(&shown::human(rollout))?;
                }
                Ok(())
            }
        }
    }
}

fn alarm_line(alarm: &v1::Alarm) -> String {
    one_line(&format!("{} alarm {}: {}", when::local(alarm.at_ms), alarm.code, alarm.text))
}

/// What can be said of a rollout and its waves, by subject.
fn sentences(rollout: &v1::Rollout) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for wave in rollout.waves.iter().filter(|w| w.state != "pending") {
        let mut text = format!("{}, {}", words(&wave.state), count_words(wave));
        if let Some(waiting) = &wave.waiting {
            text += &format!("; waits: {}", waiting.text);
        }
        if !wave.gate.is_empty() {
            text += &format!("; gate: {}", wave.gate);
        }
        all.push((format!("wave {}", wave.name), text));
    }
    for pending in &rollout.pending_orders {
        all.push((format!("order {}", pending.counter), shown::pending_words(&rollout.id, pending)));
    }
    let mut text = words(&rollout.state);
    if !rollout.reason.is_empty() {
        text += &format!(": {}", rollout.reason);
    }
    all.push((format!("rollout {}", rollout.id), text));
    all
}

/// One bar per wave, on the terminal.
#[derive(Default)]
struct Bars {
    group: MultiProgress,
    head: Option<ProgressBar>,
    waves: Vec<ProgressBar>,
}

impl Bars {
    fn show(&mut self, rollout: &v1::Rollout, alarms: &[v1::Alarm]) {
        let head = self.head.get_or_insert_with(|| {
            let bar = self.group.add(ProgressBar::new_spinner());
            bar.set_style(style("{spinner} {wide_msg}"));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let why = if rollout.reason.is_empty() { String::new() } else { format!(": {}", rollout.reason) };
        let text = format!("rollout {} · {} · {}{why}", rollout.id, rollout.patch, words(&rollout.state));
        head.set_message(one_line(&text));
        for (index, wave) in rollout.waves.iter().enumerate() {
            if self.waves.len() <= index {
                let bar = self.group.add(ProgressBar::new(wave.device_count));
                bar.set_style(style("  {prefix:12} {bar:24} {pos:>5}/{len} {wide_msg}"));
                bar.set_prefix(one_line(&wave.name));
                self.waves.push(bar);
            }
            let bar = &self.waves[index];
            bar.set_position(count_in(wave, &["succeeded", "skipped"]));
            let waiting = wave.waiting.as_ref().map_or_else(String::new, |w| format!(" · {}", w.text));
            bar.set_message(one_line(&format!("{} · {}{waiting}", words(&wave.state), count_words(wave))));
        }
        for alarm in alarms {
            // A terminal that can't be written to is no reason to stop following.
            drop(self.group.println(alarm_line(alarm)));
        }
    }

    fn finish(&self) {
        self.waves.iter().chain(&self.head).for_each(ProgressBar::finish_and_clear);
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
