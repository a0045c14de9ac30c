//! The rules of the lint: what is allowed, but risky.

use std::fmt;

use super::Problem;
use crate::model::WaveName;

/// How much a finding weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Good to know.
    Note,
    /// A good plan does otherwise, or says why not.
    Warning,
    /// Patients may be harmed by a fault that the plan would not catch.
    Danger,
}

impl Weight {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Danger => "danger",
        }
    }
}

/// What a rule must see to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The plan alone.
    Plan,
    /// The plan and today's date.
    Clock,
    /// The plan against an estate.
    Estate,
}

impl Needs {
    /// The word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Clock => "date",
            Self::Estate => "estate",
        }
    }
}

macro_rules! rules {
    ($($name:ident $word:literal $weight:ident $needs:ident $summary:literal)*) => {
        /// A rule. Its word is a contract: plans name it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $summary] $name,)*
        }

        impl Rule {
            /// All, in the order of the table in docs/plans.md.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word by which a plan accepts it.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// How much it weighs.
            #[must_use]
            pub fn weight(self) -> Weight {
                match self { $(Self::$name => Weight::$weight,)* }
            }

            /// What it must see.
            #[must_use]
            pub fn needs(self) -> Needs {
                match self { $(Self::$name => Needs::$needs,)* }
            }

            /// What is risky, in one line that follows "the plan …" for no reader in particular.
            #[must_use]
            pub fn summary(self) -> &'static str {
                match self { $(Self::$name => $summary,)* }
            }
        }
    };
}

rules! {
    SingleWave "single_wave" Danger Plan "one wave takes everything: nothing is tried on a few first"
    NoCanary "no_canary" Danger Plan "the first wave takes what is left, or more than 10% by chance"
    SoakMissing "soak_missing" Danger Plan "nothing is watched after the install"
    SoakBlind "soak_blind" Danger Plan "the soak ends before a failing system would be noticed"
    SoakShort "soak_short" Warning Plan "a soak is shorter than a working day (8h)"
    Unapproved "unapproved" Warning Plan "a wave begins without anybody's approval"
    GateLenient "gate_lenient" Warning Plan "a wave passes although more than a tenth of its devices may have failed"
    PerSite "per_site" Warning Plan "more than one device of a site is in hand at once"
    ScopeDevice "scope_device" Warning Plan "after a failure the other devices of the wave keep the patch"
    SlowSilence "slow_silence" Note Plan "a site that falls silent is noticed only after its devices have soaked"
    NoWindows "no_windows" Note Plan "installs may begin at any hour, also while patients are treated"
    OnCallUnsaid "on_call_unsaid" Note Plan "the plan does not say when anybody is on call"
    OffCallBegin "off_call_begin" Warning Plan "installs may begin while nobody is on call"
    OffCallSoak "off_call_soak" Note Plan "devices soak while nobody is on call"
    ThinRest "thin_rest" Warning Plan "a wave may pass on one success, since devices may be left out of it"
    ManyRetries "many_retries" Note Plan "a failed install is tried again more than three times"
    FreezePast "freeze_past" Note Clock "a change freeze is over"
    DeadlinePast "deadline_past" Warning Clock "a deadline is over"
    NeverOpen "never_open" Danger Estate "on some devices no install may ever begin: the hours of plan, site and device never meet"
    UnapprovedLargest "unapproved_largest" Danger Estate "the largest wave begins without anybody's approval"
    LargeCanary "large_canary" Danger Estate "the first wave has more than 5 devices and more than a tenth of all"
    CriticalKept "critical_kept" Danger Estate "the rollback's scope is device although clinical systems are critical"
    Unrepresented "unrepresented" Warning Estate "a wave meets combinations of platform, model and kind of clinical system that no earlier wave has tried"
    LargeStep "large_step" Warning Estate "a wave is more than ten times as large as the one before"
    GroupInCanary "group_in_canary" Warning Estate "the first wave has several devices of one redundancy group"
    GroupAtOnce "group_at_once" Warning Estate "only a redundancy group's own limit keeps its devices apart"
    ThinEvidence "thin_evidence" Warning Estate "one success is enough evidence for a wave of ten or more"
    CanaryAtOneSite "canary_at_one_site" Note Estate "all devices of the first wave are at one site, others follow elsewhere"
    Unwatched "unwatched" Warning Estate "no clinical system says that it needs a device, so no probe notices a fault"
    NoProbe "no_probe" Warning Estate "a clinical system that needs a device has no probe"
    SystemWithoutDevices "system_without_devices" Warning Estate "a clinical system names no device, so its failure is blamed on nothing"
    NoTimeZone "no_time_zone" Warning Estate "site files name no time zone, so the plan's hours go by UTC there"
    OrderUnmatched "order_unmatched" Warning Estate "the order within a wave names values that none of its devices has, or leaves devices out"
    PrerequisiteUnknown "prerequisite_unknown" Warning Estate "devices are left out, since nothing says that they have what the patch requires"
    UnusedAcceptance "unused_acceptance" Warning Plan "a risk is accepted that is not there"
}

impl Rule {
    /// The rule of this word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.word() == word)
    }

    /// Whether a plan may accept it. That an acceptance is not needed can't be accepted.
    #[must_use]
    pub fn acceptable(self) -> bool {
        self != Self::UnusedAcceptance
    }
}

/// Something that a rule found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The wave that it is about, if it is about one.
    pub wave: Option<WaveName>,
    /// Where, what and the way out.
    pub problem: Problem,
    /// Which of the plan's accepted risks it is, by position; `None` where people have yet to think of it.
    pub accepted: Option<usize>,
}

impl fmt::Display for Finding {
    /// "warning[soak_short]: plan.yaml:3:5: waves[0].soak: …", and the hint on a line of its own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.accepted.is_some() { "accepted" } else { self.rule.weight().word() };
        write!(f, "{word}[{}]: {}", self.rule.word(), self.problem)
    }
}
