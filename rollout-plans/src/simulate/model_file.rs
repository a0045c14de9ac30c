//! A model file, and the words by which a bad patch is told on a command line.

use std::{fmt, str::FromStr};

use super::model::{BadPatch, Model, Onset, Span};
use crate::{
    language::{
        Problem,
        reader::{Reader, basis_points},
        tree::{self, Node, Value},
    },
    model::{ClockTime, DurationMs, Percent, TimeZoneName},
};

/// Longest time of a model: a year.
const TIME_MAX: DurationMs = DurationMs(366 * 24 * 60 * 60 * 1000);
/// Fastest line, Mbit/s (DESIGN, "Scale to design for").
const LINK_MAX: u32 = 10_000;
/// Longest word, bytes.
const WORD_BYTES: usize = 200;

/// Reads a model. What it does not say stays as in [`Model::standard`].
///
/// # Errors
/// All problems found, in order of lines.
pub fn parse_model(yaml: &str, file_name: &str) -> Result<Model, Vec<Problem>> {
    let root = tree::read(yaml, file_name).map_err(|problem| vec![problem])?;
    let mut reader = Reader::new(file_name);
    let mut model = Model::standard();
    file(&mut reader, &root, &mut model);
    let (_, problems) = reader.finish();
    if problems.is_empty() { Ok(model) } else { Err(problems) }
}

fn file(reader: &mut Reader, root: &Node, model: &mut Model) -> Option<()> {
    let fields = reader.fields(root, "", &["network", "devices", "systems", "people", "bad_patch"])?;
    reader.optional(&fields, "network", |r, n, p| network(r, n, p, model));
    reader.optional(&fields, "devices", |r, n, p| devices(r, n, p, model));
    reader.optional(&fields, "systems", |r, n, p| systems(r, n, p, model));
    reader.optional(&fields, "people", |r, n, p| people(r, n, p, model));
    let hint = "for example `5% of windows_xp for pacs after 2h`";
    if let Some(bad) = reader.optional(&fields, "bad_patch", |r, n, p| r.parsed(n, p, hint)) {
        model.bad_patch = Some(bad);
    }
    Some(())
}

/// Puts a value in its place when one was read.
fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

fn network(reader: &mut Reader, node: &Node, path: &str, model: &mut Model) -> Option<()> {
    let known = ["link", "payload", "reaction", "offline_per_day", "offline_for"];
    let fields = reader.fields(node, path, &known)?;
    let network = &mut model.network;
    set(&mut network.link_kbit, reader.optional(&fields, "link", link));
    let payload = reader.optional(&fields, "payload", |r, n, p| r.count(n, p, 1, 2_048));
    set(&mut network.payload_bytes, payload.map(|mib| u64::from(mib) * 1024 * 1024));
    set(&mut network.reaction, reader.optional(&fields, "reaction", span));
    set(&mut network.offline_per_day, reader.optional(&fields, "offline_per_day", Reader::percent));
    set(&mut network.offline_for, reader.optional(&fields, "offline_for", span));
    Some(())
}

fn devices(reader: &mut Reader, node: &Node, path: &str, model: &mut Model) -> Option<()> {
    let known = ["install", "reboot", "fails", "skipped", "stuck", "in_use", "in_use_for", "restart_every"];
    let fields = reader.fields(node, path, &known)?;
    let devices = &mut model.devices;
    set(&mut devices.install, reader.optional(&fields, "install", span));
    set(&mut devices.reboot, reader.optional(&fields, "reboot", span));
    set(&mut devices.fails, reader.optional(&fields, "fails", Reader::percent));
    set(&mut devices.skipped, reader.optional(&fields, "skipped", Reader::percent));
    set(&mut devices.stuck, reader.optional(&fields, "stuck", Reader::percent));
    set(&mut devices.in_use, reader.optional(&fields, "in_use", Reader::percent));
    set(&mut devices.in_use_for, reader.optional(&fields, "in_use_for", span));
    let restart = |r: &mut Reader, n: &Node, p: &str| r.duration(n, p, DurationMs(60_000), TIME_MAX);
    set(&mut devices.restart_every, reader.optional(&fields, "restart_every", restart).map(|every| every.0));
    Some(())
}

fn systems(reader: &mut Reader, node: &Node, path: &str, model: &mut Model) -> Option<()> {
    let known = ["trouble_per_day", "unhealthy_before", "site_trouble_per_day", "site_trouble_for"];
    let fields = reader.fields(node, path, &known)?;
    let systems = &mut model.systems;
    set(&mut systems.trouble_per_day, reader.optional(&fields, "trouble_per_day", Reader::percent));
    set(&mut systems.unhealthy_before, reader.optional(&fields, "unhealthy_before", Reader::percent));
    set(&mut systems.site_trouble_per_day, reader.optional(&fields, "site_trouble_per_day", Reader::percent));
    set(&mut systems.site_trouble_for, reader.optional(&fields, "site_trouble_for", span));
    Some(())
}

