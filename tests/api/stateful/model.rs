//! The model of the API: what the contract says about the orders of one tenant, independent of the code under test.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::commands::{Create, Form, ItemsPatch, Line, MetadataPatch, NewOrder, Patch, STATUSES};

/// The model of one tenant.
#[derive(Default)]
pub(super) struct Model {
    /// Oldest first.
    pub(super) orders: Vec<Order>,
    /// What each key has created.
    pub(super) keys: HashMap<u8, (NewOrder, usize)>,
    external_ids: HashMap<u8, usize>,
    /// The versions in the feed. Those of one group may be in any order.
    pub(super) feed: Vec<Vec<EventId>>,
}

/// The index of an order, and of one of its versions.
pub(super) type EventId = (usize, usize);

pub(super) struct Order {
    pub(super) id: String,
    pub(super) created_at: String,
    pub(super) versions: Vec<Version>,
}

#[derive(Clone)]
pub(super) struct Version {
    /// The type of its event.
    pub(super) event: &'static str,
    pub(super) lines: Vec<Line>,
    currency: Option<&'static str>,
    pub(super) customer: Option<String>,
    pub(super) external_id: Option<String>,
    metadata: BTreeMap<String, String>,
    pub(super) status: &'static str,
    updated_at: String,
}

/// The outcome of a create.
#[derive(Debug)]
pub(super) enum Created {
    New,
    Replay(usize),
    ExternalIdTaken(usize),
    Rejected(&'static str),
}

/// The outcome of an update.
pub(super) enum Updated {
    Unchanged,
    Changed(Version),
    IllegalTransition(Vec<&'static str>),
    Rejected(u16, &'static str),
}

/// The statuses that may follow.
fn next_statuses(status: &str) -> Vec<&'static str> {
    match status {
        "pending" => vec!["confirmed", "cancelled"],
        "confirmed" => vec!["shipped", "cancelled"],
        "shipped" => vec!["delivered"],
        _ => Vec::new(),
    }
}

/// The total of lines; `Err` if it is not that of a legal order.
fn total(lines: &[Line]) -> Result<Option<i64>, ()> {
    let amounts = lines.iter().map(|line| Some(line.amount? * line.quantity));
    match amounts.sum::<Option<i64>>() {
        Some(total) if !(0..1 << 53).contains(&total) => Err(()),
        total => Ok(total),
    }
}

fn are_legal(lines: &[Line]) -> bool {
    let quantities = lines.iter().map(|line| line.quantity);
    quantities
        .into_iter()
        .all(|quantity| (1..=1_000_000).contains(&quantity))
        && total(lines).is_ok()
}

fn numbered<T: ToString>(letter: &str, number: T) -> String {
    format!("{letter}{}", number.to_string())
}

impl Line {
    pub(super) fn json(&self) -> Value {
        json!({"product_id": numbered("p", self.product), "quantity": self.quantity, "unit_amount": self.amount})
    }
}

impl NewOrder {
    /// The body of the request.
    pub(super) fn json(&self, form: Form) -> Value {
        let mut body = match self.lines.as_slice() {
            [line] if form.short => line.json(),
            lines => json!({"items": lines.iter().map(Line::json).collect::<Vec<_>>()}),
        };
        let metadata: BTreeMap<_, _> = entries(&self.metadata);
        let members = [
            ("currency", json!(self.currency)),
            (
                "customer_id",
                json!(self.customer.map(|number| numbered("c", number))),
            ),
            (
                "external_id",
                json!(self.external_id.map(|number| numbered("e", number))),
            ),
        ];
        for (name, value) in members {
            if form.nulls || !value.is_null() {
                body[name] = value;
            }
        }
        if form.nulls || !metadata.is_empty() {
            body["metadata"] = json!(metadata);
        }
        body
    }
}

fn entries(metadata: &BTreeMap<u8, u8>) -> BTreeMap<String, String> {
    let entries = metadata.iter();
    let entries = entries.map(|(key, value)| (numbered("m", key), value.to_string()));
    entries.collect()
}

impl Patch {
    /// The body of the request.
    pub(super) fn json(&self) -> Value {
        let mut body = json!({});
        if let Some(status) = self.status {
            body["status"] = json!(STATUSES.get(status).unwrap_or(&"lost"));
        }
        match &self.items {
            None => {}
            Some(ItemsPatch::Quantity(quantity)) => body["quantity"] = json!(quantity),
            Some(ItemsPatch::Replace(lines)) => {
                body["items"] = lines.iter().map(Line::json).collect();
            }
        }
        match &self.metadata {
            None => {}
            Some(MetadataPatch::Clear) => body["metadata"] = Value::Null,
            Some(MetadataPatch::Merge(changes)) => {
                let changes = changes.iter();
                let changes = changes.map(|(key, value)| {
                    (numbered("m", key), value.map(|value: u8| value.to_string()))
                });
                body["metadata"] = json!(changes.collect::<BTreeMap<_, _>>());
            }
        }
        body
    }

