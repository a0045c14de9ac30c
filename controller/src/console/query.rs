//! The query part of an address. All that the pages link to are plain words and page tokens, so nothing is decoded: a
//! value with any other character counts as absent.

use axum::http::Uri;

/// Longest value, bytes.
const VALUE_BYTES_MAX: usize = 500;

/// The value of `name`, or nothing.
pub(super) fn value(uri: &Uri, name: &str) -> String {
    let pairs = uri.query().unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let plain =
        |v: &str| v.len() <= VALUE_BYTES_MAX && v.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    pairs.into_iter().find(|(key, v)| *key == name && plain(v)).map(|(_, v)| v.to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::value;

    #[test]
    fn only_plain_values_are_read() {
        let uri = "/x?state=rolled_back&page=cnlUx-_1&wave=a%20b&empty=".parse().unwrap();
        assert_eq!(value(&uri, "state"), "rolled_back");
        assert_eq!(value(&uri, "page"), "cnlUx-_1");
        assert_eq!((value(&uri, "wave"), value(&uri, "empty"), value(&uri, "none")), Default::default());
    }
}
