use std::collections::BTreeSet;

use diesel::pg::Pg;
use diesel::sqlite::Sqlite;
use diesel::{debug_query, query_builder::QueryFragment};

use super::*;
use crate::domain::{Status, StatusSet};
use crate::store::list::{CreatedRange, ListFilter};

/// Every list with a set of statuses, a filter or none, bounds or none, a position or none, in both directions.
fn lists() -> Vec<ListQuery> {
    let times = [None, Some("2026-11-22T06:19:00Z".parse().unwrap())];
    let text = || "x".to_owned();
    let filters = [
        None,
        Some(ListFilter::Product(text())),
        Some(ListFilter::Customer(text())),
        Some(ListFilter::External(text())),
    ];
    let mut lists = Vec::new();
    for set in 1..1 << Status::ALL.len() {
        let statuses = Status::ALL.into_iter().enumerate();
        let statuses = statuses.filter(|(bit, _)| set >> bit & 1 == 1);
        let statuses: StatusSet = statuses.map(|(_, status)| status).collect();
        for filter in &filters {
            for (from, to) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                for starting_after in [None, Some(Uuid::nil())] {
                    for direction in [Direction::NewestFirst, Direction::OldestFirst] {
                        lists.push(ListQuery {
                            limit: 7,
                            starting_after,
                            direction,
                            statuses,
                            created: CreatedRange {
                                from: times[from],
                                to: times[to],
                            },
                            filter: filter.clone(),
                        });
                    }
                }
            }
        }
    }
    lists
}

/// The text of a statement, without its parameters.
fn text<DB: PageDatabase>(page: &PageSql<DB>) -> String
where
    PageSql<DB>: QueryFragment<DB>,
    for<'a> diesel::query_builder::DebugQuery<'a, PageSql<DB>, DB>: std::fmt::Display,
{
    let text = debug_query::<DB, _>(page).to_string();
    text.split(" -- binds").next().unwrap().to_owned()
}

#[test]
fn there_are_few_different_texts() {
    let tenant = Tenant::default();
    let lists = lists();
    assert_eq!(lists.len(), 31 * 4 * 4 * 2 * 2);
    let mut texts: [BTreeSet<String>; 2] = Default::default();
    let mut of_ids: [BTreeSet<String>; 2] = Default::default();
    for list in lists {
        texts[0].insert(text(&PageSql::<Pg>::list(&tenant, &list)));
        texts[1].insert(text(&PageSql::<Sqlite>::list(&tenant, &list)));
    }
    for count in 1..=100 {
        let ids = vec![Uuid::nil(); count];
        of_ids[0].insert(text(&PageSql::<Pg>::ids(&tenant, &ids)));
        of_ids[1].insert(text(&PageSql::<Sqlite>::ids(&tenant, &ids)));
    }
    // In each direction: the primary key without and with bounds; one status, or several, of all orders, of a product,
    // and of a customer; an external id.
    let expected = 2 * (2 + 3 * (5 + 1) + 1);
    assert_eq!(texts.map(|texts| texts.len()), [expected; 2]);
    assert_eq!(of_ids.map(|texts| texts.len()), [1; 2]);
    assert_eq!(expected + 1, 43, "the comment at QueryId has this number");
}

#[test]
fn the_first_page_has_no_bounds() {
    let first = PageSql::<Pg>::list(&Tenant::default(), &ListQuery::FIRST_PAGE);
    let text = text(&first);
    assert!(!text.contains("id >=") && !text.contains("id <"), "{text}");
}
