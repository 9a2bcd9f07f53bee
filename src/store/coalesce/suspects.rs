//! Finds the items whose locks are held, among those of a batch that failed because of a lock.
//!
//! A batch that waited for a lock in vain is not repeated by the worker that served it: its items are tried here in
//! smaller and smaller groups, while the worker serves other items. So even a batch that consists of blocked keys
//! takes a worker only for one statement. One statement runs at a time, it waits for locks only for moments, and the
//! tenants are served in turn. So the blocked keys of one tenant delay an item of another by one such statement.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::lanes::Lanes;
use super::split::{fail, serve_part, split_failed};
use super::{Batch, LockWait, Waiting};
use crate::concurrency::{Instant, spawn};
use crate::domain::Tenant;
use crate::store::StoreError;

/// How many groups a group is divided into. With two, a group in which all keys are blocked would take nearly twice
/// as many statements.
const PARTS: usize = 8;

/// The groups of each tenant.
pub(super) type Groups<B> = HashMap<Tenant, VecDeque<Vec<Waiting<B>>>>;

impl<B: Batch> Lanes<B> {
    /// Serves the items of a batch that failed because the lock of at least one of them is held. Must be called on
    /// the runtime.
    pub(super) fn isolate(self: &Arc<Self>, part: Vec<Waiting<B>>) {
        let mut groups: HashMap<Tenant, Vec<Waiting<B>>> = HashMap::new();
        for waiting in part {
            let tenant = self.batch.tenant_of(&waiting.item).clone();
            groups.entry(tenant).or_default().push(waiting);
        }
        let mut suspects = self.suspects.lock();
        for (tenant, group) in groups {
            if let Some(groups) = suspects.get_mut(&tenant) {
                groups.push_back(group);
            } else {
                suspects.insert(tenant.clone(), VecDeque::from([group]));
                spawn(Arc::clone(self).serve_suspects(tenant));
            }
        }
    }

    /// Serves the groups of a tenant until there are none.
    async fn serve_suspects(self: Arc<Self>, tenant: Tenant) {
        let name: Arc<str> = tenant.as_str().into();
        loop {
            let Some(_permit) = self.suspect_permits.acquire(&name, 1).await else {
                return;
            };
            let Some(group) = self.next_group(&tenant) else {
                return;
            };
            let divided = self.serve_group(group).await;
            if let Some(groups) = self.suspects.lock().get_mut(&tenant) {
                groups.extend(divided);
            }
        }
    }

    /// Takes the next group of a tenant, and removes its entry if there is none.
    fn next_group(&self, tenant: &Tenant) -> Option<Vec<Waiting<B>>> {
        let mut suspects = self.suspects.lock();
        let group = suspects.get_mut(tenant).and_then(VecDeque::pop_front);
        if group.is_none() {
            suspects.remove(tenant);
        }
        group
    }

    /// Serves a group. If the lock of one of several items is held, returns the smaller groups to serve.
    async fn serve_group(self: &Arc<Self>, mut group: Vec<Waiting<B>>) -> Vec<Vec<Waiting<B>>> {
        self.divert(&mut group);
        // Their statements have failed, so the database has none of their data.
        let now = Instant::now();
        let late = group.extract_if(.., |waiting| waiting.deadline <= now);
        fail(late.collect(), &StoreError::LockTimeout);
        if group.is_empty() {
            return Vec::new();
        }
        let Err((group, error)) = serve_part(&*self.batch, group, LockWait::Moment).await else {
            return Vec::new();
        };
        if error != StoreError::LockTimeout {
            split_failed(&*self.batch, self, group, error).await;
            return Vec::new();
        }
        self.divide(group)
    }

    /// Divides a group of items, or moves it to its lane if all items have the same lock.
    fn divide(self: &Arc<Self>, mut group: Vec<Waiting<B>>) -> Vec<Vec<Waiting<B>>> {
        // Items with the same lock stay together.
        group.sort_by_cached_key(|waiting| B::lock_of(&waiting.item));
        let lock = |waiting: Option<&Waiting<B>>| waiting.map(|waiting| B::lock_of(&waiting.item));
        if lock(group.first()) == lock(group.last()) {
            self.add(group);
            return Vec::new();
        }
        let size = group.len().div_ceil(PARTS);
        let mut rest = group.into_iter();
        let mut groups = Vec::with_capacity(PARTS);
        while rest.len() > 0 {
            groups.push(rest.by_ref().take(size).collect());
        }
        groups
    }
}
