//! The lines of an order and their amounts.

use std::collections::HashSet;
use std::fmt;

use super::{Quantity, ShortText, Violation};

/// The maximum number of lines of an order.
pub const MAX_LINES: usize = 100;
/// The maximum distance of a unit amount from 0, in the minor unit of the order's currency.
pub const MAX_UNIT_AMOUNT: i64 = 1_000_000_000_000;
/// The maximum total of an order: the largest integer that JavaScript counts to exactly (ECMA-262,
/// `Number.MAX_SAFE_INTEGER`).
pub const MAX_TOTAL_AMOUNT: i64 = (1 << 53) - 1;

/// A number of pieces of one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The product.
    pub product_id: String,
    /// The number of pieces.
    pub quantity: i32,
    /// The price of a piece in the minor unit of the order's currency. A negative price is a discount.
    pub unit_amount: Option<i64>,
}

/// A line that a client requests, not validated yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineDraft {
    /// The product.
    pub product_id: String,
    /// The number of pieces.
    pub quantity: i64,
    /// The price of a piece, if the order has a currency.
    pub unit_amount: Option<i64>,
}

/// The lines that a client requests. They differ in where the request has them, so in the pointers to violations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemsDraft {
    /// The request itself is the only line.
    Single(LineDraft),
    /// The member `items` has the lines.
    Listed(Vec<LineDraft>),
}

impl Default for ItemsDraft {
    fn default() -> Self {
        Self::Listed(Vec::new())
    }
}

impl ItemsDraft {
    /// A single line without an amount.
    pub fn single(product_id: impl Into<String>, quantity: i64) -> Self {
        Self::Single(LineDraft {
            product_id: product_id.into(),
            quantity,
            unit_amount: None,
        })
    }

    /// The JSON Pointer of the line with this index.
    fn pointer(&self, index: usize) -> String {
        match self {
            Self::Single(_) => String::new(),
            Self::Listed(_) => format!("/items/{index}"),
        }
    }

    /// The JSON Pointer of what determines the total.
    const fn total_pointer(&self) -> &'static str {
        match self {
            Self::Single(_) => "/unit_amount",
            Self::Listed(_) => "/items",
        }
    }

    fn lines(&self) -> &[LineDraft] {
        match self {
            Self::Single(line) => std::slice::from_ref(line),
            Self::Listed(lines) => lines,
        }
    }

    fn into_lines(self) -> Vec<LineDraft> {
        match self {
            Self::Single(line) => vec![line],
            Self::Listed(lines) => lines,
        }
    }
}

/// The lines of an order: 1 to [`MAX_LINES`]. Either every line has an amount or none has. The total of the amounts
/// is from 0 to [`MAX_TOTAL_AMOUNT`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Items {
    lines: Vec<Line>,
    total_amount: Option<i64>,
}

/// The total of an order is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have a total from 0 to {MAX_TOTAL_AMOUNT}, has {0}")]
pub struct TotalError(i128);

impl Items {
    /// Validates lines.
    ///
    /// # Errors
    /// Every violation found. Its pointer is relative to the object that has the lines.
    pub fn parse(draft: ItemsDraft) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let count = draft.lines().len();
        if !(1..=MAX_LINES).contains(&count) {
            let detail = format!("must have 1 to {MAX_LINES} lines, has {count}");
            return Err(vec![Violation::new("/items", detail)]);
        }
        let with_amounts = draft.lines().iter().any(|line| line.unit_amount.is_some());
        for (index, line) in draft.lines().iter().enumerate() {
            let mut reject = |member, error: &dyn fmt::Display| {
                let pointer = format!("{}/{member}", draft.pointer(index));
                violations.push(Violation::new(pointer, error));
            };
            if let Err(error) = ShortText::check(&line.product_id) {
                reject("product_id", &error);
            }
            if let Err(error) = Quantity::parse(line.quantity) {
                reject("quantity", &error);
            }
            if let Err(error) = check_amount(line.unit_amount, with_amounts) {
                reject("unit_amount", &error);
            }
        }
        if !violations.is_empty() {
            return Err(violations);
        }
        let total_pointer = draft.total_pointer();
        let lines = draft.into_lines().into_iter().filter_map(|line| {
            Some(Line {
                product_id: line.product_id,
                quantity: i32::try_from(line.quantity).ok()?,
                unit_amount: line.unit_amount,
            })
        });
        Self::new(lines.collect()).map_err(|error| vec![Violation::new(total_pointer, error)])
    }

    /// Adds up the amounts of validated lines.
    fn new(lines: Vec<Line>) -> Result<Self, TotalError> {
        // At most 100 lines of at most 10^18, so the sum cannot overflow.
        let amounts = lines
            .iter()
            .map(|line| Some(i128::from(line.unit_amount?) * i128::from(line.quantity)));
        let total: Option<i128> = amounts.sum();
        let total_amount = total.map(|total| {
            i64::try_from(total)
                .ok()
                .filter(|total| (0..=MAX_TOTAL_AMOUNT).contains(total))
                .ok_or(TotalError(total))
        });
        Ok(Self {
            total_amount: total_amount.transpose()?,
            lines,
        })
    }

    /// Creates the lines from values that were validated before they were stored.
    pub const fn from_stored(lines: Vec<Line>, total_amount: Option<i64>) -> Self {
        Self {
            lines,
            total_amount,
        }
    }

    /// The lines, in the order of the request.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The line of an order with a single line.
    pub fn single(&self) -> Option<&Line> {
        match self.lines.as_slice() {
            [line] => Some(line),
            _ => None,
        }
    }

    /// The sum of quantity times unit amount, in the minor unit of the order's currency. `None` for lines without
    /// amounts.
    pub const fn total_amount(&self) -> Option<i64> {
        self.total_amount
    }

    /// For each line, whether no line before it has the same product.
    pub fn first_of_product(&self) -> impl Iterator<Item = bool> {
        let mut seen = HashSet::new();
        let several = self.lines.len() > 1;
        self.lines
            .iter()
            .map(move |line| !several || seen.insert(line.product_id.as_str()))
    }

    /// The length in bytes of all products, and of the lines in memory.
    pub fn bytes(&self) -> usize {
        let products = self.lines.iter().map(|line| line.product_id.len());
        products.sum::<usize>() + size_of_val(self.lines.as_slice())
    }

    /// The lines with this quantity of the only one.
    ///
    /// # Errors
    /// When there are several lines, or when the total would be out of range.
    pub(super) fn with_quantity(&self, quantity: Quantity) -> Result<Self, Vec<Violation>> {
        let Some(line) = self.single() else {
            let detail = "must not be given for an order of several lines; replace items instead";
            return Err(vec![Violation::new("/quantity", detail)]);
        };
        let line = Line {
            quantity: quantity.get(),
            ..line.clone()
        };
        Self::new(vec![line]).map_err(|error| vec![Violation::new("/quantity", error)])
    }
}

fn check_amount(amount: Option<i64>, required: bool) -> Result<(), String> {
    match amount {
        None if required => Err("must be given for every line or for none".to_owned()),
        Some(amount) if amount.unsigned_abs() > MAX_UNIT_AMOUNT.unsigned_abs() => Err(format!(
            "must be from -{MAX_UNIT_AMOUNT} to {MAX_UNIT_AMOUNT}, is {amount}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
