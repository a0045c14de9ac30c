//! From a directive to wishes: every condition of DESIGN "Trust", 3, in order. What fails is refused by name.

use std::collections::{BTreeMap, BTreeSet};

use wardround_rollout_plans::{
    model::{
        Command, Directive, Goal, GoalAction, Lacking, Order, Patch, Reporter, Rollout, Signatory, SiteId,
        SiteInventory, SiteRollout, Timestamp, WaveName,
    },
    proofs::{Failures, Passages},
};
use wardround_signing::{
    Digest, Envelope, Policy, PublicKey, Role, TrustAnchor, Verified, merkle, same_person,
    tuf::{Images, Moment},
    verify,
};

use super::{
    documents::{Genuine, agreement},
    floor::Floor,
};
use crate::machine::{
    GoalWish, HoldMark, OrderMark, ReleaseMark, RolloutPolicy, RolloutWish, Version, WavePolicy, Wishes,
};

/// Something that is not obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of thing.
    pub what: &'static str,
    /// Why, one sentence.
    pub why: String,
    /// The rollout, when known.
    pub rollout: Option<wardround_rollout_plans::model::RolloutId>,
}

/// The documents that a rollout's part of a directive leans on. People agreed on both, at one time at least.
#[derive(Debug, Clone)]
pub struct Paper {
    /// The rollout document.
    pub rollout: Genuine<Rollout>,
    /// The patch document.
    pub patch: Genuine<Patch>,
    /// Whether they agree on both by the present view of the image repository: else nothing is installed any more, and what
    /// was installed is watched and taken back as before. Who looked has reported it.
    pub agreed: bool,
}

/// By rollout.
pub type Papers = BTreeMap<wardround_rollout_plans::model::RolloutId, Paper>;

/// Steps 1 to 3: signature, site, counter.
///
/// # Errors
/// [`Refusal`] says which of them fails.
pub fn open(envelope: &Envelope, key: PublicKey, site: &SiteId, floor: Floor) -> Result<Verified<Directive>, Refusal> {
    let refuse = |why: String| Refusal { what: "directive", why, rollout: None };
    // 1. Signed by the controller's key.
    let verified = verify::<Directive>(envelope, &Policy::controller(key)).map_err(|e| refuse(e.to_string()))?;
    let directive = verified.document();
    // 2. For this site.
    if directive.site != *site {
        return Err(refuse(format!("it is for site {}, not for {site}", directive.site)));
    }
    // 3. Not older than what was accepted before.
    if directive.counter < floor.counter {
        return Err(refuse(format!(
            "its counter {} is below {}, which was accepted before",
            directive.counter, floor.counter
        )));
    }
    Ok(verified)
}

/// Step 4: still valid. The clock counts as no earlier than the latest attested time.
///
/// On an expired directive nothing new begins, but its halts, resumes and rollbacks count: a site whose clock runs ahead
/// must still be able to take a patch back.
#[must_use]
pub fn expired(directive: &Directive, floor: Floor, now: Timestamp) -> Option<Refusal> {
    (directive.expires_at < now.max(floor.attested)).then(|| Refusal {
        what: "directive",
        why: "it has expired: nothing new begins on it; do the clocks of the site and the controller agree?".into(),
        rollout: None,
    })
}

/// Who reads a directive, and in view of what.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The present view of the image repository.
    pub images: &'a Images,
    /// The site file's devices.
    pub inventory: &'a SiteInventory,
    /// The node itself.
    pub own: &'a Reporter,
    /// What was accepted before.
    pub floor: Floor,
    /// The clock.
    pub now: Timestamp,
}

