//! The connection of a command that runs once, such as an import.
//!
//! It is a client of tokio-postgres: Diesel has no `COPY`, and returns the rows of a query only when it has all of them.

use std::ops::{Deref, DerefMut};

use tokio_postgres::Client;

use super::driver::ConnectionGuard;

/// A client with its connection.
pub(in crate::store) struct CommandClient {
    client: Client,
    /// Keeps the connection open.
    _guard: ConnectionGuard,
}

impl CommandClient {
    pub(super) fn new(client: Client, guard: ConnectionGuard) -> Self {
        Self {
            client,
            _guard: guard,
        }
    }
}

impl Deref for CommandClient {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for CommandClient {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}
