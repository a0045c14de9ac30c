//! The root ceremony of a test's estate. Root and targets have keys of their own, without a passphrase: scrypt costs time.

use std::{collections::BTreeMap, fs, path::Path};

use wardround_controller::import_root;
use wardround_signing::{
    Role, SecretKey, Signer as _, TrustedKey,
    tuf::{Ceremony, Member, Metadata, Moment, OnlineKeys, RoleName, Signed},
};

/// Seeds and names of those who hold root and targets.
pub const HOLDERS: [(u8, &str); 2] = [(201, "Rae Hill"), (202, "Rob Moss")];
/// Life of root and targets, seconds.
const LIFE_S: u32 = 365 * 24 * 60 * 60;

/// A key of root and targets.
#[must_use]
pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

/// Gives the controller in `data` a root that names the people of these public files. Of somebody with the roles release
/// and clinical only the first counts: the policy lets nobody stand in both.
pub(super) fn begin(data: &Path, public_files: &[String]) {
    let online: OnlineKeys = serde_json::from_slice(&fs::read(data.join("online.pub.json")).unwrap()).unwrap();
    let roots = [RoleName::Root, RoleName::Targets];
    let mut members: Vec<Member> = HOLDERS
        .iter()
        .map(|(seed, holder)| Member {
            holder: (*holder).to_owned(),
            key: key(*seed).public(),
            roles: roots.into_iter().collect(),
        })
        .collect();
    for file in public_files {
        let person: TrustedKey = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let first = person.roles.iter().map(|role| match role {
            Role::Clinical => RoleName::Clinical,
            Role::OnCall => RoleName::OnCall,
            _ => RoleName::Release,
        });
        members.push(Member { holder: person.holder.clone(), key: person.key, roles: first.take(1).collect() });
    }
    let expires = Moment::from_ms(jiff::Timestamp::now().as_millisecond()).plus_seconds(LIFE_S);
    let ceremony =
        Ceremony { members, online, thresholds: BTreeMap::new(), root_expires: expires, targets_expires: expires };
    let (root, targets) = ceremony.first().unwrap();
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("1.root.json"), signed(root)).unwrap();
    fs::write(from.path().join("1.targets.json"), signed(targets)).unwrap();
    import_root(data, from.path()).unwrap();
}

fn signed<M: Metadata>(metadata: M) -> Vec<u8> {
    signed_by(metadata, &HOLDERS.map(|(seed, _)| key(seed)).each_ref())
}

/// Metadata with these signatures, in the file's form.
#[must_use]
pub fn signed_by<M: Metadata>(metadata: M, signers: &[&SecretKey]) -> Vec<u8> {
    let mut signed = Signed::new(metadata).unwrap();
    signers.iter().for_each(|signer| signed.sign(*signer).unwrap());
    signed.to_bytes()
}
