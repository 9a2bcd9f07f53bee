//! Verified credentials, so that a request costs a look-up and not a signature.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::api_key::Digest;
use super::principal::Principal;

/// Entries of each half. A worker holds at most twice as many.
const HALF: usize = 4096;

/// From the digest of a credential to its principal. Belongs to one worker, so it needs no lock.
///
/// When the younger half is full it becomes the older one, and what was in that is forgotten. So a
/// credential that is used stays, and the memory is bounded.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Entries are those of this generation of keys and policy.
    generation: u64,
    young: HashMap<Digest, Arc<Principal>>,
    old: HashMap<Digest, Arc<Principal>>,
}

impl Cache {
    /// The principal of a credential that was verified with the keys and the policy of `generation`, and has not
    /// expired.
    pub(super) fn get(
        &mut self,
        digest: &Digest,
        generation: u64,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<Arc<Principal>> {
        if self.generation != generation {
            *self = Self {
                generation,
                ..Self::default()
            };
            return None;
        }
        let principal = match self.young.get(digest) {
            Some(principal) => Arc::clone(principal),
            None => {
                let principal = self.old.remove(digest)?;
                self.insert(*digest, Arc::clone(&principal), generation);
                principal
            }
        };
        if principal.expires.is_some() && principal.is_expired(now()) {
            self.young.remove(digest);
            return None;
        }
        Some(principal)
    }

    /// Keeps a principal. One that was verified before the last change is not kept.
    pub(super) fn insert(&mut self, digest: Digest, principal: Arc<Principal>, generation: u64) {
        if generation != self.generation {
            return;
        }
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, principal);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::access::scope::Scopes;

    fn principal(expires: Option<SystemTime>) -> Arc<Principal> {
        Arc::new(Principal {
            expires,
            ..Principal::anonymous(Scopes::ALL)
        })
    }

    fn digest(number: usize) -> Digest {
        Digest::of(number.to_string().as_bytes())
    }

    #[test]
    fn a_change_of_keys_or_policy_empties_the_cache() {
        let mut cache = Cache::default();
        cache.insert(digest(1), principal(None), 0);
        assert!(cache.get(&digest(1), 0, SystemTime::now).is_some());
        assert!(cache.get(&digest(1), 1, SystemTime::now).is_none());
        assert!(cache.get(&digest(1), 1, SystemTime::now).is_none());
    }

    #[test]
    fn what_was_verified_before_a_change_is_not_kept() {
        let mut cache = Cache::default();
        assert!(cache.get(&digest(1), 1, SystemTime::now).is_none());
        cache.insert(digest(1), principal(None), 0);
        assert!(cache.get(&digest(1), 1, SystemTime::now).is_none());
    }

    #[test]
    fn an_expired_credential_is_forgotten() {
        let at = UNIX_EPOCH + Duration::from_secs(100);
        let mut cache = Cache::default();
        cache.insert(digest(1), principal(Some(at)), 0);
        assert!(
            cache
                .get(&digest(1), 0, || at - Duration::from_secs(1))
                .is_some()
        );
        assert!(cache.get(&digest(1), 0, || at).is_none());
        assert!(cache.young.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut cache = Cache::default();
        cache.insert(digest(0), principal(None), 0);
        for number in 1..5 * HALF {
            cache.insert(digest(number), principal(None), 0);
            assert!(cache.get(&digest(0), 0, SystemTime::now).is_some());
            assert!(cache.young.len() + cache.old.len() <= 2 * HALF);
        }
        assert!(cache.get(&digest(1), 0, SystemTime::now).is_none());
    }
}
