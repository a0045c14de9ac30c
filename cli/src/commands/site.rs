//! `wardround site`: the estate as the nodes report it, and tokens for new nodes.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use serde::Serialize;
use wardround_proto::v1;
use wardround_rollout_plans::model::{DurationMs, SiteId};

use crate::{
    ask,
    client::{Controller, PAGE, all_pages, call, incomplete},
    commands::alarms,
    failure::{Exit, Failure},
    output::{self, Format},
    session::Session,
    when,
};

/// Look at sites, and make tokens for new nodes
#[derive(Debug, Args)]
pub(crate) struct Site {
    #[command(subcommand)]
    command: SiteCommand,
}

#[derive(Debug, Subcommand)]
enum SiteCommand {
    List(List),
    Show(Show),
    Token(Token),
    Revoke(Revoke),
}

/// List sites
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround site list")]
struct List {}

/// Show a site with its devices, clinical systems and alarms
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround site show rx1")]
struct Show {
    /// Site id
    site: String,
}

/// Make a single-use token with which a node enrols for a site
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround site token rx1
  wardround node enrol --controller https://controller:7443 --token TOKEN --state /var/lib/wardround")]
struct Token {
    /// Site id
    site: SiteId,
    /// How long it may be used: up to 30d
    #[arg(long, default_value = "24h", value_name = "DURATION", value_parser = DurationMs::parse)]
    ttl: DurationMs,
}

/// Shut a site's node out: its certificate and report key count no more
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround site revoke rx1 --reason \"stolen from the plant room\"
  wardround site token rx1     for the node that takes its place")]
struct Revoke {
    /// Site id
    site: SiteId,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct RevokedNode {
    site: String,
    revoked: bool,
}

#[derive(Serialize)]
struct ShownSite {
    id: String,
    display_name: String,
    region: String,
    /// `None`: the site file does not say.
    site_type: Option<String>,
    labels: BTreeMap<String, String>,
    devices: u32,
    clinical_systems: u32,
    /// "enrolled", "revoked" or "none".
    node: String,
    node_since: Option<String>,
    node_revoked_why: String,
    connected: bool,
    last_seen: Option<String>,
    directive_counter: u64,
    /// `None`: the site file names none, which counts as UTC.
    time_zone: Option<String>,
    /// In words; `None`: work is allowed at any time.
    windows: Option<String>,
}

/// A device as its site declares it, as JSON.
#[derive(Serialize)]
pub(crate) struct ShownDevice {
    id: String,
    platform: String,
    model: String,
    labels: BTreeMap<String, String>,
    redundancy_group: Option<String>,
    installed_patches: Vec<String>,
}

#[derive(Serialize)]
struct ShownSystem {
    id: String,
    kind: String,
    critical: bool,
    /// `None`: its node does not say.
    probes: Option<u32>,
    devices: Vec<String>,
    health: String,
    finding: String,
    since: Option<String>,
}

#[derive(Serialize)]
struct Whole {
    #[serde(flatten)]
    site: ShownSite,
    device_list: Vec<ShownDevice>,
    clinical_system_list: Vec<ShownSystem>,
    alarms: Vec<alarms::Shown>,
}

#[derive(Serialize)]
struct ShownToken {
    site: String,
    token: String,
    expires_at: Option<String>,
}

impl Site {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        match &self.command {
            SiteCommand::List(_) => return show_list(session, &list(&controller).await?),
            SiteCommand::Show(show) => show.run(session, &controller).await?,
            SiteCommand::Token(token) => token.run(session, &controller).await?,
            SiteCommand::Revoke(revoke) => revoke.run(session, &controller).await?,
        }
        Ok(Exit::Ok)
    }
}

/// All sites.
pub(crate) async fn list(controller: &Controller) -> Result<Vec<v1::Site>, Failure> {
    all_pages(async |page_token| {
        let page = controller.estate().list_sites(call(v1::ListSitesRequest { page_size: PAGE, page_token })).await?;
        let page = page.into_inner();
        Ok((page.sites, page.next_page_token))
    })
    .await
}

/// A token for a new node, as it is printed.
pub(crate) async fn make_token(
    controller: &Controller,
    site: &SiteId,
    ttl: DurationMs,
) -> Result<v1::CreateTokenResponse, Failure> {
    let ttl_seconds = u32::try_from(ttl.0 / 1000).unwrap_or(u32::MAX);
    if ttl_seconds == 0 {
        return Err(Failure::usage("a token must live for at least a second"));
    }
    let request = v1::CreateTokenRequest { site: site.to_string(), ttl_seconds };
    Ok(controller.tokens().create_token(call(request)).await?.into_inner())
}

fn show_list(session: &Session, sites: &[v1::Site]) -> Result<Exit, Failure> {
    let none = "no sites yet: `wardround site token SITE` makes a token for a node";
    output::list(session.format(), sites, ShownSite::new, none, |sites| {
        let rows = sites.iter().map(|s| {
            [
                s.id.clone(),
                s.display_name.clone(),
                s.region.clone(),
                s.device_count.to_string(),
                s.clinical_system_count.to_string(),
                link(s),
            ]
        });
        output::table(["site", "name", "region", "devices", "systems", "node"], rows)
    })
}

fn link(site: &v1::Site) -> String {
    if site.node == "revoked" {
        return format!("none: revoked {} ago by {}", when::ago(site.node_since_ms), site.node_revoked_why);
    }
    match (site.connected, site.last_seen_ms) {
        (true, _) => "connected".into(),
        (false, 0) => "never seen".into(),
        (false, seen) => format!("not connected, last seen {} ago", when::ago(seen)),
    }
}

