//! Orders: people's signed commands about a rollout.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use wardround_signing::{Digest, Document, KeyId, Role, SignedBy, same_person};

use super::{DeviceId, DurationMs, Member, RolloutId, SiteId, Timestamp, WaveName};

/// Longest reason, bytes.
pub const REASON_BYTES_MAX: usize = 1_000;

/// How long an order waits for its second signature: long enough to wake a colleague and let them look, short enough that
/// what the first person saw is still so.
pub const SECOND_SIGNATURE_WITHIN: DurationMs = DurationMs::from_secs(30 * 60);

/// Most halts that a resume names, so that an order stays small; of more, the latest are named.
pub const LIFTED_HALTS_MAX: usize = 64;

/// Most holds of one rollout, lifted ones included: nodes are shown them all.
pub const HOLDS_MAX: usize = 16;

/// A person's command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// Rollout.
    pub rollout: RolloutId,
    /// SHA-256 of the rollout document's bytes, so that an order can't be used for another rollout of the same id.
    pub digest: Digest,
    /// One more than the rollout's order counter when it was written: an order is accepted once and never replayed.
    /// A halt is also accepted with a stale counter, since refusing it would be the greater danger.
    pub counter: u64,
    /// When it was signed.
    pub issued_at: Timestamp,
    /// What is wanted.
    pub command: Command,
    /// Why, for the record.
    #[serde(default)]
    pub reason: String,
}

impl Document for Order {
    const PAYLOAD_TYPE: &'static str = "application/vnd.wardround.order.v1+json";
    const BYTES_MAX: usize = 16 * 1024;
}

/// What an order wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Command {
    /// Begin the first wave.
    Start,
    /// Let this wave begin, in the name of one of the signer's roles.
    Approve {
        /// The wave that may begin.
        wave: WaveName,
    },
    /// Offer nothing new.
    Pause,
    /// Go on after a pause or a halt.
    Resume {
        /// Payload digests of the halts that it lifts, so that none is lifted by somebody who has not seen it; empty after
        /// a pause, and where the engine halted by itself.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        lifts: Vec<Digest>,
    },
    /// Stop at once.
    Halt,
    /// Take the patch back.
    RollBack {
        /// Where.
        target: RollBackTarget,
    },
    /// Let nothing follow this wave until the hold is lifted.
    Hold {
        /// The wave whose gate is held.
        wave: WaveName,
    },
    /// Lift holds of a wave.
    Release {
        /// The wave whose gate is held.
        wave: WaveName,
        /// Payload digests of the holds that it lifts, so that none is lifted by somebody who has not seen it.
        lifts: Vec<Digest>,
    },
    /// Never install any more; what is installed stays.
    Cancel,
    /// Take back an order that waits for its second signature.
    Withdraw {
        /// That order's counter.
        order: u64,
    },
}

/// Where to take the patch back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "target", rename_all = "snake_case", deny_unknown_fields)]
pub enum RollBackTarget {
    /// One device.
    Device {
        /// Which.
        device: DeviceId,
    },
    /// One site.
    Site {
        /// Which.
        site: SiteId,
    },
    /// One wave.
    Wave {
        /// Which.
        wave: WaveName,
    },
    /// Everywhere.
    Rollout,
}

impl RollBackTarget {
    /// Is this member among those to take back?
    #[must_use]
    pub fn covers(&self, member: &Member) -> bool {
        match self {
            Self::Device { device } => *device == member.device,
            Self::Site { site } => *site == member.device.site(),
            Self::Wave { wave } => *wave == member.wave,
            Self::Rollout => true,
        }
    }
}

