use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::sync::Arc;

use super::*;

/// Stands for compiled code: the cache does not look into it.
const ONE: &[u8] = b"one component's code";
const OTHER: &[u8] = b"other code of a size";

fn key(name: &str) -> CacheKey {
    CacheKey(Digest::of(name.as_bytes()))
}

struct Place {
    cache: Arc<Cache>,
    directory: tempfile::TempDir,
}

impl Place {
    fn new(limit: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(&directory.path().join("components"), limit).unwrap());
        Self { cache, directory }
    }

    /// The same cache, opened as by another process.
    fn reopened(&self) -> Arc<Cache> {
        Arc::new(Cache::open(self.cache.path(), self.cache.limit).unwrap())
    }

    fn install(&self, name: &str, code: &[u8]) -> PathBuf {
        install(&self.cache, key(name), code);
        self.entry(name)
    }

    fn entry(&self, name: &str) -> PathBuf {
        self.cache.path().join(key(name).to_string())
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.cache.path()).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).filter(|name| name != LOCK && name != DIGESTS).collect()
    }
}

fn install(cache: &Arc<Cache>, key: CacheKey, code: &[u8]) {
    let draft = cache.draft().unwrap();
    draft.code().write_all(code).unwrap();
    draft.install(key).unwrap();
}

/// The code that the cache returns for a key, read as the engine would map it.
fn found(cache: &Cache, key: CacheKey) -> Option<Vec<u8>> {
    cache.find(key).map(|code| code.read().unwrap())
}

#[test]
fn the_cache_is_emptied_unless_an_entry_is_being_made() {
    let place = Place::new(u64::MAX);
    place.install("one", ONE);
    let mapped = place.cache.find(key("one")).unwrap();
    let making = place.reopened().draft().unwrap();
    assert_eq!(place.cache.clear().unwrap_err().kind(), io::ErrorKind::ResourceBusy);
    assert_eq!(place.cache.usage().unwrap().0, 1);
    drop(making);
    fs::create_dir(place.cache.path().join(".left")).unwrap();
    assert_eq!(place.cache.clear().unwrap(), (1, ONE.len() as u64));
    assert_eq!((place.names(), place.cache.usage().unwrap()), (Vec::new(), (0, 0)));
    assert_eq!(mapped.read().unwrap(), ONE, "a process that has it open goes on using it");
    place.install("one", ONE);
    assert_eq!(found(&place.cache, key("one")).as_deref(), Some(ONE));
}

