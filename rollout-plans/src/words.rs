//! Words that people's texts are made of.

use std::fmt::Display;

/// "1 device" or "3 devices": a number of things that take an s.
#[must_use]
pub fn count(number: impl Display, word: &str) -> String {
    let number = number.to_string();
    let ending = if number == "1" { "" } else { "s" };
    format!("{number} {word}{ending}")
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([count(0, "site"), count(1, "site"), count(11, "site")], ["0 sites", "1 site", "11 sites"]);
    }
}
