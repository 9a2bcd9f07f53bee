//! The syntax of a connection URI, taken apart as libpq does it (`conninfo_uri_parse_options` in
//! its `fe-connect.c`; PostgreSQL manual, section 34.1.1.2).

use std::collections::HashMap;

use percent_encoding::percent_decode_str;

/// The parameters of a URI by libpq's names: those before the `?` (`user`, `password`, `host`,
/// `port`, `dbname`) and those behind it, which win.
#[derive(Default)]
pub(crate) struct Parameters(HashMap<String, Vec<u8>>);

impl Parameters {
    /// Takes a URI apart.
    ///
    /// # Errors
    /// What is wrong with it. No part of the URI is in the message: any may hold the password.
    pub(crate) fn parse(uri: &str) -> Result<Self, String> {
        let mut found = Self::default();
        let rest = uri.split_once("://").map_or(uri, |(_, rest)| rest);
        // As in libpq, the login ends at the first `@`, whatever else is in it but a `/`.
        let rest = match rest.split_once('@') {
            Some((login, rest)) if !login.contains('/') => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                found.insert("user", user)?;
                found.insert("password", password)?;
                rest
            }
            _ => rest,
        };
        let (hosts, ports, rest) = hosts(rest)?;
        if hosts.contains('@') {
            return Err("the host holds an @; in a user or password write %40".to_owned());
        }
        found.insert("host", &hosts)?;
        found.insert("port", &ports)?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.contains('@') {
            // A `/` in a password ends the search for the `@`: the path holds a part of the password.
            return Err(
                "the database name holds an @; in a user or password write %2F for / and %40 for @"
                    .to_owned(),
            );
        }
        found.insert("dbname", path.strip_prefix('/').unwrap_or(path))?;
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter
                .split_once('=')
                .ok_or("a parameter behind the ? has no =; write %26 for an & in a value")?;
            let name = String::from_utf8(decode(name)?)
                .map_err(|_| "the name of a parameter is not UTF-8")?;
            match (name.as_str(), value) {
                // As in libpq, for URLs written for JDBC.
                ("ssl", "true") => found.insert("sslmode", "require")?,
                (name, value) => found.insert(name, value)?,
            }
        }
        Ok(found)
    }

    /// An empty value counts as none.
    fn insert(&mut self, name: &str, value: &str) -> Result<(), String> {
        let value = decode(value)?;
        if !value.is_empty() {
            self.0.insert(name.to_owned(), value);
        }
        Ok(())
    }

    /// The value of a parameter, which is known from then on.
    pub(crate) fn bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        self.0.remove(name)
    }

    /// A value that is text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, String> {
        let text = self.bytes(name).map(String::from_utf8).transpose();
        text.map_err(|_| format!("{name} is not UTF-8"))
    }

    /// A value that is a whole number. Negative ones count as 0, as libpq takes them.
    pub(crate) fn number(&mut self, name: &str) -> Result<Option<u32>, String> {
        let number = self.text(name)?.map(|text| text.trim().parse::<i64>());
        match number.transpose() {
            Ok(number) => Ok(number.map(|number| u32::try_from(number.max(0)).unwrap_or(u32::MAX))),
            Err(_) => Err(format!("{name} takes a whole number")),
        }
    }

    /// A value that is one of some words.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        name: &str,
        words: &[(&str, T)],
    ) -> Result<Option<T>, String> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, value)) => Ok(Some(*value)),
            None => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                Err(format!("{name} takes {}", words.join(", ")))
            }
        }
    }

    /// Refuses what nobody has asked for, by its name.
    pub(crate) fn finish(self) -> Result<(), String> {
        let Some(name) = self.0.into_keys().min() else {
            return Ok(());
        };
        // Something else may be the rest of a password with an `&` in it.
        if name.len() <= 40 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_') {
            Err(format!("the parameter {name} is not supported"))
        } else {
            Err("a parameter with an odd name is not supported".to_owned())
        }
    }
}

/// The hosts and their ports, each with commas between them, and what follows.
fn hosts(mut rest: &str) -> Result<(String, String, &str), String> {
    let (mut hosts, mut ports) = (String::new(), String::new());
    loop {
        let host;
        if let Some(inside) = rest.strip_prefix('[') {
            (host, rest) = inside
                .split_once(']')
                .filter(|(address, _)| !address.is_empty())
                .ok_or("an IPv6 address is written [ADDRESS]")?;
            if !rest.is_empty() && !rest.starts_with([':', '/', '?', ',']) {
                return Err("only a port may follow an IPv6 address".to_owned());
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

fn decode(text: &str) -> Result<Vec<u8>, String> {
    let is_escape = |part: &str| {
        let mut digits = part.bytes();
        let mut hexadecimal = || digits.next().is_some_and(|digit| digit.is_ascii_hexdigit());
        hexadecimal() && hexadecimal() && !part.starts_with("00")
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err(
            "a % must be followed by two hexadecimal digits, not both 0; write %25 for a % itself"
                .to_owned(),
        );
    }
    Ok(percent_decode_str(text).collect())
}
