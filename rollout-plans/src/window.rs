//! When an install may begin: maintenance windows and change freezes against a moment, on the wall clock of a site.
//!
//! A window is open from the moment at which the site's clock shows its beginning to that at which it shows its end. Where
//! clocks are changed, the narrower reading holds: a time that comes twice counts as a beginning the second time and as an
//! end the first time; one that never comes is that of the change itself. A freeze is read the wider way.
//!
//! The rules of time zones come from the database that is built into the program, never from the machine: a node on
//! Windows and a controller on Linux must say the same.

use std::fmt;

use jiff::{
    Timestamp as Instant,
    civil::DateTime,
    tz::{AmbiguousOffset, Offset, TimeZone, TimeZoneDatabase},
};

use crate::model::{DurationMs, Freeze, Plan, SiteHours, TimeZoneName, Timestamp, WINDOWS_MAX, WaveName, Window};

/// How far a window that follows upon a window is followed: a week and a day. What is open for longer is open always.
pub const AHEAD: DurationMs = DurationMs::from_secs(8 * 24 * 60 * 60);
/// Days after the last freeze within which windows that repeat weekly must have met, if ever they do.
const SEARCH_DAYS: i64 = 35;
/// Freezes further ahead than this are not waited for, days.
const SEARCH_DAYS_MAX: i64 = 800;
/// A Monday on which no clock is changed, 2026-01-05, midnight UTC: for questions about any week.
pub(crate) const SOME_MONDAY: Timestamp = Timestamp(1_767_571_200_000);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// The name as the database writes it; `None` when it has no such zone.
pub(crate) fn known_zone(name: &TimeZoneName) -> Option<String> {
    TimeZoneDatabase::bundled().get(name.as_str()).ok()?.iana_name().map(str::to_owned)
}

/// Whether an install may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// It may.
    Open {
        /// From this moment on it may not; `None` when that is further away than [`AHEAD`].
        until: Option<Timestamp>,
    },
    /// It may not.
    Closed(Closed),
}

impl Opening {
    /// When the answer changes, as far as that is known.
    #[must_use]
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Open { until } => *until,
            Self::Closed(closed) => closed.until,
        }
    }

    /// Why not; `None` when it may.
    #[must_use]
    pub fn closed(self) -> Option<Closed> {
        match self {
            Self::Open { .. } => None,
            Self::Closed(closed) => Some(closed),
        }
    }
}

/// Why an install may not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// When it may; `None` when no window opens within sight.
    pub until: Option<Timestamp>,
    /// That moment on the site's clock ("Fri 2026-11-27 22:00 Europe/London").
    pub opens: String,
    /// What stands in the way now.
    pub why: String,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.until {
            Some(_) => write!(f, "window closed until {}: {}", self.opens, self.why),
            None => write!(f, "window closed, and none opens that is long enough: {}", self.why),
        }
    }
}

/// Windows and freezes of one author.
#[derive(Debug, Clone, Copy)]
struct Layer<'a> {
    /// "the plan's".
    whose: &'static str,
    windows: &'a [Window],
    freezes: &'a [Freeze],
}

/// All windows and freezes that hold for a device. Its install may begin when every author allows it.
#[derive(Debug, Clone)]
pub struct Calendar<'a> {
    zone: Option<&'a TimeZoneName>,
    layers: Vec<Layer<'a>>,
}

impl<'a> Calendar<'a> {
    /// Open at all times, on the clock of UTC.
    #[must_use]
    pub fn always() -> Self {
        Self { zone: None, layers: Vec::new() }
    }

    /// What a plan says for a wave; windows of the wave narrow those of the plan.
    #[must_use]
    pub fn of_plan(plan: &'a Plan, wave: &WaveName) -> Self {
        let wave = plan.waves.iter().find(|w| w.name == *wave).map_or(&[][..], |w| &w.windows);
        Self::always().and("the plan's", &plan.windows, &plan.freezes).and("the wave's", wave, &[])
    }

    /// Narrowed by more windows and freezes; an empty list of windows narrows nothing. `whose` as in "the plan's".
    #[must_use]
    pub fn and(mut self, whose: &'static str, windows: &'a [Window], freezes: &'a [Freeze]) -> Self {
        if !(windows.is_empty() && freezes.is_empty()) {
            self.layers.push(Layer { whose, windows, freezes });
        }
        self
    }

