//! The logs of migrations.

use std::io::Write;

use futures_util::AsyncReadExt as _;

use super::collect;
use super::error::OsvcError;
use super::session::Session;
use crate::cli::osvc::LogArgs;
use crate::cluster::inspect::Shown;

/// Prints the log of the newest pod that migrates.
pub(super) async fn print(
    session: &Session,
    args: &LogArgs,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), OsvcError> {
    let (name, namespace) = (args.name.as_str(), session.namespace());
    let labels = format!(
        "app.kubernetes.io/name=order-service,app.kubernetes.io/component=migrate,app.kubernetes.io/instance={name}"
    );
    let pods = session.list(Shown::Pod, Some(namespace), &labels).await?;
    let Some(newest) = pods.iter().max_by_key(|pod| collect::created(pod)) else {
        // The error names the OrderService if it does not exist.
        session.order_service(namespace, name).await?;
        let message = format!(
            "no pod of {name} migrates or has migrated recently: a Job that succeeded is deleted after some time"
        );
        return Err(OsvcError::NotFound(message));
    };
    let pod = collect::pod(newest, &[]);
    if pod.state == "Pending" {
        let cause = pod
            .cause
            .map_or_else(|| "Pending".to_owned(), |cause| cause.message);
        return Err(OsvcError::NotFound(format!(
            "pod {} has not started: {cause}",
            pod.name
        )));
    }
    writeln!(notes, "pod {}", pod.name)?;
    let log = session.log(&pod.name, args.follow, args.tail).await?;
    let mut log = std::pin::pin!(log);
    let mut buffer = [0; 8192];
    loop {
        let count = log.read(&mut buffer).await?;
        let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else {
            return Ok(());
        };
        out.write_all(part)?;
        out.flush()?;
    }
}
