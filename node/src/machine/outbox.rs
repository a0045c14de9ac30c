//! Reports that the controller has not acknowledged yet.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use wardround_rollout_plans::model::{EVIDENCE_TEXT_MAX, Report, ReportBody, SiteId, Timestamp};

/// With this many reports waiting, changes of health that blame nobody are no longer queued: a flapping probe must not
/// fill the disk of a site that is offline for days. Some 30 MB.
const WAITING_MAX: usize = 10_000;

/// The queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outbox {
    site: SiteId,
    /// Sequence number of the newest report; 0 when there was none.
    last: u64,
    acked: u64,
    waiting: VecDeque<Report>,
}

impl Outbox {
    pub(crate) fn new(site: SiteId) -> Self {
        Self { site, last: 0, acked: 0, waiting: VecDeque::new() }
    }

    /// The site that reports.
    #[must_use]
    pub fn site(&self) -> &SiteId {
        &self.site
    }

    /// Queues a report and gives its sequence number.
    pub(crate) fn push(&mut self, at: Timestamp, body: ReportBody) -> u64 {
        let chatter = matches!(body, ReportBody::Health { blames: None, .. });
        if !(chatter && self.waiting.len() >= WAITING_MAX) {
            self.last += 1;
            self.waiting.push_back(Report { site: self.site.clone(), seq: self.last, at, body });
        }
        self.last
    }

    /// Highest acknowledged sequence number.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked
    }

    /// Highest sequence number given out.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Forgets what the controller has. A number beyond the last report is a mistake of the controller and is cut.
    pub(crate) fn ack(&mut self, seq: u64) {
        self.acked = self.acked.max(seq.min(self.last));
        while self.waiting.front().is_some_and(|r| r.seq <= self.acked) {
            self.waiting.pop_front();
        }
    }

    /// Oldest first.
    pub fn waiting(&self) -> impl Iterator<Item = &Report> {
        self.waiting.iter()
    }
}

/// At most [`EVIDENCE_TEXT_MAX`] bytes of `text`, cut at a character.
pub(crate) fn clip(text: &str) -> String {
    let mut end = text.len().min(EVIDENCE_TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
