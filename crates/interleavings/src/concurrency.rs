//! The names of `src/concurrency.rs`, on shuttle.

use std::cell::Cell;
use std::future::poll_fn;
use std::ops::{Add, Deref, DerefMut};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

pub(crate) use shuttle::future::spawn;
use shuttle::rand::{Rng as _, thread_rng};
use shuttle::sync::atomic::{self, Ordering};

/// An atomic. shuttle has a step before each operation and none after it, so each is followed by another one: what the
/// code does next, for example with a type of Tokio, is not atomic with it.
macro_rules! atomic {
    ($name:ident, $value:ty, $($method:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(atomic::$name::new(value))
            }

            $(
                pub(crate) fn $method(&self, $($argument: $type),*) -> $result {
                    let result = self.0.$method($($argument),*);
                    let _ = self.0.load(Ordering::SeqCst);
                    result
                }
            )*
        }
    };
}

atomic! {
    AtomicBool, bool,
    load(order: Ordering) -> bool;
    store(value: bool, order: Ordering) -> ();
    swap(value: bool, order: Ordering) -> bool;
}

atomic! {
    AtomicU64, u64,
    load(order: Ordering) -> u64;
    store(value: u64, order: Ordering) -> ();
    compare_exchange(old: u64, new: u64, set: Ordering, read: Ordering) -> Result<u64, u64>;
}

atomic! {
    AtomicUsize, usize,
    load(order: Ordering) -> usize;
    store(value: usize, order: Ordering) -> ();
    fetch_add(value: usize, order: Ordering) -> usize;
    fetch_sub(value: usize, order: Ordering) -> usize;
    fetch_update(set: Ordering, read: Ordering, change: impl FnMut(usize) -> Option<usize>) -> Result<usize, usize>;
}

/// A lock without poisoning, like that of `parking_lot`.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T> {
    inner: shuttle::sync::Mutex<T>,
    /// Never locked for writing: see [`MutexGuard`].
    released: shuttle::sync::RwLock<()>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            inner: shuttle::sync::Mutex::new(value),
            released: shuttle::sync::RwLock::new(()),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            inner: self.inner.lock().unwrap(),
            _released: self.released.read().unwrap(),
        }
    }
}

/// A lock that is held.
pub(crate) struct MutexGuard<'a, T> {
    inner: shuttle::sync::MutexGuard<'a, T>,
    /// Dropped last. shuttle has a step before the release of a lock and none after it, where the code that must be
    /// atomic ends. The release of this one is that step.
    _released: shuttle::sync::RwLockReadGuard<'a, ()>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

/// A lock without poisoning, like that of `parking_lot`.
#[derive(Debug, Default)]
pub(crate) struct RwLock<T>(shuttle::sync::RwLock<T>);

impl<T> RwLock<T> {
    pub(crate) fn read(&self) -> shuttle::sync::RwLockReadGuard<'_, T> {
        self.0.read().unwrap()
    }

    pub(crate) fn write(&self) -> shuttle::sync::RwLockWriteGuard<'_, T> {
        self.0.write().unwrap()
    }
}

/// The runtime: shuttle's tasks.
pub(crate) struct Handle;

impl Handle {
    pub(crate) fn spawn<F>(&self, task: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        drop(spawn(task));
    }
}

thread_local! {
    /// The clock of the schedule that runs, in milliseconds. All tasks of shuttle are on one thread.
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Starts the clock of a schedule.
pub(crate) fn reset() {
    NOW.set(0);
}

/// A clock that advances by a random time whenever it is read, so that every timeout and every age is reached in some
/// schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(u64);

impl Instant {
    pub(crate) fn now() -> Self {
        let steps = [0, 0, 1, 60, 1_100];
        NOW.set(NOW.get() + steps[thread_rng().gen_range(0..steps.len())]);
        Self(NOW.get())
    }

    pub(crate) fn elapsed(self) -> Duration {
        Self::now().duration_since(self)
    }

    pub(crate) fn duration_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    pub(crate) fn saturating_duration_since(self, earlier: Self) -> Duration {
        self.duration_since(earlier)
    }

    /// A deadline that no schedule reaches.
    pub(crate) fn never() -> Self {
        Self(u64::MAX)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + u64::try_from(time.as_millis()).unwrap())
    }
}

/// The future took longer than permitted.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// Ends at any step at which the future is not ready, because nothing is known about how long a step takes. A timeout
/// of an hour is never reached.
pub(crate) async fn timeout<F: Future>(within: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let ends = within < Duration::from_secs(3_600);
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Ok(output)),
        Poll::Pending if ends && thread_rng().gen_bool(0.3) => Poll::Ready(Err(Elapsed)),
        Poll::Pending => {
            if ends {
                context.waker().wake_by_ref();
            }
            Poll::Pending
        }
    })
    .await
}

/// Like [`timeout`]. [`Instant::never`] is never reached.
pub(crate) async fn timeout_at<F: Future>(
    deadline: Instant,
    future: F,
) -> Result<F::Output, Elapsed> {
    let within = if deadline == Instant::never() {
        Duration::MAX
    } else {
        Duration::ZERO
    };
    timeout(within, future).await
}

/// Lets other tasks continue.
pub(crate) async fn sleep(time: Duration) {
    NOW.set(NOW.get() + u64::try_from(time.as_millis()).unwrap());
    shuttle::future::yield_now().await;
}
