//! Creates a batch of orders in one statement: orders, lines, idempotency keys and events together, so in one
//! transaction and one commit.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel::sql_types::{
    Array, BigInt, Binary, Integer, Json, Jsonb, Nullable, SmallInt, Text, Timestamptz,
    Uuid as SqlUuid,
};
use diesel_async::RunQueryDsl as _;
use futures_util::FutureExt as _;
use uuid::Uuid;

use super::Postgres;
use super::find_existing::{ExistingRow, FindExisting};
use super::lines::Lines;
use super::plan::push_unknown;
use super::position::POSITION;
use super::rows::JsonText;
use crate::domain::Currency;
use crate::store::StoreError;
use crate::store::auth_context::auth_id;
use crate::store::coalesce::LockWait;
use crate::store::create::{CreateOutcome, ExistingOrder, Idempotency, NewRow};
use crate::store::error::StoreFault;
use crate::store::statement::{Prepared, Statement};
use crate::telemetry::QueryName;

/// `lock_timeout` of a batch that waits for another transaction, which is inserting one of its keys. It is several
/// times the duration of a commit. A key that takes longer gets a lane of its own.
const SHORT_LOCK_WAIT: &str = "100ms";
/// `lock_timeout` for keys that a batch has already waited for. Many may be locked, and they are tried one after
/// another.
const MOMENT_LOCK_WAIT: &str = "10ms";

/// How often rows are inserted while the database has neither them nor those that they conflict with, because the
/// server changed between two statements.
const MAX_ROUNDS: usize = 3;

/// The known facts about a batch after its statements.
struct BatchState {
    inserted: HashSet<Uuid>,
    /// The orders that the others conflict with, by the index of the row.
    existing: HashMap<usize, Vec<ExistingOrder>>,
}

impl BatchState {
    /// The outcome for the row with this index, if it is proven.
    fn resolve(&self, index: usize, row: &NewRow) -> Option<CreateOutcome> {
        if self.inserted.contains(&row.order.id) {
            return Some(CreateOutcome::New(row.document()));
        }
        row.resolve_conflicts(self.existing.get(&index)?)
    }
}

impl Postgres {
    /// Creates a batch of orders. Each outcome is proven: the insert returned the row, or a look-up found the row
    /// or the order that it conflicts with. A row without proof has an error of its own, because the others may have
    /// been created.
    ///
    /// A round that proves an outcome does not count towards the limit. A row may need one for each row before it with
    /// the same key: such a row has the key in the insert, but releases it before the look-up, because its external id
    /// is taken.
    pub(super) async fn create_orders(
        &self,
        rows: Arc<[Arc<NewRow>]>,
        wait: LockWait,
    ) -> Result<Vec<Result<CreateOutcome, StoreError>>, StoreError> {
        let mut outcomes: Vec<Option<CreateOutcome>> = vec![None; rows.len()];
        let mut open: Arc<[Arc<NewRow>]> = Arc::clone(&rows);
        let mut rounds_without_proof = 0;
        while !open.is_empty() && rounds_without_proof < MAX_ROUNDS {
            let before = open.len();
            let known = self.insert_or_find(&open, wait).await?;
            // `open` has the rows without an outcome, in their order.
            let unresolved = outcomes.iter_mut().filter(|outcome| outcome.is_none());
            for (outcome, (index, row)) in unresolved.zip(open.iter().enumerate()) {
                *outcome = known.resolve(index, row);
            }
            let unresolved = outcomes.iter().zip(rows.iter());
            open = unresolved
                .filter(|(outcome, _)| outcome.is_none())
                .map(|(_, row)| Arc::clone(row))
                .collect();
            if open.len() == before {
                rounds_without_proof += 1;
            }
        }
        let unproven = || StoreFault::NeitherKeptNorFound.into();
        let outcomes = outcomes.into_iter();
        Ok(outcomes
            .map(|outcome| outcome.ok_or_else(unproven))
            .collect())
    }

    /// Inserts the rows, then looks up the orders that the others conflict with. The look-up is a separate
    /// statement, because the snapshot of the first may be older than the commit that it waited for.
    async fn insert_or_find(
        &self,
        rows: &Arc<[Arc<NewRow>]>,
        wait: LockWait,
    ) -> Result<BatchState, StoreError> {
        let inserted = if rows.iter().any(|row| row.external_id().is_some()) {
            self.insert_with_external_ids(rows, wait).await?
        } else {
            match self.insert::<false, false>(rows, wait).await? {
                Some(inserted) => inserted,
                None => {
                    let inserted = self.insert::<true, false>(rows, wait).await?;
                    inserted.unwrap_or_default()
                }
            }
        };
        let mut known = BatchState {
            inserted,
            existing: HashMap::new(),
        };
        let mut find = FindExisting::default();
        for (index, row) in rows.iter().enumerate() {
            if !known.inserted.contains(&row.order.id) {
                find.push(index, row);
            }
        }
        if find.is_empty() {
            return Ok(known);
        }
        let found: Vec<ExistingRow> = self
            .run(QueryName::FindIdempotencyKeys, move |connection| {
                let find = Prepared(find.clone());
                async move { find.load(connection).await }.boxed()
            })
            .await?;
        for (index, order) in found.into_iter().map(ExistingRow::into_existing) {
            known.existing.entry(index).or_default().push(order);
        }
        Ok(known)
    }

