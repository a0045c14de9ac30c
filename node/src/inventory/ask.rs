//! One look at a device.

use wardround_proto::v1::{InventoryDisk, InventoryFacts, InventoryMoment};
use wardround_rollout_plans::model::{Platform, Timestamp};

use super::{FEW_MAX, clean, drift::Verdict, fit, unix, windows};
use crate::{
    device::{DeviceHandle, ask_with, facts},
    installers::{WindowsFacts, platform_mismatch},
    transports::{
        DeviceError, Transport,
        shell::{Section, Shell, quote},
    },
};

/// Directory of the questions on the device.
pub(super) const OP: &str = "inventory";

/// What a device said.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) facts: InventoryFacts,
    pub(super) moment: InventoryMoment,
    /// Whether it is what the site file declares.
    pub(super) platform: Verdict,
}

/// Asks everything. What has no answer is named in the facts; only a device that does not answer at all is an error.
pub(super) async fn ask(device: &DeviceHandle, at: Timestamp) -> Result<Found, DeviceError> {
    let transport = device.transport();
    transport.ping().await?;
    let mut moment = InventoryMoment { collected_at_ms: at.0, ..Default::default() };
    let mut found = InventoryFacts {
        transport: clean(&transport.words().await),
        collector: concat!("wardround-node ", env!("CARGO_PKG_VERSION")).to_owned(),
        ..Default::default()
    };
    let base = facts(transport).await?;
    moment.restart_pending = base.pending.as_ref().map(|pending| !pending.is_empty());
    moment.restart_reasons = base.pending.iter().flatten().take(FEW_MAX).map(|reason| clean(reason)).collect();
    found.write_filters = base.filters.iter().map(|filter| filter.word().to_owned()).collect();
    let mut unanswered = Vec::new();
    let platform = match (&base.windows, &base.claims) {
        (Some(told), _) => {
            of_windows(told, &mut found);
            ask_windows(transport, &mut found, &mut moment, &mut unanswered).await?;
            let declared = std::slice::from_ref(&device.config().platform);
            differs(platform_mismatch(told, declared, false, "the site file"))
        }
        // A directory stands for whatever its file says.
        (None, claims) if transport.local_root().is_some() => {
            found.platform =
                claims.as_deref().and_then(|name| Platform::new(name).ok()).map(|p| p.to_string()).unwrap_or_default();
            claimed(&device.config().platform, &found.platform)
        }
        (None, _) => {
            ask_unix(transport, &mut found, &mut moment).await?;
            named(&device.config().platform, &found.platform)
        }
    };
    if moment.disks.is_empty() && base.free_bytes.is_some() {
        let name = "the system's disk".to_owned();
        moment.disks.push(InventoryDisk { name, free_bytes: base.free_bytes, total_bytes: None });
    }
    found.unanswered = unanswered.into_iter().take(FEW_MAX).collect();
    fit(&mut found);
    Ok(Found { facts: found, moment, platform })
}

fn of_windows(told: &WindowsFacts, found: &mut InventoryFacts) {
    found.platform = told.platform().map(|platform| platform.to_string()).unwrap_or_default();
    found.nt_version = format!("{}.{}", told.nt.major, told.nt.minor);
    found.build = told.build;
    found.service_pack = told.service_pack.map(u32::from);
    found.architecture = told.hardware.clone().unwrap_or_default();
    found.language = told.language.clone().unwrap_or_default();
    let kind = |server: bool| if server { "server" } else { "workstation" };
    found.product_type = told.server.map(kind).unwrap_or_default().to_owned();
}

async fn ask_windows(
    transport: &Transport,
    found: &mut InventoryFacts,
    moment: &mut InventoryMoment,
    unanswered: &mut Vec<String>,
) -> Result<(), DeviceError> {
    let shell = Shell::Cmd;
    let path = quote(shell, &shell.join(&transport.op_dir(OP), windows::SCRIPT))?;
    let lines = windows::registry_lines();
    let mut sections: Vec<Section<'_>> =
        lines.iter().map(|(name, line)| Section { name, line: line.clone() }).collect();
    // The longest last: where it is cut off the others are whole.
    sections.push(Section { name: "script", line: format!("cscript //nologo {path} 2>&1") });
    let files = vec![(windows::SCRIPT.to_owned(), windows::script())];
    let output = ask_with(transport, OP, "inventory", &sections, files).await?;
    if !windows::read_registry(&output, found) {
        unanswered.push("registry: it can't be read as a whole".to_owned());
    }
    // Its end has a mark of its own.
    let script = output.split_once("::begin script\n").map(|(_, text)| text).unwrap_or_default();
    let script = script.split_once("\n::end script").map_or(script, |(text, _)| text);
    if !windows::read_script(script.trim_end(), found, moment) {
        let why = clean(crate::transports::tail(script, 120));
        unanswered.push(format!("script host: its answer is not whole: {why}"));
    }
    for source in ["hotfix_key", "updates_key", "qfe", "cbs"] {
        if !found.update_sources.iter().any(|known| known == source) {
            unanswered.push(format!("updates of {source}"));
        }
    }
    if !found.products_told {
        unanswered.push("products of Windows Installer".to_owned());
    }
    Ok(())
}

async fn ask_unix(
    transport: &Transport,
    found: &mut InventoryFacts,
    moment: &mut InventoryMoment,
) -> Result<(), DeviceError> {
    let lines = unix::lines();
    let sections: Vec<Section<'_>> = lines.iter().map(|(name, line)| Section { name, line: line.clone() }).collect();
    let output = ask_with(transport, OP, "inventory", &sections, Vec::new()).await?;
    unix::read(&output, found, moment);
    Ok(())
}

fn differs(sentence: Option<String>) -> Verdict {
    sentence.map_or(Verdict::Fine, Verdict::Differs)
}

fn says(declared: &Platform, told: &str) -> Verdict {
    Verdict::Differs(format!("the device says that it is {told}, and the site file declares {declared}"))
}

fn claimed(declared: &Platform, told: &str) -> Verdict {
    match Platform::new(told) {
        Ok(platform) if declared.matches(&platform) => Verdict::Fine,
        Ok(_) => says(declared, told),
        Err(_) => Verdict::Unknown,
    }
}

/// Vendor, product and version; of what either leaves open nothing is said.
fn named(declared: &Platform, told: &str) -> Verdict {
    if told.is_empty() {
        return Verdict::Unknown;
    }
    let part = |name: &str, at: usize| name.split(':').nth(at).unwrap_or("*").to_owned();
    let open = |part: &str| matches!(part, "*" | "-");
    let differs = (3..=5).any(|at| {
        let (wanted, found) = (part(declared.as_str(), at), part(told, at));
        !open(&wanted) && !open(&found) && wanted != found
    });
    if differs { says(declared, told) } else { Verdict::Fine }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linux_device_is_compared_by_what_both_say() {
        let declared = |name: &str| Platform::new(&format!("cpe:2.3:o:{name}:*:*:*:*:*:*:*")).unwrap();
        let told = r"cpe:2.3:o:centos:centos:5\.11:*:*:*:*:*:*:*";
        assert_eq!(named(&declared(r"centos:centos:5\.11"), told), Verdict::Fine);
        assert_eq!(named(&declared("centos:centos:*"), told), Verdict::Fine);
        assert!(matches!(named(&declared(r"centos:centos:6\.9"), told), Verdict::Differs(_)));
        assert!(matches!(named(&declared("debian:debian_linux:*"), told), Verdict::Differs(_)));
        assert_eq!(named(&declared("debian:debian_linux:*"), ""), Verdict::Unknown);
    }
}
