use std::time::Duration;

use super::*;

fn principal(name: impl ToString) -> Arc<str> {
    name.to_string().into()
}

fn take_all(shares: &FairShares, principal: &Arc<str>) -> Vec<Share> {
    std::iter::from_fn(|| shares.acquire(principal, Wanted::of(1)).ok()).collect()
}

async fn advance(milliseconds: u64) {
    tokio::time::advance(Duration::from_millis(milliseconds)).await;
}

#[tokio::test(start_paused = true)]
async fn one_principal_alone_leaves_half_for_the_next() {
    let shares = FairShares::new(100);
    let held = take_all(&shares, &principal("flood"));
    assert_eq!(held.len(), 50);
    assert_eq!(take_all(&shares, &principal("other")).len(), 33);
}

#[tokio::test(start_paused = true)]
async fn shares_shrink_with_the_number_of_principals_and_grow_back_after_a_second() {
    let shares = FairShares::new(100);
    for other in 0..9 {
        drop(shares.acquire(&principal(other), Wanted::of(1)));
    }
    let flood = principal("flood");
    assert_eq!(take_all(&shares, &flood).len(), 100 / 11);
    advance(999).await;
    assert_eq!(take_all(&shares, &flood).len(), 100 / 11);
    advance(101).await;
    assert_eq!(take_all(&shares, &flood).len(), 100 / 2);
}

