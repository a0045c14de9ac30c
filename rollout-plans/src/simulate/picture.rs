//! The timeline of a forecast, for a change request: readable in print and in black and white.

use jiff::{
    Timestamp as Instant,
    tz::{TimeZone, TimeZoneDatabase},
};

use super::{
    forecast::Forecast,
    run::{Run, WaveRun},
    svg::Svg,
};
use crate::{model::DurationMs, words::count};

// All lengths are tenths of a pixel.
const WIDTH: i64 = 12_000;
const LEFT: i64 = 2_000;
const RIGHT: i64 = 400;
const TOP: i64 = 1_000;
const ROW: i64 = 560;
const BAR: i64 = 220;
const THIN: i64 = 70;
const CURVE: i64 = 1_400;
const GAP: i64 = 500;
const LEGEND: i64 = 900;
/// Ticks of the time axis at most.
const TICKS: u64 = 10;
/// Longest name of a wave that fits beside its row, characters.
const NAME_CHARS: usize = 22;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
/// Between two ticks.
const STEPS: [u64; 14] = [
    HOUR / 4,
    HOUR / 2,
    HOUR,
    2 * HOUR,
    4 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    7 * DAY,
    14 * DAY,
    28 * DAY,
    56 * DAY,
    112 * DAY,
    224 * DAY,
];

