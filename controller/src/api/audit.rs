//! `AuditService`: who decided what.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use wardround_proto::v1::{
    AuditRecord, GetCheckpointRequest, GetCheckpointResponse, GetConsistencyProofRequest, GetConsistencyProofResponse,
    GetTileRequest, GetTileResponse, ListCosignaturesRequest, ListCosignaturesResponse, ListRecordsRequest,
    ListRecordsResponse, SiteCosignature, audit_service_server::AuditService,
};
use wardround_rollout_plans::model::{AuditEntry, SiteId};
use wardround_signing::log::TilePath;

use super::{Service, blocking, convert, id, page, status};
use crate::core::{Facts, read_audit};

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
        let fits = |leaf: &AuditEntry| {
            bytes += leaf.text.len() + leaf.envelope.as_ref().map_or(0, |e| e.payload.len() + 1_000);
            leaf.index < end && (bytes < PAGE_BYTES_MAX || leaf.index == asked.from_index)
        };
        let records: Vec<AuditRecord> = leaves.into_iter().take_while(fits).map(record).collect();
        let next_index = asked.from_index.saturating_add(records.len() as u64);
        Ok(Response::new(ListRecordsResponse { records, next_index }))
    }

    async fn get_checkpoint(
        &self,
        _: Request<GetCheckpointRequest>,
    ) -> Result<Response<GetCheckpointResponse>, Status> {
        let (log, newest) = (&self.0.log, self.0.log.newest());
        Ok(Response::new(GetCheckpointResponse {
            checkpoint: newest.note().to_owned(),
            witnesses: log.witnesses.at(newest.size()),
            nodes: self.0.core.read(|facts| facts.registry.nodes().count() as u64),
            damage: log.damage().unwrap_or_default().to_owned(),
        }))
    }

    async fn get_tile(&self, request: Request<GetTileRequest>) -> Result<Response<GetTileResponse>, Status> {
        let text = request.into_inner().path;
        let path: TilePath = id("path", &text)?;
        let log = Arc::clone(&self.0.log);
        let data = blocking(move || log.piece(path)).await?.map_err(Status::data_loss)?;
        let data = data.ok_or_else(|| status::not_found("tile", &text, "ask for the newest checkpoint first"))?;
        Ok(Response::new(GetTileResponse { data }))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<GetConsistencyProofRequest>,
    ) -> Result<Response<GetConsistencyProofResponse>, Status> {
        let GetConsistencyProofRequest { old_size, new_size } = request.into_inner();
        let log = Arc::clone(&self.0.log);
        let new_size = if new_size == 0 { log.newest().size() } else { new_size };
        if old_size > new_size {
            return Err(status::invalid("old_size", format!("{old_size} is more than {new_size}")));
        }
        let proof = blocking(move || log.consistency(old_size, new_size)).await?.map_err(Status::data_loss)?;
        let beyond = || status::not_found("log of size", &new_size.to_string(), "ask for the newest checkpoint first");
        let hashes = proof.ok_or_else(beyond)?.hashes.iter().map(|hash| hash.as_bytes().to_vec()).collect();
        Ok(Response::new(GetConsistencyProofResponse { new_size, hashes }))
    }

    async fn list_cosignatures(
        &self,
        request: Request<ListCosignaturesRequest>,
    ) -> Result<Response<ListCosignaturesResponse>, Status> {
        let asked = request.into_inner();
        let size = page::size(asked.page_size, 100, 1000);
        let after: Option<SiteId> = match asked.page_token.as_str() {
            "" => None,
            token => Some(id("page_token", token)?),
        };
        let found = self.0.log.witnesses.after(after.as_ref(), size);
        let full = found.len() == size;
        let next_page_token = found.last().filter(|_| full).map(|(site, _)| site.to_string()).unwrap_or_default();
        let shown = |(site, cosignature): (SiteId, wardround_signing::log::Cosignature)| SiteCosignature {
            site: site.to_string(),
            size: cosignature.checkpoint().size,
            at_s: cosignature.at_s(),
            note: cosignature.note().to_owned(),
        };
        Ok(Response::new(ListCosignaturesResponse {
            cosignatures: found.into_iter().map(shown).collect(),
            next_page_token,
        }))
    }
}

fn record(leaf: AuditEntry) -> AuditRecord {
    AuditRecord {
        index: leaf.index,
        at_ms: leaf.at.0,
        kind: leaf.kind,
        text: leaf.text,
        rollout: leaf.rollout.map(|r| r.to_string()).unwrap_or_default(),
        envelope: leaf.envelope.as_ref().map(convert::envelope),
    }
}
