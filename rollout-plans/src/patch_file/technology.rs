//! The fields of installers and of what shows that a patch is there.

use super::read::ARGUMENT_BYTES;
use crate::{
    language::{
        reader::{Fields, Reader},
        tree::{Node, Value},
    },
    model::{
        Detection, FileVersion, Installer, Interpreter, NtVersion, PackageManager, PatchId, Platform, Prerequisite,
        Sign, Version,
    },
};

const INTERPRETERS: [(&str, Interpreter); 2] = [("sh", Interpreter::Sh), ("cmd", Interpreter::Cmd)];
const MANAGERS: [(&str, PackageManager); 2] = [("rpm", PackageManager::Rpm), ("dpkg", PackageManager::Dpkg)];
const GUID: &str = "\"{90120000-0030-0000-0000-0000000FF1CE}\"";

/// Technologies with the fields that each has.
const TECHNOLOGIES: [(&str, &[&str]); 8] = [
    ("msi", &["technology", "product_code", "display_version", "properties"]),
    ("msp", &["technology", "product_code", "patch_code", "properties"]),
    ("hotfix", &["technology", "kb", "switches"]),
    ("msu", &["technology", "kb", "package"]),
    ("cab", &["technology", "package"]),
    ("linux_package", &["technology", "manager", "name", "version", "replaces"]),
    ("script", &["technology", "interpreter"]),
    ("node", &["technology", "version"]),
];

fn argument(reader: &mut Reader, node: &Node, path: &str) -> Option<String> {
    reader.line(node, path, ARGUMENT_BYTES)
}

fn arguments(reader: &mut Reader, node: &Node, path: &str) -> Option<Vec<String>> {
    reader.list(node, path, argument)
}

pub(super) fn installer(reader: &mut Reader, node: &Node, path: &str) -> Option<Installer> {
    // Which fields there are depends on the technology, so that is looked at first.
    let technology = match &node.value {
        Value::Map(entries) => entries.iter().find(|(_, key, _)| key == "technology").map(|(_, _, value)| value),
        _ => None,
    };
    let named = TECHNOLOGIES
        .iter()
        .find(|(word, _)| matches!(technology.map(|t| &t.value), Some(Value::Text(text)) if text == word));
    let mut all: Vec<&'static str> = TECHNOLOGIES.iter().flat_map(|(_, fields)| fields.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    let fields = reader.fields(node, path, named.map_or(all.as_slice(), |(_, fields)| fields))?;
    let words = TECHNOLOGIES.map(|(word, _)| (word, word));
    let word = reader.required(&fields, "technology", "msi", |r, n, p| r.word(n, p, &words))?;
    let mut needed = |field: &'static str, example: &str| reader.required(&fields, field, example, argument);
    match word {
        "msi" => {
            let product_code = needed("product_code", GUID);
            let display_version = reader.optional(&fields, "display_version", argument);
            let properties = reader.optional(&fields, "properties", arguments).unwrap_or_default();
            Some(Installer::Msi { product_code: product_code?, display_version, properties })
        }
        "msp" => {
            let (product_code, patch_code) = (needed("product_code", GUID), needed("patch_code", GUID));
            let properties = reader.optional(&fields, "properties", arguments).unwrap_or_default();
            Some(Installer::Msp { product_code: product_code?, patch_code: patch_code?, properties })
        }
        "hotfix" => {
            let kb = needed("kb", "KB4500331");
            let switches = reader.optional(&fields, "switches", arguments);
            Some(Installer::Hotfix { kb: kb?, switches: switches.unwrap_or_default() })
        }
        "msu" => {
            let kb = needed("kb", "KB4012212");
            let package = reader.optional(&fields, "package", argument);
            Some(Installer::Msu { kb: kb?, package })
        }
        "cab" => {
            let package = needed("package", "Package_for_KB4012212~31bf3856ad364e35~amd64~~6.1.1.0");
            Some(Installer::Cab { package: package? })
        }
        "linux_package" => {
            let (name, version) = (needed("name", "openssl"), needed("version", "1.0.1e-60.el5"));
            let manager = reader.required(&fields, "manager", "rpm", |r, n, p| r.word(n, p, &MANAGERS));
            let replaces = reader.optional(&fields, "replaces", argument);
            Some(Installer::LinuxPackage { manager: manager?, name: name?, version: version?, replaces })
        }
        "node" => needed("version", "1.4.0").map(|version| Installer::Node { version }),
        _ => {
            let interpreter = reader.required(&fields, "interpreter", "sh", |r, n, p| r.word(n, p, &INTERPRETERS));
            Some(Installer::Script { interpreter: interpreter? })
        }
    }
}

/// A KB number alone is a hotfix of that name.
pub(super) fn prerequisite(reader: &mut Reader, node: &Node, path: &str) -> Option<Prerequisite> {
    let hint = "the id of a patch: usually a KB number, for example KB4500331";
    if matches!(node.value, Value::Text(_)) {
        let patch: PatchId = reader.parsed(node, path, hint)?;
        let kb = patch.to_string();
        return Some(Prerequisite { patch, sign: Sign::Hotfix { kb } });
    }
    let fields = reader.fields(
        node,
        path,
        &["id", "kb", "update", "package", "product_code", "display_version", "patch_code"],
    )?;
    let patch: Option<PatchId> = reader.required(&fields, "id", "KB4500331", |r, n, p| r.parsed(n, p, hint));
    let alone =
        !["kb", "update", "package", "product_code", "display_version", "patch_code"].iter().any(|f| fields.has(f));
    let patch = patch?;
    let sign = if alone { Sign::Hotfix { kb: patch.to_string() } } else { sign_of(reader, &fields, node, path)? };
    Some(Prerequisite { patch, sign })
}

