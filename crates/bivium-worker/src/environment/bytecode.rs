//! Bytecode of the worker's own files, made by the host for workers that may not write it.
//!
//! Python keeps the bytecode of a module beside it, in `__pycache__`, which takes a third off a worker's start. A confined worker may only
//! read there. So the host makes the bytecode once the first confined worker of an interpreter is ready: with that interpreter, without the
//! plugin's environment, and at the lowest priority, so that no start waits for it. It runs no code of a plugin. No confined worker can
//! change the result; others run as this user, and so may change it as they may change the files themselves. A host that ends before it is
//! all made ends this, too, and the next one makes the rest.
//!
//! Each file has the hash of its source (PEP 552). Python compares it, and compiles the source by itself if it differs or if there is no
//! bytecode. So a failure does not matter.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::timeout;

use super::Interpreter;
use super::embedded::Package;
use super::machine::Machine;
use super::run::run;

/// How long it may take. What is made until then is kept.
const LIMIT: Duration = Duration::from_secs(10);

/// Compiles the files that it is given, except those that have bytecode. Each is written under another name first, and by a buffered
/// file, which writes all or raises: on a full disk, `py_compile` of older versions leaves half a file, and with that no worker starts.
const COMPILE: &str = "import os, sys
os.nice(19)
import marshal
from importlib.util import MAGIC_NUMBER, cache_from_source, source_hash
CHECKED = (3).to_bytes(4, 'little')
for path in sys.argv[1:]:
    made = cache_from_source(path)
    if os.path.exists(made):
        continue
    with open(path, 'rb') as file:
        source = file.read()
    code = compile(source, path, 'exec', dont_inherit=True)
    new = '%s.%d' % (made, os.getpid())
    try:
        os.mkdir(os.path.dirname(made))
    except FileExistsError:
        pass
    try:
        with open(new, 'xb') as file:
            file.write(MAGIC_NUMBER + CHECKED + source_hash(source) + marshal.dumps(code))
        os.replace(new, made)
    except OSError:
        os.unlink(new)
        raise";

/// The bytecode that this host is making, or could not make: by the directory, its inode, and the interpreter's tag. A directory that is
/// written anew has another inode.
#[derive(Debug, Clone, Default)]
pub(super) struct Attempts(Arc<Mutex<BTreeSet<Key>>>);

type Key = (PathBuf, u64, String);

/// One attempt. It may be repeated once this is dropped.
struct Attempt<'a> {
    all: &'a Attempts,
    key: Key,
    may_be_repeated: bool,
}

impl Attempts {
    /// None if this was begun before.
    fn begin(&self, package: &Path, tag: &str) -> Option<Attempt<'_>> {
        let key = (package.to_owned(), package.metadata().ok()?.ino(), tag.to_owned());
        let is_first = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone());
        is_first.then(|| Attempt { all: self, key, may_be_repeated: true })
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.may_be_repeated {
            self.all.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        }
    }
}

/// Whether there is bytecode of every module of the package for this interpreter. Blocks on the file system.
pub(crate) fn is_there(package: &Package, python: &Interpreter) -> bool {
    let entries = std::fs::read_dir(package.path.join("__pycache__")).into_iter().flatten().flatten();
    let found: BTreeSet<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let (module, tag) = name.strip_suffix(".pyc")?.split_once('.')?;
            is_of(tag, &python.tag).then(|| module.to_owned())
        })
        .collect();
    Package::modules().all(|module| module.strip_suffix(".py").is_some_and(|module| found.contains(module)))
}

/// Whether bytecode with this tag in its name is that of an interpreter, whose tag may have letters of its ABI after it.
fn is_of(tag: &str, interpreter: &str) -> bool {
    interpreter.strip_prefix(tag).is_some_and(|abi| abi.chars().all(|letter| letter.is_ascii_alphabetic()))
}

/// Makes the bytecode in the background, unless that was begun or has failed in this host.
pub(crate) fn make(package: &Arc<Package>, python: &Interpreter) {
    let (package, python) = (Arc::clone(package), python.clone());
    tokio::spawn(async move { attempt(&package, &python).await });
}

async fn attempt(package: &Package, python: &Interpreter) {
    let Some(program) = &python.bare else { return };
    let Some(mut attempt) = package.attempts.begin(&package.path, &python.tag) else { return };
    let made = timeout(LIMIT, compile(program, &package.path)).await.unwrap_or_else(|_| Err("it took too long".into()));
    let made = made.and_then(|()| if is_there(package, python) { Ok(()) } else { Err("it keeps none".into()) });
    if let Err(why) = made {
        attempt.may_be_repeated = false;
        tracing::debug!("{} makes no bytecode in {}: {why}", program.display(), package.path.display());
    }
}

async fn compile(program: &Path, package: &Path) -> Result<(), String> {
    let mut command = Machine::here().command(program);
    let files = Package::modules().map(|module| package.join(module));
    command.args(["-I", "-S", "-c", COMPILE]).args(files.collect::<Vec<PathBuf>>());
    let finished = run(command, &|_| {}).await.map_err(|error| error.to_string())?;
    if finished.status.success() { Ok(()) } else { Err(format!("{}: {}", finished.status, finished.last_line())) }
}

#[cfg(test)]
mod tests {
    use bivium_exchange::Exchange;
    use bivium_records::PluginLog;

    use super::super::tests::{Fixture, manifest};
    use super::*;
    use crate::small_disk::SmallDisk;

    async fn python() -> Interpreter {
        super::super::interpreter(&manifest(), None, None, true, &PluginLog::new("p")).await.unwrap()
    }

