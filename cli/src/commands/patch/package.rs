//! What a payload file says of itself, compared with what the manifest says of it. The controller never opens a package; here
//! is the last place where somebody can still correct it.

use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
};

use msi::{Package, PackageType, Select};
use wardround_rollout_plans::{
    model::{Installer, PackageManager, Platform},
    patch_file::VariantFile,
};

/// First bytes of the formats.
/// Sources: MS-CFB 2.2, MS-CAB 2.1, PE format (`MZ`), rpm's lead, deb(5).
const COMPOUND: &[u8] = &[0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1];
const CABINET: &[u8] = b"MSCF";
const PROGRAM: &[u8] = b"MZ";
const RPM: &[u8] = &[0xED, 0xAB, 0xEE, 0xDB];
/// ELF's mark, 64 bits, little endian (System V ABI, chapter 4, "ELF Identification").
const ELF: &[u8] = &[0x7F, b'E', b'L', b'F', 2, 1];
const DEB: &[u8] = b"!<arch>\n";

/// Longest beginning that is looked at.
const BEGIN_MAX: usize = 8;

/// What is wrong with the payload of `variants[index]`, each one sentence that names the field.
///
/// # Errors
/// When the file can't be read.
pub(super) fn faults(index: usize, variant: &VariantFile, path: &Path) -> io::Result<Vec<String>> {
    let mut faults = Vec::new();
    let mut add = |field: &str, message: String| faults.push(format!("variants[{index}].{field}: {message}"));
    let mut begin = Vec::new();
    File::open(path)?.take(BEGIN_MAX as u64).read_to_end(&mut begin)?;
    if let Some((wanted, what)) = format_of(&variant.installer)
        && !begin.starts_with(wanted)
    {
        add("payload.file", format!("{} is not {what}", path.display()));
        return Ok(faults);
    }
    match &variant.installer {
        Installer::Msi { product_code, display_version, .. } => match Database::read(path) {
            Err(why) => add("payload.file", format!("{} can't be read: {why}", path.display())),
            Ok(found) => product(&found, product_code, display_version.as_deref(), &variant.platforms, &mut add),
        },
        Installer::Msp { patch_code, .. } => match Database::read(path) {
            Err(why) => add("payload.file", format!("{} can't be read: {why}", path.display())),
            Ok(found) if found.kind != PackageType::Patch => {
                add("payload.file", format!("{} is a package, not a patch: its technology is msi", path.display()));
            }
            Ok(Database { code: Some(code), .. }) if !code.eq_ignore_ascii_case(patch_code) => {
                add("installer.patch_code", format!("the patch says that it is {code}, not {patch_code}"));
            }
            Ok(_) => {}
        },
        Installer::Node { .. } => {
            if let Some(message) = program_fault(path, &variant.platforms)? {
                add("payload.file", message);
            }
        }
        _ => {}
    }
    Ok(faults)
}

fn format_of(installer: &Installer) -> Option<(&'static [u8], &'static str)> {
    Some(match installer {
        Installer::Msi { .. } | Installer::Msp { .. } => (COMPOUND, "a Windows Installer file"),
        Installer::Hotfix { .. } => (PROGRAM, "a Windows program"),
        Installer::Msu { .. } | Installer::Cab { .. } => (CABINET, "a cabinet, as .msu and .cab files are"),
        Installer::LinuxPackage { manager: PackageManager::Rpm, .. } => (RPM, "an rpm package"),
        Installer::LinuxPackage { manager: PackageManager::Dpkg, .. } => (DEB, "a Debian package"),
        Installer::Node { .. } => (ELF, "a program for Linux (ELF)"),
        Installer::Script { .. } => return None,
    })
}

/// Processors as CPE names them, and `e_machine` of ELF (elf.h: EM_X86_64, EM_AARCH64).
const MACHINES: [(&str, u16); 2] = [("x64", 62), ("arm64", 183)];

/// Whether a program is whole, can be started, and is for the processor of its platforms. Source: System V ABI, chapter 4 and 5.
fn program_fault(path: &Path, platforms: &[Platform]) -> io::Result<Option<String>> {
    let mut header = [0_u8; 64];
    let mut file = File::open(path)?;
    if file.read_exact(&mut header).is_err() {
        return Ok(Some(format!("{} ends within its header", path.display())));
    }
    let half = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let long = |at: usize| header[at..at + 8].iter().rev().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    // ET_EXEC and ET_DYN: a program at a fixed place, or at any.
    if !matches!(half(16), 2 | 3) {
        return Ok(Some(format!("{} is an object, not a program", path.display())));
    }
    for platform in platforms {
        let wanted = MACHINES.iter().find(|(word, _)| *word == platform.hardware());
        if wanted.is_none_or(|(_, machine)| *machine != half(18)) {
            return Ok(Some(format!("{} is not for the processor of {platform}", path.display())));
        }
    }
    // The table of sections is what linkers write last: a file that was cut off lacks it.
    let sections = long(40).saturating_add(u64::from(half(58)).saturating_mul(u64::from(half(60))));
    let length = file.metadata()?.len();
    Ok((length < sections).then(|| format!("{} is cut off: it has {length} bytes of {sections}", path.display())))
}

