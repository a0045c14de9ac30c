//! Stories that the production engine and the production node tell together, in the simulated world: `tests/stories/README.md`
//! says how to read and write one.

#![expect(clippy::unwrap_used, reason = "a test: a script that can't be read is a failure that names the line")]

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use serde_json::json;
use wardround_rollout_plans::model::{
    Command, DeviceId, RollBackTarget, RolloutId, SiteId, SiteInventory, SystemId, WaveName,
};
use wardround_tests::sim::{Act, Fate, MINUTE, Ms, Person, Random, Run, SECOND, Setting, What, World, converge};

/// How long is waited at most for what a script names.
const WAIT_MAX: Ms = 8 * 60 * MINUTE;

/// A script under way.
struct Story {
    world: World,
    told: String,
    /// Lines of the world's own story that were told already.
    read: usize,
}

/// What stands before the first thing that happens.
#[derive(Default)]
struct Cast {
    title: String,
    sites: Vec<SiteInventory>,
    fates: BTreeMap<DeviceId, Fate>,
    plan: String,
    waves: String,
}

fn rollout() -> RolloutId {
    RolloutId::new("r1").unwrap()
}

fn device(text: &str) -> Result<DeviceId, String> {
    DeviceId::new(text).map_err(|e| e.to_string())
}

fn site(text: &str) -> Result<SiteId, String> {
    SiteId::new(text).map_err(|e| e.to_string())
}

/// "90s", "5m", "2h".
fn time(text: &str) -> Result<Ms, String> {
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let unit = match unit {
        "s" => SECOND,
        "m" => MINUTE,
        "h" => 60 * MINUTE,
        _ => return Err(format!("{text:?} is not a time such as 90s, 5m or 2h")),
    };
    number.parse::<Ms>().map(|n| n * unit).map_err(|_| format!("{text:?} is not a time such as 90s, 5m or 2h"))
}

/// "rx1: ct mr lab; pacs needs ct mr; lis needs lab".
fn inventory(text: &str) -> Result<SiteInventory, String> {
    let (name, rest) = text.split_once(':').ok_or("a site is \"site NAME: DEVICES; SYSTEM needs DEVICES; …\"")?;
    let mut parts = rest.split(';').map(str::trim);
    let of = |id: &str| format!("{}/{id}", name.trim());
    let devices: Vec<_> = parts
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|d| json!({ "id": of(d), "platform": "cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:*:*:x86:*" }))
        .collect();
    let mut systems = Vec::new();
    for part in parts {
        let (system, needs) = part.split_once(" needs ").ok_or("a system is \"SYSTEM needs DEVICES\"")?;
        let needs: Vec<String> = needs.split_whitespace().map(of).collect();
        systems.push(json!({ "id": of(system), "kind": system, "devices": needs }));
    }
    let inventory = json!({ "site": name.trim(), "devices": devices, "systems": systems });
    serde_json::from_value(inventory).map_err(|e| e.to_string())
}

/// "canary: rx1/ct; soak 10m; 60% succeed; approved by clinical", as a wave of a plan.
fn wave(text: &str) -> Result<String, String> {
    let (name, rest) = text.split_once(':').ok_or("a wave is \"wave NAME: DEVICES; …\"")?;
    let mut parts = rest.split(';').map(str::trim);
    let devices: Vec<&str> = parts.next().unwrap_or_default().split_whitespace().collect();
    let (mut soak, mut success, mut approvals) = ("10m", "100%", "");
    for part in parts {
        if let Some(text) = part.strip_prefix("soak ") {
            soak = text;
        } else if let Some(text) = part.strip_suffix(" succeed") {
            success = text;
        } else if part == "approved by clinical" {
            approvals = ", approvals: [clinical]";
        } else {
            return Err(format!("{part:?} is none of: soak TIME, N% succeed, approved by clinical"));
        }
    }
    let devices = devices.join(", ");
    Ok(format!(
        "  - name: {}\n    select: {{ devices: [{devices}] }}\n    soak: {soak}\n    gate: {{ success: {success}{approvals} }}\n",
        name.trim()
    ))
}

