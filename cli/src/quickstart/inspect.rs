//! What is really on the devices, and what the viewers really say: read from the outside, not from the controller.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{estate::Site, viewer};
use crate::failure::Failure;

/// How long a viewer may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Most of an answer that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 8;

/// Asks a viewer for its health, as the node does.
pub(super) async fn ask_viewer(address: SocketAddr) -> Result<String, String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(format!("GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())
            .await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = match tokio::time::timeout(ANSWER_TIMEOUT, ask).await {
        Err(_) => return Err("no answer in time".into()),
        Ok(Err(error)) => return Err(error.to_string()),
        Ok(Ok(answer)) => answer,
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split_whitespace().nth(1) == Some("200") {
        Ok(body.trim().to_owned())
    } else {
        Err(body.trim().to_owned())
    }
}

/// Every device must hold `version`, and every viewer must be well. Gives the number of devices.
pub(super) async fn all_hold(sites: &[Site], version: &str) -> Result<usize, Failure> {
    let mut faults = Vec::new();
    let mut devices = 0;
    for site in sites {
        if let Err(why) = ask_viewer(site.viewer).await {
            faults.push(format!("the viewer of {} is not well: {why}", site.id));
        }
        for (name, root) in &site.devices {
            devices += 1;
            match viewer::render_device(root) {
                Ok(found) if found == version => {}
                Ok(found) => faults.push(format!("{}/{name} has version {found}, not {version}", site.id)),
                Err(why) => faults.push(format!("{}/{name}: {why}", site.id)),
            }
        }
    }
    if faults.is_empty() {
        Ok(devices)
    } else {
        Err(Failure::new("the devices are not as they should be").details(faults))
    }
}

/// The files of the devices' application in which `patch` or `version` is still found, by name or by content.
pub(super) fn traces(sites: &[Site], patch: &str, version: &str) -> Vec<String> {
    let mut found = Vec::new();
    let version_line = format!("version = {version}");
    for (name, root) in sites.iter().flat_map(|s| s.devices.iter().map(|(n, r)| (format!("{}/{n}", s.id), r))) {
        let mut files = Vec::new();
        walk(&root.join("app"), 0, &mut files);
        for file in files {
            let shown = file.strip_prefix(root).unwrap_or(&file).display().to_string();
            let text = fs::read(&file).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
            if shown.contains(patch) || text.lines().any(|line| line == version_line) {
                found.push(format!("{name}: {shown}"));
            }
        }
    }
    found
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && depth < DEPTH_MAX {
            // An empty folder is a trace too.
            files.push(path.clone());
            walk(&path, depth + 1, files);
        } else {
            files.push(path);
        }
    }
}