/// What a Windows Installer file says of itself.
struct Database {
    kind: PackageType,
    /// Product code of a package, patch code of a patch, in braces.
    code: Option<String>,
    version: Option<String>,
    /// Processor of the template ("Intel", "x64"); learn.microsoft.com, "Template Summary property".
    processor: Option<String>,
}

impl Database {
    fn read(path: &Path) -> io::Result<Self> {
        let mut package = msi::open(path)?;
        let kind = package.package_type();
        let info = package.summary_info();
        let processor = info.arch().map(str::to_owned);
        // Of a patch the revision number is its code (learn.microsoft.com, "Revision Number Summary property").
        let revision = info.uuid().map(|uuid| format!("{{{}}}", uuid.to_string().to_uppercase()));
        if kind == PackageType::Patch {
            return Ok(Self { kind, code: revision, version: None, processor });
        }
        let (code, version) = (property(&mut package, "ProductCode")?, property(&mut package, "ProductVersion")?);
        Ok(Self { kind, code, version, processor })
    }
}

fn property(package: &mut Package<File>, name: &str) -> io::Result<Option<String>> {
    if !package.has_table("Property") {
        return Ok(None);
    }
    let mut rows = package.select_rows(Select::table("Property"))?;
    Ok(rows.find(|row| row["Property"].as_str() == Some(name)).and_then(|row| row["Value"].as_str().map(str::to_owned)))
}

fn product(
    found: &Database,
    product_code: &str,
    display_version: Option<&str>,
    platforms: &[Platform],
    add: &mut dyn FnMut(&str, String),
) {
    if found.kind != PackageType::Installer {
        return add(
            "payload.file",
            "it is a patch or a transform, not a package: a patch's technology is msp".to_owned(),
        );
    }
    match &found.code {
        Some(code) if code.eq_ignore_ascii_case(product_code) => {}
        Some(code) => add(
            "installer.product_code",
            format!(
                "the package installs product {code}, not {product_code}: it would neither be detected nor uninstalled"
            ),
        ),
        None => add("payload.file", "the package names no ProductCode".to_owned()),
    }
    // The registry shows DisplayVersion as the package's ProductVersion ("Uninstall Registry Key").
    if let (Some(wanted), Some(version)) = (display_version, &found.version)
        && wanted != version
    {
        add("installer.display_version", format!("the package installs version {version}, not {wanted}"));
    }
    let wide = found.processor.as_deref().is_some_and(|p| ["x64", "Intel64", "Arm64"].contains(&p));
    if wide && let Some(narrow) = platforms.iter().find(|platform| platform.hardware() == "x86") {
        add("platforms", format!("the package is for 64-bit Windows, {narrow} is not"));
    }
}

#[cfg(test)]
mod tests {
    use wardround_rollout_plans::patch_file::parse_patch_file;

    use super::*;

    const CODE: &str = "{1A2B3C4D-0000-4000-8000-000000000001}";

    fn variant(installer: &str, hardware: &str) -> VariantFile {
        let yaml = format!(
            "id: KB1\ntitle: T\nseverity: high\nvariants:\n  - id: a\n    \
             platforms: ['cpe:2.3:o:microsoft:windows_7:*:*:*:*:*:*:{hardware}:*']\n    payload: {{ file: a.{} }}\n    \
             installer: {{ technology: {installer} }}\n",
            installer.split(',').next().unwrap()
        );
        parse_patch_file(&yaml, "patch.yaml").unwrap().variants.remove(0)
    }

