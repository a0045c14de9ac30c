//! From a file to a validated [`SiteFile`].

use std::{io::Read, path::Path};

use super::{ConfigError, SiteFile, raw::RawSite, validate::Validator};

/// Largest site file, bytes: 5000 devices of 800 bytes.
pub const SITE_FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads and validates a site file. Relative paths in it are taken from its own directory.
///
/// # Errors
/// [`ConfigError`] when it can't be read, is too large, or does not hold what `docs/site-file.md` says.
pub fn read_site_file(path: &Path) -> Result<SiteFile, ConfigError> {
    let name = path.display().to_string();
    let fail = |message: String, hint: &str| ConfigError {
        file: name.clone(),
        line: 0,
        column: 0,
        field: String::new(),
        message,
        hint: hint.to_owned(),
    };
    let file = std::fs::File::open(path).map_err(|error| {
        fail(format!("cannot be opened: {error}"), "name an existing file that the node's account may read")
    })?;
    let mut text = String::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    file.take(SITE_FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| fail(format!("cannot be read: {error}"), "the file must be UTF-8 text"))?;
    let dir = std::path::absolute(path).ok().and_then(|p| p.parent().map(Path::to_path_buf)).unwrap_or_default();
    parse(&text, &name, &dir)
}

/// Validates the text of a site file. Relative paths in it stay as they are.
///
/// # Errors
/// As [`read_site_file`].
pub fn parse_site_file(text: &str, file_name: &str) -> Result<SiteFile, ConfigError> {
    parse(text, file_name, Path::new(""))
}

pub(super) fn parse(text: &str, file: &str, dir: &Path) -> Result<SiteFile, ConfigError> {
    if text.len() as u64 > SITE_FILE_BYTES_MAX {
        return Err(ConfigError {
            file: file.to_owned(),
            line: 0,
            column: 0,
            field: String::new(),
            message: format!("is larger than {SITE_FILE_BYTES_MAX} bytes"),
            hint: "split the site".to_owned(),
        });
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_depth: 16, max_documents: 1, max_anchors: 0, max_aliases: 0 },
    };
    let raw: RawSite = serde_saphyr::from_str_with_options(text, options).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        ConfigError {
            file: file.to_owned(),
            line,
            column,
            field: String::new(),
            message: without_location(&error.to_string()),
            hint: "docs/site-file.md lists every field".to_owned(),
        }
    })?;
    Validator { file, dir }.site(raw)
}

/// The parser repeats the place in its message; ours stands in front already.
fn without_location(message: &str) -> String {
    let one_line = message.lines().next().unwrap_or_default();
    let mut text = one_line.strip_prefix("error: ").unwrap_or(one_line);
    if let Some(at) = text.rfind(" at line ") {
        text = &text[..at];
    }
    if let Some(rest) = text.strip_prefix("line ")
        && let Some((_, after)) = rest.split_once(": ")
    {
        text = after;
    }
    text.to_owned()
}