/// Patterns and classes. Install is black, soak is striped, waiting is a dashed line: told apart without any colour.
const HEAD: &str = r##"<defs>
<pattern id="soak" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="#fff"/><rect width="2" height="6" fill="#444"/></pattern>
<pattern id="freeze" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" fill="#e4e4e4"/><circle cx="2.5" cy="2.5" r="1" fill="#666"/></pattern>
</defs>
<style>
text{font-family:"DejaVu Sans","Liberation Sans",Arial,sans-serif;font-size:12px;fill:#000}
.title{font-size:18px;font-weight:bold}
.small{font-size:10.5px;fill:#222}
.name{font-size:13px;font-weight:bold}
.paper{fill:#fff}
.closed{fill:#ececec}
.freeze{fill:url(#freeze)}
.install{fill:#222;stroke:#000;stroke-width:1}
.soak{fill:url(#soak);stroke:#000;stroke-width:1}
.early{fill:#fff;stroke:#000;stroke-width:1}
.wait{stroke:#000;stroke-width:1.2;stroke-dasharray:2 3;fill:none}
.axis{stroke:#000;stroke-width:1}
.grid{stroke:#999;stroke-width:.5}
.gate{fill:#fff;stroke:#000;stroke-width:1.3}
.person{fill:#000}
.area{fill:#cfcfcf;stroke:none}
.curve{fill:none;stroke:#000;stroke-width:1.3}
</style>
"##;

/// Draws a forecast. The same forecast gives the same bytes.
#[must_use]
pub fn picture(plan: &str, patch: &str, forecast: &Forecast) -> String {
    Drawing::new(forecast).draw(plan, patch)
}

struct Drawing<'f> {
    f: &'f Forecast,
    zone: TimeZone,
    /// Length of the time axis, milliseconds.
    span: u64,
    rows: i64,
}

impl<'f> Drawing<'f> {
    fn new(f: &'f Forecast) -> Self {
        let last = f.expected.ended_ms.max(f.earliest.ended_ms).max(HOUR);
        let zone = TimeZoneDatabase::bundled().get(&f.zone).unwrap_or(TimeZone::UTC);
        Self { f, zone, span: last + last / 50, rows: i64::try_from(f.waves.len()).unwrap_or(0) }
    }

    fn x(&self, ms: u64) -> i64 {
        let wide = u128::from((WIDTH - LEFT - RIGHT).unsigned_abs());
        LEFT + i64::try_from(u128::from(ms.min(self.span)) * wide / u128::from(self.span)).unwrap_or(0)
    }

    fn bottom(&self) -> i64 {
        TOP + self.rows * ROW
    }

    fn draw(&self, plan: &str, patch: &str) -> String {
        let height = self.bottom() + GAP + CURVE + GAP + LEGEND;
        let title = format!("Rollout plan “{plan}”, patch {patch}");
        let mut svg = Svg::new(WIDTH, height, &title, HEAD);
        svg.words("title", "start", 200, 330, &title);
        svg.words("", "start", 200, 560, &self.summary());
        svg.words("small", "start", 200, 760, &self.risk());
        self.shade(&mut svg);
        self.ticks(&mut svg);
        for (row, wave) in (0..).zip(&self.f.waves) {
            let y = TOP + row * ROW;
            svg.words("name", "start", 200, y + 250, &shortened(&wave.name));
            let who = format!("{}, {}", count(wave.devices, "device"), count(wave.sites, "site"));
            svg.words("small", "start", 200, y + 420, &who);
            svg.stroke("grid", (200, y + ROW), (WIDTH - RIGHT, y + ROW));
            let at = usize::try_from(row).unwrap_or(0);
            self.phases(&mut svg, at, y);
        }
        self.curve(&mut svg);
        self.legend(&mut svg, height - LEGEND);
        svg.finish()
    }

    fn summary(&self) -> String {
        let devices: u64 = self.f.waves.iter().map(|w| w.devices).sum();
        let ends = |run: &Run, word: &str| match run.end {
            super::run::End::Completed => {
                format!("{word} {} (after {})", self.date(run.ended_ms), length(run.ended_ms))
            }
            end => format!("{word} it is not completed ({})", end.word()),
        };
        format!(
            "{}. Started {}; all waves passed {}; {}.",
            count(devices, "device"),
            self.date(0),
            ends(&self.f.earliest, "at the earliest"),
            ends(&self.f.expected, "expected")
        )
    }

    fn risk(&self) -> String {
        let r = &self.f.expected.at_risk;
        let region = match r.region_name.as_str() {
            "" => String::new(),
            name => format!(", {} in region {name}", r.region),
        };
        format!(
            "Most devices at risk at one moment (in hand, from the offer to the end of the soak): {}, on {}; {} at one site{region}.",
            r.all,
            self.date(r.at_ms),
            r.site
        )
    }

    /// "Tue 24 Nov 2026 09:00" on the clock of most sites.
    fn date(&self, ms: u64) -> String {
        self.wall(ms, "%a %-d %b %Y %H:%M")
    }

    fn wall(&self, ms: u64, form: &str) -> String {
        let at = self.f.start_ms.saturating_add_unsigned(ms);
        Instant::from_millisecond(at)
            .map_or_else(|_| String::new(), |at| self.zone.to_datetime(at).strftime(form).to_string())
    }

    /// Hours in which no install may begin.
    fn shade(&self, svg: &mut Svg) {
        for closed in &self.f.closed {
            let (from, to) = (self.x(closed.from_ms), self.x(closed.to_ms));
            let class = if closed.freeze { "freeze" } else { "closed" };
            svg.rect(class, from, TOP, to - from, self.rows * ROW, Some(&closed.why));
        }
    }

    fn ticks(&self, svg: &mut Svg) {
        let step = STEPS.into_iter().find(|step| self.span / step <= TICKS).unwrap_or(400 * DAY);
        let form = if step < DAY { "%-d %b %H:%M" } else { "%-d %b" };
        let base = self.bottom() + GAP + CURVE;
        // Ticks stand at whole steps of the wall clock of the beginning.
        let start = u64::try_from(self.f.start_ms).unwrap_or(0);
        let offset = self.zone.to_offset(Instant::from_millisecond(self.f.start_ms).unwrap_or_default()).seconds();
        let wall = start.saturating_add_signed(i64::from(offset) * 1000);
        let mut at = (step - wall % step) % step;
        while at <= self.span {
            let x = self.x(at);
            svg.stroke("grid", (x, TOP), (x, base));
            svg.words("small", "middle", x, base + 180, &self.wall(at, form));
            at += step;
        }
        svg.stroke("axis", (LEFT, self.bottom()), (WIDTH - RIGHT, self.bottom()));
        svg.words("small", "end", WIDTH - RIGHT, base + 360, &format!("clock of {}", self.f.zone));
    }

    /// One wave: what it waits for, installs, soak and gate at the expected pace; below, thin, at the earliest.
    fn phases(&self, svg: &mut Svg, w: usize, y: i64) {
        let Some(wave) = self.f.expected.waves.get(w) else { return };
        let top = y + 90;
        let before = w.checked_sub(1).and_then(|b| self.f.expected.waves[b].passed_ms);
        if let (Some(passed), Some(began)) = (before, wave.began_ms)
            && began > passed
        {
            let (from, to, middle) = (self.x(passed), self.x(began), top + BAR / 2);
            svg.stroke("wait", (from, middle), (to, middle));
            let asked = self.f.expected.waits.iter().find(|wait| wait.wave == wave.name && wait.code == "approval");
            if let Some(asked) = asked {
                let tip = format!("{}: {}", asked.text, length(began - passed));
                // Never before the gate, however quick they are.
                let left = from.max(to - 145);
                let person = [(left + 70, top), (left, top + BAR), (left + 140, top + BAR)];
                svg.polygon("polygon", "person", &person, Some(&tip));
            }
        }
        self.bars(svg, wave, top, BAR, ["install", "soak"]);
        if let Some(passed) = wave.passed_ms {
            let (x, middle) = (self.x(passed), top + BAR / 2);
            let gate = [(x, middle - 110), (x + 80, middle), (x, middle + 110), (x - 80, middle)];
            svg.polygon("polygon", "gate", &gate, Some(&format!("gate of {} passed {}", wave.name, self.date(passed))));
        }
        if let Some(early) = self.f.earliest.waves.get(w) {
            self.bars(svg, early, top + BAR + 60, THIN, ["early", "early"]);
        }
    }

    fn bars(&self, svg: &mut Svg, wave: &WaveRun, y: i64, height: i64, [install, soak]: [&str; 2]) {
        let Some(begun) = wave.began_ms else { return };
        let began = wave.first_install_ms.unwrap_or(begun);
        svg.stroke("wait", (self.x(begun), y + height / 2), (self.x(began), y + height / 2));
        let installed = wave.installed_ms.unwrap_or(self.span);
        let passed = wave.passed_ms.unwrap_or(self.span);
        let tip = format!("{}: installs from {} to {}", wave.name, self.date(began), self.date(installed));
        svg.rect(install, self.x(began), y, self.x(installed) - self.x(began), height, Some(&tip));
        if passed > installed {
            let tip = format!("{}: last soak until {}", wave.name, self.date(passed));
            svg.rect(soak, self.x(installed), y, self.x(passed) - self.x(installed), height, Some(&tip));
        }
    }

    fn curve(&self, svg: &mut Svg) {
        let (top, base) = (self.bottom() + GAP, self.bottom() + GAP + CURVE);
        let curve = &self.f.expected.curve;
        let most = curve.most.iter().copied().max().unwrap_or(0).max(1);
        let y = |n: u64| {
            base - i64::try_from(u128::from(n) * (CURVE - 100).unsigned_abs() as u128 / u128::from(most)).unwrap_or(0)
        };
        let mut line = vec![(self.x(0), base)];
        for (k, n) in (0..).zip(&curve.most) {
            line.push((self.x(k * curve.step_ms), y(*n)));
            line.push((self.x((k + 1) * curve.step_ms), y(*n)));
        }
        line.push((line.last().map_or(LEFT, |(x, _)| *x), base));
        svg.polygon("polygon", "area", &line, None);
        svg.polygon("polyline", "curve", &line, None);
        svg.stroke("axis", (LEFT, base), (WIDTH - RIGHT, base));
        svg.stroke("axis", (LEFT, top), (LEFT, base));
        svg.words("name", "start", 200, top + 250, "devices at risk");
        svg.words("small", "start", 200, top + 420, "at the expected pace");
        for n in [0, most / 2, most].into_iter().filter(|n| *n == 0 || *n != most / 2 || most > 1) {
            svg.words("small", "end", LEFT - 60, y(n) + 40, &n.to_string());
            svg.stroke("axis", (LEFT - 40, y(n)), (LEFT, y(n)));
        }
    }

    fn legend(&self, svg: &mut Svg, top: i64) {
        let y = top + 200;
        let mut x = 200;
        for (class, words, width) in [
            ("install", "installs", 900),
            ("soak", "the last soaks", 1_250),
            ("early", "at the earliest", 1_250),
            ("closed", "no window open", 1_350),
            ("freeze", "change freeze", 1_250),
        ] {
            svg.rect(class, x, y - 100, 240, 120, None);
            svg.words("small", "start", x + 300, y, words);
            x += width + 300;
        }
        let gate = [(x + 80, y - 150), (x + 160, y - 40), (x + 80, y + 70), (x, y - 40)];
        svg.polygon("polygon", "gate", &gate, None);
        svg.words("small", "start", x + 220, y, "gate passed");
        x += 1_250;
        svg.polygon("polygon", "person", &[(x + 70, y - 150), (x, y + 40), (x + 140, y + 40)], None);
        svg.words("small", "start", x + 200, y, "people have approved");
        x += 1_850;
        svg.stroke("wait", (x, y - 40), (x + 240, y - 40));
        svg.words("small", "start", x + 300, y, "waits");
        let note = "Dates come from the production engine in a modelled world in which nothing fails: lines, deferrals and people as in the \
                    standard model. They are no promise.";
        svg.words("small", "start", 200, y + 330, note);
        svg.words("small", "start", 200, y + 500, &self.closed_by());
    }

    /// Windows that are the waves' or devices' own are not shaded; say so.
    fn closed_by(&self) -> String {
        let plan = "Shaded: hours in which no install may begin at the sites whose hours are the most common";
        format!(
            "{plan}, on the clock of {}; windows of single waves and devices are kept to, and not shaded.",
            self.f.zone
        )
    }
}

fn shortened(name: &str) -> String {
    let mut short: String = name.chars().take(NAME_CHARS).collect();
    if short.len() < name.len() {
        short.push('…');
    }
    short
}

/// To the minute.
fn length(ms: u64) -> String {
    DurationMs(if ms >= 60_000 { ms / 60_000 * 60_000 } else { ms }).to_string()
}