fn hours(site: &v1::Site) -> String {
    let zone = if site.time_zone.is_empty() { "UTC, since the site file names no time_zone" } else { &site.time_zone };
    match site.windows.as_str() {
        "" => format!("work is allowed at any time; the clock is {zone}"),
        windows => format!("work is allowed {windows}; the clock is {zone}"),
    }
}

impl Show {
    async fn run(&self, session: &Session, controller: &Controller) -> Result<(), Failure> {
        let answer = controller.estate().get_site(call(v1::GetSiteRequest { id: self.site.clone() })).await?;
        let answer = answer.into_inner();
        let site = answer.site.as_ref().ok_or_else(|| incomplete("site"))?;
        if session.format() == Format::Json {
            return output::json(&Whole {
                site: ShownSite::new(site),
                device_list: answer.devices.iter().map(ShownDevice::new).collect(),
                clinical_system_list: answer.clinical_systems.iter().map(ShownSystem::new).collect(),
                alarms: answer.alarms.iter().map(alarms::Shown::new).collect(),
            });
        }
        let mut text = format!(
            "site {} · {} · {}{}\nnode: {}\nhours: {}\n\n",
            site.id,
            site.display_name,
            site.region,
            if site.site_type.is_empty() { String::new() } else { format!(" · {}", site.site_type) },
            link(site),
            hours(site)
        );
        let devices = answer.devices.iter().map(|d| {
            [d.id.clone(), d.platform.clone(), d.model.clone(), labels(&d.labels), d.installed_patches.join(", ")]
        });
        text += &output::table(["device", "platform", "model", "labels", "patches"], devices);
        text += "\n\n";
        let systems = answer.clinical_systems.iter().map(|s| {
            let health = match s.since_ms {
                0 => s.health.clone(),
                since => format!("{} for {}", s.health, when::ago(since)),
            };
            [s.id.clone(), s.kind.clone(), health, s.finding.clone(), s.devices.join(", ")]
        });
        text += &output::table(["clinical system", "kind", "health", "what was found then", "needs"], systems);
        if !answer.alarms.is_empty() {
            text += "\n\n";
            text += &alarms::table(&answer.alarms);
        }
        output::text(&text)
    }
}

impl Token {
    async fn run(&self, session: &Session, controller: &Controller) -> Result<(), Failure> {
        let token = make_token(controller, &self.site, self.ttl).await?;
        let shown = ShownToken {
            site: self.site.to_string(),
            token: token.token.clone(),
            expires_at: when::rfc3339(token.expires_at_ms),
        };
        output::emit(session.format(), &shown, || token.token.clone())?;
        if session.format() == Format::Human {
            eprintln!("usable once, until {}, by a node for site {}", when::local(token.expires_at_ms), self.site);
        }
        Ok(())
    }
}

impl Revoke {
    async fn run(&self, session: &Session, controller: &Controller) -> Result<(), Failure> {
        let question = format!(
            "shut out the node of site {}: its devices in hand become unknown, and no halt reaches it any more",
            self.site
        );
        ask::confirm(&question, self.yes).await?;
        let request = v1::RevokeNodeRequest { site: self.site.to_string(), reason: self.reason.clone() };
        controller.access().revoke_node(call(request)).await?;
        let shown = RevokedNode { site: self.site.to_string(), revoked: true };
        output::emit(session.format(), &shown, || format!("the node of site {} is shut out", self.site))?;
        eprintln!(
            "next: switch that machine off, change what it could log in with, and `wardround site token {}`",
            self.site
        );
        Ok(())
    }
}

fn labels<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> String {
    let mut words: Vec<String> = labels.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    words.sort();
    words.join(" ")
}

fn sorted<'a>(labels: impl IntoIterator<Item = (&'a String, &'a String)>) -> BTreeMap<String, String> {
    labels.into_iter().map(|(k, v)| (k.clone(), v.clone())).collect()
}

impl ShownSite {
    fn new(s: &v1::Site) -> Self {
        Self {
            id: s.id.clone(),
            display_name: s.display_name.clone(),
            region: s.region.clone(),
            site_type: (!s.site_type.is_empty()).then(|| s.site_type.clone()),
            labels: sorted(&s.labels),
            devices: s.device_count,
            clinical_systems: s.clinical_system_count,
            node: s.node.clone(),
            node_since: when::rfc3339(s.node_since_ms),
            node_revoked_why: s.node_revoked_why.clone(),
            connected: s.connected,
            last_seen: when::rfc3339(s.last_seen_ms),
            directive_counter: s.directive_counter,
            time_zone: (!s.time_zone.is_empty()).then(|| s.time_zone.clone()),
            windows: (!s.windows.is_empty()).then(|| s.windows.clone()),
        }
    }
}

impl ShownDevice {
    pub(crate) fn new(d: &v1::Device) -> Self {
        Self {
            id: d.id.clone(),
            platform: d.platform.clone(),
            model: d.model.clone(),
            labels: sorted(&d.labels),
            redundancy_group: (!d.redundancy_group.is_empty()).then(|| d.redundancy_group.clone()),
            installed_patches: d.installed_patches.clone(),
        }
    }
}

impl ShownSystem {
    fn new(s: &v1::ClinicalSystem) -> Self {
        Self {
            id: s.id.clone(),
            kind: s.kind.clone(),
            critical: s.critical,
            probes: s.probes,
            devices: s.devices.clone(),
            health: s.health.clone(),
            finding: s.finding.clone(),
            since: when::rfc3339(s.since_ms),
        }
    }
}
