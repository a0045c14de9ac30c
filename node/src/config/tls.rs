//! How a probe speaks TLS, and the rules for what the site file says of it.

use std::path::PathBuf;

use rustls_pki_types::ServerName;
use serde_saphyr::Spanned;

use super::{
    raw::{RawTls, Text},
    validate::{Checked, Validator},
};

/// Whom to trust and who to be in a TLS connection of a probe. Files are read for each probe: a renewed one counts at once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// PEM file of the authorities that may vouch for the server, or of its very certificate; the system's authorities
    /// when absent.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must bear, where it is not the host.
    pub server_name: Option<String>,
    /// PEM files of the node's own certificate chain and key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl Validator<'_> {
    pub(super) fn tls(&self, raw: Option<&Spanned<RawTls>>, field: &str) -> Checked<Option<TlsSettings>> {
        let Some(whole) = raw else { return Ok(None) };
        let field = format!("{field}.tls");
        let tls = &whole.value;
        let identity = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => Some((self.path(&cert.value), self.path(&key.value))),
            (None, None) => None,
            (Some(one), None) | (None, Some(one)) => {
                return self.fail(one, &field, "a client certificate needs cert and key", "name both files, or none");
            }
        };
        let server_name = match &tls.server_name {
            None => None,
            Some(text) => Some(self.server_name(text, &format!("{field}.server_name"))?),
        };
        Ok(Some(TlsSettings { ca: tls.ca.as_ref().map(|path| self.path(&path.value)), server_name, identity }))
    }

    /// A name that a certificate can bear: a host name or an IP address.
    pub(super) fn server_name(&self, text: &Text, field: &str) -> Checked<String> {
        match ServerName::try_from(text.value.as_str()) {
            Ok(_) => Ok(text.value.clone()),
            Err(_) => {
                let message = format!("{:?} is no host name or address", text.value);
                self.fail(text, field, message, "write the name as the server's certificate has it")
            }
        }
    }
}
