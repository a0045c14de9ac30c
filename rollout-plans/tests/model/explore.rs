//! Breadth-first exploration of a machine over every order of a finite alphabet of events.
//!
//! A state is known by its *fold* (see `fold.rs`): what the machine can tell apart from now on. Two states with the same fold
//! count as one, and that they are one is not believed: of those that are merged, some are followed as well, and must
//! lead where the first one leads.

use std::{
    collections::{HashMap, VecDeque},
    fmt::{Display, Write as _},
};

/// Who makes an event happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Time, or a device and its node that do what they are told.
    Free,
    /// People, whom the state asks for it.
    Asked,
    /// Anything else: faults, lies, people whom nobody has asked.
    Other,
}

/// What is explored.
pub(crate) trait Machine {
    /// A state with all that it carries.
    type State: Clone;
    /// Something that may happen.
    type Event: Display;
    fn first(&self) -> Self::State;
    /// All that may happen in this state. The same for all states of one fold, in the same order.
    fn events(&self, state: &Self::State) -> Vec<Self::Event>;
    /// The state after; `None` when the event is refused. An error is a breach of the contract on this edge.
    fn step(&self, state: &Self::State, event: &Self::Event) -> Result<Option<Self::State>, String>;
    fn fold(&self, state: &Self::State) -> Vec<u8>;
    /// What must hold in each state.
    fn holds(&self, state: &Self::State) -> Result<(), String>;
    /// Nothing more needs to happen.
    fn is_end(&self, state: &Self::State) -> bool;
    /// Who makes each of these events happen.
    fn causes(&self, state: &Self::State, events: &[Self::Event]) -> Vec<Cause>;
    /// The state says that it waits for people.
    fn asks_people(&self, state: &Self::State) -> bool;
    /// The same state in another form, such as one that was read back from disk.
    fn twin(&self, state: &Self::State) -> Self::State {
        state.clone()
    }
    /// A few words, for stories.
    fn show(&self, state: &Self::State) -> String;
}

/// How far to go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// More states than this are a mistake in the fold or in the choice of the start.
    pub(crate) states: usize,
    /// Merged states that are followed.
    pub(crate) twins: usize,
}

/// What was seen. The space is whole: nothing was left to look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    /// Events that were taken, those that changed nothing included.
    pub(crate) edges: usize,
    pub(crate) refused: usize,
    /// Length of the longest of the shortest ways.
    pub(crate) depth: usize,
    pub(crate) ends: usize,
    pub(crate) twins: usize,
}

impl Display for Explored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { states, edges, refused, depth, ends, twins } = self;
        write!(
            f,
            "{states} states, {edges} edges, {refused} refusals, depth {depth}, {ends} ends, {twins} merged states followed"
        )
    }
}

/// Where an event that is refused leads.
const REFUSED: u32 = u32::MAX;

struct Space<'a, M: Machine> {
    machine: &'a M,
    known: HashMap<Vec<u8>, u32>,
    /// (state before, number of the event) of the first way to each state.
    from: Vec<(u32, u32)>,
    depth: Vec<usize>,
    /// Where each event leads.
    next: Vec<Vec<u32>>,
    /// Edges that need nobody who is not asked, by the state to which they lead.
    back: Vec<Vec<u32>>,
    ends: Vec<u32>,
}

/// Explores everything that can be reached.
///
/// # Errors
/// The shortest story that ends in a breach.
pub(crate) fn explore<M: Machine>(machine: &M, bounds: Bounds) -> Result<Explored, String> {
    let mut space = Space {
        machine,
        known: HashMap::new(),
        from: Vec::new(),
        depth: Vec::new(),
        next: Vec::new(),
        back: Vec::new(),
        ends: Vec::new(),
    };
    let first = machine.first();
    let mut frontier = VecDeque::new();
    space.enter(&first, (0, 0))?;
    frontier.push_back((0, first));
    let mut seen = Explored::default();
    let mut twins: Vec<(u32, (u32, u32), M::State)> = Vec::new();
    let mut merged = 0_usize;
    // Every so many merged states one is kept; when there are too many, half of them go and the stride doubles.
    let mut stride = 1_usize;
    while let Some((at, state)) = frontier.pop_front() {
        let mut next = Vec::new();
        let mut moves = false;
        let events = machine.events(&state);
        let causes = machine.causes(&state, &events);
        for (n, (event, cause)) in (0..).zip(events.iter().zip(causes)) {
            let Some(after) = space.take(at, n, &state, event)? else {
                seen.refused += 1;
                next.push(REFUSED);
                continue;
            };
            seen.edges += 1;
            let fold = machine.fold(&after);
            let to = match space.known.get(&fold) {
                Some(to) => {
                    merged += 1;
                    if merged.is_multiple_of(stride) {
                        twins.push((*to, (at, n), after));
                        if twins.len() > bounds.twins {
                            let mut keep = false;
                            twins.retain(|_| {
                                keep = !keep;
                                keep
                            });
                            stride *= 2;
                        }
                    }
                    *to
                }
                None => {
                    if space.known.len() >= bounds.states {
                        let text = format!("there are more than {} states: is the space finite?", bounds.states);
                        return Err(space.story(at, Some(n), &text));
                    }
                    let to = space.enter(&after, (at, n))?;
                    frontier.push_back((to, after));
                    to
                }
            };
            next.push(to);
            moves |= to != at && cause == Cause::Free;
            if to != at && cause != Cause::Other {
                space.back[to as usize].push(at);
            }
        }
        if !moves && !machine.is_end(&state) && !machine.asks_people(&state) {
            return Err(space.story(at, None, "nothing moves without people, and nothing says that it waits for them"));
        }
        space.next[at as usize] = next;
    }
    space.ends_are_in_reach()?;
    seen.twins = space.twins_lead_alike(&twins)?;
    Ok(Explored {
        states: space.known.len(),
        depth: space.depth.iter().copied().max().unwrap_or_default(),
        ends: space.ends.len(),
        ..seen
    })
}

