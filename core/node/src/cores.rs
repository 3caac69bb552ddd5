//! Which core each shard is pinned to.
//!
//! For: reading which cores this process may use, and giving one to each shard.
//! Not here: pinning itself (`node.rs`).

use std::fs;

/// A core for each shard, or none where pinning is impossible, and what the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seating {
    pub(crate) cores: Vec<Option<usize>>,
    pub(crate) notices: Vec<String>,
}

/// The cores that this process may run on; `None` when the system does not say.
pub(crate) fn allowed() -> Option<Vec<usize>> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_list(list.trim())
}

/// Seats `shards` shards on the wanted cores, or on the first allowed ones when none are named.
pub(crate) fn seat(shards: usize, wanted: &[usize], allowed: Option<&[usize]>) -> Seating {
    let mut notices = Vec::new();
    let Some(allowed) = allowed.filter(|cores| !cores.is_empty()) else {
        notices.push(
            "shards are not pinned: /proc/self/status does not tell which cores are allowed".into(),
        );
        return Seating { cores: vec![None; shards], notices };
    };
    let from: Vec<usize> = if wanted.is_empty() { allowed.to_vec() } else { wanted.to_vec() };
    if shards > from.len() {
        let count = from.len();
        notices
            .push(format!("{shards} shards share {count} core(s): expect no gain beyond {count}"));
    }
    let cores = (0..shards).map(|shard| from.get(shard % from.len()).copied());
    let cores: Vec<Option<usize>> =
        cores.map(|core| core.filter(|core| allowed.contains(core))).collect();
    if let Some(shard) = cores.iter().position(Option::is_none) {
        notices.push(format!("shard {shard} is not pinned: this process may not use its core"));
    }
    Seating { cores, notices }
}

/// Reads `0-3,8,10-11`.
fn parse_list(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cores.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_list_is_read() {
        assert_eq!(parse_list("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(parse_list("x"), None);
        assert!(allowed().is_some_and(|cores| !cores.is_empty()));
    }

    #[test]
    fn shards_take_the_first_cores_and_share_when_there_are_too_few() {
        let seating = seat(2, &[], Some(&[3, 4, 5]));
        assert_eq!((seating.cores, seating.notices.len()), (vec![Some(3), Some(4)], 0));
        let seating = seat(3, &[], Some(&[3, 4]));
        assert_eq!(seating.cores, [Some(3), Some(4), Some(3)]);
        assert_eq!(seating.notices.len(), 1);
    }

    #[test]
    fn what_cannot_be_pinned_runs_anyway_and_says_so() {
        let seating = seat(2, &[0, 9], Some(&[0, 1]));
        assert_eq!((seating.cores, seating.notices.len()), (vec![Some(0), None], 1));
        assert_eq!(seat(1, &[], None).cores, [None]);
    }
}
