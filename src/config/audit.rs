//! The options of the command `audit`.

use clap::Args;

use crate::domain::Tenant;

/// What is audited.
#[derive(Clone, Debug, Args)]
pub struct AuditArgs {
    /// Check the data of this tenant only [default: all tenants]
    #[arg(long, value_parser = Tenant::parse)]
    pub(crate) tenant: Option<Tenant>,
}
