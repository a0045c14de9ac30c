//! What an amendment changes, for those who sign it: devices that come, go and stay.

use std::collections::{BTreeMap, HashMap};

use wardround_signing::Role;

use super::words::some;
use crate::{
    model::{DeviceId, Member, Rollout, WaveName},
    words::count,
};

/// Most devices that one line names.
const NAMES_MAX: usize = 12;

/// The difference between a version and its parent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    /// Devices that were in no wave before.
    pub added: Vec<Member>,
    /// Devices that are in no wave any more, as they were.
    pub removed: Vec<Member>,
    /// Devices in another wave or with another variant than before, as they were and as they are.
    pub moved: Vec<(Member, Member)>,
    /// Number of devices that stay as they were.
    pub kept: usize,
    /// Waves whose devices changed, with the roles that must approve them in this version, whoever approved them before.
    pub changed: Vec<(WaveName, Vec<Role>)>,
}

impl Difference {
    /// Between the members of the parent and those of `rollout`, both in leaf order.
    #[must_use]
    pub fn between(former: &[Member], rollout: &Rollout, members: &[Member]) -> Self {
        let before: HashMap<&DeviceId, &Member> = former.iter().map(|m| (&m.device, m)).collect();
        let after: HashMap<&DeviceId, &Member> = members.iter().map(|m| (&m.device, m)).collect();
        let mut difference = Self::default();
        for member in members {
            match before.get(&member.device) {
                None => difference.added.push(member.clone()),
                Some(old) if *old == member => difference.kept += 1,
                Some(old) => difference.moved.push(((*old).clone(), member.clone())),
            }
        }
        difference.removed = former.iter().filter(|m| !after.contains_key(&m.device)).cloned().collect();
        let gates = rollout.plan.waves.iter().map(|w| &w.gate.approvals);
        // The gate before a wave names who approves it; the first begins with the start order.
        let approvals = std::iter::once(Vec::new()).chain(gates.cloned());
        let waves = rollout.waves.iter().zip(approvals).filter(|(wave, _)| wave.since == rollout.version);
        difference.changed = waves.map(|(wave, roles)| (wave.name.clone(), roles)).collect();
        difference
    }

    /// In plain words, a line each.
    #[must_use]
    pub fn lines(&self, rollout: &Rollout) -> Vec<String> {
        let mut lines = vec![format!(
            "AMENDMENT: version {} of rollout {}; its patch, its plan and what was done stay as they are.",
            rollout.version, rollout.id
        )];
        for (word, list) in [("come in", &self.added), ("are taken out", &self.removed)] {
            lines.push(format!("  {} {}", count(list.len(), "device"), plural(word, list.len())));
            lines.extend(by_wave(list.iter(), rollout));
        }
        if !self.moved.is_empty() {
            lines.push(format!("  {} {}", count(self.moved.len(), "device"), plural("change", self.moved.len())));
            lines.extend(self.moved.iter().take(NAMES_MAX).map(|(old, new)| {
                format!(
                    "    {}: wave {} with variant {}, before wave {} with variant {}",
                    new.device, new.wave, new.variant, old.wave, old.variant
                )
            }));
            let more = self.moved.len().saturating_sub(NAMES_MAX);
            lines.extend((more > 0).then(|| format!("    and {more} more")));
        }
        lines.push(format!("  {} {} as before", count(self.kept, "device"), plural("stay", self.kept)));
        for (wave, roles) in &self.changed {
            lines.push(match roles.as_slice() {
                [] => format!("  wave {wave} changes; the plan asks nobody to approve it"),
                roles => {
                    let roles = roles.iter().map(|r| r.word()).collect::<Vec<_>>().join(" and ");
                    format!(
                        "  wave {wave} changes: {roles} must approve it in this version, also where they did before"
                    )
                }
            });
        }
        lines
    }
}

/// "3 devices come in", "1 device comes in".
fn plural(word: &str, n: usize) -> String {
    if n != 1 {
        return word.to_owned();
    }
    match word.split_once(' ') {
        Some(("are", rest)) => format!("is {rest}"),
        Some((verb, rest)) => format!("{verb}s {rest}"),
        None => format!("{word}s"),
    }
}

fn by_wave<'a>(members: impl Iterator<Item = &'a Member>, rollout: &Rollout) -> Vec<String> {
    let mut waves: BTreeMap<&WaveName, Vec<String>> = BTreeMap::new();
    members.for_each(|m| waves.entry(&m.wave).or_default().push(m.device.to_string()));
    let order = rollout.waves.iter().filter_map(|wave| waves.get_key_value(&wave.name));
    order.map(|(wave, devices)| format!("    wave {wave}, {}: {}", devices.len(), some(devices, NAMES_MAX))).collect()
}
