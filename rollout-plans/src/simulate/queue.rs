//! What is to happen when, in the model.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Something in the modelled world. Positions are those of the rollout's members, sites and systems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Happening {
    /// A node reads what is asked of its site.
    Read(u32),
    /// A device's present step is over; `1` is the step's number, so that one that was overtaken is known.
    Step(u32, u16),
    /// A device that the patch breaks shows it.
    Break(u32),
    /// The probes of a system have failed often enough.
    Seen(u32, u32),
    /// Staff report a broken device.
    Noticed(u32),
    /// A system fails, and not by the patch.
    Trouble(u32),
    /// All systems of a site begin to fail together.
    SiteTrouble(u32),
    /// A site's trouble is over.
    SiteWell(u32),
    /// A system that failed with its site has failed often enough to be blamed.
    Ailing(u32),
    /// A site loses its line.
    Lost(u32),
    /// It has been without for so long that the controller calls it silent.
    Silent(u32),
    /// The line is back.
    Back(u32),
    /// A person approves, or gives the order that they have made up their mind about.
    Person(u8),
}

/// The queue: by time, and at the same time in the order of asking.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<(i64, u64, Happening)>>,
    asked: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: i64, what: Happening) {
        self.asked += 1;
        self.heap.push(Reverse((at, self.asked, what)));
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<(i64, Happening)> {
        self.heap.pop().map(|Reverse((at, _, what))| (at, what))
    }
}
