//! Patch manifests: what is read, what is refused, and that a refused patch is refused wherever it comes from.
#![expect(clippy::unwrap_used, reason = "helpers outside of test functions; a panic is the failure")]

use wardround_rollout_plans::{
    model::{CHUNK_BYTES, Patch, Payload},
    patch_file::{lint_patch, parse_patch_file},
};
use wardround_signing::Digest;

const EXAMPLE: &str = include_str!("../examples/KB4500331.patch.yaml");

fn payload(bytes: &[u8]) -> Payload {
    Payload {
        file_name: String::new(),
        digest: Digest::of(bytes),
        length: bytes.len() as u64,
        chunks: bytes.chunks(CHUNK_BYTES as usize).map(Digest::of).collect(),
        sizes: Vec::new(),
    }
}

fn example() -> Patch {
    let file = parse_patch_file(EXAMPLE, "KB4500331.patch.yaml").unwrap();
    file.into_patch(vec![payload(b"xp package"), payload(&vec![7; 600_000])]).unwrap()
}

fn problems(yaml: &str) -> String {
    match parse_patch_file(yaml, "patch.yaml") {
        Ok(file) => panic!("accepted: {file:?}"),
        Err(problems) => problems.iter().map(|p| format!("{p}\n")).collect(),
    }
}

#[test]
fn the_shipped_manifest_becomes_a_patch() {
    let file = parse_patch_file(EXAMPLE, "KB4500331.patch.yaml").unwrap();
    assert_eq!(file.variants[0].payload.file, "payloads/WindowsXP-KB4500331-x86-Custom-ENU.exe");
    let patch = example();
    assert_eq!(patch.variants[0].payload.file_name, "WindowsXP-KB4500331-x86-Custom-ENU.exe");
    assert_eq!(patch.variants[1].payload.chunks.len(), 3);
    assert_eq!(lint_patch(&patch), [] as [String; 0]);
    let error = parse_patch_file(EXAMPLE, "x").unwrap().into_patch(vec![payload(b"one")]).unwrap_err();
    assert_eq!(error, ["1 payloads for 2 files"]);
    let error = parse_patch_file(EXAMPLE, "x").unwrap().into_patch(vec![payload(b"one"), payload(b"")]).unwrap_err();
    assert_eq!(error, ["variants[1].payload: the payload is empty"]);
}

const HEAD: &str = "id: KB1\ntitle: T\nseverity: high\nvariants:\n";

fn variant(id: &str, platform: &str, payload: &str, installer: &str) -> String {
    format!(
        "  - id: {id}\n    platforms: ['cpe:2.3:o:microsoft:{platform}']\n    payload: {payload}\n    installer: {installer}\n"
    )
}