/// Steps 4 to 11: what the machine is told of a directive, and all that is refused. `refusals` holds what was refused on the
/// way here, `log` why the controller's log is: as with an expired directive nothing new begins then, but halts and rollbacks
/// count. Whether everything is fresh, so that the same directive need not be looked at again.
#[must_use]
pub fn judge(
    reader: &Reader<'_>,
    directive: &Directive,
    papers: &Papers,
    log: Option<Refusal>,
    mut refusals: Vec<Refusal>,
) -> (Wishes, Vec<Refusal>, bool) {
    let Reader { images, inventory, own, floor, now } = *reader;
    let expired = expired(directive, floor, now);
    let (mut wishes, more) = wishes(directive, papers, images.people(), inventory, own);
    refusals.extend(more);
    let fresh = expired.is_none() && images.is_fresh(Moment::from_ms(now.max(floor.attested).0)).is_ok();
    // Nothing new begins once either has expired, also when nobody answers any more.
    wishes.expires_at = wishes.expires_at.min(Timestamp(images.earliest_expiry().1.ms()));
    for refusal in expired.into_iter().chain(log) {
        wishes.expires_at = Timestamp(0);
        refusals.push(refusal);
    }
    (wishes, refusals, fresh)
}

/// The documents of one rollout's part, whose bytes are what was asked for, and what the present view says of them.
///
/// # Errors
/// [`Refusal`] when they are of another rollout or patch.
pub fn paper(
    wanted: &SiteRollout,
    rollout: Genuine<Rollout>,
    patch: Genuine<Patch>,
    images: &Images,
) -> Result<(Paper, Vec<Refusal>), Refusal> {
    let refuse = |what: &'static str, why: String| Refusal { what, why, rollout: Some(wanted.rollout.clone()) };
    if rollout.document().id != wanted.rollout {
        return Err(refuse("rollout", format!("the signed document is of rollout {}", rollout.document().id)));
    }
    if patch.document().id != rollout.document().patch {
        return Err(refuse("patch", format!("the signed document is of patch {}", patch.document().id)));
    }
    let lacking = [("rollout", agreement(images, &rollout)), ("patch", agreement(images, &patch))];
    let agreed = lacking.iter().all(|(_, agreement)| agreement.is_ok());
    let refusals = lacking.into_iter().filter_map(|(what, agreement)| {
        let why = agreement.err()?;
        Some(refuse(what, format!("it counts no longer: {why}; nothing of it is installed any more")))
    });
    let refusals = refusals.collect();
    Ok((Paper { rollout, patch, agreed }, refusals))
}

/// Steps 5 to 11 for every rollout and goal. A rollout or goal that fails is left out and named; the others stand.
pub(crate) fn wishes(
    directive: &Directive,
    papers: &Papers,
    anchor: &TrustAnchor,
    inventory: &SiteInventory,
    own: &Reporter,
) -> (Wishes, Vec<Refusal>) {
    let mut refusals = Vec::new();
    let mut rollouts = Vec::new();
    let mut seen = BTreeSet::new();
    for part in &directive.rollouts {
        // 5. Rollout and patch are signed by both roles: their absence here was reported when they were fetched.
        let Some(paper) = papers.get(&part.rollout) else { continue };
        if !seen.insert(&part.rollout) {
            let why = "it names the rollout twice; the first part counts".to_owned();
            refusals.push(Refusal { what: "directive", why, rollout: Some(part.rollout.clone()) });
            continue;
        }
        if let Err(why) = paper.rollout.document().check_lineage() {
            refusals.push(Refusal { what: "rollout", why, rollout: Some(part.rollout.clone()) });
            continue;
        }
        rollouts.push(rollout_wish(part, paper, anchor, (inventory, own), &mut refusals));
    }
    (Wishes { counter: directive.counter, expires_at: directive.expires_at, rollouts }, refusals)
}

