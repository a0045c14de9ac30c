//! What is asked of a Windows device, and what its answers mean.
//!
//! Two questions: its own management interface and Windows Installer, by VBScript (there from Windows 2000 on), and its
//! registry, by `reg.exe`. Each line of the script's output is `::inv WORD` and values between tabs.

use std::collections::{BTreeMap, BTreeSet};

use wardround_proto::v1::{InstalledProduct, InstalledUpdate, InventoryDisk, InventoryFacts, InventoryMoment};

use super::{DISKS_MAX, PRODUCT_PATCHES_MAX, PRODUCTS_MAX, UPDATES_MAX, bounded, clean};
use crate::transports::{cim_ms, shell};

/// The script's name on the device.
pub(super) const SCRIPT: &str = "wr-inventory.vbs";
/// Hotfixes that update.exe recorded. KB262841.
const HOTFIX_KEY: &str = r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion\HotFix";
/// Updates by product and service pack, as the bulletins name them (MS08-067). Each has this value.
const UPDATES_KEY: &str = r"HKLM\SOFTWARE\Microsoft\Updates";
const UPDATES_VALUE: &str = "InstalledDate";
/// Its suite: "EmbeddedNT" on embedded Windows (learn.microsoft.com, OSVERSIONINFOEX, `VER_SUITE_EMBEDDEDNT`).
const OPTIONS_KEY: &str = r"HKLM\SYSTEM\CurrentControlSet\Control\ProductOptions";
/// There wherever the registry can be read.
const CANARY: (&str, &str) = (r"HKLM\SOFTWARE\Microsoft\Windows NT\CurrentVersion", "CurrentVersion");

/// Lines that ask the registry: name of the section and line.
pub(super) fn registry_lines() -> Vec<(&'static str, String)> {
    vec![
        ("canary", format!("reg query \"{}\" /v {} 2>nul", CANARY.0, CANARY.1)),
        // Set where a 32-bit program runs on a 64-bit Windows: it sees half of the registry.
        ("half", "echo [%PROCESSOR_ARCHITEW6432%]".to_owned()),
        ("suite", format!("reg query \"{OPTIONS_KEY}\" /v ProductSuite 2>nul")),
        ("hotfix", format!("reg query \"{HOTFIX_KEY}\" 2>nul")),
        ("updates", format!("reg query \"{UPDATES_KEY}\" /s /v {UPDATES_VALUE} 2>nul")),
    ]
}

