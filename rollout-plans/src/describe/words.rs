//! Small words: numbers, names, platforms, selectors.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    language::shown,
    model::{Axis, Member, Patch, Platform, Selector, SiteId, Variant},
    words::count,
};

pub(super) fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// Decimal units, as vendors give file sizes.
pub(super) fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} bytes"),
        1_000..1_000_000 => format!("{} KB", n.div_ceil(1_000)),
        1_000_000..1_000_000_000 => format!("{}.{} MB", n / 1_000_000, n / 100_000 % 10),
        _ => format!("{}.{:02} GB", n / 1_000_000_000, n / 10_000_000 % 100),
    }
}

/// The lines of a longer text.
pub(super) fn paragraph(indent: &str, text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !line.trim().is_empty())
        .map(|line| format!("{indent}{}", shown(&line.trim_end().replace('\t', " "))))
        .collect()
}

/// "Windows XP SP3 x86" out of a CPE name: the parts that say something, in the words that people use.
pub(super) fn platform_words(platform: &Platform) -> String {
    // cpe:2.3:part:vendor:product:version:update:… ; what is `*` or `-` says nothing.
    let parts: Vec<&str> = platform.as_str().split(':').skip(4).filter(|part| !matches!(*part, "*" | "-")).collect();
    if parts.is_empty() {
        return "any platform".to_owned();
    }
    parts.iter().map(|part| part.split('_').map(spelled).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(" ")
}

fn spelled(word: &str) -> String {
    if matches!(word, "xp" | "nt" | "ce") || (word.starts_with("sp") && word[2..].bytes().all(|b| b.is_ascii_digit())) {
        return word.to_uppercase();
    }
    if word.starts_with(['x', 'r']) && word[1..].bytes().all(|b| b.is_ascii_digit()) && word.len() > 1 {
        return word.to_owned();
    }
    let mut chars = word.chars();
    chars.next().map(|first| first.to_ascii_uppercase().to_string() + chars.as_str()).unwrap_or_default()
}

/// "Windows XP or Windows Server 2003".
pub(super) fn kind_words(variant: &Variant) -> String {
    let mut kinds: Vec<String> = variant.platforms.iter().map(platform_words).collect();
    kinds.sort();
    kinds.dedup();
    kinds.join(" or ")
}

/// "4 on Windows XP, 2 on Windows Server 2003", the most first. The device's own platform is not in the document, so this
/// is what the variant is for; the node checks what the device is.
pub(super) fn kinds(patch: &Patch, members: &[Member]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for member in members {
        let kind = patch.variant(&member.variant).map_or_else(|| "an unknown variant".to_owned(), kind_words);
        *counts.entry(kind).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.into_iter().map(|(kind, n)| format!("{n} on {kind}")).collect::<Vec<_>>().join(", ")
}

/// Devices of each site.
pub(super) fn by_site(members: &[Member]) -> BTreeMap<SiteId, usize> {
    let mut counts = BTreeMap::new();
    for member in members {
        *counts.entry(member.device.site()).or_default() += 1;
    }
    counts
}

/// The first few, and how many more.
pub(super) fn some(all: &[String], max: usize) -> String {
    let first = all.iter().take(max).map(String::as_str).collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(max) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Sites of these members.
pub(super) fn sites(members: &[Member]) -> BTreeSet<SiteId> {
    members.iter().map(|m| m.device.site()).collect()
}

/// A selector in words; `None` when it has no criterion.
pub(super) fn selection(selector: &Selector) -> Option<String> {
    if selector.remaining {
        return Some("everything that is left".to_owned());
    }
    let mut parts: Vec<String> =
        selector.labels.iter().map(|(k, v)| format!("label {}={}", shown(k), shown(v))).collect();
    let mut list = |what: &str, items: Vec<&str>| {
        if let [first, rest @ ..] = items.as_slice() {
            let more = if rest.is_empty() { String::new() } else { format!(" or {}", rest.join(" or ")) };
            parts.push(format!("{what} {}{}", shown(first), shown(&more)));
        }
    };
    list("platform", selector.platforms.iter().map(|p| p.as_str()).collect());
    list("site", selector.sites.iter().map(|s| s.as_str()).collect());
    list("region", selector.regions.iter().map(String::as_str).collect());
    list("site of type", selector.site_types.iter().map(String::as_str).collect());
    list("a clinical system of kind", selector.systems.iter().map(String::as_str).collect());
    list("id", selector.devices.iter().map(|d| d.as_str()).collect());
    let share = selector.percent.filter(|_| selector.by.is_empty());
    parts.extend(share.map(|percent| format!("a place among the first {percent} of the estate")));
    let of = if parts.is_empty() { "devices".to_owned() } else { format!("devices with {}", parts.join(" and ")) };
    if let Some(drawn) = drawn(selector) {
        return Some(match selector.percent {
            Some(_) => format!("{drawn}, out of the {of}; those of earlier waves count as well"),
            None => format!("{drawn}, out of the {of} that are left"),
        });
    }
    (!parts.is_empty()).then_some(of)
}

/// How many a selector draws from what its criteria leave; `None` when it takes all of that.
fn drawn(selector: &Selector) -> Option<String> {
    let words: Vec<&str> = selector.by.iter().map(|axis| axis_words(*axis)).collect();
    let strata = match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    };
    match selector {
        Selector { representative: Some(each), .. } => Some(format!(
            "{} of every combination of platform, model and kind of clinical system that later waves have, no two of one redundancy group",
            count(*each, "device")
        )),
        Selector { count: Some(n), by, .. } if by.is_empty() => {
            Some(format!("the first {} by a fixed order", count(*n, "device")))
        }
        Selector { count: Some(n), .. } => {
            Some(format!("the first {} of each {strata} by a fixed order", count(*n, "device")))
        }
        Selector { percent: Some(percent), by, .. } if !by.is_empty() => {
            Some(format!("the first {percent} of each {strata} by a fixed order, rounded up"))
        }
        _ => None,
    }
}

fn axis_words(axis: Axis) -> &'static str {
    match axis {
        Axis::Platform => "platform",
        Axis::Model => "model",
        Axis::Site => "site",
        Axis::Region => "region",
        Axis::SiteType => "type of site",
        Axis::System => "set of kinds of clinical systems",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_read_as_people_say_them() {
        for (cpe, words) in [
            ("cpe:2.3:o:microsoft:windows_xp:-:sp3:*:*:professional:*:x86:*", "Windows XP SP3 Professional x86"),
            ("cpe:2.3:o:microsoft:windows_server_2003:*:*:*:*:*:*:*:*", "Windows Server 2003"),
            ("cpe:2.3:o:microsoft:windows_server_2008:r2:sp1:*:*:*:*:x64:*", "Windows Server 2008 r2 SP1 x64"),
            ("cpe:2.3:o:microsoft:windows_7:*:*:*:*:*:*:*:*", "Windows 7"),
            ("cpe:2.3:o:*:*:*:*:*:*:*:*:*:*", "any platform"),
        ] {
            assert_eq!(platform_words(&Platform::new(cpe).unwrap()), words);
        }
    }
}
