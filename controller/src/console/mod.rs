//! The console: pages for on-call, read-only, and the metrics.
//!
//! A thin client: it calls the same service methods that gRPC callers reach, and shows what they answer. Orders need a
//! person's key, which no browser holds, so each page shows the exact command instead of a button.
//!
//! **Invariant:** nothing here changes anything; only GET and HEAD are answered.

mod front;
mod layout;
mod metrics;
mod query;
mod rollout;
mod rollouts;
mod sites;
mod words;

use std::{io, sync::Arc};

use axum::{Router, middleware, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::{Api, Service};

/// What the pages ask.
#[derive(Clone)]
struct Console {
    api: Arc<Api>,
    service: Service,
}

/// Serves until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, api: Arc<Api>, shutdown: CancellationToken) -> io::Result<()> {
    let bound = listener.local_addr()?;
    if !bound.ip().is_loopback() {
        tracing::warn!(%bound, "the console is open to the network; it has no log-in: put a proxy with one before it");
    }
    let console = Console { service: Service(Arc::clone(&api)), api };
    axum::serve(listener, routes(console, front::Front { loopback: bound.ip().is_loopback() }))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

fn routes(console: Console, front: front::Front) -> Router {
    Router::new()
        .route("/", get(rollouts::list))
        .route("/rollouts/{id}", get(rollout::one))
        .route("/sites", get(sites::list))
        .route("/sites/{id}", get(sites::one))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/assets/console.css", get(layout::style))
        .route("/assets/console.js", get(layout::script))
        .fallback(layout::not_found)
        .layer(middleware::from_fn_with_state(front, front::guard))
        .with_state(console)
}
