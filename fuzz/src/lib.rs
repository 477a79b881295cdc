//! The targets' bodies live with the tests, so that `cargo test` replays the corpus through the very same code.

pub use lab::bodies;
