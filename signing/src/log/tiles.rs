//! Paths and forms of tiles and entry bundles (<https://c2sp.org/tlog-tiles>).

use std::{fmt, fmt::Write as _, str::FromStr};

use super::LogError;
use crate::Digest;

/// Hashes of a full tile, and entries of a full bundle.
pub const TILE_WIDTH: u64 = 256;
/// Longest entry, bytes: its length stands in two bytes.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// Highest level: a tree has at most 2^64 leaves, 8 levels of 256.
const LEVEL_MAX: u8 = 7;

/// Which piece of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TilePath {
    /// Hashes of the tree.
    Tile {
        /// Level: each is eight of the tree's.
        level: u8,
        /// Position in the level.
        index: u64,
        /// Hashes in it, 1 to 256.
        width: u16,
    },
    /// The entries under the tile of level 0 at the same position.
    Entries {
        /// Position.
        index: u64,
        /// Entries in it, 1 to 256.
        width: u16,
    },
}

impl TilePath {
    /// Number of hashes or entries.
    #[must_use]
    pub fn width(&self) -> u16 {
        match self {
            Self::Tile { width, .. } | Self::Entries { width, .. } => *width,
        }
    }

    /// Position in its level.
    #[must_use]
    pub fn index(&self) -> u64 {
        match self {
            Self::Tile { index, .. } | Self::Entries { index, .. } => *index,
        }
    }

    /// True when a log of `size` entries holds it, in this width or more.
    #[must_use]
    pub fn is_within(&self, size: u64) -> bool {
        let level = match self {
            Self::Tile { level, .. } => *level,
            Self::Entries { .. } => 0,
        };
        let there = size.checked_shr(u32::from(level) * 8).unwrap_or(0);
        self.index()
            .checked_mul(TILE_WIDTH)
            .and_then(|first| first.checked_add(u64::from(self.width())))
            .is_some_and(|end| end <= there)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tile { level, .. } => write!(f, "tile/{level}/")?,
            Self::Entries { .. } => f.write_str("tile/entries/")?,
        }
        let mut digits = String::new();
        let _ = write!(digits, "{:03}", self.index());
        let groups = digits.len().div_ceil(3);
        let digits = format!("{digits:0>width$}", width = groups * 3);
        for group in 0..groups {
            let (mark, slash) = if group + 1 == groups { ("", "") } else { ("x", "/") };
            write!(f, "{mark}{}{slash}", &digits[group * 3..group * 3 + 3])?;
        }
        match self.width() {
            256 => Ok(()),
            width => write!(f, ".p/{width}"),
        }
    }
}

impl FromStr for TilePath {
    type Err = LogError;

    fn from_str(text: &str) -> Result<Self, LogError> {
        let bad = || LogError::Path(text.chars().take(80).collect());
        let rest = text.strip_prefix("tile/").ok_or_else(bad)?;
        let (level, rest) = rest.split_once('/').ok_or_else(bad)?;
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse::<u16>().map_err(|_| bad())?),
            None => (rest, 256),
        };
        let digits: String = index.split('/').map(|group| group.strip_prefix('x').unwrap_or(group)).collect();
        let index = digits.parse::<u64>().map_err(|_| bad())?;
        let path = match level {
            "entries" => Self::Entries { index, width },
            level => Self::Tile { level: level.parse().map_err(|_| bad())?, index, width },
        };
        // One spelling only: no further zeroes, no missing or surplus 'x', no ".p/256".
        let valid = (1..=256).contains(&width) && !matches!(path, Self::Tile { level, .. } if level > LEVEL_MAX);
        if valid && path.to_string() == text { Ok(path) } else { Err(bad()) }
    }
}

/// Everything that a log of `size` entries consists of beside its checkpoint: tiles level by level, then entry bundles.
pub fn tile_paths(size: u64) -> impl Iterator<Item = TilePath> {
    let row = |there: u64| {
        (0..there.div_ceil(TILE_WIDTH)).map(move |index| {
            let width = (there - index * TILE_WIDTH).min(TILE_WIDTH);
            // At most 256.
            (index, u16::try_from(width).unwrap_or(256))
        })
    };
    let tiles = (0..=LEVEL_MAX).flat_map(move |level| {
        row(size >> (u32::from(level) * 8)).map(move |(index, width)| TilePath::Tile { level, index, width })
    });
    tiles.chain(row(size).map(|(index, width)| TilePath::Entries { index, width }))
}

/// Entries with their lengths before them.
///
/// # Errors
/// [`LogError::Entry`] for one that is too long.
pub fn bundle<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, LogError> {
    let mut bytes = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).map_err(|_| LogError::Entry(entry.len()))?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(entry);
    }
    Ok(bytes)
}

/// The `width` entries of a bundle.
///
/// # Errors
/// [`LogError::Bundle`] when there are more or fewer, or when bytes are left over.
pub fn read_bundle(mut bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, LogError> {
    let mut entries = Vec::with_capacity(usize::from(width));
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let entry = rest.get(..length).ok_or(LogError::Bundle("an entry is cut off"))?;
        entries.push(entry);
        bytes = &rest[length..];
    }
    if !bytes.is_empty() {
        return Err(LogError::Bundle("bytes are left over"));
    }
    if entries.len() != usize::from(width) {
        return Err(LogError::Bundle("it holds another number of entries than its path says"));
    }
    Ok(entries)
}

/// The `width` hashes of a tile.
///
/// # Errors
/// [`LogError::Tile`] for another length.
pub fn read_tile(bytes: &[u8], width: u16) -> Result<Vec<Digest>, LogError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || hashes.len() != usize::from(width) {
        return Err(LogError::Tile { width, bytes: bytes.len() });
    }
    Ok(hashes.iter().map(|hash| Digest::from_bytes(*hash)).collect())
}
