//! What is measured while a run goes on.

use std::collections::BTreeMap;

use super::{
    prepared::Prepared,
    run::{AtRisk, Curve, Wait},
};
use crate::engine::WaitingOn;

/// Stretches of a curve; when they are used up, two become one.
const STRETCHES_MAX: usize = 512;
/// The first length of a stretch.
const STRETCH_MS: u64 = 60_000;

/// Devices at risk, as they come and go.
pub(super) struct Risk {
    start: i64,
    /// On their way to the patch, and on their way back.
    site: Vec<(u16, u16)>,
    region: Vec<u64>,
    wave: Vec<u64>,
    all: u64,
    back: u64,
    /// What the present event has changed: site, region, wave.
    touched: Vec<(u32, u32, u16)>,
    most_back: u64,
    most_site: (u64, u32),
    most_region: (u64, u32),
    pub(super) most_wave: Vec<u64>,
    most: (u64, u64),
    curve: Curve,
}

impl Risk {
    pub(super) fn new(prepared: &Prepared) -> Self {
        let waves = prepared.plan.waves.len();
        Self {
            start: prepared.start.0,
            site: vec![(0, 0); prepared.sites.len()],
            region: vec![0; prepared.regions.len()],
            wave: vec![0; waves],
            all: 0,
            back: 0,
            touched: Vec::new(),
            most_back: 0,
            most_site: (0, 0),
            most_region: (0, 0),
            most_wave: vec![0; waves],
            most: (0, 0),
            curve: Curve { step_ms: STRETCH_MS, most: Vec::new() },
        }
    }

    /// In hand, either way.
    pub(super) fn hand(&self) -> u64 {
        self.all + self.back
    }

    /// So many of a site are in hand now, on their way to the patch and back; what is new is of this wave.
    pub(super) fn at(&mut self, now: i64, prepared: &Prepared, s: u32, hand: (usize, usize), wave: u16) {
        let short = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let hand = (short(hand.0), short(hand.1));
        let before = std::mem::replace(&mut self.site[s as usize], hand);
        self.back = self.back + u64::from(hand.1) - u64::from(before.1);
        let (was, is) = (u64::from(before.0), u64::from(hand.0));
        if was == is {
            return;
        }
        if self.touched.is_empty() {
            self.enter(now);
        }
        let region = prepared.sites[s as usize].region;
        let change = |n: &mut u64| *n = (*n + is).saturating_sub(was);
        change(&mut self.region[region as usize]);
        change(&mut self.wave[usize::from(wave)]);
        change(&mut self.all);
        self.touched.push((s, region, wave));
    }

    /// All that one event has changed was told. Once something has stopped the rollout its peaks are not counted any more:
    /// what is in hand then only goes back.
    pub(super) fn settle(&mut self, now: i64, stopped: bool) {
        self.most_back = self.most_back.max(self.back);
        if self.touched.is_empty() {
            return;
        }
        for (s, region, wave) in std::mem::take(&mut self.touched).into_iter().filter(|_| !stopped) {
            let site = u64::from(self.site[s as usize].0);
            if site > self.most_site.0 {
                self.most_site = (site, s);
            }
            let here = self.region[region as usize];
            if here > self.most_region.0 {
                self.most_region = (here, region);
            }
            let most = &mut self.most_wave[usize::from(wave)];
            *most = (*most).max(self.wave[usize::from(wave)]);
        }
        if self.all > self.most.0 && !stopped {
            self.most = (self.all, u64::try_from(now - self.start).unwrap_or(0));
        }
        self.enter(now);
    }

    /// Writes the present number into the curve, up to now.
    pub(super) fn enter(&mut self, now: i64) {
        let since = u64::try_from(now - self.start).unwrap_or(0);
        while since / self.curve.step_ms >= STRETCHES_MAX as u64 {
            let halved = self.curve.most.chunks(2).map(|pair| pair.iter().copied().max().unwrap_or(0)).collect();
            self.curve.most = halved;
            self.curve.step_ms *= 2;
        }
        let at = usize::try_from(since / self.curve.step_ms).unwrap_or(0);
        while self.curve.most.len() <= at {
            self.curve.most.push(self.all);
        }
        self.curve.most[at] = self.curve.most[at].max(self.all);
    }

    pub(super) fn finish(mut self, now: i64, prepared: &Prepared) -> (AtRisk, Curve, Vec<u64>) {
        self.enter(now);
        let at_risk = AtRisk {
            all: self.most.0,
            at_ms: self.most.1,
            site: self.most_site.0,
            site_name: prepared.sites.get(self.most_site.1 as usize).map_or_else(String::new, |s| s.id.to_string()),
            region: self.most_region.0,
            back: self.most_back,
            region_name: prepared.regions.get(self.most_region.1 as usize).cloned().unwrap_or_default(),
        };
        (at_risk, self.curve, self.most_wave)
    }
}

/// What the waves wait for, looked at now and then.
#[derive(Default)]
pub(super) struct Waits {
    seen: BTreeMap<(u16, String), (String, u64)>,
}

impl Waits {
    /// For so long a wave has waited on this.
    pub(super) fn add(&mut self, wave: u16, on: &WaitingOn, ms: u64) {
        let code = match on {
            WaitingOn::Concurrency { scope, .. } => format!("{}_{scope}", on.code()),
            _ => on.code().to_owned(),
        };
        self.seen.entry((wave, code)).or_insert_with(|| (on.to_string(), 0)).1 += ms;
    }

    pub(super) fn finish(self, prepared: &Prepared) -> Vec<Wait> {
        let mut waits: Vec<((u16, String), (String, u64))> = self.seen.into_iter().collect();
        waits.sort_by(|(a, x), (b, y)| (a.0, y.1, &a.1).cmp(&(b.0, x.1, &b.1)));
        let named = |((wave, code), (text, ms)): ((u16, String), (String, u64))| Wait {
            wave: prepared.plan.waves[usize::from(wave)].name.to_string(),
            code,
            text,
            ms,
        };
        waits.into_iter().map(named).collect()
    }
}
