//! Values of columns as the database has them, which may not be what the service writes.

use std::borrow::Cow;
use std::str::FromStr;

use uuid::Uuid;

/// The value of a column. Types that both databases represent differently are the same here: times are microseconds
/// since 1970, ids are 16 bytes, and texts and JSON are bytes that may not be UTF-8.
#[derive(Debug)]
pub(crate) enum SqlValue<'a> {
    Null,
    Integer(i64),
    Bytes(Cow<'a, [u8]>),
    /// Any other value, such as a fraction, or a time that is infinite.
    Other,
}

/// A column that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadColumn {
    pub(crate) column: &'static str,
    pub(crate) reason: &'static str,
}

/// The columns of a row, which are read in their order.
pub(crate) struct Columns<'a> {
    columns: std::iter::Enumerate<std::slice::Iter<'static, Column>>,
    cell: &'a dyn Fn(usize) -> SqlValue<'a>,
}

/// The name of a column, and whether its values are integers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) is_integer: bool,
}

/// A column of integers or times.
pub(crate) const fn integer(name: &'static str) -> Column {
    Column {
        name,
        is_integer: true,
    }
}

/// A column of texts, ids, hashes or JSON.
pub(crate) const fn bytes(name: &'static str) -> Column {
    Column {
        name,
        is_integer: false,
    }
}

impl<'a> Columns<'a> {
    pub(crate) fn new(columns: &'static [Column], cell: &'a dyn Fn(usize) -> SqlValue<'a>) -> Self {
        Self {
            columns: columns.iter().enumerate(),
            cell,
        }
    }

    fn next(&mut self) -> (&'static str, SqlValue<'a>) {
        match self.columns.next() {
            Some((index, column)) => (column.name, (self.cell)(index)),
            None => ("", SqlValue::Other),
        }
    }

    /// The next column if it is not NULL.
    fn required<T>(
        &mut self,
        read: impl FnOnce(SqlValue<'a>) -> Result<T, &'static str>,
    ) -> Result<T, BadColumn> {
        let (column, cell) = self.next();
        read(cell).map_err(|reason| BadColumn { column, reason })
    }

    fn optional<T>(
        &mut self,
        read: impl FnOnce(SqlValue<'a>) -> Result<T, &'static str>,
    ) -> Result<Option<T>, BadColumn> {
        let (column, cell) = self.next();
        match cell {
            SqlValue::Null => Ok(None),
            cell => read(cell)
                .map(Some)
                .map_err(|reason| BadColumn { column, reason }),
        }
    }

    pub(crate) fn text(&mut self) -> Result<String, BadColumn> {
        self.required(text)
    }

    pub(crate) fn optional_text(&mut self) -> Result<Option<String>, BadColumn> {
        self.optional(text)
    }

    /// A name of something, such as a status.
    pub(crate) fn name<T: FromStr>(&mut self) -> Result<T, BadColumn> {
        self.required(name)
    }

    pub(crate) fn optional_name<T: FromStr>(&mut self) -> Result<Option<T>, BadColumn> {
        self.optional(name)
    }

    pub(crate) fn integer<T: TryFrom<i64>>(&mut self) -> Result<T, BadColumn> {
        self.required(read_integer)
    }

    pub(crate) fn optional_integer<T: TryFrom<i64>>(&mut self) -> Result<Option<T>, BadColumn> {
        self.optional(read_integer)
    }

    pub(crate) fn uuid(&mut self) -> Result<Uuid, BadColumn> {
        self.required(|cell| {
            let bytes = bytes_of(&cell)?;
            Uuid::from_slice(bytes).map_err(|_| "is not a UUID")
        })
    }

    /// Checks that the next column is NULL, or a text that is valid.
    pub(crate) fn check_optional_text(
        &mut self,
        is_valid: impl FnOnce(&str) -> bool,
    ) -> Result<(), BadColumn> {
        let check = |cell| check_text(&cell, is_valid);
        self.optional(check).map(|_| ())
    }

    /// Checks that the next column has 32 bytes.
    pub(crate) fn hash(&mut self) -> Result<(), BadColumn> {
        self.required(|cell| match bytes_of(&cell)?.len() {
            32 => Ok(()),
            _ => Err("does not have 32 bytes"),
        })
    }
}

fn bytes_of<'c>(cell: &'c SqlValue<'_>) -> Result<&'c [u8], &'static str> {
    match cell {
        SqlValue::Bytes(bytes) => Ok(bytes),
        SqlValue::Null => Err("is NULL"),
        SqlValue::Integer(_) | SqlValue::Other => Err("has a value of another type"),
    }
}

fn text(cell: SqlValue<'_>) -> Result<String, &'static str> {
    let bytes = match cell {
        SqlValue::Bytes(bytes) => bytes.into_owned(),
        cell => bytes_of(&cell)?.to_vec(),
    };
    String::from_utf8(bytes).map_err(|_| "is not UTF-8")
}

fn check_text(
    cell: &SqlValue<'_>,
    is_valid: impl FnOnce(&str) -> bool,
) -> Result<(), &'static str> {
    let text = str::from_utf8(bytes_of(cell)?).map_err(|_| "is not UTF-8")?;
    if is_valid(text) {
        Ok(())
    } else {
        Err("is not valid")
    }
}

fn name<T: FromStr>(cell: SqlValue<'_>) -> Result<T, &'static str> {
    let text = str::from_utf8(bytes_of(&cell)?).map_err(|_| "is not UTF-8")?;
    text.parse().map_err(|_| "has an unknown name")
}

fn read_integer<T: TryFrom<i64>>(cell: SqlValue<'_>) -> Result<T, &'static str> {
    match cell {
        SqlValue::Integer(number) => T::try_from(number).map_err(|_| "is out of range"),
        SqlValue::Null => Err("is NULL"),
        SqlValue::Bytes(_) | SqlValue::Other => Err("has a value of another type"),
    }
}
