//! Drawings as SVG 1.1, well formed by construction: elements are closed where they are opened, and every text and
//! attribute is escaped.

use std::fmt::Write as _;

use crate::language::shown;

/// A drawing under way. Lengths are tenths of a pixel, so that every machine writes the same digits.
pub(super) struct Svg {
    text: String,
}

/// "12.3" for 123.
pub(super) fn px(tenths: i64) -> String {
    let sign = if tenths < 0 { "-" } else { "" };
    let tenths = tenths.unsigned_abs();
    match tenths % 10 {
        0 => format!("{sign}{}", tenths / 10),
        rest => format!("{sign}{}.{rest}", tenths / 10),
    }
}

/// Text in which nothing is markup (XML 1.0, section 2.4), and nothing that XML forbids or that hides other text.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in shown(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            // Not characters (XML 1.0, section 2.2).
            '\u{fffe}' | '\u{ffff}' => safe.push(char::REPLACEMENT_CHARACTER),
            c => safe.push(c),
        }
    }
    safe
}

impl Svg {
    /// A drawing of this size with a title for those who can't see it. `defs` and `style` are ours, and well formed.
    pub(super) fn new(width: i64, height: i64, title: &str, head: &'static str) -> Self {
        let (w, h) = (px(width), px(height));
        let mut svg = Self { text: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n") };
        svg.line(&format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{w}\" height=\"{h}\" viewBox=\"0 0 {w} {h}\" role=\"img\">"
        ));
        svg.line(&format!("<title>{}</title>", escaped(title)));
        svg.text.push_str(head);
        svg.rect("paper", 0, 0, width, height, None);
        svg
    }

    fn line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// A box; `tip` is shown by viewers that can.
    pub(super) fn rect(&mut self, class: &str, x: i64, y: i64, width: i64, height: i64, tip: Option<&str>) {
        let at =
            format!("x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"", px(x), px(y), px(width.max(0)), px(height.max(0)));
        self.shape(&format!("rect class=\"{}\" {at}", escaped(class)), "rect", tip);
    }

    /// A straight line.
    pub(super) fn stroke(&mut self, class: &str, from: (i64, i64), to: (i64, i64)) {
        let at = format!("x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"", px(from.0), px(from.1), px(to.0), px(to.1));
        self.shape(&format!("line class=\"{}\" {at}", escaped(class)), "line", None);
    }

    /// A closed shape, or with a class that fills nothing a line with corners.
    pub(super) fn polygon(&mut self, element: &'static str, class: &str, points: &[(i64, i64)], tip: Option<&str>) {
        let mut list = String::new();
        for (x, y) in points {
            let _ = write!(list, "{}{},{}", if list.is_empty() { "" } else { " " }, px(*x), px(*y));
        }
        self.shape(&format!("{element} class=\"{}\" points=\"{list}\"", escaped(class)), element, tip);
    }

    fn shape(&mut self, inside: &str, element: &str, tip: Option<&str>) {
        match tip {
            Some(tip) => self.line(&format!("<{inside}><title>{}</title></{element}>", escaped(tip))),
            None => self.line(&format!("<{inside}/>")),
        }
    }

    /// A text; `anchor` is "start", "middle" or "end".
    pub(super) fn words(&mut self, class: &str, anchor: &'static str, x: i64, y: i64, text: &str) {
        let at = format!("x=\"{}\" y=\"{}\" text-anchor=\"{anchor}\"", px(x), px(y));
        self.line(&format!("<text class=\"{}\" {at}>{}</text>", escaped(class), escaped(text)));
    }

    pub(super) fn finish(mut self) -> String {
        self.line("</svg>");
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_others_wrote_becomes_markup() {
        assert_eq!(escaped("<a b='c\"&d\u{ffff}\u{1b}>"), "&lt;a b=&#39;c&quot;&amp;d\u{fffd}\u{fffd}&gt;");
        assert_eq!([px(0), px(5), px(-15), px(120)], ["0", "0.5", "-1.5", "12"]);
    }
}
