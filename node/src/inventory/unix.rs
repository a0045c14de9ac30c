//! What is asked of a Linux or Unix device, and what its answers mean.

use wardround_proto::v1::{InstalledPackage, InventoryDisk, InventoryFacts, InventoryMoment};

use super::{DISKS_MAX, PACKAGES_MAX, bounded, clean};
use crate::transports::shell;

/// Sections and their lines. One package more than is kept tells a list that is longer.
pub(super) fn lines() -> Vec<(&'static str, String)> {
    let max = PACKAGES_MAX + 1;
    vec![
        (
            "release",
            "cat /etc/os-release 2>/dev/null || cat /etc/redhat-release /etc/SuSE-release 2>/dev/null".to_owned(),
        ),
        ("kernel", "uname -srm".to_owned()),
        ("memory", "cat /proc/meminfo".to_owned()),
        ("boot", "cat /proc/stat | grep '^btime '".to_owned()),
        ("disks", "df -Pk".to_owned()),
        ("who", "who | wc -l".to_owned()),
        ("vendor", "cat /sys/class/dmi/id/sys_vendor".to_owned()),
        ("product", "cat /sys/class/dmi/id/product_name".to_owned()),
        ("serial", "cat /sys/class/dmi/id/product_serial 2>/dev/null".to_owned()),
        (
            "rpm",
            format!(
                "command -v rpm > /dev/null && rpm -qa --qf '%{{NAME}}.%{{ARCH}}\\t%{{VERSION}}-%{{RELEASE}}\\n' 2>/dev/null \
                 | LC_ALL=C sort | head -n {max}"
            ),
        ),
        (
            "dpkg",
            format!(
                "command -v dpkg-query > /dev/null && dpkg-query -W -f '${{Package}}.${{Architecture}}\\t${{Version}}\\t${{Status}}\\n' \
                 2>/dev/null | LC_ALL=C sort | head -n {max}"
            ),
        ),
    ]
}

fn answered<'o>(output: &'o str, name: &str) -> Option<&'o str> {
    shell::section(output, name).filter(|(code, text)| *code == 0 && !text.trim().is_empty()).map(|(_, text)| text)
}

/// Takes the answers in.
pub(super) fn read(output: &str, facts: &mut InventoryFacts, moment: &mut InventoryMoment) {
    if let Some(text) = answered(output, "release") {
        let release = release(text);
        facts.platform = release.platform.unwrap_or_default();
        facts.caption = release.caption;
    }
    facts.kernel = answered(output, "kernel").map(clean).unwrap_or_default();
    facts.architecture = facts.kernel.rsplit(' ').next().map(hardware).unwrap_or_default();
    facts.memory_bytes = answered(output, "memory").and_then(memory);
    moment.boot_time_ms = answered(output, "boot").and_then(boot);
    moment.disks = answered(output, "disks").map(disks).unwrap_or_default();
    moment.logged_on = answered(output, "who").and_then(|text| text.trim().parse::<u32>().ok()).map(|n| n > 0);
    facts.manufacturer = answered(output, "vendor").map(clean).unwrap_or_default();
    facts.model = answered(output, "product").map(clean).unwrap_or_default();
    facts.serial = answered(output, "serial").map(clean).unwrap_or_default();
    let mut packages = Vec::new();
    for manager in ["rpm", "dpkg"] {
        packages.extend(
            answered(output, manager)
                .into_iter()
                .flat_map(|text| text.lines())
                .filter_map(|line| package(line, manager)),
        );
    }
    let (packages, left_out) = bounded(packages, PACKAGES_MAX);
    facts.packages = packages;
    facts.packages_left_out = left_out;
}

struct Release {
    platform: Option<String>,
    caption: String,
}

/// os-release(5): `NAME=value`, quoted or not; or the one line of older systems.
fn release(text: &str) -> Release {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned()).filter(|value| !value.is_empty())
    };
    let Some(id) = value("ID") else {
        let caption = clean(text.lines().next().unwrap_or_default());
        return Release { platform: old_release(&caption), caption };
    };
    let version = value("VERSION_ID");
    let platform = named(&id, version.as_deref());
    Release { platform, caption: value("PRETTY_NAME").or(value("NAME")).map(|name| clean(&name)).unwrap_or_default() }
}

/// "CentOS release 5.11 (Final)", "Red Hat Enterprise Linux Server release 5.11 (Tikanga)".
fn old_release(line: &str) -> Option<String> {
    let version = line.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    let ids = [("CentOS", "centos"), ("Red Hat", "rhel"), ("SUSE Linux Enterprise", "sles"), ("Fedora", "fedora")];
    let (_, id) = ids.iter().find(|(begin, _)| line.starts_with(begin))?;
    named(id, version)
}

/// Vendor and product of os-release's `ID` as the national database names them.
const PRODUCTS: &[(&str, &str)] = &[
    ("debian", "debian:debian_linux"),
    ("ubuntu", "canonical:ubuntu_linux"),
    ("centos", "centos:centos"),
    ("rhel", "redhat:enterprise_linux"),
    ("fedora", "fedoraproject:fedora"),
    ("sles", "suse:linux_enterprise_server"),
    ("opensuse-leap", "opensuse:leap"),
];

