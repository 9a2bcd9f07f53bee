//! Two features that Diesel lacks for an SQLite connection: the result code of an error, and a way to end a
//! statement that takes too long.
//!
//! SQLite calls a registered extension for each connection that is opened (SQLite manual, "Automatically
//! Load Statically Linked Extensions"). The extension here sets the progress handler, and defines an SQL
//! function that returns the address of the state that it shares with [`Handle`].

#![expect(
    unsafe_code,
    reason = "Diesel does not expose the connection of SQLite's C interface"
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

/// The number of virtual machine instructions between two calls of the progress handler: a few microseconds.
const PROGRESS_INTERVAL: c_int = 1000;

/// The state of one connection. SQLite holds a reference to it until it has closed the connection.
struct Shared {
    connection: AtomicPtr<ffi::sqlite3>,
    created: Instant,
    /// The deadline of the current work in nanoseconds after `created`; 0 if there is none.
    deadline: AtomicU64,
    /// Whether a statement was ended at the deadline.
    interrupted: AtomicBool,
    /// The extended result code of the first error; 0 if there is none.
    code: AtomicI32,
}

/// The reference to the state that the owner of the connection holds.
#[derive(Clone)]
pub(in crate::store) struct Handle(Arc<Shared>);

#[derive(QueryableByName)]
struct Address {
    #[diesel(sql_type = BigInt)]
    address: i64,
}

impl Handle {
    /// Registers the extension for all connections that are opened later. SQLite ignores repeated calls.
    pub(super) fn register_extension() {
        // SAFETY: `init` has the signature of an entry point and lives as long as the program.
        unsafe { ffi::sqlite3_auto_extension(Some(init)) };
    }

    /// Returns the handle of a connection that was opened after [`Self::register_extension`].
    pub(super) fn of(connection: &mut SqliteConnection) -> QueryResult<Self> {
        let query = "SELECT order_service_handle() AS address";
        let row: Address = diesel::sql_query(query).get_result(connection)?;
        let address = usize::try_from(row.address).unwrap_or_default();
        let shared: *const Shared = ptr::with_exposed_provenance(address);
        if shared.is_null() {
            return Err(diesel::result::Error::NotFound);
        }
        // SAFETY: `handle_address` returns the address of an `Arc` that SQLite holds until the
        // connection is closed, and the connection is borrowed here.
        let handle = unsafe {
            Arc::increment_strong_count(shared);
            Self(Arc::from_raw(shared))
        };
        connection.set_instrumentation(ErrorRecorder(handle.clone()));
        Ok(handle)
    }

    /// The number of virtual machine instructions of the statements that are prepared on the connection, since the last
    /// call (SQLite manual, "Prepared Statement Status").
    #[cfg(test)]
    pub(super) fn take_steps(&self, _connection: &mut SqliteConnection) -> u64 {
        let connection = self.0.connection.load(Ordering::Relaxed);
        let mut steps = 0;
        // SAFETY: the connection is open, because it is borrowed, and so are its statements.
        unsafe {
            let mut statement = ffi::sqlite3_next_stmt(connection, ptr::null_mut());
            while !statement.is_null() {
                let counter = ffi::SQLITE_STMTSTATUS_VM_STEP;
                let count = ffi::sqlite3_stmt_status(statement, counter, 1);
                steps += u64::try_from(count).unwrap();
                statement = ffi::sqlite3_next_stmt(connection, statement);
            }
        }
        steps
    }

    /// Begins work that is interrupted after `timeout`.
    pub(super) fn begin(&self, timeout: Duration) {
        let shared = &*self.0;
        shared.code.store(0, Ordering::Relaxed);
        shared.interrupted.store(false, Ordering::Relaxed);
        let deadline = nanos(shared.created.elapsed().saturating_add(timeout));
        shared.deadline.store(deadline.max(1), Ordering::Relaxed);
    }

