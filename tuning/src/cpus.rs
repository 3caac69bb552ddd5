//! Lists of processors as the kernel writes them: `0-3,8`.
//!
//! For: reading and writing them, for the shard map and for `/sys`.

/// Cores of one machine at most; a longer range is somebody's mistake. Linux's own limit is 8192.
const CORES_MAX: usize = 8192;

/// Reads `0-3,8,10-11`; none when it is something else.
pub(crate) fn parse(list: &str) -> Option<Vec<usize>> {
    let mut cores = Vec::new();
    for part in list.trim().split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<usize>().ok()?, last.trim().parse().ok()?);
        if last >= CORES_MAX {
            return None;
        }
        cores.extend(first..=last);
    }
    Some(cores)
}

/// Writes it.
pub(crate) fn show(cores: &[usize]) -> String {
    let mut sorted = cores.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut ranges: Vec<(usize, usize)> = Vec::new();
    for core in sorted {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            Some(_) | None => ranges.push((core, core)),
        }
    }
    let parts = ranges.iter().map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    parts.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_and_written_as_the_kernel_does() {
        assert_eq!(parse("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse(""), Some(vec![]));
        assert_eq!((parse("(null)"), parse("0-99999999999")), (None, None));
        assert_eq!(show(&[8, 0, 2, 1, 1]), "0-2,8");
        assert_eq!(show(&[]), "");
    }
}
