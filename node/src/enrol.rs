//! Enrolment: a single-use token becomes an identity.
//!
//! The token pins the controller's CA and the image repository's first root by their SHA-256, so the first contact needs no other trust.
//! 1. A TLS handshake without a word of ours brings the server's chain; the CA in it must have the pinned hash.
//! 2. A second connection trusts that CA alone; over it the token is used.
//! 3. The answer's CA and root must have the pinned hashes too, and the root must keep the rules; only then is anything written.

use std::{path::PathBuf, sync::Arc, sync::Mutex, time::Duration};

use rcgen::PublicKeyData as _;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use wardround_proto::v1::{EnrolRequest, enrolment_service_client::EnrolmentServiceClient};
use wardround_rollout_plans::model::SiteId;
use wardround_signing::{
    Digest, PublicKey, SecretKey, Signer as _,
    tuf::{RoleName, Root, Rules, Signed, TufError, check_root},
};
use x509_parser::extensions::GeneralName;

use crate::{
    NodeError,
    identity::{self, NewIdentity},
};

/// How long one contact may take.
const CONTACT_TIMEOUT: Duration = Duration::from_secs(15);
/// What a node's certificate names it by, before the site.
const NODE_URI: &str = "wardround://node/";
/// Longest token accepted, bytes; real ones have about 200.
const TOKEN_BYTES_MAX: usize = 1_000;

/// What a site engineer gives.
#[derive(Debug, Clone)]
pub struct EnrolOptions {
    /// Where the node keeps everything.
    pub state_dir: PathBuf,
    /// "https://host:port".
    pub controller: String,
    /// As printed by `wardround site token`.
    pub token: String,
}

/// What came of it.
#[derive(Debug, Clone)]
pub struct Enrolled {
    /// The site that the token was made for.
    pub site: SiteId,
}

/// A token's parts.
struct Token {
    /// "id.secret": what the controller gets.
    ticket: String,
    ca: Digest,
    /// Of version 1 of the image repository's root.
    root: Digest,
}

impl Token {
    fn parse(text: &str) -> Result<Self, NodeError> {
        let text = text.trim();
        let parts: Vec<&str> = text.split('.').collect();
        let [id, secret, ca, root] = parts[..] else { return Err(NodeError::Token) };
        if id.is_empty() || secret.is_empty() || text.len() > TOKEN_BYTES_MAX {
            return Err(NodeError::Token);
        }
        let pin = |hex: &str| format!("sha256:{hex}").parse::<Digest>().map_err(|_| NodeError::Token);
        Ok(Self { ticket: format!("{id}.{secret}"), ca: pin(ca)?, root: pin(root)? })
    }
}

