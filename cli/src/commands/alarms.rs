//! `wardround alarms`: what a person must look at.

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;

use crate::{
    client::{PAGE, all_pages, call},
    failure::{Exit, Failure},
    output,
    session::Session,
    when,
};

/// List what a person must look at: failed waves, refusals, failed rollbacks, devices handed over
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround alarms --site rx1")]
pub(crate) struct Alarms {
    /// Only of this site
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
}

/// An alarm, as JSON.
#[derive(Serialize)]
pub(crate) struct Shown {
    at: Option<String>,
    code: String,
    text: String,
    site: String,
    device: String,
    rollout: String,
}

impl Shown {
    pub(crate) fn new(alarm: &v1::Alarm) -> Self {
        Self {
            at: when::rfc3339(alarm.at_ms),
            code: alarm.code.clone(),
            text: alarm.text.clone(),
            site: alarm.site.clone(),
            device: alarm.device.clone(),
            rollout: alarm.rollout.clone(),
        }
    }
}

impl Alarms {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let mut service = session.connect().await?.estate();
        let site = self.site.clone().unwrap_or_default();
        let alarms = all_pages(async |page_token| {
            let request = v1::ListAlarmsRequest { site: site.clone(), page_size: PAGE, page_token };
            let page = service.list_alarms(call(request)).await?.into_inner();
            Ok((page.alarms, page.next_page_token))
        })
        .await?;
        output::list(session.format(), &alarms, Shown::new, "no alarms", table)
    }
}

/// A table of alarms.
pub(crate) fn table(alarms: &[v1::Alarm]) -> String {
    let rows = alarms.iter().map(|a| {
        let place = if a.device.is_empty() { &a.site } else { &a.device };
        [when::local(a.at_ms), a.code.clone(), place.clone(), a.rollout.clone(), a.text.clone()]
    });
    output::table(["at", "code", "where", "rollout", "what"], rows)
}
