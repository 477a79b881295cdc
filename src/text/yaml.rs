//! YAML that operators write: strict, so that a slip of the pen is an error with its line; bounded, so that no file can exhaust the
//! process. What a file means is its reader's.

use super::quote;
use serde::de::{self, Deserialize, DeserializeOwned, Deserializer, Visitor};
pub(crate) use serde_saphyr::Spanned;
use serde_saphyr::{DefaultMessageFormatter, Error, MessageFormatter, Options};
use std::fmt;

/// What a text says; `None` if it says nothing. Else the line that is wrong, and why.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<Option<T>, (Option<u64>, String)> {
    serde_saphyr::from_str_with_options(text, options()).map_err(|error| explain(&error))
}

fn options() -> Options {
    serde_saphyr::options! {
        with_snippet: false,
        // "yes" is a word, and 0o22 is not a port anyone means.
        strict_booleans: true,
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
        // A file of this kind repeats little: aliases that unfold to more than the file could hold are a bomb.
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: 20_000,
            max_replay_stack_depth: 8,
        },
        budget: serde_saphyr::budget! {
            max_documents: 2, // so that the error for a second one says so
            max_depth: 16,
            flow_nesting_limit: 16,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_merge_keys: 0,
        },
    }
}

/// The line and the cause of a parser's error, in our words where it is one that people will meet.
fn explain(error: &Error) -> (Option<u64>, String) {
    let error = error.without_snippet();
    let line = error.location().map(|location| location.line());
    let what = match error {
        Error::AliasError { error, .. } => return (line, explain(error).1),
        Error::Message { msg, .. } | Error::HookError { msg, .. } => msg.clone(),
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown key {} (known: {})", quote(field), expected.join(", "))
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => format!("key {} is given twice", quote(key)),
        Error::SerdeInvalidType { unexpected, expected, .. }
        | Error::SerdeInvalidValue { unexpected, expected, .. } => {
            format!("expected {expected}, found {unexpected}")
        }
        Error::Unexpected { expected: "mapping start", .. } => "expected a mapping (key: value)".to_owned(),
        Error::Unexpected { expected: "sequence start", .. } => "expected a list".to_owned(),
        Error::Unexpected { expected: "string scalar", .. } => {
            "expected one value, found a list or a mapping".to_owned()
        }
        Error::NullIntoString { .. } => "expected one value, found nothing".to_owned(),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::Budget { .. } => "too much nesting or repetition for a configuration file".to_owned(),
        Error::MergeKeyNotAllowed { .. } => "merge keys (<<) are not allowed".to_owned(),
        Error::MultipleDocuments { .. } => "a second document; one file holds one".to_owned(),
        other => DefaultMessageFormatter.format_message(other).replace('\n', " "),
    };
    (line, what)
}

/// A key with nothing below it, as when every line is commented out, says nothing.
pub(crate) fn or_default<'de, T: Deserialize<'de> + Default, D: Deserializer<'de>>(
    from: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(from).map(Option::unwrap_or_default)
}

/// A scalar with a syntax of its own, read from the text as it is written: YAML's own numbers would take `0x14`, `0o24` and
/// `1_000` as well.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scalar<T>(pub(crate) T);

/// How a value is written in a scalar.
pub(crate) trait Syntax: Sized {
    const EXPECTED: &'static str;
    fn parse(text: &str) -> Result<Self, String>;
}

pub(crate) fn expected<T: Syntax>(text: &str) -> String {
    format!("expected {}, found {}", T::EXPECTED, quote(text))
}

impl<'de, T: Syntax> Deserialize<'de> for Scalar<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ScalarVisitor<T>(std::marker::PhantomData<T>);

        impl<T: Syntax> Visitor<'_> for ScalarVisitor<T> {
            type Value = Scalar<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::EXPECTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar<T>, E> {
                T::parse(text).map(Scalar).map_err(E::custom)
            }
        }

        from.deserialize_str(ScalarVisitor(std::marker::PhantomData))
    }
}
