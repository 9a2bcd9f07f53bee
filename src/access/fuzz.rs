//! Fuzz targets: credentials and `AUTH_FILE`.

pub(crate) use super::token::fuzz::Tokens;
pub(crate) use super::token::fuzz::texts::access;