impl Cast {
    /// True when the line is part of the cast.
    fn take(&mut self, line: &str) -> Result<bool, String> {
        let Some((word, text)) = line.split_once(' ') else { return Ok(false) };
        match word {
            "story" => text.clone_into(&mut self.title),
            "site" => self.sites.push(inventory(text)?),
            "wave" => self.waves.push_str(&wave(text)?),
            "health" => writeln!(self.plan, "health: {{ {text} }}").unwrap(),
            "limits" => writeln!(self.plan, "limits: {{ {text} }}").unwrap(),
            "scope" => writeln!(self.plan, "rollback: {{ scope: {text} }}").unwrap(),
            "fate" => self.fate(text)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn fate(&mut self, text: &str) -> Result<(), String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let id = device(words.first().ok_or("whose fate?")?)?;
        let site = id.site();
        let fate = self.fates.entry(id).or_default();
        match words[1..] {
            ["breaks", system, after, "after", "its", "install"] => {
                let system = SystemId::new(&format!("{site}/{system}")).map_err(|e| e.to_string())?;
                fate.breaks.insert(system, time(after)?);
            }
            ["fails", "to", "install"] => fate.installs.push(Run::Fails),
            ["loses", "its", "power", "in", "the", "install"] => fate.installs.push(Run::Crash),
            ["loses", "its", "power", "at", "the", "end", "of", "the", "install"] => fate.installs.push(Run::CrashDone),
            ["reboots"] => fate.reboot = true,
            _ => {
                return Err(
                    "a fate is one of: breaks SYSTEM TIME after its install, fails to install, loses its power in \
                            the install, loses its power at the end of the install, reboots"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }

    fn begin(&self) -> Story {
        let mut world = World::new(Setting::calm(), Random::new(1));
        world.tale = Some(Vec::new());
        for inventory in &self.sites {
            world.add_site(inventory.clone(), |device| self.fates.get(device).cloned().unwrap_or_default());
        }
        world.power_up();
        let timing = "timing: { install_timeout: 5m, reboot_timeout: 5m, unknown_after: 3m, retry_after: 1m }";
        let plan = format!("name: story\n{timing}\n{}waves:\n{}", self.plan, self.waves);
        world.after(20 * SECOND, What::Person(Act::Draft { id: rollout(), plan }));
        let mut story = Story { world, told: format!("{}\n", self.title), read: 0 };
        story.read();
        story
    }
}

impl Story {
    /// What has happened since, in the words of the world, without what is only its machinery.
    fn read(&mut self) {
        let tale = self.world.tale.as_deref().unwrap_or_default();
        for line in &tale[self.read.min(tale.len())..] {
            if let Some(line) = of_interest(line) {
                writeln!(self.told, "  {line}").unwrap();
            }
        }
        self.read = tale.len();
    }

    fn pass(&mut self, long: Ms) {
        let until = self.world.now() + long;
        self.world.run_until(until);
        self.read();
    }

    fn act(&mut self, line: &str) -> Result<(), String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        writeln!(self.told, "> {line}").unwrap();
        match words[..] {
            ["wait", "until", ref what @ ..] => {
                let end = self.world.now() + WAIT_MAX;
                while !self.holds(what)? {
                    if self.world.now() >= end || self.world.violation.is_some() {
                        return Err("it never comes to this".to_owned());
                    }
                    self.pass(SECOND);
                }
            }
            ["wait", long] => self.pass(time(long)?),
            ["expect", ref what @ ..] => {
                if !self.holds(what)? {
                    return Err("this is not so".to_owned());
                }
            }
            ["cut", ref sites @ .., "for", long] => {
                let until = self.world.now() + time(long)?;
                for name in sites {
                    let line = self.world.lines.get_mut(&site(name)?).ok_or("there is no such site")?;
                    (line.up_cut_until, line.down_cut_until) = (until, until);
                }
            }
            ["ill", id, "for", long] => self.trouble(|system| system.as_str() == id, time(long)?)?,
            ["network", "of", name, "fails", "for", long] => {
                self.trouble(|system| system.as_str().starts_with(&format!("{name}/")), time(long)?)?;
                let until = self.world.now() + time(long)?;
                let line = self.world.lines.get_mut(&site(name)?).ok_or("there is no such site")?;
                (line.up_cut_until, line.down_cut_until) = (until, until);
            }
            ["node", "of", name, "loses", "its", "power"] => self.world.node_falls(&site(name)?),
            ["controller", "loses", "its", "power"] => self.world.controller_falls(),
            ["node", "of", name, "lies"] => drop(self.world.truth.liars.insert(site(name)?)),
            [who @ ("Ann" | "Ben" | "Cem"), ref words @ ..] => self.order(who, words)?,
            _ => {
                return Err(
                    "a line begins with one of: wait, expect, cut, ill, network of, node of, controller loses its \
                            power, Ann, Ben, Cem"
                        .to_owned(),
                );
            }
        }
        self.read();
        Ok(())
    }

    fn trouble(&mut self, which: impl Fn(&SystemId) -> bool, long: Ms) -> Result<(), String> {
        let now = self.world.now();
        let mut any = false;
        for system in self.world.truth.systems.values_mut().filter(|s| which(&s.id)) {
            system.trouble.push((now, now + long));
            any = true;
        }
        if any { Ok(()) } else { Err("there is no such system".to_owned()) }
    }

    fn order(&mut self, who: &str, words: &[&str]) -> Result<(), String> {
        let person = match who {
            "Ann" => Person::Ann,
            "Ben" => Person::Ben,
            _ => Person::Cem,
        };
        let back = |target| (Command::RollBack { target }, vec![Person::Cem, Person::Ben]);
        let (command, by) = match *words {
            ["halts"] => (Command::Halt, vec![person]),
            ["resumes"] => {
                self.world.after(0, What::Person(Act::Resume { id: rollout() }));
                self.pass(SECOND);
                return Ok(());
            }
            ["rolls", "back", "device", id] => back(RollBackTarget::Device { device: device(id)? }),
            ["rolls", "back", "site", id] => back(RollBackTarget::Site { site: site(id)? }),
            ["rolls", "back", "wave", name] => {
                back(RollBackTarget::Wave { wave: WaveName::new(name).map_err(|e| e.to_string())? })
            }
            _ => return Err("a person: halts, resumes, rolls back device|site|wave ID".to_owned()),
        };
        self.world.order(&rollout(), command, &by)?;
        self.pass(SECOND);
        Ok(())
    }

    fn holds(&self, words: &[&str]) -> Result<bool, String> {
        let Some(ledger) = self.world.ledger() else { return Ok(false) };
        let view = ledger.engine().rollout(&rollout());
        let all = ledger.engine().deployments(&rollout(), None, None, None, usize::MAX);
        Ok(match *words {
            ["rollout", "is", state] => view.is_some_and(|v| v.state.word() == state),
            ["wave", name, "is", state] => {
                view.is_some_and(|v| v.waves.iter().any(|w| w.name.as_str() == name && w.state.word() == state))
            }
            ["device", id, "is", state] => all.iter().any(|d| d.device.as_str() == id && d.state.word() == state),
            ["device", id, "has", "the", "patch"] => self.patched(id)?,
            ["device", id, "does", "not", "have", "the", "patch"] => !self.patched(id)?,
            _ => {
                return Err(
                    "known are: rollout is STATE, wave NAME is STATE, device ID is STATE, device ID has the patch, \
                            device ID does not have the patch"
                        .to_owned(),
                );
            }
        })
    }

    fn patched(&self, id: &str) -> Result<bool, String> {
        Ok(self.world.truth.devices.get(&device(id)?).ok_or("there is no such device")?.patched)
    }

    /// What stands at the end, by what people are shown and by what is so.
    fn end(mut self, name: &str) -> String {
        let view = self.world.ledger().and_then(|l| l.engine().rollout(&rollout())).unwrap();
        writeln!(self.told, "\nat the end\n  the rollout is {}", view.state.word()).unwrap();
        for wave in &view.waves {
            let gate = if wave.gate.is_empty() { String::new() } else { format!(": {}", wave.gate) };
            writeln!(self.told, "  wave {} is {}{gate}", wave.name, wave.state.word()).unwrap();
        }
        let ledger = self.world.ledger().unwrap();
        for deployment in ledger.engine().deployments(&rollout(), None, None, None, usize::MAX) {
            let patched = self.world.truth.devices[&deployment.device].patched;
            let is = if patched { "has the patch" } else { "does not have the patch" };
            writeln!(self.told, "  {} is shown as {}, and {is}", deployment.device, deployment.state).unwrap();
        }
        // What was begun must also end, and the contract hold to the end.
        self.world.heal();
        converge(&mut self.world);
        assert_eq!(self.world.violation, None, "{name}");
        self.told
    }
}

/// A line of the world's story as a person would tell it; `None` for its machinery.
fn of_interest(line: &str) -> Option<String> {
    let (at, what) = line.split_once(' ')?;
    let at = at.split('.').next().unwrap_or(at);
    let machinery = [
        " calls with ",
        "taken in: ",
        " reads directive ",
        "a message ",
        "publication ",
        " hears of a halt",
        " is drafted: ",
        " sign version ",
        " downloading ",
        " staged ",
        " preflight ",
        " offered ",
        "all has ended",
        " is refused: ",
    ];
    if machinery.iter().any(|m| what.contains(m)) {
        return None;
    }
    if let Some((device, begins)) = what.split_once(": ").filter(|(_, b)| b.contains(" begins (")) {
        let verb = begins.split(' ').next().unwrap_or_default();
        return ["install", "uninstall", "reboot"].contains(&verb).then(|| format!("{at} {device} is asked to {verb}"));
    }
    if let Some((site, note)) = what.split_once(" notes ") {
        let note = note.split_once(": ").map_or(note, |(_, note)| note);
        let note = note.split(" (r1, attempt").next().unwrap_or(note).trim_end();
        let quiet = note.starts_with("alarm ") || note.contains("known");
        return (!quiet).then(|| format!("{at} the node of {site} notes: {note}"));
    }
    if let Some(wave) = what.strip_prefix("r1 ") {
        let whole = wave.starts_with("is ");
        return Some(if whole { format!("{at} the rollout {wave}") } else { format!("{at} wave {wave}") });
    }
    Some(format!("{at} {what}"))
}

fn tell(name: &str, script: &str) -> Result<String, String> {
    let mut cast = Cast::default();
    let mut story: Option<Story> = None;
    for (number, line) in (1..).zip(script.lines().map(str::trim)) {
        let wrong = |why: String| format!("{name}:{number}: {why}\n    {line}");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if story.is_none() && cast.take(line).map_err(wrong)? {
            continue;
        }
        let begun = story.get_or_insert_with(|| cast.begin());
        begun.act(line).map_err(|why| format!("{}\n{}", wrong(why), begun.told))?;
    }
    story.map(|story| story.end(name)).ok_or_else(|| format!("{name}: nothing happens in it"))
}

#[test]
fn stories_come_true() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stories");
    let mut scripts: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    scripts.retain(|path| path.extension().is_some_and(|e| e == "txt"));
    scripts.sort();
    assert!(scripts.len() >= 6, "{scripts:?}");
    for path in scripts {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let script = std::fs::read_to_string(&path).unwrap();
        let story = tell(&name, &script).unwrap_or_else(|why| panic!("{why}"));
        insta::assert_snapshot!(name.trim_end_matches(".txt"), story);
    }
}

#[test]
fn a_wrong_story_names_its_line() {
    let begin = "site rx1: ct; pacs needs ct\nwave canary: rx1/ct\n";
    for (script, says) in [
        ("dance", "x.txt:3: a line begins with one of"),
        ("wait 5x", "x.txt:3: \"5x\" is not a time"),
        ("fate rx1/ct explodes", "x.txt:3: a fate is one of"),
        ("expect rollout is running", "x.txt:3: this is not so"),
        ("# only a comment", "x.txt: nothing happens"),
    ] {
        let why = tell("x.txt", &format!("{begin}{script}")).unwrap_err();
        assert!(why.starts_with(says), "{why}");
    }
}
