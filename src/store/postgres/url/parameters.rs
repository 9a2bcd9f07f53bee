//! The syntax of a connection URI, parsed as libpq does (`conninfo_uri_parse_options` in `fe-connect.c`;
//! PostgreSQL manual, section 34.1.1.2).

use std::collections::HashMap;

use percent_encoding::percent_decode_str;

use super::UrlError;
use crate::config::TlsDefaults;

/// The parameters of a URI by libpq's names. Those after the `?` override those before it (`user`, `password`,
/// `host`, `port`, `dbname`).
#[derive(Default)]
pub(crate) struct Parameters(HashMap<String, Vec<u8>>);

impl Parameters {
    pub(super) fn parse(uri: &str) -> Result<Self, UrlError> {
        let mut found = Self::default();
        let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        // As in libpq, the login ends at the first `@`, and contains no `/`.
        let rest = match rest.split_once('@') {
            Some((login, rest)) if !login.contains('/') => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                found.insert("user", user)?;
                found.insert("password", password)?;
                rest
            }
            _ => rest,
        };
        let (hosts, ports, rest) = hosts_and_ports(rest)?;
        if hosts.contains('@') {
            return Err(UrlError::AtSignInHost);
        }
        found.insert("host", &hosts)?;
        found.insert("port", &ports)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.contains('@') {
            return Err(UrlError::AtSignInDatabaseName);
        }
        found.insert("dbname", path.strip_prefix('/').unwrap_or(path))?;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter
                .split_once('=')
                .ok_or(UrlError::ParameterWithoutValue)?;
            let name = String::from_utf8(decode(name)?).map_err(|_| UrlError::NameNotUtf8)?;
            match (name.as_str(), value) {
                // As in libpq, for URLs written for JDBC.
                ("ssl", "true") => found.insert("sslmode", "require")?,
                (name, value) => found.insert(name, value)?,
            }
        }
        Ok(found)
    }

    /// Ignores an empty value.
    fn insert(&mut self, name: &str, value: &str) -> Result<(), UrlError> {
        let value = decode(value)?;
        if !value.is_empty() {
            self.0.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// Adds the TLS parameters that the URL does not have. A certificate and its key are added together, so that a
    /// certificate of the URL is not combined with another key.
    pub(super) fn add_tls_defaults(&mut self, defaults: &TlsDefaults) {
        let TlsDefaults {
            mode,
            root_cert,
            client,
        } = defaults;
        let mut add = |name: &str, value: &str| {
            let value = || value.as_bytes().to_vec();
            self.0.entry(name.to_owned()).or_insert_with(value);
        };
        if let Some(mode) = mode {
            add("sslmode", mode);
        }
        if let Some(root_cert) = root_cert {
            add("sslrootcert", root_cert);
        }
        if let Some((certificate, key)) = client
            && !self.0.contains_key("sslcert")
            && !self.0.contains_key("sslkey")
        {
            self.0
                .insert("sslcert".to_owned(), certificate.as_bytes().to_vec());
            self.0.insert("sslkey".to_owned(), key.as_bytes().to_vec());
        }
    }

    /// Removes a parameter. [`Self::finish`] then does not report it as unsupported.
    pub(crate) fn take_bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        self.0.remove(name)
    }

    pub(crate) fn take_text(&mut self, name: &'static str) -> Result<Option<String>, UrlError> {
        let text = self.take_bytes(name).map(String::from_utf8).transpose();
        text.map_err(|_| UrlError::ValueNotUtf8(name))
    }

    /// Takes a whole number. As in libpq, a negative one counts as 0.
    pub(crate) fn take_number(&mut self, name: &'static str) -> Result<Option<u32>, UrlError> {
        let number = self
            .take_text(name)?
            .map(|text| text.trim().parse::<i64>())
            .transpose()
            .map_err(|_| UrlError::NotANumber(name))?;
        Ok(number.map(|number| u32::try_from(number.max(0)).unwrap_or(u32::MAX)))
    }

    /// Takes one of a fixed set of values.
    pub(crate) fn take_choice<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<T>, UrlError> {
        let Some(text) = self.take_text(name)? else {
            return Ok(None);
        };
        match choices.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => Err(UrlError::NotAChoice {
                name,
                choices: choices.iter().map(|(word, _)| *word).collect(),
            }),
        }
    }

    /// Rejects parameters that were not taken.
    pub(super) fn finish(self) -> Result<(), UrlError> {
        let Some(name) = self.0.into_keys().min() else {
            return Ok(());
        };
        if name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            Err(UrlError::UnsupportedParameter(name))
        } else {
            Err(UrlError::UnsupportedName)
        }
    }
}

/// The hosts and the ports, each as a list with commas, and the rest of the URI.
fn hosts_and_ports(mut rest: &str) -> Result<(String, String, &str), UrlError> {
    let (mut hosts, mut ports) = (String::new(), String::new());
    loop {
        let host;
        if let Some(inside) = rest.strip_prefix('[') {
            (host, rest) = inside
                .split_once(']')
                .filter(|(address, _)| !address.is_empty())
                .ok_or(UrlError::UnclosedBracket)?;
            if !rest.is_empty() && !rest.starts_with([':', '/', '?', ',']) {
                return Err(UrlError::TextAfterBracket);
            }
        } else {
            (host, rest) = split_before(rest, &[':', '/', '?', ',']);
        }
        hosts.push_str(host);
        if let Some(after) = rest.strip_prefix(':') {
            let port;
            (port, rest) = split_before(after, &['/', '?', ',']);
            ports.push_str(port);
        }
        match rest.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok((hosts, ports, rest)),
        }
        hosts.push(',');
        ports.push(',');
    }
}

fn split_before<'a>(text: &'a str, ends: &[char]) -> (&'a str, &'a str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn decode(text: &str) -> Result<Vec<u8>, UrlError> {
    let is_escape = |part: &str| {
        let mut digits = part.bytes();
        let mut hexadecimal = || digits.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        hexadecimal() && hexadecimal() && !part.starts_with("00")
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(UrlError::BadEscape);
    }
    Ok(percent_decode_str(text).collect())
}
