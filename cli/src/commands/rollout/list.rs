//! `wardround rollout list`.

use clap::Args;
use wardround_proto::v1;

use super::shown::{Shown, words};
use crate::{
    client::{PAGE, all_pages, call},
    failure::{Exit, Failure},
    output,
    session::Session,
    when,
};

/// List rollouts, newest first
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround rollout list")]
pub(super) struct List {}

impl List {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let mut service = session.connect().await?.rollouts();
        let rollouts = all_pages(async |page_token| {
            let request = v1::ListRolloutsRequest { page_size: PAGE, page_token };
            let page = service.list_rollouts(call(request)).await?.into_inner();
            Ok((page.rollouts, page.next_page_token))
        })
        .await?;
        let none = "no rollouts yet: `wardround rollout create` makes one";
        output::list(session.format(), &rollouts, Shown::new, none, |rollouts| {
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
            output::table(["rollout", "patch", "state", "since", "wave", "why"], rows)
        })
    }
}
