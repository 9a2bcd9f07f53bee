//! Verified credentials, so that a request costs a look-up and not a signature.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::SystemTime;

use super::principal::Principal;

/// The most entries of each half. A worker holds at most twice as many.
const HALF: usize = 4096;
/// The most bytes of headers of each half: more than a thousand tokens of the usual length.
const HALF_BYTES: usize = 1 << 20;
/// The length in bytes of the end of a header that is hashed. There a token has its signature, and an API key its
/// secret, so two credentials with the same end do not occur. They would only replace each other.
const HASHED_BYTES: usize = 64;

/// From the value of an `Authorization` header to its principal. Belongs to one worker, so it needs no lock.
///
/// It keeps the headers and compares them whole, after a hash of their end that is keyed at random: so it relies on no property of
/// the hash, and a client cannot compare parts of a header with one of the cache. With the SHA-256 of the token
/// instead of the token, a look-up would take 40 000 instructions for a token of 720 bytes on a processor without the
/// SHA extensions, where a whole request to get an order takes 90 000.
///
/// When the younger half is full it becomes the older one, and what was in that is forgotten. So a
/// credential that is used stays, and the memory is bounded.
#[derive(Default)]
pub(super) struct Cache {
    hasher: RandomState,
    /// Entries are those of this generation of keys and policy.
    generation: u64,
    young: Half,
    old: Half,
}

#[derive(Default)]
struct Half {
    entries: HashMap<u64, Entry>,
    bytes: usize,
}

struct Entry {
    header: Box<[u8]>,
    principal: Arc<Principal>,
}

impl Cache {
    /// The principal of a header that was verified with the keys and the policy of `generation`, and whose credential
    /// has not expired.
    pub(super) fn get(
        &mut self,
        header: &[u8],
        generation: u64,
        now: impl FnOnce() -> SystemTime,
    ) -> Option<Arc<Principal>> {
        if self.generation != generation {
            self.young = Half::default();
            self.old = Half::default();
            self.generation = generation;
            return None;
        }
        let hash = self.hash(header);
        let principal = match self.young.get(hash, header) {
            Some(principal) => Arc::clone(principal),
            None => {
                let principal = Arc::clone(self.old.get(hash, header)?);
                self.keep(hash, header, Arc::clone(&principal));
                principal
            }
        };
        if principal.expires.is_some() && principal.is_expired(now()) {
            self.young.remove(hash);
            self.old.remove(hash);
            return None;
        }
        Some(principal)
    }

    /// Keeps a principal. One that was verified before the last change is not kept.
    pub(super) fn insert(&mut self, header: &[u8], principal: Arc<Principal>, generation: u64) {
        if generation == self.generation {
            self.keep(self.hash(header), header, principal);
        }
    }

    fn hash(&self, header: &[u8]) -> u64 {
        let from = header.len().saturating_sub(HASHED_BYTES);
        self.hasher.hash_one(header.get(from..))
    }

    fn keep(&mut self, hash: u64, header: &[u8], principal: Arc<Principal>) {
        if self.young.entries.len() >= HALF || self.young.bytes + header.len() > HALF_BYTES {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.remove(hash);
        self.young.bytes += header.len();
        let header = header.into();
        self.young.entries.insert(hash, Entry { header, principal });
    }
}

impl Half {
    fn get(&self, hash: u64, header: &[u8]) -> Option<&Arc<Principal>> {
        let entry = self.entries.get(&hash)?;
        (*entry.header == *header).then_some(&entry.principal)
    }

    fn remove(&mut self, hash: u64) {
        if let Some(removed) = self.entries.remove(&hash) {
            self.bytes -= removed.header.len();
        }
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
    fn a_change_of_keys_or_policy_empties_the_cache() {
        let mut cache = Cache::default();
        cache.insert(b"a", principal(None), 0);
        assert!(cache.get(b"a", 0, SystemTime::now).is_some());
        assert!(cache.get(b"b", 0, SystemTime::now).is_none());
        assert!(cache.get(b"a", 1, SystemTime::now).is_none());
        assert!(cache.get(b"a", 1, SystemTime::now).is_none());
    }

    #[test]
    fn what_was_verified_before_a_change_is_not_kept() {
        let mut cache = Cache::default();
        assert!(cache.get(b"a", 1, SystemTime::now).is_none());
        cache.insert(b"a", principal(None), 0);
        assert!(cache.get(b"a", 1, SystemTime::now).is_none());
    }

    #[test]
    fn an_entry_is_found_by_its_whole_header_and_not_by_its_hash() {
        let mut cache = Cache::default();
        let [first, second] = [b'a', b'b'].map(|start| {
            let mut header = vec![start];
            header.resize(1 + HASHED_BYTES, b'.');
            header
        });
        assert_eq!(cache.hash(&first), cache.hash(&second));
        cache.insert(&first, principal(None), 0);
        assert!(cache.get(&second, 0, SystemTime::now).is_none());
        assert!(cache.get(&first, 0, SystemTime::now).is_some());
    }

    #[test]
    fn an_expired_credential_is_forgotten() {
        let at = UNIX_EPOCH + Duration::from_secs(100);
        let mut cache = Cache::default();
        cache.insert(b"a", principal(Some(at)), 0);
        assert!(cache.get(b"a", 0, || at - Duration::from_secs(1)).is_some());
        assert!(cache.get(b"a", 0, || at).is_none());
        assert!(cache.young.entries.is_empty() && cache.young.bytes == 0);
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let header = |number: usize, length: usize| format!("{number:.>length$}").into_bytes();
        for length in [20, 1000] {
            let mut cache = Cache::default();
            cache.insert(&header(0, length), principal(None), 0);
            for number in 1..5 * HALF {
                cache.insert(&header(number, length), principal(None), 0);
                assert!(cache.get(&header(0, length), 0, SystemTime::now).is_some());
                for half in [&cache.young, &cache.old] {
                    assert!(half.entries.len() <= HALF && half.bytes <= HALF_BYTES);
                    assert_eq!(half.bytes, half.entries.len() * length);
                }
            }
            assert!(cache.get(&header(1, length), 0, SystemTime::now).is_none());
        }
    }
}
