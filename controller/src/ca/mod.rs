//! The built-in certificate authority: it issues the server's, nodes' and operators' TLS certificates.
//!
//! Certificates decide who may talk; they never stand in for a signature (DESIGN "Trust", 6).

mod doors;
mod identity;
mod role;
mod tls;

pub(crate) use doors::DoorLimits;
pub(crate) use identity::{Identity, IdentityError, Peer, day, valid_operator_name};
pub use role::{OperatorRole, OperatorRoles, UnknownRole};
pub(crate) use tls::{Acceptor, ServerCertificate, keep_fresh};

use identity::role_uri;

use std::{net::IpAddr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, CertificateSigningRequestDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use wardround_rollout_plans::model::{SiteId, Timestamp};
use wardround_signing::Digest;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Life of the CA itself: longer than the estate's oldest node will run without enrolling anew.
const CA_LIFE: Duration = DAY.saturating_mul(3652);
/// Life of the server's certificate; it is issued at each start and renewed while running.
const SERVER_LIFE: Duration = DAY.saturating_mul(30);
/// Life of a node's certificate: bounds how long a stolen one is of use.
const NODE_LIFE: Duration = DAY.saturating_mul(30);
/// Life of an operator's certificate.
const OPERATOR_LIFE: Duration = DAY.saturating_mul(365);
/// How far a certificate reaches back: clocks of small site machines are often wrong.
const SKEW: Duration = Duration::from_secs(60 * 60);
/// Largest certificate signing request, bytes. One for RSA 4096 with attributes stays below 2 KiB.
pub(crate) const CSR_BYTES_MAX: usize = 8 * 1024;

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaError {
    /// rcgen refused.
    #[error("the certificate can't be made: {0}")]
    Make(#[from] rcgen::Error),
    /// A stored file is damaged.
    #[error("{file} can't be read: {why}")]
    Read {
        /// File.
        file: &'static str,
        /// Why.
        why: String,
    },
    /// No randomness.
    #[error("no randomness from the operating system: {0}")]
    Randomness(String),
    /// A name that no certificate can carry.
    #[error("{0:?} can't stand in a certificate: expected a DNS name or an IP address")]
    Name(String),
}

/// A certificate with its key, PEM.
pub(crate) struct Issued {
    /// The certificate.
    pub(crate) certificate_pem: String,
    /// Its private key, PKCS#8.
    pub(crate) key_pem: String,
    /// The certificate, DER.
    pub(crate) certificate_der: CertificateDer<'static>,
    /// The private key, DER.
    pub(crate) key_der: PrivatePkcs8KeyDer<'static>,
}

/// The authority with its key.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    certificate_der: CertificateDer<'static>,
}

impl Authority {
    /// A new authority and the PEM of its key.
    pub(crate) fn create(now: Timestamp) -> Result<(Self, String), CaError> {
        let key = KeyPair::generate()?;
        let mut params = params(now, CA_LIFE, "wardround CA")?;
        // No path length beyond leaves: nothing that this CA issues may issue in turn.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok((Self::load(&certificate_pem, &key_pem)?, key_pem))
    }

    /// The authority of a data directory.
    pub(crate) fn load(certificate_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        let key = KeyPair::from_pem(key_pem).map_err(|e| CaError::Read { file: "ca.key", why: e.to_string() })?;
        let bad = |why: String| CaError::Read { file: "ca.pem", why };
        let certificate_der =
            CertificateDer::from_pem_slice(certificate_pem.as_bytes()).map_err(|e| bad(e.to_string()))?;
        let issuer = Issuer::from_ca_cert_der(&certificate_der, key).map_err(|e| bad(e.to_string()))?;
        Ok(Self { issuer, certificate_pem: certificate_pem.to_owned(), certificate_der })
    }

    /// The CA's certificate, PEM.
    pub(crate) fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's certificate, DER.
    pub(crate) fn certificate_der(&self) -> &CertificateDer<'static> {
        &self.certificate_der
    }

    /// SHA-256 of the CA's certificate: what an enrolment token pins.
    pub(crate) fn pin(&self) -> Digest {
        Digest::of(&self.certificate_der)
    }

    /// A server certificate for these DNS names and IP addresses.
    pub(crate) fn server(&self, names: &[String], now: Timestamp) -> Result<Issued, CaError> {
        let mut params = params(now, SERVER_LIFE, "wardround controller")?;
        for name in names {
            params.subject_alt_names.push(match name.parse::<IpAddr>() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(ia5(name)?),
            });
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params)
    }

    /// An operator's certificate.
    pub(crate) fn operator(&self, name: &str, roles: &OperatorRoles, now: Timestamp) -> Result<Issued, CaError> {
        let mut params = params(now, OPERATOR_LIFE, name)?;
        client(&mut params, &Identity::Operator(name.to_owned()))?;
        for role in roles {
            params.subject_alt_names.push(SanType::URI(ia5(&role_uri(*role))?));
        }
        self.issue(params)
    }

    /// A node's certificate for the key of its signing request; everything else in the request is ignored.
    /// Also the SHA-256 of the certified public key (SubjectPublicKeyInfo), by which the registry knows the node.
    pub(crate) fn node(&self, site: &SiteId, csr_der: &[u8], now: Timestamp) -> Result<(String, Digest), CaError> {
        let request = CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr_der))?;
        let mut params = params(now, NODE_LIFE, site.as_str())?;
        client(&mut params, &Identity::Node(site.clone()))?;
        let request = CertificateSigningRequestParams { params, public_key: request.public_key };
        let certificate = request.signed_by(&self.issuer)?;
        let peer = Peer::read(certificate.der(), now)
            .map_err(|e| CaError::Read { file: "the new certificate", why: e.to_string() })?;
        Ok((certificate.pem(), peer.tls_key))
    }

    fn issue(&self, params: CertificateParams) -> Result<Issued, CaError> {
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            certificate_der: certificate.der().clone(),
            key_der: PrivatePkcs8KeyDer::from(key.serialize_der()),
        })
    }
}

