//! Stories as text: `tests/scenarios/README.md` says how to read and write one.

use wardround_rollout_plans::{engine::State, model::*};
use wardround_signing::Role;

use super::{Fate, Story, WaveSpec, device, site, wave_name};

/// How long is waited at most for what a script names: longer means that it never comes.
const WAIT_MAX: DurationMs = DurationMs::from_secs(7 * 24 * 60 * 60);

const PEOPLE: [(&str, &[Role]); 3] = [("Ann", &[Role::Release]), ("Carl", &[Role::Clinical]), ("Olu", &[Role::OnCall])];

/// Tells the story of a script.
///
/// # Errors
/// The line that can't be read, or that did not come true.
pub(crate) fn tell(name: &str, script: &str) -> Result<String, String> {
    let (mut title, mut waves, mut scope) = (String::new(), Vec::new(), Scope::Wave);
    let mut story: Option<Story> = None;
    for (number, line) in (1..).zip(script.lines().map(str::trim)) {
        let wrong = |why: String| format!("{name}:{number}: {why}\n    {line}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(text) = line.strip_prefix("story ") {
            text.clone_into(&mut title);
        } else if let Some(text) = line.strip_prefix("wave ") {
            waves.push(wave(text).map_err(wrong)?);
        } else if let Some(text) = line.strip_prefix("scope ") {
            scope = serde_json::from_value(text.into())
                .map_err(|_| wrong("a scope is device, site, wave or rollout".to_owned()))?;
        } else {
            let story = story.get_or_insert_with(|| Story::new(&title, &waves, scope));
            act(story, line).map_err(wrong)?;
        }
    }
    story.map(Story::end).ok_or_else(|| format!("{name}: nothing happens in it"))
}

fn duration(text: &str) -> Result<DurationMs, String> {
    DurationMs::parse(text.trim())
}

/// "canary: rx1/ct rx2/ct; soak 10m; 60% succeed; approved by clinical".
fn wave(text: &str) -> Result<WaveSpec, String> {
    let (name, rest) = text.split_once(':').ok_or("a wave is \"wave NAME: DEVICES; …\"")?;
    let mut parts = rest.split(';').map(str::trim);
    let devices: Vec<&str> = parts.next().unwrap_or_default().split_whitespace().collect();
    let mut spec = WaveSpec::new(Box::leak(name.trim().to_owned().into_boxed_str()), &devices);
    for part in parts {
        if let Some(soak) = part.strip_prefix("soak ") {
            spec.soak = duration(soak)?;
        } else if let Some(percent) = part.strip_suffix("% succeed") {
            spec = spec.success(percent.parse().map_err(|_| "a share is a number, such as \"60% succeed\"")?);
        } else if part == "approved by clinical" {
            spec = spec.approvals(&[Role::Clinical]);
        } else if let Some(rest) = part.strip_prefix("begun within ") {
            let (after, then) =
                rest.split_once(" or ").ok_or("\"begun within TIME or an alarm\", or \"or left out\"")?;
            let then = if then == "left out" { Late::LeaveOut } else { Late::Alarm };
            spec.deadline = Some(Deadline { by: None, after: Some(duration(after)?), then });
        } else if let Some(long) = part.strip_prefix("silent sites left out after ") {
            spec.offline = Some(Offline { leave_out_after: Some(duration(long)?), ..spec.offline.unwrap_or_default() });
        } else if let Some(long) = part.strip_prefix("silent sites alarm after ") {
            spec.offline = Some(Offline { alarm_after: Some(duration(long)?), ..spec.offline.unwrap_or_default() });
        } else {
            return Err(format!(
                "{part:?} is none of: soak TIME, N% succeed, approved by clinical, begun within TIME or …, silent sites …"
            ));
        }
    }
    Ok(spec)
}

fn fate(words: &[&str]) -> Result<Fate, String> {
    Ok(match words {
        ["breaks", system, after, "after", "its", "install"] => Fate::Breaks((*system).to_owned(), duration(after)?),
        ["breaks", system, after, "after", "its", "install", "for", "good"] => {
            Fate::Stuck((*system).to_owned(), duration(after)?)
        }
        ["fails", "to", "install"] => Fate::InstallFails,
        ["needs", "no", "patch"] => Fate::NotApplicable,
        ["is", "in", "use", "for", long] => Fate::InUse(duration(long)?),
        _ => {
            let known =
                "breaks SYSTEM TIME after its install [for good], fails to install, needs no patch, is in use for TIME";
            return Err(format!("a fate is one of: {known}"));
        }
    })
}

