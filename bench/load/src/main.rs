//! HTTP load on one address, in a closed loop (each connection sends its next request when it has
//! its answer) or an open loop (requests are due at a fixed rate, whatever the answers do, and
//! their latency counts from the moment they were due). Prints one JSON object.
//!
//! One thread: the machine under test is usually the same machine.

mod arrivals;
mod connection;
mod report;
mod request;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use tokio::task::LocalSet;
use tokio::time::Instant;

use arrivals::Arrivals;
use report::Report;
use request::Template;

/// Puts HTTP load on one address and prints what came of it as JSON.
#[derive(Parser)]
struct Options {
    /// HOST:PORT
    address: String,
    /// Path; `{id}` stands for one of --ids
    path: String,
    /// Send this JSON body; {n} is another number each time
    #[arg(long)]
    body: Option<String>,
    /// The method of requests with a body
    #[arg(long, default_value = "POST")]
    method: String,
    /// Give each request an Idempotency-Key of its own
    #[arg(long)]
    idempotency_key: bool,
    /// A file with one id a line
    #[arg(long)]
    ids: Option<std::path::PathBuf>,
    /// Connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests a second for an open loop; without it, a closed loop
    #[arg(long)]
    rate: Option<f64>,
    /// In an open loop, count latency from the sending of the request
    #[arg(long)]
    from_sending: bool,
    /// How long to measure
    #[arg(long, default_value = "5s")]
    duration: humantime::Duration,
    /// How long to run before measuring
    #[arg(long, default_value = "1s")]
    warm_up: humantime::Duration,
    /// Send one request on each connection, then hold them all open for the duration
    #[arg(long)]
    idle: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = LocalSet::new().block_on(&runtime, run(options))?;
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}

async fn run(options: Options) -> Result<report::Summary, Box<dyn std::error::Error>> {
    let template = Rc::new(Template::new(&options)?);
    let mut connections = Vec::new();
    for _ in 0..options.connections {
        connections.push(connection::open(&options.address).await?);
    }
    if options.idle {
        for connection in &mut connections {
            connection.exchange(&template.next()).await?;
        }
        tokio::time::sleep(options.duration.into()).await;
        return Ok(Report::new(Duration::ZERO).summary());
    }

    let start = Instant::now() + Duration::from(options.warm_up);
    let end = start + Duration::from(options.duration);
    let report = Rc::new(RefCell::new(Report::new(options.duration.into())));
    let arrivals = Arrivals::start(options.rate, end);
    let mut tasks = Vec::new();
    for mut connection in connections {
        let (template, report) = (Rc::clone(&template), Rc::clone(&report));
        let (arrivals, address) = (arrivals.clone(), options.address.clone());
        let from_sending = options.from_sending;
        tasks.push(tokio::task::spawn_local(async move {
            while let Some(due) = arrivals.next().await {
                let due = if from_sending { Instant::now() } else { due };
                let answer = connection.exchange(&template.next()).await;
                let now = Instant::now();
                // What was due before the end counts, also when its answer comes after it.
                if due >= start && due < end {
                    report.borrow_mut().record(&answer, now - due);
                }
                if answer.is_err() {
                    match connection::open(&address).await {
                        Ok(new) => connection = new,
                        Err(_) => return,
                    }
                }
            }
        }));
    }
    tokio::time::sleep_until(end).await;
    let unsent = arrivals.unsent();
    // Late answers are waited for: leaving them out would make an overloaded server look quick.
    let late = tokio::time::timeout(Duration::from_secs(10), async {
        for task in tasks {
            let _ = task.await;
        }
    });
    let _ = late.await;
    let mut summary = report.borrow().summary();
    summary.unsent_at_end = unsent;
    summary.answers = template.count();
    Ok(summary)
}
