//! Panics that tests cause in a running service.
//!
//! They exist only in builds with debug assertions, such as those of `cargo test`. Release builds, and so images, have
//! neither the setting nor the code. A cargo feature would need a second compilation of the service for a few
//! tests, and a release could be built with it.

#[cfg(debug_assertions)]
use std::{path::Path, sync::Arc};

/// The panics that tests cause. Cheap to clone, and without a size in release builds.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestPanics {
    /// Has the names of places, one per line. It is read at each place, so that a test can change it at any time.
    #[cfg(debug_assertions)]
    file: Option<Arc<Path>>,
}

impl TestPanics {
    /// Panics at the places that this file names.
    #[cfg(debug_assertions)]
    pub(crate) fn in_file(file: &Path) -> Self {
        let file = Some(file.into());
        Self { file }
    }

    /// Panics if the file names this place: in a handler the id of its operation in the OpenAPI document, and before a
    /// statement its value of the `query` label of the metrics.
    #[cfg(debug_assertions)]
    pub(crate) fn panic_at(&self, place: &str) {
        let places = self.file.as_ref().map(std::fs::read_to_string);
        if let Some(Ok(places)) = places {
            let named = places.lines().any(|line| line == place);
            assert!(!named, "a test causes a panic at {place}");
        }
    }

    /// Panics if the file names this place and, after a space, this customer: for one order of a batch.
    #[cfg(debug_assertions)]
    pub(crate) fn panic_at_order_of(&self, place: &str, customer: Option<&str>) {
        if let Some(customer) = customer
            && self.file.is_some()
        {
            self.panic_at(&format!("{place} {customer}"));
        }
    }

    /// Does nothing in release builds.
    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub(crate) const fn panic_at(&self, _place: &str) {}

    /// Does nothing in release builds.
    #[cfg(not(debug_assertions))]
    #[inline(always)]
    pub(crate) const fn panic_at_order_of(&self, _place: &str, _customer: Option<&str>) {}
}

#[cfg(all(test, not(debug_assertions)))]
mod tests {
    use super::*;

    #[test]
    fn release_builds_have_no_panics() {
        assert_eq!(size_of::<TestPanics>(), 0);
    }
}