    /// A database as Windows Installer reads it, without the rest of a package.
    fn database(path: &Path, kind: PackageType, arch: &str) {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        let mut package = Package::create(kind, file).unwrap();
        package.summary_info_mut().set_arch(arch);
        package.summary_info_mut().set_uuid(CODE.trim_matches(['{', '}']).parse().unwrap());
        if kind == PackageType::Installer {
            let columns = vec![
                msi::Column::build("Property").primary_key().id_string(72),
                msi::Column::build("Value").text_string(0),
            ];
            package.create_table("Property", columns).unwrap();
            let rows = [("ProductCode", CODE), ("ProductVersion", "1.0.1")]
                .map(|(name, value)| vec![msi::Value::from(name), msi::Value::from(value)]);
            package.insert_rows(msi::Insert::into("Property").rows(rows.to_vec())).unwrap();
        }
        package.flush().unwrap();
    }

    #[test]
    fn a_package_is_what_the_manifest_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.msi");
        database(&path, PackageType::Installer, "x64");
        let said =
            |installer: &str, hardware: &str| faults(0, &variant(installer, hardware), &path).unwrap().join("\n");
        let msi = |code: &str, version: &str| format!("msi, product_code: '{code}', display_version: '{version}'");
        assert_eq!(said(&msi(&CODE.to_lowercase(), "1.0.1"), "x64"), "");
        let other = CODE.replace("0001", "0002");
        assert!(said(&msi(&other, "1.0.1"), "x64").contains(&format!("installs product {CODE}, not {other}")));
        assert!(said(&msi(CODE, "1.0.2"), "x64").contains("installs version 1.0.1, not 1.0.2"));
        assert!(said(&msi(CODE, "1.0.1"), "x86").contains("for 64-bit Windows"));
        assert!(said(&format!("msp, product_code: '{CODE}', patch_code: '{CODE}'"), "x64").contains("not a patch"));
        assert!(said("msu, kb: KB4012212", "x64").contains("is not a cabinet"));
    }

    #[test]
    fn a_patch_is_known_by_its_own_code() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.msp");
        database(&path, PackageType::Patch, "Intel");
        let said = |code: &str| {
            let installer = format!("msp, product_code: '{CODE}', patch_code: '{code}'");
            faults(0, &variant(&installer, "x64"), &path).unwrap().join("\n")
        };
        assert_eq!(said(CODE), "");
        assert!(said(&CODE.replace("0001", "0002")).contains("the patch says that it is"));
        let installer = format!("msi, product_code: '{CODE}'");
        assert!(faults(0, &variant(&installer, "x64"), &path).unwrap()[0].contains("technology is msp"));
    }

    #[test]
    fn a_program_of_a_node_is_whole_and_for_its_processor() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wardround");
        let said = |hardware: &str| {
            let yaml = format!(
                "id: W1\ntitle: T\nseverity: high\nvariants:\n  - id: a\n    \
                 platforms: ['cpe:2.3:a:wardround:node:*:*:*:*:*:*:{hardware}:*']\n    payload: {{ file: wardround }}\n    \
                 installer: {{ technology: node, version: 1.0.0 }}\n"
            );
            let variant = parse_patch_file(&yaml, "patch.yaml").unwrap().variants.remove(0);
            faults(0, &variant, &path).unwrap().join("\n")
        };
        let mut program = [ELF, &[0; 58]].concat();
        (program[16], program[18]) = (3, 62);
        // 2 sections of 64 bytes, from byte 128 on.
        (program[40], program[58], program[60]) = (128, 64, 2);
        program.resize(256, 0);
        std::fs::write(&path, &program).unwrap();
        assert_eq!(said("x64"), "");
        assert!(said("arm64").contains("not for the processor"));
        std::fs::write(&path, &program[..200]).unwrap();
        assert!(said("x64").contains("cut off: it has 200 bytes of 256"));
        std::fs::write(&path, &program[..20]).unwrap();
        assert!(said("x64").contains("ends within its header"));
        program[16] = 1;
        std::fs::write(&path, &program).unwrap();
        assert!(said("x64").contains("an object"));
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        assert!(said("x64").contains("is not a program for Linux"));
        // The very program that runs these tests.
        std::fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
        assert_eq!(said(wardround_node::program::hardware()), "");
    }

    #[test]
    fn junk_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.bin");
        for (installer, bytes) in [
            (format!("msi, product_code: '{CODE}'"), [COMPOUND, &[0; 600]].concat()),
            (format!("msi, product_code: '{CODE}'"), b"no package".to_vec()),
            ("msu, kb: KB4012212".to_owned(), b"PK\x03\x04".to_vec()),
            ("msu, kb: KB4012212".to_owned(), Vec::new()),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let said = faults(0, &variant(&installer, "x64"), &path).unwrap();
            assert_eq!(said.len(), 1, "{installer}: {said:?}");
            assert!(said[0].starts_with("variants[0].payload.file: "), "{said:?}");
        }
    }
}
