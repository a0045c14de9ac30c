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
    let mut found = Vec::new();
    for (path, issued) in read(folder, |_| true)? {
        match issued {
            Some(issued) => found.push(issued),
            None => tracing::warn!(file = %path.display(), "this is no operator's certificate"),
        }
    }
    found.sort_by(|a, b| {
        let key = |i: &Peer| (i.identity.to_string(), i.issued_at, i.serial.clone());
        key(a).cmp(&key(b))
    });
    Ok(found)
}

/// The files whose serial number is `wanted`; none for a certificate stands for anything else. A file is named
/// `NAME-SERIAL.pem`.
fn read(folder: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Vec<(PathBuf, Option<Peer>)>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // A data directory of before there was such a folder.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries.take(LISTED_MAX) {
        let entry = entry?;
        let (path, name) = (entry.path(), entry.file_name());
        let serial = name.to_str().and_then(|name| name.strip_suffix(".pem")?.rsplit_once('-'));
        if !serial.is_none_or(|(_, serial)| wanted(serial)) || entry.metadata()?.len() > FILE_BYTES_MAX {
            continue;
        }
        let bytes = fs::read(&path)?;
        let issued = CertificateDer::from_pem_slice(&bytes).ok().and_then(|der| Peer::issued(&der).ok());
        found.push((path, issued));
    }
    Ok(found)
}

/// Brings certificates that are not in the record yet into it. Those that are known by the name of their file are not read
/// again: the folder is looked at for as long as the controller runs.
pub(crate) async fn record(core: &Core, folder: &Path) {
    let (place, known) = (folder.to_owned(), core.clone());
    let news = move || {
        let unknown = |serial: &str| !known.read(|facts| facts.registry.knows_certificate(serial));
        read(&place, unknown)
    };
    let found = match tokio::task::spawn_blocking(news).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return tracing::warn!(%error, "the issued certificates can't be read"),
        Err(error) => return tracing::warn!(%error, "the issued certificates can't be read"),
    };
    for peer in found.into_iter().filter_map(|(_, issued)| issued) {
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
