//! The root ceremony of a test's controller. Root and targets have keys of their own, without a passphrase: scrypt costs time.

use wardround_signing::{
    Role, SecretKey, Signer as _, TrustedKey,
    tuf::{Ceremony, Member, Metadata, Moment, OnlineKeys, RoleName, Signed},
};

use super::support::Bench;

/// Seeds and names of those who hold root and targets.
const HOLDERS: [(u8, &str); 2] = [(201, "Rae Hill"), (202, "Rob Moss")];
/// Life of root and targets, seconds.
const LIFE_S: u32 = 365 * 24 * 60 * 60;
/// Where the result of the ceremony is.
pub(crate) const FOLDER: &str = "repository";

/// A file with the signatures of those who hold root and targets.
pub(crate) fn signed<M: Metadata>(metadata: M) -> String {
    let mut signed = Signed::new(metadata).unwrap();
    HOLDERS.iter().for_each(|(seed, _)| signed.sign(&SecretKey::from_seed(&[*seed; 32])).unwrap());
    String::from_utf8(signed.to_bytes()).unwrap()
}

/// Holds the ceremony for the people of these public files, each in the role that the file names, and gives its result to
/// the controller of `home`. Without anybody on call Cy Poole, whose key nobody has, is.
pub(crate) fn begin(bench: &Bench, public_files: &[&str]) {
    let mut members: Vec<Member> = HOLDERS
        .iter()
        .map(|(seed, holder)| Member {
            holder: (*holder).to_owned(),
            key: SecretKey::from_seed(&[*seed; 32]).public(),
            roles: [RoleName::Root, RoleName::Targets].into(),
        })
        .collect();
    for file in public_files {
        let public: TrustedKey = serde_json::from_str(&bench.read(file)).unwrap();
        let role = |role: &Role| match role {
            Role::Clinical => RoleName::Clinical,
            Role::OnCall => RoleName::OnCall,
            _ => RoleName::Release,
        };
        let roles = public.roles.iter().map(role).collect();
        members.push(Member { holder: public.holder.clone(), key: public.key, roles });
    }
    if members.iter().all(|member| !member.roles.contains(&RoleName::OnCall)) {
        let key = SecretKey::from_seed(&[203; 32]).public();
        members.push(Member { holder: "Cy Poole".into(), key, roles: [RoleName::OnCall].into() });
    }
    let online: OnlineKeys = serde_json::from_str(&bench.read("home/controller/online.pub.json")).unwrap();
    let expires = Moment::from_ms(jiff::Timestamp::now().as_millisecond()).plus_seconds(LIFE_S);
    let thresholds = Default::default();
    let ceremony = Ceremony { members, online, thresholds, root_expires: expires, targets_expires: expires };
    let (root, targets) = ceremony.first().unwrap();
    bench.write(&format!("{FOLDER}/1.root.json"), &signed(root));
    bench.write(&format!("{FOLDER}/1.targets.json"), &signed(targets));
    let imported = bench.run(&["root", "import", FOLDER]);
    assert!(imported.contains("\nexit 0\n") && imported.contains("SHA-256 of 1.root.json"), "{imported}");
}
