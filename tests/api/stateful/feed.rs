//! Events: those of one order, and the feed.

use std::time::Duration;

use serde_json::Value;

use super::commands::Target;
use super::model::EventId;
use super::session::{Session, expect_problem};

impl Session<'_> {
    pub(super) async fn order_events(&self, target: Target) {
        let index = self.model.of_age(target);
        let response = self.get(&format!("{}/events", self.path(index))).await;
        let Some(index) = index else {
            return expect_problem(response, 404, "not-found");
        };
        assert_eq!(response.status(), 200, "{response:?}");
        let events: Vec<Value> = response.json();
        let found: Vec<_> = events.iter().map(|event| self.event_id(event)).collect();
        let versions = self.model.orders[index].version();
        let expected: Vec<_> = (0..versions).map(|version| (index, version)).collect();
        assert_eq!(found, expected);
    }

    /// Checks an event, and returns which one it is.
    fn event_id(&self, event: &Value) -> EventId {
        let orders = &self.model.orders;
        let index = orders.iter().position(|order| event["subject"] == order.id);
        let index = index.unwrap_or_else(|| panic!("the order of another: {event}"));
        let version: usize = event["sequence"].as_str().unwrap().parse().unwrap();
        let version = version - 1;
        assert_eq!(event["type"], orders[index].versions[version].event);
        assert_eq!(event["data"], orders[index].document(version));
        (index, version)
    }

    /// Reads the feed to its end, from the beginning or from a cursor of an earlier page.
    pub(super) async fn feed(&mut self, cursor: usize, limit: usize) {
        let at = cursor.checked_rem(self.cursors.len() + 1).unwrap_or(0);
        let from = at.checked_sub(1).map(|at| self.cursors[at].clone());
        let (mut cursor, mut before) = from.map_or((None, 0), |(cursor, n)| (Some(cursor), n));
        let events = self.model.events();
        let mut pauses = 0;
        while before < events {
            let after = cursor
                .as_ref()
                .map_or_else(String::new, |cursor| format!("&after={cursor}"));
            let path = format!("/api/v1/events?limit={limit}{after}");
            let page = self.get(&path).await;
            assert_eq!(page.status(), 200, "{page:?}");
            let next = page.next_link().expect("every page of the feed has a link");
            let read: Vec<Value> = page.json();
            assert!(read.len() <= limit);
            if read.is_empty() {
                // A process reads up to the oldest running transaction.
                pauses += 1;
                assert!(pauses < 1_000, "{before} of {events} events after 20 s");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            for event in &read {
                let id = self.event_id(event);
                if before == self.read.len() {
                    self.read.push(id);
                }
                assert_eq!(self.read[before], id, "the feed has changed");
                before += 1;
            }
            let next = cursor_of(&next);
            self.cursors.push((next.clone(), before));
            cursor = Some(next);
        }
        assert_eq!(before, events);
        self.check_order();
    }

    /// Checks that the events that were read are in the order of the writes.
    fn check_order(&self) {
        let mut read = self.read.iter();
        for group in &self.model.feed {
            let mut found: Vec<_> = read.by_ref().take(group.len()).copied().collect();
            found.sort_unstable();
            let mut expected = group.clone();
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
        assert_eq!(read.next(), None);
    }

    /// Compares everything that the tenant has.
    pub(super) async fn check_all(&mut self) {
        self.check_orders().await;
        for age in 0..self.model.orders.len() {
            self.order_events(age).await;
        }
        self.feed(0, 100).await;
    }
}

/// The cursor in a link of the feed.
fn cursor_of(link: &str) -> String {
    let (_, query) = link.split_once('?').unwrap();
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, cursor) = pairs.find(|(name, _)| name == "after").unwrap();
    cursor.into_owned()
}
