//! Queries an interpreter for its version and more, once in a process for each file.
//!
//! The query runs without `site` and without the environment, so it takes a few milliseconds and runs no code
//! of the environment. An answer is valid while the file does not change, and is kept for later hosts (`answers`). Callers that ask
//! at the same time share one query and its answer. A failure is reported only to them, and the next caller queries again.

use std::collections::BTreeMap;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::facts::{Facts, Stamp};
use super::machine::{Machine, is_executable};
use super::run::run;

/// How long an interpreter may take. On a slow network disk, not cached, it needs seconds.
const ANSWER: Duration = Duration::from_secs(10);

/// Prints one line: a mark, whether `prctl` can be called, the version, the tag that compiled modules must match, and the
/// program.
const QUESTION: &str = "import sys
mark = 'bivium'
try:
    import ctypes
    ctypes.CDLL(None).prctl
    mark += '+prctl'
except (ImportError, OSError, AttributeError):
    pass
said = [mark, '%d.%d.%d' % sys.version_info[:3],
        '%s%s' % (sys.implementation.cache_tag, getattr(sys, 'abiflags', '')), sys.executable or '']
sys.stdout.buffer.write('\\t'.join(said).encode('utf-8', 'surrogateescape'))";

/// Why a file cannot be used as an interpreter. Its text continues a sentence that begins with the file's name.
#[derive(Debug, Clone)]
pub(super) enum ProbeFailure {
    Missing,
    NotExecutable,
    NotStarted(String),
    NotPython(String),
    Silent(Duration),
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("does not exist"),
            Self::NotExecutable => f.write_str("is not an executable file"),
            Self::NotStarted(error) => write!(f, "cannot be run: {error}"),
            Self::NotPython(said) => write!(f, "does not answer like Python 3 ({said})"),
            Self::Silent(limit) => write!(f, "gave no answer in {} s", limit.as_secs()),
        }
    }
}

/// A query of a file, which has an answer or will have one.
struct Question {
    stamp: Stamp,
    answer: Arc<OnceCell<Result<Facts, ProbeFailure>>>,
}

static QUESTIONS: Mutex<BTreeMap<PathBuf, Question>> = Mutex::new(BTreeMap::new());

fn questions() -> MutexGuard<'static, BTreeMap<PathBuf, Question>> {
    QUESTIONS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Queries this interpreter, or returns its earlier answer.
pub(super) async fn probe(machine: &Machine, file: &Path) -> Result<Facts, ProbeFailure> {
    probe_within(ANSWER, machine, file).await
}

async fn probe_within(limit: Duration, machine: &Machine, file: &Path) -> Result<Facts, ProbeFailure> {
    let stamp = stamp(file)?;
    let answer = {
        let mut questions = questions();
        match questions.get(file).filter(|question| question.stamp == stamp) {
            Some(question) => Arc::clone(&question.answer),
            None => {
                let answer = Arc::default();
                questions.insert(file.to_owned(), Question { stamp, answer: Arc::clone(&answer) });
                answer
            }
        }
    };
    let asked = answer.get_or_init(async || {
        let answers = machine.answers.as_ref();
        if let Some(facts) = answers.and_then(|answers| answers.read(file, &stamp)) {
            return Ok(facts);
        }
        let said = timeout(limit, ask(machine, file)).await.unwrap_or(Err(ProbeFailure::Silent(limit)));
        if let (Ok(facts), Some(answers)) = (&said, answers) {
            answers.keep(file, &stamp, facts);
        }
        said
    });
    // If the caller that queries is dropped, another caller that waits takes over.
    let said = asked.await.clone();
    if said.is_err() {
        let mut questions = questions();
        if questions.get(file).is_some_and(|question| Arc::ptr_eq(&question.answer, &answer)) {
            questions.remove(file);
        }
    }
    said
}

fn stamp(file: &Path) -> Result<Stamp, ProbeFailure> {
    let metadata = file.metadata().map_err(|_| ProbeFailure::Missing)?;
    if !is_executable(file) {
        return Err(ProbeFailure::NotExecutable);
    }
    Ok((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), metadata.ino()))
}

async fn ask(machine: &Machine, file: &Path) -> Result<Facts, ProbeFailure> {
    let answer = Mutex::new(None);
    let listen = |line: &str| {
        if let Some(facts) = facts(line, file) {
            answer.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(facts);
        }
    };
    let mut command = machine.command(file);
    command.args(["-I", "-S", "-c", QUESTION]);
    let finished = run(command, &listen).await.map_err(|error| ProbeFailure::NotStarted(error.to_string()))?;
    match answer.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(facts) if finished.status.success() => Ok(facts),
        _ => Err(ProbeFailure::NotPython(format!("{}: {}", finished.status, finished.last_line()))),
    }
}

