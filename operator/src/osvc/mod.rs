//! The kubectl plugin `kubectl osvc`: shows OrderServices with the causes of their state, and changes their specs. It
//! never changes the objects of an OrderService, which belong to the operator.

mod collect;
mod error;
mod logs;
mod report;
mod rollback;
mod session;
mod snapshot;
mod text;
mod tree;
mod view;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use console::Term;
use jiff::Timestamp;
use serde_json::json;

use crate::cli::osvc::{OsvcCli, OsvcCommand, Output, RollbackArgs, StatusArgs};

pub use error::OsvcError;
pub use session::Session;

/// The annotation that makes the operator retry what failed.
const RETRY: &str = "orders.example.com/retry";

/// Runs a command. Returns the exit code that the help describes.
pub fn run(cli: &OsvcCli) -> ExitCode {
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(OsvcError::Output)
        .and_then(|runtime| runtime.block_on(connect_and_execute(cli)));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // If standard error is closed, the error cannot be reported anywhere else.
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

async fn connect_and_execute(cli: &OsvcCli) -> Result<(), OsvcError> {
    let session = Session::open(&cli.connection).await?;
    let executed = execute(&session, &cli.command, &mut io::stdout(), &mut io::stderr()).await;
    match executed {
        // A closed pipe is not an error: `head`, for example, reads only the beginning.
        Err(OsvcError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Executes a command: results go to `out`, notes to `notes`.
///
/// # Errors
/// When the cluster does not respond or rejects a request, when an object does not exist, or when the output cannot be
/// written.
pub async fn execute(
    session: &Session,
    command: &OsvcCommand,
    out: &mut (impl Write + Send),
    notes: &mut (impl Write + Send),
) -> Result<(), OsvcError> {
    match command {
        OsvcCommand::Status(args) => show(session, args, out, notes).await,
        OsvcCommand::Retry(args) => retry(session, &args.name, out).await,
        OsvcCommand::Pause(args) => set_paused(session, &args.name, true, out, notes).await,
        OsvcCommand::Resume(args) => set_paused(session, &args.name, false, out, notes).await,
        OsvcCommand::Rollback(args) => roll_back(session, args, out, notes).await,
        OsvcCommand::MigrateLogs(args) => logs::print(session, args, out, notes).await,
    }
}

async fn show(
    session: &Session,
    args: &StatusArgs,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), OsvcError> {
    let namespace = (!args.all_namespaces).then(|| session.namespace());
    let snapshot = snapshot::read(session, namespace, args.name.as_deref()).await?;
    let services = collect::services(&snapshot);
    if args.output == Output::Json {
        serde_json::to_writer_pretty(&mut *out, &json!({"items": services}))
            .map_err(io::Error::from)?;
        writeln!(out)?;
        return Ok(out.flush()?);
    }
    if services.is_empty() {
        let scope = namespace.map_or("any namespace".to_owned(), |it| {
            format!("the namespace {it}")
        });
        writeln!(notes, "there are no OrderServices in {scope}")?;
    }
    if let Some(missing) = &snapshot.warnings_missing {
        writeln!(
            notes,
            "note: some causes are missing, because events are not readable: {missing}"
        )?;
    }
    let term = Term::stdout();
    let columns = term.size_checked().filter(|_| term.is_term());
    let width = args.width.or(columns.map(|size| size.1));
    let color = args.color.is_used(term.is_term());
    let now = Timestamp::now();
    let trees: Vec<_> = services
        .iter()
        .map(|service| view::tree(service, now))
        .collect();
    out.write_all(tree::format(&trees, width.map(usize::from), color).as_bytes())?;
    Ok(out.flush()?)
}

async fn retry(session: &Session, name: &str, out: &mut impl Write) -> Result<(), OsvcError> {
    let token = Timestamp::now().to_string();
    let patch = json!({"metadata": {"annotations": {RETRY: token}}});
    session.change(name, &patch).await?;
    writeln!(out, "{name}: a retry is requested ({RETRY}: {token})")?;
    Ok(())
}

async fn set_paused(
    session: &Session,
    name: &str,
    paused: bool,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), OsvcError> {
    let object = session.order_service(session.namespace(), name).await?;
    let was = object
        .data
        .pointer("/spec/paused")
        .and_then(serde_json::Value::as_bool);
    let state = if paused { "paused" } else { "not paused" };
    if was.unwrap_or_default() == paused {
        writeln!(out, "{name} is {state} already")?;
        return Ok(());
    }
    session
        .change(name, &json!({"spec": {"paused": paused}}))
        .await?;
    writeln!(out, "{name} is {state} now")?;
    note_appliers(&rollback::appliers(&object, "paused"), "spec.paused", notes)
}

async fn roll_back(
    session: &Session,
    args: &RollbackArgs,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), OsvcError> {
    let name = args.name.as_str();
    let snapshot = snapshot::read(session, Some(session.namespace()), Some(name)).await?;
    let services = collect::services(&snapshot);
    let (Some(service), Some(object)) = (services.first(), snapshot.services.first()) else {
        return Err(OsvcError::NotFound(format!(
            "OrderService {name} does not exist"
        )));
    };
    let from = service.image.as_str();
    let to = match &args.to_image {
        Some(image) => image,
        None => rollback::previous_image(service)?,
    };
    if from == to {
        writeln!(out, "{name} has the image {to} already")?;
        return Ok(());
    }
    if args.dry_run {
        writeln!(out, "{name}: would change spec.image from {from} to {to}")?;
        return Ok(());
    }
    session
        .change(name, &rollback::patch(object, from, to))
        .await?;
    writeln!(out, "{name}: spec.image is {to} now; it was {from}")?;
    if service.paused {
        writeln!(
            notes,
            "note: {name} is paused, so the operator rolls out nothing until `resume`"
        )?;
    }
    note_appliers(&rollback::appliers(object, "image"), "spec.image", notes)
}

fn note_appliers(managers: &[&str], field: &str, notes: &mut impl Write) -> Result<(), OsvcError> {
    if !managers.is_empty() {
        let managers = managers.join(", ");
        writeln!(
            notes,
            "note: {managers} also applies {field} and may set it again; change it there, too"
        )?;
    }
    Ok(())
}
