//! Reads the query of a list of orders, and writes that of its next page.

use actix_web::HttpRequest;
use chrono::{DateTime, Utc};
use uuid::Uuid;

use super::{assign, bound, parse_id, parse_limit, parse_short_text, parse_time, time_text};
use crate::domain::{Status, StatusSet, UnknownStatus, Violation};
use crate::http::problem::Problem;
use crate::http::request::query::{Parameter, ParameterError, read};
use crate::store::{CreatedRange, Direction, ListFilter, ListQuery};

/// The orders that a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) enum OrdersQuery {
    /// A page of a list.
    List(ListQuery),
    /// The orders with these ids, each of which is there once.
    Ids(Vec<Uuid>),
}

/// The maximum number of ids of a query.
const MAX_IDS: usize = 100;

const LIST_COMBINATIONS: &str = "a list takes at most one of product_id, customer_id and external_id, and with it any \
    of status, created_from, created_to, order, limit and starting_after";

/// The parameters of a query as they were given.
#[derive(Default)]
struct Given {
    ids: Vec<Uuid>,
    limit: Option<u32>,
    starting_after: Option<Uuid>,
    order: Option<Direction>,
    statuses: Option<StatusSet>,
    created_from: Option<DateTime<Utc>>,
    created_to: Option<DateTime<Utc>>,
    product_id: Option<String>,
    customer_id: Option<String>,
    external_id: Option<String>,
}

/// Reads the query of a request for orders.
pub(in crate::api) fn orders(request: &HttpRequest) -> Result<OrdersQuery, Problem> {
    Ok(given(request)?.combine()?)
}

/// Reads the query of an export, which has the parameters of a list except `limit`.
pub(in crate::api) fn export(request: &HttpRequest) -> Result<ListQuery, Problem> {
    let given = given(request)?;
    let only_in_pages = [
        ("/id", !given.ids.is_empty()),
        ("/limit", given.limit.is_some()),
    ];
    let violations: Vec<_> = only_in_pages
        .into_iter()
        .filter(|(_, is_given)| *is_given)
        .map(|(pointer, _)| Violation::new(pointer, NOT_IN_EXPORTS))
        .collect();
    if violations.is_empty() {
        Ok(given.list()?)
    } else {
        Err(violations.into())
    }
}

const NOT_IN_EXPORTS: &str =
    "must not be combined with Accept: application/x-ndjson, which gives all orders of a query";

fn given(request: &HttpRequest) -> Result<Given, Problem> {
    let mut given = Given::default();
    let Given {
        ids,
        limit,
        starting_after,
        order,
        statuses,
        created_from,
        created_to,
        product_id,
        customer_id,
        external_id,
    } = &mut given;
    read(
        request,
        &mut [
            Parameter::once("limit", &mut |text| {
                assign(limit, parse_limit(text).map(Some))
            }),
            Parameter::once("starting_after", &mut |text| {
                assign(starting_after, parse_id(text).map(Some))
            }),
            Parameter::once("order", &mut |text| {
                assign(order, parse_direction(text).map(Some))
            }),
            Parameter::repeatable("status", &mut |text| {
                let status = parse_status(text)?;
                statuses.get_or_insert(StatusSet::NONE).insert(status);
                Ok(())
            }),
            Parameter::once("created_from", &mut |text| {
                assign(created_from, parse_time(text).map(Some))
            }),
            Parameter::once("created_to", &mut |text| {
                assign(created_to, parse_time(text).map(Some))
            }),
            Parameter::once("product_id", &mut |text| {
                assign(product_id, parse_short_text(text).map(Some))
            }),
            Parameter::once("customer_id", &mut |text| {
                assign(customer_id, parse_short_text(text).map(Some))
            }),
            Parameter::once("external_id", &mut |text| {
                assign(external_id, parse_short_text(text).map(Some))
            }),
            Parameter::repeatable("id", &mut |text| {
                let id = parse_id(text)?;
                if !ids.contains(&id) {
                    ids.push(id);
                }
                Ok(())
            }),
        ],
    )?;
    Ok(given)
}

impl Given {
    /// Checks whether the parameters can be combined.
    fn combine(self) -> Result<OrdersQuery, Violation> {
        if self.ids.is_empty() {
            return self.list().map(OrdersQuery::List);
        }
        let list = self.names_of_list_parameters();
        if !list.is_empty() {
            let detail = format!(
                "must not be combined with {}; {LIST_COMBINATIONS}, and a query by id takes only id",
                list.join(", ")
            );
            return Err(Violation::new("/id", detail));
        }
        if self.ids.len() > MAX_IDS {
            let detail = format!(
                "must name at most {MAX_IDS} orders, names {}",
                self.ids.len()
            );
            return Err(Violation::new("/id", detail));
        }
        Ok(OrdersQuery::Ids(self.ids))
    }

