//! The commands of a sequence, and how they are generated.
//!
//! No command depends on the results of earlier ones: it names an order by its age. So each command of a sequence can be
//! removed when the sequence is shrunk.

use std::collections::BTreeMap;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

pub(super) const STATUSES: [&str; 5] =
    ["pending", "confirmed", "shipped", "delivered", "cancelled"];

/// The tenant has few keys, external ids and customers, so that they are used again.
const KEYS: u8 = 4;
const EXTERNAL_IDS: u8 = 6;
const CUSTOMERS: u8 = 3;
const PRODUCTS: u8 = 3;

#[derive(Clone, Debug)]
pub(super) enum Command {
    Create(Create),
    /// Sends again the order that a key has created.
    Retry {
        key: u8,
        form: Form,
        /// Whether the order is another one.
        changed: bool,
    },
    Batch(Vec<Create>),
    Get(Target, Option<Tags>),
    Update {
        order: Target,
        patch: Patch,
        if_match: Option<Tags>,
    },
    List(List),
    ListById(Vec<Target>),
    OrderEvents(Target),
    /// Reads the feed, from one of the cursors of earlier pages.
    Feed {
        cursor: usize,
        limit: usize,
    },
    Erase(u8),
}

/// An order, by its age: 0 is the newest one. There is none if the tenant has fewer.
pub(super) type Target = usize;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    pub(super) product: u8,
    pub(super) quantity: i64,
    pub(super) amount: Option<i64>,
}

/// What a new order means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NewOrder {
    pub(super) lines: Vec<Line>,
    pub(super) currency: Option<&'static str>,
    pub(super) customer: Option<u8>,
    pub(super) external_id: Option<u8>,
    pub(super) metadata: BTreeMap<u8, u8>,
}

/// How a new order is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    /// Whether a single line is written without `items`.
    pub(super) short: bool,
    /// Whether members without a value are null.
    pub(super) nulls: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Create {
    pub(super) new: NewOrder,
    pub(super) form: Form,
    pub(super) key: Option<u8>,
}

/// The value of `If-Match` or `If-None-Match`, relative to the current version.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tags {
    Current,
    Any,
    Stale,
    Weak,
    StaleAndCurrent,
    Malformed,
}

#[derive(Clone, Debug)]
pub(super) enum ItemsPatch {
    Quantity(i64),
    Replace(Vec<Line>),
}

#[derive(Clone, Debug)]
pub(super) enum MetadataPatch {
    Clear,
    Merge(BTreeMap<u8, Option<u8>>),
}

