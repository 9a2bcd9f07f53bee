//! The part of the interface to a database that erasures use.

use std::sync::Arc;

use uuid::Uuid;

use super::{BatchSize, Claim, Erasure, NewErasure, OrderCursor, Step};
use crate::domain::Tenant;
use crate::store::backend::StoreFuture;

/// Stores and executes erasures. Each method is one small transaction.
///
/// The methods that execute a part of an erasure return `None` and change nothing if another process holds its lease
/// now. Otherwise, they extend it. They may be repeated after any error.
pub(in crate::store) trait Erasures: Send + Sync {
    /// Stores an erasure. Returns the unfinished erasure of the customer instead if there is one.
    fn request_erasure(&self, new: Arc<NewErasure>) -> StoreFuture<'_, Erasure>;

    /// Returns the erasure of a tenant with this id, if there is one.
    fn find_erasure(&self, tenant: Tenant, id: Uuid) -> StoreFuture<'_, Option<Erasure>>;

    /// The age in seconds of the oldest unfinished erasure of all tenants; 0 if there is none.
    fn oldest_erasure(&self) -> StoreFuture<'_, f64>;

    /// Leases the oldest unfinished erasure whose lease has ended, if there is one. `lease` identifies this process.
    fn claim_erasure(&self, lease: Uuid) -> StoreFuture<'_, Option<Claim>>;

    /// Erases orders of the customer, and adds them to the worklist. Skips those that another transaction has locked.
    fn erase_orders(
        &self,
        claim: Arc<Claim>,
        after: Option<OrderCursor>,
        size: BatchSize,
    ) -> StoreFuture<'_, Option<Step<OrderCursor>>>;

    /// Does the same for orders of the customer that were archived and removed.
    fn erase_archived(
        &self,
        claim: Arc<Claim>,
        after: Option<Uuid>,
        size: BatchSize,
    ) -> StoreFuture<'_, Option<Step<Uuid>>>;

    /// Redacts events and documents of orders of the worklist, and removes those from it that are complete.
    fn redact(
        &self,
        claim: Arc<Claim>,
        after: Option<Uuid>,
        size: BatchSize,
    ) -> StoreFuture<'_, Option<Step<Uuid>>>;

    /// Marks the erasure as done if its worklist is empty, and removes the customer and the pseudonym from it.
    fn finish_erasure(&self, claim: Arc<Claim>) -> StoreFuture<'_, bool>;

    /// Ends the lease, so that another process can continue at once.
    fn release_erasure(&self, claim: Arc<Claim>) -> StoreFuture<'_, ()>;
}
