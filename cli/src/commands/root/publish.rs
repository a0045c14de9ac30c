//! `wardround root publish`: new versions of root and targets go to the controller.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_signing::tuf::RoleName;

use crate::{
    client::call,
    failure::{Exit, Failure},
    output::{self, harmless},
    profile::read_text_max,
    session::Session,
};

/// Hand new versions of root and targets to the controller, which publishes them when they are complete
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround root publish repository")]
pub(super) struct Publish {
    /// The folder with N.root.json and N.targets.json; what the controller has already is left out
    folder: PathBuf,
}

#[derive(Serialize)]
struct Done {
    files: Vec<Sent>,
}

#[derive(Serialize)]
struct Sent {
    file: String,
    published: bool,
    missing: u64,
    waiting: String,
}

impl Publish {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let shown = controller.images().get_repository(call(v1::GetRepositoryRequest {})).await?.into_inner();
        let mut files = Vec::new();
        for role in [RoleName::Root, RoleName::Targets] {
            let present = shown.published.iter().find(|one| one.role == role.word()).map_or(0, |one| one.version);
            if present == 0 {
                return Err(Failure::refused("this controller has no image repository yet")
                    .hint("begin it with `wardround root import` on the controller's machine"));
            }
            for version in present + 1.. {
                let path = self.folder.join(role.versioned(version));
                if !path.is_file() {
                    break;
                }
                let metadata = read_text_max(&path, role.bytes_max())?.into_bytes();
                let request = v1::SubmitMetadataRequest { role: role.word().to_owned(), metadata };
                let done = controller.images().submit_metadata(call(request)).await?.into_inner();
                files.push(Sent {
                    file: role.versioned(version),
                    published: done.state() == v1::MetadataState::Published,
                    missing: done.missing,
                    waiting: done.waiting,
                });
            }
        }
        if files.is_empty() {
            return Err(Failure::with(
                Exit::NotFound,
                format!("{} holds no version that follows on what is published", self.folder.display()),
            )
            .hint("`wardround root rotate` makes one"));
        }
        let done = Done { files };
        output::emit(session.format(), &done, || done.files.iter().map(words).collect::<Vec<_>>().join("\n"))?;
        Ok(Exit::Ok)
    }
}

fn words(sent: &Sent) -> String {
    match (sent.published, sent.missing) {
        (true, _) => format!("{}: published", sent.file),
        (false, 0) => format!("{}: waits: {}", sent.file, harmless(&sent.waiting)),
        (false, missing) => format!("{}: waits: {missing} more must sign", sent.file),
    }
}