fn named(id: &str, version: Option<&str>) -> Option<String> {
    let (_, product) = PRODUCTS.iter().find(|(known, _)| *known == id)?;
    let fine = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let version = version.filter(fine).map_or("*".to_owned(), |version| version.replace('.', r"\."));
    let name = format!("cpe:2.3:o:{product}:{version}:*:*:*:*:*:*:*");
    wardround_rollout_plans::model::Platform::new(&name).ok().map(|platform| platform.to_string())
}

fn hardware(machine: &str) -> String {
    match machine {
        "x86_64" => "x64".to_owned(),
        "i386" | "i486" | "i586" | "i686" => "x86".to_owned(),
        "aarch64" => "arm64".to_owned(),
        other => clean(other),
    }
}

/// proc(5): "MemTotal:  1024 kB".
fn memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// proc(5): "btime 1764410383", seconds.
fn boot(text: &str) -> Option<i64> {
    text.trim().strip_prefix("btime ")?.trim().parse::<i64>().ok()?.checked_mul(1000)
}

/// POSIX `df -Pk`: file system, blocks of 1 KiB, used, available, capacity, where. Those of no device are left out.
fn disks(text: &str) -> Vec<InventoryDisk> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let bytes = |at: usize| words.get(at)?.parse::<u64>().ok()?.checked_mul(1024);
        let name = words.get(5).filter(|_| words[0].starts_with("/dev/"))?;
        Some(InventoryDisk { name: clean(name), free_bytes: bytes(3), total_bytes: bytes(1) })
    };
    text.lines().skip(1).filter_map(line).take(DISKS_MAX).collect()
}

fn package(line: &str, manager: &str) -> Option<InstalledPackage> {
    let mut parts = line.split('\t');
    let (name, version, status) = (parts.next()?.trim(), parts.next()?.trim(), parts.next());
    // dpkg also knows packages whose configuration alone is left.
    let counts = status.is_none_or(|status| status.trim().ends_with(" installed"));
    (counts && !name.is_empty() && !version.is_empty()).then(|| InstalledPackage {
        name: clean(name),
        version: clean(version),
        manager: manager.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn section(name: &str, answer: &str) -> String {
        format!("::begin {name}\n{answer}\n\n::end {name} 0\n")
    }

    #[test]
    fn a_linux_device_tells_what_it_is_made_of() {
        let output = [
            section("release", "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nID=debian\nVERSION_ID=\"12\""),
            section("kernel", "Linux 6.1.0-18-amd64 x86_64"),
            section("memory", "MemTotal:       16303112 kB\nMemFree: 1 kB"),
            section("boot", "btime 1764410383"),
            section("disks", "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 100 40 60 40% /\ntmpfs 9 0 9 0% /run"),
            section("who", "0"),
            section("dpkg", "bash.amd64\t5.2.15-2+b2\tinstall ok installed\nold.amd64\t1\tdeinstall ok config-files"),
        ]
        .concat();
        let (mut facts, mut moment) = (InventoryFacts::default(), InventoryMoment::default());
        read(&output, &mut facts, &mut moment);
        assert_eq!(facts.platform, "cpe:2.3:o:debian:debian_linux:12:*:*:*:*:*:*:*");
        assert_eq!((facts.caption.as_str(), facts.architecture.as_str()), ("Debian GNU/Linux 12 (bookworm)", "x64"));
        assert_eq!((facts.memory_bytes, moment.boot_time_ms), (Some(16_303_112 * 1024), Some(1_764_410_383_000)));
        assert_eq!(
            (moment.disks.len(), moment.disks[0].free_bytes, moment.logged_on),
            (1, Some(60 * 1024), Some(false))
        );
        assert_eq!((facts.packages.len(), facts.packages[0].name.as_str()), (1, "bash.amd64"));
        assert_eq!(facts.serial, "", "not told");
    }

    #[test]
    fn old_systems_have_one_line() {
        for (text, name) in [
            ("CentOS release 5.11 (Final)", Some(r"cpe:2.3:o:centos:centos:5\.11:*:*:*:*:*:*:*")),
            (
                "Red Hat Enterprise Linux Server release 5.11 (Tikanga)",
                Some(r"cpe:2.3:o:redhat:enterprise_linux:5\.11:*:*:*:*:*:*:*"),
            ),
            ("Something else 3", None),
        ] {
            assert_eq!(release(text).platform.as_deref(), name);
        }
        assert_eq!(
            release("ID=debian\nVERSION_ID=\"1:2*\"").platform.as_deref(),
            Some("cpe:2.3:o:debian:debian_linux:*:*:*:*:*:*:*:*")
        );
    }

    proptest! {
        #[test]
        fn a_hostile_device_breaks_nothing(text in "\\PC{0,300}") {
            let all: String = lines().iter().map(|(name, _)| section(name, &text)).collect();
            let (mut facts, mut moment) = (InventoryFacts::default(), InventoryMoment::default());
            read(&all, &mut facts, &mut moment);
            prop_assert!(facts.packages.len() <= PACKAGES_MAX);
        }
    }
}
