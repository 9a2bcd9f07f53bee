//! Log lines on standard error: bounded, never blocking; shared by the binaries.

mod output;

pub use output::Output;
