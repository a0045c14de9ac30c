//! The quickstart's three people. A hospital's are not in one program: here it signs in their names, and says so.

use std::{collections::BTreeMap, fs, path::Path};

use wardround_signing::{
    Digest, Role,
    tuf::{Ceremony, Member, Metadata, Moment, RoleName, Signed, TufError},
};
use zeroize::Zeroizing;

use super::estate::write;
use crate::{
    commands::{key::create_key, root},
    failure::Failure,
    pin, profile,
    signer::{self, KeyPlace, Person},
    when,
};

/// Everyone with their opened key.
pub(super) struct People {
    pub(super) release: Person,
    pub(super) clinical: Person,
    pub(super) on_call: Person,
}

/// Makes the keys, encrypted under one random passphrase, and opens them as any command would.
pub(super) async fn make(folder: &Path) -> Result<People, Failure> {
    fs::create_dir_all(folder).map_err(|e| Failure::file("make", folder, &e))?;
    let mut random = Zeroizing::new([0_u8; 16]);
    getrandom::fill(random.as_mut()).map_err(|e| Failure::new(format!("no randomness: {e}")))?;
    let passphrase = Zeroizing::new(hex::encode(random.as_ref()));
    let passphrase_file = folder.join("passphrase");
    write(&passphrase_file, &format!("{}\n", passphrase.as_str()))?;
    private(&passphrase_file)?;
    let person = async |file: &str, holder: &str, role: Role| {
        let path = folder.join(file);
        create_key(holder, &[role], &passphrase, &path).await?;
        signer::open(&path, &passphrase).await
    };
    let (release, clinical, on_call) = tokio::try_join!(
        person("ann.key", "Ann Lee", Role::Release),
        person("ben.key", "Ben Fox", Role::Clinical),
        person("cy.key", "Cy Poole", Role::OnCall),
    )?;
    Ok(People { release, clinical, on_call })
}

/// Life of the quickstart's root and targets, seconds.
const METADATA_LIFE_S: u32 = 30 * 24 * 60 * 60;

impl People {
    /// The root ceremony: all three hold keys of root and targets beside their roles, and two of them must sign. Gives back the
    /// digest of its first root.
    pub(super) async fn begin(&self, data: &Path, repository: &Path) -> Result<Digest, Failure> {
        let online = profile::read_text(&data.join("online.pub.json"))?;
        let online = serde_json::from_str(&online).map_err(|e| Failure::new(format!("online.pub.json: {e}")))?;
        let everyone = [
            (&self.release, RoleName::Release),
            (&self.clinical, RoleName::Clinical),
            (&self.on_call, RoleName::OnCall),
        ];
        let member = |(person, role): (&Person, RoleName)| {
            let public = person.public.clone()?;
            let roles = [RoleName::Root, RoleName::Targets, role].into();
            Some(Member { holder: public.holder, key: public.key, roles })
        };
        let expires = Moment::from_ms(when::now_ms()).plus_seconds(METADATA_LIFE_S);
        let ceremony = Ceremony {
            members: everyone.into_iter().filter_map(member).collect(),
            online,
            thresholds: BTreeMap::new(),
            root_expires: expires,
            targets_expires: expires,
        };
        let (root, targets) = ceremony.first().map_err(|e| Failure::new(e.to_string()))?;
        fs::create_dir_all(repository).map_err(|e| Failure::file("make", repository, &e))?;
        self.sign(repository, RoleName::Root, root)?;
        self.sign(repository, RoleName::Targets, targets)?;
        pin::parse(&root::import(data, repository).await?).map_err(Failure::new)
    }

    fn sign<M: Metadata>(&self, folder: &Path, role: RoleName, metadata: M) -> Result<(), Failure> {
        let wrong = |e: TufError| Failure::new(e.to_string());
        let mut signed = Signed::new(metadata).map_err(wrong)?;
        signed.sign(&self.release.key).map_err(wrong)?;
        signed.sign(&self.clinical.key).map_err(wrong)?;
        let path = folder.join(role.versioned(signed.version()));
        fs::write(&path, signed.to_bytes()).map_err(|e| Failure::file("write", &path, &e))
    }
}

/// Orders of whoever tries things out are signed by Cy: that is all that a halt needs.
pub(super) fn sign_orders_as_on_call(operator: &Path, people: &Path) -> Result<(), Failure> {
    let mut file = profile::load_file(operator)?;
    file.key = Some(KeyPlace::File(people.join("cy.key")));
    file.passphrase_file = Some(people.join("passphrase"));
    profile::save_file(operator, &file)
}

fn private(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(|e| Failure::file("protect", path, &e))
}
