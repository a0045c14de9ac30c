//! The client contract of theupdateframework/tuf-conformance (its CLIENT-CLI.md), over the module that a node uses.
//!
//! ```text
//! tuf-client --metadata-dir D init ROOT
//! tuf-client --metadata-dir D --metadata-url U refresh
//! tuf-client --metadata-dir D --metadata-url U --target-name P… --target-base-url T --target-dir X download
//! ```
//!
//! What a node demands besides is off here, since the suite's repositories are not ours: they have thresholds of one, and
//! one that can't be met, keys without holders and with ids of their own, no `release` and `clinical`, and roots without
//! consistent snapshots. What stays on: Ed25519 only, no weak keys, no key under two ids, and the limits on sizes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use wardround_signing::tuf::{Fetch, Fetched, Files, Foreign, Moment, RoleName, Root, Signed};

/// Where this program keeps the pinned root and the older ones: only role files may sit in the metadata directory.
const KEPT: &str = ".kept";
const PINNED: &str = "pinned";

/// A repository behind HTTP.
struct Http {
    metadata: String,
    targets: String,
}

impl Fetch for Http {
    fn metadata<'a>(&'a self, name: &'a str, max: u64) -> Fetched<'a> {
        // Names of roles come encoded already.
        Box::pin(get(format!("{}{name}", self.metadata), max))
    }

    fn target<'a>(&'a self, path: &'a str, max: u64) -> Fetched<'a> {
        Box::pin(get(format!("{}{}", self.targets, encoded(path)), max))
    }
}

/// A path for a URL: `/` stays, what is reserved is escaped.
fn encoded(path: &str) -> String {
    path.bytes().fold(String::new(), |mut text, byte| {
        match byte {
            b'/' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
        text
    })
}

async fn get(url: String, max: u64) -> Result<Option<Vec<u8>>, String> {
    let fail = |what: &str, error: &dyn std::fmt::Display| format!("{url}: {what}: {error}");
    let uri: Uri = url.parse().map_err(|e| fail("not a URL", &e))?;
    let host = uri.host().ok_or_else(|| fail("not a URL", &"it has no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host, port)).await.map_err(|e| fail("no connection", &e))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| fail("no connection", &e))?;
    tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::get(path).header(header::HOST, host).body(Empty::<Bytes>::new());
    let request = request.map_err(|e| fail("no request", &e))?;
    let response = sender.send_request(request).await.map_err(|e| fail("no answer", &e))?;
    match response.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
        other => return Err(fail("refused", &other)),
    }
    let limit = usize::try_from(max).map_err(|e| fail("too long", &e))?;
    let body = Limited::new(response.into_body(), limit).collect().await.map_err(|e| fail("not read", &e))?;
    Ok(Some(body.to_bytes().to_vec()))
}

#[derive(Default)]
struct Arguments {
    metadata_dir: Option<PathBuf>,
    metadata_url: Option<String>,
    target_names: Vec<String>,
    target_dir: Option<PathBuf>,
    target_base_url: Option<String>,
    words: Vec<String>,
}

impl Arguments {
    fn read(mut from: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = from.next() {
            let mut value = || from.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--metadata-dir" => arguments.metadata_dir = Some(value()?.into()),
                "--metadata-url" => arguments.metadata_url = Some(folder(&value()?)),
                "--target-name" => arguments.target_names.push(value()?),
                "--target-dir" => arguments.target_dir = Some(value()?.into()),
                "--target-base-url" => arguments.target_base_url = Some(folder(&value()?)),
                option if option.starts_with('-') => return Err(format!("{option} is unknown")),
                _ => arguments.words.push(word),
            }
        }
        Ok(arguments)
    }
}

fn folder(url: &str) -> String {
    if url.ends_with('/') { url.to_owned() } else { format!("{url}/") }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|e| format!("{}: {e}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let named = |e: std::io::Error| format!("{}: {e}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(named)?;
    fs::write(path, bytes).map_err(named)
}

/// The files of the metadata directory, with the root versions that are kept beside them.
fn load(dir: &Path) -> Result<Files, String> {
    let mut files = Files::new();
    for folder in [dir.to_owned(), dir.join(KEPT)] {
        for entry in fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))? {
            let path = entry.map_err(|e| e.to_string())?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(".json") && name != "root.json" {
                files.insert(name.to_owned(), read(&path)?);
            }
        }
    }
    Ok(files)
}

fn save(dir: &Path, files: &Files) -> Result<(), String> {
    let mut newest: Option<(u64, &Vec<u8>)> = None;
    for (name, bytes) in files {
        let version = name.strip_suffix(".root.json").and_then(|version| version.parse().ok());
        let Some(version) = version else {
            write(&dir.join(name), bytes)?;
            continue;
        };
        write(&dir.join(KEPT).join(name), bytes)?;
        newest = newest.max(Some((version, bytes)));
    }
    newest.map_or(Ok(()), |(_, bytes)| write(&dir.join("root.json"), bytes))
}

async fn run(arguments: Arguments) -> Result<(), String> {
    let dir = arguments.metadata_dir.ok_or("--metadata-dir is needed")?;
    let words: Vec<&str> = arguments.words.iter().map(String::as_str).collect();
    let download = match words[..] {
        ["init", root] => {
            let bytes = read(Path::new(root))?;
            Signed::<Root>::parse(RoleName::Root, &bytes).map_err(|e| e.to_string())?;
            write(&dir.join("root.json"), &bytes)?;
            return write(&dir.join(KEPT).join(PINNED), &bytes);
        }
        ["refresh"] => false,
        ["download"] => true,
        _ => return Err("expected init ROOT, refresh or download".to_owned()),
    };
    let from = Arc::new(Http {
        metadata: arguments.metadata_url.ok_or("--metadata-url is needed")?,
        targets: arguments.target_base_url.unwrap_or_default(),
    });
    let pinned = read(&dir.join(KEPT).join(PINNED))?;
    let now = Moment::from_ms(jiff::Timestamp::now().as_millisecond());
    let (files, refreshed) = Foreign::refresh(&pinned, load(&dir)?, from, now).await;
    save(&dir, &files)?;
    let mut view = refreshed.map_err(|e| e.to_string())?;
    if !download {
        return Ok(());
    }
    let target_dir = arguments.target_dir.ok_or("--target-dir is needed")?;
    for name in &arguments.target_names {
        // One flat name for each path: a path from a repository must not choose where a file goes.
        let file = target_dir.join(encoded(name).replace('/', "%2F"));
        let have = fs::read(&file).ok();
        let bytes = view.download(name, have.clone()).await;
        save(&dir, &view.files())?;
        let bytes = bytes.map_err(|e| e.to_string())?;
        if have.as_ref() != Some(&bytes) {
            write(&file, &bytes)?;
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let result = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => run(arguments).await,
        Err(why) => Err(why),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("tuf-client: {why}");
            ExitCode::FAILURE
        }
    }
}