#[test]
fn an_entry_is_found_by_other_hosts_and_stays_unchanged() {
    let place = Place::new(1 << 20);
    assert_eq!(found(&place.cache, key("a")), None);
    let entry = place.install("a", ONE);
    let stat = fs::metadata(entry.join(CODE)).unwrap();
    assert_eq!(stat.mode() & 0o777, 0o400);
    assert_eq!(fs::metadata(place.cache.path()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(found(&place.reopened(), key("a")).as_deref(), Some(ONE));

    // Another host was faster: its entry stays, since others may have it mapped.
    install(&place.reopened(), key("a"), OTHER);
    assert_eq!(fs::metadata(entry.join(CODE)).unwrap().ino(), stat.ino());
    assert_eq!(found(&place.cache, key("a")).as_deref(), Some(ONE));
    assert_eq!(place.names(), [key("a").to_string()]);
}

#[test]
fn an_unchanged_file_is_not_read_again() {
    let place = Place::new(1 << 20);
    let entry = place.install("a", ONE);
    // A wrong digest with the right stamp shows whether the digest was used.
    let seal = fs::read_to_string(entry.join(SEAL)).unwrap();
    fs::write(entry.join(SEAL), seal.replace(&Digest::of(ONE).to_string(), &Digest::of(OTHER).to_string())).unwrap();
    assert!(place.cache.find(key("a")).is_some());
    // After a change of its mode it is read, and the difference is found.
    fs::set_permissions(entry.join(CODE), Permissions::from_mode(0o600)).unwrap();
    assert!(place.cache.find(key("a")).is_none());
    assert!(!entry.exists());
}

#[test]
fn an_entry_from_a_backup_is_sealed_again() {
    let place = Place::new(1 << 20);
    let entry = place.install("a", ONE);
    let stamp = || Seal::read(File::open(&entry).unwrap().as_fd(), SEAL).unwrap().unwrap().stamp.unwrap();
    let before = stamp();
    fs::copy(entry.join(CODE), entry.join("copy")).unwrap();
    fs::rename(entry.join("copy"), entry.join(CODE)).unwrap();
    std::thread::sleep(SETTLED * 2);
    assert_eq!(found(&place.cache, key("a")).as_deref(), Some(ONE));
    assert_ne!(stamp(), before);
}

#[test]
fn hostile_a_spoiled_entry_is_never_given_out() {
    type Spoil = fn(&Path);
    // Opened for writing, as its owner can.
    fn code(entry: &Path) -> PathBuf {
        fs::set_permissions(entry.join(CODE), Permissions::from_mode(0o600)).unwrap();
        entry.join(CODE)
    }
    let spoils: [(&str, Spoil); 11] = [
        ("other code of the same size", |entry| {
            let times = fs::metadata(entry.join(CODE)).unwrap().modified().unwrap();
            fs::write(code(entry), OTHER).unwrap();
            let file = File::options().write(true).open(entry.join(CODE)).unwrap();
            file.set_modified(times).unwrap();
        }),
        ("one bit", |entry| {
            let mut bytes = fs::read(entry.join(CODE)).unwrap();
            bytes[7] ^= 1;
            fs::write(code(entry), bytes).unwrap();
        }),
        ("cut short", |entry| File::options().write(true).open(code(entry)).unwrap().set_len(5).unwrap()),
        ("emptied", |entry| File::options().write(true).open(code(entry)).unwrap().set_len(0).unwrap()),
        ("longer", |entry| {
            File::options().append(true).open(code(entry)).unwrap().write_all(b"!").unwrap();
        }),
        ("another file", |entry| {
            fs::write(entry.join("new"), OTHER).unwrap();
            fs::set_permissions(entry.join("new"), Permissions::from_mode(0o400)).unwrap();
            fs::rename(entry.join("new"), entry.join(CODE)).unwrap();
        }),
        ("a link", |entry| {
            fs::rename(entry.join(CODE), entry.join("moved")).unwrap();
            symlink("moved", entry.join(CODE)).unwrap();
        }),
        ("a second name", |entry| fs::hard_link(entry.join(CODE), entry.join("twin")).unwrap()),
        ("open to others", |entry| {
            fs::set_permissions(entry.join(CODE), Permissions::from_mode(0o644)).unwrap();
        }),
        ("no seal", |entry| fs::remove_file(entry.join(SEAL)).unwrap()),
        ("an invalid seal", |entry| fs::write(entry.join(SEAL), "{\"sha256\": 7}").unwrap()),
    ];
    let place = Place::new(1 << 20);
    for (how, spoil) in spoils {
        let entry = place.install("a", ONE);
        assert_eq!(found(&place.cache, key("a")).as_deref(), Some(ONE), "{how}");
        spoil(&entry);
        assert_eq!(found(&place.cache, key("a")), None, "{how}");
        assert_eq!(place.names(), [""; 0], "{how}");
    }
    // The entry itself is a link to a valid one.
    let entry = place.install("a", ONE);
    fs::rename(&entry, place.directory.path().join("elsewhere")).unwrap();
    symlink(place.directory.path().join("elsewhere"), &entry).unwrap();
    assert_eq!(found(&place.cache, key("a")), None);
    assert!(!entry.is_symlink() && place.directory.path().join("elsewhere").join(CODE).exists());
    // A draft replaces a damaged entry.
    fs::write(&entry, "not even a directory").unwrap();
    place.install("a", ONE);
    assert_eq!(found(&place.cache, key("a")).as_deref(), Some(ONE));
}

#[test]
fn hostile_a_directory_that_others_can_get_at_is_not_used() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("components");
    fs::create_dir(&path).unwrap();
    for mode in [0o777, 0o755, 0o770, 0o701] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let error = Cache::open(&path, 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{mode:o}: {error}");
    }
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    Cache::open(&path, 1).unwrap();
    let link = directory.path().join("link");
    symlink(&path, &link).unwrap();
    Cache::open(&link, 1).unwrap_err();
}

#[test]
fn the_least_recently_used_entry_is_removed_first() {
    let place = Place::new(3 * ONE.len() as u64);
    for name in ["a", "b", "c"] {
        place.install(name, ONE);
    }
    let mapped = place.cache.find(key("b")).unwrap();
    place.cache.find(key("a")).unwrap();
    place.cache.find(key("c")).unwrap();
    place.install("d", ONE);
    assert_eq!(found(&place.cache, key("b")), None);
    assert_eq!(mapped.read().unwrap(), ONE, "a process that has it open keeps it");
    assert_eq!(place.cache.usage().unwrap(), (3, 3 * ONE.len() as u64));
    // An entry that is too large for the whole cache is kept until the next one.
    place.install("large", &ONE.repeat(9));
    assert_eq!(place.names(), [key("large").to_string()]);
    place.install("e", ONE);
    assert_eq!(place.names(), [key("e").to_string()]);
}

#[test]
fn drafts_of_dead_hosts_are_removed_and_those_of_running_hosts_are_not() {
    let place = Place::new(1 << 20);
    let dead = place.cache.path().join(".0123456789abcdef");
    fs::create_dir(&dead).unwrap();
    fs::write(dead.join(CODE), ONE).unwrap();
    let other = place.reopened();
    let living = other.draft().unwrap();
    place.install("a", ONE);
    assert!(dead.exists(), "a dead draft cannot be distinguished from a live one while another host makes an entry");
    living.code().write_all(ONE).unwrap();
    living.install(key("b")).unwrap();
    assert!(!dead.exists());
    assert_eq!(place.names().len(), 2);
    // A dropped draft leaves nothing.
    drop(place.cache.draft().unwrap());
    assert_eq!(place.names().len(), 2);
}

#[test]
fn hosts_that_make_and_remove_the_same_entry_at_once_never_see_an_incomplete_one() {
    let place = Place::new(1 << 20);
    let codes: Vec<Vec<u8>> = (0..4_u8).map(|n| vec![n; 100_000]).collect();
    std::thread::scope(|scope| {
        for code in &codes {
            let (place, codes) = (&place, &codes);
            scope.spawn(move || {
                let cache = place.reopened();
                for round in 0..12 {
                    install(&cache, key("a"), code);
                    if let Some(found) = cache.find(key("a")) {
                        // An entry that was removed meanwhile is complete all the same.
                        assert!(codes.contains(&found.read().unwrap()));
                    }
                    if round % 3 == 0 {
                        cache.discard(key("a"));
                    }
                }
            });
        }
    });
    place.install("a", &codes[0]);
    assert!(codes.contains(&found(&place.cache, key("a")).unwrap()));
    assert_eq!(place.names().len(), 1, "nothing is left over");
}

#[test]
fn a_digest_is_remembered_only_for_the_unchanged_file() {
    let place = Place::new(1 << 20);
    let mut file = tempfile::tempfile().unwrap();
    let before = FileStamp::of(&file).unwrap();
    assert_eq!(place.cache.remembered(&before), None);
    place.cache.remember(&before, Digest::of(b"x"));
    assert_eq!(place.reopened().remembered(&before), Some(Digest::of(b"x")));
    file.write_all(b"y").unwrap();
    assert_eq!(place.cache.remembered(&FileStamp::of(&file).unwrap()), None);
    fs::write(place.cache.path().join(DIGESTS).join(name_of(&before)), "no note").unwrap();
    assert_eq!(place.cache.remembered(&before), None);
}

#[test]
fn an_engine_with_other_settings_has_other_keys() {
    let engine = |fuel| Engine::new(wasmtime::Config::new().consume_fuel(fuel)).unwrap();
    let component = Digest::of(b"a component");
    assert_eq!(CacheKey::new(&engine(false), component), CacheKey::new(&engine(false), component));
    assert_ne!(CacheKey::new(&engine(false), component), CacheKey::new(&engine(true), component));
    assert_ne!(CacheKey::new(&engine(false), component), CacheKey::new(&engine(false), Digest::of(b"another")));
}
