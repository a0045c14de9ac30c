//! Certificates that were issued on this machine, which no call tells of: `wardround operator issue` works beside a controller
//! that runs, and without one. Each stands in the folder `operators` before anybody holds its key, and from there it comes
//! into the record.

use std::{fs, io, path::Path, path::PathBuf, time::Duration};

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio_util::sync::CancellationToken;

use crate::{
    ca::{Identity, OperatorRole, Peer},
    core::Core,
    registry::RegistryEvent,
};

/// Most certificates that are looked at.
const LISTED_MAX: usize = 10_000;
/// Largest file in the folder of issued certificates, bytes.
const FILE_BYTES_MAX: u64 = 16 * 1024;
/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What stands in the folder of issued certificates, by name and date.
pub(crate) fn issued(folder: &Path) -> io::Result<Vec<Peer>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // A data directory of before there was such a folder.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries.take(LISTED_MAX) {
        let entry = entry?;
        if entry.metadata()?.len() > FILE_BYTES_MAX {
            continue;
        }
        let bytes = fs::read(entry.path())?;
        match CertificateDer::from_pem_slice(&bytes).ok().and_then(|der| Peer::issued(&der).ok()) {
            Some(issued) => found.push(issued),
            None => tracing::warn!(file = %entry.path().display(), "this is no operator's certificate"),
        }
    }
    found.sort_by(|a, b| {
        let key = |i: &Peer| (i.identity.to_string(), i.issued_at, i.serial.clone());
        key(a).cmp(&key(b))
    });
    Ok(found)
}

/// Brings certificates that are not in the record yet into it.
pub(crate) async fn record(core: &Core, folder: &Path) {
    let place = folder.to_owned();
    let found = match tokio::task::spawn_blocking(move || issued(&place)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return tracing::warn!(%error, "the issued certificates can't be read"),
        Err(error) => return tracing::warn!(%error, "the issued certificates can't be read"),
    };
    for peer in found {
        let Identity::Operator(name) = &peer.identity else { continue };
        if core.read(|facts| facts.registry.knows_certificate(&peer.serial)) {
            continue;
        }
        let event = RegistryEvent::OperatorIssued {
            name: name.clone(),
            serial: peer.serial.clone(),
            roles: OperatorRole::list(&peer.roles),
            expires_at: peer.not_after,
        };
        // It stays in the folder, and is tried again.
        if let Err(error) = core.submit(event).await {
            tracing::warn!(%error, name, "a certificate that was issued could not be recorded");
        }
    }
}

/// Records until `stop`.
pub(crate) async fn watch(core: Core, folder: PathBuf, stop: CancellationToken) {
    loop {
        record(&core, &folder).await;
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}
