//! The lines of orders as parameters of a statement that writes them.

use diesel::QueryResult;
use diesel::pg::Pg;
use diesel::query_builder::AstPass;
use diesel::sql_types::{Array, BigInt, Integer, Nullable, SmallInt, Text, Uuid as SqlUuid};
use uuid::Uuid;

use crate::domain::Order;

/// The lines of several orders, column by column.
#[derive(Default)]
pub(super) struct Lines<'a> {
    order_ids: Vec<Uuid>,
    numbers: Vec<i16>,
    product_ids: Vec<&'a str>,
    quantities: Vec<i32>,
    unit_amounts: Vec<Option<i64>>,
    statuses: Vec<Option<&'static str>>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(orders: impl IntoIterator<Item = &'a Order>) -> Self {
        let mut lines = Self::default();
        for order in orders {
            let first = order.items.first_of_product();
            for ((number, line), first) in (1..).zip(order.items.lines()).zip(first) {
                lines.order_ids.push(order.id);
                lines.numbers.push(number);
                lines.product_ids.push(&line.product_id);
                lines.quantities.push(line.quantity);
                lines.unit_amounts.push(line.unit_amount);
                lines.statuses.push(first.then(|| order.status.as_str()));
            }
        }
        lines
    }

    /// The number of the last line.
    pub(super) fn last_number(&self) -> i16 {
        self.numbers.last().copied().unwrap_or_default()
    }

    /// Writes an insert of the lines of those orders that the common table expression `orders` has, with the columns
    /// tenant and id.
    pub(super) fn write_insert<'b>(
        &'b self,
        orders: &str,
        out: &mut AstPass<'_, 'b, Pg>,
    ) -> QueryResult<()> {
        out.push_sql(
            "INSERT INTO order_items (tenant, order_id, line, product_id, quantity, unit_amount, status)
            SELECT tenant, id, line, product_id, quantity, unit_amount, item.status FROM unnest(",
        );
        out.push_bind_param::<Array<SqlUuid>, _>(&self.order_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SmallInt>, _>(&self.numbers)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Text>, _>(&self.product_ids)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, _>(&self.quantities)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<BigInt>>, _>(&self.unit_amounts)?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Nullable<Text>>, _>(&self.statuses)?;
        out.push_sql(") AS item (id, line, product_id, quantity, unit_amount, status) JOIN ");
        out.push_sql(orders);
        out.push_sql(" USING (id)");
        Ok(())
    }
}
