//! The kinds of change that an order has a version for.

/// The kind of change that made a version of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EventType {
    /// A client created the order.
    Created,
    /// A client updated the order.
    Updated,
    /// The order comes from another system or from an archive. Its version is that of the imported order.
    Imported,
    /// The order was written to an archive and removed.
    Archived,
    /// The personal data of the order was erased.
    Erased,
}

/// The text is not the name of a type of event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a type of event")]
pub struct UnknownEventType;

impl EventType {
    /// Every type.
    pub const ALL: [Self; 5] = [
        Self::Created,
        Self::Updated,
        Self::Imported,
        Self::Archived,
        Self::Erased,
    ];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Imported => "imported",
            Self::Archived => "archived",
            Self::Erased => "erased",
        }
    }
}

impl std::str::FromStr for EventType {
    type Err = UnknownEventType;

    fn from_str(text: &str) -> Result<Self, UnknownEventType> {
        Self::ALL
            .into_iter()
            .find(|event_type| event_type.as_str() == text)
            .ok_or(UnknownEventType)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for event_type in EventType::ALL {
            assert_eq!(event_type.as_str().parse(), Ok(event_type));
        }
        assert_eq!("order.created".parse::<EventType>(), Err(UnknownEventType));
    }
}
