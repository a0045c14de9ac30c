//! What chooses devices: its fields, and the rules that hold for them together.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    plan::LIMIT_MAX,
    reader::Reader,
    tree::{Node, Value},
};
use crate::model::{Axis, Percent, Plan, REPRESENTATIVE_MAX, Selector};

/// Longest region name, bytes.
const REGION_BYTES_MAX: usize = 120;
/// Longest type of a site or kind of a clinical system, bytes: as long as a label's value.
const KIND_BYTES_MAX: usize = 63;
/// Most platform patterns of one selector: each is held against every device.
const PLATFORMS_MAX: usize = 64;

pub(super) const SELECTOR_FIELDS: [&str; 12] = [
    "labels",
    "platforms",
    "sites",
    "regions",
    "site_types",
    "systems",
    "devices",
    "percent",
    "count",
    "by",
    "representative",
    "remaining",
];
pub(super) const ELIGIBLE_FIELDS: [&str; 7] =
    ["labels", "platforms", "sites", "regions", "site_types", "systems", "devices"];

pub(super) fn selector(reader: &mut Reader, node: &Node, path: &str, known: &[&'static str]) -> Option<Selector> {
    let fields = reader.fields(node, path, known)?;
    let platform_hint = "for example cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:*:*";
    let labels = reader.optional(&fields, "labels", Reader::labels);
    let platforms =
        reader.optional(&fields, "platforms", |r, n, p| r.some(n, p, |r, n, p| r.parsed(n, p, platform_hint)));
    let sites = reader.optional(&fields, "sites", |r, n, p| {
        r.some(n, p, |r, n, p| r.parsed(n, p, "site ids are codes in small letters, such as rx1"))
    });
    let mut lines = |name: &str, max: usize| {
        reader.optional(&fields, name, |r, n, p| r.some(n, p, |r, n, p| r.line(n, p, max))).unwrap_or_default()
    };
    let regions = lines("regions", REGION_BYTES_MAX);
    let site_types = lines("site_types", KIND_BYTES_MAX);
    let systems = lines("systems", KIND_BYTES_MAX);
    let devices = reader.optional(&fields, "devices", |r, n, p| {
        r.some(n, p, |r, n, p| r.parsed(n, p, "device ids are site/name, such as rx1/ct-01"))
    });
    let percent = reader.optional(&fields, "percent", Reader::percent);
    let count = reader.optional(&fields, "count", |r, n, p| r.count(n, p, 1, LIMIT_MAX));
    let by = reader.optional(&fields, "by", |r, n, p| r.some(n, p, |r, n, p| r.word(n, p, &Axis::ALL)));
    let representative = reader.optional(&fields, "representative", representative);
    let remaining = reader.optional(&fields, "remaining", Reader::flag);
    Some(Selector {
        labels: labels.unwrap_or_default(),
        platforms: platforms.unwrap_or_default(),
        sites: sites.unwrap_or_default(),
        regions,
        site_types,
        systems,
        devices: devices.unwrap_or_default(),
        percent,
        count,
        by: by.unwrap_or_default(),
        representative: representative.flatten(),
        remaining: remaining.unwrap_or_default(),
    })
}

/// `true` is one device of every combination; a number is so many.
fn representative(reader: &mut Reader, node: &Node, path: &str) -> Option<Option<u32>> {
    match node.value {
        Value::Bool(true) => Some(Some(1)),
        Value::Bool(false) => Some(None),
        _ => reader.count(node, path, 1, REPRESENTATIVE_MAX).map(Some),
    }
}

/// Adds what is wrong with the selectors of a plan.
pub(super) fn check(reader: &mut Reader, plan: &Plan) {
    let selectors = plan.waves.iter().enumerate().map(|(i, wave)| (format!("waves[{i}].select"), &wave.select));
    for (path, selector) in selectors.chain([("eligible".to_owned(), &plan.eligible)]) {
        check_one(reader, &path, selector);
    }
    // The largest share that an earlier wave takes of the same strata by percentage alone.
    let mut shares: BTreeMap<&[Axis], Percent> = BTreeMap::new();
    for (index, wave) in plan.waves.iter().enumerate() {
        let (select, last) = (&wave.select, index + 1 == plan.waves.len());
        let path = format!("waves[{index}].select");
        if *select == Selector::default() {
            let hint = "say `remaining: true` if you mean it";
            reader.problem_at(&path, "no criterion: every device would be chosen", hint);
        }
        if select.remaining {
            let field = format!("{path}.remaining");
            if *select != (Selector { remaining: true, ..Selector::default() }) {
                let hint = "remove the other criteria, or `remaining`";
                reader.problem_at(&field, "`remaining` stands alone: it takes everything that is left", hint);
            }
            if !last {
                let hint = "move this wave to the end";
                reader.problem_at(&field, "only the last wave may take everything that is left", hint);
            }
        }
        if select.representative.is_some() && last {
            let hint = "representatives stand for the devices of later waves: add a wave, or choose in another way";
            reader.problem_at(&format!("{path}.representative"), "no wave follows", hint);
        }
        let Some(percent) = select.percent.filter(|percent| percent.basis_points() > 0) else { continue };
        if let Some(taken) = shares.get(select.by.as_slice()).filter(|taken| percent <= **taken) {
            let message = format!("an earlier wave already takes the first {taken}");
            let hint = "percentages count from the same start in every wave: write the sum, for example 1%, 10%, 50%";
            reader.problem_at(&format!("{path}.percent"), message, hint);
        }
        if *select == (Selector { percent: Some(percent), by: select.by.clone(), ..Selector::default() }) {
            let share = shares.entry(&select.by).or_insert(percent);
            *share = percent.max(*share);
        }
    }
}

fn check_one(reader: &mut Reader, path: &str, selector: &Selector) {
    if selector.platforms.len() > PLATFORMS_MAX {
        let message = format!("{} platforms; at most {PLATFORMS_MAX} are allowed", selector.platforms.len());
        reader.problem_at(&format!("{path}.platforms"), message, "use `*` for the parts that differ");
    }
    if selector.percent.is_some_and(|percent| percent.basis_points() == 0) {
        reader.problem_at(&format!("{path}.percent"), "0% chooses nothing", "write more than 0%");
    }
    let draws = [
        ("percent", selector.percent.is_some()),
        ("count", selector.count.is_some()),
        ("representative", selector.representative.is_some()),
    ];
    let mut written = draws.iter().filter(|(_, written)| *written).map(|(name, _)| *name);
    if let (Some(first), Some(second)) = (written.next(), written.next()) {
        let message = format!("`{first}` and `{second}` stand together, and each says by itself how many");
        reader.problem_at(&format!("{path}.{second}"), message, "keep one of them, or make two waves");
    }
    if !selector.by.is_empty() {
        let field = format!("{path}.by");
        if selector.percent.is_none() && selector.count.is_none() {
            let hint = "add `count: 1` for one device of each, or `percent`";
            reader.problem_at(&field, "`by` says of what, and nothing says how many", hint);
        }
        if selector.by.iter().collect::<BTreeSet<_>>().len() < selector.by.len() {
            reader.problem_at(&field, "a word is there twice", "name each once");
        }
    }
}