impl Command {
    /// The word that the command is called in API, CLI and records.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Approve { .. } => "approve",
            Self::Pause => "pause",
            Self::Resume { .. } => "resume",
            Self::Halt => "halt",
            Self::RollBack { .. } => "roll_back",
            Self::Hold { .. } => "hold",
            Self::Release { .. } => "release",
            Self::Cancel => "cancel",
            Self::Withdraw { .. } => "withdraw",
        }
    }

    /// Who must sign for the command to count. **The one table of who may order what**; engine, controller and node ask it.
    ///
    /// | command | people | release | clinical | on-call |
    /// |---|---|---|---|---|
    /// | halt, pause, withdraw, hold | 1 | yes | yes | yes |
    /// | approve | 1 | yes | yes | yes | (the plan's gate says which of them it waits for)
    /// | start, cancel | 1 | yes | | |
    /// | roll back | 2 | yes | yes | yes |
    /// | release (of a hold) | 2 | yes | yes | yes | (whoever put the hold needs no second person)
    /// | resume | 2 | yes, at least one | yes | |
    ///
    /// A start sets going what two people have signed as the rollout; a cancel can only stop. What sets devices going
    /// again after a halt, and what takes a patch from devices that may need it, one person alone can't decide.
    #[must_use]
    pub fn needs(&self) -> Needs {
        use Role::{Clinical, OnCall, Release};
        const ALL: &[Role] = &[Release, Clinical, OnCall];
        match self {
            Self::Halt | Self::Pause | Self::Approve { .. } | Self::Withdraw { .. } | Self::Hold { .. } => {
                Needs::of(1, ALL)
            }
            Self::Start | Self::Cancel => Needs::of(1, &[Release]),
            Self::RollBack { .. } | Self::Release { .. } => Needs::of(2, ALL),
            Self::Resume { .. } => Needs { lead: Some(Release), ..Needs::of(2, &[Release, Clinical]) },
        }
    }

    /// What the command does, in the words of records and questions: "roll back wave pilot".
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Self::Approve { wave } => format!("approve wave {wave}"),
            Self::RollBack { target: RollBackTarget::Device { device } } => format!("roll back device {device}"),
            Self::RollBack { target: RollBackTarget::Site { site } } => format!("roll back site {site}"),
            Self::RollBack { target: RollBackTarget::Wave { wave } } => format!("roll back wave {wave}"),
            Self::RollBack { target: RollBackTarget::Rollout } => "roll back everything".to_owned(),
            Self::Withdraw { order } => format!("withdraw order {order}"),
            Self::Hold { wave } => format!("hold the gate of wave {wave}"),
            Self::Release { wave, lifts } if lifts.len() == 1 => format!("lift the hold of wave {wave}"),
            Self::Release { wave, lifts } => format!("lift {} holds of wave {wave}", lifts.len()),
            other => other.word().to_owned(),
        }
    }
}

/// Whose valid signatures a command needs: different people with different keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// How many people.
    pub people: usize,
    /// Each holds one of these roles.
    pub roles: &'static [Role],
    /// At least one of them holds this one.
    pub lead: Option<Role>,
}

/// A person whose signature was found valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signatory {
    /// The key.
    pub key: KeyId,
    /// Name.
    pub holder: String,
    /// What the key may sign.
    pub roles: BTreeSet<Role>,
}

impl From<&SignedBy> for Signatory {
    fn from(signer: &SignedBy) -> Self {
        Self { key: signer.keyid.clone(), holder: signer.holder.clone(), roles: signer.roles.clone() }
    }
}

/// Why a command does not count yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lacking {
    /// Nobody has signed whose role permits it.
    Permission {
        /// Roles that would.
        roles: &'static [Role],
    },
    /// Another person must sign too.
    Person {
        /// Who has signed, as named in the anchor.
        signed: Vec<String>,
        /// Roles of which the next must hold one.
        roles: Vec<Role>,
    },
}

impl Needs {
    const fn of(people: usize, roles: &'static [Role]) -> Self {
        Self { people, roles, lead: None }
    }

    /// Do these signatures suffice? The same function for engine, controller and node; the signatures were verified before.
    ///
    /// # Errors
    /// [`Lacking`] says who else must sign.
    pub fn met_by(&self, signers: &[Signatory]) -> Result<(), Lacking> {
        let may = |s: &&Signatory| !s.holder.trim().is_empty() && s.roles.iter().any(|r| self.roles.contains(r));
        let signed: Vec<&Signatory> = signers.iter().filter(may).collect();
        // A person with two keys is one person, and one key under two names is one key.
        let people: BTreeSet<String> = signed.iter().map(|s| same_person(&s.holder)).collect();
        let keys: BTreeSet<&KeyId> = signed.iter().map(|s| &s.key).collect();
        if people.is_empty() {
            return Err(Lacking::Permission { roles: self.roles });
        }
        let led = self.lead.is_none_or(|lead| signed.iter().any(|s| s.roles.contains(&lead)));
        let enough = people.len().min(keys.len());
        if led && enough >= self.people {
            return Ok(());
        }
        let mut names: Vec<String> = Vec::new();
        for signer in &signed {
            if names.iter().all(|n| same_person(n) != same_person(&signer.holder)) {
                names.push(signer.holder.clone());
            }
        }
        // One place is left, or none: then it must be filled by the role that is still missing.
        let last = enough + 1 >= self.people;
        let roles = match self.lead {
            Some(lead) if !led && last => vec![lead],
            _ => self.roles.to_vec(),
        };
        Err(Lacking::Person { signed: names, roles })
    }
}

