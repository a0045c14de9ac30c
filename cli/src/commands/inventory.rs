//! An inventory, as it is shown by `wardround device` and by `wardround node inventory`.

use serde::Serialize;
use wardround_proto::v1;

use crate::{output, when};

/// What a device said of itself, as JSON. `null` and empty texts are what it did not say.
#[derive(Serialize)]
pub(crate) struct Shown {
    pub(crate) device: String,
    collected_at: Option<String>,
    missed_at: Option<String>,
    missed_why: String,
    platform: String,
    caption: String,
    nt_version: String,
    build: Option<u32>,
    service_pack: Option<u32>,
    architecture: String,
    language: String,
    product_type: String,
    embedded: Option<bool>,
    write_filters: Vec<String>,
    kernel: String,
    boot_time: Option<String>,
    restart_pending: Option<bool>,
    restart_reasons: Vec<String>,
    logged_on: Option<bool>,
    memory_bytes: Option<u64>,
    disks: Vec<Disk>,
    manufacturer: String,
    model: String,
    serial: String,
    installer_version: String,
    updates: Vec<Update>,
    updates_left_out: u32,
    update_sources: Vec<String>,
    products: Vec<Product>,
    products_left_out: u32,
    products_told: bool,
    packages: Vec<Package>,
    packages_left_out: u32,
    transport: String,
    collector: String,
    unanswered: Vec<String>,
    pub(crate) drift: Vec<Drift>,
    drift_left_out: u32,
}

