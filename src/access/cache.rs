//! Verified credentials, so that a request costs a look-up and not a signature.

use std::collections::HashMap;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::rand;
use siphasher::sip128::{Hasher128 as _, SipHasher13};

use super::api_key::NoRandomNumbers;
use super::principal::Principal;

/// Makes fingerprints of `Authorization` headers, which identify them in the caches of this process.
///
/// A fingerprint is a SipHash-1-3 of 128 bits with a random key. Nobody outside the process learns the key or a
/// fingerprint, and without them nobody can make another header with the same fingerprint. SHA-256 has this property
/// without a key, but costs much more: 40 000 instead of 2 000 instructions for a token of 720 bytes on a processor
/// without the SHA extensions, where a whole request to get an order takes 90 000.
#[derive(Clone)]
pub(super) struct Fingerprints(SipHasher13);

pub(super) type Fingerprint = u128;

impl Fingerprints {
    /// Chooses a random key.
    ///
    /// # Errors
    /// [`NoRandomNumbers`].
    pub(super) fn new() -> Result<Self, NoRandomNumbers> {
        let mut key = [0; 16];
        rand::fill(&mut key).map_err(|_| NoRandomNumbers)?;
        Ok(Self(SipHasher13::new_with_key(&key)))
    }

    pub(super) fn of(&self, header: &[u8]) -> Fingerprint {
        let mut hasher = self.0;
        hasher.write(header);
        hasher.finish128().as_u128()
    }
}

/// Entries of each half. A worker holds at most twice as many.
const HALF: usize = 4096;

/// From the fingerprint of a credential to its principal. Belongs to one worker, so it needs no lock.
///
/// When the younger half is full it becomes the older one, and what was in that is forgotten. So a
/// credential that is used stays, and the memory is bounded.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Entries are those of this generation of keys and policy.
    generation: u64,
    young: HashMap<Fingerprint, Arc<Principal>>,
    old: HashMap<Fingerprint, Arc<Principal>>,
}

impl Cache {
    /// The principal of a credential that was verified with the keys and the policy of `generation`, and has not
    /// expired.
    pub(super) fn get(
        &mut self,
        fingerprint: Fingerprint,
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
        let principal = match self.young.get(&fingerprint) {
            Some(principal) => Arc::clone(principal),
            None => {
                let principal = self.old.remove(&fingerprint)?;
                self.insert(fingerprint, Arc::clone(&principal), generation);
                principal
            }
        };
        if principal.expires.is_some() && principal.is_expired(now()) {
            self.young.remove(&fingerprint);
            return None;
        }
        Some(principal)
    }

    /// Keeps a principal. One that was verified before the last change is not kept.
    pub(super) fn insert(
        &mut self,
        fingerprint: Fingerprint,
        principal: Arc<Principal>,
        generation: u64,
    ) {
        if generation != self.generation {
            return;
        }
        if self.young.len() >= HALF {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(fingerprint, principal);
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

    #[test]
    fn fingerprints_depend_on_a_random_key() {
        let (one, two) = (Fingerprints::new().unwrap(), Fingerprints::new().unwrap());
        assert_eq!(one.of(b"a"), one.clone().of(b"a"));
        assert_ne!(one.of(b"a"), one.of(b"b"));
        assert_ne!(one.of(b"a"), two.of(b"a"));
    }

    #[test]
    fn a_change_of_keys_or_policy_empties_the_cache() {
        let mut cache = Cache::default();
        cache.insert(1, principal(None), 0);
        assert!(cache.get(1, 0, SystemTime::now).is_some());
        assert!(cache.get(1, 1, SystemTime::now).is_none());
        assert!(cache.get(1, 1, SystemTime::now).is_none());
    }

    #[test]
    fn what_was_verified_before_a_change_is_not_kept() {
        let mut cache = Cache::default();
        assert!(cache.get(1, 1, SystemTime::now).is_none());
        cache.insert(1, principal(None), 0);
        assert!(cache.get(1, 1, SystemTime::now).is_none());
    }

    #[test]
    fn an_expired_credential_is_forgotten() {
        let at = UNIX_EPOCH + Duration::from_secs(100);
        let mut cache = Cache::default();
        cache.insert(1, principal(Some(at)), 0);
        assert!(cache.get(1, 0, || at - Duration::from_secs(1)).is_some());
        assert!(cache.get(1, 0, || at).is_none());
        assert!(cache.young.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut cache = Cache::default();
        cache.insert(0, principal(None), 0);
        for number in 1..5 * HALF {
            cache.insert(u128::try_from(number).unwrap(), principal(None), 0);
            assert!(cache.get(0, 0, SystemTime::now).is_some());
            assert!(cache.young.len() + cache.old.len() <= 2 * HALF);
        }
        assert!(cache.get(1, 0, SystemTime::now).is_none());
    }
}
