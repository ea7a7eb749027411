//! Every example plugin under `list`, `info`, `run` and `stream` of the real program.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use bivium::monitor::{MachineMonitor, Monitor};
use bivium_tests::{program, root};
use serde_json::{Value, json};

const EXAMPLES: [&str; 9] =
    ["audio-prep", "embed", "image-thumb", "redact", "subtitles", "summarize", "transcribe", "whisper", "wordcount"];

fn bivium(own: &Path) -> Command {
    let mut command = Command::new(program().unwrap());
    command.arg("--manifests").arg(root().join("examples/plugins")).arg("--data-dir").arg(own);
    command.args(["--output", "json"]);
    command
}

/// What the program prints to stdout; it must succeed.
fn result(command: &mut Command) -> Value {
    let lines = lines(command);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines.into_iter().next().unwrap()
}

fn lines(command: &mut Command) -> Vec<Value> {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// One second of a tone, one of silence, one of a tone: 8 kHz, 16 bits, mono.
fn wav(path: &Path) {
    let tone = |n: u32| (f64::from(n) * 0.3).sin() * 12000.0;
    let samples = (0..24000).map(|n| if (8000..16000).contains(&n) { 0 } else { tone(n) as i16 });
    let data: Vec<u8> = samples.flat_map(i16::to_le_bytes).collect();
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data".to_vec();
    file.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    file.extend(data);
    let size = u32::try_from(file.len() - 8).unwrap();
    file[4..8].copy_from_slice(&size.to_le_bytes());
    std::fs::write(path, file).unwrap();
}

#[test]
fn every_example_is_listed_and_tells_of_itself() {
    let own = tempfile::tempdir().unwrap();
    let listed = result(bivium(own.path()).arg("list"));
    let names: Vec<&str> =
        listed["plugins"].as_array().unwrap().iter().map(|info| info["name"].as_str().unwrap()).collect();
    assert_eq!(names, EXAMPLES);
    for name in EXAMPLES {
        let info = result(bivium(own.path()).args(["info", name]));
        assert_eq!(info["manifest"]["name"], name);
    }
}

#[test]
fn the_components_run() {
    let own = tempfile::tempdir().unwrap();
    let out = own.path().join("out");
    let masked = result(bivium(own.path()).args(["run", "redact", "text=ann@example.com"]));
    assert_eq!(masked["text"], "[email]");

    let sound = own.path().join("tone.wav");
    wav(&sound);
    let audio = format!("audio@={}", sound.display());
    let segments = lines(bivium(own.path()).args(["stream", "audio-prep", &audio, "--out"]).arg(&out));
    assert_eq!(segments.len(), 2, "{segments:?}");
    let segment = &segments[1]["audio"]["$blob"];
    assert_eq!(segment["media_type"], "audio/wav");
    assert!(std::fs::read(segment["path"].as_str().unwrap()).unwrap().starts_with(b"RIFF"));

    let words = r#"segments:=[{"text": "hello you", "words": [{"word": "hello", "start": 0, "end": 0.4}, {"word": "you", "start": 0.5, "end": 0.9}]}]"#;
    let out = own.path().join("captions");
    let captions = result(bivium(own.path()).args(["run", "subtitles", words, "--out"]).arg(&out));
    let srt = std::fs::read_to_string(captions["srt"]["$blob"]["path"].as_str().unwrap()).unwrap();
    assert_eq!(srt, "1\n00:00:00,000 --> 00:00:00,900\nhello you\n\n");

    let picture = own.path().join("dot.png");
    std::fs::write(&picture, png()).unwrap();
    let image = format!("image@={}", picture.display());
    let thumb = result(bivium(own.path()).args(["run", "image-thumb", &image, "max_side:=16"]));
    assert_eq!((&thumb["source_width"], &thumb["width"]), (&json!(1), &json!(1)));
}

/// A picture of one pixel.
fn png() -> Vec<u8> {
    let hex = "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc000\
               0003010100c9fe92ef0000000049454e44ae426082";
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn the_python_plugins_run() {
    let own = tempfile::tempdir().unwrap();
    let counted = result(bivium(own.path()).args(["run", "wordcount", "text=a b a"]));
    assert_eq!(counted["total"], 3);

    let out = own.path().join("vectors");
    let sentences = r#"sentences:=["a cat", "a dog"]"#;
    let vectors = result(bivium(own.path()).args(["run", "embed", sentences, "--out"]).arg(&out));
    let file = std::fs::read(vectors["vectors"]["$blob"]["path"].as_str().unwrap()).unwrap();
    assert!(file.starts_with(b"\x93NUMPY"));
    assert_eq!(vectors["shape"][0], 2);

    let whisper = bivium(own.path()).args(["run", "whisper", "audio=x.wav"]).output().unwrap();
    let said = String::from_utf8_lossy(&whisper.stderr);
    // A machine without a GPU is told so before anything else is looked for.
    let cure = if MachineMonitor::default().snapshot().gpus.is_empty() {
        "it needs a GPU"
    } else {
        "pip install faster-whisper"
    };
    assert!(!whisper.status.success() && said.contains(cure), "{said}");
}

#[test]
fn summarize_asks_its_service_with_the_secret() {
    let own = tempfile::tempdir().unwrap();
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = service.local_addr().unwrap();
    let url = format!("base_url=http://{address}/v1");
    // The example's own manifest allows one port, and this service has another.
    let plugin = own.path().join("summarize");
    std::fs::create_dir(&plugin).unwrap();
    for file in ["summarize.json", "summarize.py", "chat_service.py"] {
        let text = std::fs::read_to_string(root().join("examples/plugins/summarize").join(file)).unwrap();
        std::fs::write(plugin.join(file), text.replace("127.0.0.1:8080", &address.to_string())).unwrap();
    }
    let serving = std::thread::spawn(move || {
        let (mut connection, _) = service.accept().unwrap();
        let (mut request, mut part) = (Vec::new(), [0; 4096]);
        while !request.windows(9).any(|window| window == b"the text.") {
            let read = connection.read(&mut part).unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&part[..read]);
        }
        let reply = json!({"model": "small", "choices": [{"message": {"content": "short"}}], "usage": {}}).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", reply.len());
        connection.write_all(format!("{head}{reply}").as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    let mut command = bivium(own.path());
    command.arg("run").arg(plugin.join("summarize.json"));
    command.args(["text=the text.", "--config", &url]).env("SUMMARIZE_API_KEY", "the-secret");
    let summary = result(&mut command);
    assert_eq!(summary["summary"], "short");
    let request = serving.join().unwrap();
    assert!(request.to_lowercase().contains("authorization: bearer the-secret"), "{request}");
}