fn rollout_wish(
    part: &SiteRollout,
    paper: &Paper,
    anchor: &TrustAnchor,
    (inventory, own): (&SiteInventory, &Reporter),
    refusals: &mut Vec<Refusal>,
) -> RolloutWish {
    let Paper { rollout, patch, agreed } = paper;
    let mut refuse = |what, why: String| refusals.push(Refusal { what, why, rollout: Some(part.rollout.clone()) });
    // 6. People's orders: each must verify by itself, for this document or a version before it.
    let mut orders = Vec::new();
    for envelope in &part.orders {
        match order(envelope, anchor, rollout) {
            Ok(order) => orders.push(order),
            Err(why) => refuse("order", why),
        }
    }
    let started = orders.iter().any(|o| o.document().command == Command::Start);
    let mut shown = None;
    let mut goals = Vec::new();
    let mut devices = BTreeSet::new();
    for goal in part.goals.iter().filter(|goal| *agreed || goal.action != GoalAction::Install) {
        let wish = if !devices.insert(&goal.member.device) {
            Err("it is named twice; the first goal counts".to_owned())
        } else if started {
            let shown = shown.get_or_insert_with(|| Shown::read(part, rollout, own));
            goal_wish(goal, rollout.document(), patch.document(), &orders, shown, inventory)
        } else {
            Err("no signed start order came with it".to_owned())
        };
        match wish {
            Ok(wish) => goals.push(wish),
            Err(why) => refuse("directive", format!("device {}: {why}", goal.member.device)),
        }
    }
    let marks = |command: &Command| -> Vec<OrderMark> {
        orders.iter().filter(|o| o.document().command == *command).map(mark).collect()
    };
    let resumes: Vec<(u64, &Vec<Digest>)> = orders
        .iter()
        .filter_map(|o| match &o.document().command {
            Command::Resume { lifts } => Some((o.document().counter, lifts)),
            _ => None,
        })
        .collect();
    RolloutWish {
        rollout: part.rollout.clone(),
        digest: rollout.digest(),
        version: Version { number: rollout.document().version, ancestors: rollout.document().ancestors.clone() },
        patch: rollout.document().patch.clone(),
        patch_digest: patch.digest(),
        policy: policy(rollout.document()),
        mode: part.mode,
        cancelled: orders.iter().any(|o| o.document().command == Command::Cancel),
        halts: marks(&Command::Halt),
        resumes: resumes.iter().map(|(counter, _)| *counter).collect(),
        lifted: resumes.iter().flat_map(|(_, lifts)| lifts.iter().copied()).collect(),
        holds: orders.iter().filter_map(|o| hold_mark(o, rollout.document())).collect(),
        releases: orders.iter().filter_map(release_mark).collect(),
        goals,
    }
}

fn order(envelope: &Envelope, anchor: &TrustAnchor, rollout: &Genuine<Rollout>) -> Result<Verified<Order>, String> {
    let verified = person_order(envelope, anchor)?;
    let order = verified.document();
    let (document, own) = (rollout.document(), rollout.digest());
    if order.rollout != document.id || !document.counts_for(own, order.digest) {
        return Err(format!("the {} order is for another rollout document", order.command.word()));
    }
    // People approve the devices that they have seen.
    if let Command::Approve { wave } = &order.command
        && document.waves.iter().any(|w| w.name == *wave)
        && !document.approval_counts(own, order.digest, wave)
    {
        return Err(format!("the approval is of wave {wave} as it was before an amendment changed it"));
    }
    Ok(verified)
}

/// An order signed by people whose roles permit its command, and by as many as it takes.
fn person_order(envelope: &Envelope, anchor: &TrustAnchor) -> Result<Verified<Order>, String> {
    let verified = verify::<Order>(envelope, &Policy::any_of(anchor, &Role::PEOPLE)).map_err(|e| e.to_string())?;
    let command = &verified.document().command;
    let signers: Vec<Signatory> = verified.signers().iter().map(Signatory::from).collect();
    match command.needs().met_by(&signers) {
        Ok(()) => Ok(verified),
        // One person lifts their own hold; whose it is, the machine knows.
        Err(Lacking::Person { .. }) if matches!(command, Command::Release { .. }) => Ok(verified),
        Err(lacking) => Err(format!("a {} order does not count: {lacking}", command.word().replace('_', " "))),
    }
}