fn client(params: &mut CertificateParams, identity: &Identity) -> Result<(), CaError> {
    params.subject_alt_names = vec![SanType::URI(ia5(&identity.uri())?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    Ok(())
}

fn ia5(text: &str) -> Result<Ia5String, CaError> {
    let plain = !text.is_empty() && text.len() <= 253 && text.chars().all(|c| c.is_ascii_graphic());
    let made = plain.then(|| Ia5String::try_from(text).ok()).flatten();
    made.ok_or_else(|| CaError::Name(text.to_owned()))
}

fn params(now: Timestamp, life: Duration, common_name: &str) -> Result<CertificateParams, CaError> {
    let mut serial = [0_u8; 16];
    getrandom::fill(&mut serial).map_err(|e| CaError::Randomness(e.to_string()))?;
    // RFC 5280, section 4.1.2.2: a positive number.
    serial[0] &= 0x7f;
    let now = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_millis(u64::try_from(now.0).unwrap_or(0));
    let mut params = CertificateParams::default();
    params.not_before = now - SKEW;
    params.not_after = now + life;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    #[test]
    fn a_node_certificate_says_who_the_node_is_whatever_the_request_claims() {
        let (ca, key) = Authority::create(clock::now()).unwrap();
        let again = Authority::load(ca.certificate_pem(), &key).unwrap();
        assert_eq!(again.pin(), ca.pin());
        let node_key = KeyPair::generate().unwrap();
        let mut wish = CertificateParams::new(vec!["evil.example".to_owned()]).unwrap();
        wish.distinguished_name.push(DnType::CommonName, "operator root");
        let csr = wish.serialize_request(&node_key).unwrap();
        let site = SiteId::new("rx1").unwrap();
        let (pem, tls_key) = again.node(&site, csr.der(), clock::now()).unwrap();
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let peer = Peer::read(&der, clock::now()).unwrap();
        assert_eq!(peer.identity, Identity::Node(site));
        assert_eq!(peer.tls_key, tls_key);
        let text = String::from_utf8_lossy(&der).into_owned();
        assert!(!text.contains("evil.example") && !text.contains("operator root"));
    }

    #[test]
    fn a_request_with_a_changed_byte_is_refused() {
        let (ca, _) = Authority::create(clock::now()).unwrap();
        let csr = CertificateParams::default().serialize_request(&KeyPair::generate().unwrap()).unwrap();
        let mut der = csr.der().to_vec();
        let last = der.len() - 1;
        der[last] ^= 1;
        assert!(ca.node(&SiteId::new("rx1").unwrap(), &der, clock::now()).is_err());
    }

    #[test]
    fn an_expired_certificate_is_refused_with_its_date() {
        let (ca, _) = Authority::create(clock::now()).unwrap();
        let now = clock::now();
        let issued = ca.operator("ann", &OperatorRoles::new(), now).unwrap();
        let later = Timestamp(now.0 + i64::try_from(OPERATOR_LIFE.as_millis()).unwrap() + 1000);
        let error = Peer::read(&issued.certificate_der, later).unwrap_err().to_string();
        assert!(error.contains("expired on 20"), "{error}");
    }
}
