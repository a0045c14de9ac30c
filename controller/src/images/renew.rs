//! Keeping snapshot and timestamp fresh, and telling people in time when metadata of theirs will expire.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use wardround_rollout_plans::model::Timestamp;
use wardround_signing::tuf::RoleName;

use super::{ImageError, Repository, View, moment, publish::TIMESTAMP_LIFE_S};
use crate::{clock, registry::RegistryEvent};

/// How often to look.
const LOOK_EVERY: Duration = Duration::from_secs(5 * 60);
/// A timestamp is signed anew when less of its life is left than this, seconds: every six hours.
const TIMESTAMP_LEFT_MIN_S: u32 = TIMESTAMP_LIFE_S / 4 * 3;
/// People hear of an expiry of theirs this long before it, seconds.
const WARNING_S: u32 = 30 * 24 * 60 * 60;
/// And again after this time, milliseconds.
const WARNED_AGAIN_MS: u64 = 24 * 60 * 60 * 1000;

/// Renews until `stop`.
pub(crate) async fn keep_timestamp_fresh(repository: Arc<Repository>, stop: CancellationToken) {
    let mut warned: BTreeMap<RoleName, Timestamp> = BTreeMap::new();
    loop {
        if let Err(error) = repository.renew(clock::now()).await {
            tracing::error!(%error, "the timestamp could not be renewed");
            if is_time(&mut warned, RoleName::Timestamp, clock::now()) {
                let text = format!("the timestamp could not be renewed: {error}; {}", error.hint());
                repository.warn("metadata_not_renewed", text).await;
            }
        }
        repository.warn_of_expiry(&mut warned, clock::now()).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// True once a day for a role: an alarm that nobody can end must not fill the record.
fn is_time(warned: &mut BTreeMap<RoleName, Timestamp>, role: RoleName, now: Timestamp) -> bool {
    let is_time = warned.get(&role).is_none_or(|before| now.since(*before).0 >= WARNED_AGAIN_MS);
    if is_time {
        warned.insert(role, now);
    }
    is_time
}

impl Repository {
    /// Signs a new timestamp, and a new snapshot where it is time, if the present ones are old enough.
    pub(super) async fn renew(self: &Arc<Self>, now: Timestamp) -> Result<(), ImageError> {
        let is_due = |view: &View| {
            let old = view.images.expires(RoleName::Timestamp);
            let is_old = old.is_none_or(|at| at < moment(now).plus_seconds(TIMESTAMP_LEFT_MIN_S));
            is_old || view.images.version(RoleName::Timestamp) <= self.version_base
        };
        let _turn = self.turn.lock().await;
        let Some(view) = self.view().filter(|view| is_due(view)) else { return Ok(()) };
        let draft = self.draft(Some(&view), view.roots(), BTreeMap::new(), now)?;
        let text = format!("the timestamp was renewed: version {}", draft.timestamp_version());
        self.commit(draft, text).await
    }

    async fn warn_of_expiry(&self, warned: &mut BTreeMap<RoleName, Timestamp>, now: Timestamp) {
        let Some(view) = self.view() else { return };
        for role in RoleName::PEOPLE {
            let Some(at) = view.images.expires(role).filter(|at| *at < moment(now).plus_seconds(WARNING_S)) else {
                continue;
            };
            if !is_time(warned, role, now) {
                continue;
            }
            let text = format!(
                "{role} metadata expires at {at}: from then on nodes begin nothing new; sign a new version of it"
            );
            self.warn("metadata_expires", text).await;
        }
    }

    async fn warn(&self, code: &str, text: String) {
        let event = RegistryEvent::Alarm { code: code.to_owned(), text, site: None };
        if let Err(error) = self.core.submit(event).await {
            tracing::error!(%error, code, "an alarm could not be recorded");
        }
    }
}