    fn names_of_list_parameters(&self) -> Vec<&'static str> {
        let given = [
            ("limit", self.limit.is_some()),
            ("starting_after", self.starting_after.is_some()),
            ("order", self.order.is_some()),
            ("status", self.statuses.is_some()),
            ("created_from", self.created_from.is_some()),
            ("created_to", self.created_to.is_some()),
            ("product_id", self.product_id.is_some()),
            ("customer_id", self.customer_id.is_some()),
            ("external_id", self.external_id.is_some()),
        ];
        let given = given.into_iter().filter(|(_, is_given)| *is_given);
        given.map(|(name, _)| name).collect()
    }

    fn list(self) -> Result<ListQuery, Violation> {
        let (from, to) = (self.created_from, self.created_to);
        if let (Some(from), Some(to)) = (from, to)
            && from > to
        {
            return Err(Violation::new(
                "/created_to",
                "must not be before created_from",
            ));
        }
        let filters = [
            ("product_id", self.product_id.map(ListFilter::Product)),
            ("customer_id", self.customer_id.map(ListFilter::Customer)),
            ("external_id", self.external_id.map(ListFilter::External)),
        ];
        let mut filters = filters
            .into_iter()
            .filter_map(|(name, filter)| Some((name, filter?)));
        let first = filters.next();
        if let (Some((first, _)), Some((second, _))) = (&first, filters.next()) {
            let detail = format!("must not be combined with {first}; {LIST_COMBINATIONS}");
            return Err(Violation::new(format!("/{second}"), detail));
        }
        let default = ListQuery::FIRST_PAGE;
        Ok(ListQuery {
            limit: self.limit.unwrap_or(default.limit),
            starting_after: self.starting_after,
            direction: self.order.unwrap_or(default.direction),
            statuses: self.statuses.unwrap_or(default.statuses),
            created: CreatedRange {
                from: from.map(bound),
                to: to.map(bound),
            },
            filter: first.map(|(_, filter)| filter),
        })
    }
}

fn parse_status(text: &str) -> Result<Status, ParameterError> {
    text.parse()
        .map_err(|error: UnknownStatus| ParameterError::new(error.to_string()))
}

/// The names of the directions.
const ASCENDING: &str = "asc";
const DESCENDING: &str = "desc";

fn parse_direction(text: &str) -> Result<Direction, ParameterError> {
    match text {
        ASCENDING => Ok(Direction::OldestFirst),
        DESCENDING => Ok(Direction::NewestFirst),
        _ => Err(ParameterError::new("must be asc or desc")),
    }
}

/// Returns the target of the link to the page after the order `last`. `None` if no id remains.
pub(in crate::api) fn next_page(query: &OrdersQuery, last: Uuid) -> Option<String> {
    let mut text = form_urlencoded::Serializer::new(String::new());
    match query {
        OrdersQuery::List(list) => {
            append_list(&mut text, list);
            text.append_pair("starting_after", &last.to_string());
        }
        OrdersQuery::Ids(ids) => {
            let mut rest = ids.iter().skip_while(|id| **id != last).skip(1).peekable();
            rest.peek()?;
            for id in rest {
                text.append_pair("id", &id.to_string());
            }
        }
    }
    Some(format!("/api/v1/orders?{}", text.finish()))
}

/// Appends the parameters of a list, without its position.
fn append_list(text: &mut form_urlencoded::Serializer<'_, String>, list: &ListQuery) {
    // No `..`, so that a parameter that is missing here does not compile.
    let ListQuery {
        limit,
        starting_after: _,
        direction,
        statuses,
        created: CreatedRange { from, to },
        filter,
    } = list;
    text.append_pair("limit", &limit.to_string());
    if *direction == Direction::OldestFirst {
        text.append_pair("order", ASCENDING);
    }
    if *statuses != StatusSet::ALL {
        text.extend_pairs(statuses.iter().map(|status| ("status", status.as_str())));
    }
    for (name, time) in [("created_from", from), ("created_to", to)] {
        if let Some(time) = time {
            text.append_pair(name, &time_text(*time));
        }
    }
    match filter {
        Some(ListFilter::Product(id)) => drop(text.append_pair("product_id", id)),
        Some(ListFilter::Customer(id)) => drop(text.append_pair("customer_id", id)),
        Some(ListFilter::External(id)) => drop(text.append_pair("external_id", id)),
        None => {}
    }
}

#[cfg(test)]
mod tests;