    /// Inserts the rows and returns the ids of the new ones. If an order with one of the ids or external ids exists,
    /// writes nothing and returns `None`.
    pub(super) async fn insert<const SKIP_EXISTING: bool, const EXTERNAL_IDS: bool>(
        &self,
        rows: &Arc<[Arc<NewRow>]>,
        wait: LockWait,
    ) -> Result<Option<HashSet<Uuid>>, StoreError> {
        let (batch, panics) = (Arc::clone(rows), self.panics.clone());
        let inserted: Option<Vec<Uuid>> = self
            .run(QueryName::CreateOrders, move |connection| {
                let rows = Arc::clone(&batch);
                rows.iter().for_each(|row| row.panic_in_test(&panics));
                async move {
                    match Prepared(Insert::<SKIP_EXISTING, EXTERNAL_IDS>::new(&rows, wait))
                        .load(connection)
                        .await
                    {
                        Err(DieselError::DatabaseError(DatabaseErrorKind::UniqueViolation, _))
                            if !SKIP_EXISTING =>
                        {
                            Ok(None)
                        }
                        inserted => inserted.map(Some),
                    }
                }
                .boxed()
            })
            .await?;
        Ok(inserted.map(|ids| ids.into_iter().collect()))
    }
}

/// The columns of a batch. Each is an array, so that batches of all sizes are one prepared statement.
///
/// With `SKIP_EXISTING`, the statement skips an order whose id exists. The service generates the ids, so that
/// happens only when the statement is repeated. Without it, such an order fails the statement, which saves
/// PostgreSQL a search, a lock and a record in its write-ahead log for each row.
///
/// Without `EXTERNAL_IDS`, no row has an external id.
pub(super) struct Insert<'a, const SKIP_EXISTING: bool, const EXTERNAL_IDS: bool> {
    lock_timeout: &'static str,
    tenants: Vec<&'a str>,
    ids: Vec<Uuid>,
    lines: Lines<'a>,
    customer_ids: Vec<Option<&'a str>>,
    external_ids: Vec<Option<&'a str>>,
    currencies: Vec<Option<&'a str>>,
    total_amounts: Vec<Option<i64>>,
    metadata: Vec<JsonText<'a>>,
    times: Vec<DateTime<Utc>>,
    keys: Vec<Option<&'a [u8]>>,
    hashes: Vec<Option<&'a [u8]>>,
    documents: Vec<JsonText<'a>>,
    lengths: Vec<i32>,
    traceparents: Vec<Option<&'a str>>,
    auth_types: Vec<&'static str>,
    auth_ids: Vec<Option<Cow<'a, str>>>,
}

impl<'a, const SKIP_EXISTING: bool, const EXTERNAL_IDS: bool>
    Insert<'a, SKIP_EXISTING, EXTERNAL_IDS>
{
    pub(super) fn new(rows: &'a [Arc<NewRow>], wait: LockWait) -> Self {
        let mut rows: Vec<&NewRow> = rows.iter().map(|row| &**row).collect();
        // Batches of other connections may have the same keys. If the keys are sorted, the batches wait for each
        // other. In different orders, they would deadlock.
        rows.sort_by_key(|row| row.key().map(|key| (key, &row.caller.tenant)));
        Self {
            lock_timeout: match wait {
                LockWait::Short => SHORT_LOCK_WAIT,
                LockWait::Moment => MOMENT_LOCK_WAIT,
                LockWait::Long => "0",
            },
            tenants: rows.iter().map(|row| row.caller.tenant.as_str()).collect(),
            ids: rows.iter().map(|row| row.order.id).collect(),
            lines: Lines::of(rows.iter().map(|row| &row.order)),
            customer_ids: rows
                .iter()
                .map(|row| row.order.customer_id.as_deref())
                .collect(),
            external_ids: if EXTERNAL_IDS {
                rows.iter().map(|row| row.external_id()).collect()
            } else {
                Vec::new()
            },
            currencies: rows
                .iter()
                .map(|row| row.order.currency.as_ref().map(Currency::as_str))
                .collect(),
            total_amounts: rows
                .iter()
                .map(|row| row.order.items.total_amount())
                .collect(),
            metadata: rows.iter().map(|row| JsonText(&row.metadata)).collect(),
            times: rows.iter().map(|row| row.order.created_at).collect(),
            keys: rows.iter().map(|row| row.key()).collect(),
            hashes: rows.iter().map(|row| row.hash()).collect(),
            documents: rows.iter().map(|row| JsonText(&row.json)).collect(),
            lengths: rows.iter().map(|row| row.json_bytes()).collect(),
            traceparents: rows.iter().map(|row| row.traceparent.as_deref()).collect(),
            auth_types: rows
                .iter()
                .map(|row| row.caller.auth_type.as_str())
                .collect(),
            auth_ids: rows.iter().map(|row| auth_id(&row.caller)).collect(),
        }
    }
}