/// Enrols. Nothing is written unless everything fits.
///
/// # Errors
/// [`NodeError`] with a hint: a used token, a controller that is not the token's, a folder that is somebody already.
pub async fn enrol(options: EnrolOptions) -> Result<Enrolled, NodeError> {
    identity::require_vacant(&options.state_dir)?;
    let token = Token::parse(&options.token)?;
    let endpoint = options.controller.trim_end_matches('/').to_owned();
    let unreachable = |why: String| NodeError::Unreachable { endpoint: endpoint.clone(), why };

    // 1. The CA, by its hash.
    let chain = tokio::time::timeout(CONTACT_TIMEOUT, server_chain(&endpoint))
        .await
        .map_err(|_| unreachable(format!("no answer within {} s", CONTACT_TIMEOUT.as_secs())))??;
    let ca = chain
        .into_iter()
        .find(|der| Digest::of(der) == token.ca)
        .ok_or_else(|| NodeError::Pin("its certificate chain does not hold the CA that the token pins".into()))?;
    let ca_pem = pem(&ca);

    // 2. The token, over a connection that trusts that CA alone.
    let channel = Endpoint::from_shared(endpoint.clone())
        .and_then(|e| {
            e.connect_timeout(CONTACT_TIMEOUT)
                .timeout(CONTACT_TIMEOUT)
                .tls_config(ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&ca_pem)))
        })
        .map_err(|e| unreachable(causes(&e)))?;
    // The limit of the endpoint is that of the TCP connection; a handshake that never ends has none.
    let channel = tokio::time::timeout(CONTACT_TIMEOUT, channel.connect())
        .await
        .map_err(|_| unreachable(format!("no connection within {} s", CONTACT_TIMEOUT.as_secs())))?
        .map_err(|e| unreachable(causes(&e)))?;
    let crypto = |what| move |e: rcgen::Error| NodeError::Crypto { what, why: e.to_string() };
    let tls_key = rcgen::KeyPair::generate().map_err(crypto("making a TLS key"))?;
    let csr = rcgen::CertificateParams::default()
        .serialize_request(&tls_key)
        .map_err(crypto("making a certificate request"))?;
    let report_key =
        SecretKey::generate().map_err(|e| NodeError::Crypto { what: "making a report key", why: e.to_string() })?;
    // A token works once: it must not be used up for a folder that can't be filled.
    identity::require_writable(&options.state_dir)?;
    let mut client = EnrolmentServiceClient::new(channel);
    let call = client.enrol(EnrolRequest {
        token: token.ticket,
        csr_der: csr.der().to_vec(),
        report_public_key: report_key.public().to_bytes().to_vec(),
    });
    let answer = tokio::time::timeout(CONTACT_TIMEOUT, call)
        .await
        .map_err(|_| NodeError::Answer(format!("it was not whole within {} s", CONTACT_TIMEOUT.as_secs())))?
        .map_err(|status| NodeError::Refused { endpoint: endpoint.clone(), status: Box::new(status) })?
        .into_inner();

    // 3. The answer, against the pins.
    if der_of(&answer.ca_pem).map(|der| Digest::of(&der)) != Some(token.ca) {
        return Err(NodeError::Pin("it sent another CA than the token pins".into()));
    }
    if Digest::of(&answer.root_json) != token.root {
        return Err(NodeError::Pin("it sent other root metadata than the token pins".into()));
    }
    check_first_root(&answer.root_json).map_err(|why| NodeError::Answer(format!("the root metadata: {why}")))?;
    let log_key = PublicKey::from_bytes(&answer.log_public_key)
        .map_err(|e| NodeError::Answer(format!("the key of its log: {e}")))?;
    let site = SiteId::new(&answer.site).map_err(|e| NodeError::Answer(e.to_string()))?;
    check_certificate(&answer.certificate_pem, &ca, &tls_key, &site)
        .map_err(|why| NodeError::Answer(format!("the certificate {why}")))?;
    identity::create(
        &options.state_dir,
        &NewIdentity {
            site: site.clone(),
            controller: endpoint,
            log_key,
            root_json: &answer.root_json,
            report_key: &report_key,
            cert_pem: &answer.certificate_pem,
            key_pem: &tls_key.serialize_pem(),
            ca_pem: &answer.ca_pem,
        },
    )?;
    Ok(Enrolled { site })
}

/// A root that breaks the rules would be found out only at the first refresh.
fn check_first_root(root_json: &[u8]) -> Result<(), TufError> {
    let root = Signed::<Root>::parse(RoleName::Root, root_json)?;
    Ok(check_root(root.metadata(), Rules::Wardround)?)
}

/// A certificate that could not be used would be found out only when the node runs, and the token is gone by then: it must
/// be for our own key and this site, and count under the pinned CA now.
fn check_certificate(
    certificate_pem: &str,
    ca: &CertificateDer<'_>,
    key: &rcgen::KeyPair,
    site: &SiteId,
) -> Result<(), String> {
    let der = der_of(certificate_pem).ok_or("can't be read")?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|e| format!("can't be read: {e}"))?;
    if certificate.public_key().raw != key.subject_public_key_info() {
        return Err("is for another key than the one of this node".to_owned());
    }
    let uri = format!("{NODE_URI}{site}");
    let names = certificate.subject_alternative_name().ok().flatten().map(|names| &names.value.general_names);
    let ours = |name: &GeneralName<'_>| matches!(name, GeneralName::URI(found) if *found == uri);
    if !names.is_some_and(|names| names.iter().any(ours)) {
        return Err(format!("does not name this node ({uri})"));
    }
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone()).map_err(|e| format!("can't be checked, since its CA can't be used: {e}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| format!("can't be checked: {e}"))?;
    verifier
        .verify_client_cert(&CertificateDer::from(der.as_slice()), &[], UnixTime::now())
        .map(drop)
        .map_err(|e| format!("does not count under the pinned CA: {e}"))
}

/// The chain that a server shows. Nothing is sent to it and nothing is believed: the caller compares hashes.
async fn server_chain(endpoint: &str) -> Result<Vec<CertificateDer<'static>>, NodeError> {
    let unreachable = |why: String| NodeError::Unreachable { endpoint: endpoint.to_owned(), why };
    let uri: tonic::transport::Uri = endpoint.parse().map_err(|_| unreachable("it is not an address".into()))?;
    let (Some("https"), Some(host), Some(port)) = (uri.scheme_str(), uri.host(), uri.port_u16()) else {
        return Err(unreachable("an address looks like https://host:port".into()));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| unreachable(e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Recorder { seen: Arc::clone(&seen), provider }))
        .with_no_client_auth();
    let name = ServerName::try_from(host.clone()).map_err(|e| unreachable(e.to_string()))?;
    let stream = TcpStream::connect((host.as_str(), port)).await.map_err(|e| unreachable(e.to_string()))?;
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .map_err(|e| unreachable(e.to_string()))?;
    let mut chain = seen.lock().map_err(|_| unreachable("the handshake was cut off".into()))?;
    Ok(std::mem::take(&mut *chain))
}

