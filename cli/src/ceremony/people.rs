//! Out of people's public files: the first root and targets, and their next versions.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use wardround_signing::{
    PublicKey, Role, TrustedKey, same_person,
    tuf::{
        Ceremony, Member, Moment, OnlineKeys, RoleName, Root, Rules, Targets, TufKey, TufKeyId, check_root,
        check_targets, next_version,
    },
};

use crate::{
    failure::{Exit, Failure},
    signer::read_public,
};

/// The controller's keys. They are with the machine, so none of them may stand in a role of people.
#[derive(Debug, Clone, Default)]
pub(crate) struct Online {
    pub(crate) controller: Option<PublicKey>,
    pub(crate) snapshot: Option<PublicKey>,
    pub(crate) timestamp: Option<PublicKey>,
}

impl Online {
    /// One key stands for all three unless others are named, and the controller's `online.pub.json` names all.
    pub(crate) fn read(
        controller: Option<&str>,
        snapshot: Option<&str>,
        timestamp: Option<&str>,
    ) -> Result<Self, Failure> {
        let read = |text: Option<&str>| text.map(public_key).transpose();
        let all = match controller {
            Some(text) => online_file(text)?.map_or_else(|| public_key(text).map(Self::alone), Ok)?,
            None => Self::default(),
        };
        Ok(Self {
            controller: all.controller,
            snapshot: read(snapshot)?.or(all.snapshot),
            timestamp: read(timestamp)?.or(all.timestamp),
        })
    }

    fn alone(key: PublicKey) -> Self {
        Self { controller: Some(key), snapshot: Some(key), timestamp: Some(key) }
    }
}

/// `online.pub.json`, as the controller's folder holds it; `None` for anything else.
fn online_file(text: &str) -> Result<Option<Online>, Failure> {
    if text.starts_with("ed25519:") {
        return Ok(None);
    }
    let keys: Option<OnlineKeys> = serde_json::from_str(&crate::profile::read_text(Path::new(text))?).ok();
    Ok(keys.map(|keys| Online {
        controller: Some(keys.directives),
        snapshot: Some(keys.snapshot),
        timestamp: Some(keys.timestamp),
    }))
}

/// "ed25519:…", or a file that holds it, alone or in a public key file.
fn public_key(text: &str) -> Result<PublicKey, Failure> {
    if text.starts_with("ed25519:") {
        return text.parse().map_err(|e| Failure::usage(format!("{text}: {e}")));
    }
    let path = Path::new(text);
    let content = crate::profile::read_text(path)?;
    match content.trim().parse() {
        Ok(key) => Ok(key),
        Err(_) => read_public(path).map(|public| public.key),
    }
}

/// A person's key with the name of the file that it came from.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) public: TrustedKey,
    file: String,
}

/// Whose keys stand in which role, and how many of them must sign.
#[derive(Debug, Clone, Default)]
pub(crate) struct People {
    pub(crate) keys: BTreeMap<RoleName, Vec<Named>>,
    pub(crate) thresholds: BTreeMap<RoleName, u64>,
}

impl People {
    /// Gives the key of a public file to a role. A file that names roles must name this one.
    pub(crate) fn add(&mut self, role: RoleName, path: &Path) -> Result<(), Failure> {
        let public = read_public(path)?;
        let stated = match role {
            RoleName::Release => Some(Role::Release),
            RoleName::Clinical => Some(Role::Clinical),
            RoleName::OnCall => Some(Role::OnCall),
            _ => None,
        };
        if let Some(role) = stated
            && !public.roles.is_empty()
            && !public.roles.contains(&role)
        {
            return Err(Failure::refused(format!(
                "{} is {}'s key for {}, not for {role}",
                path.display(),
                public.holder,
                crate::signer::role_words(&public.roles)
            ))
            .hint("each person names the roles of a key when making it: ask for the right file, or have a key made for this role"));
        }
        let named = Named { public, file: path.display().to_string() };
        let keys = self.keys.entry(role).or_default();
        if let Some(twice) = keys.iter().find(|k| k.public.key == named.public.key) {
            return Err(Failure::usage(format!(
                "{} and {} hold the same key: role {role} can't count it twice",
                twice.file, named.file
            )));
        }
        keys.push(named);
        Ok(())
    }
}

/// The first versions of root and targets.
pub(crate) fn first(people: &People, online: &Online, expires: Moment) -> Result<(Root, Targets), Failure> {
    let missing = |what: &str| {
        Failure::usage(format!("the controller's {what} key is not named"))
            .hint("pass --controller with online.pub.json of the controller's data folder")
    };
    let online = OnlineKeys {
        directives: online.controller.ok_or_else(|| missing("directive"))?,
        snapshot: online.snapshot.ok_or_else(|| missing("snapshot"))?,
        timestamp: online.timestamp.ok_or_else(|| missing("timestamp"))?,
    };
    let member = |role: RoleName, named: &Named| Member {
        holder: named.public.holder.clone(),
        key: named.public.key,
        roles: BTreeSet::from([role]),
    };
    let members = people.keys.iter().flat_map(|(role, keys)| keys.iter().map(|named| member(*role, named)));
    let ceremony = Ceremony {
        members: members.collect(),
        online,
        thresholds: people.thresholds.clone(),
        root_expires: expires,
        targets_expires: expires,
    };
    let (root, targets) = ceremony.proposed();
    check(&root, &targets)?;
    Ok((root, targets))
}

/// What a rotation takes away and gives.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// Role and person, key id, or its beginning.
    pub(crate) remove: Vec<(RoleName, String)>,
    /// Person or key, and the public file of the new key: in every role that the old one stands in.
    pub(crate) replace: Vec<(String, TrustedKey)>,
    /// Added, and new thresholds.
    pub(crate) people: People,
    /// New online keys; the old ones go.
    pub(crate) online: Online,
}

