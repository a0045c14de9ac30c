//! People at their metadata: the ceremony, reading the repository as a node does, signing new versions.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use tonic::{Code, transport::Channel};
use wardround_controller::{import_root, make_online_keys};
use wardround_proto::v1::{self, image_service_client::ImageServiceClient};
use wardround_signing::tuf::{
    Ceremony, Fetch, Fetched, Files, Floors, Images, Kind, Member, Metadata, Moment, OnlineKeys, RoleName, Root,
    Signed, Target, Targets, next_version,
};

use crate::world::{ANN, BEN, CYD, Operator, key};

/// Holders of root and targets.
pub(crate) const RAE: u8 = 11;
pub(crate) const ROB: u8 = 12;
pub(crate) const TIA: u8 = 13;
pub(crate) const TOM: u8 = 14;

pub(crate) fn now() -> Moment {
    Moment::from_ms(jiff::Timestamp::now().as_millisecond())
}

/// In a year.
pub(crate) fn later() -> Moment {
    now().plus_seconds(365 * 24 * 60 * 60)
}

/// Who begins.
pub(crate) fn ceremony(online: OnlineKeys) -> Ceremony {
    let member = |seed, holder: &str, roles: &[RoleName]| Member {
        holder: holder.to_owned(),
        key: wardround_signing::Signer::public(&key(seed)),
        roles: roles.iter().copied().collect(),
    };
    Ceremony {
        members: vec![
            member(RAE, "Rae Hill", &[RoleName::Root]),
            member(ROB, "Rob Moss", &[RoleName::Root]),
            member(TIA, "Tia Wood", &[RoleName::Targets]),
            member(TOM, "Tom Lake", &[RoleName::Targets]),
            member(ANN, "Ann Lee", &[RoleName::Release]),
            member(BEN, "Ben Ode", &[RoleName::Clinical]),
            member(CYD, "Cyd Roe", &[RoleName::OnCall]),
        ],
        online,
        thresholds: BTreeMap::new(),
        root_expires: later(),
        targets_expires: later(),
    }
}

/// A file with these people's signatures.
pub(crate) fn signed<M: Metadata>(metadata: M, seeds: &[u8]) -> Vec<u8> {
    let mut signed = Signed::new(metadata).unwrap();
    seeds.iter().for_each(|seed| signed.sign(&key(*seed)).unwrap());
    signed.to_bytes()
}

/// Holds the ceremony for a controller and imports its result.
pub(crate) fn begin(data: &Path) {
    let (root, targets) = ceremony(make_online_keys(data).unwrap()).first().unwrap();
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("1.root.json"), signed(root, &[RAE, ROB])).unwrap();
    fs::write(from.path().join("1.targets.json"), signed(targets, &[TIA, TOM])).unwrap();
    import_root(data, from.path()).unwrap();
}

struct Remote(Channel);

impl Fetch for Remote {
    fn metadata<'a>(&'a self, name: &'a str, max_bytes: u64) -> Fetched<'a> {
        let mut client = ImageServiceClient::new(self.0.clone()).max_decoding_message_size(8 * 1024 * 1024);
        Box::pin(async move {
            match client.fetch_metadata(v1::FetchMetadataRequest { name: name.to_owned(), max_bytes }).await {
                Ok(answer) => Ok(Some(answer.into_inner().metadata)),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(status.to_string()),
            }
        })
    }
}

/// A reader that keeps what it saw, as a node does.
pub(crate) struct Reader {
    root: Vec<u8>,
    files: Files,
    floors: Floors,
}

impl Reader {
    pub(crate) fn new(root: &[u8]) -> Self {
        Self { root: root.to_vec(), files: Files::new(), floors: Floors::default() }
    }

    pub(crate) async fn refresh(&mut self, channel: &Channel) -> Images {
        let from = Arc::new(Remote(channel.clone()));
        let kept = std::mem::take(&mut self.files);
        let refreshed = Images::refresh(&self.root, kept, from, &self.floors, now()).await;
        self.files = refreshed.files;
        let images = refreshed.result.unwrap();
        self.floors = images.raise(&self.floors);
        images
    }
}

impl Operator {
    pub(crate) fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone())
    }

    pub(crate) async fn metadata(&self, name: &str) -> Result<Vec<u8>, tonic::Status> {
        let request = v1::FetchMetadataRequest { name: name.to_owned(), max_bytes: 0 };
        Ok(self.images().fetch_metadata(request).await?.into_inner().metadata)
    }

    /// The repository, read for the first time.
    pub(crate) async fn read(&self) -> Images {
        let root = self.metadata("1.root.json").await.unwrap();
        Reader::new(&root).refresh(&self.channel).await
    }

    pub(crate) async fn submit(
        &self,
        role: &str,
        metadata: Vec<u8>,
    ) -> Result<v1::SubmitMetadataResponse, tonic::Status> {
        let request = v1::SubmitMetadataRequest { role: role.to_owned(), metadata };
        Ok(self.images().submit_metadata(request).await?.into_inner())
    }

    /// The next version of a listing, still to be signed.
    pub(crate) async fn next_listing(&self, role: RoleName) -> Targets {
        match self.read().await.standing().listing(role) {
            Some(present) => next_version(present.metadata(), later()),
            None => Targets::listing(later()),
        }
    }

    /// Signs for a document in one role, if it has not signed yet.
    pub(crate) async fn sign_for(
        &self,
        role: RoleName,
        path: &str,
        document: &[u8],
        seed: u8,
    ) -> Result<v1::SubmitMetadataResponse, tonic::Status> {
        let mut next = self.next_listing(role).await;
        if next.targets.get(path) == Some(&Target::of(document, Kind::of(path).unwrap())) {
            // It stands there already: the same version again changes nothing.
            let version = self.read().await.version(role);
            let present = self.metadata(&role.versioned(version)).await?;
            return self.submit(role.word(), present).await;
        }
        next.add_target(path, document, Kind::of(path).unwrap()).unwrap();
        self.submit(role.word(), signed(next, &[seed])).await
    }

    /// The next root, still to be signed.
    pub(crate) async fn next_root(&self) -> Root {
        next_version(self.read().await.root().metadata(), later())
    }
}