impl<M: Machine> Space<'_, M> {
    fn take(&self, at: u32, n: u32, state: &M::State, event: &M::Event) -> Result<Option<M::State>, String> {
        self.machine.step(state, event).map_err(|why| self.story(at, Some(n), &why))
    }

    fn enter(&mut self, state: &M::State, from: (u32, u32)) -> Result<u32, String> {
        let at = u32::try_from(self.known.len()).unwrap_or(REFUSED);
        self.known.insert(self.machine.fold(state), at);
        self.from.push(from);
        self.depth.push(if at == 0 { 0 } else { self.depth[from.0 as usize] + 1 });
        self.next.push(Vec::new());
        self.back.push(Vec::new());
        if self.machine.is_end(state) {
            self.ends.push(at);
        }
        self.machine.holds(state).map_err(|why| self.story(at, None, &why))?;
        Ok(at)
    }

    /// From every state a way leads to an end on which nobody acts but those who are asked.
    fn ends_are_in_reach(&self) -> Result<(), String> {
        let mut reached = vec![false; self.from.len()];
        let mut next: Vec<u32> = self.ends.clone();
        while let Some(at) = next.pop() {
            if !std::mem::replace(&mut reached[at as usize], true) {
                next.extend(&self.back[at as usize]);
            }
        }
        match reached.iter().position(|r| !r) {
            None => Ok(()),
            Some(at) => {
                let stuck = reached.iter().filter(|r| !**r).count();
                let text = format!("S6: no end can be reached from here (nor from {} other states)", stuck - 1);
                Err(self.story(u32::try_from(at).unwrap_or(REFUSED), None, &text))
            }
        }
    }

    fn twins_lead_alike(&self, twins: &[(u32, (u32, u32), M::State)]) -> Result<usize, String> {
        for (known, (at, n), state) in twins {
            let state = &self.machine.twin(state);
            let mut leads = Vec::new();
            for event in self.machine.events(state) {
                let after = self.machine.step(state, &event).map_err(|why| self.story(*at, Some(*n), &why))?;
                leads.push(match after {
                    None => REFUSED,
                    Some(after) => self.known.get(&self.machine.fold(&after)).copied().unwrap_or(REFUSED - 1),
                });
            }
            let first = &self.next[*known as usize];
            if *first != leads {
                let differs = first.iter().zip(&leads).position(|(a, b)| a != b).unwrap_or_default();
                let event = self.machine.events(state).into_iter().nth(differs);
                let event = event.map_or("the number of events".to_owned(), |e| e.to_string());
                let after = |state: &M::State| {
                    let event = self.machine.events(state).into_iter().nth(differs)?;
                    let after = self.machine.step(state, &event).ok()??;
                    Some(String::from_utf8_lossy(&self.machine.fold(&after)).into_owned())
                };
                let (one, other) = (after(&self.replay(*known)).unwrap_or_default(), after(state).unwrap_or_default());
                let mut text = format!(
                    "the fold merges what differs: two ways to the same state are told apart by: {event}\n{}\n",
                    apart(&one, &other)
                );
                let _ = write!(text, "the first way:\n{}", self.story(*known, None, ""));
                return Err(self.story(*at, Some(*n), &text));
            }
        }
        Ok(twins.len())
    }

    /// The events of the first way to a state.
    fn way(&self, at: u32, last: Option<u32>) -> Vec<u32> {
        let mut way: Vec<u32> = last.into_iter().collect();
        let mut place = at;
        while place != 0 {
            let (before, n) = self.from[place as usize];
            way.push(n);
            place = before;
        }
        way.reverse();
        way
    }

    fn replay(&self, at: u32) -> M::State {
        let mut state = self.machine.first();
        for n in self.way(at, None) {
            let event = self.machine.events(&state).into_iter().nth(n as usize);
            if let Some(Ok(Some(after))) = event.map(|event| self.machine.step(&state, &event)) {
                state = after;
            }
        }
        state
    }

    /// The shortest way to a state, and the event by which the contract was broken there.
    fn story(&self, at: u32, last: Option<u32>, why: &str) -> String {
        let mut state = self.machine.first();
        let mut text = format!("{why}\n    {}\n", self.machine.show(&state));
        for (step, n) in self.way(at, last).into_iter().enumerate() {
            let events = self.machine.events(&state);
            let Some(event) = events.get(n as usize) else { break };
            let _ = writeln!(text, "{:>3}. {event}", step + 1);
            match self.machine.step(&state, event) {
                Ok(Some(after)) => state = after,
                Ok(None) => text.push_str("    refused\n"),
                Err(_) => break,
            }
            let _ = writeln!(text, "    {}", self.machine.show(&state));
        }
        text
    }
}

/// Where two folds begin to differ.
fn apart(one: &str, other: &str) -> String {
    let same = one.bytes().zip(other.bytes()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.chars().skip(same.saturating_sub(80)).take(200).collect::<String>();
    format!("one leads to   …{}…\nthe other to   …{}…", part(one), part(other))
}