/// The next version of whichever of the two files changes; both are renewed when nothing else is asked for.
pub(crate) fn change(
    present: (&Root, &Targets),
    change: &Change,
    expires: Moment,
) -> Result<(Option<Root>, Option<Targets>), Failure> {
    let mut root = next_version(present.0, expires);
    let mut targets = next_version(present.1, expires);
    for (who, new) in &change.replace {
        let mut found = false;
        for role in RoleName::TOP.into_iter().chain(RoleName::DELEGATED).filter(|role| !role.is_online()) {
            for id in matching(&root, &targets, role, who) {
                found = true;
                take(&mut root, &mut targets, role, &id);
                add(&mut root, &mut targets, role, new);
            }
        }
        if !found {
            return Err(nobody(&root, &targets, who, "any role"));
        }
    }
    for (role, who) in &change.remove {
        let found = matching(&root, &targets, *role, who);
        if found.is_empty() {
            return Err(nobody(&root, &targets, who, &format!("role {role}")));
        }
        for id in found {
            take(&mut root, &mut targets, *role, &id);
        }
    }
    for (role, keys) in &change.people.keys {
        for named in keys {
            add(&mut root, &mut targets, *role, &named.public);
        }
    }
    let online = [
        (RoleName::Snapshot, change.online.snapshot),
        (RoleName::Timestamp, change.online.timestamp),
        (RoleName::Controller, change.online.controller),
    ];
    for (role, key) in online {
        let Some(key) = key else { continue };
        for id in keyids(&root, &targets, role) {
            take(&mut root, &mut targets, role, &id);
        }
        if role == RoleName::Controller {
            targets.add_key(role, key, None)
        } else {
            root.add_key(role, key, None)
        };
    }
    set_thresholds(&mut root, &mut targets, &change.people);
    check(&root, &targets)?;
    let root_changes = root.keys != present.0.keys || root.roles != present.0.roles;
    // Targets that were signed by people who no longer may must be signed anew.
    let targets_change = targets.delegations != present.1.delegations
        || root.keyids(RoleName::Targets) != present.0.keyids(RoleName::Targets)
        || root.threshold(RoleName::Targets) != present.0.threshold(RoleName::Targets);
    let renew = !root_changes && !targets_change;
    Ok(((root_changes || renew).then_some(root), (targets_change || renew).then_some(targets)))
}

fn add(root: &mut Root, targets: &mut Targets, role: RoleName, public: &TrustedKey) {
    let holder = Some(public.holder.as_str());
    if RoleName::TOP.contains(&role) {
        root.add_key(role, public.key, holder);
    } else {
        targets.add_key(role, public.key, holder);
    }
}

fn take(root: &mut Root, targets: &mut Targets, role: RoleName, id: &TufKeyId) {
    if RoleName::TOP.contains(&role) { root.remove_key(role, id) } else { targets.remove_key(role, id) }
}

fn set_thresholds(root: &mut Root, targets: &mut Targets, people: &People) {
    for (role, threshold) in &people.thresholds {
        root.set_threshold(*role, *threshold);
        targets.set_threshold(*role, *threshold);
    }
}

fn keyids(root: &Root, targets: &Targets, role: RoleName) -> Vec<TufKeyId> {
    if RoleName::TOP.contains(&role) {
        root.keyids(role).to_vec()
    } else {
        targets.delegations.as_ref().map(|d| d.keyids(role).to_vec()).unwrap_or_default()
    }
}

/// Keys of a role by holder, by key id or by the twelve first digits of one.
fn matching(root: &Root, targets: &Targets, role: RoleName, who: &str) -> Vec<TufKeyId> {
    let holder = |id: &TufKeyId| key(root, targets, id).and_then(|key| key.holder.clone()).unwrap_or_default();
    let fits = |id: &TufKeyId| id.as_str() == who || id.short() == who || same_person(&holder(id)) == same_person(who);
    keyids(root, targets, role).into_iter().filter(fits).collect()
}

fn nobody(root: &Root, targets: &Targets, who: &str, place: &str) -> Failure {
    let all = root.keys.values().chain(targets.delegations.iter().flat_map(|d| d.keys.values()));
    let mut names: Vec<String> = all.filter_map(|key| key.holder.clone()).collect();
    names.sort();
    names.dedup();
    Failure::with(Exit::NotFound, format!("{who:?} holds no key in {place}"))
        .hint(format!("name a person or a key id as `wardround root show` writes it; there: {}", names.join(", ")))
}

fn key<'a>(root: &'a Root, targets: &'a Targets, id: &TufKeyId) -> Option<&'a TufKey> {
    root.keys.get(id).or_else(|| targets.delegations.as_ref()?.keys.get(id))
}

/// The policy of every root and every delegation, before anybody is asked to sign.
fn check(root: &Root, targets: &Targets) -> Result<(), Failure> {
    let checked = check_root(root, Rules::Wardround).and_then(|()| check_targets(targets, root));
    checked.map_err(|e| {
        Failure::refused(format!("these keys break the policy: {}", named(&e.to_string(), root, targets)))
            .hint("docs/ceremony.md lists the rules; change the keys or thresholds that it names")
    })
}

/// Key ids with their holders: "0123456789ab (Ann Lee)".
pub(crate) fn named(text: &str, root: &Root, targets: &Targets) -> String {
    let mut text = text.to_owned();
    let keys = root.keys.iter().chain(targets.delegations.iter().flat_map(|d| &d.keys));
    for (id, key) in keys {
        let holder = key.holder.as_deref().unwrap_or("the controller");
        text = text.replace(id.as_str(), &format!("{} ({holder})", id.short()));
    }
    text
}
