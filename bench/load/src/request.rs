//! The bytes of requests.

use std::cell::Cell;

use uuid::Uuid;

use crate::Options;

/// The parts of requests.
pub struct Template {
    address: String,
    path: String,
    body: Option<String>,
    method: String,
    idempotency_key: bool,
    /// The line of the header, or nothing.
    authorization: String,
    ids: Vec<String>,
    count: Cell<u64>,
}

impl Template {
    /// Reads the file of ids, if there is one.
    pub fn new(options: &Options) -> std::io::Result<Self> {
        let ids = match &options.ids {
            Some(file) => std::fs::read_to_string(file)?
                .lines()
                .map(str::to_owned)
                .collect(),
            None => Vec::new(),
        };
        Ok(Self {
            address: options.address.clone(),
            path: options.path.clone(),
            body: options.body.clone(),
            method: options.method.clone(),
            idempotency_key: options.idempotency_key,
            authorization: options
                .authorization
                .as_ref()
                .map(|value| format!("authorization: {value}\r\n"))
                .unwrap_or_default(),
            ids,
            count: Cell::new(0),
        })
    }

    /// The number of requests so far.
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// The next request.
    pub fn next(&self) -> Vec<u8> {
        let n = self.count.replace(self.count.get() + 1);
        let path = match fastrand::choice(&self.ids) {
            Some(id) => self.path.replace("{id}", id),
            None => self.path.clone(),
        };
        let (host, authorization) = (&self.address, &self.authorization);
        let Some(body) = &self.body else {
            return format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{authorization}\r\n")
                .into_bytes();
        };
        let body = body.replace("{n}", &(1 + n % 1_000_000).to_string());
        let key = if self.idempotency_key {
            format!("idempotency-key: {}\r\n", Uuid::new_v4())
        } else {
            String::new()
        };
        format!(
            "{} {path} HTTP/1.1\r\nhost: {host}\r\n{authorization}{key}content-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            self.method,
            body.len()
        )
        .into_bytes()
    }
}