    /// Whether the body can be that of an update of any order.
    pub(super) fn is_legal(&self) -> bool {
        let items = match &self.items {
            None => true,
            Some(ItemsPatch::Quantity(quantity)) => (1..=1_000_000).contains(quantity),
            Some(ItemsPatch::Replace(lines)) => are_legal(lines),
        };
        items && self.status.is_none_or(|status| status < STATUSES.len())
    }
}

impl Version {
    fn of(new: &NewOrder, created_at: &str) -> Self {
        Self {
            event: "order.created",
            lines: new.lines.clone(),
            currency: new.currency,
            customer: new.customer.map(|number| numbered("c", number)),
            external_id: new.external_id.map(|number| numbered("e", number)),
            metadata: entries(&new.metadata),
            status: "pending",
            updated_at: created_at.to_owned(),
        }
    }

    /// The outcome of a legal patch. Without a change, the version has the same members.
    fn updated(&self, patch: &Patch) -> Updated {
        let mut next = self.clone();
        let status = patch.status.map_or(self.status, |status| STATUSES[status]);
        if status != self.status {
            let allowed = next_statuses(self.status);
            if !allowed.contains(&status) {
                return Updated::IllegalTransition(allowed);
            }
            next.status = status;
        }
        if let Some(items) = &patch.items {
            let lines = match (items, self.lines.as_slice()) {
                (ItemsPatch::Replace(lines), _) => {
                    let fits = lines[0].amount.is_some() == self.currency.is_some();
                    fits.then(|| lines.clone())
                }
                (ItemsPatch::Quantity(quantity), [line]) => Some(vec![Line {
                    quantity: *quantity,
                    ..line.clone()
                }]),
                (ItemsPatch::Quantity(_), _) => None,
            };
            let lines = lines.filter(|lines| total(lines).is_ok());
            if lines.as_ref() != Some(&self.lines) {
                if self.status != "pending" {
                    return Updated::Rejected(409, "order-not-editable");
                }
                let Some(lines) = lines else {
                    return Updated::Rejected(422, "validation-failed");
                };
                next.lines = lines;
            }
        }
        match &patch.metadata {
            None => {}
            Some(MetadataPatch::Clear) => next.metadata.clear(),
            Some(MetadataPatch::Merge(changes)) => {
                for (key, value) in changes {
                    let key = numbered("m", key);
                    match value {
                        Some(value) => next.metadata.insert(key, value.to_string()),
                        None => next.metadata.remove(&key),
                    };
                }
            }
        }
        if (&next.lines, next.status, &next.metadata) == (&self.lines, self.status, &self.metadata)
        {
            return Updated::Unchanged;
        }
        next.event = "order.updated";
        Updated::Changed(next)
    }
}

impl Order {
    pub(super) fn latest(&self) -> &Version {
        self.versions.last().unwrap()
    }

    pub(super) fn version(&self) -> usize {
        self.versions.len()
    }

