//! A small but real image renderer: what the quickstart's clinical service does at each request.
//!
//! It reads the presentation settings that are installed on a device, computes the greyscale table (DICOM PS3.3,
//! C.11.2.1.2 and C.11.2.1.3), renders a test pattern with it, and looks at the result as a radiographer looks at
//! SMPTE RP 133: every grey step must be told from the next, and the 5 % and 95 % patches from their surroundings.

use std::{collections::BTreeMap, fmt};

use wardround_signing::Digest;

/// Bits of a stored pixel, as CT and MR deliver them.
const STORED_BITS: u32 = 12;
/// Values of a stored pixel.
pub(super) const STORED_VALUES: i64 = 1 << STORED_BITS;
/// Grey steps of the pattern: 0 %, 10 % … 100 % (SMPTE RP 133).
const STEPS: usize = 11;
/// Side of one square of the pattern, pixels.
const SIDE: usize = 16;
/// The least difference between two steps that is still seen on an 8-bit display. One level is 0.4 % of the range.
const VISIBLE_LEVELS: u8 = 4;
/// Largest settings file that is read, bytes.
pub(super) const SETTINGS_BYTES_MAX: u64 = 16 * 1024;

/// The window function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    /// C.11.2.1.2.1.
    Linear,
    /// C.11.2.1.3.2.
    LinearExact,
}

/// What is installed on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) version: String,
    pub(super) function: Function,
    pub(super) center: i64,
    pub(super) width: i64,
    /// Of the table that these settings give: a settings file that was damaged does not match it.
    pub(super) table: Digest,
}

impl Function {
    fn word(self) -> &'static str {
        match self {
            Self::Linear => "LINEAR",
            Self::LinearExact => "LINEAR_EXACT",
        }
    }
}

impl Settings {
    /// Settings with the checksum that belongs to them.
    pub(super) fn new(version: &str, function: Function, center: i64, width: i64) -> Self {
        let mut settings = Self { version: version.to_owned(), function, center, width, table: Digest::of(&[]) };
        settings.table = Digest::of(&settings.greys());
        settings
    }

    /// Reads a settings file.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut fields = BTreeMap::new();
        for (number, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty() && !l.starts_with('#')) {
            let (name, value) =
                line.split_once('=').ok_or_else(|| format!("line {} is not \"name = value\"", number + 1))?;
            if fields.insert(name.trim(), value.trim()).is_some() {
                return Err(format!("{} stands twice", name.trim()));
            }
        }
        let field = |name: &str| fields.get(name).copied().ok_or_else(|| format!("{name} is missing"));
        let number = |name: &str| {
            field(name)?.parse::<i64>().map_err(|_| format!("{name} is no whole number")).and_then(|n| {
                if (-STORED_VALUES..=2 * STORED_VALUES).contains(&n) {
                    Ok(n)
                } else {
                    Err(format!("{name} is out of range"))
                }
            })
        };
        let function = match field("voi_lut_function")? {
            "LINEAR" => Function::Linear,
            "LINEAR_EXACT" => Function::LinearExact,
            other => return Err(format!("voi_lut_function {other:?} is unknown")),
        };
        let width = number("window_width")?;
        if width < 1 {
            return Err("window_width must be at least 1 (DICOM PS3.3 C.11.2.1.2)".into());
        }
        Ok(Self {
            version: field("version")?.to_owned(),
            function,
            center: number("window_center")?,
            width,
            table: field("table_sha256")?.parse().map_err(|_| "table_sha256 is no digest".to_owned())?,
        })
    }

    /// The display level of a stored value. In doubled units, so that the halves of the formulas stay whole numbers.
    fn grey(&self, stored: i64) -> u8 {
        let (low, span) = match self.function {
            // x ≤ c − 0.5 − (w−1)/2 … x > c − 0.5 + (w−1)/2
            Function::Linear => (2 * self.center - 1 - (self.width - 1), 2 * (self.width - 1)),
            // x ≤ c − w/2 … x > c + w/2
            Function::LinearExact => (2 * self.center - self.width, 2 * self.width),
        };
        let x = 2 * stored - low;
        if x <= 0 {
            return 0;
        }
        if x >= span {
            return u8::MAX;
        }
        // Rounded to the nearest level.
        u8::try_from((x * 255 * 2 + span) / (2 * span)).unwrap_or(u8::MAX)
    }

    /// The whole table.
    fn greys(&self) -> Vec<u8> {
        (0..STORED_VALUES).map(|stored| self.grey(stored)).collect()
    }
}

impl fmt::Display for Settings {
    /// The settings file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# how this workstation shows stored pixels; read at each image")?;
        writeln!(f, "version = {}", self.version)?;
        writeln!(f, "voi_lut_function = {}", self.function.word())?;
        writeln!(f, "window_center = {}", self.center)?;
        writeln!(f, "window_width = {}", self.width)?;
        writeln!(f, "table_sha256 = {}", self.table)
    }
}