/// A halt that was pushed, verified. Any rollout's halt is obeyed, known or not.
///
/// # Errors
/// [`Refusal`] when it is no halt, or of nobody who may halt.
pub fn halt(envelope: &Envelope, anchor: &TrustAnchor) -> Result<OrderMark, Refusal> {
    let refuse = |why: String| Refusal { what: "order", why, rollout: None };
    let verified = person_order(envelope, anchor).map_err(refuse)?;
    if verified.document().command != Command::Halt {
        return Err(refuse(format!("a {} order came where only a halt may come", verified.document().command.word())));
    }
    Ok(mark(&verified))
}

fn mark(order: &Verified<Order>) -> OrderMark {
    OrderMark {
        rollout: order.document().rollout.clone(),
        digest: order.document().digest,
        counter: order.document().counter,
        order: order.digest(),
    }
}

fn people_of(order: &Verified<Order>) -> BTreeSet<String> {
    order.signers().iter().map(|s| same_person(&s.holder)).collect()
}

fn hold_mark(order: &Verified<Order>, rollout: &Rollout) -> Option<HoldMark> {
    let Command::Hold { wave } = &order.document().command else { return None };
    let at = rollout.waves.iter().position(|w| w.name == *wave)?;
    let bars = rollout.waves.iter().skip(at + 1).map(|w| w.name.clone()).collect();
    Some(HoldMark { order: order.digest(), people: people_of(order), bars })
}

fn release_mark(order: &Verified<Order>) -> Option<ReleaseMark> {
    let Command::Release { lifts, .. } = &order.document().command else { return None };
    let signers: Vec<Signatory> = order.signers().iter().map(Signatory::from).collect();
    let by_two = order.document().command.needs().met_by(&signers).is_ok();
    Some(ReleaseMark { lifts: lifts.clone(), people: people_of(order), by_two })
}

fn goal_wish(
    goal: &Goal,
    rollout: &Rollout,
    patch: &Patch,
    orders: &[Verified<Order>],
    shown: &Shown,
    inventory: &SiteInventory,
) -> Result<GoalWish, String> {
    let member = &goal.member;
    // 7. The device stands in the signed wave.
    let index = rollout
        .waves
        .iter()
        .position(|w| w.name == member.wave)
        .ok_or_else(|| format!("the signed rollout has no wave {}", member.wave))?;
    let wave = &rollout.waves[index];
    if goal.proof.size != wave.count || !goal.proof.proves(&merkle::leaf_hash(&member.leaf()), &wave.root) {
        return Err(format!("it is not proved to be in the signed wave {}", member.wave));
    }
    // 8. The approvals that the plan demands for that wave are there.
    for at in 1..=index {
        approved(rollout, at, orders)?;
        // 9. The waves before have shown that they passed. What is taken back needs no such permission.
        if goal.action == GoalAction::Install {
            passed(rollout, at, &shown.passages, orders)?;
        }
    }
    // 10. Two people want it taken back, or a report shows that something failed which takes it back.
    let ordered =
        |o: &Verified<Order>| matches!(&o.document().command, Command::RollBack { target } if target.covers(member));
    if goal.action == GoalAction::RollBack && !orders.iter().any(ordered) {
        shown.failures.reach(rollout, member)?;
    }
    // 11. The device is one of ours, and the variant is for its platform.
    let device = inventory
        .devices
        .iter()
        .find(|d| d.id == member.device)
        .ok_or_else(|| "the site file does not know it".to_owned())?;
    let variant =
        patch.variant(&member.variant).ok_or_else(|| format!("the signed patch has no variant {}", member.variant))?;
    if !variant.platforms.iter().any(|p| p.matches(&device.platform)) {
        return Err(format!("variant {} is not for its platform {}", variant.id, device.platform));
    }
    Ok(GoalWish {
        device: member.device.clone(),
        wave: member.wave.clone(),
        variant: variant.id.clone(),
        reboot: variant.reboot,
        payload: variant.payload.digest,
        payload_length: variant.payload.length,
        previous: variant.previous.as_ref().map(|payload| payload.digest),
        action: goal.action,
        attempt: goal.attempt,
    })
}

/// What other nodes' reports show of a rollout.
struct Shown {
    passages: Passages,
    failures: Failures,
}

