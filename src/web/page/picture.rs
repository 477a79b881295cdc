//! Small pictures, drawn as SVG in the page itself. Each has its content in words, too.

use super::escape::escape;
use crate::publish::recent::MINUTES;
use std::fmt::Write as _;
use std::ops::RangeInclusive;

/// The width of a picture of ports, in its own units.
const WIDTH: f64 = 176.0;

/// The port space from left to right, each twofold as wide as the one before: what is well known is not a single line.
fn place(port: u16) -> f64 {
    (f64::from(port) + 1.0).log2() / 16.0 * WIDTH
}

/// Where the ports of a scan lie, `what` in words.
pub(super) fn ports(probed: impl Iterator<Item = RangeInclusive<u16>>, what: &str) -> String {
    let mut svg = format!(
        "<svg class=\"ports\" viewBox=\"0 0 {WIDTH} 16\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>\
         <rect class=\"ground\" x=\"0\" y=\"2\" width=\"{WIDTH}\" height=\"12\"/>",
        escape(what)
    );
    for tick in [10, 100, 1_000, 10_000] {
        let _ =
            write!(svg, "<rect class=\"tick\" x=\"{:.1}\" y=\"2\" width=\"1\" height=\"12\"/>", place(tick));
    }
    for range in probed {
        let (from, to) = (place(*range.start()), place(*range.end()));
        let width = (to - from).max(1.5);
        let _ =
            write!(svg, "<rect class=\"mark\" x=\"{from:.1}\" y=\"0\" width=\"{width:.1}\" height=\"16\"/>");
    }
    svg.push_str("</svg>");
    svg
}

/// Hits in each minute of the last hour.
pub(super) fn hits(minutes: &[u64; MINUTES]) -> String {
    let most = minutes.iter().copied().max().unwrap_or(0).max(1);
    let (all, last) = (minutes.iter().sum::<u64>(), minutes[MINUTES - 1]);
    let what =
        format!("{all} hits within the last hour, {last} in the last minute, at most {most} in one minute");
    let mut svg = format!(
        "<svg class=\"hits\" viewBox=\"0 0 600 80\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{what}\">\
         <title>{what}</title><rect class=\"ground\" x=\"0\" y=\"0\" width=\"600\" height=\"80\"/>"
    );
    for (minute, hits) in minutes.iter().enumerate().filter(|(_, hits)| **hits > 0) {
        let height = (*hits as f64 / most as f64 * 76.0).max(2.0);
        let (x, y) = (minute * 10 + 1, 80.0 - height);
        let _ =
            write!(svg, "<rect class=\"bar\" x=\"{x}\" y=\"{y:.1}\" width=\"8\" height=\"{height:.1}\"/>");
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_space_fits() {
        assert_eq!((place(0), place(u16::MAX)), (0.0, WIDTH));
        let svg = ports([22..=22, 0..=u16::MAX].into_iter(), "a \"b\"");
        assert_eq!(svg.matches("class=\"mark\"").count(), 2);
        assert!(svg.contains("aria-label=\"a &quot;b&quot;\""), "{svg}");
    }

    #[test]
    fn an_hour_without_hits_has_no_bar_and_says_so() {
        let mut minutes = [0; MINUTES];
        assert!(
            hits(&minutes).contains("0 hits within the last hour") && !hits(&minutes).contains("\"bar\"")
        );
        (minutes[0], minutes[59]) = (1, 100);
        assert_eq!(hits(&minutes).matches("\"bar\"").count(), 2);
    }
}
