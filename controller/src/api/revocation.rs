//! `AccessService`: nodes and operators who may no longer talk.

use tonic::{Request, Response, Status};
use wardround_proto::v1::{self, access_service_server::AccessService};
use wardround_rollout_plans::{
    engine::Event,
    model::{REASON_BYTES_MAX, SiteId},
};

use super::{Service, blocking, id, operator, status};
use crate::{
    ca::{Identity, Peer, valid_operator_name},
    core::{Change, Facts},
    operators,
    registry::{RegistryEvent, Revocation},
};

/// Longest serial number (RFC 5280, section 4.1.2.2: 20 octets), hex digits.
const SERIAL_MAX: usize = 40;

#[tonic::async_trait]
impl AccessService for Service {
    async fn revoke_node(
        &self,
        request: Request<v1::RevokeNodeRequest>,
    ) -> Result<Response<v1::RevokeNodeResponse>, Status> {
        let by = operator(&request)?;
        let asked = request.into_inner();
        let site: SiteId = id("site", &asked.site)?;
        let reason = reason(asked.reason)?;
        let core = &self.0.core;
        let node = core.read(|facts| facts.registry.node(&site).cloned());
        let node = node.ok_or_else(|| status::not_found("node of site", site.as_str(), "see `wardround site show`"))?;
        let text = format!("{by}: {reason}");
        let node_key = node.report_key.id();
        let event = RegistryEvent::NodeRevoked { site: site.clone(), tls_key: node.tls_key, text: text.clone() };
        let change = Change::from(event).and(Event::NodeRevoked { site: site.clone(), node_key, text });
        core.submit(change).await.map_err(|e| status::core(&e))?;
        tracing::warn!(%site, by, reason, "a node was revoked");
        Ok(Response::new(v1::RevokeNodeResponse {}))
    }

    async fn revoke_operator(
        &self,
        request: Request<v1::RevokeOperatorRequest>,
    ) -> Result<Response<v1::RevokeOperatorResponse>, Status> {
        let by = operator(&request)?;
        let asked = request.into_inner();
        let what = revocation(asked.name, asked.serial)?;
        let reason = reason(asked.reason)?;
        let issued = self.issued().await?;
        let concerned: Vec<&Peer> = issued
            .iter()
            .filter(|issued| match (&what, &issued.identity) {
                (Revocation::Name(name), Identity::Operator(other)) => name == other,
                (Revocation::Serial(serial), _) => *serial == issued.serial,
                (Revocation::Name(_), Identity::Node(_)) => false,
            })
            .collect();
        if concerned.is_empty() && !asked.even_if_unknown {
            let hint = "see `wardround operator list`; --even-if-unknown revokes what this controller has no record of";
            let id = match &what {
                Revocation::Name(id) | Revocation::Serial(id) => id,
            };
            return Err(status::not_found("operator's certificate", id, hint));
        }
        let event = RegistryEvent::OperatorRevoked { what: what.clone(), text: format!("{by}: {reason}") };
        self.0.core.submit(event).await.map_err(|e| status::core(&e))?;
        tracing::warn!(%what, by, reason, "an operator was revoked");
        let certificates = self.0.core.read(|facts| concerned.into_iter().map(|i| shown(facts, i)).collect());
        Ok(Response::new(v1::RevokeOperatorResponse { certificates }))
    }

    async fn list_operators(
        &self,
        _request: Request<v1::ListOperatorsRequest>,
    ) -> Result<Response<v1::ListOperatorsResponse>, Status> {
        let issued = self.issued().await?;
        let certificates = self.0.core.read(|facts| issued.iter().map(|i| shown(facts, i)).collect());
        Ok(Response::new(v1::ListOperatorsResponse { certificates }))
    }
}

impl Service {
    async fn issued(&self) -> Result<Vec<Peer>, Status> {
        let folder = self.0.operators.clone();
        let read = blocking(move || operators::issued(&folder)).await?;
        read.map_err(|error| {
            tracing::error!(%error, "the issued certificates can't be read");
            Status::unavailable(format!("the issued certificates can't be read: {error}"))
        })
    }
}

fn shown(facts: &Facts, issued: &Peer) -> v1::OperatorCertificate {
    let name = match &issued.identity {
        Identity::Operator(name) => name.clone(),
        Identity::Node(site) => site.to_string(),
    };
    let revoked = facts.registry.revoked(issued);
    v1::OperatorCertificate {
        serial: issued.serial.clone(),
        roles: issued.roles.iter().map(ToString::to_string).collect(),
        issued_at_ms: issued.issued_at.0,
        expires_at_ms: issued.not_after.0,
        revoked_at_ms: revoked.map_or(0, |r| r.at.0),
        revoked_why: revoked.map(|r| r.text.clone()).unwrap_or_default(),
        name,
    }
}

fn revocation(name: String, serial: String) -> Result<Revocation, Status> {
    match (name.is_empty(), serial.is_empty()) {
        (false, true) if valid_operator_name(&name) => Ok(Revocation::Name(name)),
        (false, true) => Err(status::invalid("name", "it is no operator's name")),
        (true, false) => {
            let serial = serial.to_ascii_lowercase();
            let hex = serial.len() <= SERIAL_MAX && serial.chars().all(|c| c.is_ascii_hexdigit());
            if hex { Ok(Revocation::Serial(serial)) } else { Err(status::invalid("serial", "expected hex digits")) }
        }
        _ => Err(status::invalid("name", "give either a name or a serial number")),
    }
}

fn reason(text: String) -> Result<String, Status> {
    match text.trim() {
        "" => Err(status::invalid("reason", "say why: it goes into the audit record")),
        text if text.len() > REASON_BYTES_MAX => {
            Err(status::invalid("reason", format!("it is over {REASON_BYTES_MAX} bytes")))
        }
        text => Ok(text.to_owned()),
    }
}