    /// Ends the work and returns the result code of its first error.
    pub(super) fn end(&self) -> Option<c_int> {
        let shared = &*self.0;
        shared.deadline.store(0, Ordering::Relaxed);
        if shared.interrupted.load(Ordering::Relaxed) {
            return Some(ffi::SQLITE_INTERRUPT);
        }
        let code = shared.code.load(Ordering::Relaxed);
        (code != 0).then_some(code)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Records the result code when Diesel has ended a statement, before Diesel rolls back the transaction.
struct ErrorRecorder(Handle);

impl Instrumentation for ErrorRecorder {
    fn on_connection_event(&mut self, event: InstrumentationEvent<'_>) {
        if !matches!(event, InstrumentationEvent::FinishQuery { .. }) {
            return;
        }
        let shared = &*self.0.0;
        // SAFETY: the connection owns its instrumentation, so it is open, and this is its thread.
        let code =
            unsafe { ffi::sqlite3_extended_errcode(shared.connection.load(Ordering::Relaxed)) };
        if !matches!(code, ffi::SQLITE_OK | ffi::SQLITE_ROW | ffi::SQLITE_DONE) {
            // A later code can be that of a rollback without a transaction.
            let _ = shared
                .code
                .compare_exchange(0, code, Ordering::Relaxed, Ordering::Relaxed);
        }
    }
}

/// SQLite's message for a primary result code.
pub(super) fn message_of(code: c_int) -> String {
    // SAFETY: SQLite returns a static string for each code.
    let text = unsafe { std::ffi::CStr::from_ptr(ffi::sqlite3_errstr(code)) };
    text.to_string_lossy().into_owned()
}

/// The entry point of the extension.
unsafe extern "C" fn init(
    connection: *mut ffi::sqlite3,
    _error: *mut *mut c_char,
    _api: *const ffi::sqlite3_api_routines,
) -> c_int {
    let shared = Arc::new(Shared {
        connection: AtomicPtr::new(connection),
        created: Instant::now(),
        deadline: AtomicU64::new(0),
        interrupted: AtomicBool::new(false),
        code: AtomicI32::new(0),
    });
    let shared = Arc::into_raw(shared).cast_mut().cast::<c_void>();
    // SAFETY: SQLite passes an open connection. It calls `release` for `shared` when it closes the
    // connection, and also if this call fails; it calls `progress` only while the connection is open.
    unsafe {
        let defined = ffi::sqlite3_create_function_v2(
            connection,
            c"order_service_handle".as_ptr(),
            0,
            ffi::SQLITE_UTF8,
            shared,
            Some(handle_address),
            None,
            None,
            Some(release),
        );
        if defined == ffi::SQLITE_OK {
            ffi::sqlite3_progress_handler(connection, PROGRESS_INTERVAL, Some(progress), shared);
        }
        defined
    }
}

/// `order_service_handle()`: the address of the state.
unsafe extern "C" fn handle_address(
    context: *mut ffi::sqlite3_context,
    _count: c_int,
    _values: *mut *mut ffi::sqlite3_value,
) {
    // SAFETY: SQLite passes the context of this call, whose data is the pointer from `init`.
    unsafe {
        let address = ffi::sqlite3_user_data(context).expose_provenance();
        ffi::sqlite3_result_int64(context, i64::try_from(address).unwrap_or_default());
    }
}

/// The progress handler: a result other than 0 interrupts the statement.
unsafe extern "C" fn progress(shared: *mut c_void) -> c_int {
    // SAFETY: the pointer is that from `init`, and valid while the connection is open.
    let shared = unsafe { &*shared.cast_const().cast::<Shared>() };
    let deadline = shared.deadline.load(Ordering::Relaxed);
    let overdue = deadline != 0 && nanos(shared.created.elapsed()) > deadline;
    if overdue {
        shared.interrupted.store(true, Ordering::Relaxed);
    }
    c_int::from(overdue)
}

/// Releases the reference that SQLite holds.
unsafe extern "C" fn release(shared: *mut c_void) {
    // SAFETY: the pointer is that of `Arc::into_raw` in `init`, and SQLite calls this once.
    drop(unsafe { Arc::from_raw(shared.cast_const().cast::<Shared>()) });
}