/// Stored value at `percent` of the range.
fn stored(percent: i64) -> i64 {
    (STORED_VALUES - 1) * percent / 100
}

/// The test pattern: a row of eleven steps; below it the black and the white square with their inner patches.
fn pattern() -> Vec<Vec<i64>> {
    let mut rows = Vec::new();
    for _ in 0..SIDE {
        rows.push((0..STEPS * SIDE).map(|x| stored((x / SIDE) as i64 * 10)).collect());
    }
    for y in 0..SIDE {
        rows.push(
            (0..2 * SIDE)
                .map(|x| {
                    let inner = |at: usize| (SIDE / 4..SIDE * 3 / 4).contains(&(at % SIDE));
                    match (x < SIDE, inner(x) && inner(y)) {
                        (true, false) => stored(0),
                        (true, true) => stored(5),
                        (false, false) => stored(100),
                        (false, true) => stored(95),
                    }
                })
                .collect(),
        );
    }
    rows
}

/// Renders the pattern with the settings in `text` and looks at it. Gives the version that is installed.
pub(super) fn examine(text: &str) -> Result<String, String> {
    let settings = Settings::parse(text)?;
    let greys = settings.greys();
    if Digest::of(&greys) != settings.table {
        return Err(format!("the greyscale table of version {} does not match its checksum", settings.version));
    }
    let image: Vec<Vec<u8>> = pattern()
        .iter()
        .map(|row| {
            row.iter().map(|s| usize::try_from(*s).ok().and_then(|s| greys.get(s)).copied().unwrap_or(0)).collect()
        })
        .collect();
    let at = |x: usize, y: usize| image[y][x];
    let middle = SIDE / 2;
    let steps: Vec<u8> = (0..STEPS).map(|step| at(step * SIDE + middle, middle)).collect();
    let seen = 1 + steps.windows(2).filter(|pair| pair[1].saturating_sub(pair[0]) >= VISIBLE_LEVELS).count();
    if seen < STEPS {
        return Err(format!("version {}: only {seen} of {STEPS} grey steps can be told apart", settings.version));
    }
    let below = SIDE + middle;
    let dark = at(middle, below).abs_diff(at(0, SIDE));
    let bright = at(SIDE + middle, below).abs_diff(at(SIDE, SIDE));
    if dark < VISIBLE_LEVELS || bright < VISIBLE_LEVELS {
        return Err(format!("version {}: the 5 % or the 95 % patch can't be seen", settings.version));
    }
    Ok(settings.version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_windows_show_everything() {
        for settings in [
            Settings::new("2.0", Function::Linear, 2048, 4096),
            Settings::new("2.1", Function::LinearExact, 2048, 4096),
            Settings::new("2.2", Function::LinearExact, 2047, 4094),
        ] {
            assert_eq!(examine(&settings.to_string()), Ok(settings.version.clone()));
            assert_eq!(Settings::parse(&settings.to_string()), Ok(settings));
        }
    }

    #[test]
    fn the_standard_formulas_hold_at_their_ends() {
        // PS3.3 C.11.2.1.2.1, note 3: c=2048, w=4096 maps 0 to the least and 4095 to the greatest output.
        let linear = Settings::new("x", Function::Linear, 2048, 4096);
        assert_eq!((linear.grey(0), linear.grey(4095)), (0, 255));
        // Note 4: c=2048, w=1 is a threshold: 2047 → least, 2048 → greatest.
        let threshold = Settings::new("x", Function::Linear, 2048, 1);
        assert_eq!((threshold.grey(2047), threshold.grey(2048)), (0, 255));
        // C.11.2.1.3.2: c=2048, w=4096: the centre is in the middle.
        assert_eq!(Settings::new("x", Function::LinearExact, 2048, 4096).grey(2048), 128);
    }

    #[test]
    fn what_would_mislead_is_found() {
        let collapsed = Settings::new("2.2", Function::LinearExact, 2048, 1);
        assert_eq!(
            examine(&collapsed.to_string()),
            Err("version 2.2: only 2 of 11 grey steps can be told apart".into())
        );
        let narrow = Settings::new("2.2", Function::Linear, 2048, 3400);
        assert!(examine(&narrow.to_string()).is_err(), "the ends are cut off");
        let good = Settings::new("2.0", Function::Linear, 2048, 4096).to_string();
        assert!(examine(&good.replace("= 2048", "= 2000")).unwrap_err().contains("checksum"));
        assert!(examine(&good.replace("4096", "0")).unwrap_err().contains("at least 1"));
        assert_eq!(examine("version 2"), Err("line 1 is not \"name = value\"".into()));
        assert_eq!(examine(""), Err("voi_lut_function is missing".into()));
    }
}
