//! What identifies an order in the database.

use uuid::Uuid;

use crate::domain::Tenant;

/// The tenant and the id of an order. Ids are unique within a tenant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OrderKey {
    /// The first field, so that sorting compares the tenants only of equal ids.
    pub(super) id: Uuid,
    pub(super) tenant: Tenant,
}

impl OrderKey {
    pub(super) fn new(tenant: &Tenant, id: Uuid) -> Self {
        Self {
            id,
            tenant: tenant.clone(),
        }
    }
}
