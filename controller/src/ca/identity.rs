//! Who a client certificate says the caller is.

use std::fmt;

use rustls_pki_types::CertificateDer;
use wardround_rollout_plans::model::{SiteId, Timestamp};
use wardround_signing::Digest;
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use super::{OperatorRole, OperatorRoles, SKEW};

/// Scheme and authority of the URI (RFC 3986) in the subject alternative name.
const NODE_URI: &str = "wardround://node/";
const OPERATOR_URI: &str = "wardround://operator/";
/// One more URI for each role of an operator.
const ROLE_URI: &str = "wardround://role/";
/// Longest operator name, bytes: it must fit a certificate's common name (RFC 5280, ub-common-name).
pub(crate) const OPERATOR_NAME_MAX: usize = 64;

/// A caller.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    /// A site's node.
    Node(SiteId),
    /// A person (or a program that acts for one).
    Operator(String),
}

impl Identity {
    /// As the certificate carries it.
    pub(crate) fn uri(&self) -> String {
        match self {
            Self::Node(site) => format!("{NODE_URI}{site}"),
            Self::Operator(name) => format!("{OPERATOR_URI}{name}"),
        }
    }

    fn from_uri(uri: &str) -> Option<Self> {
        if let Some(site) = uri.strip_prefix(NODE_URI) {
            return SiteId::new(site).ok().map(Self::Node);
        }
        uri.strip_prefix(OPERATOR_URI).filter(|name| valid_operator_name(name)).map(|n| Self::Operator(n.to_owned()))
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(site) => write!(f, "the node of site {site}"),
            Self::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

/// As an operator's certificate carries a role.
pub(super) fn role_uri(role: OperatorRole) -> String {
    format!("{ROLE_URI}{role}")
}

/// Whom the subject alternative names are of: a node by one URI, an operator by one and one more for each role. A role that this
/// program does not know gives no right; anything else makes the certificate nobody's.
fn named(names: &[GeneralName<'_>]) -> Option<(Identity, OperatorRoles)> {
    let uris: Vec<&str> = names
        .iter()
        .map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let (first, rest) = uris.split_first()?;
    let identity = Identity::from_uri(first)?;
    if matches!(identity, Identity::Node(_)) && !rest.is_empty() {
        return None;
    }
    let words: Vec<&str> = rest.iter().map(|uri| uri.strip_prefix(ROLE_URI)).collect::<Option<_>>()?;
    Some((identity, words.into_iter().filter_map(|word| word.parse().ok()).collect()))
}

/// True for names that may stand in a certificate's URI.
pub(crate) fn valid_operator_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= OPERATOR_NAME_MAX
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@'))
}

/// A caller as its certificate shows it.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Who.
    pub(crate) identity: Identity,
    /// Of an operator.
    pub(crate) roles: OperatorRoles,
    /// The certificate's serial number, lower-case hex.
    pub(crate) serial: String,
    /// When it was issued: its life begins [`SKEW`] earlier.
    pub(crate) issued_at: Timestamp,
    /// End of the certificate's life; a stream must not outlive it.
    pub(crate) not_after: Timestamp,
    /// SHA-256 of the SubjectPublicKeyInfo: tells a site's present node from one that was replaced.
    pub(crate) tls_key: Digest,
}

/// Why a certificate names nobody.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentityError {
    /// Not a certificate.
    #[error("the client certificate can't be read")]
    Form,
    /// No URI of ours.
    #[error("the client certificate names neither a node nor an operator of this controller")]
    Nobody,
    /// Over.
    #[error("the client certificate of {who} expired on {when}")]
    Expired {
        /// Who it names.
        who: String,
        /// When.
        when: String,
    },
    /// Not yet valid.
    #[error("the client certificate of {who} is valid only from {when}")]
    NotYet {
        /// Who it names.
        who: String,
        /// When.
        when: String,
    },
}

impl Peer {
    /// Reads a certificate that the TLS layer has already chained to our CA. Its dates are checked again at each call,
    /// since a connection may outlive the certificate with which it was made.
    pub(crate) fn read(certificate: &CertificateDer<'_>, now: Timestamp) -> Result<Self, IdentityError> {
        let peer = Self::issued(certificate)?;
        let not_before = Timestamp(peer.issued_at.0.saturating_sub(skew_ms()));
        if now > peer.not_after {
            return Err(IdentityError::Expired { who: peer.identity.to_string(), when: day(peer.not_after) });
        }
        if now < not_before {
            return Err(IdentityError::NotYet { who: peer.identity.to_string(), when: day(not_before) });
        }
        Ok(peer)
    }

    /// Reads a certificate of ours whatever its dates.
    pub(crate) fn issued(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, parsed) =
            x509_parser::certificate::X509Certificate::from_der(certificate).map_err(|_| IdentityError::Form)?;
        let names = parsed.subject_alternative_name().map_err(|_| IdentityError::Form)?.ok_or(IdentityError::Nobody)?;
        let (identity, roles) = named(&names.value.general_names).ok_or(IdentityError::Nobody)?;
        let at = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
        Ok(Self {
            identity,
            roles,
            serial: hex::encode(parsed.raw_serial()),
            issued_at: Timestamp(at(parsed.validity().not_before.timestamp()).0.saturating_add(skew_ms())),
            not_after: at(parsed.validity().not_after.timestamp()),
            tls_key: Digest::of(parsed.public_key().raw),
        })
    }
}

fn skew_ms() -> i64 {
    i64::try_from(SKEW.as_millis()).unwrap_or(i64::MAX)
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo.
pub(super) fn tls_key(certificate: &CertificateDer<'_>) -> Option<Digest> {
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(certificate).ok()?;
    Some(Digest::of(parsed.public_key().raw))
}

/// RFC 3339, for messages.
pub(crate) fn day(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| format!("{} ms", at.0), |t| t.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_go_round_and_strangers_are_nobody() {
        for identity in [Identity::Node(SiteId::new("rx1").unwrap()), Identity::Operator("ann@trust".to_owned())] {
            assert_eq!(Identity::from_uri(&identity.uri()), Some(identity));
        }
        for bad in ["", "https://node/rx1", "wardround://node/", "wardround://node/RX 1", "wardround://operator/a/b"] {
            assert_eq!(Identity::from_uri(bad), None, "{bad}");
        }
    }

    #[test]
    fn roles_stand_beside_an_operators_name_only_and_an_unknown_one_gives_no_right() {
        let read = |uris: &[&str]| {
            let names: Vec<GeneralName<'_>> = uris.iter().map(|uri| GeneralName::URI(uri)).collect();
            named(&names).map(|(_, roles)| OperatorRole::list(&roles))
        };
        let ann = "wardround://operator/ann";
        assert_eq!(read(&[ann]).as_deref(), Some("none"));
        let both = [ann, "wardround://role/auditor", "wardround://role/release", "wardround://role/king"];
        assert_eq!(read(&both).as_deref(), Some("release, auditor"));
        for bad in [
            vec!["wardround://role/release"],
            vec!["wardround://node/rx1", "wardround://role/release"],
            vec![ann, "wardround://operator/ben"],
            vec!["wardround://role/release", ann],
            vec![],
        ] {
            assert_eq!(read(&bad), None, "{bad:?}");
        }
    }
}
