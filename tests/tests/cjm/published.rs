//! The plugins as their authors ship them: media, a graph, sentences.

use bivium::{Blob, Call, ErrorCode};
use serde_json::{Value, json};

use super::{Host, method, speech};

const MEDIA: &str = "cjm-media-plugin-ffmpeg";
const GRAPH: &str = "cjm-graph-plugin-sqlite";
const SENTENCES: &str = "cjm-capability-pysbd";

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn the_methods_of_a_plugin_are_its_classs_and_its_adapters() {
    let host = Host::loaded(MEDIA).await;
    let methods = host.manager.methods(MEDIA).await.unwrap();
    let names: Vec<&str> = methods.iter().map(|method| method.name.as_str()).collect();
    for name in ["get_info", "convert", "prefetch", "media_processing.get_info", "media_processing.segment_audio"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    // What the base class has for the plugin's own code is nobody else's.
    for name in ["check_cancel", "heartbeat", "reconfigure", "report_usage", "initialize", "media_processing.tool"] {
        assert!(!names.contains(&name), "{name}");
    }
    // The tool has no `execute`, and says what it has.
    for error in [
        host.manager.execute(MEDIA, Call::new()).await.map(drop).unwrap_err(),
        host.manager.execute(MEDIA, method("media_processing.nothing")).await.map(drop).unwrap_err(),
        host.manager.execute(MEDIA, method("graph-storage.add_nodes")).await.map(drop).unwrap_err(),
        host.manager.execute(MEDIA, method("media_processing._force")).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.code(), ErrorCode::NotFound);
        assert!(error.to_string().contains("media_processing.get_info"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn media_is_probed_converted_cached_and_cut() {
    let host = Host::loaded(MEDIA).await;
    let path = speech();
    let path = path.to_str().unwrap();
    for name in ["get_info", "media_processing.get_info"] {
        let info = host.typed(MEDIA, method(name).named("file_path", path), "media_processing.metadata").await;
        assert_eq!((&info["path"], &info["audio_streams"][0]["sample_rate"]), (&json!(path), &json!(22050)));
        assert!((info["duration"].as_f64().unwrap() - 51.3).abs() < 0.1, "{info}");
    }

    // A blob is a path to the plugin.
    let convert = || {
        let call = method("media_processing.convert").blob("input_path", Blob::by_reference(speech(), None).unwrap());
        call.named("output_format", "mp3").named("sample_rate", 16000).named("channels", 1)
    };
    let (result, told) = host.watched(MEDIA, convert()).await;
    let result = result.unwrap().json;
    assert_eq!(result["__wire__"], "media_processing.artifact");
    let made = result["data"]["output_path"].as_str().unwrap();
    assert!(std::path::Path::new(made).starts_with(host.data(MEDIA)), "{made}");
    let last = told.last().unwrap();
    assert_eq!((last.fraction, last.message.as_str()), (Some(1.0), "Complete"), "{told:?}");
    let info = host.typed(MEDIA, method("get_info").named("file_path", made), "media_processing.metadata").await;
    assert_eq!(info["audio_streams"][0]["sample_rate"], 16000);

    // The adapter's cache answers, unless the caller's control flag says otherwise.
    let modified = || std::fs::metadata(made).unwrap().modified().unwrap();
    let first = modified();
    assert_eq!(host.call(MEDIA, convert()).await.unwrap(), result);
    assert_eq!(modified(), first);
    host.call(MEDIA, convert().envelope("control", json!({"force": true}))).await.unwrap();
    assert_ne!(modified(), first);

    // Positional arguments, too.
    let boundaries = json!([{"start": 0.0, "end": 1.5}, {"start": 2.0, "end": 3.0}]);
    let cut = method("media_processing.segment_audio").arg(path).arg(boundaries).named("output_format", "wav");
    let (result, told) = host.watched(MEDIA, cut).await;
    let batch = &result.unwrap().json["data"];
    assert_eq!((&batch["segment_count"], &batch["total_duration"]), (&json!(2), &json!(2.5)));
    assert!(batch["segments"].as_array().unwrap().iter().all(|segment| {
        let path = segment["output_path"].as_str().unwrap();
        std::fs::metadata(path).unwrap().len() > 20_000
    }));
    assert!(told.iter().any(|progress| progress.fraction == Some(1.0)), "{told:?}");

    let log = host.log(MEDIA);
    assert!(log.iter().any(|line| line.starts_with("cjm_media_plugin_ffmpeg.plugin") && line.contains("Converted")));
    assert!(log.iter().any(|line| line.contains("task_account") && line.contains(r#""method": "convert""#)), "{log:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn its_errors_keep_their_code_type_and_fields() {
    let host = Host::loaded(MEDIA).await;
    for name in ["get_info", "media_processing.get_info"] {
        let error = host.call(MEDIA, method(name).named("file_path", "/no/such.wav")).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidInput);
        let failure = error.failure().unwrap();
        assert_eq!(failure.kind, "cjm_plugin_system.core.errors.PluginInputError");
        assert_eq!(failure.details["fields_invalid"], json!(["file_path"]));
        assert_eq!((&failure.details["category"], &failure.details["retriable"]), (&json!("user_input"), &json!(true)));
        assert!(failure.traceback.contains("plugin.py"), "{}", failure.traceback);
        assert!(error.to_string().contains("check file_path"), "{error}");
    }
    // ffprobe's own failure is none of theirs.
    let text = host.dir.path().join("text.wav");
    std::fs::write(&text, "no sound").unwrap();
    let call = method("media_processing.get_info").named("file_path", text.to_str().unwrap());
    let error = host.call(MEDIA, call).await.unwrap_err();
    assert_eq!(
        (error.code(), error.failure().unwrap().kind.as_str()),
        (ErrorCode::PluginFailed, "subprocess.CalledProcessError")
    );
    assert_eq!(error.failure().unwrap().details["category"], "fatal");
    let error = host.call(MEDIA, method("media_processing.get_info").named("file", "x")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn a_long_cut_is_cancelled_and_the_worker_serves_on() {
    let host = Host::loaded(MEDIA).await;
    let pids = host.manager.stats(MEDIA).await.unwrap().instances[0].id;
    // Hours of work.
    let boundaries: Vec<Value> =
        (0..100_000).map(|n| json!({"start": f64::from(n) / 2000.0, "end": f64::from(n + 1) / 2000.0})).collect();
    let path = speech();
    let call = method("media_processing.segment_audio").named("input_path", path.to_str().unwrap());
    let error = host.cancelled_at(MEDIA, call.named("boundaries", boundaries), "Segment 2/100000").await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Cancelled);
    let info = method("media_processing.get_info").named("file_path", path.to_str().unwrap());
    host.call(MEDIA, info).await.unwrap();
    assert_eq!(host.manager.stats(MEDIA).await.unwrap().instances[0].id, pids, "the worker is the same");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn a_graph_is_written_queried_and_there_again_in_a_later_host() {
    let host = Host::loaded(GRAPH).await;
    let node = |id: &str, label: &str, n: u32| json!({"id": id, "label": label, "properties": {"n": n}});
    let nodes = json!([node("a", "Source", 1), node("b", "Segment", 2), node("c", "Segment", 3)]);
    let added = host.call(GRAPH, method("graph-storage.add_nodes").named("nodes", nodes)).await.unwrap();
    assert_eq!(added, json!(["a", "b", "c"]));
    let edges = json!([{"id": "e", "source_id": "b", "target_id": "a", "relation_type": "PART_OF"}]);
    host.call(GRAPH, method("graph-storage.add_edges").arg(edges)).await.unwrap();

    let found = host.typed(GRAPH, method("graph-storage.get_node").named("node_id", "b"), "graph.node").await;
    assert_eq!((&found["label"], &found["properties"]["n"]), (&json!("Segment"), &json!(2)));
    assert_eq!(host.call(GRAPH, method("graph-storage.get_node").arg("none")).await.unwrap(), Value::Null);
    // Of a list, only the whole would be typed.
    let call = method("graph-storage.find_nodes_by_label").named("label", "Segment");
    let listed = host.call(GRAPH, call).await.unwrap();
    let ids: Vec<&Value> = listed.as_array().unwrap().iter().map(|node| &node["id"]).collect();
    assert_eq!(ids, ["b", "c"]);
    // It could be a file; it is typed all the same.
    let call = method("graph-storage.get_context").named("node_id", "a").named("depth", 1);
    let around = host.typed(GRAPH, call, "graph.context").await;
    assert_eq!((around["nodes"].as_array().unwrap().len(), &around["edges"][0]["id"]), (2, &json!("e")));
    let call = method("graph-storage.update_node").named("node_id", "c").named("properties", json!({"n": 30}));
    assert_eq!(host.call(GRAPH, call).await.unwrap(), json!(true));
    assert_eq!(host.call(GRAPH, method("graph-storage.integrity_check")).await.unwrap()["ok"], json!(true));

    let error = host.call(GRAPH, method("query").named("sql", "DELETE FROM nodes")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert_eq!(error.failure().unwrap().details["fields_invalid"], json!(["sql"]));

    host.manager.unload(GRAPH).await.unwrap();
    host.manager.load(GRAPH).await.unwrap();
    let whole = host.typed(GRAPH, method("graph-storage.export_graph"), "graph.context").await;
    let mut numbers: Vec<_> =
        whole["nodes"].as_array().unwrap().iter().map(|node| node["properties"]["n"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [Some(1), Some(2), Some(30)]);
    assert!(host.data(GRAPH).join("context_graph.db").is_file());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn a_configuration_is_theirs_to_judge() {
    let host = Host::new();
    let elsewhere = host.dir.path().join("elsewhere.db");
    host.manager.load_with(GRAPH, json!({"db_path": elsewhere.to_str().unwrap()})).await.unwrap();
    assert!(elsewhere.is_file());
    assert_eq!(host.manager.config(GRAPH).unwrap()["readonly"], json!(false));
    let error = host.manager.update_config(GRAPH, json!({"db_paht": "x"})).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidConfig);
    assert!(error.to_string().contains("db_paht"), "{error}");
    // Read-only holds from the moment it is set.
    host.manager.update_config(GRAPH, json!({"readonly": true})).await.unwrap();
    let nodes = json!([{"id": "a", "label": "L"}]);
    let error = host.call(GRAPH, method("graph-storage.add_nodes").named("nodes", nodes)).await.unwrap_err();
    assert_eq!(error.failure().unwrap().kind, "sqlite3.OperationalError");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn a_capability_of_the_successor_runs_the_same_way() {
    let host = Host::loaded(SENTENCES).await;
    let text = "Dr. Smith came at 3 p.m. today. He left.";
    let sentences = async |text: &str| {
        let call = method("sentence_segmentation.segment_text").named("text", text);
        let result = host.typed(SENTENCES, call, "sentence_segmentation.result").await;
        let spans = result["spans"].as_array().unwrap().iter();
        let at = |span: &Value, key: &str| usize::try_from(span[key].as_u64().unwrap()).unwrap();
        spans.map(|span| text[at(span, "start_char")..at(span, "end_char")].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(sentences(text).await, ["Dr. Smith came at 3 p.m. today.", "He left."]);
    host.call(SENTENCES, method("prefetch")).await.unwrap();
    host.manager.update_config(SENTENCES, json!({"language": "de"})).await.unwrap();
    let call = method("segment_text").arg("Das ist z. B. ein Satz. Noch einer.");
    let result = host.typed(SENTENCES, call, "sentence_segmentation.result").await;
    assert_eq!(result["metadata"], json!({"sentence_count": 2, "language": "de"}));
    let error = host.call(SENTENCES, method("segment_text").arg(7)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidInput);
    assert_eq!(error.failure().unwrap().kind, "cjm_substrate.core.errors.CapabilityInputError");
    assert_eq!(error.failure().unwrap().details["fields_invalid"], json!(["text"]));
}
