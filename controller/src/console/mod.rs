//! The console's HTTP listener. It knows the API's services and nothing else of this process.

use std::{io, sync::Arc};

use axum::{Router, routing::get};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::api::Api;

/// Serves until `shutdown`.
pub(crate) async fn serve(listener: TcpListener, _api: Arc<Api>, shutdown: CancellationToken) -> io::Result<()> {
    let routes = Router::new().route("/healthz", get(|| async { "ok\n" }));
    axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
}