fn people(reader: &mut Reader, node: &Node, path: &str, model: &mut Model) -> Option<()> {
    let fields = reader.fields(node, path, &["approve", "office", "time_zone", "notice"])?;
    let people = &mut model.people;
    set(&mut people.approve, reader.optional(&fields, "approve", span_or_never));
    set(&mut people.notice, reader.optional(&fields, "notice", span_or_never));
    set(&mut people.office, reader.optional(&fields, "office", office));
    let zone =
        reader.optional(&fields, "time_zone", |r, n, p| r.parsed::<TimeZoneName>(n, p, "for example Europe/London"));
    set(&mut people.zone, zone.map(|zone| zone.as_str().to_owned()));
    Some(())
}

/// "2m..15m", or one duration.
fn span(reader: &mut Reader, node: &Node, path: &str) -> Option<Span> {
    let Value::Text(text) = &node.value else {
        return reader.duration(node, path, DurationMs(0), TIME_MAX).map(|d| Span::just(d.0));
    };
    match span_text(text) {
        Ok(span) => Some(span),
        Err(why) => {
            reader.problem(node.at, path, why, "one duration (`10m`), or the least and the most (`2m..15m`)");
            None
        }
    }
}

fn span_text(text: &str) -> Result<Span, String> {
    let (least, most) = text.split_once("..").unwrap_or((text, text));
    let (least, most) = (DurationMs::parse(least.trim())?, DurationMs::parse(most.trim())?);
    if least > most {
        return Err(format!("{text:?} begins with the longer time"));
    }
    if most > TIME_MAX {
        return Err(format!("{text:?} is longer than {TIME_MAX}"));
    }
    Ok(Span::of(least.0, most.0))
}

#[expect(clippy::option_option, reason = "absent in the file, and `never`, are two things")]
fn span_or_never(reader: &mut Reader, node: &Node, path: &str) -> Option<Option<Span>> {
    match &node.value {
        Value::Text(text) if text == "never" => Some(None),
        _ => span(reader, node, path).map(Some),
    }
}

/// "2..100", Mbit/s.
fn link(reader: &mut Reader, node: &Node, path: &str) -> Option<Span> {
    let number = |text: &str| text.trim().parse::<u32>().ok().filter(|n| (1..=LINK_MAX).contains(n)).map(u64::from);
    let read = match &node.value {
        Value::Int(n) => u32::try_from(*n).ok().and_then(|n| number(&n.to_string())).map(Span::just),
        Value::Text(text) => text.split_once("..").and_then(|(a, b)| Some(Span::of(number(a)?, number(b)?))),
        _ => None,
    };
    match read.filter(|span| span.least <= span.most) {
        Some(Span { least, most }) => Some(Span::of(least * 1_000, most * 1_000)),
        None => {
            let why = format!("expected Mbit/s, 1 to {LINK_MAX}, found {}", node.value.what());
            reader.problem(node.at, path, why, "one number (`10`), or the slowest and the fastest (`2..100`)");
            None
        }
    }
}

/// "08:00-17:00", or `always`.
fn office(reader: &mut Reader, node: &Node, path: &str) -> Option<(u32, u32)> {
    let text = reader.line(node, path, WORD_BYTES)?;
    if text == "always" {
        return Some((0, 0));
    }
    let times = text.split_once('-').and_then(|(from, to)| {
        let minutes = |t: &str| t.trim().parse::<ClockTime>().ok().map(|t| u32::from(t.minutes()));
        Some((minutes(from)?, minutes(to)?))
    });
    let times = times.filter(|(from, to)| from < to);
    if times.is_none() {
        let why = format!("{text:?} is no working day");
        reader.problem(node.at, path, why, "write `08:00-17:00`, or `always`");
    }
    times
}

impl FromStr for BadPatch {
    type Err = String;

