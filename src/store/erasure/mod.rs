//! Erases the personal data of customers.
//!
//! A request stores an erasure. A task of each process ([`worker`]) executes the erasures of all processes, one at a
//! time, under a lease in the row of the erasure. It works in small transactions, so writers wait for milliseconds at
//! most, and a process that is killed at any moment loses nothing: another one continues when the lease has ended.
//!
//! The row of an order is erased first, in one transaction with its event `order.erased` and a row of the worklist
//! `erasure_orders`. From then on, every new version of the order has the pseudonym, so its older events are all that is
//! left. They are redacted next, then the document for replays, and then the order leaves the worklist. The erasure is
//! done when one look-up finds no order of the customer, and the worklist is empty.

mod backend;
mod documents;
mod steps;
mod worker;

use std::sync::Arc;

use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::admission::RequestKind;
use super::auth_context::auth_id;
use super::{Store, StoreError};
use crate::domain::{Caller, ShortText, Tenant};
pub(super) use backend::Erasures;
pub(super) use documents::{ErasedArchived, ErasedOrder, Redaction, StoredEvent};
pub(super) use steps::{Advance, BatchSize, LEASE, OrderCursor, Pending, Step};
pub(super) use worker::ErasureWorker;

/// A request to erase the data of a customer, and what has been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Erasure {
    /// Its id.
    pub id: Uuid,
    /// When it was requested.
    pub requested_at: DateTime<Utc>,
    /// When a process began to execute it.
    pub started_at: Option<DateTime<Utc>>,
    /// When it was done.
    pub finished_at: Option<DateTime<Utc>>,
    /// Orders that were erased.
    pub orders: i64,
    /// Orders that were archived and removed before, and whose remaining events were redacted.
    pub archived_orders: i64,
    /// Events that were redacted.
    pub events: i64,
    /// Idempotency keys whose documents were redacted.
    pub idempotency_keys: i64,
}

/// An erasure to store, if the customer has no unfinished one.
#[derive(Clone, Debug)]
pub(super) struct NewErasure {
    pub(super) tenant: Tenant,
    pub(super) id: Uuid,
    pub(super) customer_id: String,
    pub(super) pseudonym: String,
    pub(super) auth_type: &'static str,
    pub(super) auth_id: Option<String>,
}

impl NewErasure {
    fn new(caller: &Caller, customer_id: ShortText) -> Self {
        Self {
            tenant: caller.tenant.clone(),
            id: Uuid::new_v4(),
            customer_id: customer_id.into_string(),
            // Random, so that it cannot be derived from the customer. It is the same for all orders of the erasure, so
            // that they stay a group.
            pseudonym: format!("erased-{}", Uuid::new_v4()),
            auth_type: caller.auth_type.as_str(),
            auth_id: auth_id(caller).map(Into::into),
        }
    }
}

/// An erasure that this process executes.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) tenant: Tenant,
    pub(super) id: Uuid,
    /// Identifies the process that holds the lease.
    pub(super) lease: Uuid,
    pub(super) customer_id: String,
    pub(super) pseudonym: String,
    /// Who requested it. The events `order.erased` name it.
    pub(super) auth_type: String,
    pub(super) auth_id: Option<String>,
}

impl Store {
    /// Requests that the personal data of a customer of the caller's tenant be erased. Returns the unfinished erasure of
    /// the customer if there is one, otherwise a new one, whether or not there are orders of the customer.
    ///
    /// # Errors
    /// [`StoreError`]; unless it is `Overloaded` or `ShareExceeded`, the erasure may have been stored anyway.
    pub async fn request_erasure(
        &self,
        caller: &Arc<Caller>,
        customer_id: ShortText,
    ) -> Result<Erasure, StoreError> {
        let (inner, new) = (Arc::clone(&self.0), NewErasure::new(caller, customer_id));
        let request = async move {
            let erasure = inner.backend.request_erasure(Arc::new(new)).await;
            inner.erasures.wake();
            erasure
        };
        let task = self.admitted(caller, RequestKind::Write, 0, request)?;
        self.0.runtime.spawn(task).await.map_err(super::panicked)?
    }

    /// Returns the erasure of the caller's tenant with this id, if there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn erasure(
        &self,
        caller: &Arc<Caller>,
        id: Uuid,
    ) -> Result<Option<Erasure>, StoreError> {
        let (inner, tenant) = (Arc::clone(&self.0), caller.tenant.clone());
        let find = async move { inner.backend.find_erasure(tenant, id).await };
        let task = self.admitted(caller, RequestKind::Get, 0, find)?;
        self.0.runtime.spawn(task).await.map_err(super::panicked)?
    }
}