#[derive(Clone, Debug)]
pub(super) struct Patch {
    /// The number of the status. One that is too large is no status.
    pub(super) status: Option<usize>,
    pub(super) items: Option<ItemsPatch>,
    pub(super) metadata: Option<MetadataPatch>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Filter {
    Product(u8),
    Customer(u8),
    ExternalId(u8),
}

#[derive(Clone, Debug)]
pub(super) struct List {
    pub(super) filter: Option<Filter>,
    pub(super) statuses: Vec<usize>,
    pub(super) ascending: bool,
    pub(super) limit: usize,
    pub(super) starting_after: Option<Target>,
    pub(super) created_from: Option<Target>,
    pub(super) created_to: Option<Target>,
}

fn line() -> impl Strategy<Value = (u8, i64, i64)> {
    let quantity = prop_oneof![12 => 1..4_i64, 1 => Just(0), 1 => Just(1_000_000)];
    let amount = prop_oneof![6 => 0..1_000_i64, 2 => -300..0_i64, 1 => Just(1_000_000_000_000)];
    (0..PRODUCTS, quantity, amount)
}

fn lines(with_amounts: bool) -> impl Strategy<Value = Vec<Line>> {
    vec(line(), 1..4).prop_map(move |lines| {
        let lines = lines.into_iter();
        let lines = lines.map(|(product, quantity, amount)| Line {
            product,
            quantity,
            amount: with_amounts.then_some(amount),
        });
        lines.collect()
    })
}

fn new_order() -> impl Strategy<Value = NewOrder> {
    let currency = prop_oneof![Just(None), Just(Some("EUR")), Just(Some("JPY"))];
    let others = (
        option::of(0..CUSTOMERS),
        option::weighted(0.3, 0..EXTERNAL_IDS),
        btree_map(0..3_u8, 0..3_u8, 0..3),
    );
    let lines = currency.prop_flat_map(|currency| (Just(currency), lines(currency.is_some())));
    (lines, others).prop_map(
        |((currency, lines), (customer, external_id, metadata))| NewOrder {
            lines,
            currency,
            customer,
            external_id,
            metadata,
        },
    )
}

fn form() -> impl Strategy<Value = Form> {
    (any::<bool>(), any::<bool>()).prop_map(|(short, nulls)| Form { short, nulls })
}

fn create() -> impl Strategy<Value = Create> {
    (new_order(), form(), option::of(0..KEYS)).prop_map(|(new, form, key)| Create {
        new,
        form,
        key,
    })
}

/// One of the newest orders, so that most of them are used several times.
fn target() -> impl Strategy<Value = Target> {
    prop_oneof![6 => 0..2_usize, 1 => 0..8_usize]
}

fn tags() -> impl Strategy<Value = Option<Tags>> {
    let tags = prop_oneof![
        4 => Just(Tags::Current),
        1 => Just(Tags::Any),
        2 => Just(Tags::Stale),
        1 => Just(Tags::Weak),
        1 => Just(Tags::StaleAndCurrent),
        1 => Just(Tags::Malformed),
    ];
    option::of(tags)
}

fn patch() -> impl Strategy<Value = Patch> {
    let status = prop_oneof![30 => 0..STATUSES.len(), 1 => Just(STATUSES.len())];
    let quantity = prop_oneof![8 => 1..4_i64, 1 => Just(0)];
    let items = prop_oneof![
        quantity.prop_map(ItemsPatch::Quantity),
        lines(false).prop_map(ItemsPatch::Replace),
        lines(true).prop_map(ItemsPatch::Replace),
    ];
    let merge = btree_map(0..3_u8, option::of(0..3_u8), 0..3);
    let metadata = prop_oneof![
        1 => Just(MetadataPatch::Clear),
        4 => merge.prop_map(MetadataPatch::Merge),
    ];
    let members = (
        option::of(status),
        option::weighted(0.4, items),
        option::weighted(0.4, metadata),
    );
    members.prop_map(|(status, items, metadata)| Patch {
        status,
        items,
        metadata,
    })
}

fn list() -> impl Strategy<Value = List> {
    let filter = prop_oneof![
        (0..PRODUCTS).prop_map(Filter::Product),
        (0..CUSTOMERS).prop_map(Filter::Customer),
        (0..EXTERNAL_IDS).prop_map(Filter::ExternalId),
    ];
    let bound = || option::weighted(0.25, target());
    let what = (
        option::of(filter),
        vec(0..STATUSES.len(), 0..3),
        any::<bool>(),
        1..8_usize,
    );
    (what, (bound(), bound(), bound())).prop_map(
        |((filter, statuses, ascending, limit), (starting_after, created_from, created_to))| List {
            filter,
            statuses,
            ascending,
            limit,
            starting_after,
            created_from,
            created_to,
        },
    )
}

/// One command. The first ones are those to which a command is shrunk.
pub(super) fn command() -> impl Strategy<Value = Command> {
    let retry = (0..KEYS, form(), proptest::bool::weighted(0.3));
    let update = (target(), patch(), tags());
    prop_oneof![
        10 => create().prop_map(Command::Create),
        4 => (target(), tags()).prop_map(|(order, tags)| Command::Get(order, tags)),
        10 => retry.prop_map(|(key, form, changed)| Command::Retry { key, form, changed }),
        12 => update.prop_map(|(order, patch, if_match)| Command::Update { order, patch, if_match }),
        3 => vec(create(), 1..5).prop_map(Command::Batch),
        6 => list().prop_map(Command::List),
        2 => vec(target(), 1..6).prop_map(Command::ListById),
        2 => target().prop_map(Command::OrderEvents),
        3 => (0..8_usize, 1..12_usize).prop_map(|(cursor, limit)| Command::Feed { cursor, limit }),
        1 => (0..CUSTOMERS).prop_map(Command::Erase),
    ]
}
