//! Combines the rows of a statement that joins orders with their lines.

use super::StoreError;
use crate::domain::Line;

/// A line of an order with the columns of the order. So one statement reads orders with all their lines.
pub(super) trait OrderLine {
    /// An order that the statement returned.
    type Found;

    /// The place of the order in the response of the statement, from 1 on.
    fn number(&self) -> i64;

    /// The place of the line in its order.
    fn place(&self) -> i32;

    /// The line alone.
    fn take_line(&mut self) -> Line;

    /// The order with these lines, of which this is the first.
    fn into_order(self, lines: Vec<Line>) -> Result<Self::Found, StoreError>;
}

/// Combines lines to orders, sorted by their number.
pub(super) fn orders<L: OrderLine>(mut lines: Vec<L>) -> Result<Vec<L::Found>, StoreError> {
    // The rows are nearly always sorted. A sort by PostgreSQL would need a sort node, which its sessions avoid.
    lines.sort_by_key(|line| (line.number(), line.place()));
    let mut orders = Vec::new();
    let mut lines = lines.into_iter().peekable();
    while let Some(mut first) = lines.next() {
        let number = first.number();
        let mut items = vec![first.take_line()];
        while let Some(mut next) = lines.next_if(|next| next.number() == number) {
            items.push(next.take_line());
        }
        orders.push(first.into_order(items)?);
    }
    Ok(orders)
}
