//! What is said of a command line that cannot be followed.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A command line that ends the program before it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EarlyExit {
    /// Help was asked for: print this, exit 0.
    Help(String),
    /// It makes no sense, and why, in one line: exit 2.
    BadUsage(String),
}

impl EarlyExit {
    pub(super) fn of(error: clap::Error) -> Self {
        match error.kind() {
            ErrorKind::DisplayHelp => Self::Help(error.render().to_string()),
            _ => Self::BadUsage(one_line(&error)),
        }
    }
}

/// clap explains itself over several lines; a log wants one. Its first paragraph says what is wrong, its
/// suggestion is worth keeping, its usage is what `--help` is for.
fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let first = text.strip_prefix("error: ").unwrap_or(&text).split("\n\n").next().unwrap_or_default();
    let mut line = first.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    line = line.replace(" [possible values:", " (possible values:").replace(']', ")");
    let asked = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => name.as_str(),
        _ => "",
    };
    let suggested = [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand];
    match suggested.into_iter().find_map(|kind| error.get(kind)) {
        Some(ContextValue::String(name)) if of_one_group(asked, name) => {
            line.push_str(&format!(" (did you mean {name}?)"))
        }
        Some(ContextValue::Strings(names)) if !names.is_empty() => {
            line.push_str(&format!(" (did you mean {}?)", names.join(" or ")));
        }
        // What was wrong with a value has been said with it.
        _ if matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation) => {}
        _ => line.push_str(" (try --help)"),
    }
    line
}

/// Whether two long flags begin with the same word, `--web.` and the like; a suggestion from elsewhere misleads.
fn of_one_group(asked: &str, suggested: &str) -> bool {
    let group = |name: &str| name.split_once('.').map(|(group, _)| group.to_owned());
    match (group(asked), group(suggested)) {
        (Some(asked), Some(suggested)) => asked == suggested,
        _ => true,
    }
}
