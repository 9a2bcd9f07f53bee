//! Batches of one tenant each.

use super::*;

/// Returns the tenants of a batch. A batch of the tenant `slow` waits for the gate.
struct OneTenant(Arc<Semaphore>);

impl Batch for OneTenant {
    type Item = Tenant;
    type Response = Vec<Tenant>;
    const SERVE_ABANDONED: bool = false;
    const MIXES_TENANTS: bool = false;

    fn tenant_of<'a>(&'a self, tenant: &'a Tenant) -> &'a Tenant {
        tenant
    }

    async fn serve(
        &self,
        tenants: Arc<[Tenant]>,
        _: LockWait,
    ) -> Result<Vec<Vec<Tenant>>, StoreError> {
        if tenants.iter().any(|tenant| tenant.as_str() == "slow") {
            let _ = self.0.acquire().await;
        }
        Ok(vec![tenants.to_vec(); tenants.len()])
    }
}

#[tokio::test]
async fn a_batch_has_one_tenant_and_does_not_wait_for_those_of_others() {
    let gate = Arc::new(Semaphore::new(0));
    let limits = QueueLimits {
        workers: 1,
        limit: 100,
    };
    let runtime = Handle::current();
    let queue = Coalescer::new(OneTenant(Arc::clone(&gate)), limits, &runtime);
    let queue = Arc::new(queue);
    let admission = Admission::new(100, Metrics::new().unwrap().queue("test"));
    let submit = |name: &str| {
        let (queue, tenant) = (Arc::clone(&queue), Tenant::parse(name).unwrap());
        let permit = admission
            .acquire(&Caller::anonymous(), RequestKind::Write, 0)
            .unwrap();
        let now = Instant::now();
        tokio::spawn(async move { queue.submit(permit, tenant, now, now).await })
    };
    let slow = submit("slow");
    let others: Vec<_> = ["a", "b", "a"].map(submit).into_iter().collect();
    let mut served = Vec::new();
    for other in others {
        let tenants = other.await.unwrap().unwrap();
        let names: Vec<_> = tenants.iter().map(Tenant::to_string).collect();
        served.push(names.join(" "));
    }
    assert_eq!(served, ["a a", "b", "a a"]);
    assert!(!slow.is_finished());
    gate.add_permits(1);
    assert_eq!(slow.await.unwrap().unwrap().len(), 1);
}
