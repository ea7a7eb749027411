//! A worker's limits as resource limits of the kernel, which apply to each of its processes by itself.

use bivium_interface::manifest::Limits;
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that a worker itself has open: its channel, the pipes that wake its threads, the connections of its host and those without
/// a token (`MAX_UNAUTHENTICATED` in its `control.py`).
const OWN_FILES: u64 = 96;

/// A limit for core files with which none is written: it is too small for one, and the kernel passes none to a program either
/// (`core_pattern` with `|`), as it would with a limit of 0.
const NO_CORE: u64 = 1;

/// The limits to set between fork and exec. A limit that is lower already stays.
pub(super) fn resources(limits: &Limits, confined: bool) -> Vec<(Resource, Rlimit)> {
    let mebibytes = |limit: Option<u64>| limit.map(|mib| mib.saturating_mul(1 << 20));
    let mut wanted = vec![
        // Private writable memory, and not the address space: a GPU driver reserves more addresses than the machine has bytes
        // of memory.
        (Resource::Data, mebibytes(limits.memory_mb)),
        (Resource::Nofile, limits.files.map(|files| files.saturating_add(OWN_FILES))),
        (Resource::Fsize, mebibytes(limits.blob_mb)),
    ];
    if confined {
        // A core file would contain the plugin's secrets. It would be in the worker's directory, or be passed to a program outside.
        wanted.push((Resource::Core, Some(NO_CORE)));
    }
    let limit = |resource, most| match resource {
        // This exact limit is needed: a lower one does not work.
        Resource::Core => Rlimit { current: Some(most), maximum: Some(most) },
        _ => at_most(resource, most),
    };
    wanted.into_iter().filter_map(|(resource, most)| Some((resource, limit(resource, most?)))).collect()
}

fn at_most(resource: Resource, most: u64) -> Rlimit {
    let now = getrlimit(resource);
    let lower = |now: Option<u64>| Some(now.map_or(most, |now| now.min(most)));
    Rlimit { current: lower(now.current), maximum: lower(now.maximum) }
}

/// Sets them. Runs between fork and exec: system calls only.
pub(super) fn apply(resources: &[(Resource, Rlimit)]) -> Result<(), Errno> {
    for (resource, limit) in resources {
        match setrlimit(*resource, *limit) {
            // If the hard limit is 0, only an administrator can raise it; then at least no file is written.
            Err(Errno::PERM) if *resource == Resource::Core => {}
            set => set?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_is_lower_already_stays() {
        let mut limits = Limits::default();
        (limits.files, limits.memory_mb) = (Some(1 << 40), Some(64));
        let found = resources(&limits, true);
        let of = |wanted| found.iter().find(|(resource, _)| *resource == wanted).map(|(_, limit)| *limit);
        assert_eq!(of(Resource::Data).unwrap().maximum, Some(64 << 20));
        assert_eq!(of(Resource::Nofile).unwrap().maximum, getrlimit(Resource::Nofile).maximum);
        assert_eq!(of(Resource::Core).unwrap(), Rlimit { current: Some(1), maximum: Some(1) });
        assert!(of(Resource::Fsize).is_none());
        assert!(resources(&Limits::default(), false).is_empty());
    }
}
