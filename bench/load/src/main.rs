//! Sends HTTP load to one address. In a closed loop, each connection sends its next request when it has
//! received a response. In an open loop, requests are due independently of responses, and their latency counts from the
//! time at which they were due. Prints one JSON object.
//!
//! It uses one thread, because it usually shares the machine with the server under test.

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

/// Sends HTTP load to one address and prints the results as JSON.
#[derive(Parser)]
struct Options {
    /// HOST:PORT
    address: String,
    /// Path; `{id}` is replaced by one of --ids
    path: String,
    /// Send this JSON body; {n} is replaced by a new number for each request
    #[arg(long)]
    body: Option<String>,
    /// The method of requests with a body
    #[arg(long, default_value = "POST")]
    method: String,
    /// Send each request with a new Idempotency-Key
    #[arg(long)]
    idempotency_key: bool,
    /// The value of the Authorization header; without it, requests have no credentials
    #[arg(long)]
    authorization: Option<String>,
    /// A file with one id per line
    #[arg(long)]
    ids: Option<std::path::PathBuf>,
    /// Number of connections
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Requests per second for an open loop; without it, a closed loop
    #[arg(long)]
    rate: Option<f64>,
    /// In an open loop, requests are due at random times (a Poisson process) with this rate on average
    #[arg(long, requires = "rate")]
    poisson: bool,
    /// In an open loop, count latency from the time at which the request is sent
    #[arg(long)]
    from_sending: bool,
    /// Duration of the measurement
    #[arg(long, default_value = "5s")]
    duration: humantime::Duration,
    /// Duration of the load before the measurement
    #[arg(long, default_value = "1s")]
    warm_up: humantime::Duration,
    /// Send one request on each connection, then keep all connections open for the duration
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
    let arrivals = Arrivals::start(options.rate, options.poisson, end);
    let mut tasks = Vec::new();
    for mut connection in connections {
        let (template, report) = (Rc::clone(&template), Rc::clone(&report));
        let (arrivals, address) = (arrivals.clone(), options.address.clone());
        let from_sending = options.from_sending;
        tasks.push(tokio::task::spawn_local(async move {
            while let Some(due) = arrivals.next().await {
                let due = if from_sending { Instant::now() } else { due };
                let response = connection.exchange(&template.next()).await;
                let now = Instant::now();
                // A request that was due before the end counts, even if its response arrives later.
                if due >= start && due < end {
                    report.borrow_mut().record(&response, now - due);
                }
                if response.is_err() {
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
    // Wait for late responses: without them an overloaded server would look fast.
    let late = tokio::time::timeout(Duration::from_secs(10), async {
        for task in tasks {
            let _ = task.await;
        }
    });
    let _ = late.await;
    let mut summary = report.borrow().summary();
    summary.unsent_at_end = unsent;
    summary.responses = template.count();
    Ok(summary)
}
