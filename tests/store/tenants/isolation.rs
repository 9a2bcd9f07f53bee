//! Two tenants send random requests to one store, and the same requests each to a store of its own. Every response is
//! the same apart from ids, times and cursors, and cursors have the same effect.
//!
//! Orders that are created at the same time may get their events in any order, so the feeds are compared as sets. Within
//! a run, all reads of a feed have its events in the same order.

mod requests;
mod responses;
mod session;

use std::collections::HashMap;

use futures_util::future::join_all;
use order_service::store::{FeedReader, Store};
use uuid::Uuid;

use crate::contract::store;
use crate::support::database::Database;
use crate::support::random::Random;
use requests::{Request, random_round};
use responses::{read_feed, send};
use session::{Others, Session};

crate::on_both!(responses_are_the_same_whether_or_not_another_tenant_exists);

const TENANTS: [&str; 2] = ["acme", "acme2"];
const ROUNDS: u64 = 150;

/// Runs the requests of some tenants at the same time, and returns the responses of each.
async fn run(store: &Store, seed: u64, tenants: &[&str]) -> HashMap<String, String> {
    let mut sessions: Vec<Session> = tenants
        .iter()
        .map(|tenant| Session::new(store, tenant))
        .collect();
    let mut scripts: Vec<Random> = tenants
        .iter()
        .map(|tenant| Random(seed.wrapping_add(u64::try_from(tenant.len()).unwrap())))
        .collect();
    for _ in 0..ROUNDS {
        let rounds: Vec<Vec<Request>> = scripts.iter_mut().map(random_round).collect();
        let others: Vec<Others> = sessions
            .iter()
            .map(|session| Others {
                created: session.created.clone(),
                cursors: session.cursors.clone(),
            })
            .collect();
        let mut streams: Vec<Option<FeedReader>> = sessions
            .iter_mut()
            .map(|session| session.stream.take())
            .collect();
        // The requests of all tenants alternate, so that batches are mixed.
        let longest = rounds.iter().map(Vec::len).max().unwrap_or_default();
        let mut pending = Vec::new();
        for at in 0..longest {
            for (tenant, round) in rounds.iter().enumerate() {
                if let Some(request) = round.get(at) {
                    let other = others.get((tenant + 1) % 2).filter(|_| tenants.len() == 2);
                    let other = other.cloned().unwrap_or_default();
                    let stream = matches!(request, Request::Stream)
                        .then(|| streams[tenant].take())
                        .flatten();
                    pending.push((tenant, request.clone(), other, stream));
                }
            }
        }
        let sent = pending.into_iter().map(|(tenant, request, other, stream)| {
            let session = &sessions[tenant];
            async move {
                let response = send(session, request.clone(), &other, stream).await;
                (tenant, request, response)
            }
        });
        let responses = join_all(sent).await;
        for (session, stream) in sessions.iter_mut().zip(streams) {
            session.stream = session.stream.take().or(stream);
        }
        for (tenant, request, response) in responses {
            sessions[tenant].record(&request, response);
        }
    }
    for session in &mut sessions {
        let all = read_feed(session, None, 100).await;
        session.record(&Request::Feed(0, 100), all);
    }
    let names = tenants.iter().map(|tenant| (*tenant).to_owned());
    let transcripts = sessions.into_iter().map(Session::end);
    names.zip(transcripts).collect()
}

async fn responses_are_the_same_whether_or_not_another_tenant_exists(database: Database) {
    let seed = u64::from(Uuid::new_v4().as_fields().0);
    eprintln!("seed {seed}");
    let together = run(&store(&database, &[]).await, seed, &TENANTS).await;
    for tenant in TENANTS {
        let own = if database.is_postgres() {
            Database::postgres().await
        } else {
            Database::sqlite()
        };
        let alone = run(&store(&own, &[]).await, seed, &[tenant]).await;
        let (together, alone) = (&together[tenant], &alone[tenant]);
        for (line, expected) in together.lines().zip(alone.lines()) {
            assert_eq!(line, expected, "{tenant}");
        }
        assert_eq!(together.len(), alone.len());
        for kind in [
            "replay",
            "key reused",
            "taken by",
            "Missing",
            "none",
            "expired",
        ] {
            let found = together.lines().any(|line| line.trim().starts_with(kind));
            assert!(found, "{tenant} never got: {kind}");
        }
    }
}
