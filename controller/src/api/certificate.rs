//! `CertificateService`: a node's certificate stays fresh without a new token.

use tonic::{Code, Request, Response, Status};
use wardround_proto::v1::{
    RenewCertificateRequest, RenewCertificateResponse, certificate_service_server::CertificateService,
};

use super::{Service, node, status};
use crate::{ca::CSR_BYTES_MAX, clock};

#[tonic::async_trait]
impl CertificateService for Service {
    async fn renew_certificate(
        &self,
        request: Request<RenewCertificateRequest>,
    ) -> Result<Response<RenewCertificateResponse>, Status> {
        let site = node(&request)?;
        let csr_der = request.into_inner().csr_der;
        if csr_der.is_empty() || csr_der.len() > CSR_BYTES_MAX {
            return Err(status::invalid(
                "csr_der",
                format!("expected a PKCS#10 request of 1 to {CSR_BYTES_MAX} bytes"),
            ));
        }
        let api = &self.0;
        let (certificate_pem, tls_key) =
            api.ca.node(&site, &csr_der, clock::now()).map_err(|e| status::invalid("csr_der", e))?;
        // The guard has matched the caller's certificate with the registered key; the new one must be for the same.
        if api.core.read(|facts| facts.registry.node(&site).map(|node| node.tls_key)) != Some(tls_key) {
            return Err(status::make(
                Code::PermissionDenied,
                "ANOTHER_KEY",
                "a certificate is renewed only for the TLS key that the node enrolled with",
                "enrol the node anew to change its key",
            ));
        }
        tracing::info!(%site, "a node's certificate was renewed");
        Ok(Response::new(RenewCertificateResponse { certificate_pem }))
    }
}
