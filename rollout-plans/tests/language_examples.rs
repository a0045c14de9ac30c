//! The plans that we ship are good plans.

use std::{fs, path::Path};

use wardround_rollout_plans::language::parse_plan;

#[test]
fn every_shipped_plan_reads_without_a_problem() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.ends_with(".patch.yaml") || path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        seen += 1;
        let yaml = fs::read_to_string(&path).unwrap();
        match parse_plan(&yaml, &name) {
            Ok(parsed) => {
                assert_eq!(parsed.wave_lines.len(), parsed.plan.waves.len());
                for (line, wave) in parsed.wave_lines.iter().zip(&parsed.plan.waves) {
                    let text = yaml.lines().nth(*line as usize - 1).unwrap();
                    assert!(text.contains(wave.name.as_str()), "{name}:{line} is not where wave {} begins", wave.name);
                }
            }
            Err(problems) => panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>()),
        }
    }
    assert!(seen >= 3, "the examples are gone");
}

#[test]
fn the_standard_plan_is_the_careful_one() {
    let yaml = include_str!("../examples/standard.yaml");
    let parsed = parse_plan(yaml, "standard.yaml").unwrap();
    assert_eq!(parsed.warnings, [], "nothing to warn of");
    // What the document carries is what the file says: the signed form reads back as itself.
    let json = serde_json::to_string(&parsed.plan).unwrap();
    assert_eq!(serde_json::from_str::<wardround_rollout_plans::model::Plan>(&json).unwrap(), parsed.plan);
    insta::assert_snapshot!(json);
}

#[test]
fn the_urgent_plan_says_what_it_risks() {
    let parsed = parse_plan(include_str!("../examples/urgent.yaml"), "urgent.yaml").unwrap();
    insta::assert_snapshot!(parsed.warnings.iter().map(|w| format!("{w}\n")).collect::<String>());
}
