//! `wardround patch list` and `show`.

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::{describe::describe_patch, model};

use super::{Shown, document, standing};
use crate::{
    client::call,
    failure::{Exit, Failure},
    output::{self, Format},
    session::Session,
    when,
};

/// Most items of one page (the API's limit).
const PAGE: u32 = 1000;

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
        let mut patches = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = service.list_patches(call(v1::ListPatchesRequest { page_size: PAGE, page_token })).await?;
            let page = page.into_inner();
            patches.extend(page.patches);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if session.format() == Format::Json {
            output::json(&patches.iter().map(Shown::new).collect::<Vec<_>>())?;
        } else if patches.is_empty() {
            output::text("no patches yet: `wardround patch import patch.yaml` brings one in")?;
        } else {
            let rows =
                patches.iter().map(|p| [p.id.clone(), when::local(p.created_at_ms), standing(p), p.title.clone()]);
            output::text(&output::table(["patch", "imported", "standing", "title"], rows))?;
        }
        Ok(Exit::Ok)
    }
}

impl Show {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let patch = session.connect().await?.patch(&self.id).await?;
        let (_, document) = document(&patch)?;
        let mut lines = describe_patch(&document);
        lines.push(standing(&patch));
        output::emit(session.format(), &Whole { patch: Shown::new(&patch), document }, || lines.join("\n"))?;
        Ok(Exit::Ok)
    }
}
