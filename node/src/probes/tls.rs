//! TLS: the handshake of probes, and how long a server's certificate is good for.
//!
//! The chain must lead to the authorities that the site names (else to the system's) and bear the server's name. A certificate
//! that stands in the site's own file is trusted as it is, so that a self-signed one can be pinned; its dates and its name
//! count all the same. TLS 1.2 and 1.3 only: older versions protect nothing.

use std::{io, sync::Arc, time::Duration};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio_rustls::client::TlsStream;
use wardround_rollout_plans::model::DurationMs;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{
    Finding,
    wire::{Metered, Trace, Wire},
};
use crate::config::{Endpoint, TlsSettings};

/// Most bytes of a PEM file. The authorities of a whole system have a quarter of that.
const PEM_BYTES_MAX: u64 = 1024 * 1024;

/// Connects, and reads the end of the server's certificate.
pub(super) async fn probe(server: &Endpoint, at_least: DurationMs, now_ms: i64, trace: &Trace) -> Finding {
    let wire = Wire::connect(server, 0, trace).await?;
    let der = wire.certificate().ok_or("the server showed no certificate")?;
    let (_, certificate) =
        X509Certificate::from_der(&der).map_err(|error| format!("the certificate can't be read: {error}"))?;
    let end_ms = certificate.validity().not_after.timestamp().saturating_mul(1_000);
    judge(end_ms, at_least, now_ms, &certificate.issuer().to_string())
}

fn judge(end_ms: i64, at_least: DurationMs, now_ms: i64, issuer: &str) -> Finding {
    let left = DurationMs(u64::try_from(end_ms.saturating_sub(now_ms)).unwrap_or(0));
    let end = jiff::Timestamp::from_millisecond(end_ms)
        .map_or_else(|_| "a time that is no date".to_owned(), |at| at.to_string());
    let text =
        format!("the certificate is good until {end}, for {} more days; issued by {issuer}", left.0 / 86_400_000);
    if left >= at_least { Ok(text) } else { Err(format!("less than {at_least} left: {text}")) }
}

/// The handshake as a client, with a verified server.
pub(super) async fn handshake(server: &Endpoint, stream: Metered) -> Result<TlsStream<Metered>, String> {
    let settings = server.tls.clone().unwrap_or_default();
    let config = tokio::task::spawn_blocking(move || client_config(&settings))
        .await
        .map_err(|error| format!("the TLS settings could not be read: {error}"))??;
    let name = ServerName::try_from(server.server_name().to_owned()).map_err(|error| error.to_string())?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| {
        match words(&error) {
            Some(words) => words,
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                "the connection was closed during the TLS handshake".to_owned()
            }
            None => format!("the connection broke during the TLS handshake: {error}"),
        }
    })
}

fn client_config(settings: &TlsSettings) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pinned = match &settings.ca {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    let mut roots = RootCertStore::empty();
    if settings.ca.is_some() {
        for certificate in &pinned {
            roots.add(certificate.clone()).map_err(|error| format!("a certificate of ca can't be used: {error}"))?;
        }
    } else {
        // Single files of a system's store may be damaged; whoever vouches for the server counts.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err("no authority is known that could vouch for the server: name one under tls: ca".to_owned());
    }
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| format!("the authorities can't be used: {error}"))?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { pinned, chains, provider }));
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let read = read_pem(key)?;
            let key =
                PrivateKeyDer::from_pem_slice(&read).map_err(|_| format!("{} holds no private key", key.display()))?;
            builder
                .with_client_auth_cert(certificates(cert)?, key)
                .map_err(|error| format!("the client certificate can't be used: {error}"))?
        }
    };
    // Each probe is a connection of its own, and shall see the certificate that the server has now.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

fn certificates(path: &std::path::Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = read_pem(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(format!("{} holds no certificate", path.display())),
        Err(error) => Err(format!("{} holds a damaged certificate: {error}", path.display())),
    }
}

/// A PEM file; it may hold a key, so it leaves memory afterwards.
fn read_pem(path: &std::path::Path) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
    crate::files::read(path, PEM_BYTES_MAX).map(zeroize::Zeroizing::new).map_err(|error| {
        let why = std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        format!("{error}{why}")
    })
}

