//! `wardround alarms`: what a person must look at.

use clap::Args;
use serde::Serialize;
use wardround_proto::v1;

use crate::{
    client::call,
    commands::site,
    failure::{Exit, Failure},
    output::{self, Format},
    session::Session,
    when,
};

/// List what a person must look at: refusals, failed rollbacks, devices handed over
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
        let controller = session.connect().await?;
        let sites = match &self.site {
            Some(site) => vec![site.clone()],
            None => site::list(&controller).await?.into_iter().map(|site| site.id).collect(),
        };
        let mut alarms = Vec::new();
        for id in sites {
            let answer = controller.estate().get_site(call(v1::GetSiteRequest { id })).await?;
            alarms.extend(answer.into_inner().alarms);
        }
        alarms.sort_by_key(|alarm| std::cmp::Reverse(alarm.at_ms));
        if session.format() == Format::Json {
            output::json(&alarms.iter().map(Shown::new).collect::<Vec<_>>())?;
        } else if alarms.is_empty() {
            output::text("no alarms")?;
        } else {
            output::text(&table(&alarms))?;
        }
        Ok(Exit::Ok)
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
