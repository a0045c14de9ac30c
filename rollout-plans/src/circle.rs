//! Circles: things of which each needs the next, and the last the first.

use std::collections::{BTreeSet, VecDeque};

/// The shortest way from `start` back to it, where `next` says what a thing needs. It begins with `start`, which does not
/// stand at its end again; of several that are as short, the first by the order of `next`.
pub(crate) fn shortest_circle<T: Ord + Clone, I: IntoIterator<Item = T>>(
    start: &T,
    next: impl Fn(&T) -> I,
) -> Option<Vec<T>> {
    let mut seen = BTreeSet::new();
    let mut ways = VecDeque::from([vec![start.clone()]]);
    while let Some(way) = ways.pop_front() {
        for needed in next(&way[way.len() - 1]) {
            if needed == *start {
                return Some(way);
            }
            if seen.insert(needed.clone()) {
                ways.push_back(way.iter().cloned().chain([needed]).collect());
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn circle(start: u32, arrows: &[(u32, u32)]) -> Option<Vec<u32>> {
        let next = |from: &u32| arrows.iter().filter(|(f, _)| f == from).map(|(_, to)| *to).collect::<Vec<_>>();
        shortest_circle(&start, next)
    }

    #[test]
    fn the_shortest_way_back_is_found_and_only_that_of_the_start() {
        let arrows = [(1, 2), (2, 3), (3, 4), (4, 1), (2, 4), (5, 1), (6, 6)];
        assert_eq!(circle(1, &arrows), Some(vec![1, 2, 4]));
        assert_eq!(circle(6, &arrows), Some(vec![6]));
        // It leads into a circle, and is not of it.
        assert_eq!(circle(5, &arrows), None);
        assert_eq!(circle(7, &arrows), None);
    }
}
