//! Who may call what: the one table.
//!
//! It decides who may *talk*. A certificate's role never stands in for a signature: a patch, a rollout or an order counts by the
//! keys of the people who signed it, whoever carried it here (DESIGN "Trust", 6).

use crate::ca::{OperatorRole, OperatorRoles};

/// Whom a method is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Anyone, without a certificate.
    Anyone,
    /// Any operator and the present node of any site.
    AnyCertificate,
    /// The present node of a site.
    Node,
    /// The present node of a site, or an operator with one of these roles.
    NodeOr(Roles),
    /// An operator with one of these roles.
    Operator(Roles),
}

/// For each role whether it may, in the order of [`OperatorRole::ALL`].
pub(crate) type Roles = [bool; OperatorRole::ALL.len()];

use Access::{AnyCertificate, Anyone, Node, NodeOr, Operator};

/// May.
const Y: bool = true;
/// May not.
const N: bool = false;
/// Whoever works here may look at everything, the auditor too.
const READ: Roles = [Y, Y, Y, Y, Y];

/// Method, whom it is for, and whether it may take as long as it needs (the others are cut off after a time).
///
/// The columns: release manager, clinical safety officer, on-call, site engineer, auditor.
const TABLE: &[(&str, Access, bool)] = &[
    // Nodes and who wants to become one.
    ("wardround.v1.EnrolmentService/Enrol", Anyone, false),
    ("wardround.v1.CertificateService/RenewCertificate", Node, false),
    ("wardround.v1.NodeService/CheckIn", Node, false),
    ("wardround.v1.NodeService/Watch", Node, false),
    ("wardround.v1.NodeService/FetchChunks", Node, false),
    ("wardround.v1.NodeService/FetchDocument", Node, false),
    ("wardround.v1.NodeService/ReportInventory", Node, false),
    // A token takes over a site. Shutting a node out is wanted at 3 a.m. too.
    ("wardround.v1.TokenService/CreateToken", Operator([N, N, N, Y, N]), false),
    ("wardround.v1.AccessService/RevokeNode", Operator([N, N, Y, Y, N]), false),
    // Those who decide about patches shut out operators; who only enrols or reads does not.
    ("wardround.v1.AccessService/RevokeOperator", Operator([Y, Y, Y, N, N]), false),
    ("wardround.v1.AccessService/ListOperators", Operator(READ), false),
    // Signed metadata comes from the people who sign.
    ("wardround.v1.ImageService/FetchMetadata", NodeOr(READ), false),
    ("wardround.v1.ImageService/FetchStaged", Operator(READ), false),
    ("wardround.v1.ImageService/GetRepository", Operator(READ), false),
    ("wardround.v1.ImageService/SubmitMetadata", Operator([Y, Y, N, N, N]), false),
    // A release manager imports and drafts; signatures come as metadata, above.
    ("wardround.v1.PatchService/FindMissingChunks", Operator([Y, N, N, N, N]), true),
    ("wardround.v1.PatchService/UploadChunks", Operator([Y, N, N, N, N]), true),
    ("wardround.v1.PatchService/CreatePatch", Operator([Y, N, N, N, N]), true),
    ("wardround.v1.PatchService/GetPatch", Operator(READ), false),
    ("wardround.v1.PatchService/ListPatches", Operator(READ), false),
    ("wardround.v1.RolloutService/PreviewPlan", Operator(READ), false),
    ("wardround.v1.RolloutService/CreateRollout", Operator([Y, N, N, N, N]), false),
    ("wardround.v1.RolloutService/AmendRollout", Operator([Y, N, N, N, N]), false),
    ("wardround.v1.RolloutService/GetRollout", Operator(READ), false),
    ("wardround.v1.RolloutService/ListRollouts", Operator(READ), false),
    ("wardround.v1.RolloutService/WatchRollout", Operator(READ), false),
    ("wardround.v1.RolloutService/ListMembers", Operator(READ), false),
    ("wardround.v1.RolloutService/ListDeployments", Operator(READ), false),
    // What makes more happen.
    ("wardround.v1.RolloutService/StartRollout", Operator([Y, N, N, N, N]), false),
    ("wardround.v1.RolloutService/ApproveWave", Operator([Y, Y, Y, N, N]), false),
    ("wardround.v1.RolloutService/ResumeRollout", Operator([Y, Y, Y, N, N]), false),
    ("wardround.v1.RolloutService/CancelRollout", Operator([Y, N, N, N, N]), false),
    ("wardround.v1.RolloutService/ReleaseWave", Operator([Y, Y, Y, N, N]), false),
    ("wardround.v1.RolloutService/WithdrawOrder", Operator([Y, Y, Y, N, N]), false),
    ("wardround.v1.RolloutService/RollBackRollout", Operator([Y, Y, Y, N, N]), false),
    // What makes less happen is open to everybody who works here: a signed halt in a site engineer's hand must not fail for
    // want of a certificate. The auditor stands outside.
    ("wardround.v1.RolloutService/PauseRollout", Operator([Y, Y, Y, Y, N]), false),
    ("wardround.v1.RolloutService/HoldWave", Operator([Y, Y, Y, Y, N]), false),
    ("wardround.v1.RolloutService/HaltRollout", Operator([Y, Y, Y, Y, N]), false),
    // Looking.
    ("wardround.v1.EstateService/GetSite", Operator(READ), false),
    ("wardround.v1.EstateService/ListSites", Operator(READ), false),
    ("wardround.v1.EstateService/ListDevices", Operator(READ), false),
    ("wardround.v1.EstateService/ListClinicalSystems", Operator(READ), false),
    ("wardround.v1.EstateService/ListAlarms", Operator(READ), false),
    ("wardround.v1.EstateService/GetDevice", Operator(READ), false),
    ("wardround.v1.EstateService/ListDrift", Operator(READ), false),
    ("wardround.v1.AuditService/ListRecords", Operator(READ), false),
    ("wardround.v1.AuditService/GetCheckpoint", Operator(READ), false),
    ("wardround.v1.AuditService/GetTile", Operator(READ), false),
    ("wardround.v1.AuditService/GetConsistencyProof", Operator(READ), false),
    ("wardround.v1.AuditService/ListCosignatures", Operator(READ), false),
    ("grpc.health.v1.Health/Check", Anyone, false),
    ("grpc.health.v1.Health/Watch", Anyone, false),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", AnyCertificate, true),
];

/// The roles of a row.
pub(crate) fn named(row: Roles) -> OperatorRoles {
    OperatorRole::ALL.into_iter().zip(row).filter_map(|(role, may)| may.then_some(role)).collect()
}

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
