//! A realistic job: a minute of speech becomes a transcript and subtitles, with plugins of both runtimes.

use std::io::Read;
use std::path::Path;
use std::process::Command;

use bivium::pipeline::{Event, Pipeline, RunOptions};
use bivium::{Payload, PluginManager};
use bivium_tests::root;
use serde_json::{Value, json};

/// The word error rate, by the program that belongs to the sample.
fn word_error_rate(sample: &Path, hypothesis: &str) -> f64 {
    let heard = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(heard.path(), hypothesis).unwrap();
    let mut command = Command::new("python3");
    command.arg(sample.join("wer.py")).arg(sample.join("speech.txt")).arg(heard.path());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    report["wer"].as_f64().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_becomes_a_transcript_and_subtitles() {
    let data = tempfile::tempdir().unwrap();
    let dir = root().join("examples/pipelines/transcribe");
    let manager = PluginManager::builder().manifests(root().join("examples/plugins")).data_dir(data.path());
    let manager = manager.build().unwrap();
    let pipeline = Pipeline::read(&dir.join("pipeline.json")).unwrap();
    let heard = std::sync::Mutex::new(Vec::new());
    let on_event = |event: Event<'_>| {
        if let Event::Result { step, payload } = event
            && step.id == "words"
        {
            heard.lock().unwrap().push(payload.json["text"].as_str().unwrap().to_owned());
        }
    };
    let outcome = pipeline.run(&manager, json!({}).into(), &RunOptions::default(), &on_event).await.unwrap();

    let heard = heard.into_inner().unwrap();
    let rate = word_error_rate(&dir, &heard.join(" "));
    println!("word error rate {rate:.3} over {} segments", heard.len());
    assert!(rate <= 0.3, "word error rate {rate:.3}: {heard:?}");
    assert!(heard.len() > 3, "the speech is split at its silences");

    let text = |payload: &Payload, name: &str| {
        let mut text = String::new();
        payload.blob(&payload.json[name]).unwrap().open().unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let srt = text(&outcome.payload, "srt");
    assert!(srt.starts_with("1\n00:00:0") && srt.contains(" --> "), "{srt}");
    assert!(text(&outcome.payload, "vtt").starts_with("WEBVTT\n"));
    let reports: Vec<_> = outcome.steps.iter().map(|step| (step.id.as_str(), step.calls)).collect();
    let segments = u32::try_from(heard.len()).unwrap();
    assert_eq!(reports, [("segments", 1), ("words", segments), ("redacted", 1), ("subtitles", 1)]);
    drop(outcome);
    manager.unload_all().await;
    assert_eq!(manager.exchange().usage().blobs, 0);
}
