//! `wardround patch list` and `show`.

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::{describe::describe_patch, model};

use super::{Shown, document, standing};
use crate::{
    client::{PAGE, all_pages, call},
    failure::{Exit, Failure},
    output,
    session::Session,
    when,
};

/// List patches
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround patch list")]
pub(super) struct List {}

/// Show what a patch is, for whom, and who has signed it
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround patch show KB4500331")]
pub(super) struct Show {
    /// Patch id
    id: String,
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    patch: Shown,
    document: model::Patch,
}

impl List {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let mut service = session.connect().await?.patches();
        let patches = all_pages(async |page_token| {
            let page = service.list_patches(call(v1::ListPatchesRequest { page_size: PAGE, page_token })).await?;
            let page = page.into_inner();
            Ok((page.patches, page.next_page_token))
        })
        .await?;
        let none = "no patches yet: `wardround patch import patch.yaml` brings one in";
        output::list(session.format(), &patches, Shown::new, none, |patches| {
            let rows =
                patches.iter().map(|p| [p.id.clone(), when::local(p.created_at_ms), standing(p), p.title.clone()]);
            output::table(["patch", "imported", "standing", "title"], rows)
        })
    }
}

impl Show {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let patch = session.connect().await?.patch(&self.id).await?;
        let document = document(&patch)?;
        let mut lines = describe_patch(&document);
        lines.push(standing(&patch));
        output::emit(session.format(), &Whole { patch: Shown::new(&patch), document }, || lines.join("\n"))?;
        Ok(Exit::Ok)
    }
}