impl fmt::Display for Lacking {
    /// A clause: "it needs a signature of release or clinical".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |roles: &[Role]| roles.iter().map(|r| r.word()).collect::<Vec<_>>().join(" or ");
        match self {
            Self::Permission { roles } => write!(f, "it needs a signature of {}", list(roles)),
            Self::Person { signed, roles } => {
                write!(f, "it is signed by {}; a second person must sign too: {}", signed.join(" and "), list(roles))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Role::{Clinical, OnCall, Release};

    fn signed(list: &[(&str, &str, &[Role])]) -> Vec<Signatory> {
        let one = |(key, holder, roles): &(&str, &str, &[Role])| Signatory {
            key: KeyId::claimed(key),
            holder: (*holder).to_owned(),
            roles: roles.iter().copied().collect(),
        };
        list.iter().map(one).collect()
    }

    fn met(command: &Command, list: &[(&str, &str, &[Role])]) -> bool {
        command.needs().met_by(&signed(list)).is_ok()
    }

    #[test]
    fn the_table_is_what_it_says() {
        let back = Command::RollBack { target: RollBackTarget::Rollout };
        let resume = Command::Resume { lifts: Vec::new() };
        let approve = Command::Approve { wave: WaveName::new("full").unwrap() };
        for (command, alone) in [
            (Command::Halt, [true, true, true]),
            (Command::Pause, [true, true, true]),
            (Command::Withdraw { order: 3 }, [true, true, true]),
            (Command::Hold { wave: WaveName::new("pilot").unwrap() }, [true, true, true]),
            (Command::Release { wave: WaveName::new("pilot").unwrap(), lifts: Vec::new() }, [false, false, false]),
            (approve, [true, true, true]),
            (Command::Start, [true, false, false]),
            (Command::Cancel, [true, false, false]),
            (back.clone(), [false, false, false]),
            (resume.clone(), [false, false, false]),
        ] {
            for (role, may) in [Release, Clinical, OnCall].into_iter().zip(alone) {
                assert_eq!(met(&command, &[("a", "Ann", &[role])]), may, "{role} {command:?}");
            }
        }
        for (first, second, takes_back, resumes) in [
            (Release, Release, true, true),
            (Release, Clinical, true, true),
            (Clinical, Release, true, true),
            (Clinical, Clinical, true, false),
            (Release, OnCall, true, false),
            (OnCall, Clinical, true, false),
            (OnCall, OnCall, true, false),
        ] {
            let both: [(&str, &str, &[Role]); 2] = [("a", "Ann", &[first]), ("b", "Ben", &[second])];
            assert_eq!(met(&back, &both), takes_back, "{first} {second}");
            assert_eq!(met(&resume, &both), resumes, "{first} {second}");
        }
    }

    #[test]
    fn one_person_with_two_keys_and_one_key_with_two_names_are_not_two_people() {
        let back = Command::RollBack { target: RollBackTarget::Rollout };
        assert!(!met(&back, &[("a", "Ann Lee", &[Release]), ("b", "ann  LEE", &[OnCall])]));
        assert!(!met(&back, &[("a", "Ann", &[Release]), ("a", "Ben", &[OnCall])]));
        assert!(!met(&back, &[("a", "Ann", &[Release]), ("b", " ", &[OnCall])]), "nobody is not a person");
        assert!(!met(&back, &[("a", "Ann", &[Release]), ("b", "Ben", &[Role::Controller])]));
        assert!(met(&back, &[("a", "Ann", &[Release]), ("b", "ann lee", &[OnCall])]), "two names are two people");
    }

    #[test]
    fn what_is_lacking_is_named() {
        let resume = Command::Resume { lifts: Vec::new() };
        let lacking = |list: &[(&str, &str, &[Role])]| resume.needs().met_by(&signed(list)).unwrap_err().to_string();
        assert_eq!(lacking(&[]), "it needs a signature of release or clinical");
        let ben: (&str, &str, &[Role]) = ("b", "Ben", &[Clinical]);
        assert_eq!(lacking(&[ben]), "it is signed by Ben; a second person must sign too: release");
        assert_eq!(
            lacking(&[ben, ("c", "Cem", &[Clinical])]),
            "it is signed by Ben and Cem; a second person must sign too: release"
        );
        assert_eq!(
            lacking(&[("a", "Ann", &[Release])]),
            "it is signed by Ann; a second person must sign too: release or clinical"
        );
    }

    #[test]
    fn a_resume_of_yesterday_reads_and_writes_alike() {
        let old = r#"{"command":"resume"}"#;
        let command: Command = serde_json::from_str(old).unwrap();
        assert_eq!(command, Command::Resume { lifts: Vec::new() });
        assert_eq!(serde_json::to_string(&command).unwrap(), old);
    }
}
