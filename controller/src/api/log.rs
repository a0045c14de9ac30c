//! The log's part of a check-in: the newest checkpoint goes out with a proof, the node's cosignature comes in.

use std::sync::Arc;

use tonic::Status;
use wardround_rollout_plans::model::SiteId;

use super::{Api, blocking};
use crate::log::NotCounted;

impl Api {
    /// The newest checkpoint, and proof that the one a node has accepted is its beginning.
    pub(super) async fn newest_checkpoint(&self, site: &SiteId, seen: u64) -> Result<(String, Vec<Vec<u8>>), Status> {
        let newest = self.log.newest();
        if seen > newest.size() {
            let text = format!(
                "the node of site {site} has seen {seen} entries of the audit log, but this controller has only {}: it \
                 was restored from an older copy, or another controller signs with its key",
                newest.size()
            );
            self.alarm("log_ahead", site, &text).await;
            // Without a proof the node refuses it, as it must.
            return Ok((newest.note().to_owned(), Vec::new()));
        }
        let log = Arc::clone(&self.log);
        let size = newest.size();
        let proof = blocking(move || log.consistency(seen, size)).await?.map_err(Status::data_loss)?;
        let hashes = proof.map(|proof| proof.hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect());
        Ok((newest.note().to_owned(), hashes.unwrap_or_default()))
    }

    /// Takes in a node's cosignature. One that does not fit is not counted, and a person hears of it; the check-in goes on.
    pub(super) async fn take_cosignature(&self, site: &SiteId, note: String) {
        let key = self.core.read(|facts| facts.registry.node(site).map(|node| node.report_key));
        let Some(key) = key.filter(|_| !note.is_empty()) else { return };
        let (log, of) = (Arc::clone(&self.log), site.clone());
        match blocking(move || log.take(&of, key, &note)).await {
            Ok(Ok(())) => {}
            Ok(Err(error @ NotCounted::Disk(_))) => tracing::error!(%site, %error, "a cosignature was not counted"),
            Ok(Err(error)) => {
                let code =
                    if matches!(error, NotCounted::Foreign { .. }) { "log_fork" } else { "cosignature_unverified" };
                self.alarm(code, site, &format!("a cosignature of the node of site {site} does not count: {error}"))
                    .await;
            }
            Err(status) => tracing::error!(%site, %status, "a cosignature was not counted"),
        }
    }
}
