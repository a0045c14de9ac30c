//! Pages: sizes within limits, and tokens that say after which item to go on.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use tonic::Status;

use super::status;

/// Longest token, bytes: two ids in base64.
const TOKEN_BYTES_MAX: usize = 400;

/// How many items to give: `default` when nothing is asked, never over `max`.
pub(super) fn size(asked: u32, default: usize, max: usize) -> usize {
    match usize::try_from(asked).unwrap_or(max) {
        0 => default,
        asked => asked.min(max),
    }
}

/// The token that goes on after `last`.
pub(super) fn token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

/// What a token says; `None` for the first page.
pub(super) fn after(token: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let bad = || status::invalid("page_token", "this is not a token of an earlier page");
    if token.len() > TOKEN_BYTES_MAX {
        return Err(bad());
    }
    let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| bad())?;
    String::from_utf8(bytes).map(Some).map_err(|_| bad())
}

/// A token that says a position.
pub(super) fn position(token: &str) -> Result<Option<u64>, Status> {
    let bad = |_| status::invalid("page_token", "this is not a token of an earlier page");
    after(token)?.map(|text| text.parse().map_err(bad)).transpose()
}

/// Cuts one item more than a page down to the page, and gives its token if something follows.
pub(super) fn cut<T>(mut items: Vec<T>, size: usize, key: impl Fn(&T) -> String) -> (Vec<T>, String) {
    if items.len() <= size {
        return (items, String::new());
    }
    items.truncate(size);
    let next = items.last().map(|last| token(&key(last))).unwrap_or_default();
    (items, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_round_and_foreign_ones_are_refused() {
        assert_eq!(after(&token("rx1/ct-01")).unwrap().as_deref(), Some("rx1/ct-01"));
        assert_eq!(after("").unwrap(), None);
        for bad in ["!", "a", &"A".repeat(500)] {
            assert!(after(bad).is_err(), "{bad}");
        }
        assert_eq!((size(0, 100, 1000), size(5, 100, 1000), size(u32::MAX, 100, 1000)), (100, 5, 1000));
        assert_eq!(cut(vec![1, 2, 3], 2, ToString::to_string), (vec![1, 2], token("2")));
        assert_eq!(cut(vec![1, 2], 2, ToString::to_string), (vec![1, 2], String::new()));
    }
}