impl Shown {
    fn read(part: &SiteRollout, rollout: &Genuine<Rollout>, own: &Reporter) -> Self {
        let (document, digest) = (rollout.document(), rollout.digest());
        Self { passages: Passages::read(part, document, digest), failures: Failures::read(part, document, digest, own) }
    }
}

/// The gate before wave `at` names roles: each needs an approval of that wave by a different person.
fn approved(rollout: &Rollout, at: usize, orders: &[Verified<Order>]) -> Result<(), String> {
    let (Some(before), Some(wave)) = (rollout.plan.waves.get(at - 1), rollout.plan.waves.get(at)) else {
        return Err("the signed plan and its waves do not fit together".into());
    };
    let needed: BTreeSet<Role> = before.gate.approvals.iter().copied().collect();
    let people = approvers(&wave.name, orders);
    if assign(&needed.iter().copied().collect::<Vec<_>>(), &people, &mut Vec::new()) {
        return Ok(());
    }
    Err(format!(
        "wave {} needs signed approvals of {} by different people, and they are not there",
        wave.name,
        needed.iter().map(|r| r.word()).collect::<Vec<_>>().join(" and ")
    ))
}

/// The wave before wave `at` is shown to have passed, or people of release and clinical have both approved wave `at`: what
/// can't be shown (its nodes were replaced, or enrolled later) the two roles that sign rollouts may let pass.
fn passed(rollout: &Rollout, at: usize, evidence: &Passages, orders: &[Verified<Order>]) -> Result<(), String> {
    let Err(why) = evidence.passed(rollout, at - 1) else { return Ok(()) };
    let name = rollout.waves.get(at).map_or("", |w| w.name.as_str());
    let approved = rollout
        .waves
        .get(at)
        .is_some_and(|wave| assign(&[Role::Release, Role::Clinical], &approvers(&wave.name, orders), &mut Vec::new()));
    let lacking = || format!("{why}, and release and clinical have not both approved wave {name} in its place");
    if approved { Ok(()) } else { Err(lacking()) }
}

/// Who approved a wave, with their roles.
///
/// Each once, however often the directive repeats an approval: [`assign`] tries combinations.
fn approvers<'a>(wave: &WaveName, orders: &'a [Verified<Order>]) -> Vec<(String, &'a BTreeSet<Role>)> {
    let people: BTreeSet<_> = orders
        .iter()
        .filter(|o| matches!(&o.document().command, Command::Approve { wave: w } if w == wave))
        .flat_map(|o| o.signers().iter().map(|s| (same_person(&s.holder), &s.roles)))
        .collect();
    people.into_iter().collect()
}

/// A different person for each role.
fn assign<'a>(needed: &[Role], people: &'a [(String, &BTreeSet<Role>)], taken: &mut Vec<&'a str>) -> bool {
    let Some((role, rest)) = needed.split_first() else { return true };
    for (holder, roles) in people {
        if roles.contains(role) && !taken.contains(&holder.as_str()) {
            taken.push(holder);
            if assign(rest, people, taken) {
                return true;
            }
            taken.pop();
        }
    }
    false
}

fn policy(rollout: &Rollout) -> RolloutPolicy {
    let plan = &rollout.plan;
    RolloutPolicy {
        health: plan.health.clone(),
        scope: plan.rollback.scope,
        per_site: plan.per_site(),
        install_timeout: plan.timing.install_timeout,
        reboot_timeout: plan.timing.reboot_timeout,
        defer_max: plan.timing.defer_max,
        retry_after: plan.timing.retry_after,
        retries: plan.timing.again(),
        windows: plan.windows.clone(),
        freezes: plan.freezes.clone(),
        waves: plan
            .waves
            .iter()
            .map(|w| {
                let of_wave = WavePolicy {
                    soak: w.soak,
                    per_site: w.limits.per_site,
                    windows: w.windows.clone(),
                    begin_by: plan.deadline_of(w).and_then(|deadline| deadline.begin_by()),
                };
                (w.name.clone(), of_wave)
            })
            .collect(),
    }
}
