//! Sets of statuses.

use super::Status;

/// A set of statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusSet([bool; Status::ALL.len()]);

impl StatusSet {
    /// Every status.
    pub const ALL: Self = Self([true; Status::ALL.len()]);

    /// No status.
    pub const NONE: Self = Self([false; Status::ALL.len()]);

    /// Adds a status. Nothing changes if the set contains it.
    pub fn insert(&mut self, status: Status) {
        for (each, contained) in Status::ALL.into_iter().zip(&mut self.0) {
            *contained |= each == status;
        }
    }

    /// Whether the set contains the status.
    pub fn contains(self, status: Status) -> bool {
        self.iter().any(|each| each == status)
    }

    /// Whether the set contains no status.
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }

    /// The statuses of the set, in the order of the life cycle.
    pub fn iter(self) -> impl Iterator<Item = Status> + Clone {
        let statuses = Status::ALL.into_iter().zip(self.0);
        statuses.filter_map(|(status, contained)| contained.then_some(status))
    }
}

impl FromIterator<Status> for StatusSet {
    fn from_iter<I: IntoIterator<Item = Status>>(statuses: I) -> Self {
        let mut set = Self::NONE;
        for status in statuses {
            set.insert(status);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_contains_each_inserted_status_once() {
        let set: StatusSet = [Status::Shipped, Status::Pending, Status::Shipped]
            .into_iter()
            .collect();
        let contained: Vec<_> = set.iter().collect();
        assert_eq!(contained, [Status::Pending, Status::Shipped]);
        for status in Status::ALL {
            assert_eq!(set.contains(status), contained.contains(&status));
        }
        assert!(!set.is_empty() && StatusSet::NONE.is_empty());
        assert_eq!(
            Status::ALL.into_iter().collect::<StatusSet>(),
            StatusSet::ALL
        );
    }
}
