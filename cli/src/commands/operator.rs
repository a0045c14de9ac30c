//! `wardround operator`: who may talk to the controller, and as what.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use wardround_controller::{InitError, OperatorRole, OperatorRoles};
use wardround_proto::v1;

use crate::{
    ask,
    client::call,
    failure::{Exit, Failure, chain},
    output,
    session::Session,
    when,
};

/// Issue, list and revoke operators' certificates
#[derive(Debug, Args)]
pub(crate) struct Operator {
    #[command(subcommand)]
    command: OperatorCommand,
}

#[derive(Debug, Subcommand)]
enum OperatorCommand {
    Issue(Issue),
    List(List),
    Revoke(Revoke),
}

/// Issue a certificate and write a profile folder; on the controller's own machine, whether it runs or not
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround operator issue cy.poole --role on-call
  wardround operator issue ann.lee --role release --role site-engineer --out /media/stick/ann

The folder OUT/operator belongs into the person's ~/.wardround; it holds a private key, so bring it by a safe way.")]
struct Issue {
    /// Whom it is for: 1 to 64 letters, digits, '.', '_', '-' or '@'
    name: String,
    /// release, clinical, on-call, site-engineer or auditor; may be given several times
    #[arg(long = "role", value_name = "ROLE", required = true)]
    roles: Vec<OperatorRole>,
    /// Where the folder `operator` is written; a folder of that name here if not given
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The controller's data folder; HOME/controller if not given
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// List the certificates that were issued
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  wardround operator list")]
struct List {}

/// Revoke an operator: at once, and for good
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround operator revoke ann.lee --reason \"left the trust\"
  wardround operator revoke --serial 3f0a… --reason \"laptop stolen\"")]
struct Revoke {
    /// All certificates of this name that were issued until now
    #[arg(required_unless_present = "serial", conflicts_with = "serial")]
    name: Option<String>,
    /// Only the certificate with this serial number
    #[arg(long, value_name = "HEX")]
    serial: Option<String>,
    /// Why, for the record
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Also a certificate that this controller has no record of
    #[arg(long)]
    even_if_unknown: bool,
    /// Ask nothing
    #[arg(long)]
    yes: bool,
}

#[derive(Serialize)]
struct Issued {
    name: String,
    roles: Vec<String>,
    serial: String,
    profile: String,
    endpoint: String,
}

#[derive(Serialize)]
struct Shown {
    name: String,
    roles: Vec<String>,
    serial: String,
    issued_at: Option<String>,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    revoked_why: String,
}

impl Operator {
    pub(crate) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        match &self.command {
            OperatorCommand::Issue(issue) => issue.run(session).await,
            OperatorCommand::List(_) => list(session).await,
            OperatorCommand::Revoke(revoke) => revoke.run(session).await,
        }
    }
}

impl Issue {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let roles: OperatorRoles = self.roles.iter().copied().collect();
        let data = match &self.data {
            Some(data) => data.clone(),
            None => session.home()?.join("controller"),
        };
        let home = self.out.clone().unwrap_or_else(|| PathBuf::from(&self.name));
        let (name, profile) = (self.name.clone(), home.join("operator"));
        let (given, folder) = (roles.clone(), profile.clone());
        let made =
            tokio::task::spawn_blocking(move || wardround_controller::issue_operator(&data, &folder, &name, &given));
        let issued = made.await.map_err(|e| Failure::new(format!("issuing stopped: {e}")))?.map_err(failed)?;
        let shown = Issued {
            name: self.name.clone(),
            roles: roles.iter().map(ToString::to_string).collect(),
            serial: issued.serial,
            profile: profile.display().to_string(),
            endpoint: issued.endpoint,
        };
        output::emit(session.format(), &shown, || {
            format!(
                "operator:   {}\nroles:      {}\nserial:     {}\nprofile:    {}\ncontroller: {}",
                shown.name,
                shown.roles.join(", "),
                shown.serial,
                shown.profile,
                shown.endpoint
            )
        })?;
        eprintln!("to try it: `wardround --home {} site list`", home.display());
        Ok(Exit::Ok)
    }
}

fn failed(error: InitError) -> Failure {
    let exit = match &error {
        InitError::Exists { .. } => Exit::Refused,
        InitError::NotOurs { .. } => Exit::NotFound,
        InitError::OperatorName { .. } | InitError::NoRole => Exit::Usage,
        _ => Exit::Failure,
    };
    Failure::with(exit, chain(&error)).hint(error.hint())
}

async fn list(session: &Session) -> Result<Exit, Failure> {
    let answer = session.connect().await?.access().list_operators(call(v1::ListOperatorsRequest {})).await?;
    let none = "no certificates are on record: `wardround operator issue` on the controller's machine makes one";
    output::list(session.format(), &answer.into_inner().certificates, Shown::new, none, table)
}

fn table(certificates: &[v1::OperatorCertificate]) -> String {
    let rows = certificates.iter().map(|c| {
        let state = match c.revoked_at_ms {
            0 if c.expires_at_ms <= when::now_ms() => "expired".to_owned(),
            0 => format!("until {}", when::local(c.expires_at_ms)),
            at => format!("revoked {} ago by {}", when::ago(at), c.revoked_why),
        };
        [c.name.clone(), c.roles.join(", "), c.serial.clone(), when::local(c.issued_at_ms), state]
    });
    output::table(["operator", "roles", "serial", "issued", "state"], rows)
}

impl Revoke {
    async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let what = match (&self.name, &self.serial) {
            (Some(name), _) => format!("all certificates of operator {name}"),
            (None, serial) => format!("the operator's certificate {}", serial.as_deref().unwrap_or_default()),
        };
        ask::confirm(&format!("revoke {what}: it can call nothing any more, not even a halt"), self.yes).await?;
        let request = v1::RevokeOperatorRequest {
            name: self.name.clone().unwrap_or_default(),
            serial: self.serial.clone().unwrap_or_default(),
            reason: self.reason.clone(),
            even_if_unknown: self.even_if_unknown,
        };
        let answer = session.connect().await?.access().revoke_operator(call(request)).await?.into_inner();
        let none = "revoked; this controller has no record of such a certificate";
        output::list(session.format(), &answer.certificates, Shown::new, none, table)
    }
}

impl Shown {
    fn new(c: &v1::OperatorCertificate) -> Self {
        Self {
            name: c.name.clone(),
            roles: c.roles.clone(),
            serial: c.serial.clone(),
            issued_at: when::rfc3339(c.issued_at_ms),
            expires_at: when::rfc3339(c.expires_at_ms),
            revoked_at: when::rfc3339(c.revoked_at_ms),
            revoked_why: c.revoked_why.clone(),
        }
    }
}
