//! `AuditService`: who decided what.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use wardround_proto::v1::{AuditRecord, ListRecordsRequest, ListRecordsResponse, audit_service_server::AuditService};

use super::{Service, blocking, convert, page};
use crate::core::{AuditLeaf, Facts, read_audit};

/// Most bytes of a page; clients that set no limit accept 4 MiB.
const PAGE_BYTES_MAX: usize = 3 * 1024 * 1024;

#[tonic::async_trait]
impl AuditService for Service {
    async fn list_records(
        &self,
        request: Request<ListRecordsRequest>,
    ) -> Result<Response<ListRecordsResponse>, Status> {
        let asked = request.into_inner();
        let size = page::size(asked.page_size, 100, 1000);
        // What is derived but not yet counted stays unseen.
        let end = self.0.core.read(Facts::audit_len);
        let journal = Arc::clone(self.0.core.journal());
        let leaves =
            blocking(move || read_audit(&journal, asked.from_index, size)).await?.map_err(Status::data_loss)?;
        let mut bytes = 0;
        let fits = |leaf: &AuditLeaf| {
            bytes += leaf.text.len() + leaf.envelope.as_ref().map_or(0, |e| e.payload.len() + 1_000);
            leaf.index < end && (bytes < PAGE_BYTES_MAX || leaf.index == asked.from_index)
        };
        let records: Vec<AuditRecord> = leaves.into_iter().take_while(fits).map(record).collect();
        let next_index = asked.from_index.saturating_add(records.len() as u64);
        Ok(Response::new(ListRecordsResponse { records, next_index }))
    }
}

fn record(leaf: AuditLeaf) -> AuditRecord {
    AuditRecord {
        index: leaf.index,
        at_ms: leaf.at.0,
        kind: leaf.kind,
        text: leaf.text,
        rollout: leaf.rollout.map(|r| r.to_string()).unwrap_or_default(),
        envelope: leaf.envelope.as_ref().map(convert::envelope),
    }
}
