//! A terminal for the program's standard error, and what it shows at the end.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::json;

use crate::place::{Place, until};

const COLUMNS: usize = 100;

/// Makes the terminal, starts the program, prints its output, and obeys requests on its standard input.
const MAKE: &str = r#"
import fcntl, os, pty, struct, subprocess, sys, termios, threading
master, slave = pty.openpty()
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave)
os.close(slave)
def obey():
    for line in sys.stdin:
        if line == "type\n":
            os.write(master, b"\x03")
        else:
            program.send_signal(2)
threading.Thread(target=obey, daemon=True).start()
try:
    while True:
        os.write(1, os.read(master, 4096))
except OSError:
    pass
os._exit(program.wait() & 255)
"#;

struct Terminal {
    child: Child,
    orders: ChildStdin,
    came: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Terminal {
    /// A new terminal that is the standard error of the program.
    fn with(program: &Command, variable: (&str, &str)) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", MAKE]).arg(program.get_program()).args(program.get_args());
        command.current_dir(program.get_current_dir().unwrap()).env("TERM", "xterm").env_remove("NO_COLOR");
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.env(variable.0, variable.1).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (orders, mut reading) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let came = Arc::new(Mutex::new(Vec::new()));
        let bytes = Arc::clone(&came);
        let reader = std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = reading.read(&mut buffer) {
                bytes.lock().unwrap().extend_from_slice(&buffer[..n]);
            }
        });
        Self { child, orders, came, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.came.lock().unwrap()).into_owned()
    }

    /// Does what the terminal does when this is typed, except sending the signal, because it is not the program's controlling terminal.
    fn type_interrupt(&mut self) {
        self.orders.write_all(b"type\n").unwrap();
    }

    fn signal(&mut self) {
        self.orders.write_all(b"signal\n").unwrap();
    }

    /// The status, and all output.
    fn end(mut self) -> (Option<i32>, String) {
        let status = self.child.wait().unwrap().code();
        self.reader.join().unwrap();
        let came = self.came.lock().unwrap();
        (status, String::from_utf8_lossy(&came).into_owned())
    }
}

/// The lines that a person sees at the end.
fn lines(text: &str) -> Vec<String> {
    let (mut screen, mut row, mut column) = (vec![Vec::new()], 0_usize, 0_usize);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\r' => column = 0,
            '\n' => row += 1,
            '\u{1b}' => {
                assert_eq!(chars.next(), Some('['));
                let mut number = String::new();
                let verb = loop {
                    match chars.next().unwrap() {
                        c if c.is_ascii_digit() || ";?".contains(c) => number.push(c),
                        verb => break verb,
                    }
                };
                let n = number.parse().unwrap_or(1);
                match verb {
                    'A' => row = row.saturating_sub(n),
                    'B' => row += n,
                    'C' => column += n,
                    'D' => column = column.saturating_sub(n),
                    'K' if number == "2" => screen[row].clear(),
                    'K' => screen[row].truncate(column),
                    _ => {}
                }
            }
            c => {
                if column == COLUMNS {
                    (row, column) = (row + 1, 0);
                }
                screen.resize(screen.len().max(row + 1), Vec::new());
                let line: &mut Vec<char> = &mut screen[row];
                line.resize(line.len().max(column + 1), ' ');
                line[column] = c;
                column += 1;
            }
        }
        screen.resize(screen.len().max(row + 1), Vec::new());
    }
    let text = |line: &Vec<char>| line.iter().collect::<String>().trim_end().to_owned();
    screen.iter().map(text).filter(|line| !line.is_empty()).collect()
}

