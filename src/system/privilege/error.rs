//! Why privileges could not be given up.

use std::fmt;

/// Why privileges could not be given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfineError(pub(super) String);

impl fmt::Display for ConfineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot give up privileges: {}", self.0)
    }
}

impl std::error::Error for ConfineError {}