/// What shows that a patch is there; a KB number alone is a hotfix until [`kb_of_platforms`] has looked.
fn sign(reader: &mut Reader, node: &Node, path: &str) -> Option<Sign> {
    if matches!(node.value, Value::Text(_)) {
        return argument(reader, node, path).map(|kb| Sign::Hotfix { kb });
    }
    let known = [
        "kb",
        "update",
        "package",
        "product_code",
        "display_version",
        "patch_code",
        "file",
        "version",
        "registry",
        "value",
        "data",
        "manager",
        "name",
    ];
    let fields = reader.fields(node, path, &known)?;
    sign_of(reader, &fields, node, path)
}

fn sign_of(reader: &mut Reader, fields: &Fields<'_>, node: &Node, path: &str) -> Option<Sign> {
    let mut text = |field: &'static str| reader.optional(fields, field, argument);
    let (kb, update, package) = (text("kb"), text("update"), text("package"));
    let (product_code, display_version, patch_code) =
        (text("product_code"), text("display_version"), text("patch_code"));
    let (file, version) = (text("file"), text("version"));
    let (key, value, data) = (text("registry"), text("value"), text("data"));
    let name = text("name");
    let manager = reader.optional(fields, "manager", |r, n, p| r.word(n, p, &MANAGERS));
    let given = [
        ("kb", kb.is_some()),
        ("update", update.is_some()),
        ("package", package.is_some()),
        ("product_code", product_code.is_some()),
        ("display_version", display_version.is_some()),
        ("patch_code", patch_code.is_some()),
        ("file", file.is_some()),
        ("version", version.is_some()),
        ("registry", key.is_some()),
        ("value", value.is_some()),
        ("data", data.is_some()),
        ("manager", manager.is_some()),
        ("name", name.is_some()),
    ];
    // Exactly these fields, so that none is read over.
    let only = |wanted: &[&str], may: &[&str]| {
        given.iter().all(|(field, there)| *there == wanted.contains(field) || (*there && may.contains(field)))
    };
    if only(&["kb"], &[]) {
        kb.map(|kb| Sign::Hotfix { kb })
    } else if only(&["update"], &["package"]) {
        update.map(|kb| Sign::Msu { kb, package })
    } else if only(&["package"], &[]) {
        package.map(|package| Sign::Cab { package })
    } else if only(&["product_code"], &["display_version"]) {
        product_code.map(|product_code| Sign::Msi { product_code, display_version })
    } else if only(&["product_code", "patch_code"], &[]) {
        product_code.zip(patch_code).map(|(product_code, patch_code)| Sign::Msp { product_code, patch_code })
    } else if only(&["file", "version"], &[]) {
        let version = reader.optional(fields, "version", |r, n, p| r.parsed(n, p, VERSION_HINT));
        file.zip(version).map(|(path, version)| Sign::File { path, version })
    } else if only(&["registry", "value"], &["data"]) {
        key.zip(value).map(|(key, value)| Sign::Registry { key, value, data })
    } else if only(&["manager", "name", "version"], &[]) {
        let (name, version) = name.zip(version)?;
        manager.map(|manager| Sign::LinuxPackage { manager, name, version })
    } else {
        let hint = "one of: `kb`; `update` (with `package`); `package`; `product_code` (with `display_version` or \
                    `patch_code`); `file` and `version`; `registry` and `value` (with `data`); `manager`, `name` and `version`";
        reader.problem(node.at, path, "it is not clear what shows that the patch is there", hint);
        None
    }
}

const VERSION_HINT: &str = "the version as the bulletin's file list gives it, for example 5.1.2600.7701";

pub(super) fn detection(reader: &mut Reader, node: &Node, path: &str) -> Option<Detection> {
    let fields = reader.fields(node, path, &["any_of", "files"])?;
    let any_of = reader.optional(&fields, "any_of", |r, n, p| r.list(n, p, sign));
    let files = reader.optional(&fields, "files", |r, n, p| r.list(n, p, file_version));
    Some(Detection { any_of: any_of.unwrap_or_default(), files: files.unwrap_or_default() })
}

fn file_version(reader: &mut Reader, node: &Node, path: &str) -> Option<FileVersion> {
    let fields = reader.fields(node, path, &["path", "version"])?;
    let file = reader.required(&fields, "path", r"%windir%\system32\drivers\termdd.sys", argument);
    let version: Option<Version> =
        reader.required(&fields, "version", "5.1.2600.7701", |r, n, p| r.parsed(n, p, VERSION_HINT));
    Some(FileVersion { path: file?, version: version? })
}

/// A KB number is a hotfix on NT 5, and an update of the servicing stack on what came later.
pub(super) fn kb_of_platforms(mut detection: Detection, platforms: &[Platform]) -> Detection {
    let mut versions = platforms.iter().flat_map(NtVersion::of).peekable();
    if versions.peek().is_some() && versions.all(|nt| nt >= NtVersion::VISTA) {
        for sign in &mut detection.any_of {
            if let Sign::Hotfix { kb } = sign {
                *sign = Sign::Msu { kb: kb.clone(), package: None };
            }
        }
    }
    detection
}