#[test]
fn problems_point_at_their_lines() {
    let xp = "windows_xp:*:*:*:*:*:*:x86:*";
    let any = "windows_xp:*:sp3:*:*:*:*:*:*";
    let cases = [
        ("patch_empty", String::new()),
        ("patch_missing", "title: T\nvariants: []\n".to_owned()),
        (
            "patch_bad_values",
            "id: KB 1\ntitle: \"\"\nseverity: sever\ncves: [CVE-1, cve-2019-0708]\nsupersedes: KB2\nvariants: []\n"
                .to_owned(),
        ),
        (
            "patch_cves",
            format!(
                "id: KB1\ntitle: T\nseverity: low\ncves: [CVE-2019-1, BlueKeep]\nsupersedes: [KB1]\nvariants:\n{}",
                variant("a", xp, "{ file: a.exe }", "{ technology: hotfix, kb: 4500331x }")
            ),
        ),
        ("patch_no_variants", format!("{HEAD}  []\n")),
        (
            "patch_unknown_technology",
            format!("{HEAD}{}", variant("a", xp, "{ file: a.exe }", "{ technology: hotfx, kb: KB4500331 }")),
        ),
        (
            "patch_fields_of_another_technology",
            format!(
                "{HEAD}{}",
                variant("a", xp, "{ file: a.msi }", "{ technology: msi, kb: KB4500331, product_cod: x }")
            ),
        ),
        (
            "patch_msi",
            format!(
                "{HEAD}{}",
                variant(
                    "a",
                    xp,
                    "{ file: a.exe }",
                    "{ technology: msi, product_code: 'ABC', display_version: '1 0', properties: ['A=b c', REBOOT=Force, x] }"
                )
            ),
        ),
        (
            "patch_hotfix",
            format!(
                "{HEAD}{}",
                variant(
                    "a",
                    xp,
                    "{ file: a.exe }",
                    "{ technology: hotfix, kb: '45', switches: [/nobackup, quiet, '/log:a b'] }"
                )
            ),
        ),
        (
            "patch_script",
            format!("{HEAD}{}", variant("a", xp, "{ file: a.sh }", "{ technology: script, interpreter: cmd }")),
        ),
        (
            "patch_file_outside",
            format!(
                "{HEAD}{}{}",
                variant("a", xp, "{ file: ../a.exe }", "{ technology: hotfix, kb: KB4500331 }"),
                variant("b", xp, "{ file: 'c:\\a.exe' }", "{ technology: hotfix, kb: KB4500331 }")
            ),
        ),
        (
            "patch_file_name",
            format!(
                "{HEAD}{}",
                variant("a", xp, "{ file: 'my patch (1).exe' }", "{ technology: hotfix, kb: KB4500331 }")
            ),
        ),
        (
            "patch_overlap",
            format!(
                "{HEAD}{}{}",
                variant("a", xp, "{ file: a.exe }", "{ technology: hotfix, kb: KB4500331 }"),
                variant("a", any, "{ file: b.exe }", "{ technology: hotfix, kb: KB4500331 }")
            ),
        ),
        (
            "patch_as_the_document_has_it",
            format!(
                "{HEAD}{}",
                variant("a", xp, "{ file_name: a.exe, digest: x, length: 3 }", "{ technology: hotfix, kb: KB4500331 }")
            ),
        ),
    ];
    for (name, yaml) in cases {
        insta::assert_snapshot!(name, problems(&yaml), &yaml);
    }
}

#[test]
fn the_controller_refuses_what_the_manifest_could_not_say() {
    let change = |f: fn(&mut Patch)| {
        let mut patch = example();
        f(&mut patch);
        let faults = lint_patch(&patch);
        assert!(!faults.is_empty(), "accepted: {patch:?}");
        faults.join("\n")
    };
    let refusals = [
        change(|p| p.variants.clear()),
        change(|p| p.title = "two\nlines".into()),
        change(|p| p.title = "reads \u{202e}backwards".into()),
        change(|p| p.guidance = "\u{1b}[2Jnothing to see".into()),
        change(|p| p.cves.push("BlueKeep".into())),
        change(|p| p.supersedes.push(p.id.clone())),
        change(|p| p.variants[1].id = p.variants[0].id.clone()),
        change(|p| p.variants[1].platforms = p.variants[0].platforms.clone()),
        change(|p| p.variants[0].platforms.clear()),
        change(|p| p.variants[0].payload.file_name = "a b.exe".into()),
        change(|p| p.variants[0].payload.length = 0),
        change(|p| p.variants[0].payload.length = 3 * 1024 * 1024 * 1024),
        change(|p| p.variants[1].payload.length += CHUNK_BYTES),
        change(|p| p.variants[1].payload.chunks.truncate(2)),
        change(|p| p.variants[0].payload.chunks[0] = Digest::of(b"other")),
        change(|p| p.variants[1].payload.sizes = vec![200_000, 200_000, 200_001]),
        change(|p| p.variants[1].payload.sizes = vec![300_000, 300_000]),
        change(|p| p.variants[1].payload.sizes = vec![300_000, 0, 300_000]),
        change(|p| p.variants[1].payload.sizes = vec![u32::MAX, 1, 1]),
        change(|p| {
            p.variants[1].payload.chunks = vec![Digest::of(b"x"); 65_537];
            p.variants[1].payload.length = 65_537;
            p.variants[1].payload.sizes = vec![1; 65_537];
        }),
        change(|p| p.variants = vec![p.variants[0].clone(); 65]),
        change(|p| {
            p.variants[0].installer = serde_json::from_value(serde_json::json!({
                "technology": "hotfix", "kb": "KB4500331", "switches": ["/nobackup"]
            }))
            .unwrap();
        }),
        change(|p| {
            p.variants[0].installer = serde_json::from_value(serde_json::json!({
                "technology": "msi", "product_code": "{x}", "properties": ["A=b&calc"]
            }))
            .unwrap();
        }),
    ];
    insta::assert_snapshot!(refusals.join("\n"));
}

