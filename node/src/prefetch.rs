//! Brings one payload without running the node.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use wardround_rollout_plans::model::{Payload, RolloutId, Severity};

use crate::{
    NodeError,
    cache::{Cache, Claim, Rules},
    config::{CACHE_BYTES_DEFAULT, Limit},
    identity::Identity,
    sync::Controller,
};

/// Brings a payload into the cache of an enrolled node, as fast as the line is: where it is wanted before the night, and for
/// benchmarks. Nothing is installed, and nothing is believed: a payload lies there under the SHA-256 that it has. The node of
/// `state_dir` must not run. Says where the payload is.
///
/// # Errors
/// [`NodeError`]: no identity, or a payload that can't be fetched or kept.
pub async fn prefetch(state_dir: &Path, payload: &Payload) -> Result<PathBuf, NodeError> {
    let failed = |error: io::Error| NodeError::File {
        path: state_dir.join("payloads").join(payload.digest.hex()),
        verb: "brought",
        source: error,
    };
    let controller = Controller::new(&Identity::read(state_dir)?)?;
    let rules = Rules { size_max: CACHE_BYTES_DEFAULT, limit: Limit::None };
    let cache = Cache::open(state_dir, Arc::new(move || rules)).map_err(failed)?;
    let rollout = RolloutId::new("prefetch").map_err(|error| failed(io::Error::other(error.to_string())))?;
    let claim = Claim { rollout, severity: Severity::Low };
    cache.bring(payload, &controller, &claim).await.map_err(|error| failed(io::Error::other(error)))
}