    /// At a site: on its clock, and narrowed by what it and (`device`) the device allow.
    #[must_use]
    pub fn at_site(self, hours: &'a SiteHours, device: &'a [Window]) -> Self {
        let zone = hours.time_zone.as_ref();
        let narrowed = self.and("the site's", &hours.windows, &hours.freezes).and("the device's", device, &[]);
        Self { zone, ..narrowed }
    }

    /// True when nothing is ever closed.
    #[must_use]
    pub fn is_always_open(&self) -> bool {
        self.layers.is_empty()
    }

    /// May an install that needs up to `room` begin `now`, so that it ends before a window closes or a freeze begins?
    #[must_use]
    pub fn at(&self, now: Timestamp, room: DurationMs) -> Opening {
        if self.is_always_open() {
            return Opening::Open { until: None };
        }
        let name = self.zone.map_or("UTC", TimeZoneName::as_str);
        let Some(clock) = Clock::new(name) else {
            let why = format!("this program does not know time zone {name}");
            return Opening::Closed(Closed { until: None, opens: String::new(), why });
        };
        let room = i64::try_from(room.0).unwrap_or(i64::MAX).max(1);
        match self.next_start(&clock, now.0, room) {
            Some(start) if start == now.0 => {
                // Exclusive: at `end - room` it may still begin.
                let until = self.open_until(&clock, now.0).map(|end| Timestamp(end - room + 1));
                Opening::Open { until }
            }
            start => Opening::Closed(Closed {
                until: start.map(Timestamp),
                opens: start.and_then(|at| clock.shown(at, name)).unwrap_or_default(),
                why: self.why_closed(&clock, now.0, room),
            }),
        }
    }

    /// The first moment from `at` on at which every author's window stays open for `room`.
    fn next_start(&self, clock: &Clock, mut at: i64, room: i64) -> Option<i64> {
        let last = self.layers.iter().flat_map(|l| l.freezes).filter_map(|f| Some(clock.frozen(f)?.1)).max();
        let far = at.saturating_add(SEARCH_DAYS_MAX * DAY_MS);
        let limit = last.unwrap_or(at).clamp(at, far).saturating_add(SEARCH_DAYS * DAY_MS);
        while at <= limit {
            let open = self.layers.iter().try_fold(at, |at, layer| layer.next_open(clock, at))?;
            if open > at {
                at = open;
                continue;
            }
            match self.open_until(clock, at) {
                Some(end) if end.saturating_sub(at) < room => at = end,
                _ => return Some(at),
            }
        }
        None
    }

    /// When the first author closes; `None` when that is beyond [`AHEAD`]. It is open at `at`.
    fn open_until(&self, clock: &Clock, at: i64) -> Option<i64> {
        self.layers.iter().filter_map(|layer| layer.open_until(clock, at)).min()
    }

    fn why_closed(&self, clock: &Clock, at: i64, room: i64) -> String {
        for Layer { whose, windows, freezes } in &self.layers {
            let holds = |f: &&Freeze| clock.frozen(f).is_some_and(|(from, to)| (from..to).contains(&at));
            if let Some(freeze) = freezes.iter().find(holds) {
                return format!("{whose} change freeze, {} to {} ({})", freeze.from, freeze.to, freeze.reason);
            }
            if first_open(clock, windows, at) != Some(at) {
                return format!("it is outside {whose} windows");
            }
        }
        // How little is left is not said: a reason that changes by the minute would be told by the minute.
        let room = DurationMs(u64::try_from(room).unwrap_or(0));
        format!("too little is left of the window: an install may take {room}")
    }
}

impl Layer<'_> {
    /// The first moment from `at` on at which it is open.
    fn next_open(&self, clock: &Clock, mut at: i64) -> Option<i64> {
        loop {
            let open = first_open(clock, self.windows, at)?;
            let ends = self.freezes.iter().filter_map(|f| clock.frozen(f));
            match ends.filter(|(from, to)| (*from..*to).contains(&open)).map(|(_, to)| to).max() {
                // Each freeze is passed once.
                Some(thaw) => at = thaw,
                None => return Some(open),
            }
        }
    }

    /// When it closes, given that it is open at `at`.
    fn open_until(&self, clock: &Clock, at: i64) -> Option<i64> {
        let freeze =
            self.freezes.iter().filter_map(|f| clock.frozen(f)).map(|(from, _)| from).filter(|f| *f > at).min();
        let window = if self.windows.is_empty() { None } else { last_open(clock, self.windows, at) };
        [freeze, window].into_iter().flatten().min()
    }
}