/// One variant for this product, with these fields beside `id`, `platforms` and `payload`.
fn told(product: &str, file: &str, fields: &str) -> String {
    let yaml = format!(
        "id: KB1\ntitle: T\nseverity: high\nvariants:\n  - id: a\n    platforms: ['cpe:2.3:o:{product}:*:*:*:*:*:*:x86:*']\n    \
         payload: {{ file: {file} }}\n{fields}"
    );
    match parse_patch_file(&yaml, "patch.yaml") {
        Ok(_) => "good".to_owned(),
        Err(problems) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn every_technology_has_its_rules() {
    let (xp, vista, seven, linux) =
        ("microsoft:windows_xp", "microsoft:windows_vista", "microsoft:windows_7", "redhat:enterprise_linux");
    let guid = "\"{90120000-0030-0000-0000-0000000FF1CE}\"";
    let name = "Package_for_KB958644~31bf3856ad364e35~x86~~6.0.1.0";
    let sys = r"%windir%\system32\drivers\termdd.sys";
    let mut lines = Vec::new();
    for (product, file, fields) in [
        (seven, "a.msp", format!("    installer: {{ technology: msp, product_code: {guid}, patch_code: {guid} }}\n")),
        (seven, "a.msu", "    installer: { technology: msu, kb: KB4012212 }\n".to_owned()),
        (vista, "a.msu", format!("    installer: {{ technology: msu, kb: KB958644, package: {name} }}\n")),
        (vista, "a.msu", "    installer: { technology: msu, kb: KB958644 }\n".to_owned()),
        (vista, "a.msu", "    installer: { technology: msu, kb: KB958644 }\n    irreversible: it is worth it\n".to_owned()),
        (xp, "a.msu", "    installer: { technology: msu, kb: KB958644 }\n".to_owned()),
        (vista, "a.exe", "    installer: { technology: hotfix, kb: KB958644 }\n".to_owned()),
        (seven, "a.cab", format!("    installer: {{ technology: cab, package: {name} }}\n")),
        (seven, "a.cab", "    installer: { technology: cab, package: KB958644 }\n".to_owned()),
        (
            linux,
            "a.rpm",
            "    installer: { technology: linux_package, manager: rpm, name: openssl, version: 1.0-2, replaces: 1.0-1 }\n    \
             previous: { file: old/b.rpm }\n"
                .to_owned(),
        ),
        (
            linux,
            "a.rpm",
            "    installer: { technology: linux_package, manager: rpm, name: openssl, version: 1.0-2, replaces: 1.0-1 }\n"
                .to_owned(),
        ),
        (seven, "a.rpm", "    installer: { technology: linux_package, manager: rpm, name: a, version: 1 }\n".to_owned()),
        (
            xp,
            "a.exe",
            format!(
                "    installer: {{ technology: hotfix, kb: KB4500331 }}\n    detection:\n      any_of: [KB4500999]\n      \
                 files: [{{ path: '{sys}', version: 5.1.2600.7701 }}]\n"
            ),
        ),
        (
            xp,
            "a.exe",
            format!(
                "    installer: {{ technology: hotfix, kb: KB4500331 }}\n    detection:\n      \
                 files: [{{ path: '{sys}', version: 5.2.3790.6787 }}]\n"
            ),
        ),
        (
            xp,
            "a.exe",
            "    installer: { technology: hotfix, kb: KB4500331 }\n    detection:\n      \
             any_of: [{ kb: KB4500999, file: 'C:\\a' }, { registry: 'HKCU\\x', value: a }]\n"
                .to_owned(),
        ),
    ] {
        let technology = fields.trim().split(',').next().unwrap_or_default();
        lines.push(format!("{product} {technology}\n{}", told(product, file, &fields)));
    }
    insta::assert_snapshot!("every_technology", lines.join("\n\n"));
}

#[test]
fn chunks_lie_side_by_side_with_and_without_sizes() {
    let patch = example();
    let places = |payload: &Payload| -> Vec<(u64, u32)> {
        payload.spans().unwrap().iter().map(|span| (span.offset, span.bytes)).collect()
    };
    let mut payload = patch.variants[1].payload.clone();
    assert_eq!(places(&payload), [(0, 262_144), (262_144, 262_144), (524_288, 75_712)]);
    // As before: what has no sizes says nothing of them.
    assert!(!serde_json::to_string(&payload).unwrap().contains("sizes"));
    payload.sizes = vec![100_000, 400_000, 100_000];
    assert_eq!(places(&payload), [(0, 100_000), (100_000, 400_000), (500_000, 100_000)]);
    let read: Payload = serde_json::from_str(&serde_json::to_string(&payload).unwrap()).unwrap();
    assert_eq!(read, payload);
}

#[test]
fn the_largest_payload_fits_into_a_document() {
    // As FastCDC cuts it on average, and as small as it may ever be listed.
    for chunks in [30_000, 65_536_u32] {
        let mut patch = example();
        let length = 2 * 1024 * 1024 * 1024_u64;
        let size = u32::try_from(length / u64::from(chunks)).unwrap();
        let payload = &mut patch.variants[0].payload;
        payload.chunks = (0..chunks).map(|n| Digest::of(&n.to_le_bytes())).collect();
        payload.sizes = vec![size; payload.chunks.len()];
        payload.length = u64::from(size) * u64::from(chunks);
        assert_eq!(lint_patch(&patch), [] as [String; 0]);
        let bytes = wardround_signing::document_bytes(&patch).unwrap().len();
        assert!(bytes < 6 * 1024 * 1024, "{chunks} chunks take {bytes} bytes");
    }
}

const NODE: &str = "cpe:2.3:a:wardround:node:*:*:*:*:*:*:x64:*";

fn of_node(platform: &str, installer: &str, more: &str) -> String {
    format!(
        "{HEAD}  - id: a\n    platforms: ['{platform}']\n    payload: {{ file: wardround }}\n    installer: {installer}\n{more}"
    )
}

#[test]
fn the_program_of_a_node_is_for_nodes_alone() {
    let node = "{ technology: node, version: 1.4.0 }";
    let file = parse_patch_file(&of_node(NODE, node, ""), "patch.yaml").unwrap();
    let patch = file.into_patch(vec![payload(b"program")]).unwrap();
    assert_eq!(lint_patch(&patch), [] as [String; 0]);
    let json = serde_json::to_value(&patch.variants[0].installer).unwrap();
    assert_eq!(json, serde_json::json!({ "technology": "node", "version": "1.4.0" }));
    let words = wardround_rollout_plans::describe::describe_patch(&patch).join("\n");
    assert!(words.contains("THE SITE NODE'S OWN PROGRAM, version 1.4.0"), "{words}");
    let any = NODE.replace("x64", "*");
    let xp = "cpe:2.3:o:microsoft:windows_xp:*:*:*:*:*:*:x86:*";
    for (platform, installer, more, why) in [
        (xp, node, "", "node packages are not for"),
        (NODE, "{ technology: script, interpreter: sh }", "", "script packages are not for"),
        (any.as_str(), node, "", "names none"),
        (NODE, "{ technology: node }", "", "version"),
        (NODE, "{ technology: node, version: '1 2' }", "", "is not a version"),
        (NODE, node, "    detection: { any_of: [KB4500331] }\n", "knows by itself"),
    ] {
        let said = problems(&of_node(platform, installer, more));
        assert!(said.contains(why), "{said}");
    }
}

/// A node refuses such names, so that no device would ever get the patch.
#[test]
fn names_that_no_node_takes_are_refused_before_anybody_signs() {
    for (name, why) in
        [("wr-install.exe", "begins with"), ("WR-x.exe", "begins with"), (&"x".repeat(121), "at most 120")]
    {
        let mut patch = example();
        patch.variants[0].payload.file_name = name.to_owned();
        let faults = lint_patch(&patch).join("\n");
        assert!(faults.contains(why), "{name}: {faults}");
    }
}
