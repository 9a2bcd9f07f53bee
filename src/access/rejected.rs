//! Why a credential is rejected.

use super::token::TokenError;

/// Why a credential is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    /// The `Authorization` header has another scheme.
    #[error("the scheme of the Authorization header is not Bearer")]
    Scheme,
    /// The `Authorization` header holds no credential, or one with characters that no credential has.
    #[error("the Authorization header is malformed")]
    Malformed,
    /// The API key is not in `AUTH_FILE`.
    #[error("the API key is unknown")]
    UnknownKey,
    /// The API key has expired.
    #[error("the API key has expired")]
    ExpiredKey,
    /// The token is not accepted.
    #[error("{0}")]
    Token(&'static str),
    /// The token is valid, but its tenant is missing or invalid.
    #[error("{}", TokenError::Tenant.reason())]
    Tenant,
    /// The keys of the token's issuer have not been fetched.
    #[error("the keys of the token's issuer are not available")]
    KeysUnavailable,
}

impl Rejected {
    /// The value of the `method` label of `auth_total`.
    pub(crate) fn method(self) -> &'static str {
        match self {
            Self::Scheme | Self::Malformed => "other",
            Self::UnknownKey | Self::ExpiredKey => "api_key",
            Self::Token(_) | Self::Tenant | Self::KeysUnavailable => "token",
        }
    }
}

impl From<TokenError> for Rejected {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Tenant => Self::Tenant,
            other => Self::Token(other.reason()),
        }
    }
}
