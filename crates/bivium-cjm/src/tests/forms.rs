//! Their files, in the shapes that their tools write.

use serde_json::json;

use super::*;
use crate::{AdapterManifest, CjmManifest};

pub(super) const NESTED: &str = r#"{
  "format_version": "2.0",
  "install": {
    "python_path": "/conda/envs/cjm-media/bin/python", "conda_env": "cjm-media", "db_path": "",
    "env_vars": {"HF_HOME": "/models/huggingface"}, "installed_at": "2026-05-19T10:00:00+00:00",
    "installer_version": "cjm-ctl 0.0.46", "package_source": "cjm-media-plugin-ffmpeg",
    "mode": "distribution", "resolved": {"cjm-substrate": "0.0.74"}, "refreshed_at": ""
  },
  "code": {
    "name": "cjm-media-plugin-ffmpeg", "version": "0.0.24", "description": "Media processing with FFmpeg",
    "module": "cjm_media_plugin_ffmpeg.plugin", "class": "FFmpegPlugin", "interface": "",
    "taxonomy": {"domain": "media", "role": "MediaProcessingPlugin", "interface_fqcn": "a.b.MediaProcessingPlugin"},
    "resources": {"requires_gpu": false, "platforms": ["linux-x64"], "accelerators": []},
    "config_schema": {"type": "object", "properties": {"output_dir": {"type": ["string", "null"]}}},
    "worker_env": [{"name": "HF_HOME", "secret": false, "required": false, "label": "", "description": "",
                    "default": "${CJM_MODELS_DIR}/huggingface", "options": null}],
    "regenerated_at": "2026-05-19T10:00:00+00:00", "observability_class": "full",
    "structural_surface": {"methods": [{"name": "get_info", "signature": "(self, path)", "params": ["path"]}],
                           "properties": ["name"], "attributes": [{"name": "WORKER_ENV", "type": "list"}]}
  },
  "drift_tracking": {"config_schema_hash": "sha256:00", "structural_surface_hash": null},
  "overrides": {}
}"#;

pub(super) const FLAT: &str = r#"{
  "name": "cjm-media-plugin-ffmpeg", "version": "0.0.5", "type": "media-processing", "category": "media",
  "interface": "cjm_media_plugin_system.processing_interface.MediaProcessingPlugin",
  "module": "cjm_media_plugin_ffmpeg.plugin", "class": "FFmpegProcessingPlugin",
  "python_path": "/conda/envs/cjm-media/bin/python", "conda_env": "cjm-media", "db_path": "/data/ffmpeg_jobs.db",
  "resources": {"requires_gpu": false, "min_system_ram_mb": 512}, "env_vars": {}
}"#;

#[test]
fn the_nested_form_is_read() {
    let manifest = parse(NESTED).unwrap();
    assert_eq!((manifest.name.as_str(), manifest.version.as_str()), ("cjm-media-plugin-ffmpeg", "0.0.24"));
    let python = manifest.python().unwrap();
    assert_eq!(python.object.name, "FFmpegPlugin");
    assert_eq!(manifest.category.as_deref(), Some("media"));
    assert_eq!(python.env_vars["HF_HOME"], "/models/huggingface");
    assert_eq!(manifest.resources.platforms, ["linux-x64"]);
    assert_eq!(manifest.config_schema.as_ref().unwrap()["type"], "object");
    let own = CjmManifest::of(&manifest).unwrap().clone();
    assert_eq!((own.conda_env.as_deref(), own.db_path, own.interface), (Some("cjm-media"), None, None));
    assert_eq!(own.resolved["cjm-substrate"], "0.0.74");
    assert_eq!(own.worker_env[0].default.as_deref(), Some("${CJM_MODELS_DIR}/huggingface"));
    assert_eq!(own.structural_surface.unwrap().methods[0].params.as_deref(), Some(&["path".to_owned()][..]));
    assert_eq!(own.config_schema_hash.as_deref(), Some("sha256:00"));
}

#[test]
fn the_flat_form_is_read() {
    let manifest = parse(FLAT).unwrap();
    assert_eq!(manifest.category.as_deref(), Some("media"));
    assert_eq!(manifest.resources.min_system_ram_mb, Some(512));
    let own = CjmManifest::of(&manifest).unwrap().clone();
    assert_eq!(own.db_path.as_deref(), Some(Path::new("/data/ffmpeg_jobs.db")));
    assert_eq!(own.kind.as_deref(), Some("media-processing"));
}

