//! `wardround rollout list`.

use clap::Args;
use wardround_proto::v1;

use super::shown::{Shown, words};
use crate::{
    client::call,
    failure::{Exit, Failure},
    output::{self, Format},
    session::Session,
    when,
};

/// Most items of one page (the API's limit).
const PAGE: u32 = 1000;

/// List rollouts, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout list")]
pub(super) struct List {}

impl List {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let mut service = session.connect().await?.rollouts();
        let mut rollouts = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListRolloutsRequest { page_size: PAGE, page_token };
            let page = service.list_rollouts(call(request)).await?.into_inner();
            rollouts.extend(page.rollouts);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        if session.format() == Format::Json {
            output::json(&rollouts.iter().map(Shown::new).collect::<Vec<_>>())?;
        } else if rollouts.is_empty() {
            output::text("no rollouts yet: `wardround rollout create` makes one")?;
        } else {
            let rows = rollouts.iter().map(|r| {
                let wave = r.waves.iter().find(|w| w.state != "passed" && w.state != "pending").map(|w| w.name.clone());
                [
                    r.id.clone(),
                    r.patch.clone(),
                    words(&r.state),
                    when::local(r.state_since_ms),
                    wave.unwrap_or_default(),
                    r.reason.clone(),
                ]
            });
            output::text(&output::table(["rollout", "patch", "state", "since", "wave", "why"], rows))?;
        }
        Ok(Exit::Ok)
    }
}