/// Writes down the chain and accepts it: for [`server_chain`] alone, over which nothing is ever sent.
#[derive(Debug)]
struct Recorder {
    seen: Arc<Mutex<Vec<CertificateDer<'static>>>>,
    provider: Arc<rustls::crypto::CryptoProvider>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let chain = std::iter::once(end_entity).chain(intermediates).map(|c| c.clone().into_owned()).collect();
        *self.seen.lock().map_err(|_| rustls::Error::General("poisoned".into()))? = chain;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in STANDARD.encode(der).as_bytes().chunks(64) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text + "-----END CERTIFICATE-----\n"
}

fn der_of(pem: &str) -> Option<Vec<u8>> {
    x509_parser::pem::parse_x509_pem(pem.as_bytes()).ok().map(|(_, pem)| pem.contents)
}

/// An error with its causes: tonic's own text is "transport error" alone.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_four_parts() {
        let pin = "ab".repeat(32);
        let token = Token::parse(&format!(" id.secret.{pin}.{pin}\n")).unwrap();
        assert_eq!((token.ticket.as_str(), token.ca.hex(), token.root.hex()), ("id.secret", pin.clone(), pin.clone()));
        let (few, many) = (format!("id.secret.{pin}"), format!("id.secret.{pin}.{pin}.{pin}"));
        for bad in ["", "id.secret", &few, &many, &format!(".s.{pin}.{pin}"), &format!("i.s.{pin}.zz")] {
            assert!(matches!(Token::parse(bad), Err(NodeError::Token)), "{bad}");
        }
    }

    #[test]
    fn only_a_certificate_for_this_key_and_site_under_the_pinned_ca_is_taken() {
        use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType};
        let authority = || {
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            let key = KeyPair::generate().unwrap();
            let der = params.self_signed(&key).unwrap().der().clone();
            (der, Issuer::new(params, key))
        };
        let (ca, issuer) = authority();
        let (_, stranger) = authority();
        let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let issue = |site: &str, key: &KeyPair, by: &Issuer<'_, KeyPair>, to: i32| {
            let mut params = CertificateParams::default();
            let uri = format!("{NODE_URI}{site}").try_into().unwrap();
            params.subject_alt_names = vec![SanType::URI(uri)];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
            params.signed_by(key, by).unwrap().pem()
        };
        let site = SiteId::new("rx1").unwrap();
        let check = |pem: &str| check_certificate(pem, &ca, &own, &site);
        assert_eq!(check(&issue("rx1", &own, &issuer, 2100)), Ok(()));
        for (bad, why) in [
            ("rubbish".to_owned(), "can't be read"),
            (pem(b"rubbish"), "can't be read"),
            (issue("rx1", &other, &issuer, 2100), "another key"),
            (issue("rx2", &own, &issuer, 2100), "does not name this node"),
            (issue("rx1", &own, &stranger, 2100), "under the pinned CA"),
            (issue("rx1", &own, &issuer, 2001), "under the pinned CA"),
        ] {
            let found = check(&bad).unwrap_err();
            assert!(found.contains(why), "{why}: {found}");
        }
    }

    #[tokio::test]
    async fn an_address_that_is_none_says_so_and_nothing_is_written() {
        let state = tempfile::tempdir().unwrap();
        let pin = "ab".repeat(32);
        let options = EnrolOptions {
            state_dir: state.path().join("node"),
            controller: "localhost".into(),
            token: format!("i.s.{pin}.{pin}"),
        };
        let error = enrol(options).await.unwrap_err();
        assert!(error.to_string().contains("https://host:port"), "{error}");
        assert!(!state.path().join("node").exists());
    }
}