/// The first moment from `at` on at which one of the windows is open; without windows that is `at`.
fn first_open(clock: &Clock, windows: &[Window], at: i64) -> Option<i64> {
    if windows.is_empty() {
        return Some(at);
    }
    // A week and a day find every window; one that the clock change swallows comes again a week later.
    let opens = |window| clock.occurrences(window, at, 16).find(|(_, to)| *to > at).map(|(from, _)| from.max(at));
    windows.iter().take(WINDOWS_MAX).filter_map(opens).min()
}

/// When the last of the windows that follow upon each other from `at` on ends; `None` when that is beyond [`AHEAD`].
fn last_open(clock: &Clock, windows: &[Window], at: i64) -> Option<i64> {
    let ahead = i64::try_from(AHEAD.0).unwrap_or(i64::MAX);
    let mut end = at;
    while end - at < ahead {
        let around = windows.iter().take(WINDOWS_MAX).flat_map(|w| clock.occurrences(w, end, 1));
        match around.filter(|(from, to)| *from <= end && end < *to).map(|(_, to)| to).max() {
            Some(further) => end = further,
            None => return Some(end),
        }
    }
    None
}

/// The wall clock of a site. Moments are Unix milliseconds.
struct Clock(TimeZone);

impl Clock {
    fn new(name: &str) -> Option<Self> {
        TimeZoneDatabase::bundled().get(name).ok().map(Self)
    }

    fn wall(&self, at: i64) -> Option<DateTime> {
        Some(self.0.to_datetime(Instant::from_millisecond(at).ok()?))
    }

    /// "Fri 2026-11-27 22:00 Europe/London".
    fn shown(&self, at: i64, name: &str) -> Option<String> {
        Some(format!("{} {name}", self.wall(at)?.strftime("%a %Y-%m-%d %H:%M")))
    }

    /// First and last moment at which the wall clock shows this; where it never does, that of the change.
    fn moments(&self, wall: DateTime) -> Option<(i64, i64)> {
        let with = |offset: Offset| offset.to_timestamp(wall).ok();
        let (first, last) = match self.0.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => (with(offset)?, with(offset)?),
            AmbiguousOffset::Fold { before, after } => (with(before)?, with(after)?),
            AmbiguousOffset::Gap { before, .. } => {
                // By the old clock the change is behind us.
                let after = Instant::from_millisecond(with(before)?.as_millisecond() + 1).ok()?;
                let change = self.0.preceding(after).next()?.timestamp();
                (change, change)
            }
        };
        Some((first.as_millisecond(), last.as_millisecond()))
    }

    /// Beginning and end of a window, for those that begin from two days before `at` on, within `days` days.
    fn occurrences<'a>(&'a self, window: &'a Window, at: i64, days: usize) -> impl Iterator<Item = (i64, i64)> + 'a {
        let first = self.wall(at).and_then(|wall| wall.date().yesterday().ok()?.yesterday().ok());
        let dates = std::iter::successors(first, |date| date.tomorrow().ok()).take(days + 2);
        let chosen = dates.filter(|date| {
            let day = date.weekday().to_monday_zero_offset();
            window.days.is_empty() || window.days.iter().any(|d| *d as i8 == day)
        });
        chosen.filter_map(|date| {
            let on = |minutes: u16| {
                let date = if minutes < 1440 { date } else { date.tomorrow().ok()? };
                let of_day = i8::try_from(minutes % 1440 / 60).ok()?;
                Some(date.at(of_day, i8::try_from(minutes % 60).ok()?, 0, 0))
            };
            let (from, to) = (window.from.minutes(), window.to.minutes());
            let end = if to > from {
                on(to)?
            } else {
                let (time, next) = (on(to)?, date.tomorrow().ok()?);
                next.to_datetime(time.time())
            };
            let (begins, ends) = (self.moments(on(from)?)?.1, self.moments(end)?.0);
            (begins < ends).then_some((begins, ends))
        })
    }

    /// Beginning and end of a freeze.
    fn frozen(&self, freeze: &Freeze) -> Option<(i64, i64)> {
        let first = self.moments(freeze.from.civil().at(0, 0, 0, 0))?.0;
        let last = self.moments(freeze.to.civil().tomorrow().ok()?.at(0, 0, 0, 0))?.1;
        Some((first, last))
    }
}