    /// The document of a version, with all its members.
    pub(super) fn document(&self, index: usize) -> Value {
        let version = &self.versions[index];
        let single = (version.lines.len() == 1).then(|| &version.lines[0]);
        json!({
            "id": self.id,
            "items": version.lines.iter().map(Line::json).collect::<Vec<_>>(),
            "product_id": single.map(|line| numbered("p", line.product)),
            "quantity": single.map(|line| line.quantity),
            "currency": version.currency,
            "total_amount": total(&version.lines).unwrap(),
            "external_id": version.external_id,
            "status": version.status,
            "customer_id": version.customer,
            "metadata": version.metadata,
            "version": index + 1,
            "created_at": self.created_at,
            "updated_at": version.updated_at,
        })
    }

    pub(super) fn current(&self) -> Value {
        self.document(self.versions.len() - 1)
    }

    pub(super) fn updated(&self, patch: &Patch) -> Updated {
        self.latest().updated(patch)
    }

    /// Adds a version, with the time that the service has returned.
    fn add(&mut self, version: Version, returned: &Value) {
        let updated_at = returned["updated_at"].as_str().unwrap();
        assert!(updated_at >= self.latest().updated_at.as_str());
        self.versions.push(Version {
            updated_at: updated_at.to_owned(),
            ..version
        });
    }
}

impl Model {
    /// The outcome of a create. A key is looked at before an external id.
    pub(super) fn create(&self, new: &NewOrder, key: Option<u8>) -> Created {
        if !are_legal(&new.lines) {
            return Created::Rejected("validation-failed");
        }
        if let Some((first, order)) = key.and_then(|key| self.keys.get(&key)) {
            return if first == new {
                Created::Replay(*order)
            } else {
                Created::Rejected("idempotency-key-reused")
            };
        }
        let taken = new.external_id.and_then(|id| self.external_ids.get(&id));
        taken.map_or(Created::New, |order| Created::ExternalIdTaken(*order))
    }

    /// Adds an order that the service has created, and returns its index.
    pub(super) fn add(&mut self, Create { new, key, .. }: &Create, returned: &Value) -> usize {
        let text = |member: &str| returned[member].as_str().unwrap().to_owned();
        let created_at = text("created_at");
        let index = self.orders.len();
        self.orders.push(Order {
            id: text("id"),
            versions: vec![Version::of(new, &created_at)],
            created_at,
        });
        if let Some(key) = key {
            self.keys.insert(*key, (new.clone(), index));
        }
        if let Some(id) = new.external_id {
            self.external_ids.insert(id, index);
        }
        index
    }

    /// Adds a version that the service has written.
    pub(super) fn update(&mut self, index: usize, version: Version, returned: &Value) {
        self.orders[index].add(version, returned);
        let version = self.orders[index].versions.len() - 1;
        self.feed.push(vec![(index, version)]);
    }

    /// Erases a customer of the tenant. `returned` has the orders as the service returns them afterwards.
    pub(super) fn erase(&mut self, customer: u8, returned: &HashMap<String, Value>) {
        let customer = numbered("c", customer);
        let mut group = Vec::new();
        for (index, order) in self.orders.iter_mut().enumerate() {
            if order.latest().customer.as_ref() != Some(&customer) {
                continue;
            }
            let returned = &returned[&order.id];
            let pseudonym = returned["customer_id"].as_str().unwrap();
            assert!(pseudonym.starts_with("erased-"), "{returned}");
            for version in &mut order.versions {
                version.customer = Some(pseudonym.to_owned());
                version.external_id = None;
                version.metadata.clear();
            }
            let erased = Version {
                event: "order.erased",
                ..order.latest().clone()
            };
            order.add(erased, returned);
            group.push((index, order.versions.len() - 1));
            self.external_ids.retain(|_, taken| *taken != index);
        }
        self.feed.push(group);
    }

    /// The order of this age.
    pub(super) fn of_age(&self, age: usize) -> Option<usize> {
        self.orders.len().checked_sub(age + 1)
    }

    pub(super) fn events(&self) -> usize {
        self.feed.iter().map(Vec::len).sum()
    }
}
