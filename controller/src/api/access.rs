//! Who may call what: the one table.

/// Whom a method is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone, without a certificate.
    Anyone,
    /// Anyone with a valid client certificate.
    AnyCertificate,
    /// The present node of a site.
    Node,
    /// The present node of a site, or an operator.
    NodeOrOperator,
    /// An operator. What an order may do is decided by its signature, not here.
    Operator,
}

use Access::{AnyCertificate, Anyone, Node, NodeOrOperator, Operator};

/// Method, whom it is for, and whether it may take as long as it needs (the others are cut off after a time).
const TABLE: &[(&str, Access, bool)] = &[
    ("wardround.v1.EnrolmentService/Enrol", Anyone, false),
    ("wardround.v1.CertificateService/RenewCertificate", Node, false),
    ("wardround.v1.TokenService/CreateToken", Operator, false),
    ("wardround.v1.NodeService/CheckIn", Node, false),
    ("wardround.v1.NodeService/Watch", Node, false),
    ("wardround.v1.NodeService/FetchChunks", Node, false),
    ("wardround.v1.NodeService/FetchDocument", Node, false),
    ("wardround.v1.ImageService/FetchMetadata", NodeOrOperator, false),
    ("wardround.v1.ImageService/FetchStaged", Operator, false),
    ("wardround.v1.ImageService/GetRepository", Operator, false),
    ("wardround.v1.ImageService/SubmitMetadata", Operator, false),
    ("wardround.v1.PatchService/FindMissingChunks", Operator, true),
    ("wardround.v1.PatchService/UploadChunks", Operator, true),
    ("wardround.v1.PatchService/CreatePatch", Operator, true),
    ("wardround.v1.PatchService/SignPatch", Operator, false),
    ("wardround.v1.PatchService/GetPatch", Operator, false),
    ("wardround.v1.PatchService/ListPatches", Operator, false),
    ("wardround.v1.RolloutService/PreviewPlan", Operator, false),
    ("wardround.v1.RolloutService/CreateRollout", Operator, false),
    ("wardround.v1.RolloutService/SignRollout", Operator, false),
    ("wardround.v1.RolloutService/GetRollout", Operator, false),
    ("wardround.v1.RolloutService/ListRollouts", Operator, false),
    ("wardround.v1.RolloutService/WatchRollout", Operator, false),
    ("wardround.v1.RolloutService/ListMembers", Operator, false),
    ("wardround.v1.RolloutService/ListDeployments", Operator, false),
    ("wardround.v1.RolloutService/StartRollout", Operator, false),
    ("wardround.v1.RolloutService/ApproveWave", Operator, false),
    ("wardround.v1.RolloutService/PauseRollout", Operator, false),
    ("wardround.v1.RolloutService/ResumeRollout", Operator, false),
    ("wardround.v1.RolloutService/HaltRollout", Operator, false),
    ("wardround.v1.RolloutService/RollBackRollout", Operator, false),
    ("wardround.v1.RolloutService/CancelRollout", Operator, false),
    ("wardround.v1.EstateService/GetSite", Operator, false),
    ("wardround.v1.EstateService/ListSites", Operator, false),
    ("wardround.v1.EstateService/ListDevices", Operator, false),
    ("wardround.v1.EstateService/ListClinicalSystems", Operator, false),
    ("wardround.v1.EstateService/ListAlarms", Operator, false),
    ("wardround.v1.AuditService/ListRecords", Operator, false),
    ("grpc.health.v1.Health/Check", Anyone, false),
    ("grpc.health.v1.Health/Watch", Anyone, false),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", AnyCertificate, true),
];

/// What the table says of an HTTP path; `None` for a method that is not there: nobody may call it.
pub(crate) fn of(path: &str) -> Option<(Access, bool)> {
    let method = path.strip_prefix('/')?;
    TABLE.iter().find(|(name, _, _)| *name == method).map(|(_, access, long)| (*access, *long))
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_stands_in_the_table_once_and_no_other() {
        let mut served = Vec::new();
        for bytes in [wardround_proto::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET] {
            for file in FileDescriptorSet::decode(bytes).unwrap().file {
                let package = file.package().to_owned();
                for service in &file.service {
                    served.extend(service.method.iter().map(|m| format!("{package}.{}/{}", service.name(), m.name())));
                }
            }
        }
        served.push("grpc.reflection.v1.ServerReflection/ServerReflectionInfo".to_owned());
        let mut listed: Vec<String> = TABLE.iter().map(|(name, _, _)| (*name).to_owned()).collect();
        served.sort();
        listed.sort();
        assert_eq!(served, listed);
        assert_eq!(of("/wardround.v1.RolloutService/Nonsense"), None);
    }
}
