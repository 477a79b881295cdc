//! Why the flags or the file make no sense.

use super::file::ConfigError;
use std::fmt;

/// Why the flags or the file make no sense; shows as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsError {
    /// The file cannot be read or understood.
    Config(ConfigError),
    /// A value that cannot be meant: which one, its bounds, and the value.
    Invalid(String),
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SettingsError::Config(error) => error.fmt(f),
            SettingsError::Invalid(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for SettingsError {}

impl From<ConfigError> for SettingsError {
    fn from(error: ConfigError) -> Self {
        SettingsError::Config(error)
    }
}

/// A value that cannot be meant.
pub(super) fn invalid<T>(what: String) -> Result<T, SettingsError> {
    Err(SettingsError::Invalid(what))
}
