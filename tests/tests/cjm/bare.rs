//! A class with their manifest and an adapter, and no package of theirs: what the host itself does for such a plugin.

use std::path::Path;

use bivium::cjm::CjmManifest;
use bivium::{Call, FileKind, PluginManager, SearchPath, discover};
use serde_json::{Value, json};

const SOURCE: &str = r#"
import os

class Speech:
    def initialize(self, config): pass
    def execute(self): return {name: os.environ.get(name) for name in ("PLUGIN_DATA_DIR", "MODEL", "KEY", "OWN")}
    def double(self, n): return 2 * n

class Adapter:
    def __init__(self, plugin): self.plugin = plugin
    def twice(self, n): return self.plugin.double(n)
"#;

fn install(dir: &Path) {
    let write = |name: &str, value: &Value| std::fs::write(dir.join(name), value.to_string()).unwrap();
    std::fs::write(dir.join("speech.py"), SOURCE).unwrap();
    let surface = json!({"methods": [{"name": "double", "signature": "(self, n)", "params": ["n"]}]});
    let variables = json!([{"name": "MODEL", "default": "${CJM_MODELS_DIR}/small"}, {"name": "KEY", "secret": true}]);
    let code = json!({"name": "speech", "version": "1", "module": "speech", "class": "Speech", "source": ".",
        "taxonomy": {"domain": "audio"}, "worker_env": variables, "structural_surface": surface,
        "config_schema": {"properties": {"beam": {"type": "string", "default": 5}}}});
    write("speech.json", &json!({"format_version": "2.0", "install": {"env_vars": {"OWN": "own"}}, "code": code}));
    let adapter = |name: &str, method: &str| {
        json!({"unit": "adapter", "name": name, "task_name": "numbers", "module": "speech", "class": "Adapter",
            "protocol_members": {"methods": [{"name": method}]}})
    };
    write("adapter-numbers-A.json", &adapter("speech.Unfit", "triple"));
    write("adapter-numbers-B.json", &adapter("speech.Adapter", "double"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_class_with_their_manifest_has_its_directories_secrets_and_tasks() {
    let (dir, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    install(dir.path());
    // By the directory, and by the manifest alone, beside which the adapters lie.
    for place in [dir.path().to_owned(), dir.path().join("speech.json")] {
        let builder = PluginManager::builder().manifests(&place).data_dir(data.path()).secret("KEY", "open sesame");
        let manager = builder.build().unwrap();
        manager.load("speech").await.unwrap();
        let found = manager.execute("speech", Call::new()).await.unwrap().json;
        let own = data.path().join("cjm/data/speech");
        assert!(own.is_dir());
        let model = data.path().join("cjm/models/small");
        assert_eq!(found, json!({"PLUGIN_DATA_DIR": own, "MODEL": model, "KEY": "open sesame", "OWN": "own"}));
        let twice = manager.execute("speech", Call::new().method("numbers.twice").arg(4)).await.unwrap();
        assert_eq!(twice.json, 8);
        // Their defaults do not fit their schemas, and an unknown key is refused.
        assert_eq!(manager.config("speech").unwrap(), json!({"beam": 5}));
        assert!(manager.update_config("speech", json!({"bean": 1})).await.is_err());
        manager.reload("speech").await.unwrap();
        let twice = manager.execute("speech", Call::new().method("numbers.twice").arg(5)).await.unwrap();
        assert_eq!(twice.json, 10);
        manager.unload("speech").await.unwrap();
    }
}

#[test]
fn adapters_are_found_and_are_no_plugins() {
    let dir = tempfile::tempdir().unwrap();
    install(dir.path());
    let discovery = discover(&[SearchPath::named(dir.path())]);
    assert!(discovery.problems.is_empty() && discovery.passed_over.is_empty(), "{discovery:?}");
    let others: Vec<_> = discovery.others.iter().map(|other| (other.kind, other.name.as_str())).collect();
    assert_eq!(others, [("adapter", "speech.Unfit"), ("adapter", "speech.Adapter")]);
    let manifest = &discovery.found["speech"];
    assert_eq!(manifest.category.as_deref(), Some("audio"));
    let fit: Vec<_> = CjmManifest::of(manifest).unwrap().adapters.iter().map(|adapter| adapter.name.clone()).collect();
    assert_eq!(fit, ["speech.Adapter"]);
    assert_eq!(FileKind::of(&dir.path().join("speech.json")), FileKind::Manifest);
}
