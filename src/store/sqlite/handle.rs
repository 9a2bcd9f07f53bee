//! What Diesel does not give of an SQLite connection: the result code of an error, and a way to end
//! a statement that takes too long.
//!
//! SQLite calls an extension for each connection that is opened ("Automatically Load Statically
//! Linked Extensions" in its manual). Ours sets the progress handler, and defines an SQL function that
//! tells the connection's owner where the state of the two is.

#![expect(
    unsafe_code,
    reason = "Diesel keeps the handle of SQLite's C interface to itself"
)]

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use diesel::connection::{Instrumentation, InstrumentationEvent};
use diesel::sql_types::BigInt;
use diesel::{Connection as _, QueryResult, QueryableByName, RunQueryDsl as _, SqliteConnection};
use libsqlite3_sys as ffi;

/// After how many steps of its virtual machine SQLite looks at the clock: some microseconds.
const STEPS: c_int = 1000;

/// What is known of one connection. Shared with SQLite, which lets go of it when it has closed the
/// connection.
struct Shared {
    connection: AtomicPtr<ffi::sqlite3>,
    zero: Instant,
    /// Nanoseconds after `zero` at which a statement is ended; 0 is never.
    deadline: AtomicU64,
    /// Whether a statement was ended.
    overdue: AtomicBool,
    /// The extended result code of the first error; 0 is none.
    code: AtomicI32,
}

/// The owner's side.
#[derive(Clone)]
pub(in crate::store) struct Handle(Arc<Shared>);

#[derive(QueryableByName)]
struct Address {
    #[diesel(sql_type = BigInt)]
    address: i64,
}

impl Handle {
    /// Has SQLite prepare each connection that is opened from now on. Once is enough, more do no harm.
    pub(super) fn prepare_new_connections() {
        // SAFETY: `prepare` has the signature of an entry point and lives as long as the program.
        unsafe { ffi::sqlite3_auto_extension(Some(prepare)) };
    }

    /// The handle of a connection that was opened since.
    pub(super) fn of(connection: &mut SqliteConnection) -> QueryResult<Self> {
        let query = "SELECT order_service_handle() AS address";
        let row: Address = diesel::sql_query(query).get_result(connection)?;
        let address = usize::try_from(row.address).unwrap_or_default();
        let shared: *const Shared = ptr::with_exposed_provenance(address);
        if shared.is_null() {
            return Err(diesel::result::Error::NotFound);
        }
        // SAFETY: `tell` has made the address of an `Arc` that SQLite keeps until the connection is
        // closed, and the connection is borrowed here.
        let handle = unsafe {
            Arc::increment_strong_count(shared);
            Self(Arc::from_raw(shared))
        };
        connection.set_instrumentation(Errors(handle.clone()));
        Ok(handle)
    }

    /// Work begins, and may take this long.
    pub(super) fn begin(&self, limit: Duration) {
        let shared = &*self.0;
        shared.code.store(0, Ordering::Relaxed);
        shared.overdue.store(false, Ordering::Relaxed);
        let deadline = nanos(shared.zero.elapsed().saturating_add(limit));
        shared.deadline.store(deadline.max(1), Ordering::Relaxed);
    }

    /// Work has ended. The result code of its first error.
    pub(super) fn end(&self) -> Option<c_int> {
        let shared = &*self.0;
        shared.deadline.store(0, Ordering::Relaxed);
        if shared.overdue.load(Ordering::Relaxed) {
            return Some(ffi::SQLITE_INTERRUPT);
        }
        let code = shared.code.load(Ordering::Relaxed);
        (code != 0).then_some(code)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Looks at the result code when Diesel has ended a statement, before it rolls back.
struct Errors(Handle);

impl Instrumentation for Errors {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if !matches!(event, InstrumentationEvent::FinishQuery { .. }) {
            return;
        }
        let shared = &*self.0.0;
        // SAFETY: the connection owns its instrumentation, so it is open, and this is its thread.
        let code =
            unsafe { ffi::sqlite3_extended_errcode(shared.connection.load(Ordering::Relaxed)) };
        if !matches!(code, ffi::SQLITE_OK | ffi::SQLITE_ROW | ffi::SQLITE_DONE) {
            // A later one may only say that there is nothing to roll back.
            let _ = shared
                .code
                .compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// The text that this SQLite has for a primary result code.
pub(super) fn text_of(code: c_int) -> String {
    // SAFETY: SQLite returns a static string for each code.
    let text = unsafe { std::ffi::CStr::from_ptr(ffi::sqlite3_errstr(code)) };
    text.to_string_lossy().into_owned()
}

/// The extension.
unsafe extern "C" fn prepare(
    connection: *mut ffi::sqlite3,
    _error: *mut *mut c_char,
    _api: *const ffi::sqlite3_api_routines,
) -> c_int {
    let shared = Arc::new(Shared {
        connection: AtomicPtr::new(connection),
        zero: Instant::now(),
        deadline: AtomicU64::new(0),
        overdue: AtomicBool::new(false),
        code: AtomicI32::new(0),
    });
    let shared = Arc::into_raw(shared).cast_mut().cast::<c_void>();
    // SAFETY: SQLite hands in an open connection. It calls `forget` for `shared` when it closes the
    // connection, and also when this fails; it calls `progress` only while the connection is open.
    unsafe {
        let defined = ffi::sqlite3_create_function_v2(
            connection,
            c"order_service_handle".as_ptr(),
            0,
            ffi::SQLITE_UTF8,
            shared,
            Some(tell),
            None,
            None,
            Some(forget),
        );
        if defined == ffi::SQLITE_OK {
            ffi::sqlite3_progress_handler(connection, STEPS, Some(progress), shared);
        }
        defined
    }
}

/// `order_service_handle()`: the address of the state.
unsafe extern "C" fn tell(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    _values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite hands in the context of this call, whose data is what `prepare` gave it.
    unsafe {
        let address = ffi::sqlite3_user_data(context).expose_provenance();
        ffi::sqlite3_result_int64(context, i64::try_from(address).unwrap_or_default());
    }
}

/// Whether the statement is to end.
unsafe extern "C" fn progress(shared: *mut c_void) -> c_int {
    // SAFETY: this is what `prepare` gave it, and SQLite keeps it as long as the connection is open.
    let shared = unsafe { &*shared.cast_const().cast::<Shared>() };
    let deadline = shared.deadline.load(Ordering::Relaxed);
    let overdue = deadline != 0 && nanos(shared.zero.elapsed()) > deadline;
    if overdue {
        shared.overdue.store(true, Ordering::Relaxed);
    }
    c_int::from(overdue)
}

unsafe extern "C" fn forget(shared: *mut c_void) {
    // SAFETY: this is what `prepare` made with `Arc::into_raw`, and SQLite calls this once.
    drop(unsafe { Arc::from_raw(shared.cast_const().cast::<Shared>()) });
}
