//! The clinical service of a quickstart site: an image viewer whose health depends on what is installed on its devices.

use std::{
    io::Read as _,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::render;
use crate::{
    commands::stop_signal,
    failure::{Exit, Failure},
};

/// Where a device keeps its settings.
pub(super) const SETTINGS: &str = "app/render.conf";

/// Serve the quickstart's image viewer
#[derive(Debug, Args)]
pub(crate) struct Viewer {
    /// Where to listen
    #[arg(long)]
    listen: SocketAddr,
    /// Root folder of a device whose settings are used; may be given several times
    #[arg(long = "device", required = true)]
    devices: Vec<PathBuf>,
    /// Stop when standard input ends
    #[arg(long)]
    stop_with_stdin: bool,
}

/// Serves `GET /health` until told to stop: 200 when an image was rendered for every device, else 503 and why not.
pub(crate) async fn serve_viewer(viewer: Viewer) -> Result<Exit, Failure> {
    let stop = CancellationToken::new();
    tokio::spawn(stop_signal(stop.clone(), viewer.stop_with_stdin));
    let listener = tokio::net::TcpListener::bind(viewer.listen)
        .await
        .map_err(|e| Failure::new(format!("cannot listen on {}: {e}", viewer.listen)))?;
    let router = Router::new().route("/health", get(health)).with_state(Arc::new(viewer.devices));
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(|e| Failure::new(format!("the viewer stopped: {e}")))?;
    Ok(Exit::Ok)
}

async fn health(State(devices): State<Arc<Vec<PathBuf>>>) -> (StatusCode, String) {
    let rendered = tokio::task::spawn_blocking(move || render_all(&devices)).await;
    match rendered {
        Ok(Ok(words)) => (StatusCode::OK, words),
        Ok(Err(why)) => (StatusCode::SERVICE_UNAVAILABLE, why),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}

fn render_all(devices: &[PathBuf]) -> Result<String, String> {
    let mut words = Vec::new();
    for root in devices {
        let name = root.file_name().unwrap_or_default().to_string_lossy();
        let version = render_device(root).map_err(|why| format!("no usable image from {name}: {why}\n"))?;
        words.push(format!("{name} renders with version {version}"));
    }
    Ok(words.join("; ") + "\n")
}

/// Renders with what is installed now: nothing is remembered from one request to the next.
pub(super) fn render_device(root: &Path) -> Result<String, String> {
    let path = root.join(SETTINGS);
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|file| file.take(render::SETTINGS_BYTES_MAX).read_to_string(&mut text))
        .map_err(|e| format!("{SETTINGS}: {e}"))?;
    render::examine(&text)
}