/// The script. Whoever is logged on is told by yes and no: the name stays on the device. Lists end where they are too long.
pub(super) fn script() -> String {
    let lines = [
        "Option Explicit".to_owned(),
        "Dim wmi, installer, one, n".to_owned(),
        "On Error Resume Next".to_owned(),
        r#"Set wmi = GetObject("winmgmts:\\.\root\cimv2")"#.to_owned(),
        r#"For Each one In wmi.ExecQuery("SELECT Caption, LastBootUpTime FROM Win32_OperatingSystem")"#.to_owned(),
        r#"  Tell "os", Array(one.Caption, one.LastBootUpTime)"#.to_owned(),
        "Next".to_owned(),
        r#"For Each one In wmi.ExecQuery("SELECT Manufacturer, Model, TotalPhysicalMemory FROM Win32_ComputerSystem")"#
            .to_owned(),
        r#"  Tell "machine", Array(one.Manufacturer, one.Model, one.TotalPhysicalMemory)"#.to_owned(),
        "Next".to_owned(),
        "Err.Clear".to_owned(),
        r#"For Each one In wmi.ExecQuery("SELECT UserName FROM Win32_ComputerSystem")"#.to_owned(),
        r#"  If Err.Number = 0 Then"#.to_owned(),
        r#"    If Len(one.UserName & "") > 0 Then Tell "user", Array("yes") Else Tell "user", Array("no")"#.to_owned(),
        "  End If".to_owned(),
        "Next".to_owned(),
        r#"For Each one In wmi.ExecQuery("SELECT SerialNumber FROM Win32_BIOS")"#.to_owned(),
        r#"  Tell "bios", Array(one.SerialNumber)"#.to_owned(),
        "Next".to_owned(),
        // 3 is a local disk (learn.microsoft.com, Win32_LogicalDisk, DriveType).
        r#"For Each one In wmi.ExecQuery("SELECT DeviceID, DriveType, FreeSpace, Size FROM Win32_LogicalDisk")"#
            .to_owned(),
        r#"  If one.DriveType = 3 Then Tell "disk", Array(one.DeviceID, one.FreeSpace, one.Size)"#.to_owned(),
        "Next".to_owned(),
        "Err.Clear".to_owned(),
        "n = 0".to_owned(),
        r#"For Each one In wmi.ExecQuery("SELECT HotFixID FROM Win32_QuickFixEngineering")"#.to_owned(),
        "  n = n + 1".to_owned(),
        format!(r#"  If n <= {UPDATES_MAX} Then Tell "qfe", Array(one.HotFixID)"#),
        "Next".to_owned(),
        r#"If Err.Number = 0 Then Tell "qfes", Array(n)"#.to_owned(),
        "Err.Clear".to_owned(),
        "Servicing".to_owned(),
        "Err.Clear".to_owned(),
        r#"Set installer = CreateObject("WindowsInstaller.Installer")"#.to_owned(),
        r#"If Err.Number = 0 Then"#.to_owned(),
        r#"  Tell "installer", Array(installer.Version)"#.to_owned(),
        "  n = 0".to_owned(),
        "  For Each one In installer.Products".to_owned(),
        "    n = n + 1".to_owned(),
        format!("    If n <= {PRODUCTS_MAX} Then Product one"),
        "  Next".to_owned(),
        r#"  If Err.Number = 0 Then Tell "products", Array(n)"#.to_owned(),
        "End If".to_owned(),
        r#"WScript.Echo "::inv end""#.to_owned(),
        "Sub Product(code)".to_owned(),
        "  On Error Resume Next".to_owned(),
        "  Dim version, title, patches, patch, m".to_owned(),
        r#"  version = """#.to_owned(),
        r#"  title = """#.to_owned(),
        r#"  version = installer.ProductInfo(code, "VersionString")"#.to_owned(),
        r#"  title = installer.ProductInfo(code, "InstalledProductName")"#.to_owned(),
        r#"  Tell "product", Array(code, version, title)"#.to_owned(),
        "  Err.Clear".to_owned(),
        "  Set patches = installer.Patches(code)".to_owned(),
        "  If Err.Number = 0 Then".to_owned(),
        "    m = 0".to_owned(),
        "    For Each patch In patches".to_owned(),
        "      m = m + 1".to_owned(),
        format!(r#"      If m <= {PRODUCT_PATCHES_MAX} And Len(patch & "") > 0 Then Tell "patch", Array(code, patch)"#),
        "    Next".to_owned(),
        "  End If".to_owned(),
        // Wine does not do so by itself at the end of a procedure.
        "  Err.Clear".to_owned(),
        "End Sub".to_owned(),
        // Packages of component based servicing that are in force; the names of others stand there too.
        "Sub Servicing()".to_owned(),
        "  On Error Resume Next".to_owned(),
        "  Dim registry, names, name, state, m, key".to_owned(),
        r#"  key = "SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\Packages""#.to_owned(),
        r#"  Set registry = GetObject("winmgmts:\\.\root\default:StdRegProv")"#.to_owned(),
        "  If Err.Number <> 0 Then Exit Sub".to_owned(),
        "  If registry.EnumKey(&H80000002, key, names) <> 0 Then Exit Sub".to_owned(),
        "  If Err.Number <> 0 Then Exit Sub".to_owned(),
        "  If Not IsArray(names) Then Exit Sub".to_owned(),
        "  m = 0".to_owned(),
        "  For Each name In names".to_owned(),
        r#"    If InStr(1, name, "Package_for_KB", 1) = 1 Then"#.to_owned(),
        "      state = 0".to_owned(),
        r#"      registry.GetDWORDValue &H80000002, key & "\" & name, "CurrentState", state"#.to_owned(),
        "      m = m + 1".to_owned(),
        format!(
            r#"      If m <= {UPDATES_MAX} And (state = &H70 Or state = &H80 Or state = &H50) Then Tell "cbs", Array(name)"#
        ),
        "    End If".to_owned(),
        "  Next".to_owned(),
        r#"  If Err.Number = 0 Then Tell "cbss", Array(m)"#.to_owned(),
        "End Sub".to_owned(),
        "Sub Tell(word, values)".to_owned(),
        "  On Error Resume Next".to_owned(),
        "  Dim line, value".to_owned(),
        r#"  line = "::inv " & word"#.to_owned(),
        "  For Each value In values".to_owned(),
        r#"    line = line & vbTab & Left(Plain(value & ""), 120)"#.to_owned(),
        "  Next".to_owned(),
        "  WScript.Echo line".to_owned(),
        "  Err.Clear".to_owned(),
        "End Sub".to_owned(),
        "Function Plain(text)".to_owned(),
        r#"  Plain = Replace(Replace(Replace(text, vbTab, " "), vbCr, " "), vbLf, " ")"#.to_owned(),
        "End Function".to_owned(),
    ];
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

/// Values behind a word of the script's output.
struct Told<'o>(Vec<(&'o str, Vec<&'o str>)>);

impl<'o> Told<'o> {
    /// `None` when the output is not whole.
    fn read(output: &'o str) -> Option<Self> {
        let lines = output.lines().filter_map(|line| line.trim_matches([' ', '\r']).strip_prefix("::inv "));
        let told: Vec<(&str, Vec<&str>)> = lines
            .map(|line| {
                let mut parts = line.split('\t').map(str::trim);
                (parts.next().unwrap_or_default(), parts.collect())
            })
            .collect();
        told.last().is_some_and(|(word, _)| *word == "end").then_some(Self(told))
    }

    fn all(&self, word: &str) -> impl Iterator<Item = &[&'o str]> {
        self.0.iter().filter(move |(known, _)| *known == word).map(|(_, values)| values.as_slice())
    }

    fn value(&self, word: &str, at: usize) -> Option<&'o str> {
        self.all(word).next()?.get(at).copied().filter(|value| !value.is_empty())
    }

    fn text(&self, word: &str, at: usize) -> String {
        self.value(word, at).map(clean).unwrap_or_default()
    }

    /// The list's own count, where it came to its end.
    fn count(&self, word: &str) -> Option<usize> {
        self.value(word, 0)?.parse().ok()
    }
}

fn left_out(told: Option<usize>, max: usize) -> u32 {
    u32::try_from(told.unwrap_or(0).saturating_sub(max)).unwrap_or(u32::MAX)
}

/// Takes the script's output in; false when it is not whole, and nothing was taken.
pub(super) fn read_script(output: &str, facts: &mut InventoryFacts, moment: &mut InventoryMoment) -> bool {
    let Some(told) = Told::read(output) else { return false };
    if let Some(caption) = told.value("os", 0) {
        facts.caption = clean(caption);
    }
    moment.boot_time_ms = told.value("os", 1).and_then(cim_ms);
    facts.manufacturer = told.text("machine", 0);
    facts.model = told.text("machine", 1);
    facts.memory_bytes = told.value("machine", 2).and_then(|bytes| bytes.parse().ok());
    facts.serial = told.text("bios", 0);
    facts.installer_version = told.text("installer", 0);
    moment.logged_on = match told.value("user", 0) {
        Some("yes") => Some(true),
        Some("no") => Some(false),
        _ => None,
    };
    let disk = |values: &[&str]| InventoryDisk {
        name: values.first().copied().map(clean).unwrap_or_default(),
        free_bytes: values.get(1).and_then(|bytes| bytes.parse().ok()),
        total_bytes: values.get(2).and_then(|bytes| bytes.parse().ok()),
    };
    moment.disks = told.all("disk").take(DISKS_MAX).map(disk).collect();
    read_products(&told, facts);
    for (list, count, source) in [("qfe", "qfes", "qfe"), ("cbs", "cbss", "cbs")] {
        if let Some(all) = told.count(count) {
            let names = told.all(list).filter_map(|values| values.first().copied());
            add_updates(facts, source, names);
            facts.updates_left_out = facts.updates_left_out.saturating_add(left_out(Some(all), UPDATES_MAX));
        }
    }
    true
}

fn read_products(told: &Told<'_>, facts: &mut InventoryFacts) {
    let mut products: BTreeMap<String, InstalledProduct> = BTreeMap::new();
    for values in told.all("product").take(PRODUCTS_MAX) {
        let [code, version, name] = values else { continue };
        let code = clean(code).to_ascii_uppercase();
        let (version, name) = (clean(version), clean(name));
        products.insert(code.clone(), InstalledProduct { code, version, name, patches: Vec::new() });
    }
    for values in told.all("patch") {
        let [code, patch] = values else { continue };
        if let Some(product) = products.get_mut(&clean(code).to_ascii_uppercase())
            && product.patches.len() < PRODUCT_PATCHES_MAX
        {
            product.patches.push(clean(patch).to_ascii_uppercase());
        }
    }
    products.values_mut().for_each(|product| product.patches.sort());
    facts.products_told = told.count("products").is_some();
    facts.products_left_out = left_out(told.count("products"), PRODUCTS_MAX);
    facts.products = products.into_values().collect();
}

/// Takes the registry's answers in; false when they count for nothing, since the registry can't be read or half of it is hidden.
pub(super) fn read_registry(output: &str, facts: &mut InventoryFacts) -> bool {
    let there = |section: &str, value: &str| match shell::section(output, section) {
        Some((0, answer)) => shell::registry_value(answer, value),
        _ => None,
    };
    let whole = shell::section(output, "half").is_some_and(|(_, text)| text.trim() == "[]");
    if there("canary", CANARY.1).is_none() || !whole {
        return false;
    }
    facts.embedded = there("suite", "ProductSuite").map(|suite| suite.to_ascii_lowercase().contains("embeddednt"));
    for (section, source) in [("hotfix", "hotfix_key"), ("updates", "updates_key")] {
        // reg.exe ends with 1 for "not there"; that the registry can be read is known.
        if let Some((0 | 1, answer)) = shell::section(output, section) {
            let keys = answer.lines().map(str::trim).filter(|line| line.starts_with("HKEY_"));
            add_updates(facts, source, keys.filter_map(|key| key.rsplit('\\').next()));
        }
    }
    true
}

/// "KB2712101_Microsoft-Windows-…", "Package_1_for_KB976932~…" and "Q246009" as KB2712101, KB976932 and Q246009.
fn update_id(name: &str) -> Option<String> {
    let name = name.trim();
    let from = name.to_ascii_uppercase().find("_FOR_KB").map_or(0, |at| at + "_FOR_".len());
    let word: String = name.get(from..)?.chars().take_while(char::is_ascii_alphanumeric).collect();
    let word = word.to_ascii_uppercase();
    let digits = word.strip_prefix("KB").or_else(|| word.strip_prefix('Q'))?;
    // Windows adds letters to an id that comes twice: "KB980408v2".
    let number: String = digits.chars().take_while(char::is_ascii_digit).collect();
    ((4..=8).contains(&number.len())).then_some(word).filter(|word| word.len() <= 16)
}

fn add_updates<'n>(facts: &mut InventoryFacts, source: &str, names: impl Iterator<Item = &'n str>) {
    let found: BTreeSet<String> = names.filter_map(update_id).collect();
    facts.update_sources.push(source.to_owned());
    let mut all: BTreeMap<String, Vec<String>> =
        std::mem::take(&mut facts.updates).into_iter().map(|update| (update.id, update.sources)).collect();
    for id in found {
        all.entry(id).or_default().push(source.to_owned());
    }
    let updates = all.into_iter().map(|(id, sources)| InstalledUpdate { id, sources }).collect();
    let (updates, left_out) = bounded(updates, UPDATES_MAX);
    facts.updates = updates;
    facts.updates_left_out = facts.updates_left_out.saturating_add(left_out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As Wine 8 told it, with Windows XP x64's name.
    const WINE: &str = "::inv os\tMicrosoft Windows XP Professional x64 Edition\t20261129133915.320000+000\r\n\
        ::inv machine\tThe Wine Project\tWine\t25276506112\r\n::inv user\tyes\r\n::inv bios\t0\r\n\
        ::inv disk\tC:\t31341903872\t82252800000\r\n::inv qfe\tKB1234567\r\n::inv qfes\t1\r\n\
        ::inv installer\t4.5.6001.1\r\n\
        ::inv product\t{1A2B3C4D-0000-4000-8000-000000000042}\t1.2.3\tViewer\r\n::inv products\t1\r\n::inv end\r\n";

    fn of_script(output: &str) -> Option<(InventoryFacts, InventoryMoment)> {
        let (mut facts, mut moment) = (InventoryFacts::default(), InventoryMoment::default());
        read_script(output, &mut facts, &mut moment).then_some((facts, moment))
    }

    #[test]
    fn a_windows_tells_what_it_is_made_of() {
        let (facts, moment) = of_script(WINE).unwrap();
        assert_eq!(facts.caption, "Microsoft Windows XP Professional x64 Edition");
        assert_eq!(moment.boot_time_ms, Some(1_795_959_555_320));
        assert_eq!((facts.manufacturer.as_str(), facts.memory_bytes), ("The Wine Project", Some(25_276_506_112)));
        assert_eq!(moment.logged_on, Some(true));
        assert_eq!(moment.disks[0].free_bytes, Some(31_341_903_872));
        assert_eq!((facts.installer_version.as_str(), facts.products_told), ("4.5.6001.1", true));
        assert_eq!((facts.products[0].name.as_str(), facts.products[0].version.as_str()), ("Viewer", "1.2.3"));
        assert_eq!(facts.update_sources, ["qfe"]);
        assert_eq!(of_script(&WINE.replace("::inv end", "")), None, "cut off");
        let (facts, moment) = of_script("::inv end").unwrap();
        assert_eq!((facts, moment), Default::default(), "what it does not say is not known");
    }

    #[test]
    fn products_have_their_patches() {
        let code = "{1A2B3C4D-0000-4000-8000-000000000042}";
        let patch = format!("::inv patch\t{}\t{{aaaa}}\n::inv products", code.to_lowercase());
        let (facts, _) = of_script(&WINE.replace("::inv products", &patch)).unwrap();
        assert_eq!(facts.products[0].patches, ["{AAAA}"]);
        let (facts, _) = of_script(&WINE.replace("::inv products\t1", "::inv products\t700")).unwrap();
        assert_eq!(facts.products_left_out, 200);
    }

    fn section(name: &str, answer: &str, code: u32) -> String {
        format!("::begin {name}\n{answer}\n\n::end {name} {code}\n")
    }

    #[test]
    fn updates_come_from_several_places_and_each_is_named() {
        // XP's reg.exe prints keys and values so; KB958644's key is the one that MS08-067 names.
        let hotfix = "HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\HotFix\\KB958644\n\
                      HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows NT\\CurrentVersion\\HotFix\\Q246009\n";
        let updates = "\n! REG.EXE VERSION 3.0\n\nHKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Updates\\Windows XP\\SP4\\KB958644\n    \
                       InstalledDate\tREG_SZ\t11/3/2009\n";
        let canary = section("canary", "    CurrentVersion    REG_SZ    5.1", 0) + &section("half", "[]", 0);
        let suite = section("suite", "    ProductSuite\tREG_MULTI_SZ\tEmbeddedNT\\0", 0);
        let output = format!("{canary}{suite}{}{}", section("hotfix", hotfix, 0), section("updates", updates, 0));
        let mut facts = InventoryFacts::default();
        assert!(read_registry(&output, &mut facts));
        assert_eq!(facts.embedded, Some(true));
        assert_eq!(facts.update_sources, ["hotfix_key", "updates_key"]);
        assert_eq!(facts.updates[0].sources, ["hotfix_key", "updates_key"]);
        assert_eq!(facts.updates.iter().map(|u| u.id.as_str()).collect::<Vec<_>>(), ["KB958644", "Q246009"]);
        let none = format!("{canary}{}{}", section("hotfix", "", 1), section("updates", "", 9009));
        let mut facts = InventoryFacts::default();
        assert!(read_registry(&none, &mut facts));
        assert_eq!((facts.updates.len(), facts.embedded), (0, None));
        assert_eq!(facts.update_sources, ["hotfix_key"], "what was not answered is not empty");
        for blind in [output.replace("CurrentVersion    REG", "x    REG"), output.replace("[]", "[AMD64]")] {
            let mut facts = InventoryFacts::default();
            assert!(!read_registry(&blind, &mut facts), "half of the registry says nothing");
            assert_eq!(facts, InventoryFacts::default());
        }
    }

    #[test]
    fn an_update_has_one_id_wherever_it_stands() {
        for (name, id) in [
            ("KB2712101_Microsoft-Windows-CameraCodec-Package", Some("KB2712101")),
            ("Package_for_KB976932~31bf3856ad364e35~amd64~~6.1.1.17514", Some("KB976932")),
            ("Package_1_for_KB4012212~31bf3856ad364e35~amd64~~6.1.1.0", Some("KB4012212")),
            ("kb4012598", Some("KB4012598")),
            ("Q246009", Some("Q246009")),
            ("File 1", None),
            ("KB", None),
            ("Windows XP", None),
        ] {
            assert_eq!(update_id(name).as_deref(), id, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_hostile_device_breaks_nothing(lines in proptest::collection::vec("[ -~\t]{0,80}", 0..40)) {
            let words = ["os", "product", "patch", "products", "disk", "qfe", "qfes", "user"];
            let told: String =
                lines.iter().zip(words.iter().cycle()).map(|(line, word)| format!("::inv {word}\t{line}\n")).collect();
            if let Some((facts, _)) = of_script(&format!("{told}::inv end\n")) {
                prop_assert!(facts.products.len() <= PRODUCTS_MAX && facts.updates.len() <= UPDATES_MAX);
            }
            let mut facts = InventoryFacts::default();
            let _ = read_registry(&told, &mut facts);
        }
    }
}
