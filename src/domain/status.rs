//! The life cycle of an order.

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Created, but not accepted yet. The first status of every order.
    Pending,
    /// Accepted.
    Confirmed,
    /// On its way.
    Shipped,
    /// Arrived. A final status.
    Delivered,
    /// Cancelled. A final status.
    Cancelled,
}

/// The text is not the name of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownStatus;

impl std::fmt::Display for UnknownStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("must be one of ")?;
        for (i, status) in Status::ALL.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            f.write_str(status.as_str())?;
        }
        Ok(())
    }
}

impl std::error::Error for UnknownStatus {}

impl Status {
    /// The status of every new order.
    pub const INITIAL: Self = Self::Pending;

    /// Every status, in the order of the life cycle.
    pub const ALL: [Self; 5] = [
        Self::Pending,
        Self::Confirmed,
        Self::Shipped,
        Self::Delivered,
        Self::Cancelled,
    ];

    /// The name in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Confirmed => "confirmed",
            Self::Shipped => "shipped",
            Self::Delivered => "delivered",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether no status may follow this one.
    pub const fn is_final(self) -> bool {
        self.next().is_empty()
    }

    /// Whether the lines of an order with this status may change.
    pub const fn is_editable(self) -> bool {
        matches!(self, Self::Pending)
    }

    /// The statuses that may follow this one. The state machine is declared only here.
    pub const fn next(self) -> &'static [Self] {
        match self {
            Self::Pending => &[Self::Confirmed, Self::Cancelled],
            Self::Confirmed => &[Self::Shipped, Self::Cancelled],
            Self::Shipped => &[Self::Delivered],
            Self::Delivered | Self::Cancelled => &[],
        }
    }
}

impl std::str::FromStr for Status {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownStatus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for status in Status::ALL {
            assert_eq!(status.as_str().parse(), Ok(status));
        }
        assert_eq!("Pending".parse::<Status>(), Err(UnknownStatus));
    }

    #[test]
    fn a_final_status_is_reachable_from_every_status_and_no_status_follows_itself() {
        for status in Status::ALL {
            assert!(!status.next().contains(&status));
            let mut at = status;
            while let Some(next) = at.next().first() {
                at = *next;
            }
            assert!(at.next().is_empty());
        }
    }
}
