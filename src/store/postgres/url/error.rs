use thiserror::Error;

use crate::store::postgres::tls::TlsConfigError;

/// Why a PostgreSQL URL was rejected. The message contains that of the cause. Of the URL it contains only the
/// paths of files, because any other part may be a secret.
#[derive(Debug, Error)]
pub(crate) enum PostgresUrlError {
    #[error(transparent)]
    Url(#[from] UrlError),
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
}

/// A fault in the text of a PostgreSQL URL.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum UrlError {
    #[error("the host contains an @; write %40 for an @ in a user or password")]
    AtSignInHost,
    /// An unescaped `/` in the login, which ends the search for the `@`. The apparent database name contains part
    /// of the password.
    #[error("the database name contains an @; in a user or password write %2F for / and %40 for @")]
    AtSignInDatabaseName,
    /// An unescaped `@` in a parameter of a URL without a `/` after the host. The apparent host contains part of the
    /// password.
    #[error(
        "a ? precedes the first @; write %40 for an @ in a parameter, and %3F for a ? in a user or password"
    )]
    ParametersInLogin,
    #[error("a % must be followed by two hexadecimal digits, not both 0; write %25 for a % itself")]
    BadEscape,
    #[error("an IPv6 address is written [ADDRESS]")]
    UnclosedBracket,
    #[error("only a port may follow an IPv6 address")]
    TextAfterBracket,
    #[error("the URL names no host")]
    NoHost,
    #[error("the list of hosts has an empty entry")]
    EmptyHost,
    #[error("host and hostaddr take lists of the same length")]
    HostCount,
    #[error("port takes one number, or one for each host")]
    PortCount,
    #[error("a port is a number from 1 to 65535; write %2F for a / in a password")]
    BadPort,
    #[error("hostaddr takes IP addresses")]
    BadAddress,
    /// A parameter without a `=`: possibly the rest of a password that contains an `&`.
    #[error("a parameter after the ? has no =; write %26 for an & in a value")]
    ParameterWithoutValue,
    #[error("the name of a parameter is not UTF-8")]
    NameNotUtf8,
    #[error("the parameter {0} is not supported")]
    UnsupportedParameter(String),
    /// The name may be the rest of a password that contains an `&`, so it is not shown.
    #[error("a parameter with an unusual name is not supported")]
    UnsupportedName,
    #[error("{0} is not UTF-8")]
    ValueNotUtf8(&'static str),
    #[error("{0} takes a whole number")]
    NotANumber(&'static str),
    #[error("{name} takes {}", choices.join(", "))]
    NotAChoice {
        name: &'static str,
        choices: Vec<&'static str>,
    },
    #[error("sslrootcert=system requires sslmode=verify-full")]
    SystemRootsNotVerified,
    #[error("sslmode=verify-ca requires sslrootcert=FILE")]
    VerifyCaWithoutRoot,
    #[error("sslnegotiation=direct requires sslmode=require or stronger")]
    DirectTlsNotRequired,
    #[error("sslcert and sslkey require each other")]
    CertificateWithoutKey,
}