#[test]
fn after_an_interruption_no_progress_is_left_on_the_terminal() {
    for (method, signals) in [("wait", 1), ("stubborn", 2)] {
        let place = Place::with_probe();
        let flag = format!("flag={}", place.path("flag").display());
        let program = place.command(&["run", "probe", "--method", method, &flag]);
        let mut terminal = Terminal::with(&program, ("X", ""));
        until("the plugin's call", || place.path("flag").exists());
        until("the progress", || terminal.text().contains("probe"));
        for n in 1..=signals {
            terminal.type_interrupt();
            until("the echo", || terminal.text().matches("^C").count() >= n);
            terminal.signal();
            until("the answer", || terminal.text().contains("stopping; interrupt again"));
        }
        let (status, text) = terminal.end();
        assert_eq!(status, Some(130));
        let seen = lines(&text);
        let is_message = |line: &String| line.starts_with("bivium: ") || line == "^C";
        assert!(seen.iter().all(is_message) && !seen.is_empty(), "{method}: {seen:#?}");
    }
}

/// Makes a component so large that a message says that it is compiled: with a section of 300,000 bytes without meaning.
fn enlarge(component: &Path) {
    let mut file = std::fs::OpenOptions::new().append(true).open(component).unwrap();
    file.write_all(&[&[0, 0xe0, 0xa7, 0x12, 1, b'x'], [0; 299_998].as_slice()].concat()).unwrap();
}

#[test]
fn the_progress_names_what_is_being_done() {
    let place = Place::with_probe();
    place.endless(json!({}));
    enlarge(&place.path("manifests/endless.wasm"));
    let flag = format!("flag={}", place.path("flag").display());
    let run = ["run", "probe", "--method", "wait", flag.as_str()];
    for (args, phases) in [
        (&run[..], &["loading", "running"][..]),
        (&["run", "endless"], &["loading", "compiling "]),
        (&["compile", "endless"], &["compiling"]),
    ] {
        let mut terminal = Terminal::with(&place.command(args), ("X", ""));
        until("what is being done", || {
            let text = terminal.text();
            phases.iter().all(|phase| text.contains(phase))
        });
        terminal.signal();
        let (status, text) = terminal.end();
        assert_eq!(status, Some(130));
        let left = lines(&text);
        assert!(left.iter().all(|line| line.starts_with("bivium: ")), "{args:?}: {left:#?}");
    }
}

/// Without a terminal it is a line, and only if something large is compiled.
#[test]
fn without_a_terminal_a_line_says_that_compiling_begins() {
    let place = Place::new();
    place.echo();
    let run = |args: &[&str]| place.run(&[&["run", "echo", "text=a"], args].concat()).assert_status(0).stderr.clone();
    assert_eq!(run(&[]), "", "a small one");
    enlarge(&place.path("manifests/echo.wasm"));
    let kilobytes = std::fs::metadata(place.path("manifests/echo.wasm")).unwrap().len().div_ceil(1000);
    assert_eq!(run(&[]), format!("echo: compiling {kilobytes} kB of WebAssembly\n"));
    assert_eq!(run(&[]), "", "it is compiled");
    for quiet in ["--quiet", "--output=json"] {
        std::fs::remove_dir_all(place.path(".cache/bivium")).unwrap();
        assert_eq!(run(&[quiet]), "", "{quiet}");
    }
}

#[test]
fn errors_and_warnings_are_in_colour_on_a_terminal_that_has_some() {
    let place = Place::new();
    place.component("redact", json!({}));
    place.write("manifests/broken.json", "{");
    let said = |args: &[&str], variable: (&str, &str)| Terminal::with(&place.command(args), variable).end().1;
    let error = said(&["run", "nothing"], ("X", ""));
    assert!(error.contains("\u{1b}[1;31mbivium:\u{1b}[0m there is no plugin"), "{error:?}");
    let usage = said(&["run", "redact", "a=1", "a=2"], ("X", ""));
    assert!(usage.contains("\u{1b}[1;31mbivium:\u{1b}[0m the argument"), "{usage:?}");
    let warning = said(&["list"], ("X", ""));
    assert!(warning.contains("\u{1b}[1;33mbivium: warning:\u{1b}[0m"), "{warning:?}");
    for plain in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let error = said(&["run", "nothing"], plain);
        assert!(error.contains("bivium: there is no plugin") && !error.contains("31m"), "{plain:?} {error:?}");
    }
    assert!(place.run(&["run", "nothing"]).stderr.starts_with("bivium: there is no plugin"));
}
