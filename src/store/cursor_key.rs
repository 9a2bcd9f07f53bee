//! Encrypts positions in the feed to cursors.
//!
//! A position contains numbers that all tenants share: how they grow shows how much others write. So clients see
//! it encrypted and authenticated only.
//!
//! The key is in the database (`feed.cursor_key`): all processes have the same one, and it follows dumps and
//! failovers. A cursor of another database, or of another tenant, is not authentic. Every read of the feed returns
//! the key, so a switch to another database is noticed.
//!
//! Equal positions must have equal cursors: links, ids in streams and repeated reads agree, and a client can compare
//! them. So nothing in a cursor is random, and the cipher is AES-256-GCM-SIV (RFC 8452), for which an equal nonce
//! shows only whether plaintexts are equal (RFC 8452, section 1). The nonce is the end of the id of the order, which
//! the reader of the event has anyway. The cipher derives other keys from each nonce (RFC 8452, section 4), so the
//! limits of one key apply to the versions of one order, of which there are at most 2^31 with a plaintext of two
//! blocks: the probability that two of their tags are equal is then below 2^-65 (two blocks of 128 bits, birthday
//! bound), and it is far less for orders that exist.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use parking_lot::Mutex;
use uuid::Uuid;

use super::StoreError;
use super::cursor::{CURSOR_BYTES, Cursor, EventKey, Position};
use super::error::StoreFault;
use crate::domain::Tenant;

/// The key that encrypts cursors, as the database stores it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct KeyBytes(Vec<u8>);

impl From<Vec<u8>> for KeyBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// Never shows the key.
impl fmt::Debug for KeyBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyBytes(..)")
    }
}

/// The end of the id of the order, as the nonce; then the ciphertext; then the tag.
const NONCE_BYTES: usize = 12;
const SEALED_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const _: () = assert!(NONCE_BYTES + SEALED_BYTES + TAG_BYTES == CURSOR_BYTES);

/// Encrypts and decrypts the cursors of a database.
pub(super) struct CursorKey {
    bytes: KeyBytes,
    key: LessSafeKey,
}

impl PartialEq for CursorKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl CursorKey {
    pub(super) fn new(bytes: KeyBytes) -> Result<Self, StoreError> {
        let key = UnboundKey::new(&AES_256_GCM_SIV, &bytes.0);
        let key = key.map_err(|_| StoreFault::Corrupt("cursor_key"))?;
        Ok(Self {
            bytes,
            key: LessSafeKey::new(key),
        })
    }

    /// Encrypts a position in the feed of a tenant.
    pub(super) fn seal(&self, tenant: &Tenant, position: Position) -> Result<Cursor, StoreError> {
        let (nonce, mut sealed) = to_bytes(position);
        let tag = self.key.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(tenant.as_str()),
            &mut sealed,
        );
        let tag = tag.map_err(|_| StoreFault::Encryption)?;
        let mut bytes = [0; CURSOR_BYTES];
        let parts = nonce.iter().chain(&sealed).chain(tag.as_ref());
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = *part;
        }
        Ok(Cursor(bytes))
    }

    /// Decrypts a cursor of a tenant. Returns `None` if it was not encrypted for this tenant with this key.
    pub(super) fn open(&self, tenant: &Tenant, cursor: &Cursor) -> Option<Position> {
        let (nonce, sealed) = cursor.0.split_first_chunk::<NONCE_BYTES>()?;
        let mut buffer: [u8; SEALED_BYTES + TAG_BYTES] = sealed.try_into().ok()?;
        let opened = self.key.open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(tenant.as_str()),
            &mut buffer,
        );
        let opened: &[u8] = opened.ok()?;
        from_bytes(nonce, opened.first_chunk()?)
    }
}

/// The order of a position before the first event: no order has this id.
const NO_ORDER: Uuid = Uuid::nil();

fn to_bytes(position: Position) -> ([u8; NONCE_BYTES], [u8; SEALED_BYTES]) {
    let event = position.0.unwrap_or(EventKey {
        order_id: NO_ORDER,
        ..EventKey::BEGINNING
    });
    let [a, b, c, d, nonce @ ..] = *event.order_id.as_bytes();
    let numbers = [event.position, event.seq, event.occurred_at].map(i64::to_be_bytes);
    let parts = numbers.as_flattened().iter().copied();
    let parts = parts.chain(event.version.to_be_bytes()).chain([a, b, c, d]);
    let mut bytes = [0; SEALED_BYTES];
    for (byte, part) in bytes.iter_mut().zip(parts) {
        *byte = part;
    }
    (nonce, bytes)
}

fn from_bytes(nonce: &[u8; NONCE_BYTES], bytes: &[u8; SEALED_BYTES]) -> Option<Position> {
    let (position, rest) = bytes.split_first_chunk()?;
    let (seq, rest) = rest.split_first_chunk()?;
    let (occurred_at, rest) = rest.split_first_chunk()?;
    let (version, first) = rest.split_first_chunk()?;
    let mut id = [0; 16];
    for (byte, part) in id.iter_mut().zip(first.iter().chain(nonce)) {
        *byte = *part;
    }
    let order_id = Uuid::from_bytes(id);
    Some(Position((order_id != NO_ORDER).then_some(EventKey {
        position: i64::from_be_bytes(*position),
        seq: i64::from_be_bytes(*seq),
        order_id,
        version: i32::from_be_bytes(*version),
        occurred_at: i64::from_be_bytes(*occurred_at),
    })))
}

/// The key of the database from which the feed was read last.
#[derive(Default)]
pub(super) struct CurrentKey(Mutex<Option<Arc<CursorKey>>>);

impl CurrentKey {
    /// The key, if the feed has been read.
    pub(super) fn get(&self) -> Option<Arc<CursorKey>> {
        self.0.lock().clone()
    }

    /// Returns the key with these bytes, and keeps it.
    pub(super) fn renew(&self, bytes: KeyBytes) -> Result<Arc<CursorKey>, StoreError> {
        let mut current = self.0.lock();
        if let Some(key) = &*current
            && key.bytes == bytes
        {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(CursorKey::new(bytes)?);
        *current = Some(Arc::clone(&key));
        Ok(key)
    }
}

#[cfg(test)]
mod tests;