#[tokio::test(start_paused = true)]
async fn a_principal_that_was_rejected_counts() {
    let shares = FairShares::new(2);
    let (a, b, c) = (principal("a"), principal("b"), principal("c"));
    let _held = [take_all(&shares, &a), take_all(&shares, &b)];
    let rejected = shares.acquire(&c, Wanted::of(1)).unwrap_err();
    assert_eq!(rejected, Unavailable::Capacity);
    assert_eq!(shares.0.active.load(Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_principal_counts_until_a_second_after_its_last_permit() {
    let shares = FairShares::new(100);
    let (a, b) = (principal("a"), principal("b"));
    let held = shares.acquire(&a, Wanted::of(1)).unwrap();
    advance(60_000).await;
    assert_eq!(take_all(&shares, &b).len(), 33);
    drop(held);
    advance(999).await;
    assert_eq!(take_all(&shares, &b).len(), 33);
    advance(101).await;
    assert_eq!(take_all(&shares, &b).len(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_principal_without_a_permit_gets_what_exceeds_its_share() {
    let shares = FairShares::new(10);
    let (a, b) = (principal("a"), principal("b"));
    let large = shares.acquire(&a, Wanted::of(8)).unwrap();
    assert_eq!(
        shares.acquire(&a, Wanted::of(1)).unwrap_err(),
        Unavailable::Share
    );
    assert_eq!(
        shares.acquire(&b, Wanted::of(3)).unwrap_err(),
        Unavailable::Capacity
    );
    // More for the same piece of work, but not for another.
    let more = Wanted {
        held_already: 8,
        ..Wanted::of(2)
    };
    drop(shares.acquire(&a, more).unwrap());
    drop(large);
    let beyond_the_capacity = shares.acquire(&a, Wanted::of(1_000)).unwrap();
    assert_eq!(
        shares.acquire(&b, Wanted::of(1)).unwrap_err(),
        Unavailable::Capacity
    );
    drop(beyond_the_capacity);
    assert_eq!(shares.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn charged_permits_exhaust_the_share_of_their_principal_alone() {
    let shares = FairShares::new(90);
    let (a, b) = (principal("a"), principal("b"));
    assert!(shares.check(&a).is_ok() && shares.check(&b).is_ok());
    let _charged = shares.charge(&a, 45);
    assert_eq!(shares.check(&a), Err(Unavailable::Share));
    assert!(shares.check(&b).is_ok());
    let _more = shares.charge(&b, 45);
    let all_in_use = shares.check(&principal("c"));
    assert_eq!(all_in_use, Err(Unavailable::Capacity));
}

#[tokio::test(start_paused = true)]
async fn a_principal_that_only_looks_does_not_count() {
    let shares = FairShares::new(100);
    let idle = principal("idle");
    drop(shares.acquire(&idle, Wanted::of(1)));
    for _ in 0..12 {
        advance(100).await;
        for other in 0..9 {
            assert!(shares.check(&principal(other)).is_ok());
        }
        assert!(shares.check(&idle).is_ok());
    }
    assert!(shares.0.holders.read().is_empty());
    let flood = principal("flood");
    let held = take_all(&shares, &flood);
    assert_eq!(held.len(), 50);
    drop(shares.acquire(&principal("other"), Wanted::of(1)));
    assert_eq!(shares.check(&flood), Err(Unavailable::Share));
}

#[tokio::test(start_paused = true)]
async fn principals_are_told_apart_up_to_a_limit() {
    let shares = FairShares::new(1_000_000);
    let first = shares.acquire(&principal(0), Wanted::of(1)).unwrap();
    for number in 1..2 * MAX_HOLDERS {
        drop(shares.acquire(&principal(number), Wanted::of(1)));
    }
    assert_eq!(shares.0.holders.read().len(), MAX_HOLDERS);
    assert_eq!(shares.0.active.load(Relaxed), MAX_HOLDERS + 1);
    let share = 1_000_000 / (MAX_HOLDERS + 2);
    let stranger = principal("stranger");
    let held = take_all(&shares, &stranger);
    assert_eq!(held.len(), share);
    // Another one without an entry shares with it. One with an entry does not.
    assert_eq!(take_all(&shares, &principal("another")).len(), 0);
    assert_eq!(take_all(&shares, &principal(0)).len(), share - 1);
    drop((first, held));
    advance(ACTIVE + SWEEP).await;
    drop(shares.acquire(&stranger, Wanted::of(1)));
    assert_eq!(shares.0.holders.read().len(), 1);
    assert_eq!(shares.0.active.load(Relaxed), 1);
}

/// A linear congruential generator (Knuth, MMIX), so that a failure can be reproduced from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// What the rule says about one principal.
#[derive(Default)]
struct Model {
    held: Vec<Share>,
    /// When it last held a permit or was rejected.
    last: Option<u64>,
}

impl Model {
    fn amount(&self) -> usize {
        self.held.iter().map(Share::amount).sum()
    }

    fn counts(&self, now: u64, within: u64) -> bool {
        !self.held.is_empty() || self.last.is_some_and(|last| now < last + within)
    }
}

#[tokio::test(start_paused = true)]
async fn random_sequences_never_exceed_a_share_and_are_not_rejected_below_it() {
    for seed in 0..200 {
        let mut random = Random(seed);
        let capacity = 1 + usize::try_from(random.below(60)).unwrap();
        let principals = 1 + random.below(12);
        let shares = FairShares::new(capacity);
        let mut models: Vec<Model> = (0..principals).map(|_| Model::default()).collect();
        let mut now = 0;
        for _ in 0..400 {
            let pause = random.below(3) * random.below(200);
            advance(pause).await;
            now += pause;
            let index = usize::try_from(random.below(principals)).unwrap();
            if random.below(3) == 0 {
                let count = models[index].held.len();
                if count > 0 {
                    let at = usize::try_from(random.below(9)).unwrap() % count;
                    models[index].held.swap_remove(at);
                    models[index].last = Some(now);
                }
                continue;
            }
            let amount = 1 + usize::try_from(random.below(4)).unwrap();
            let (before, used) = (models[index].amount(), shares.used());
            let result = shares.acquire(&principal(index), Wanted::of(amount));
            models[index].last = Some(now);
            let count = |within| {
                models
                    .iter()
                    .filter(|model| model.counts(now, within))
                    .count()
            };
            // A principal may count for a little longer than a second.
            let (n, most) = (count(ACTIVE), count(ACTIVE + SWEEP));
            match result {
                Ok(share) => {
                    let after = before + amount;
                    assert!(before == 0 || after <= capacity / (n + 1), "seed {seed}");
                    assert!(used == 0 || used + amount <= capacity, "seed {seed}");
                    models[index].held.push(share);
                }
                Err(Unavailable::Share) => {
                    let after = before + amount;
                    assert!(before > 0 && after > capacity / (most + 1), "seed {seed}");
                }
                Err(Unavailable::Capacity) => {
                    assert!(used > 0 && used + amount > capacity, "seed {seed}");
                }
            }
            let total: usize = models.iter().map(Model::amount).sum();
            assert_eq!(shares.used(), total, "seed {seed}");
        }
    }
}

#[test]
fn threads_together_never_exceed_a_share_or_the_capacity() {
    let shares = FairShares::new(30);
    let names = [principal("a"), principal("b")];
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (shares, name) = (shares.clone(), &names[thread % 2]);
            scope.spawn(move || {
                for _ in 0..20_000 {
                    let held: Vec<_> = (0..9)
                        .filter_map(|_| shares.acquire(name, Wanted::of(1)).ok())
                        .collect();
                    // Each has a third at least while both count, and both threads share it.
                    assert!(held.len() <= 15);
                    assert!(shares.used() <= 30);
                }
            });
        }
    });
    assert_eq!(shares.used(), 0);
    for holder in shares.0.holders.read().values() {
        assert_eq!(holder.held.load(Relaxed), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn large_work_is_admitted_while_less_than_a_part_is_held_and_in_use() {
    let shares = FairShares::new(120);
    let (a, b, c) = (principal("a"), principal("b"), principal("c"));
    let large = Wanted {
        exceeds_up_to: |whole| whole / 2,
        ..Wanted::of(200)
    };
    // Alone, a principal has a share of 60.
    let held = shares.acquire(&a, Wanted::of(30)).unwrap();
    let more = shares.acquire(&a, Wanted::of(1)).unwrap();
    assert_eq!(shares.acquire(&a, large).unwrap_err(), Unavailable::Share);
    drop(more);
    drop(shares.acquire(&a, large).unwrap());
    let full = shares.acquire(&b, Wanted::of(31)).unwrap();
    assert_eq!(
        shares.acquire(&c, large).unwrap_err(),
        Unavailable::Capacity
    );
    drop(full);
    let admitted = shares.acquire(&c, large).unwrap();
    assert_eq!(shares.used(), 230);
    let next = shares.acquire(&b, Wanted::of(1)).unwrap_err();
    assert_eq!(next, Unavailable::Capacity);
    drop((held, admitted));
    assert_eq!(shares.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_share_are_released_by_themselves() {
    let shares = FairShares::new(20);
    let a = principal("a");
    let mut whole = shares.acquire(&a, Wanted::of(10)).unwrap();
    let part = whole.split(3);
    assert_eq!((whole.amount(), part.amount(), shares.used()), (7, 3, 10));
    assert_eq!(part.principal(), whole.principal());
    drop(part);
    assert_eq!(shares.used(), 7);
    let rest = whole.split(100);
    assert_eq!((whole.amount(), rest.amount()), (0, 7));
    drop(whole);
    assert_eq!(shares.used(), 7);
    drop(rest);
    assert_eq!(shares.used(), 0);
    assert!(shares.acquire(&a, Wanted::of(10)).is_ok());
}
