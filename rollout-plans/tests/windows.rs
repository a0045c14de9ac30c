//! Windows and freezes on the wall clock of a site: known nights on which clocks change, and laws that hold at all times.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

use proptest::prelude::*;
use wardround_rollout_plans::{
    model::{Day, DurationMs, Freeze, SiteHours, TimeZoneName, Timestamp, Window},
    window::{AHEAD, Calendar, Closed, Opening},
};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// No room at all: only whether it is open.
const ANY: DurationMs = DurationMs(1);

fn at(text: &str) -> Timestamp {
    Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn window(days: &[Day], from: &str, to: &str) -> Window {
    Window { days: days.to_vec(), from: from.parse().unwrap(), to: to.parse().unwrap() }
}

fn freeze(from: &str, to: &str) -> Freeze {
    Freeze { from: from.parse().unwrap(), to: to.parse().unwrap(), reason: "year end".into() }
}

fn site(zone: &str) -> SiteHours {
    SiteHours { time_zone: Some(zone.parse().unwrap()), ..SiteHours::default() }
}

fn open(until: &str) -> Opening {
    Opening::Open { until: Some(at(until)) }
}

fn closed(opening: Opening) -> Closed {
    opening.closed().expect("closed")
}

fn ask(zone: &str, windows: &[Window], now: &str) -> Opening {
    let hours = site(zone);
    Calendar::always().and("the plan's", windows, &[]).at_site(&hours, &[]).at(at(now), ANY)
}

#[test]
fn a_night_over_midnight() {
    let nights = [window(&[Day::Fri], "22:00", "05:00")];
    // 2026-11-27 is a Friday.
    assert_eq!(ask("Europe/London", &nights, "2026-11-27T22:00:00Z"), open("2026-11-28T05:00:00Z"));
    assert_eq!(ask("Europe/London", &nights, "2026-11-28T04:59:59Z"), open("2026-11-28T05:00:00Z"));
    let before = closed(ask("Europe/London", &nights, "2026-11-27T21:59:59Z"));
    assert_eq!(before.until, Some(at("2026-11-27T22:00:00Z")));
    assert_eq!(
        before.to_string(),
        "window closed until Fri 2026-11-27 22:00 Europe/London: it is outside the plan's windows"
    );
    assert_eq!(closed(ask("Europe/London", &nights, "2026-11-28T05:00:00Z")).until, Some(at("2026-12-04T22:00:00Z")));
    // The same words mean another moment in New York (UTC-5) and in Kolkata (UTC+5:30).
    assert_eq!(ask("America/New_York", &nights, "2026-11-28T03:00:00Z"), open("2026-11-28T10:00:00Z"));
    assert_eq!(ask("Asia/Kolkata", &nights, "2026-11-27T16:30:00Z"), open("2026-11-27T23:30:00Z"));
    // Without a zone the clock is UTC's.
    let calendar = Calendar::always().and("the plan's", &nights, &[]);
    assert_eq!(calendar.at(at("2026-11-27T22:00:00Z"), ANY), open("2026-11-28T05:00:00Z"));
}

#[test]
fn the_night_that_has_an_hour_more() {
    // London: 2026-10-25 02:00 BST becomes 01:00 GMT, at 01:00 UTC.
    let london = |from: &str, to: &str, now: &str| ask("Europe/London", &[window(&[], from, to)], now);
    assert_eq!(london("22:00", "05:00", "2026-10-24T21:00:00Z"), open("2026-10-25T05:00:00Z"), "eight hours");
    assert_eq!(london("00:30", "01:30", "2026-10-24T23:30:00Z"), open("2026-10-25T00:30:00Z"), "ends the first time");
    assert_eq!(
        closed(london("01:30", "05:00", "2026-10-25T00:45:00Z")).until,
        Some(at("2026-10-25T01:30:00Z")),
        "begins the second time"
    );
    assert_eq!(
        closed(london("01:15", "01:45", "2026-10-25T00:00:00Z")).until,
        Some(at("2026-10-26T01:15:00Z")),
        "a window inside the hour that comes twice is left out that night"
    );
    // New York: 2026-11-01 02:00 EDT becomes 01:00 EST, at 06:00 UTC.
    let york = |from: &str, to: &str, now: &str| ask("America/New_York", &[window(&[], from, to)], now);
    assert_eq!(york("22:00", "05:00", "2026-11-01T02:00:00Z"), open("2026-11-01T10:00:00Z"));
    assert_eq!(closed(york("01:30", "05:00", "2026-11-01T05:59:00Z")).until, Some(at("2026-11-01T06:30:00Z")));
}

#[test]
fn the_night_that_has_an_hour_less() {
    // London: 2027-03-28 01:00 GMT becomes 02:00 BST, at 01:00 UTC.
    let london = |from: &str, to: &str, now: &str| ask("Europe/London", &[window(&[], from, to)], now);
    assert_eq!(london("22:00", "05:00", "2027-03-27T22:00:00Z"), open("2027-03-28T04:00:00Z"), "six hours");
    assert_eq!(london("23:00", "01:30", "2027-03-27T23:00:00Z"), open("2027-03-28T01:00:00Z"));
    assert_eq!(closed(london("01:15", "05:00", "2027-03-28T00:59:00Z")).until, Some(at("2027-03-28T01:00:00Z")));
    assert_eq!(closed(london("01:10", "01:50", "2027-03-28T00:59:00Z")).until, Some(at("2027-03-29T00:10:00Z")));
    // New York: 2027-03-14 02:00 EST becomes 03:00 EDT, at 07:00 UTC.
    let york = |from: &str, to: &str, now: &str| ask("America/New_York", &[window(&[], from, to)], now);
    assert_eq!(york("22:00", "05:00", "2027-03-14T03:00:00Z"), open("2027-03-14T09:00:00Z"));
    assert_eq!(york("00:00", "02:30", "2027-03-14T05:00:00Z"), open("2027-03-14T07:00:00Z"));
    // Cairo begins summer at midnight: that day has no 00:00.
    let cairo = ask("Africa/Cairo", &[window(&[Day::Fri], "00:00", "03:00")], "2026-04-23T21:59:00Z");
    assert_eq!(closed(cairo).until, Some(at("2026-04-23T22:00:00Z")));
}

#[test]
fn a_freeze_holds_from_midnight_to_midnight_of_the_site() {
    let nights = [window(&[], "22:00", "05:00")];
    let freezes = [freeze("2026-12-20", "2027-01-04"), freeze("2027-01-05", "2027-01-05")];
    let (london, york) = (site("Europe/London"), site("America/New_York"));
    let plan = || Calendar::always().and("the plan's", &nights, &freezes);
    // 2026-12-19 is a Saturday: its night is cut off at midnight.
    assert_eq!(plan().at_site(&london, &[]).at(at("2026-12-19T22:00:00Z"), ANY), open("2026-12-20T00:00:00Z"));
    let frozen = closed(plan().at_site(&london, &[]).at(at("2026-12-20T00:00:00Z"), ANY));
    assert_eq!(frozen.until, Some(at("2027-01-06T00:00:00Z")), "one freeze follows upon the other");
    assert!(frozen.why.contains("the plan's change freeze, 2026-12-20 to 2027-01-04 (year end)"), "{frozen}");
    assert_eq!(plan().at_site(&york, &[]).at(at("2026-12-20T04:59:00Z"), ANY), open("2026-12-20T05:00:00Z"));
}

#[test]
fn all_must_be_open_and_there_must_be_room() {
    let plan = [window(&[], "20:00", "24:00"), window(&[], "00:00", "06:00")];
    let hours = SiteHours { windows: vec![window(&[Day::Sat, Day::Sun], "22:00", "08:00")], ..site("Europe/London") };
    let device = [window(&[], "01:00", "23:00")];
    let calendar = |device| Calendar::always().and("the plan's", &plan, &[]).at_site(&hours, device);
    let room = DurationMs::from_secs(45 * 60);
    // 2026-11-28 is a Saturday. The plan's two windows follow upon each other.
    assert_eq!(calendar(&[]).at(at("2026-11-28T22:00:00Z"), ANY), open("2026-11-29T06:00:00Z"));
    let until = Timestamp(at("2026-11-29T05:15:00Z").0 + 1);
    assert_eq!(calendar(&[]).at(at("2026-11-28T22:00:00Z"), room), Opening::Open { until: Some(until) });
    let late = closed(calendar(&[]).at(at("2026-11-29T05:20:00Z"), room));
    assert_eq!(late.until, Some(at("2026-11-29T22:00:00Z")), "Sunday's");
    assert_eq!(late.why, "too little is left of the window: an install may take 45m");
    // The device's own hours: 22:00 to 23:00, then from 01:00 on.
    let own = closed(calendar(&device).at(at("2026-11-28T22:30:00Z"), room));
    assert_eq!(own.until, Some(at("2026-11-29T01:00:00Z")));
    // Each author's refusal is named.
    assert!(closed(calendar(&[]).at(at("2026-11-27T22:00:00Z"), ANY)).why.contains("the site's windows"));
    assert!(closed(calendar(&device).at(at("2026-11-28T23:30:00Z"), ANY)).why.contains("the device's windows"));
}

#[test]
fn what_never_opens_says_so_and_what_never_closes_too() {
    let (monday, tuesday) = ([window(&[Day::Mon], "22:00", "23:00")], [window(&[Day::Tue], "22:00", "23:00")]);
    let far = [freeze("2027-01-01", "2027-12-31")];
    let never =
        closed(Calendar::always().and("a", &monday, &far).and("b", &tuesday, &[]).at(at("2026-11-24T12:00:00Z"), ANY));
    assert_eq!(never.until, None);
    assert!(never.to_string().contains("none opens that is long enough"), "{never}");
    let short = Calendar::always().and("a", &monday, &[]).at(at("2026-11-23T22:00:00Z"), DurationMs::from_secs(3601));
    assert_eq!(closed(short).until, None);
    let whole = [window(&[], "00:00", "24:00")];
    let always = Calendar::always().and("a", &whole, &[]).at(at("2026-11-24T12:00:00Z"), DurationMs::from_secs(86_400));
    assert_eq!(always, Opening::Open { until: None });
    assert_eq!(Calendar::always().at(Timestamp(i64::MAX), ANY), Opening::Open { until: None });
    let unknown: TimeZoneName = serde_json::from_str("\"Mars/Olympus\"").unwrap();
    let mars = SiteHours { time_zone: Some(unknown), ..SiteHours::default() };
    let lost = closed(Calendar::always().and("a", &whole, &[]).at_site(&mars, &[]).at(at("2026-11-24T12:00:00Z"), ANY));
    assert!(lost.why.contains("does not know time zone Mars/Olympus"), "{lost}");
    let nowhen = Calendar::always().and("a", &whole, &[]).at(Timestamp(i64::MAX), ANY);
    assert!(nowhen.closed().is_some(), "a clock beyond all calendars opens nothing");
}

fn some_window() -> impl Strategy<Value = Window> {
    let days = prop::collection::btree_set(0_usize..7, 0..4);
    (days, 0_u32..1440, 1_u32..1441).prop_filter_map("from = to", |(days, from, to)| {
        let clock = |m: u32| format!("{:02}:{:02}", m / 60, m % 60).parse().unwrap();
        let days = days.into_iter().map(|d| Day::ALL[d].1).collect();
        let window = Window { days, from: clock(from), to: clock(to) };
        window.fault().is_none().then_some(window)
    })
}

fn some_freeze() -> impl Strategy<Value = Freeze> {
    (0_i64..500, 0_i64..20).prop_map(|(first, days)| {
        let day = |n: i64| (jiff::civil::date(2026, 9, 1) + jiff::Span::new().days(n)).to_string();
        freeze(&day(first), &day(first + days))
    })
}

fn zone() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "UTC",
        "Europe/London",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Cairo",
        "Pacific/Auckland",
        "Asia/Kolkata",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// "Until" is the next change: the answer is the same up to it, and the other one at it.
    #[test]
    fn until_is_the_next_change(
        plan in prop::collection::vec(some_window(), 0..4),
        own in prop::collection::vec(some_window(), 0..3),
        freezes in prop::collection::vec(some_freeze(), 0..3),
        zone in zone(),
        now in 0_i64..400 * DAY,
        room in prop::sample::select(vec![1, 45 * MINUTE, 3 * HOUR]),
        between in prop::collection::vec(0.0_f64..1.0, 8),
    ) {
        let hours = SiteHours { windows: own, ..site(zone) };
        let calendar = Calendar::always().and("the plan's", &plan, &freezes).at_site(&hours, &[]);
        let now = at("2026-09-01T00:00:00Z").0 + now;
        let ask = |ms: i64| calendar.at(Timestamp(ms), DurationMs(room as u64));
        let is_open = |opening: &Opening| matches!(opening, Opening::Open { .. });
        let answer = ask(now);
        let end = match answer.until() {
            Some(until) => {
                prop_assert!(until.0 > now);
                prop_assert_ne!(is_open(&ask(until.0)), is_open(&answer), "{:?} does not end at {:?}", answer, until);
                until.0
            }
            None => now + if is_open(&answer) { i64::try_from(AHEAD.0).unwrap() - room } else { 30 * DAY },
        };
        for share in between.iter().copied().chain([1.0]) {
            let then = now + ((end - 1 - now) as f64 * share) as i64;
            prop_assert_eq!(is_open(&ask(then)), is_open(&answer), "at {} before {}", then, end);
            if answer.until().is_some() {
                prop_assert_eq!(ask(then).until(), answer.until());
            }
        }
    }

    /// Open is what the wall clock says, reckoned in another way: minute by minute, away from the changes of clocks.
    #[test]
    fn the_wall_clock_says_the_same(windows in prop::collection::vec(some_window(), 1..4), minutes in 0_i64..30 * 24 * 60) {
        // No zone of the list changes its clocks in January.
        for zone in ["UTC", "Europe/London", "America/New_York", "Asia/Kolkata"] {
            let now = at("2027-01-01T00:00:00Z").0 + minutes * MINUTE;
            let wall = jiff::Timestamp::from_millisecond(now).unwrap().in_tz(zone).unwrap();
            let minute = u16::try_from(i32::from(wall.hour()) * 60 + i32::from(wall.minute())).unwrap();
            let today = wall.weekday().to_monday_zero_offset();
            let on = |w: &Window, day: i8| w.days.is_empty() || w.days.iter().any(|d| *d as i8 == day);
            let expected = windows.iter().any(|w| {
                let (from, to) = (w.from.minutes(), w.to.minutes());
                if from < to {
                    on(w, today) && (from..to).contains(&minute)
                } else {
                    (on(w, today) && minute >= from) || (on(w, (today + 6) % 7) && minute < to)
                }
            });
            let hours = site(zone);
            let opening = Calendar::always().and("the plan's", &windows, &[]).at_site(&hours, &[]).at(Timestamp(now), ANY);
            prop_assert_eq!(matches!(opening, Opening::Open { .. }), expected, "{} {}", zone, wall);
        }
    }
}