fn act(story: &mut Story, line: &str) -> Result<(), String> {
    let (words, reason) = line.split_once(": ").unwrap_or((line, ""));
    let words: Vec<&str> = words.split_whitespace().collect();
    if let Some((who, roles)) = PEOPLE.into_iter().find(|(who, _)| words.first() == Some(who)) {
        return order(story, who, roles, &words[1..], reason);
    }
    match words[..] {
        ["fate", id, ..] => story.fate(id, fate(&words[2..])?),
        ["wait", "until", ref until @ ..] => {
            let end = story.now.after(WAIT_MAX);
            while !holds(story, until)? {
                if story.now >= end {
                    return Err("it never comes to this".to_owned());
                }
                story.pass(DurationMs::from_secs(10));
            }
        }
        ["wait", time] => story.pass(duration(time)?),
        ["cut", id] => story.cut(id, true),
        ["mend", id] => story.cut(id, false),
        ["controller", "dies"] => {
            // All that it knows is what it has on disk.
            let bytes = serde_json::to_vec(&story.state).map_err(|e| e.to_string())?;
            story.state = serde_json::from_slice::<State>(&bytes).map_err(|e| e.to_string())?;
            story.remark("the controller dies and comes back from its disk");
        }
        ["look"] => story.look(),
        ["expect", ref what @ ..] => {
            if !holds(story, what)? {
                return Err("this is not so".to_owned());
            }
        }
        _ => {
            let known = "a person's name with an order, fate, wait, cut, mend, controller dies, look, expect";
            return Err(format!("a line begins with one of: {known}"));
        }
    }
    Ok(())
}

fn order(story: &mut Story, who: &str, roles: &[Role], words: &[&str], reason: &str) -> Result<(), String> {
    let back = |target| Command::RollBack { target };
    let command = match *words {
        ["starts"] => Command::Start,
        ["halts"] => Command::Halt,
        // Signed before the newest order was known.
        ["halts", "late"] => {
            let counter = story.counter().saturating_sub(1);
            story.order_with(counter, who, roles, Command::Halt, reason);
            return Ok(());
        }
        // The very order of the line before, sent once more.
        ["halts", "late", "again"] => {
            let counter = story.counter().saturating_sub(2);
            story.order_with(counter, who, roles, Command::Halt, reason);
            return Ok(());
        }
        ["resumes"] => {
            story.resume(who, roles, reason);
            return Ok(());
        }
        ["cancels"] => Command::Cancel,
        ["approves", wave] => Command::Approve { wave: wave_name(wave) },
        ["rolls", "back", "device", id] => back(RollBackTarget::Device { device: device(id) }),
        ["rolls", "back", "site", id] => back(RollBackTarget::Site { site: site(id) }),
        ["rolls", "back", "wave", name] => back(RollBackTarget::Wave { wave: wave_name(name) }),
        ["rolls", "back", "everything"] => back(RollBackTarget::Rollout),
        _ => {
            let known = "starts, halts [late [again]], resumes, cancels, approves WAVE, rolls back device|site|wave ID, rolls back everything";
            return Err(format!("a person: {known}"));
        }
    };
    story.order(who, roles, command, reason);
    Ok(())
}

fn holds(story: &Story, words: &[&str]) -> Result<bool, String> {
    let view = story.state.rollout(&story.document.id).ok_or("there is no rollout")?;
    match *words {
        ["rollout", "is", state] => Ok(view.state.word() == state),
        ["wave", name, "is", state] => {
            let wave = view.waves.iter().find(|w| w.name.as_str() == name).ok_or("there is no such wave")?;
            Ok(wave.state.word() == state)
        }
        ["wave", name, "waits", "for", code] => {
            let wave = view.waves.iter().find(|w| w.name.as_str() == name).ok_or("there is no such wave")?;
            Ok(wave.waiting.as_ref().is_some_and(|w| w.on.code() == code))
        }
        ["device", id, "is", state] => {
            let found =
                story.state.deployment_state(&story.document.id, &device(id)).ok_or("there is no such device")?;
            Ok(found.word() == state)
        }
        _ => {
            Err("known are: rollout is STATE, wave NAME is STATE, wave NAME waits for CODE, device ID is STATE"
                .to_owned())
        }
    }
}