    /// "5% of windows_xp on CT-9000 for pacs after 2h, seen 80%": all but the share may be left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let form = || {
            format!(
                "{text:?} is no bad patch: expected \"5% of windows_xp on MODEL for pacs after 2h seen 80%\", where all but \
                 the share may be left out, and after is `install`, `restart` or a time"
            )
        };
        let mut words = text.split([' ', ',']).filter(|word| !word.is_empty()).peekable();
        let percent = |word: &str| basis_points(word).and_then(|points| Percent::from_basis_points(points).ok());
        words.next_if_eq(&"breaks");
        let breaks = words.next().and_then(percent).ok_or_else(form)?;
        let mut bad = Self {
            breaks,
            platform: String::new(),
            device_model: String::new(),
            system: String::new(),
            after: Onset::Install,
            seen: Percent::ALL,
        };
        while let Some(key) = words.next() {
            let word = words.next().ok_or_else(form)?;
            match key {
                "of" => word.clone_into(&mut bad.platform),
                "on" => word.clone_into(&mut bad.device_model),
                "for" => word.clone_into(&mut bad.system),
                "seen" => bad.seen = percent(word).ok_or_else(form)?,
                "after" => {
                    bad.after = match word {
                        "install" => Onset::Install,
                        "restart" | "reboot" => Onset::Restart,
                        time => Onset::Use(span_text(time)?),
                    }
                }
                _ => return Err(form()),
            }
        }
        Ok(bad)
    }
}

impl fmt::Display for BadPatch {
    /// As it is read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.breaks)?;
        for (word, name) in [("of", &self.platform), ("on", &self.device_model), ("for", &self.system)] {
            if !name.is_empty() {
                write!(f, " {word} {name}")?;
            }
        }
        match self.after {
            Onset::Install => {}
            Onset::Restart => f.write_str(" after restart")?,
            Onset::Use(Span { least, most }) if least == most => write!(f, " after {}", written(least))?,
            Onset::Use(Span { least, most }) => write!(f, " after {}..{}", written(least), written(most))?,
        }
        if self.seen == Percent::ALL { Ok(()) } else { write!(f, " seen {}", self.seen) }
    }
}

/// A time in one word.
fn written(ms: u64) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let unit = units.into_iter().find(|(size, _)| ms > 0 && ms.is_multiple_of(*size));
    unit.map_or_else(|| format!("{ms}ms"), |(size, unit)| format!("{}{unit}", ms / size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_patch_is_told_in_words() {
        let bad: BadPatch = "5% of windows_xp on CT-9000 for pacs after 2h..8h seen 80%".parse().unwrap();
        assert_eq!((bad.breaks, bad.seen), (Percent::basis(500), Percent::basis(8_000)));
        assert_eq!(
            (bad.platform.as_str(), bad.device_model.as_str(), bad.system.as_str()),
            ("windows_xp", "CT-9000", "pacs")
        );
        assert_eq!(bad.after, Onset::Use(Span::of(7_200_000, 28_800_000)));
        for text in [
            "5% of windows_xp on CT-9000 for pacs after 2h..8h seen 80%",
            "0.50%",
            "100% after restart",
            "1% after 90m",
        ] {
            assert_eq!(text.parse::<BadPatch>().unwrap().to_string(), text);
        }
        assert_eq!("breaks 0.5%".parse::<BadPatch>().unwrap().after, Onset::Install);
        assert_eq!("100% after restart".parse::<BadPatch>().unwrap().after, Onset::Restart);
        for bad in ["", "5", "120%", "5% of", "5% at noon", "5% after 8h..2h", "5% after soon", "5% after 400d"] {
            assert!(bad.parse::<BadPatch>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_model_file_changes_what_it_names_and_nothing_else() {
        let yaml = "network: { link: 2..10, reaction: 5s, offline_per_day: 2.5% }\npeople: { approve: never, office: always }\n\
                    bad_patch: 5% for pacs\n";
        let model = parse_model(yaml, "model.yaml").unwrap();
        let mut wanted = Model::standard();
        wanted.network.link_kbit = Span::of(2_000, 10_000);
        wanted.network.reaction = Span::just(5_000);
        wanted.network.offline_per_day = Percent::basis(250);
        wanted.people.approve = None;
        wanted.people.office = (0, 0);
        wanted.bad_patch = Some("5% for pacs".parse().unwrap());
        assert_eq!(model, wanted);
    }

    #[test]
    fn what_makes_no_sense_is_named_with_its_line() {
        let yaml =
            "network:\n  link: 0\n  reaction: 9m..1m\ndevices:\n  fails: 3\n  instal: 2m\npeople:\n  office: 9 to 5\n";
        let problems = parse_model(yaml, "model.yaml").unwrap_err();
        let lines: Vec<(u32, &str)> = problems.iter().map(|p| (p.line, p.field.as_str())).collect();
        let wanted = [
            (2, "network.link"),
            (3, "network.reaction"),
            (5, "devices.fails"),
            (6, "devices.instal"),
            (8, "people.office"),
        ];
        assert_eq!(lines, wanted);
    }
}