/// Trusts chains to the authorities, and the very certificates of the site's own file.
#[derive(Debug)]
struct Verifier {
    pinned: Vec<CertificateDer<'static>>,
    chains: Arc<WebPkiServerVerifier>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn verify_pinned(
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let (_, parsed) = X509Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding)?;
        let second = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        let unix = |second: i64| UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(second).unwrap_or(0)));
        if second < from {
            return Err(CertificateError::NotValidYetContext { time: now, not_before: unix(from) }.into());
        }
        if second > until {
            return Err(CertificateError::ExpiredContext { time: now, not_after: unix(until) }.into());
        }
        let has_names = parsed.subject_alternative_name().map_err(|_| CertificateError::BadEncoding)?.is_some();
        if has_names {
            return rustls::client::verify_server_name(&ParsedCertificate::try_from(certificate)?, name);
        }
        // Old devices name themselves in the subject alone (RFC 2818 section 3.1); good enough where the bytes are pinned.
        let is_named = parsed.subject().iter_common_name().filter_map(|cn| cn.as_str().ok());
        if is_named.into_iter().any(|cn| cn.eq_ignore_ascii_case(&name.to_str())) {
            return Ok(());
        }
        let presented = vec![parsed.subject().to_string()];
        Err(CertificateError::NotValidForNameContext { expected: name.to_owned(), presented }.into())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            return Self::verify_pinned(end_entity, server_name, now).map(|()| ServerCertVerified::assertion());
        }
        self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
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

/// What a failure of TLS means, in words; `None` when it is none.
pub(super) fn words(error: &io::Error) -> Option<String> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(match tls {
        rustls::Error::InvalidCertificate(why) => certificate_words(why),
        rustls::Error::InvalidMessage(why) => format!("the answer is not TLS: {why:?}"),
        rustls::Error::AlertReceived(alert) => format!("the server refused the TLS connection: {alert:?}"),
        rustls::Error::PeerIncompatible(why) => {
            format!("the server speaks neither TLS 1.2 nor 1.3 as they are spoken today: {why:?}")
        }
        other => format!("the TLS connection failed: {other}"),
    })
}

fn date(at: UnixTime) -> String {
    let second = i64::try_from(at.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(second).map_or_else(|_| "a time that is no date".to_owned(), |at| at.to_string())
}

fn certificate_words(why: &CertificateError) -> String {
    match why {
        CertificateError::Expired => "the server's certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the server's certificate has expired: it was good until {}", date(*not_after))
        }
        CertificateError::NotValidYet => "the server's certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the server's certificate is not valid yet: it is good from {}", date(*not_before))
        }
        CertificateError::UnknownIssuer => "nobody trusted vouches for the server's certificate".to_owned(),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the server's certificate bears another name: {why}")
        }
        // The verifier's own error is another crate's; its name is all that is needed of it.
        CertificateError::Other(why) if format!("{why:?}").contains("CaUsedAsEndEntity") => {
            "the server's certificate is an authority's own: pin it as tls: ca".to_owned()
        }
        other => format!("the server's certificate can't be trusted: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_certificate_is_judged() {
        let day = 86_400_000;
        let fortnight = DurationMs::from_secs(14 * 86_400);
        let good = judge(1_800_000_000_000 + 14 * day, fortnight, 1_800_000_000_000, "CN=ca").unwrap();
        assert_eq!(good, "the certificate is good until 2027-01-29T08:00:00Z, for 14 more days; issued by CN=ca");
        let short = judge(1_800_000_000_000 + 14 * day - 1, fortnight, 1_800_000_000_000, "CN=ca").unwrap_err();
        assert!(short.starts_with("less than 14d left") && short.contains("for 13 more days"), "{short}");
        assert!(judge(0, fortnight, 1_800_000_000_000, "x").unwrap_err().contains("for 0 more days"));
        assert!(judge(i64::MAX, fortnight, i64::MIN, "x").unwrap().contains("no date"));
    }
}
