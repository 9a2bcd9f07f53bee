//! Lists.

use serde_json::Value;

use super::commands::{Filter, List, STATUSES, Target};
use super::model::Order;
use super::session::{Session, expect_problem};

impl List {
    fn matches(&self, order: &Order) -> bool {
        let version = order.latest();
        let statuses = self.statuses.iter().map(|status| STATUSES[*status]);
        let status =
            self.statuses.is_empty() || statuses.into_iter().any(|status| status == version.status);
        status
            && match self.filter {
                None => true,
                Some(Filter::Product(number)) => {
                    version.lines.iter().any(|line| line.product == number)
                }
                Some(Filter::Customer(number)) => version.customer == Some(format!("c{number}")),
                Some(Filter::ExternalId(number)) => {
                    version.external_id == Some(format!("e{number}"))
                }
            }
    }
}

impl Session<'_> {
    pub(super) async fn list(&self, list: &List) {
        let order = |target: Option<Target>| {
            let index = self.model.of_age(target?)?;
            Some(&self.model.orders[index])
        };
        let after = order(list.starting_after).map(|order| &order.id);
        let from = order(list.created_from).map(|order| &order.created_at);
        let to = order(list.created_to).map(|order| &order.created_at);
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("limit", &list.limit.to_string());
        for status in &list.statuses {
            query.append_pair("status", STATUSES[*status]);
        }
        if list.ascending {
            query.append_pair("order", "asc");
        }
        match list.filter {
            None => {}
            Some(Filter::Product(n)) => drop(query.append_pair("product_id", &format!("p{n}"))),
            Some(Filter::Customer(n)) => drop(query.append_pair("customer_id", &format!("c{n}"))),
            Some(Filter::ExternalId(n)) => drop(query.append_pair("external_id", &format!("e{n}"))),
        }
        let bounds = [
            ("starting_after", after),
            ("created_from", from),
            ("created_to", to),
        ];
        for (name, value) in bounds {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        let path = format!("/api/v1/orders?{}", query.finish());
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            return expect_problem(self.get(&path).await, 422, "validation-failed");
        }
        let mut expected: Vec<&Order> = self
            .model
            .orders
            .iter()
            .filter(|order| list.matches(order))
            .filter(|order| from.is_none_or(|from| order.created_at >= *from))
            .filter(|order| to.is_none_or(|to| order.created_at < *to))
            .collect();
        // The order of ids is that of their times, also within a batch.
        expected.sort_by(|a, b| a.id.cmp(&b.id));
        if !list.ascending {
            expected.reverse();
        }
        expected.retain(|order| {
            after.is_none_or(|after| (order.id > *after) == list.ascending && order.id != *after)
        });
        let expected: Vec<_> = expected.into_iter().map(Order::current).collect();
        assert_eq!(self.pages(path, list.limit).await, expected);
    }

    /// Follows the links from this path to the end of the list.
    async fn pages(&self, path: String, limit: usize) -> Vec<Value> {
        let (mut next, mut found) = (Some(path), Vec::new());
        while let Some(path) = next {
            let page = self.get(&path).await;
            assert_eq!(page.status(), 200, "{page:?}");
            let orders: Vec<Value> = page.json();
            assert!(orders.len() <= limit);
            next = page.next_link();
            assert!(next.is_none() || !orders.is_empty());
            found.extend(orders);
        }
        found
    }

    pub(super) async fn list_by_id(&self, targets: &[Target]) {
        let mut indexes: Vec<Option<usize>> = Vec::new();
        for target in targets {
            let index = self.model.of_age(*target);
            if !indexes.contains(&index) {
                indexes.push(index);
            }
        }
        let ids = indexes
            .iter()
            .map(|index| format!("id={}", self.id(*index)));
        let path = format!("/api/v1/orders?{}", ids.collect::<Vec<_>>().join("&"));
        let known = indexes.into_iter().flatten();
        let expected: Vec<_> = known
            .map(|index| self.model.orders[index].current())
            .collect();
        assert_eq!(self.pages(path, 100).await, expected);
    }

    /// Compares all orders.
    pub(super) async fn check_orders(&self) {
        let all = List {
            filter: None,
            statuses: Vec::new(),
            ascending: false,
            limit: 100,
            starting_after: None,
            created_from: None,
            created_to: None,
        };
        self.list(&all).await;
    }
}
