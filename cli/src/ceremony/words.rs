//! Who may do what, in plain words.

use wardround_signing::tuf::{Changes, KeyHolder, Moment, RoleName, Root, Targets, TufKey, TufKeyId};

/// Root and targets that expire sooner than this want to be renewed first, seconds.
const SOON_S: u32 = 30 * 86_400;
/// A key that nobody looks at for longer than this has been forgotten, seconds.
const LONG_S: u32 = 2 * 366 * 86_400;

/// What a role is for.
fn purpose(role: RoleName) -> &'static str {
    match role {
        RoleName::Root => "may change everything below",
        RoleName::Targets => "may say who releases, countersigns and gives orders",
        RoleName::Release => "releases patches and rollouts",
        RoleName::Clinical => "countersigns the same patches and rollouts for patient safety",
        RoleName::OnCall => "gives orders: halt, roll back, resume",
        RoleName::Snapshot | RoleName::Timestamp => "the controller's own key: says which versions are the newest",
        RoleName::Controller => "the controller's own key: tells sites what to do of what people signed",
    }
}

/// Everyone, role by role.
pub(crate) fn holdings(root: &Root, targets: &Targets) -> Vec<String> {
    let mut lines = vec![
        format!("root version {}, valid until {}", root.head.version, root.head.expires),
        format!("targets version {}, valid until {}", targets.head.version, targets.head.expires),
    ];
    let people = [RoleName::Root, RoleName::Targets, RoleName::Release, RoleName::Clinical, RoleName::OnCall];
    let machine = [RoleName::Controller, RoleName::Snapshot, RoleName::Timestamp];
    for role in people.into_iter().chain(machine) {
        let (ids, threshold) = of(root, targets, role);
        let rule = if role.is_online() { String::new() } else { format!(", {threshold} of {} must sign", ids.len()) };
        lines.push(format!("{role}: {}{rule}", purpose(role)));
        lines.extend(ids.iter().map(|id| format!("  {}", who(&holder(root, targets, id)))));
    }
    lines
}

/// What a careful reader would stop at.
pub(crate) fn unusual(root: &Root, targets: &Targets, now: Moment) -> Vec<String> {
    let mut lines = Vec::new();
    for (what, expires) in [("root", root.head.expires), ("targets", targets.head.expires)] {
        if expires <= now {
            lines.push(format!("{what} has EXPIRED ({expires}): sites begin nothing new until it is renewed."));
        } else if expires < now.plus_seconds(SOON_S) {
            lines.push(format!("{what} expires in less than 30 days ({expires})."));
        } else if expires > now.plus_seconds(LONG_S) {
            lines.push(format!("{what} is valid for more than two years ({expires}): a lost key may stay unnoticed."));
        }
    }
    for role in [RoleName::Root, RoleName::Targets] {
        let (ids, threshold) = of(root, targets, role);
        if ids.len() as u64 == threshold {
            lines.push(format!(
                "{role}: all {threshold} keys are needed. If one is lost, nobody can change the keys any more, and every site must be enrolled anew."
            ));
        }
    }
    for role in [RoleName::Release, RoleName::Clinical, RoleName::OnCall] {
        let (ids, threshold) = of(root, targets, role);
        let names: Vec<String> = ids.iter().map(|id| holder(root, targets, id).holder).collect();
        if ids.len() as u64 == threshold {
            let all = names.join(" and ");
            let verb = if role == RoleName::OnCall { "no order can be given" } else { "nothing can be signed" };
            lines.push(format!("{role}: without {all} {verb}; nobody stands in."));
        }
    }
    lines
}

/// What a new version changes.
pub(crate) fn changes(changes: &Changes) -> Vec<String> {
    let mut lines = Vec::new();
    for (role, key) in &changes.keys_removed {
        let kept = match role {
            RoleName::Release | RoleName::Clinical => {
                "; what was signed with it counts only with enough other signatures: have the next version signed at once"
            }
            _ => "",
        };
        lines.push(format!("{role}: takes away {}{kept}", who(key)));
    }
    for (role, key) in &changes.keys_added {
        lines.push(format!("{role}: adds {}", who(key)));
    }
    for (role, before, after) in &changes.thresholds {
        let lower = if after < before { " (FEWER than before)" } else { "" };
        lines.push(format!("{role}: {after} must sign instead of {before}{lower}"));
    }
    lines
}

/// "Ann Lee, key 0123456789ab".
pub(crate) fn who(key: &KeyHolder) -> String {
    let name = if key.holder.is_empty() { "the controller" } else { &key.holder };
    format!("{name}, key {}", key.key.short())
}

fn of<'a>(root: &'a Root, targets: &'a Targets, role: RoleName) -> (&'a [TufKeyId], u64) {
    if RoleName::TOP.contains(&role) {
        return (root.keyids(role), root.threshold(role));
    }
    let delegation = targets.delegations.as_ref().and_then(|d| d.role(role));
    delegation.map_or((&[], 0), |d| (d.keys.keyids.as_slice(), d.keys.threshold))
}

fn holder(root: &Root, targets: &Targets, id: &TufKeyId) -> KeyHolder {
    let key: Option<&TufKey> = root.keys.get(id).or_else(|| targets.delegations.as_ref()?.keys.get(id));
    KeyHolder { key: id.clone(), holder: key.and_then(|key| key.holder.clone()).unwrap_or_default() }
}