    fn package(cache: &Path) -> Package {
        let exchange = Exchange::builder().root(cache).open().unwrap();
        Package::new(Ok(cache.join("cache")), &exchange).unwrap()
    }

    fn entries(package: &Package) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(package.path.join("__pycache__")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// What an interpreter says to this program, in a process that imports from the package.
    fn says(python: &Interpreter, package: &Package, program: &str) -> String {
        let program = format!("import sys; sys.path.insert(0, sys.argv[1]); {program}");
        let mut command = std::process::Command::new(python.bare.as_ref().unwrap());
        command.args(["-I", "-S", "-B", "-c", &program]).arg(package.path.parent().unwrap());
        let said = command.output().unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap()
    }

    #[tokio::test]
    async fn bytecode_is_made_once_for_an_interpreter_and_used_for_the_same_source_only() {
        let root = tempfile::tempdir().unwrap();
        let (package, python) = (package(root.path()), python().await);
        assert!(!is_there(&package, &python));
        attempt(&package, &python).await;
        assert!(is_there(&package, &python), "{:?}", entries(&package));
        assert_eq!(entries(&package).len(), Package::modules().count(), "{:?}", entries(&package));
        let of_spill = entries(&package).into_iter().find(|path| path.to_string_lossy().contains("/spill.")).unwrap();
        assert_eq!(std::fs::read(&of_spill).unwrap()[4..8], [3, 0, 0, 0], "with the hash of its source, to be checked");

        // Python loads it: its bytecode is replaced by that of another text, with the hash of this one.
        let mark = "import marshal; path = sys.argv[1] + '/bivium_worker/__pycache__/spill.' + sys.implementation.cache_tag + '.pyc'
with open(path, 'r+b') as file:
    file.truncate(16); file.seek(16); file.write(marshal.dumps(compile('MARK = 1', 'spill.py', 'exec')))";
        says(&python, &package, mark);
        let loaded = "from bivium_worker import spill; print(hasattr(spill, 'MARK'))";
        assert_eq!(says(&python, &package, loaded), "True\n");
        // Neither its time nor its size counts, but its text.
        let source = package.path.join("spill.py");
        let text = std::fs::read_to_string(&source).unwrap();
        std::fs::write(&source, &text).unwrap();
        assert_eq!(says(&python, &package, loaded), "True\n");
        std::fs::write(&source, text.replace("\"\"\"", "'''")).unwrap();
        assert_eq!(says(&python, &package, loaded), "False\n");

        // What is there is not made again, and what is missing is.
        std::fs::remove_file(
            of_spill.with_file_name(of_spill.file_name().unwrap().to_str().unwrap().replace("spill", "wire")),
        )
        .unwrap();
        let time = || std::fs::metadata(&of_spill).unwrap().mtime_nsec();
        let before = time();
        assert!(!is_there(&package, &python));
        attempt(&package, &python).await;
        assert!(is_there(&package, &python) && time() == before);

        // It goes with the files.
        let of_another = Interpreter { tag: "cpython-38".into(), ..python.clone() };
        assert!(!is_there(&package, &of_another));
        std::fs::remove_dir_all(package.path.parent().unwrap()).unwrap();
        package.restore().unwrap();
        assert!(entries(&package).is_empty());
        attempt(&package, &python).await;
        assert!(is_there(&package, &python));
    }

    #[tokio::test]
    async fn an_attempt_that_failed_is_not_repeated_and_one_that_was_dropped_is() {
        let root = tempfile::tempdir().unwrap();
        let (package, fixture) = (package(root.path()), Fixture::new());
        let go = fixture.bin().join("go");
        let program =
            fixture.tool("fails", &format!("note ran; [ -e '{}' ] || exec /bin/sleep 1000; exit 1", go.display()));
        let python = Interpreter { bare: Some(program), ..python().await };
        let started = async {
            while fixture.ran().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = attempt(&package, &python) => panic!("it hangs"),
            () = started => {}
        }
        std::fs::write(go, "").unwrap();
        for _ in 0..3 {
            attempt(&package, &python).await;
        }
        assert_eq!(fixture.ran(), ["ran", "ran"]);
        let unknown = Interpreter { bare: None, ..python };
        attempt(&package, &unknown).await;
        assert!(entries(&package).is_empty());
    }

    #[tokio::test]
    async fn a_full_disk_leaves_no_part_of_a_file() {
        let Some(disk) = SmallDisk::new() else { return };
        let (package, python) = (package(disk.path()), python().await);
        // Some have room, and one has not.
        std::fs::write(disk.path().join("most"), vec![0; 400 << 10]).unwrap();
        attempt(&package, &python).await;
        assert!(!is_there(&package, &python));
        let complete = "import os, marshal; made = os.listdir(sys.argv[1] + '/bivium_worker/__pycache__')
for name in made:
    with open(sys.argv[1] + '/bivium_worker/__pycache__/' + name, 'rb') as file:
        marshal.loads(file.read()[16:])
print(made != [] and all(name.endswith('.pyc') for name in made))";
        assert_eq!(says(&python, &package, complete), "True\n");
    }

    #[test]
    fn the_tag_of_an_abi_may_be_longer_than_that_of_its_bytecode() {
        for (tag, interpreter, is) in [
            ("cpython-311", "cpython-311", true),
            ("cpython-313", "cpython-313t", true),
            ("cpython-313t", "cpython-313tt", true),
            ("cpython-31", "cpython-313", false),
            ("cpython-312", "cpython-313", false),
            ("cpython-313.opt-1", "cpython-313", false),
        ] {
            assert_eq!(is_of(tag, interpreter), is, "{tag} of {interpreter}");
        }
    }
}
