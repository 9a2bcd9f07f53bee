//! The random requests of a tenant.

use std::collections::BTreeMap;

use order_service::domain::{
    Draft, ItemsDraft, ItemsPatch, MetadataPatch, Patch, Quantity, Status, StatusSet,
};
use order_service::store::{CreatedRange, Direction, IfMatch, ListFilter, ListQuery};

use crate::support::random::Random;

/// Which order a request names.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target {
    /// One of the orders that the tenant has created.
    Own(u64),
    /// One of the other tenant's. Alone, an order that does not exist.
    Other(u64),
}

#[derive(Clone, Debug)]
pub(super) enum Request {
    Create(Draft, Option<String>),
    Get(Target),
    Update(Target, Patch, IfMatch),
    FirstPage,
    /// The list without its position and its range of time. They differ between runs, so an order names each.
    List(ListQuery, ListBounds),
    /// The orders with the ids of these.
    ListById(Vec<Target>),
    OrderEvents(Target),
    /// Reads the feed from a cursor that an earlier page returned, in pages of this size.
    Feed(u64, u32),
    /// Reads the feed from a cursor of the other tenant.
    FeedOfOther(u64),
    Stream,
}

/// The orders that are the bounds of a list: the last one of the previous page, the first one of the range of time, and
/// the first one after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListBounds {
    pub(super) after: Option<Target>,
    pub(super) from: Option<Target>,
    pub(super) to: Option<Target>,
}

fn random_draft(random: &mut Random, external_id: u64) -> Draft {
    Draft {
        external_id: (random.below(2) == 0).then(|| format!("e{external_id}")),
        items: ItemsDraft::single(format!("p{}", random.below(2)), 1),
        customer_id: (random.below(2) == 0).then(|| format!("c{}", random.below(2))),
        ..Draft::default()
    }
}

fn random_target(random: &mut Random) -> Target {
    if random.below(3) == 0 {
        Target::Other(random.below(1_000))
    } else {
        Target::Own(random.below(1_000))
    }
}

fn random_list(random: &mut Random) -> Request {
    let statuses: StatusSet = Status::ALL
        .into_iter()
        .filter(|_| random.below(2) == 0)
        .collect();
    let query = ListQuery {
        limit: u32::try_from(1 + random.below(20)).unwrap(),
        starting_after: None,
        direction: if random.below(2) == 0 {
            Direction::NewestFirst
        } else {
            Direction::OldestFirst
        },
        statuses: if random.below(2) == 0 {
            statuses
        } else {
            StatusSet::ALL
        },
        created: CreatedRange::ALL,
        filter: match random.below(5) {
            0 => Some(ListFilter::Product(format!("p{}", random.below(2)))),
            1 => Some(ListFilter::Customer(format!("c{}", random.below(2)))),
            2 => Some(ListFilter::External(format!("e{}", random.below(8)))),
            _ => None,
        },
    };
    let mut bound = || (random.below(2) == 0).then(|| Target::Own(random.below(1_000)));
    let bounds = ListBounds {
        after: bound(),
        from: bound(),
        to: bound(),
    };
    Request::List(query, bounds)
}

fn random_list_by_id(random: &mut Random) -> Request {
    let targets = (0..1 + random.below(20)).map(|_| random_target(random));
    Request::ListById(targets.collect())
}

fn random_update(random: &mut Random) -> Request {
    let status = usize::try_from(random.below(5)).unwrap();
    let patch = Patch {
        status: (random.below(3) > 0).then_some(Status::ALL[status]),
        items: (random.below(4) == 0).then(|| ItemsPatch::Quantity(Quantity::parse(2).unwrap())),
        metadata: (random.below(3) == 0).then(|| {
            let note = Some(random.below(3).to_string());
            MetadataPatch::Merge(BTreeMap::from([("note".to_owned(), note)]))
        }),
    };
    let if_match = match random.below(4) {
        0 => IfMatch::Versions(vec![1]),
        _ => IfMatch::Any,
    };
    Request::Update(random_target(random), patch, if_match)
}

/// The requests of one tenant that are sent at the same time. They do not depend on each other.
pub(super) fn random_round(random: &mut Random) -> Vec<Request> {
    let burst = 1 + random.below(6);
    match random.below(10) {
        0 | 1 => {
            let first = random.below(8);
            // In half of the rounds, a key always comes with the same order, so that some requests are retries.
            let other = if random.below(2) == 0 {
                first
            } else {
                random.below(8)
            };
            let create = |i| {
                // The tenants have only eight keys and eight external ids, and reuse them.
                let number = (other + i) % 8;
                let draft = if other == first {
                    // The same for each order with this external id.
                    random_draft(&mut Random(number), number)
                } else {
                    random_draft(random, number)
                };
                let key = (random.below(3) > 0).then(|| format!("key-{}", (first + i) % 8));
                Request::Create(draft, key)
            };
            (0..burst).map(create).collect()
        }
        2 | 3 => (0..burst)
            .map(|_| Request::Get(random_target(random)))
            .collect(),
        4 => vec![Request::FirstPage; usize::try_from(burst).unwrap()],
        5 => (0..burst)
            .map(|_| match random.below(4) {
                0 => random_list_by_id(random),
                _ => random_list(random),
            })
            .collect(),
        6 => vec![random_update(random)],
        7 => vec![Request::OrderEvents(random_target(random))],
        8 => {
            let limit = u32::try_from(1 + random.below(30)).unwrap();
            vec![
                Request::Feed(random.below(1_000), limit),
                Request::FeedOfOther(random.below(1_000)),
            ]
        }
        _ => vec![Request::Stream],
    }
}
