//! Resolution: a plan and a patch against the estate give the members of every wave.

use crate::{
    estate::Estate,
    language::{ParsedPlan, Problem},
    model::{DeviceId, Member, Patch},
};

/// A resolved plan, before it becomes a document.
#[derive(Debug, Clone)]
pub struct Resolution {
    /// Members, wave by wave, each wave sorted by device id: this is the Merkle leaf order.
    pub waves: Vec<Vec<Member>>,
    /// Devices that no wave takes, and why.
    pub left_out: Vec<(DeviceId, String)>,
    /// What a careful reader should know.
    pub warnings: Vec<String>,
}

/// Resolves. The same input gives the same output; adding a site moves no other site's devices between waves.
///
/// # Errors
/// Problems that point into the plan: a wave that selects nothing, a name that the estate does not know.
pub fn resolve(_plan: &ParsedPlan, _patch: &Patch, _estate: &Estate) -> Result<Resolution, Vec<Problem>> {
    todo!()
}