#[derive(Serialize)]
struct Disk {
    name: String,
    free_bytes: Option<u64>,
    total_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Update {
    id: String,
    sources: Vec<String>,
}

#[derive(Serialize)]
struct Product {
    code: String,
    version: String,
    name: String,
    patches: Vec<String>,
}

#[derive(Serialize)]
struct Package {
    name: String,
    version: String,
    manager: String,
}

/// A difference, as JSON.
#[derive(Serialize)]
pub(crate) struct Drift {
    kind: String,
    subject: String,
    text: String,
    since: Option<String>,
}

impl Drift {
    fn new(drift: &v1::Drift) -> Self {
        Self {
            kind: drift.kind.clone(),
            subject: drift.subject.clone(),
            text: drift.text.clone(),
            since: when::rfc3339(drift.since_ms),
        }
    }
}

impl Shown {
    pub(crate) fn new(told: &v1::DeviceInventory) -> Self {
        let (facts, moment) = (told.facts.clone().unwrap_or_default(), told.moment.clone().unwrap_or_default());
        let disk = |d: v1::InventoryDisk| Disk { name: d.name, free_bytes: d.free_bytes, total_bytes: d.total_bytes };
        let product =
            |p: v1::InstalledProduct| Product { code: p.code, version: p.version, name: p.name, patches: p.patches };
        let package = |p: v1::InstalledPackage| Package { name: p.name, version: p.version, manager: p.manager };
        Self {
            device: told.device.clone(),
            collected_at: when::rfc3339(moment.collected_at_ms),
            missed_at: when::rfc3339(moment.missed_at_ms),
            missed_why: moment.missed_why,
            platform: facts.platform,
            caption: facts.caption,
            nt_version: facts.nt_version,
            build: facts.build,
            service_pack: facts.service_pack,
            architecture: facts.architecture,
            language: facts.language,
            product_type: facts.product_type,
            embedded: facts.embedded,
            write_filters: facts.write_filters,
            kernel: facts.kernel,
            boot_time: moment.boot_time_ms.and_then(when::rfc3339),
            restart_pending: moment.restart_pending,
            restart_reasons: moment.restart_reasons,
            logged_on: moment.logged_on,
            memory_bytes: facts.memory_bytes,
            disks: moment.disks.into_iter().map(disk).collect(),
            manufacturer: facts.manufacturer,
            model: facts.model,
            serial: facts.serial,
            installer_version: facts.installer_version,
            updates: facts.updates.into_iter().map(|u| Update { id: u.id, sources: u.sources }).collect(),
            updates_left_out: facts.updates_left_out,
            update_sources: facts.update_sources,
            products: facts.products.into_iter().map(product).collect(),
            products_left_out: facts.products_left_out,
            products_told: facts.products_told,
            packages: facts.packages.into_iter().map(package).collect(),
            packages_left_out: facts.packages_left_out,
            transport: facts.transport,
            collector: facts.collector,
            unanswered: facts.unanswered,
            drift: told.drift.iter().map(Drift::new).collect(),
            drift_left_out: told.drift_left_out,
        }
    }
}

/// For people.
pub(crate) fn people(told: &v1::DeviceInventory) -> String {
    let (facts, moment) = (told.facts.clone().unwrap_or_default(), told.moment.clone().unwrap_or_default());
    let mut lines = Vec::new();
    let mut line = |name: &str, value: String| {
        let value = if value.is_empty() { "unknown".to_owned() } else { output::one_line(&value) };
        lines.push(format!("{name:<16}{value}"));
    };
    line(
        "collected",
        match moment.collected_at_ms {
            0 => "never yet".to_owned(),
            at => format!("{} ago, by {} over {}", when::ago(at), facts.collector, facts.transport),
        },
    );
    if moment.missed_at_ms > 0 {
        line("last look", format!("{} ago, in vain: {}", when::ago(moment.missed_at_ms), moment.missed_why));
    }
    line("platform", facts.platform.clone());
    line("it says", facts.caption.clone());
    let number = |n: Option<u32>| n.map_or("unknown".to_owned(), |n| n.to_string());
    if facts.nt_version.is_empty() {
        line("kernel", facts.kernel.clone());
    } else {
        let (build, pack) = (number(facts.build), number(facts.service_pack));
        line("version", format!("NT {}, build {build}, service pack {pack}", facts.nt_version));
        line("kind", [&facts.product_type, &facts.architecture, &facts.language].map(String::as_str).join(" "));
        line("embedded", facts.embedded.map(yes_or_no).unwrap_or_default());
        let filters = facts.write_filters.join(", ");
        line("write filters", if filters.is_empty() { "none is on".to_owned() } else { filters });
        line("installer", facts.installer_version.clone());
    }
    line("machine", [&facts.manufacturer, &facts.model, &facts.serial].map(String::as_str).join(" ").trim().to_owned());
    line("memory", facts.memory_bytes.map(bytes).unwrap_or_default());
    for disk in &moment.disks {
        let size = |n: Option<u64>| n.map_or("unknown".to_owned(), bytes);
        line("disk", format!("{}: {} free of {}", disk.name, size(disk.free_bytes), size(disk.total_bytes)));
    }
    line("started", moment.boot_time_ms.map(when::local).unwrap_or_default());
    let pending = moment.restart_pending.map(yes_or_no).unwrap_or_default();
    line("restart pending", [pending, moment.restart_reasons.join(", ")].join(" ").trim().to_owned());
    line("logged on", moment.logged_on.map(|is| if is { "somebody" } else { "nobody" }.to_owned()).unwrap_or_default());
    for why in &facts.unanswered {
        line("no answer", why.clone());
    }
    let mut text = lines.join("\n");
    let left_out = |n: u32, what: &str| if n > 0 { format!("\nand {n} {what} more") } else { String::new() };
    if !facts.updates.is_empty() {
        let rows = facts.updates.iter().map(|u| [u.id.clone(), u.sources.join(", ")]);
        text += &format!(
            "\n\n{}{}",
            output::table(["update", "told by"], rows),
            left_out(facts.updates_left_out, "updates")
        );
    }
    if !facts.products.is_empty() {
        let rows = facts
            .products
            .iter()
            .map(|p| [p.name.clone(), p.version.clone(), p.code.clone(), p.patches.len().to_string()]);
        text += &format!(
            "\n\n{}{}",
            output::table(["product", "version", "code", "patches"], rows),
            left_out(facts.products_left_out, "products")
        );
    }
    if !facts.packages.is_empty() {
        let count = facts.packages.len() as u64 + u64::from(facts.packages_left_out);
        text += &format!("\n\n{}: --output json lists them", output::count(count, "package"));
    }
    if !told.drift.is_empty() {
        text += &format!(
            "\n\n{}{}",
            drift_table(told.drift.iter().map(|d| (told.device.as_str(), d))),
            left_out(told.drift_left_out, "differences")
        );
    }
    text
}

/// A table of differences.
pub(crate) fn drift_table<'a>(drift: impl Iterator<Item = (&'a str, &'a v1::Drift)>) -> String {
    let rows = drift.map(|(device, d)| [device.to_owned(), d.kind.clone(), when::local(d.since_ms), d.text.clone()]);
    output::table(["device", "drift", "since", "what"], rows)
}

fn yes_or_no(is: bool) -> String {
    if is { "yes" } else { "no" }.to_owned()
}

fn bytes(n: u64) -> String {
    const GIB: u64 = 1024 * 1024 * 1024;
    if n >= GIB { format!("{} GiB", n / GIB) } else { format!("{} MiB", n / (1024 * 1024)) }
}
