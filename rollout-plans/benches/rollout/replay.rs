//! A replay as the controller does it: one thread reads events from a file, the other folds them.

use std::{
    fs::File,
    io::{BufReader, BufWriter, Read as _, Seek as _, Write as _},
    sync::mpsc::sync_channel,
    thread,
    time::Instant,
};

use wardround_rollout_plans::{
    engine::{Event, State},
    model::Timestamp,
};

use super::{on_processor, say, timed};

/// Events that are handed over at once.
const BATCH: usize = 1_000;
/// Batches that wait at most.
const BATCHES: usize = 4;

/// All that happened since the rollout began, in a file without a name, and the state as it was then.
pub(crate) struct Replay {
    state: State,
    file: BufWriter<File>,
    events: u64,
    bytes: u64,
}

impl Replay {
    pub(crate) fn new() -> Self {
        Self { state: State::default(), file: BufWriter::new(tempfile()), events: 0, bytes: 0 }
    }

    /// What leads up to the rollout is not measured.
    pub(crate) fn lead(&mut self, now: Timestamp, event: &Event) {
        drop(self.state.step(event, now).unwrap());
    }

    /// Writes events down: the moment, the length, and the event as the journal has it.
    pub(crate) fn write(&mut self, events: impl Iterator<Item = (Timestamp, Event)>) {
        for (now, event) in events {
            let text = serde_json::to_vec(&event).unwrap();
            self.file.write_all(&now.0.to_le_bytes()).unwrap();
            self.file.write_all(&(text.len() as u32).to_le_bytes()).unwrap();
            self.file.write_all(&text).unwrap();
            self.events += 1;
            self.bytes += text.len() as u64;
        }
    }

    /// Folds them all again, and must come to the same state.
    pub(crate) fn run(self, original: &State) {
        let Self { mut state, file, events, bytes } = self;
        let mut file = file.into_inner().unwrap();
        file.rewind().unwrap();
        let (sender, batches) = sync_channel(BATCHES);
        let begin = Instant::now();
        let reader = thread::Builder::new().name("reader".to_owned());
        let reader = reader
            .spawn(move || {
                let mut file = BufReader::with_capacity(1 << 20, file);
                let mut left = events;
                while left > 0 {
                    let some = left.min(BATCH as u64);
                    sender.send((0..some).map(|_| read(&mut file)).collect::<Vec<_>>()).unwrap();
                    left -= some;
                }
                on_processor()
            })
            .unwrap();
        let ((), fold) = timed(|| {
            for (now, event) in batches.into_iter().flatten() {
                drop(state.step(&event, now).unwrap());
            }
        });
        let decode = reader.join().unwrap();
        let whole = begin.elapsed();
        let same = serde_json::to_vec(original).unwrap() == serde_json::to_vec(&state).unwrap();
        assert!(same, "the replay led to another state");
        say("replay", format_args!("{events} events, {} bytes each as JSON", bytes / events));
        for (what, spent) in [("by the clock", whole), ("fold", fold), ("read", decode)] {
            let each = spent / u32::try_from(events).unwrap();
            let ten = each * 10_000_000;
            say(&format!("replay, {what}"), format_args!("{spent:.2?}; {each:.2?} an event, {ten:.2?} for 10 million"));
        }
    }
}

fn read(file: &mut BufReader<File>) -> (Timestamp, Event) {
    let (mut now, mut length) = ([0; 8], [0; 4]);
    file.read_exact(&mut now).unwrap();
    file.read_exact(&mut length).unwrap();
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact(&mut text).unwrap();
    (Timestamp(i64::from_le_bytes(now)), serde_json::from_str(str::from_utf8(&text).unwrap()).unwrap())
}

/// A file that nobody else sees.
fn tempfile() -> File {
    let path = std::env::temp_dir().join(format!("wardround-figures-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    file
}
