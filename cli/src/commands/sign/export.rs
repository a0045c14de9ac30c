//! `wardround sign export`: what is to be signed, with everything that explains it, in one file.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use wardround_rollout_plans::model::{
    Command, DeviceId, Order, REASON_BYTES_MAX, RollBackTarget, RolloutId, SiteId, Timestamp, WaveName,
};
use wardround_signing::Envelope;

use super::document::{self, Fetched};
use crate::{
    client::Controller,
    commands::rollout::{
        cosign,
        order::{document_digest, lifted},
    },
    failure::{Exit, Failure},
    output,
    repository::Repository,
    request::{Reading, Request},
    session::Session,
    when,
};

/// Write what is to be signed into a file for a machine without a network
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  wardround sign export patch KB4500331
  wardround sign export rollout winter-1
  wardround sign export order winter-1 approve --wave pilot --reason \"canary is well\"
  wardround sign export order winter-1 roll-back --site rx1 --reason \"viewer shows no images\"
  wardround sign export cosign winter-1")]
pub(super) struct Export {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// A patch
    Patch {
        /// Patch id
        id: String,
        #[command(flatten)]
        out: Out,
    },
    /// A rollout
    Rollout {
        /// Rollout id
        id: String,
        #[command(flatten)]
        out: Out,
    },
    /// An order about a rollout; it counts only while no other order comes first, except a halt
    Order(ExportOrder),
    /// An order that waits for its second person: a resume or a rollback
    Cosign {
        /// Rollout id
        id: String,
        /// Which order, by its number; needed only where several wait
        #[arg(long, value_name = "NUMBER")]
        order: Option<u64>,
        #[command(flatten)]
        out: Out,
    },
}

#[derive(Debug, Args)]
struct Out {
    /// Where it goes; ID.request.json if not given
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ExportOrder {
    /// Rollout id
    id: String,
    /// What is ordered
    #[arg(value_enum)]
    command: Word,
    /// The wave to approve, or to take the patch back from
    #[arg(long)]
    wave: Option<WaveName>,
    /// Take the patch back from this device
    #[arg(long, conflicts_with_all = ["wave", "site", "all"])]
    device: Option<DeviceId>,
    /// Take the patch back from every device of this site
    #[arg(long, conflicts_with_all = ["wave", "all"])]
    site: Option<SiteId>,
    /// Take the patch back from every device
    #[arg(long, conflicts_with = "wave")]
    all: bool,
    /// Why, for the record
    #[arg(long, default_value = "")]
    reason: String,
    #[command(flatten)]
    out: Out,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Word {
    Start,
    Approve,
    Pause,
    Resume,
    Halt,
    RollBack,
    Cancel,
}

#[derive(Serialize)]
struct Done {
    subject: String,
    request: String,
}

impl Export {
    pub(super) async fn run(&self, session: &Session) -> Result<Exit, Failure> {
        let controller = session.connect().await?;
        let repository = Repository::open(&controller, &session.operator_folder()?).await?;
        let (request, out, name) = match &self.what {
            What::Patch { id, out } => {
                let (path, document) = document::patch(&controller, id).await?;
                let listing = repository.listing_for(&path, document.as_bytes()).await?;
                (Request::Patch { document, listing }, out, id.clone())
            }
            What::Rollout { id, out } => {
                let Fetched { path, document, patch, members } = document::rollout(&controller, id, true).await?;
                let listing = repository.listing_for(&path, document.as_bytes()).await?;
                (Request::Rollout { document, patch, members, listing }, out, id.clone())
            }
            What::Order(order) => {
                let command = order.command()?;
                let name = format!("{}-{}", order.id, command.word());
                (
                    about(&controller, &repository, &order.id, order.order(&controller, command).await?).await?,
                    &order.out,
                    name,
                )
            }
            What::Cosign { id, order, out } => {
                let rollout = controller.rollout(id).await?;
                let (envelope, order) = cosign::read(&rollout, cosign::choose(&rollout, *order)?)?;
                let name = format!("{id}-{}", order.counter);
                (about(&controller, &repository, id, envelope).await?, out, name)
            }
        };
        // What the other machine would refuse is refused here, where somebody can ask why.
        let subject = Reading::new(request.clone(), when::now_ms())?.subject.to_string();
        let path = out.out.clone().unwrap_or_else(|| format!("{name}.request.json").into());
        request.save(&path)?;
        let done = Done { subject, request: path.display().to_string() };
        output::emit(session.format(), &done, || {
            format!(
                "request to sign {}: {}\nnext: `wardround sign {} --key KEY` on the signer's machine",
                done.subject, done.request, done.request
            )
        })?;
        Ok(Exit::Ok)
    }
}

impl ExportOrder {
    fn command(&self) -> Result<Command, Failure> {
        let place = match self {
            Self { device: Some(device), .. } => Some(RollBackTarget::Device { device: device.clone() }),
            Self { site: Some(site), .. } => Some(RollBackTarget::Site { site: site.clone() }),
            Self { wave: Some(wave), .. } => Some(RollBackTarget::Wave { wave: wave.clone() }),
            Self { all: true, .. } => Some(RollBackTarget::Rollout),
            _ => None,
        };
        let plain = |command: Command| match place {
            None => Ok(command),
            Some(_) => Err(Failure::usage(format!("an order to {} takes no place", command.word()))),
        };
        match self.command {
            Word::Start => plain(Command::Start),
            Word::Pause => plain(Command::Pause),
            // The halts in force are named when it is known which those are.
            Word::Resume => plain(Command::Resume { lifts: Vec::new() }),
            Word::Halt => plain(Command::Halt),
            Word::Cancel => plain(Command::Cancel),
            Word::Approve => match place {
                Some(RollBackTarget::Wave { wave }) => Ok(Command::Approve { wave }),
                _ => Err(Failure::usage("which wave is approved? name it with --wave")),
            },
            Word::RollBack => match place {
                Some(target) if !self.reason.is_empty() => Ok(Command::RollBack { target }),
                Some(_) => Err(Failure::usage("why is the patch taken back? say it with --reason")),
                None => Err(Failure::usage("where from? name --device, --site, --wave or --all")),
            },
        }
    }

    /// The order, unsigned.
    async fn order(&self, controller: &Controller, command: Command) -> Result<Envelope, Failure> {
        if self.reason.len() > REASON_BYTES_MAX {
            return Err(Failure::usage(format!("the reason is longer than {REASON_BYTES_MAX} bytes")));
        }
        let standing = controller.rollout(&self.id).await?;
        let command = match command {
            Command::Resume { .. } => Command::Resume { lifts: lifted(&standing)? },
            other => other,
        };
        let order = Order {
            rollout: RolloutId::new(&self.id).map_err(|e| Failure::usage(e.to_string()))?,
            digest: document_digest(&standing)?,
            counter: standing.order_counter.saturating_add(1),
            issued_at: Timestamp(when::now_ms()),
            command,
            reason: self.reason.clone(),
        };
        Envelope::unsigned(&order).map_err(|e| Failure::new(e.to_string()))
    }
}

/// An order with the rollout that it is about.
async fn about(
    controller: &Controller,
    repository: &Repository,
    id: &str,
    envelope: Envelope,
) -> Result<Request, Failure> {
    let Fetched { document: rollout, patch, members, .. } = document::rollout(controller, id, false).await?;
    Ok(Request::Order { document: envelope, rollout, patch, members, listing: repository.listing() })
}
