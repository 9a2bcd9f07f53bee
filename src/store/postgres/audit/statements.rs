//! The statements that read ranges of keys.

use tokio_postgres::Client;

use crate::audit::{ArchivedRow, ErasureRow, EventRow, IdempotencyRow, LineRow, OrderRow, Table};
use crate::store::StoreError;
use crate::store::audit::select_list;

pub(super) struct Statements {
    pub(super) orders: Walk,
    pub(super) lines: Walk,
    pub(super) idempotency: Walk,
    pub(super) archived: Walk,
    pub(super) erasures: Walk,
    pub(super) floors: tokio_postgres::Statement,
    pub(super) events: Walk,
}

/// The statements that read the rows of a range of keys. A condition on the pair of tenant and id would begin the scan of
/// an index at the right place, and end it only with the tenant.
pub(super) struct Walk {
    /// The rows of one tenant between two ids.
    pub(super) of_tenant: tokio_postgres::Statement,
    /// All rows of the tenants between two others.
    pub(super) between_tenants: tokio_postgres::Statement,
}

impl Walk {
    /// Prepares the walk along the primary key of a table, or along an index of the same order.
    async fn prepare<T: Table>(client: &Client, order: &str) -> Result<Self, StoreError> {
        let list = select_list::<T>(|name, _| name.to_owned());
        let (table, id) = (T::NAME, T::ID);
        let of_tenant = format!(
            "SELECT {list} FROM {table}
            WHERE tenant = $1 AND {id} >= $2::text::uuid AND {id} <= $3::text::uuid ORDER BY {order}"
        );
        let between_tenants = format!(
            "SELECT {list} FROM {table} WHERE tenant > $1 AND tenant < $2 ORDER BY tenant, {order}"
        );
        Ok(Self {
            of_tenant: client.prepare(&of_tenant).await?,
            between_tenants: client.prepare(&between_tenants).await?,
        })
    }
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, StoreError> {
        let floors =
            "SELECT tenant, order_id, version, position, seq, (SELECT recorded_at FROM events
                WHERE events.tenant = feed_floors.tenant
                    AND (events.position, events.seq) > (feed_floors.position, feed_floors.seq)
                ORDER BY events.position, events.seq LIMIT 1)
            FROM feed_floors WHERE tenant >= $1 AND tenant <= $2 ORDER BY tenant";
        Ok(Self {
            orders: Walk::prepare::<OrderRow>(client, "id").await?,
            lines: Walk::prepare::<LineRow>(client, "order_id, line").await?,
            idempotency: Walk::prepare::<IdempotencyRow>(client, "order_id").await?,
            archived: Walk::prepare::<ArchivedRow>(client, "order_id").await?,
            erasures: Walk::prepare::<ErasureRow>(client, "order_id").await?,
            floors: client.prepare(floors).await?,
            events: Walk::prepare::<EventRow>(client, "order_id, version, recorded_at").await?,
        })
    }
}
