//! What a patch document must satisfy before it is registered, beside its form.

use std::collections::BTreeSet;

use wardround_rollout_plans::model::{CHUNK_BYTES, PAYLOAD_BYTES_MAX, Patch};

/// Most variants of a patch: a KB article of the largest kind lists about 60 files.
const VARIANTS_MAX: usize = 200;
/// Longest title, bytes.
const TITLE_BYTES_MAX: usize = 500;

/// Field and sentence for each thing that is wrong.
pub(crate) fn validate(patch: &Patch) -> Vec<(String, String)> {
    let mut wrong = Vec::new();
    let mut say = |field: String, text: String| wrong.push((field, text));
    if patch.title.trim().is_empty() || patch.title.len() > TITLE_BYTES_MAX {
        say("title".to_owned(), format!("expected 1 to {TITLE_BYTES_MAX} bytes"));
    }
    if patch.variants.is_empty() || patch.variants.len() > VARIANTS_MAX {
        say("variants".to_owned(), format!("expected 1 to {VARIANTS_MAX} variants, found {}", patch.variants.len()));
    }
    let mut ids = BTreeSet::new();
    for (index, variant) in patch.variants.iter().enumerate() {
        let field = |name: &str| format!("variants[{index}].{name}");
        if !ids.insert(&variant.id) {
            say(field("id"), format!("{} stands twice; variants need different ids", variant.id));
        }
        if variant.platforms.is_empty() {
            say(field("platforms"), "expected at least one CPE 2.3 pattern".to_owned());
        }
        let payload = &variant.payload;
        let name = &payload.file_name;
        if name.is_empty() || name.len() > 200 || name.starts_with('.') || name.contains(['/', '\\', ':', '\0']) {
            say(field("payload.file_name"), format!("{name:?} is not a plain file name"));
        }
        if payload.length == 0 || payload.length > PAYLOAD_BYTES_MAX {
            say(field("payload.length"), format!("{} is not between 1 and {PAYLOAD_BYTES_MAX}", payload.length));
        } else if payload.chunks.len() as u64 != payload.length.div_ceil(CHUNK_BYTES) {
            let text = format!(
                "{} chunks are listed, but {} bytes in chunks of {CHUNK_BYTES} make {}",
                payload.chunks.len(),
                payload.length,
                payload.length.div_ceil(CHUNK_BYTES)
            );
            say(field("payload.chunks"), text);
        }
    }
    wrong
}