#[test]
fn what_its_tools_leave_empty_is_absent() {
    let text = r#"{"name": "a", "version": "1", "module": "a", "class": "A", "interface": "x.Y", "python_path": "",
        "description": "", "category": "", "category_override": "Speech", "env_vars": null, "config_schema": null,
        "resources": {"requires_gpu": null, "recommended_gpu_vram_mb": 8000}}"#;
    let manifest = parse(text).unwrap();
    assert_eq!((&manifest.python().unwrap().python_path, &manifest.config_schema), (&None, &None));
    assert_eq!(manifest.category.as_deref(), Some("Speech"));
}

#[test]
fn its_problems_have_their_lines() {
    let text = NESTED
        .replace(r#""version": "0.0.24""#, r#""version": 24"#)
        .replace(r#""conda_env""#, r#""conda_enf""#)
        .replace(r#""required": false"#, r#""required": "no""#);
    assert_eq!(
        problems(&text),
        [
            "4: unknown key \"conda_enf\"; did you mean `conda_env`?",
            "10: version must be a string, not 24",
            "15: ancestor.worker_env[0].required must be true or false, not a string",
        ]
    );
    assert_eq!(
        problems("{\"format_version\": \"3.0\",\n\"code\": 3}"),
        ["1: format_version must be \"2.0\", the nested form of cjm-plugin-system; every other manifest does without \
         it, not \"3.0\""]
    );
    assert_eq!(
        problems("{\"format_version\": \"2.0\",\n\"code\": [], \"name\": \"a\", \"version\": \"1\"}"),
        [
            "1: nothing says what to run: give component (a .wasm file), or module and class, or function (in Python)",
            "2: code must be an object",
        ]
    );
    let twice = "{\"format_version\": \"2.0\", \"install\": {\"name\": \"b\"},\n\"code\": {\"name\": \"a\", \"version\": \"1\",\n\
                 \"module\": \"a\", \"class\": \"A\"}}";
    assert_eq!(problems(twice), ["2: the key \"name\" occurs twice; keep one of them"]);
}

#[test]
fn adapters_are_read_as_what_they_are() {
    let adapter = json!({
        "unit": "adapter", "name": "cjm_media.adapter.FfmpegAdapter", "version": "0.0.4",
        "task_name": "media_processing", "module": "cjm_media.adapter", "class": "FfmpegAdapter",
        "required_tool_protocol": "cjm_media.protocol.MediaTool",
        "protocol_members": {"methods": [{"name": "get_info", "signature": "(self, path)", "params": ["path"]}], "properties": []},
        "config_schema": {}, "conda_env": "cjm-media", "generated_at": "2026-05-19T10:00:00+00:00"
    });
    let path = Path::new("/m/adapter-media_processing-FfmpegAdapter.json");
    let parsed = |text: &str| ManifestFile::parse(text, path, &FORMS);
    let ManifestFile::Other(other) = parsed(&adapter.to_string()).unwrap() else { panic!() };
    let read = other.get::<AdapterManifest>().unwrap();
    assert_eq!((read.task_name.as_str(), read.path.as_path()), ("media_processing", path));
    assert_eq!(read.protocol_members.methods[0].name, "get_info");

    let error = parsed(&adapter.to_string()).unwrap().into_plugin(path).unwrap_err();
    assert!(
        error.to_string().contains("declares the adapter cjm_media.adapter.FfmpegAdapter, not a plugin"),
        "{error}"
    );

    assert_eq!(
        problems("{\"unit\": \"adapter\", \"name\": \"a\", \"module\": \"a\",\n\"clas\": \"A\", \"task_name\": 1}"),
        [
            "1: class is missing",
            "2: unknown key \"clas\"; did you mean `class`?",
            "2: task_name must be a string, not 1",
        ]
    );
}

#[test]
fn an_adapter_fits_by_methods_leading_parameters_and_properties() {
    let adapter = |name: &str, task: &str, members: serde_json::Value| {
        let text = json!({"unit": "adapter", "name": name, "task_name": task, "module": "m", "class": "A",
            "protocol_members": members});
        match ManifestFile::parse(&text.to_string(), Path::new("/m/adapter-x-A.json"), &FORMS).unwrap() {
            ManifestFile::Other(adapter) => adapter.get::<AdapterManifest>().unwrap(),
            ManifestFile::Plugin(_) => panic!(),
        }
    };
    let method = |name: &str, params: serde_json::Value| json!({"name": name, "signature": "", "params": params});
    let fits =
        adapter("m.Fits", "t", json!({"methods": [method("get_info", json!(["path"]))], "properties": ["name"]}));
    let bare = adapter("m.Bare", "u", json!({"methods": [{"name": "get_info"}]}));
    let again = adapter("m.Again", "t", json!({}));
    let unfit = adapter(
        "m.Unfit",
        "v",
        json!({"methods": [method("get_info", json!(["file", "path"])), method("cut", json!([]))], "properties": ["size"]}),
    );
    let manifest = parse(NESTED).unwrap();
    let mut own = CjmManifest::of(&manifest).unwrap().clone();
    assert_eq!(
        unfit.fits(own.structural_surface.as_ref()).unwrap_err(),
        "the plugin's get_info(path) does not begin with (file, path); the plugin has no method cut; \
         the plugin has no property size"
    );
    own.adapt([&fits, &bare, &again, &unfit]);
    let names: Vec<&str> = own.adapters.iter().map(|adapter| adapter.name.as_str()).collect();
    assert_eq!(names, ["m.Fits", "m.Bare"]);
    own.structural_surface = None;
    own.adapt([&fits, &bare]);
    assert!(own.adapters.is_empty());
}

#[test]
fn a_manifest_survives_json() {
    for text in [NESTED, FLAT] {
        let manifest = parse(text).unwrap();
        assert!(CjmManifest::of(&manifest).is_some());
        let again = parse(&serde_json::to_string(&manifest).unwrap()).unwrap();
        assert_eq!(again, manifest);
    }
    let (nested, plain) = (parse(NESTED).unwrap(), parse(&own("\"replicas\": 1")).unwrap());
    assert!(plain.extensions.is_empty() && plain.extensions != nested.extensions);
}

/// A manifest in our own form, with more keys.
fn own(lines: &str) -> String {
    format!("{{ \"name\": \"a\", \"version\": \"1\", \"module\": \"a\", \"class\": \"A\",\n{lines}\n}}")
}

#[test]
fn keys_that_do_not_go_together_are_problems() {
    for (before, after) in [("", ""), ("\"ancestor\": {", "}")] {
        let text = own(&format!("{before}\"worker_env\": [{{\"name\": \"BIVIUM_SECRET_KEY\"}}]{after}"));
        let says = "2: worker_env names \"BIVIUM_SECRET_KEY\", and variables that begin with BIVIUM_SECRET_ hold the host's \
                    secrets: ask for a secret with permissions.secrets";
        assert_eq!(problems(&text), [says]);
    }
    assert_eq!(
        problems("{ \"name\": \"a\", \"version\": \"1\", \"function\": \"a.b:C.d\",\n\"conda_env\": \"w\" }"),
        ["1: ancestor contradicts function: a plugin of cjm-plugin-system is a class"]
    );
    let component = "{\"name\": \"a\", \"version\": \"1\", \"component\": \"a.wasm\",\n";
    assert_eq!(
        problems(&format!("{component}\"conda_env\": \"w\"}}")),
        ["2: conda_env is for Python plugins, and this is a component"]
    );
    assert!(parse(&format!("{component}\"ancestor\": {{}}}}")).unwrap().extensions.is_empty());
}

#[test]
fn configurations_are_checked_for_names_alone() {
    let manifest = parse(FLAT).unwrap();
    let own = CjmManifest::of(&manifest).unwrap();
    let checks = |schema: serde_json::Value| bivium_interface::manifest::Extension::config_checks(own, &schema);
    let schema = json!({"type": "object", "properties": {"beam": {"type": "string", "default": 5}}});
    assert_eq!(
        checks(schema),
        Some(json!({"type": "object", "properties": {"beam": true}, "additionalProperties": false}))
    );
    assert_eq!((checks(json!({})), checks(json!({"properties": {}}))), (None, None));
}
