//! Text that others wrote, in messages for people: nothing in it can steer a terminal or turn the line around, and none of
//! it is long enough to bury the message.

pub(crate) mod time;
pub mod units;
pub(crate) mod yaml;

/// The most characters that a message quotes of one text.
const MOST_QUOTED: usize = 80;

/// The most characters of a whole message.
const MOST_SAID: usize = 1000;

/// A text in quotation marks, as a message quotes it: escaped, and cut where it is long.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    let mut characters = text.chars();
    quoted.extend(characters.by_ref().take(MOST_QUOTED).flat_map(char::escape_debug));
    quoted.push('"');
    let more = characters.count();
    if more > 0 {
        quoted.push_str(&format!(" and {more} characters more"));
    }
    quoted
}

/// A message as one line that is safe to print: what steers a terminal (escape sequences) or reorders a line (U+202E) is
/// escaped, and it ends where it gets too long.
pub fn printable(message: &str) -> String {
    let mut line = String::with_capacity(message.len().min(4 * MOST_SAID));
    let mut characters = message.chars();
    for character in characters.by_ref().take(MOST_SAID) {
        if shows_itself(character) {
            line.push(character);
        } else {
            line.extend(character.escape_debug());
        }
    }
    let more = characters.count();
    if more > 0 {
        line.push_str(&format!("… ({more} characters more)"));
    }
    line
}

/// Whether a character is printed as itself. The rest are controls, formats, separators and unassigned ones.
fn shows_itself(character: char) -> bool {
    matches!(character, '"' | '\'' | '\\') || character.escape_debug().len() == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_steers_a_terminal_or_turns_a_line_around() {
        let said = "e\u{1b}[31mth0 \u{202e}gnp.exe\u{2066} \u{9b}K\r\n\t\u{7f} \u{feff}\u{2028}";
        let shown = "e\\u{1b}[31mth0 \\u{202e}gnp.exe\\u{2066} \\u{9b}K\\r\\n\\t\\u{7f} \\u{feff}\\u{2028}";
        assert_eq!(printable(said), shown);
        assert_eq!(quote(said), format!("\"{shown}\""));
    }

    #[test]
    fn what_people_write_stays_as_it_is() {
        let said = "cannot read größe \"x\" 'y' C:\\z: 日本語";
        assert_eq!(printable(said), said);
    }

    #[test]
    fn what_is_long_is_cut() {
        let megabyte = "x".repeat(1 << 20);
        assert!(printable(&megabyte).ends_with("x… (1047576 characters more)"));
        assert_eq!(quote(&megabyte), format!("\"{}\" and 1048496 characters more", "x".repeat(80)));
    }
}
