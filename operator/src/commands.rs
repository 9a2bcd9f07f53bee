//! The subcommands that need no cluster. Each prints YAML.

#![expect(clippy::print_stdout, reason = "standard output is what these are for")]

use crate::crd;

/// What a command failed with: a sentence for standard error.
pub type CommandResult = Result<(), Box<dyn std::error::Error>>;

/// Prints the custom resource definition.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn definition() -> CommandResult {
    print!("{}", crd::yaml()?);
    Ok(())
}
