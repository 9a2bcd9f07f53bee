//! Cursors when the history of the database changes: retention, failovers and restores.

mod restores;
