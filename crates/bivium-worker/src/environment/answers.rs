//! Caches the answers of interpreters in the host's cache for a day, so that a host that starts for one call need not ask again.
//!
//! Only answers of programs are kept: a script may start to run another interpreter while the script itself does not change.

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::facts::{Facts, Stamp};
use crate::environment::embedded::is_private;

/// The version of the format of the files.
const FORMAT: u8 = 1;
/// How long an answer is kept: the libraries of an interpreter may change while its file stays the same.
const LASTS: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest file: a longer one is not an answer.
const LONGEST: u64 = 4096;

/// The directory of the answers.
#[derive(Debug, Clone)]
pub(super) struct Answers(PathBuf);

/// The content of one file.
#[derive(Serialize, Deserialize)]
struct Kept {
    version: String,
    tag: String,
    prctl: bool,
}

impl Answers {
    pub(super) fn within(cache: &Path) -> Self {
        Self(cache.join("interpreters"))
    }

    /// The program's last answer, if it is kept and the program's file has not changed.
    pub(super) fn read(&self, file: &Path, stamp: &Stamp) -> Option<Facts> {
        if !is_private(&self.0) {
            return None;
        }
        let opened = std::fs::File::open(self.place(file, stamp)).ok()?;
        // If the clock was set back, the answer counts as too old as well.
        if opened.metadata().ok()?.modified().ok()?.elapsed().ok()? > LASTS {
            return None;
        }
        let kept: Kept = serde_json::from_reader(opened.take(LONGEST)).ok()?;
        Some(Facts { program: file.to_owned(), version: kept.version.parse().ok()?, tag: kept.tag, prctl: kept.prctl })
    }

    /// Keeps an answer if that is possible; a failure does not matter.
    pub(super) fn keep(&self, file: &Path, stamp: &Stamp, facts: &Facts) {
        if facts.program != file || is_script(file) {
            return;
        }
        if let Err(error) = self.write(file, stamp, facts) {
            tracing::debug!("an interpreter's answer cannot be kept in {}: {error}", self.0.display());
        }
    }

    fn write(&self, file: &Path, stamp: &Stamp, facts: &Facts) -> io::Result<()> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        self.remove_old()?;
        let kept = Kept { version: facts.version.to_string(), tag: facts.tag.clone(), prctl: facts.prctl };
        let mut new = tempfile::NamedTempFile::new_in(&self.0)?;
        new.write_all(&serde_json::to_vec(&kept)?)?;
        new.persist(self.place(file, stamp)).map_err(|error| error.error)?;
        Ok(())
    }

    fn remove_old(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(&self.0)?.flatten() {
            let age = entry.metadata().and_then(|found| found.modified()).map(|time| time.elapsed());
            if matches!(age, Ok(Ok(age)) if age > LASTS) {
                // Another host may have been faster.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    fn place(&self, file: &Path, stamp: &Stamp) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update([FORMAT]);
        hash.update(format!("{stamp:?} "));
        hash.update(OsStr::as_bytes(file.as_os_str()));
        let name: String = hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        self.0.join(name)
    }
}

/// Whether the file is a script, which another program runs. A file that cannot be read counts as one.
fn is_script(file: &Path) -> bool {
    let mut begin = [0; 2];
    std::fs::File::open(file).and_then(|mut file| file.read_exact(&mut begin)).map_or(true, |()| begin == *b"#!")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    use super::super::version::Version;
    use super::*;

    fn facts(program: &Path) -> Facts {
        Facts { program: program.to_owned(), version: Version(3, 11, 7), tag: "cpython-311".into(), prctl: true }
    }

    fn entries(cache: &Path) -> Vec<PathBuf> {
        std::fs::read_dir(cache.join("interpreters")).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    #[test]
    fn an_answer_is_kept_for_the_same_file_and_for_a_day() {
        let cache = tempfile::tempdir().unwrap();
        let answers = Answers::within(cache.path());
        let (program, stamp) = (Path::new("/bin/sh"), (SystemTime::UNIX_EPOCH, 1, 2));
        assert_eq!(answers.read(program, &stamp), None);
        answers.keep(program, &stamp, &facts(program));
        assert_eq!(answers.read(program, &stamp), Some(facts(program)));
        for (other, stamp) in [("/bin/cat", stamp), ("/bin/sh", (stamp.0, 1, 3)), ("/bin/sh", (stamp.0, 2, 2))] {
            assert_eq!(answers.read(Path::new(other), &stamp), None);
        }

        let yesterday = SystemTime::now().checked_sub(LASTS + Duration::from_secs(60)).unwrap();
        std::fs::File::options().write(true).open(&entries(cache.path())[0]).unwrap().set_modified(yesterday).unwrap();
        assert_eq!(answers.read(program, &stamp), None);
        let other = (stamp.0, 5, 5);
        answers.keep(program, &other, &facts(program));
        assert_eq!(entries(cache.path()).len(), 1, "the old one is removed");
        assert_eq!(answers.read(program, &other), Some(facts(program)));
    }

    #[test]
    fn answers_of_scripts_are_not_kept_and_files_that_others_may_write_are_not_read() {
        let cache = tempfile::tempdir().unwrap();
        let (answers, stamp) = (Answers::within(cache.path()), (SystemTime::UNIX_EPOCH, 1, 2));
        let script = cache.path().join("python3");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        answers.keep(&script, &stamp, &facts(&script));
        // A program that claims to be another one.
        answers.keep(Path::new("/bin/sh"), &stamp, &facts(Path::new("/bin/cat")));
        assert!(!cache.path().join("interpreters").exists());

        let program = Path::new("/bin/sh");
        answers.keep(program, &stamp, &facts(program));
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(cache.path().join("interpreters"), open).unwrap();
        assert_eq!(answers.read(program, &stamp), None);
    }

    #[test]
    fn a_damaged_answer_and_an_unusable_cache_are_not_errors() {
        let cache = tempfile::tempdir().unwrap();
        let (answers, stamp) = (Answers::within(cache.path()), (SystemTime::UNIX_EPOCH, 1, 2));
        let program = Path::new("/bin/sh");
        answers.keep(program, &stamp, &facts(program));
        for damage in ["", "{", r#"{"version": "3", "tag": "", "prctl": true}"#] {
            std::fs::write(&entries(cache.path())[0], damage).unwrap();
            assert_eq!(answers.read(program, &stamp), None);
        }
        let none = Answers::within(&entries(cache.path())[0]);
        none.keep(program, &stamp, &facts(program));
        assert_eq!(none.read(program, &stamp), None);
    }
}
