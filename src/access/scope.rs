//! What a principal may do.

use std::fmt;

/// A permission. None implies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Read orders.
    OrdersRead,
    /// Create and update orders.
    OrdersWrite,
    /// Read events, of one order or of all.
    EventsRead,
    /// Erase the data of customers.
    Admin,
}

impl Scope {
    /// Every scope.
    pub(crate) const ALL: [Self; 4] = [
        Self::OrdersRead,
        Self::OrdersWrite,
        Self::EventsRead,
        Self::Admin,
    ];

    /// Its name in tokens, files and responses.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::OrdersRead => "orders:read",
            Self::OrdersWrite => "orders:write",
            Self::EventsRead => "events:read",
            Self::Admin => "admin",
        }
    }

    /// The scope with this name.
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }

    fn bit(self) -> u8 {
        match self {
            Self::OrdersRead => 1,
            Self::OrdersWrite => 2,
            Self::EventsRead => 4,
            Self::Admin => 8,
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Requirement {
    /// Nothing. Credentials are ignored.
    Open,
    /// A principal with this scope.
    Scope(Scope),
}

/// A set of scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Scopes(u8);

impl Scopes {
    /// No scope.
    pub(crate) const NONE: Self = Self(0);
    /// Every scope.
    pub(crate) const ALL: Self = Self(15);

    /// Whether the scope is in the set.
    pub(crate) fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// The scopes that `names` has of this service. Tokens carry the scopes of other services, too.
    pub(crate) fn known<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        names.into_iter().filter_map(Scope::parse).collect()
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |set, scope| set | scope.bit()))
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Scope::ALL
            .into_iter()
            .filter(|scope| self.contains(*scope))
            .map(Scope::as_str)
            .collect();
        f.write_str(&names.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scope_implies_another() {
        for scope in Scope::ALL {
            let set = Scopes::from_iter([scope]);
            for other in Scope::ALL {
                assert_eq!(set.contains(other), scope == other);
            }
            assert_eq!(Scope::parse(scope.as_str()), Some(scope));
            assert!(Scopes::ALL.contains(scope));
        }
        assert_eq!(Scopes::from_iter(Scope::ALL), Scopes::ALL);
    }

    #[test]
    fn scopes_of_other_services_are_ignored() {
        let set = Scopes::known("openid orders:read orders:READ admin:all".split(' '));
        assert_eq!(set, Scopes::from_iter([Scope::OrdersRead]));
    }
}