/// The rows of a batch may belong to several tenants. The service makes the ids, so within a batch an id alone
/// identifies a row.
///
/// Rows are inserted in the order of the arrays. `ON CONFLICT DO NOTHING` covers the key, even when the batch
/// contains it twice or another transaction is inserting it, for which the statement waits. It also covers the id
/// of an order without a key, when the statement is repeated after its connection broke.
///
/// Documents are sent as `json`: PostgreSQL validates them once for both tables and copies them without a cast.
///
/// `lock_timeout` bounds only the wait for another transaction, because it is set when the statement already has
/// its locks on the tables.
///
/// With `EXTERNAL_IDS`, a row whose external id an order already has writes nothing. Neither its key nor its order is
/// written, because such a row is no input. The search is a scalar subquery, which PostgreSQL evaluates for each row
/// with one descent of the index; it would turn `NOT EXISTS` into a join.
///
/// Statements with external ids wait for two kinds of unique values of other transactions. They do not deadlock,
/// because every statement writes all its keys before all its external ids, each sorted. PostgreSQL runs `keyed` only
/// when `placed` first needs one of its rows. The sort of `placed` reads all its input before the first order is
/// inserted, so `keyed` is complete by then.
impl<const SKIP_EXISTING: bool, const EXTERNAL_IDS: bool> Statement
    for Insert<'_, SKIP_EXISTING, EXTERNAL_IDS>
{
    type Database = Pg;
    type Id = Insert<'static, SKIP_EXISTING, EXTERNAL_IDS>;
    type Columns = SqlUuid;

    fn write<'b>(&'b self, out: &mut AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("WITH input AS MATERIALIZED (SELECT t.* FROM set_config('lock_timeout', ");
        out.push_bind_param::<Text, _>(self.lock_timeout)?;
        out.push_sql(", true), unnest(");
        out.push_bind_param::<Array<Text>, _>(&self.tenants)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SqlUuid>, _>(&self.ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.customer_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.currencies)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.total_amounts)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Jsonb>, _>(&self.metadata)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Timestamptz>, _>(&self.times)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Binary>>, _>(&self.keys)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Binary>>, _>(&self.hashes)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Json>, _>(&self.documents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.lengths)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.traceparents)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.auth_types)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.auth_ids)?;
        if EXTERNAL_IDS {
            out.push_sql(", ");
            push_unknown::<Array<Nullable<Text>>, _>(&self.external_ids, out)?;
        }
        out.push_sql(
            ") AS t (tenant, id, customer_id, currency, total_amount, metadata, at, key, hash, data, bytes, trace,
                authtype, authid",
        );
        if EXTERNAL_IDS {
            out.push_sql(
                ", external_id) WHERE external_id IS NULL OR (SELECT orders.id FROM orders
                    WHERE orders.tenant = t.tenant AND orders.external_id = t.external_id) IS NULL",
            );
        } else {
            out.push_sql(")");
        }
        out.push_sql(
            "), keyed AS (
                INSERT INTO idempotency_keys
                    (tenant, key_hash, order_id, request_hash, hash_version, document, created_at)
                SELECT tenant, key, id, hash, ",
        );
        out.push_bind_param::<SmallInt, _>(&Idempotency::HASH_VERSION)?;
        out.push_sql(
            ", data, at FROM input WHERE key IS NOT NULL
                ON CONFLICT DO NOTHING
                RETURNING order_id
            ), placed AS (
                INSERT INTO orders (tenant, id, status, customer_id, currency, total_amount, metadata, version,
                    created_at, updated_at, json_bytes",
        );
        if EXTERNAL_IDS {
            out.push_sql(", external_id");
        }
        out.push_sql(
            ")
                SELECT tenant, id, 'pending', customer_id, currency, total_amount, metadata, 1, at, at, bytes",
        );
        if EXTERNAL_IDS {
            out.push_sql(", external_id");
        }
        out.push_sql(
            "
                FROM input
                WHERE key IS NULL OR id IN (SELECT order_id FROM keyed) ",
        );
        if EXTERNAL_IDS {
            out.push_sql("ORDER BY external_id COLLATE \"C\", tenant COLLATE \"C\", id ");
        }
        if SKIP_EXISTING {
            out.push_sql("ON CONFLICT DO NOTHING ");
        }
        out.push_sql(
            "RETURNING tenant, id
            ), listed AS (",
        );
        self.lines.write_insert("placed", out)?;
        out.push_sql(
            "), logged AS (
                INSERT INTO events (tenant, order_id, version, event_type, position, occurred_at, data, data_bytes,
                    traceparent, authtype, authid)
                SELECT input.tenant, id, 1, 'created', ",
        );
        out.push_sql(POSITION);
        out.push_sql(
            ", at, data, bytes, trace, authtype, authid
                FROM input JOIN placed USING (id)
            ) SELECT id FROM placed",
        );
        Ok(())
    }
}
