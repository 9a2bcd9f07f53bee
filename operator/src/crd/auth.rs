//! Who may call: the part of the spec that becomes `AUTH_FILE` and `AUTH_ANONYMOUS`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretKeyRef, schema};

/// Who may call.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "has(self.secretRef) || (has(self.anonymous) && size(self.anonymous) > 0)",
    "message": "auth needs secretRef, or in anonymous the scopes of requests without credentials",
}]))]
pub struct Auth {
    /// Secret with the file of API keys and issuers (`AUTH_FILE`). All keys of the secret are mounted, so that the
    /// file can refer to others, such as a root certificate. A change of the data needs no rollout, because the
    /// service reads the file again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<AuthSecretRef>,
    /// Scopes of requests without credentials (`AUTH_ANONYMOUS`): `orders:read`, `orders:write`, `events:read`,
    /// `admin`, or `all` alone. Default: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[schemars(extend("x-kubernetes-list-type" = "set", "x-kubernetes-validations" = [{
        "rule": "!('all' in self) || size(self) == 1",
        "message": "auth.anonymous: all must be the only item",
    }]))]
    pub anonymous: Vec<AnonymousScope>,
}

/// The key of a secret in the same namespace that holds `AUTH_FILE`.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthSecretRef {
    /// Name of the secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SUBDOMAIN))]
    pub name: String,
    /// Key of the secret whose value is the file.
    #[serde(default = "default_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY))]
    pub key: String,
}

fn default_key() -> String {
    "auth.toml".to_owned()
}

impl From<AuthSecretRef> for SecretKeyRef {
    fn from(reference: AuthSecretRef) -> Self {
        let AuthSecretRef { name, key } = reference;
        Self { name, key }
    }
}

// A list of this enumeration, and not the text of the variable, so that the schema rejects a misspelt scope. A list
// or one of the words `all` and `none` is not possible: a structural schema gives each field one type.
/// A scope of requests without credentials.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub enum AnonymousScope {
    /// Read orders.
    #[serde(rename = "orders:read")]
    OrdersRead,
    /// Create and update orders.
    #[serde(rename = "orders:write")]
    OrdersWrite,
    /// Read events.
    #[serde(rename = "events:read")]
    EventsRead,
    /// Erase personal data.
    #[serde(rename = "admin")]
    Admin,
    /// Every scope, also those of later versions.
    #[serde(rename = "all")]
    All,
}

impl AnonymousScope {
    /// The scope as the service spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OrdersRead => "orders:read",
            Self::OrdersWrite => "orders:write",
            Self::EventsRead => "events:read",
            Self::Admin => "admin",
            Self::All => "all",
        }
    }
}
