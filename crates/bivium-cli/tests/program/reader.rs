//! Readers of standard output that are slow or have stopped reading: a deadline and a signal still end the program.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::place::{Place, signal, until};

/// Much longer than the end of a run takes, and much shorter than a plugin or a reader that never ends.
const SOON: Duration = Duration::from_secs(10);

const ENDLESS: &str = "
import os

def started():
    with open('flag.new', 'w') as file:
        file.write(str(os.getpid()))
    os.rename('flag.new', os.environ['FLAG'])

class P:
    def execute(self):
        started()
        return 'x' * 500_000

    def for_ever(self):
        started()
        while True:
            yield 1

    def large(self):
        started()
        while True:
            yield 'x' * 200_000
";

fn place() -> Place {
    let place = Place::new();
    let flag = place.path("flag");
    place.write("endless.py", &ENDLESS.replace("'flag.new'", "os.environ['FLAG'] + '.new'"));
    let manifest = json!({"name": "endless", "version": "1.0.0", "module": "endless", "class": "P", "source": "..",
        "env_vars": {"FLAG": flag}});
    place.write("manifests/endless.json", &manifest.to_string());
    place
}

fn worker(place: &Place) -> String {
    let flag = place.path("flag");
    until("the plugin's call", || flag.exists());
    std::fs::read_to_string(flag).unwrap()
}

/// Starts the program with a deadline after the beginning of the plugin's call; it tries longer deadlines on a busy machine. Returns the
/// program and its worker.
fn with_deadline<T>(place: &Place, args: &[&str], mut start: impl FnMut(&[&str]) -> (Child, T)) -> (Child, T, String) {
    let flag = place.path("flag");
    for seconds in ["2", "6", "18", "54"] {
        let (mut child, kept) = start(&[args, &["--timeout", seconds]].concat());
        let mut ended = false;
        until("the plugin's call", || {
            ended = child.try_wait().unwrap().is_some();
            ended || flag.exists()
        });
        if flag.exists() {
            return (child, kept, worker(place));
        }
    }
    panic!("the plugin's call did not begin");
}

/// Waits for the program's end while nobody reads its output. Returns its status.
#[track_caller]
fn status_of(child: &mut Child) -> i32 {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().expect("ended by a signal");
        }
        if begun.elapsed() > SOON {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[track_caller]
fn is_gone(place: &Place, worker: &str) {
    let process = std::path::PathBuf::from(format!("/proc/{worker}"));
    until("the worker's end", || !process.exists());
    place.assert_clean();
}

#[test]
fn a_slow_reader_meets_the_deadline_and_the_signal() {
    for ends in ["deadline", "TERM"] {
        let place = place();
        let args = ["stream", "endless", "--method", "for_ever"];
        let start = |args: &[&str]| (place.command(args).spawn().unwrap(), ());
        let (mut child, worker) = if ends == "deadline" {
            let (child, (), worker) = with_deadline(&place, &args, start);
            (child, worker)
        } else {
            (start(&args).0, worker(&place))
        };
        // About 500 lines per second; there are always more.
        let mut lines = BufReader::with_capacity(64, child.stdout.take().unwrap()).lines();
        let begun = Instant::now();
        let mut signalled = ends == "deadline";
        let mut count = 0_u64;
        for line in lines.by_ref() {
            // The last line may be cut.
            let line = line.unwrap();
            assert!(line == "1" || line.is_empty(), "{line}");
            count += 1;
            if !signalled && count == 500 {
                signal(&child, "TERM");
                signalled = true;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not end");
            // After the end of the program, the rest of the pipe is read faster.
            if child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        let status = status_of(&mut child);
        assert_eq!(status, if ends == "deadline" { 124 } else { 130 });
        is_gone(&place, &worker);
    }
}

#[test]
fn a_reader_that_has_stopped_holds_up_neither_the_deadline_nor_the_signal() {
    for method in ["for_ever", "large"] {
        for ends in ["deadline", "TERM", "INT"] {
            for errors_too in [false, true] {
                let place = place();
                let args = ["stream", "endless", "--method", method, "-v"];
                let start = |args: &[&str]| {
                    let (reader, writer) = std::io::pipe().unwrap();
                    let mut command = place.command(args);
                    if errors_too {
                        command.stderr(Stdio::from(writer.try_clone().unwrap()));
                    }
                    (command.stdout(Stdio::from(writer)).spawn().unwrap(), reader)
                };
                let (mut child, reader, worker) = if ends == "deadline" {
                    with_deadline(&place, &args, start)
                } else {
                    let (child, reader) = start(&args);
                    (child, reader, worker(&place))
                };
                if ends != "deadline" {
                    // After the pipe is full.
                    std::thread::sleep(Duration::from_millis(300));
                    signal(&child, ends);
                }
                let status = status_of(&mut child);
                assert_eq!(status, if ends == "deadline" { 124 } else { 130 }, "{method} {ends} {errors_too}");
                is_gone(&place, &worker);
                drop(reader);
            }
        }
    }
}

#[test]
fn a_result_that_is_not_read_holds_up_no_signal() {
    let place = place();
    let mut child = place.command(&["run", "endless"]).spawn().unwrap();
    let worker = worker(&place);
    let mut stdout = child.stdout.take().unwrap();
    let mut begun = [0; 10];
    stdout.read_exact(&mut begun).unwrap();
    signal(&child, "TERM");
    assert_eq!(status_of(&mut child), 130);
    is_gone(&place, &worker);

    // When it is read further, it is complete.
    let place = self::place();
    let ran = place.run(&["run", "endless"]);
    assert_eq!(ran.assert_status(0).json().as_str().unwrap().len(), 500_000);
}

#[test]
fn a_log_that_is_not_read_holds_up_no_signal() {
    let place = Place::with_probe();
    place.run(&["run", "probe", "--method", "flood", "count:=5000"]).assert_status(0);
    let mut child = place.command(&["logs", "probe", "-n", "5000", "--follow"]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 10]).unwrap();
    signal(&child, "TERM");
    assert_eq!(status_of(&mut child), 130);
}