fn facts(line: &str, file: &Path) -> Option<Facts> {
    let mut said = line.splitn(4, '\t');
    let prctl = match said.next()? {
        "bivium" => false,
        "bivium+prctl" => true,
        _ => return None,
    };
    let version = said.next()?.parse().ok()?;
    let tag = said.next()?.to_owned();
    // An embedded Python does not know its program.
    let program = PathBuf::from(said.next().unwrap_or_default());
    let program = if program.is_absolute() && is_executable(&program) { program } else { file.to_owned() };
    Some(Facts { program, version, tag, prctl })
}

#[cfg(test)]
mod tests {
    use super::super::tests::Fixture;
    use super::super::version::Version;
    use super::*;

    #[tokio::test]
    async fn says_why_a_file_cannot_be_used() {
        let fixture = Fixture::new();
        fixture.tool("fails", "echo no such option: -I >&2; exit 2");
        fixture.tool("lies", "printf 'bivium\\t3.x.1\\tcpython\\t\\n'");
        fixture.tool("hangs", "exec /bin/sleep 1000");
        std::fs::write(fixture.bin().join("plain"), "").unwrap();
        let limit = |name| if name == "hangs" { Duration::from_millis(20) } else { ANSWER };
        for (name, why) in [
            ("absent", "does not exist"),
            ("plain", "is not an executable file"),
            (".", "is not an executable file"),
            ("fails", "does not answer like Python 3 (exit status: 2: no such option: -I)"),
            ("lies", "does not answer like Python 3 (exit status: 0: bivium\t3.x.1\tcpython)"),
            ("hangs", "gave no answer in 0 s"),
        ] {
            let answer = probe_within(limit(name), &fixture.machine(), &fixture.bin().join(name)).await;
            assert_eq!(answer.unwrap_err().to_string(), why);
        }
    }

    #[tokio::test]
    async fn asks_again_only_when_the_file_has_changed() {
        let fixture = Fixture::new();
        let python = fixture.python("python3", "3.11.7");
        let version = async || probe(&fixture.machine(), &python).await.unwrap().version;
        assert_eq!((version().await, version().await), (Version(3, 11, 7), Version(3, 11, 7)));
        assert_eq!(fixture.ran(), ["probe"]);
        fixture.python("python3", "3.12.10");
        assert_eq!(version().await, Version(3, 12, 10));
        assert_eq!(fixture.ran(), ["probe", "probe"]);
    }

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_a_question() {
        let fixture = Fixture::new();
        let python = fixture.python("python3", "3.11.7");
        let machine = fixture.machine();
        let all = futures_util::future::join_all((0..200).map(|_| probe(&machine, &python))).await;
        assert!(all.iter().all(|facts| facts.as_ref().unwrap().version == Version(3, 11, 7)));
        assert_eq!(fixture.ran(), ["probe"]);
    }

    #[tokio::test]
    async fn a_failure_is_reported_to_those_who_waited_and_the_next_caller_asks_again() {
        let fixture = Fixture::new();
        let python = fixture.tool("python3", "note probe; exit 1");
        let machine = fixture.machine();
        let all = futures_util::future::join_all((0..200).map(|_| probe(&machine, &python))).await;
        assert!(all.iter().all(|answer| matches!(answer, Err(ProbeFailure::NotPython(_)))));
        assert_eq!(fixture.ran(), ["probe"]);
        assert!(probe(&machine, &python).await.is_err());
        assert_eq!(fixture.ran(), ["probe", "probe"]);
    }

    #[tokio::test]
    async fn a_waiting_caller_asks_if_the_asking_one_is_dropped() {
        let fixture = Fixture::new();
        let go = fixture.bin().join("go");
        let script = format!(
            "note probe; [ -e '{}' ] || exec /bin/sleep 1000; printf 'bivium\\t3.11.7\\tt\\t\\n'",
            go.display()
        );
        let python = fixture.tool("python3", &script);
        let machine = fixture.machine();
        let mut first = Box::pin(probe(&machine, &python));
        let mut second = Box::pin(probe(&machine, &python));
        let asked = async {
            while fixture.ran().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            biased;
            _ = &mut first => panic!("it hangs"),
            _ = &mut second => panic!("it waits for the first"),
            () = asked => {}
        }
        std::fs::write(&go, "").unwrap();
        drop(first);
        assert_eq!(second.await.unwrap().version, Version(3, 11, 7));
        assert_eq!(fixture.ran(), ["probe", "probe"]);
    }
}
