//! What a host of theirs must do that the published plugins do not show, on both bases (`tests/cjm/probe.py`).

use std::time::Duration;

use bivium::manifest::ManifestFile;
use bivium::{Blob, Call, ErrorCode, PluginManager};
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::{Host, method, speech};

/// One on each base.
const PROBES: [&str; 2] = ["probe-plugin-system", "probe-substrate"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn arguments_results_and_streams() {
    for probe in PROBES {
        let host = Host::loaded(probe).await;
        let found = host.call(probe, Call::new().arg(1).arg("x").named("k", json!([null]))).await.unwrap();
        assert_eq!((&found["args"], &found["kwargs"]), (&json!([1, "x"]), &json!({"k": [null]})));
        let typed = host.typed(probe, method("typed"), "probe.outcome").await;
        assert_eq!(typed, json!({"text": "t", "scores": [0.5]}));
        // Only the outermost value is typed, and a typed one is never a file.
        let several = host.call(probe, method("several")).await.unwrap();
        assert_eq!(several, json!([{"text": "a", "scores": []}, {"text": "b", "scores": []}]));
        assert_eq!(host.typed(probe, method("filed"), "probe.file").await, json!({"text": "typed"}));
        let result = host.manager.execute(probe, method("sound")).await.unwrap();
        assert_eq!(result.json, json!({"sound": {"$blob": 0}}));
        let sound = &result.blobs[0];
        assert_eq!((sound.media_type(), std::fs::read(sound.path()).unwrap()), ("audio/wav", b"RIFF".to_vec()));
        let blob = Blob::by_reference(speech(), None).unwrap();
        let found = host.call(probe, method("path_of").blob("audio", blob)).await.unwrap();
        assert_eq!(found, json!({"is_str": true, "size": speech().metadata().unwrap().len(), "suffix": ".wav"}));
        let options = host.call(probe, method("get_config_options")).await.unwrap();
        assert_eq!(options["model"]["options"][1]["metadata"], json!({"gb": 3}));

        let mut stream = host.manager.execute_stream(probe, Call::new().named("count", 3)).await.unwrap();
        let mut texts = Vec::new();
        while let Some(item) = stream.next().await {
            let item = item.unwrap().json;
            assert_eq!(item["__wire__"], "probe.outcome");
            texts.push(item["data"]["text"].as_str().unwrap().to_owned());
        }
        assert_eq!(texts, ["0", "1", "2"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn a_second_configuration_releases_what_it_changes_and_is_applied() {
    for probe in PROBES {
        let host = Host::loaded(probe).await;
        let state = || host.call(probe, Call::new());
        // Their schema calls `options` a string; its default is none.
        let config = json!({"model": "base", "temperature": 0.0, "options": {"beam": 5}});
        assert_eq!(state().await.unwrap()["config"], config);
        host.manager.update_config(probe, json!({"temperature": 0.5})).await.unwrap();
        assert_eq!(state().await.unwrap()["done"], json!(["initialize"]));
        host.manager.update_config(probe, json!({"model": "large", "options": {"beam": 9}})).await.unwrap();
        let after = state().await.unwrap();
        assert_eq!(after["done"], json!(["initialize", "release model"]));
        assert_eq!(after["config"], json!({"model": "large", "temperature": 0.5, "options": {"beam": 9}}));

        let error = host.manager.update_config(probe, json!({"temperature": -1})).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidConfig);
        assert_eq!(error.failure().unwrap().details["fields_invalid"], json!(["temperature"]));
        let error = host.manager.update_config(probe, json!({"modle": "x"})).await.unwrap_err();
        assert!(error.to_string().contains("modle"), "{error}");
        assert_eq!(host.manager.config(probe).unwrap()["model"], "large");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn each_error_has_its_code_and_says_what_it_knows() {
    let table = [
        (
            "input",
            ErrorCode::InvalidInput,
            "InputError",
            json!({"category": "user_input", "retriable": true, "fields_invalid": ["text"]}),
        ),
        (
            "config",
            ErrorCode::InvalidConfig,
            "ConfigError",
            json!({"category": "user_input", "retriable": true, "fields_invalid": ["mode"]}),
        ),
        (
            "transient",
            ErrorCode::Unavailable,
            "TransientError",
            json!({"category": "transient", "retriable": true, "retry_after_seconds": 2.5}),
        ),
        ("timeout", ErrorCode::Timeout, "TimeoutError", json!({"category": "transient", "retriable": true})),
        (
            "resource",
            ErrorCode::ResourceExhausted,
            "ResourceError",
            json!({"category": "resource", "retriable": true,
            "resource_shortfall": {"resource": "gpu_vram_mb", "needed": 8000.0, "available": 500.0}}),
        ),
        ("fatal", ErrorCode::PluginFailed, "FatalError", json!({"category": "fatal", "retriable": false})),
        ("cancelled", ErrorCode::Cancelled, "CancelledError", json!({"category": "transient", "retriable": false})),
        ("missing", ErrorCode::PluginFailed, "FileNotFoundError", json!({"category": "user_input", "retriable": true})),
    ];
    for probe in PROBES {
        let host = Host::loaded(probe).await;
        for (kind, code, name, details) in &table {
            let error = host.call(probe, method("fail").named("kind", *kind)).await.unwrap_err();
            assert_eq!(error.code(), *code, "{kind}");
            let failure = error.failure().unwrap();
            assert!(failure.kind.ends_with(name), "{kind}: {}", failure.kind);
            assert_eq!(Value::Object(failure.details.clone()), *details, "{kind}");
            assert!(failure.traceback.contains("probe.py"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn progress_comes_from_attributes_reports_and_heartbeats() {
    for probe in PROBES {
        let host = Host::loaded(probe).await;
        let (result, told) = host.watched(probe, method("steps").named("count", 20)).await;
        assert_eq!(result.unwrap().json, 20);
        assert!(told.len() > 3, "{told:?}");
        let last = told.last().unwrap();
        assert_eq!((last.fraction, last.message.as_str()), (Some(1.0), "step 20"));
        assert!(told.windows(2).all(|two| two[0].fraction <= two[1].fraction), "{told:?}");

        let (result, told) = host.watched(probe, method("prefetch")).await;
        result.unwrap();
        let beats = told.iter().filter(|told| told.message.starts_with("loading (") && told.fraction == Some(0.25));
        assert!(beats.count() >= 2, "{told:?}");
        assert_eq!(told.last().unwrap().message, "loaded");
        // A call's progress is not the one before's.
        let (_, told) = host.watched(probe, Call::new()).await;
        assert!(told.iter().all(|told| told.message.is_empty()), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn a_cancel_reaches_the_flag_and_the_callbacks_of_its_call() {
    for probe in PROBES {
        let host = Host::loaded(probe).await;
        let mark = host.dir.path().join("mark");
        let call = || method("until_cancelled").named("mark", mark.to_str().unwrap());
        let error = host.cancelled_at(probe, call(), "waiting").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Cancelled);
        assert_eq!(std::fs::read_to_string(&mark).unwrap(), "unwound, flag True");
        // The next call is not cancelled by it.
        assert_eq!(host.call(probe, method("steps").named("count", 2)).await.unwrap(), 2);

        let mark = host.dir.path().join("child");
        let call = method("child").named("mark", mark.to_str().unwrap());
        let error = host.cancelled_at(probe, call, "started").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Cancelled);
        assert_eq!(std::fs::read_to_string(&mark).unwrap(), "-15", "the callback ended the program");
        // What was registered for the length of a block is gone; what was registered for good stays.
        assert_eq!(host.call(probe, method("callbacks")).await.unwrap(), 0);
        assert_eq!(host.call(probe, method("register")).await.unwrap(), 1);
        assert_eq!(host.call(probe, method("callbacks")).await.unwrap(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn of_two_calls_in_one_worker_one_is_cancelled_and_the_other_is_not() {
    for probe in PROBES {
        let dir = tempfile::tempdir().unwrap();
        let original = Host::new().manager.manifest(probe).unwrap().path.clone();
        let mut manifest: Value = serde_json::from_slice(&std::fs::read(&original).unwrap()).unwrap();
        manifest["concurrency"] = 2.into();
        let file = dir.path().join("two.json");
        std::fs::write(&file, manifest.to_string()).unwrap();
        let read = ManifestFile::read(&file, bivium::forms()).unwrap().into_plugin(&file).unwrap();
        assert_eq!(read.python().unwrap().concurrency, 2);
        let manager = PluginManager::builder().manifests(&file).data_dir(dir.path().join("data")).build().unwrap();
        let host = Host { dir, manager };
        host.manager.load(probe).await.unwrap();
        let mark = host.dir.path().join("mark");
        let waits = method("until_cancelled").named("mark", mark.to_str().unwrap());
        let goes_on = host.watched(probe, method("steps").named("count", 40));
        let (error, (result, told)) = tokio::join!(host.cancelled_at(probe, waits, "waiting"), goes_on);
        assert_eq!(error.unwrap_err().code(), ErrorCode::Cancelled);
        assert_eq!(std::fs::read_to_string(&mark).unwrap(), "unwound, flag True");
        assert_eq!(result.unwrap().json, 40);
        assert!(told.iter().all(|told| told.message != "waiting" && told.fraction.is_some()), "{told:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn the_call_envelope_reaches_plugin_and_adapter_and_accounts_reach_the_log() {
    for probe in PROBES {
        let host = Host::loaded(probe).await;
        let call = method("envelope").envelope("run_id", "r1").envelope("control", json!({"force": true}));
        let id = call.id().to_string();
        let found = host.call(probe, call).await.unwrap();
        assert_eq!(found, json!({"job": id, "run": "r1", "control": {"force": true}}));
        let control = json!({"force": true});
        assert_eq!(host.call(probe, method("probing.force").envelope("control", control)).await.unwrap(), true);
        assert_eq!(host.call(probe, method("probing.force")).await.unwrap(), false);
        assert_eq!(host.call(probe, method("probing.twice").arg("ab").named("n", 3)).await.unwrap(), "ababab");
        let log = host.log(probe);
        for part in ["cache_hit {\"key\": \"k\"}", "usage {\"input_tokens\": 7}", "\"task\": \"probing\""] {
            assert!(log.iter().any(|line| line.contains(part)), "{part}: {log:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn its_environment_has_its_directories_its_variables_and_its_secret() {
    for probe in PROBES {
        let host = Host::loaded(probe).await;
        let found = host.call(probe, method("environment")).await.unwrap();
        let data = host.data(probe);
        for (name, expected) in [
            ("CJM_DATA_DIR", host.dir.path().join("cjm")),
            ("CJM_MODELS_DIR", host.dir.path().join("cjm/models")),
            ("CJM_PLUGIN_DATA_DIR", host.dir.path().join("cjm/data")),
            ("CJM_CAPABILITY_DATA_DIR", host.dir.path().join("cjm/data")),
            ("PLUGIN_DATA_DIR", data.clone()),
            ("CAPABILITY_DATA_DIR", data.clone()),
            ("PROBE_CACHE", data.join("cache")),
        ] {
            assert_eq!(found[name], expected.to_str().unwrap(), "{name}");
        }
        assert_eq!(found["PROBE_KEY"], "open sesame");
        assert_eq!(found["CJM_WORKER_SESSION_ID"].as_str().unwrap().len(), 36);
        assert!(!host.log(probe).concat().contains("open sesame"));

        let done = async || host.call(probe, Call::new()).await.unwrap()["done"].clone();
        host.call(probe, method("on_disable")).await.unwrap();
        host.call(probe, method("on_enable")).await.unwrap();
        assert_eq!(done().await, json!(["initialize", "on_disable", "on_enable"]));
        assert!(!data.join("cleaned").exists());
        tokio::time::timeout(Duration::from_secs(20), host.manager.unload(probe)).await.unwrap().unwrap();
        assert_eq!(std::fs::read_to_string(data.join("cleaned")).unwrap(), "yes");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs environments: cargo xtask test --cjm"]
async fn an_adapter_that_cannot_be_built_leaves_its_task_out_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let original = Host::new().manager.manifest(PROBES[0]).unwrap().path.clone();
    let file = dir.path().join("probe.json");
    std::fs::copy(original, &file).unwrap();
    let adapter = json!({"unit": "adapter", "name": "nowhere.Adapter", "task_name": "nowhere", "module": "nowhere",
        "class": "Adapter", "protocol_members": {"methods": [], "properties": ["name"]}});
    std::fs::write(dir.path().join("adapter-nowhere-Adapter.json"), adapter.to_string()).unwrap();
    let manager = PluginManager::builder().manifests(&file).data_dir(dir.path().join("data")).build().unwrap();
    let host = Host { dir, manager };
    host.manager.load(PROBES[0]).await.unwrap();
    let error = host.call(PROBES[0], method("nowhere.work")).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::NotFound);
    assert!(error.to_string().contains("No module named 'nowhere'"), "{error}");
    host.call(PROBES[0], Call::new()).await.unwrap();
    assert!(host.log(PROBES[0]).iter().any(|line| line.contains("PROBE_KEY")), "the missing secret is told");
}
